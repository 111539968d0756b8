package directory

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Live is a directory that changes while claims flow. Its records are kept by the target of a
// stream, which makes those that a batch has changed durable together with the batch. Until then
// they are only seen here.
//
// It reads each record once per batch. Changed says what the caller must write, and Guards which
// records must still be as they were read: another lane may have changed them meanwhile. Then the
// batch is made again. A Live belongs to one goroutine.
type Live struct {
	base    *Directory // the layout's own rows
	records Records

	read    map[string][]byte // since Begin
	changed map[string][]byte
	sent    map[string][]byte // changed by the batch before, which may not be durable yet
	wanted  []string
	added   map[fhir.Raw]bool // rows that count
	arrived []Unresolved
	err     error
}

// Records reads what a target keeps beside its resources.
type Records interface {
	// Recall returns the values of records in the order of their names, nil for one that is not
	// there. The values are the caller's.
	Recall(names []string) ([][]byte, error)

	// Each calls f for the records whose names begin with a prefix. A value is valid during the
	// call.
	Each(prefix string, f func(name string, value []byte) error) error
}

// NewLive returns a directory over the records of a target. base has the layout's own rows; rows of
// the source take precedence over them.
func NewLive(base *Directory, records Records) *Live {
	return &Live{base: base, records: records, read: map[string][]byte{}, changed: map[string][]byte{}, sent: map[string][]byte{}, added: map[fhir.Raw]bool{}}
}

// Begin begins a batch: everything is read anew. What was changed since the last Begin is on its way
// to the target; until Landed it counts as if it were there.
func (d *Live) Begin() {
	d.sent, d.changed = d.changed, d.sent
	clear(d.changed)
	d.begin()
}

// Landed says that what was on its way is durable.
func (d *Live) Landed() { clear(d.sent) }

// Reset begins a batch and forgets what was on its way, because it did not arrive.
func (d *Live) Reset() {
	clear(d.sent)
	clear(d.changed)
	d.begin()
}

func (d *Live) begin() {
	clear(d.read)
	clear(d.added)
	d.arrived = d.arrived[:0]
	d.err = nil
}

// Changed returns the records that were changed since Begin, by name; nil for one that is removed.
// It must not be changed.
func (d *Live) Changed() map[string][]byte { return d.changed }

// Guard returns a record as the batch has found it, nil if there was none.
func (d *Live) Guard(name string) []byte {
	if v, ok := d.sent[name]; ok {
		return v
	}
	return d.read[name]
}

// Arrived returns the keys that changes since Begin made known, or known as something else. It is
// valid until the next change.
func (d *Live) Arrived() []Unresolved { return d.arrived }

// Err implements Lookup.
func (d *Live) Err() error { return d.err }

// The names of the records. A record of a member is its stamp, that of a period too; the others are
// those of a Directory. Each period is a record of its own, so that two lanes that read coverages of
// one member need not wait for each other; that a member and payer have any is a record, too.
const (
	liveMember   = "dir/m/"
	liveCoverage = "dir/c/"
	livePeriods  = "dir/p/" // by member and payer
	livePeriod   = "dir/q/" // by member, payer and coverage
	liveProvider = "dir/v/"
)

// nameOf is the name of the record that has a key.
func nameOf(prefix string, key fhir.Raw) string { return prefix + string(key[:]) }

// Names of the records that must appear before something that is unresolved can be resolved.
func (u Unresolved) Names() []string {
	switch u.Type {
	case fhir.Patient:
		return []string{nameOf(liveMember, u.Key)}
	case fhir.Coverage:
		return []string{nameOf(liveCoverage, u.Key), nameOf(livePeriods, u.Key)}
	}
	return []string{nameOf(liveProvider, u.Key)}
}

func (d *Live) recall(names []string) {
	if d.err != nil || len(names) == 0 {
		return
	}
	values, err := d.records.Recall(names)
	if err != nil {
		d.err = fmt.Errorf("read the directory: %w", err)
		return
	}
	for i, n := range names {
		d.read[n] = values[i]
	}
}

// Prefetch reads records together that will be looked up. One read of many costs much less than many of
// one.
func (d *Live) Prefetch(names []string) {
	d.wanted = d.wanted[:0]
	for _, n := range names {
		if !d.has(n) {
			d.read[n] = nil // so that it is read once
			d.wanted = append(d.wanted, n)
		}
	}
	d.recall(d.wanted)
}

// has reports whether a record is known without reading it.
func (d *Live) has(name string) bool {
	_, changed := d.changed[name]
	_, sent := d.sent[name]
	_, read := d.read[name]
	return changed || sent || read
}

// get returns a record as it will be after the batch, nil if there is none.
func (d *Live) get(prefix string, key fhir.Raw) []byte { return d.lookup(nameOf(prefix, key)) }

func (d *Live) lookup(name string) []byte {
	if v, ok := d.changed[name]; ok {
		return v
	}
	if v, ok := d.sent[name]; ok {
		return v
	}
	if _, ok := d.read[name]; !ok {
		d.recall([]string{name})
	}
	return d.read[name]
}

// Other returns a record that is not of the directory, and Change changes it: it becomes durable and
// is guarded like the others.
func (d *Live) Other(name string) []byte { return d.lookup(name) }

// Change changes a record that Other returns.
func (d *Live) Change(name string, value []byte) {
	d.lookup(name) // the guard is what was there before
	d.changed[name] = value
}

func (d *Live) put(prefix string, key fhir.Raw, value []byte) { d.changed[nameOf(prefix, key)] = value }

// fault records a record that is not as it was written.
func (d *Live) fault() {
	if d.err == nil {
		d.err = fmt.Errorf("read the directory: a record is damaged")
	}
}

// HasMember implements Lookup.
func (d *Live) HasMember(member fhir.Raw) bool {
	return d.get(liveMember, member) != nil || d.base != nil && d.base.HasMember(member)
}

// Coverage implements Lookup.
func (d *Live) Coverage(key fhir.Raw) (e Coverage, ok bool) {
	v := d.get(liveCoverage, key)
	if v == nil {
		if d.base == nil {
			return e, false
		}
		return d.base.Coverage(key)
	}
	if len(v) != coverageRecords.Size {
		d.fault()
		return e, false
	}
	e.read(v)
	return e, true
}

// CoverageOn implements Lookup.
func (d *Live) CoverageOn(memberPayer fhir.Raw, day string) (Coverage, bool) {
	b := bestCoverage{day: day, of: d.Coverage}
	for _, p := range d.periodsOf(memberPayer) {
		b.consider(&p)
	}
	if !b.found && d.base != nil {
		return d.base.CoverageOn(memberPayer, day)
	}
	return b.coverage, b.found
}

// periodsOf lists the periods of a member and payer, in the order of their coverages.
func (d *Live) periodsOf(memberPayer fhir.Raw) (list []period) {
	if d.get(livePeriods, memberPayer) == nil || d.err != nil {
		return nil
	}
	prefix := nameOf(livePeriod, memberPayer)
	stamps := map[string][]byte{}
	err := d.records.Each(prefix, func(name string, value []byte) error {
		stamps[name] = bytes.Clone(value)
		return nil
	})
	if err != nil {
		d.err = fmt.Errorf("read the directory: %w", err)
		return nil
	}
	for _, newer := range [2]map[string][]byte{d.sent, d.changed} {
		for name, v := range newer {
			if strings.HasPrefix(name, prefix) {
				stamps[name] = v
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(stamps)) {
		coverage, stamp := name[len(prefix):], stamps[name]
		if len(coverage) != rawSize || len(stamp) != stampSize {
			d.fault()
			return nil
		}
		list = append(list, period{fhir.Raw([]byte(coverage)), Stamp(stamp)})
	}
	return list
}

// Provider implements Lookup.
func (d *Live) Provider(key fhir.Raw) (p Provider, ok bool) {
	v := d.get(liveProvider, key)
	if v == nil {
		if d.base == nil {
			return p, false
		}
		return d.base.Provider(key)
	}
	if len(v) != providerRecords.Size {
		d.fault()
		return p, false
	}
	p.read(v)
	return p, true
}

// Outdated implements Changes.
func (d *Live) Outdated(t cpcds.Table, key fhir.Raw, st Stamp) bool {
	var known Stamp
	delete(d.added, key)
	switch t {
	case cpcds.Members:
		copy(known[:], d.get(liveMember, key))
	case cpcds.Coverages:
		e, _ := d.Coverage(key)
		known = e.stamp
	default:
		p, _ := d.Provider(key)
		known = p.Stamp
	}
	return bytes.Compare(known[:], st[:]) > 0
}

// Add implements Changes: it records that a row is not older than what the directory has.
func (d *Live) Add(key fhir.Raw, _ Stamp, _ int, _ int64) error {
	d.added[key] = true
	return d.err
}

// Has reports whether the last row of a key was not older than what the directory has.
func (d *Live) Has(key fhir.Raw, _ int, _ int64) bool { return d.added[key] }

// AddMember implements Changes.
func (d *Live) AddMember(key fhir.Raw, st Stamp) error {
	old := d.get(liveMember, key)
	if old == nil {
		d.arrived = append(d.arrived, Unresolved{key, fhir.Patient})
	}
	if bytes.Compare(st[:], old) > 0 {
		d.put(liveMember, key, st[:])
	}
	return d.err
}

func (d *Live) addCoverage(key fhir.Raw, e *Coverage) {
	old, known := d.Coverage(key)
	order := bytes.Compare(e.stamp[:], old.stamp[:])
	if known && (order < 0 || order == 0 && *e == old) {
		return
	}
	d.put(liveCoverage, key, e.record(key))
	if !known {
		d.arrived = append(d.arrived, Unresolved{key, fhir.Coverage})
	}
}

func (d *Live) addPeriod(memberPayer fhir.Raw, p period) {
	if d.get(livePeriods, memberPayer) == nil {
		d.put(livePeriods, memberPayer, []byte{1})
		d.arrived = append(d.arrived, Unresolved{memberPayer, fhir.Coverage})
	}
	name := nameOf(livePeriod, memberPayer) + string(p.coverage[:])
	if bytes.Compare(p.stamp[:], d.lookup(name)) > 0 {
		d.changed[name] = p.stamp[:]
	}
}

// AddCoverage implements Changes.
func (d *Live) AddCoverage(keys []fhir.Raw, memberPayer fhir.Raw, e *Coverage) error {
	for _, k := range keys {
		d.addCoverage(k, e)
	}
	d.addPeriod(memberPayer, period{keys[0], e.stamp})
	return d.err
}

// AddProvider implements Changes.
func (d *Live) AddProvider(keys []fhir.Raw, p Provider) {
	for _, k := range keys {
		old, known := d.Provider(k)
		if known && !p.knownAs(k, &old) {
			continue
		}
		if !known || old.ID != p.ID || old.Practitioner != p.Practitioner {
			d.arrived = append(d.arrived, Unresolved{k, fhir.Organization})
		}
		d.put(liveProvider, k, p.record(k))
	}
}

// Remove forgets what has a key, because its record was deleted. It returns the name and the value of the
// record that this removes, "" if there is none.
func (d *Live) Remove(t cpcds.Table, key fhir.Raw) (removed string, value []byte) {
	prefix := map[cpcds.Table]string{cpcds.Members: liveMember, cpcds.Coverages: liveCoverage}[t]
	if prefix == "" {
		prefix = liveProvider
	}
	if value = d.get(prefix, key); value == nil {
		return "", nil
	}
	d.put(prefix, key, nil)
	return nameOf(prefix, key), value
}
