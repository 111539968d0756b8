package directory

import (
	"errors"

	"cpcds2fhir/schemas/fhir"
)

// Into adds everything that a snapshot has to a Live, except the layout's own rows: where both have
// a row, the newer one counts. flush is called from time to time, when the Live has changes to be
// written, and at the end.
func (d *Directory) Into(live *Live, flush func() error) error {
	const atOnce = 2048
	next := func(err error) error {
		if err = errors.Join(err, live.err); err != nil || len(live.changed) < atOnce {
			return err
		}
		return flush()
	}
	err := d.members.All(func(r []byte) error { return next(live.AddMember(fhir.Raw(r), Stamp(r[memberSize:]))) })
	if err == nil {
		err = d.coverages.All(func(r []byte) error {
			var c Coverage
			c.read(r)
			live.addCoverage(fhir.Raw(r), &c)
			return next(nil)
		})
	}
	if err == nil {
		err = d.periods.All(func(r []byte) error {
			var p period
			p.read(r)
			live.addPeriod(fhir.Raw(r), p)
			return next(nil)
		})
	}
	for k, p := range d.providers {
		if err != nil {
			return err
		}
		if p.Constant == 0 {
			live.AddProvider([]fhir.Raw{k}, p)
			err = next(nil)
		}
	}
	if err != nil {
		return err
	}
	return flush()
}
