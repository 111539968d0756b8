package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"

	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// learn reads the sources of a small table into the directory, and finds which of
// several rows of one key stands for it.
func (r *Run) learn(ctx context.Context, t cpcds.Table, sources []tableSource) (*winners, error) {
	l, err := r.newLearner(t)
	if err != nil {
		return nil, err
	}
	for _, s := range sources {
		if err := l.source(ctx, s); err != nil {
			return nil, err
		}
	}
	return l.end()
}

// learner makes the part of the directory that a small table has.
type learner struct {
	run     *Run
	table   cpcds.Table
	id      *fhir.Identity
	rows    *sorted.Builder                    // of the winners
	parts   map[**sorted.Table]*sorted.Builder // of the directory, what it has by what it becomes
	periods uint64                             // how many have been learned
}

func (r *Run) newLearner(t cpcds.Table) (*learner, error) {
	l := &learner{run: r, table: t, id: r.Identity.Clone(), rows: sorted.NewBuilder(winnerRecords, r.spillDir()), parts: map[**sorted.Table]*sorted.Builder{}}
	for _, part := range r.dir.tables() {
		if part.of != t {
			continue
		}
		b := sorted.NewBuilder(part.format, r.spillDir())
		if err := b.AddTable(*part.table); err != nil {
			return nil, err
		}
		l.parts[part.table] = b
	}
	if t == cpcds.Coverages {
		err := r.dir.periods.All(func(record []byte) error {
			var p period
			p.read(record)
			l.periods = max(l.periods, p.number+1)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

// end puts what was learned into the directory.
func (l *learner) end() (*winners, error) {
	for table, b := range l.parts {
		t, err := b.Build()
		if err != nil {
			return nil, err
		}
		(*table).Close()
		*table = t
	}
	t, err := l.rows.Build()
	if err != nil {
		return nil, err
	}
	return &winners{t, l.run.dir}, l.run.dir.err()
}

func (l *learner) raw(t fhir.Type, parts ...string) fhir.Raw {
	return l.id.Raw(t, append([]string{l.run.Layout.Source}, parts...)...)
}

func (l *learner) source(ctx context.Context, s tableSource) error {
	var v carin.Verdict
	return l.run.each(ctx, l.table, s, 0, func(b *bound, i int, n int64) error {
		if !b.isRecord(i) {
			return nil
		}
		v.Reset()
		row := l.run.read(l.table, l.id, b, i, &v)
		if !v.OK() {
			return nil
		}
		if err := l.rows.Add(winnerRecord(row.key, row.updated, s.index, n)); err != nil {
			return err
		}
		return l.row(s, &row, n)
	})
}

// row learns what claims need of a row.
func (l *learner) row(s tableSource, row *tableRow, n int64) error {
	d := l.run.dir
	switch l.table {
	case cpcds.Members:
		return l.parts[&d.members].Add(row.key[:])
	case cpcds.Providers, cpcds.Organizations:
		e := providerEntry{id: row.key, practitioner: l.table == cpcds.Providers}
		if s.input == nil && l.table == cpcds.Organizations {
			e.constant = int32(n) + 1
		}
		for _, k := range row.aliases {
			old, known := d.providers[k]
			if !known || old.constant != 0 || k == row.key && e.constant == 0 {
				d.providers[k] = e
			}
		}
	case cpcds.Coverages:
		member, payer := row.get(cpcds.CoveragesMemberID), row.get(cpcds.CoveragesPayerIdentifier)
		e := coverageEntry{id: row.key, insurer: l.run.insurer(l.raw(fhir.Organization, byPayer, payer)),
			member: l.raw(fhir.Patient, member), skip: row.skip != ""}
		for _, k := range row.aliases {
			if err := l.parts[&d.coverages].Add(e.record(k)); err != nil {
				return err
			}
		}
		p := period{row.aliases[0], l.periods, dateOf(row.get(cpcds.CoveragesStartDate)), dateOf(row.get(cpcds.CoveragesEndDate))}
		l.periods++
		return l.parts[&d.periods].Add(p.record(l.raw(fhir.Coverage, "member", member, payer)))
	}
	return nil
}

// winners knows which row of a small table stands for a key: the newest, and of
// equally new ones the first.
type winners struct {
	rows *sorted.Table
	dir  *directory
}

const updatedSize = 40 // of the dates and instants that order rows, the longest of which are shorter

// A record is the key, when the row was updated, the source, and the row's number.
var winnerRecords = sorted.Format{Name: "winners", Size: rawSize + updatedSize + 12, Key: rawSize, Merge: func(old, next []byte) {
	layout := int32(binary.BigEndian.Uint32(next[rawSize+updatedSize:])) < 0 // its rows stand for a key that nothing else has
	if !layout && bytes.Compare(next[rawSize:rawSize+updatedSize], old[rawSize:rawSize+updatedSize]) > 0 {
		copy(old, next)
	}
}}

func winnerRecord(key fhir.Raw, updated string, source int, row int64) []byte {
	b := make([]byte, winnerRecords.Size)
	copy(b, key[:])
	copy(b[rawSize:rawSize+updatedSize], updated)
	binary.BigEndian.PutUint32(b[rawSize+updatedSize:], uint32(int32(source)))
	binary.BigEndian.PutUint64(b[rawSize+updatedSize+4:], uint64(row))
	return b
}

func (w *winners) has(key fhir.Raw, source int, row int64) (has bool) {
	w.dir.find(w.rows, key, func(record []byte) {
		record = record[rawSize+updatedSize:]
		has = int32(binary.BigEndian.Uint32(record)) == int32(source) && binary.BigEndian.Uint64(record[4:]) == uint64(row)
	})
	return has
}

func (w *winners) close() { w.rows.Remove() }
