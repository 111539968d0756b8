// Package directory knows the members, coverages, providers and organizations that a target has, so
// that claims can refer to them. It holds only keyed hashes, no identifiers. A US state may have
// millions of members, so all but the providers may be in files.
//
// A Directory is a snapshot that never changes. An Index makes the next one from the rows of a
// small table. A Resolver finds in a snapshot what claims and rows refer to. The package does not
// know rules, claims, or where the rows come from.
package directory

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Directory is one snapshot. It is safe for concurrent use.
type Directory struct {
	members   *sorted.Table
	coverages *sorted.Table         // by each identifier that names the coverage
	periods   *sorted.Table         // by member and payer: where claims name the payer only
	providers map[fhir.Raw]Provider // by NPI or local key, practitioners and organizations

	shared *shared
}

// shared is what all snapshots of a run have in common.
type shared struct {
	spill  string // folder for temporary files
	memory int    // bytes of a table in memory

	failed atomic.Pointer[lookupError] // the first lookup that failed

	mu     sync.Mutex
	tables []*sorted.Table // the tables of all snapshots
}

type lookupError struct{ error }

// Open opens the directory of a state folder; without one it is empty. A directory of an earlier
// release is upgraded in a copy. spill is the folder for temporary files and for tables of more
// than memory bytes; 0 is 8 MiB. Close ends this snapshot and all that are made from it.
func Open(state, spill string, memory int) (*Directory, error) {
	d := &Directory{providers: map[fhir.Raw]Provider{}, shared: &shared{spill: spill, memory: memory}}
	err := d.open(filepath.Join(state, folder))
	if errors.Is(err, sorted.ErrFormat) {
		err = fmt.Errorf("%w; load the small tables again into a new state folder", err)
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("load directory: %w", err)
	}
	return d, nil
}

// folder is where a state folder has the directory.
const folder = "directory"

func (d *Directory) open(dir string) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("%s: %w", dir, sorted.ErrFormat)
	}
	dir, err := upgraded(dir, d.shared.spill)
	if err != nil {
		return err
	}
	for _, p := range d.parts() {
		t, err := sorted.Open(p.format, filepath.Join(dir, p.format.Name))
		if err != nil {
			return err
		}
		d.set(p.table, t)
	}
	providers, err := sorted.Open(providerRecords, filepath.Join(dir, providerRecords.Name))
	if err != nil {
		return err
	}
	defer providers.Close()
	return providers.All(func(record []byte) error {
		var e Provider
		e.read(record)
		d.providers[fhir.Raw(record)] = e
		return nil
	})
}

// tablePart is one of the sorted tables of a directory.
type tablePart struct {
	of     cpcds.Table // whose rows it is made of
	format sorted.Format
	table  **sorted.Table
}

func (d *Directory) parts() []tablePart {
	return []tablePart{{cpcds.Members, d.shared.format(memberRecords), &d.members},
		{cpcds.Coverages, d.shared.format(coverageRecords), &d.coverages},
		{cpcds.Coverages, d.shared.format(periodRecords), &d.periods}}
}

func (s *shared) format(f sorted.Format) sorted.Format {
	f.Memory = s.memory
	return f
}

// set sets a table of a snapshot that is not yet in use.
func (d *Directory) set(to **sorted.Table, t *sorted.Table) {
	d.shared.mu.Lock()
	defer d.shared.mu.Unlock()
	d.shared.tables = append(d.shared.tables, t)
	*to = t
}

// Save makes the snapshot durable in a state folder. No later snapshot may have been saved.
func (d *Directory) Save(state string) error {
	dir := filepath.Join(state, folder)
	err := d.saveProviders(filepath.Join(dir, providerRecords.Name))
	for _, p := range d.parts() {
		if err == nil {
			err = (*p.table).Save(filepath.Join(dir, p.format.Name))
		}
	}
	if err != nil {
		return fmt.Errorf("save directory: %w", err)
	}
	return nil
}

// saveProviders saves those of the extract; those of a layout come from the layout.
func (d *Directory) saveProviders(path string) error {
	b := sorted.NewBuilder(providerRecords, "") // it stays in memory, like the providers
	for k, p := range d.providers {
		if p.Constant != 0 {
			continue
		}
		if err := b.Add(p.record(k)); err != nil {
			return err
		}
	}
	return saveTable(b, path)
}

// Close closes the files of all snapshots.
func (d *Directory) Close() {
	d.shared.mu.Lock()
	defer d.shared.mu.Unlock()
	for _, t := range d.shared.tables {
		t.Close()
	}
}

// Provider returns the practitioner or organization that is known by a key.
func (d *Directory) Provider(key fhir.Raw) (p Provider, ok bool) {
	p, ok = d.providers[key]
	return p, ok
}

// find calls f for the records of a key. Err reports read errors.
func (d *Directory) find(t *sorted.Table, key fhir.Raw, f func(record []byte)) {
	if err := t.Find(key[:], f); err != nil {
		d.Fail(err)
	}
}

// Fail records a failed lookup.
func (d *Directory) Fail(err error) { d.shared.failed.CompareAndSwap(nil, &lookupError{err}) }

// Err returns the first error of a lookup, in this or another snapshot. It must be checked before
// loading anything that depends on lookups.
func (d *Directory) Err() error {
	if f := d.shared.failed.Load(); f != nil {
		return fmt.Errorf("read the directory: %w", f.error)
	}
	return nil
}

// HasMember reports whether there is a member.
func (d *Directory) HasMember(member fhir.Raw) (has bool) {
	d.find(d.members, member, func([]byte) { has = true })
	return has
}

// Coverage returns the coverage that is known by a key.
func (d *Directory) Coverage(key fhir.Raw) (e Coverage, ok bool) {
	d.find(d.coverages, key, func(record []byte) {
		e.read(record)
		ok = true
	})
	return e, ok
}

// CoverageOn returns the coverage of a member and payer on a day: the one that began last among
// those in effect, or else among all; if several did, the one that ends last.
func (d *Directory) CoverageOn(memberPayer fhir.Raw, day string) (Coverage, bool) {
	b := bestCoverage{day: day, of: d.Coverage}
	d.find(d.periods, memberPayer, func(record []byte) {
		var p period
		p.read(record)
		b.consider(&p)
	})
	return b.coverage, b.found
}

// bestCoverage selects one of several coverages of a member and payer.
type bestCoverage struct {
	day string
	of  func(key fhir.Raw) (Coverage, bool)

	coverage Coverage
	key      fhir.Raw
	found    bool
	holds    bool // it is in effect
}

func (b *bestCoverage) consider(p *period) {
	e, ok := b.of(p.coverage)
	if !ok || e.stamp != p.stamp {
		return
	}
	in := e.InEffect(b.day)
	better := !b.found || in && !b.holds
	if b.found && in == b.holds {
		better = cmp.Or(strings.Compare(date(e.start), date(b.coverage.start)), compareEnds(date(e.end), date(b.coverage.end)), bytes.Compare(b.key[:], p.coverage[:])) > 0
	}
	if better {
		b.coverage, b.key, b.holds = e, p.coverage, in
	}
	b.found = true
}
