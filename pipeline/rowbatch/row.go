package rowbatch

import (
	"cmp"

	"cpcds2fhir/schemas/cpcds"
)

// Row is where a record of a claim came from: a row of a batch, and which repetition in it. The
// zero value means no row.
type Row struct {
	Batch      *Batch
	Index      int32
	Repetition int32
}

// Compare orders two places of the extract.
func (r Row) Compare(o Row) int {
	if r.Batch == o.Batch && len(r.Batch.raw.Numbers) == 0 {
		return cmp.Or(cmp.Compare(r.Index, o.Index), cmp.Compare(r.Repetition, o.Repetition))
	}
	return cmp.Or(cmp.Compare(r.Batch.Input.index, o.Batch.Input.index), cmp.Compare(r.InputRow(), o.InputRow()),
		cmp.Compare(r.Index, o.Index), cmp.Compare(r.Repetition, o.Repetition))
}

// InputRow is the number of the input row, counted from 0.
func (r Row) InputRow() int64 { return r.Batch.InputRow(int(r.Index)) }

// LineNumber is the number of the line on the row.
func (r Row) LineNumber() string {
	n, _ := r.Batch.LineNumber(int(r.Index))
	return n
}

// First returns which of two rows counts for a record that both have: that of the lower repetition,
// then of the lower line, then the one that comes first.
func (r Row) First(o Row) Row {
	c := cmp.Compare(o.Repetition, r.Repetition)
	if c == 0 {
		c = cpcds.CompareLineNumbers(o.LineNumber(), r.LineNumber())
	}
	if c < 0 || c == 0 && o.Compare(r) < 0 {
		return o
	}
	return r
}

// Earlier returns the first of two rows in the order of the extract; a may be no row.
func Earlier(a, b Row) Row {
	if a.Batch == nil || b.Compare(a) < 0 {
		return b
	}
	return a
}
