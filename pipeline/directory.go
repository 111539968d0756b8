package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"

	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// directory knows the members, coverages, providers and organizations that a
// target has, so that claims can refer to them. It holds keyed hashes only, no
// identifier. It is built by one goroutine, table by table, and then read by all
// lanes. A state has millions of members, so all but the providers may lie in files.
type directory struct {
	members   *sorted.Table
	coverages *sorted.Table                  // by each identifier that names the coverage
	periods   *sorted.Table                  // by member and payer: where claims name the payer only
	providers map[fhir.Raw]providerEntry     // by NPI or local key, practitioners and organizations
	failed    atomic.Pointer[directoryError] // the first lookup that could not be made
}

type directoryError struct{ error }

const rawSize = len(fhir.Raw{})

// The records of the directory's tables. Of periods that were learned again the
// number stays, so that a coverage keeps its place among those of the member.
var (
	memberRecords   = sorted.Format{Name: "members", Size: rawSize, Key: rawSize, Merge: sorted.Replace}
	coverageRecords = sorted.Format{Name: "coverages", Size: 4*rawSize + 1, Key: rawSize, Merge: sorted.Replace}
	providerRecords = sorted.Format{Name: "providers", Size: 2*rawSize + 1, Key: rawSize, Memory: math.MaxInt, Merge: sorted.Replace}
	periodRecords   = sorted.Format{Name: "periods", Size: 2*rawSize + 8 + 20, Key: 2 * rawSize,
		Merge: func(old, next []byte) { copy(old[2*rawSize+8:], next[2*rawSize+8:]) }}
)

// coverageEntry is what claims need of a coverage.
type coverageEntry struct {
	id      fhir.Raw
	insurer fhir.Raw // Organization of the payer
	member  fhir.Raw // Patient that is covered
	skip    bool     // of a payer whose claims a layout rule skips
}

func (e *coverageEntry) record(key fhir.Raw) []byte {
	b := make([]byte, 0, coverageRecords.Size)
	for _, r := range []fhir.Raw{key, e.id, e.insurer, e.member} {
		b = append(b, r[:]...)
	}
	return append(b, flag(e.skip))
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (e *coverageEntry) read(record []byte) {
	for i, to := range []*fhir.Raw{&e.id, &e.insurer, &e.member} {
		*to = fhir.Raw(record[(i+1)*rawSize:])
	}
	e.skip = record[4*rawSize] != 0
}

// period is a coverage of a member with its period, YYYY-MM-DD or empty.
type period struct {
	coverage   fhir.Raw
	number     uint64 // in the order in which the periods were learned
	start, end [10]byte
}

func (p *period) record(memberPayer fhir.Raw) []byte {
	b := append(memberPayer[:], p.coverage[:]...)
	b = binary.BigEndian.AppendUint64(b, p.number)
	return append(append(b, p.start[:]...), p.end[:]...)
}

func (p *period) read(record []byte) {
	p.coverage = fhir.Raw(record[rawSize:])
	record = record[2*rawSize:]
	p.number = binary.BigEndian.Uint64(record)
	p.start, p.end = [10]byte(record[8:]), [10]byte(record[18:])
}

// providerEntry is a practitioner or an organization.
type providerEntry struct {
	id           fhir.Raw
	practitioner bool
	constant     int32 // of a row of the layout: its number from 1; else 0
}

func (e *providerEntry) record(key fhir.Raw) []byte {
	return append(append(key[:], e.id[:]...), flag(e.practitioner))
}

func (e *providerEntry) read(record []byte) {
	e.id, e.practitioner = fhir.Raw(record[rawSize:]), record[2*rawSize] != 0
}

func (e providerEntry) reference() string {
	if e.practitioner {
		return e.id.Reference(fhir.Practitioner)
	}
	return e.id.Reference(fhir.Organization)
}

// openDirectory opens what a state folder knows; a folder without a directory knows
// nothing.
func openDirectory(state string) (*directory, error) {
	d := &directory{providers: map[fhir.Raw]providerEntry{}}
	err := d.open(filepath.Join(state, directoryDir))
	if errors.Is(err, sorted.ErrFormat) {
		err = fmt.Errorf("%w; load the small tables again into a fresh state folder", err)
	}
	if err != nil {
		return nil, fmt.Errorf("load directory: %w", err)
	}
	return d, nil
}

const directoryDir = "directory"

func (d *directory) open(dir string) error {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("%s: %w", dir, sorted.ErrFormat)
	}
	for _, t := range d.tables() {
		var err error
		if *t.table, err = sorted.Open(t.format, filepath.Join(dir, t.format.Name)); err != nil {
			return err
		}
	}
	providers, err := sorted.Open(providerRecords, filepath.Join(dir, providerRecords.Name))
	if err != nil {
		return err
	}
	return providers.All(func(record []byte) error {
		var e providerEntry
		e.read(record)
		d.providers[fhir.Raw(record)] = e
		return nil
	})
}

type directoryTable struct {
	of     cpcds.Table // whose rows it is learned from
	format sorted.Format
	table  **sorted.Table
}

func (d *directory) tables() []directoryTable {
	return []directoryTable{{cpcds.Members, memberRecords, &d.members}, {cpcds.Coverages, coverageRecords, &d.coverages},
		{cpcds.Coverages, periodRecords, &d.periods}}
}

// save makes the directory durable in a state folder.
func (d *directory) save(state string) error {
	dir := filepath.Join(state, directoryDir)
	err := d.saveProviders(filepath.Join(dir, providerRecords.Name))
	for _, t := range d.tables() {
		if err == nil {
			err = (*t.table).Save(filepath.Join(dir, t.format.Name))
		}
	}
	if err != nil {
		return fmt.Errorf("save directory: %w", err)
	}
	return nil
}

// saveProviders saves those of the extract; those of a layout are learned from the
// layout.
func (d *directory) saveProviders(path string) error {
	b := sorted.NewBuilder(providerRecords, "") // which stays in memory, as providers do
	for k, p := range d.providers {
		if p.constant != 0 {
			continue
		}
		if err := b.Add(p.record(k)); err != nil {
			return err
		}
	}
	t, err := b.Build()
	if err != nil {
		return err
	}
	return t.Save(path)
}

func (d *directory) close() {
	for _, t := range d.tables() {
		(*t.table).Close()
	}
}

// find calls f for the records of a key. What cannot be read is reported by err, which
// must be asked before anything that was made of lookups is loaded.
func (d *directory) find(t *sorted.Table, key fhir.Raw, f func(record []byte)) {
	if err := t.Find(key[:], f); err != nil {
		d.failed.CompareAndSwap(nil, &directoryError{err})
	}
}

func (d *directory) err() error {
	if f := d.failed.Load(); f != nil {
		return fmt.Errorf("look up the directory: %w", f.error)
	}
	return nil
}

func (d *directory) hasMember(member fhir.Raw) (has bool) {
	d.find(d.members, member, func([]byte) { has = true })
	return has
}

func (d *directory) coverage(key fhir.Raw) (e coverageEntry, ok bool) {
	d.find(d.coverages, key, func(record []byte) {
		e.read(record)
		ok = true
	})
	return e, ok
}

// inEffect returns the coverage of a member and payer on a day: the first one whose
// period holds it, or else the one that began last.
func (d *directory) inEffect(memberPayer fhir.Raw, day string) (coverageEntry, bool) {
	var best, p period
	found, holds := false, false
	d.find(d.periods, memberPayer, func(record []byte) {
		p.read(record)
		start, end := date(p.start), date(p.end)
		in := day != "" && start <= day && (end == "" || day <= end)
		var better bool
		switch {
		case !found || in != holds:
			better = !found || in
		case in || start == date(best.start):
			better = p.number < best.number
		default:
			better = start > date(best.start)
		}
		if better {
			best, holds = p, in
		}
		found = true
	})
	if !found {
		return coverageEntry{}, false
	}
	return d.coverage(best.coverage)
}

func date(d [10]byte) string {
	if d[0] == 0 {
		return ""
	}
	return string(d[:])
}

func dateOf(s string) (d [10]byte) {
	if len(s) == 10 {
		copy(d[:], s)
	}
	return d
}
