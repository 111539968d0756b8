package directory

import (
	"bytes"
	"encoding/binary"
	"maps"

	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Index makes the next snapshot from the rows of a small table. Their order does not matter. It
// belongs to one goroutine.
type Index struct {
	known *Directory // the snapshot before
	next  *Directory
	rows  *sorted.Builder // of the winners
	parts map[**sorted.Table]*sorted.Builder
}

// Index begins the snapshot that has the rows of a small table too.
func (d *Directory) Index(t cpcds.Table) (*Index, error) {
	next := &Directory{members: d.members, coverages: d.coverages, periods: d.periods, providers: d.providers, shared: d.shared}
	if t == cpcds.Providers || t == cpcds.Organizations {
		next.providers = maps.Clone(d.providers)
	}
	x := &Index{known: d, next: next, rows: sorted.NewBuilder(d.shared.format(winnerRecords), d.shared.spill), parts: map[**sorted.Table]*sorted.Builder{}}
	for _, p := range next.parts() {
		if p.of != t {
			continue
		}
		b := sorted.NewBuilder(p.format, d.shared.spill)
		if err := b.AddTable(*p.table); err != nil {
			return nil, err
		}
		x.parts[p.table] = b
	}
	return x, nil
}

// Add adds a row by its key, its stamp, the number of its input (-1 for a row of the layout), and
// its own number there.
func (x *Index) Add(key fhir.Raw, st Stamp, source int, row int64) error {
	return x.rows.Add(winnerRecord(key, st, source, row))
}

// Outdated reports whether the previous snapshot has a newer row for a key, or an equally new one
// that takes precedence.
func (x *Index) Outdated(t cpcds.Table, key fhir.Raw, st Stamp) bool {
	var known Stamp
	switch t {
	case cpcds.Members:
		x.known.find(x.known.members, key, func(record []byte) { known = Stamp(record[memberSize:]) })
	case cpcds.Coverages:
		c, _ := x.known.Coverage(key)
		known = c.stamp
	default:
		known = x.known.providers[key].Stamp
	}
	return bytes.Compare(known[:], st[:]) > 0
}

// AddMember adds a member.
func (x *Index) AddMember(key fhir.Raw, st Stamp) error {
	return x.parts[&x.next.members].Add(append(key[:], st[:]...))
}

// AddProvider adds a practitioner or an organization by the keys that it is known by.
func (x *Index) AddProvider(keys []fhir.Raw, p Provider) {
	for _, k := range keys {
		if old, known := x.next.providers[k]; !known || p.knownAs(k, &old) {
			x.next.providers[k] = p
		}
	}
}

// AddCoverage adds a coverage by the keys that it is known by, and by its member and payer.
func (x *Index) AddCoverage(keys []fhir.Raw, memberPayer fhir.Raw, e *Coverage) error {
	for _, k := range keys {
		if err := x.parts[&x.next.coverages].Add(e.record(k)); err != nil {
			return err
		}
	}
	p := period{keys[0], e.stamp}
	return x.parts[&x.next.periods].Add(p.record(memberPayer))
}

// Done returns the snapshot, and which of several rows of each key was selected.
func (x *Index) Done() (*Directory, *Winners, error) {
	for table, b := range x.parts {
		t, err := b.Build()
		if err != nil {
			return nil, nil, err
		}
		x.next.set(table, t)
	}
	t, err := x.rows.Build()
	if err != nil {
		return nil, nil, err
	}
	return x.next, &Winners{t, x.next}, x.next.Err()
}

// Winners knows which row of a small table was selected for a key: the newest, and among equally
// new ones the one with the greatest digest.
type Winners struct {
	rows *sorted.Table
	dir  *Directory
}

// A record is the key, the row's stamp, the source, and the row's number.
var winnerRecords = sorted.Format{Name: "winners", Size: rawSize + stampSize + 12, Key: rawSize, Merge: func(old, next []byte) {
	const source = rawSize + stampSize
	layout, of := int32(binary.BigEndian.Uint32(next[source:])) < 0, int32(binary.BigEndian.Uint32(old[source:])) < 0
	// Rows of the layout count only if no other row has the key.
	if layout == of && bytes.Compare(next[rawSize:source], old[rawSize:source]) > 0 || of && !layout {
		copy(old, next)
	}
}}

func winnerRecord(key fhir.Raw, st Stamp, source int, row int64) []byte {
	b := make([]byte, 0, winnerRecords.Size)
	b = append(append(b, key[:]...), st[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(int32(source)))
	return binary.BigEndian.AppendUint64(b, uint64(row))
}

// Has reports whether a row was selected for a key. source is the number of its input.
func (w *Winners) Has(key fhir.Raw, source int, row int64) (has bool) {
	w.dir.find(w.rows, key, func(record []byte) {
		record = record[rawSize+stampSize:]
		has = int32(binary.BigEndian.Uint32(record)) == int32(source) && binary.BigEndian.Uint64(record[4:]) == uint64(row)
	})
	return has
}

// Close removes the files.
func (w *Winners) Close() { w.rows.Remove() }
