// Package rowbatch has the rows of an extract on their way from a file to a claim: a batch of rows
// as the file has them, with the canonical values that a layout made from them. It knows layouts,
// and files by their interface. It knows which rows form a claim, but not what becomes of the
// claim.
//
// A Batch comes from a Reader, which overwrites it with the next rows; from Held, which keeps the
// rows of a claim that continues in the next batch; from Gathered, which has rows from many places;
// or from Constants. These keep the raw and the canonical rows in step.
package rowbatch

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Batch is some rows of an input: the file's own text and the canonical columns made from it, row
// by row. What made the batch determines how long its text is valid. It is read by one goroutine at
// a time.
type Batch struct {
	Input *Input // nil for a layout's own rows

	raw       cpcds.Rows
	canonical cpcds.Batch
	plan      *claimColumns // nil in the small tables
	used      Columns       // those of the plan that have values in these rows

	byElement map[cpcds.Element]int // columns; nil until first used
}

// Segment is a run of rows of a batch.
type Segment struct {
	Batch    *Batch
	From, To int
	Older    bool // of an older record of the claim: only its lines count, not its header
}

// InputRows counts the input rows of segments.
func InputRows(segments []Segment) (n int64) {
	for _, s := range segments {
		n += s.Batch.InputRows(s.From, s.To)
	}
	return n
}

// Unfolded reports whether an input row became several rows of the segments.
func Unfolded(segments []Segment) bool {
	for _, s := range segments {
		for i := s.From; i < s.To; i++ {
			if !s.Batch.Begins(i) {
				return true
			}
		}
	}
	return false
}

// Len is the number of rows.
func (b *Batch) Len() int { return b.raw.N }

// Table is the table that the rows are read for.
func (b *Batch) Table() cpcds.Table { return b.canonical.Table }

// Elements returns the element of each canonical column.
func (b *Batch) Elements() []cpcds.Element { return b.canonical.Elements }

// Column returns a canonical column by its place.
func (b *Batch) Column(place int) *cpcds.Column { return &b.canonical.Columns[place] }

// ColumnOf returns the canonical column of an element, nil if it is not bound.
func (b *Batch) ColumnOf(e cpcds.Element) *cpcds.Column { return b.canonical.Column(e) }

// Place returns the place of the last column of an element, and whether it is bound.
func (b *Batch) Place(e cpcds.Element) (place int, ok bool) {
	if b.byElement == nil {
		b.byElement = map[cpcds.Element]int{}
		for c, x := range b.canonical.Elements {
			b.byElement[x] = c
		}
	}
	place, ok = b.byElement[e]
	return place, ok
}

// Raw returns what row i has in a column of the file, "" if nothing.
func (b *Batch) Raw(c RawColumn, i int) string { return b.raw.Columns[c.column].Value(i) }

// RawOf returns what row i has in the file's columns that an element is read from, concatenated.
func (b *Batch) RawOf(e cpcds.Element, i int) string {
	if b.Input == nil {
		return ""
	}
	var s strings.Builder
	names := b.Input.ColumnsOf(e)
	for _, c := range b.Input.RawColumns() {
		if slices.Contains(names, c.Name) {
			s.WriteString(b.Raw(c, i) + keySeparator)
		}
	}
	return s.String()
}

// Field returns what row i has in a field of the file, which must be one that is read.
func (b *Batch) Field(field, i int) string {
	for c, f := range b.Input.order {
		if f == field {
			return b.raw.Columns[c].Value(i)
		}
	}
	return ""
}

// RawRows returns the rows as the file has them, in the input's Columns. They must not be
// changed.
func (b *Batch) RawRows() *cpcds.Rows { return &b.raw }

// InputRow returns the number of the input row, counted from 0, of row i.
func (b *Batch) InputRow(i int) int64 { return b.raw.InputRow(i) }

// InputRows counts the input rows that begin in [from, to).
func (b *Batch) InputRows(from, to int) int64 {
	if len(b.raw.Whole) == 0 {
		return int64(to - from)
	}
	var n int64
	for _, w := range b.raw.Whole[from:to] {
		if w {
			n++
		}
	}
	return n
}

// Begins reports whether row i begins an input row.
func (b *Batch) Begins(i int) bool { return len(b.raw.Whole) == 0 || b.raw.Whole[i] }

// keySeparator joins the parts of a key; canonical text has no control characters.
const keySeparator = "\x1f"

// Key returns the claim key of row i. A key of one column is a view.
func (b *Batch) Key(i int) string {
	if len(b.plan.key) == 1 {
		return b.Column(b.plan.key[0]).Value(i)
	}
	var s strings.Builder
	for n, c := range b.plan.key {
		if n > 0 {
			s.WriteString(keySeparator)
		}
		s.WriteString(b.Column(c).Value(i))
	}
	return s.String()
}

// SameKey reports whether rows i and j have the same claim key.
func (b *Batch) SameKey(i, j int) bool {
	for _, c := range b.plan.key {
		col := b.Column(c)
		if col.Index[i] != col.Index[j] && col.Value(i) != col.Value(j) {
			return false
		}
	}
	return true
}

// Version is what orders the records of row i's claim, and the element that has it; "" if the row
// has none.
func (b *Batch) Version(i int) (string, cpcds.Element) {
	for _, c := range b.plan.version {
		if v := b.Column(c).Value(i); v != "" {
			return v, b.canonical.Elements[c]
		}
	}
	return "", cpcds.NoElement
}

// Split returns the value of row i by which the layout splits a claim, "" if none.
func (b *Batch) Split(i int) string {
	if b.plan.split < 0 {
		return ""
	}
	return b.Column(b.plan.split).Value(i)
}

// LineNumber is the canonical number of the line in row i, "" if it has none, and whether
// the row is a line.
func (b *Batch) LineNumber(i int) (number string, line bool) {
	if b.plan.number >= 0 {
		number = cpcds.CanonicalLineNumber(b.Column(b.plan.number).Value(i))
	}
	return number, b.Filled(b.plan.lineWhen, i)
}

// IsLine reports whether row i is a service line. numbered is false for a row that has a service
// but lacks the number that would make it a line.
func (b *Batch) IsLine(i int) (line, numbered bool) {
	if b.Filled(b.plan.lineWhen, i) {
		return true, true
	}
	return b.plan.numbered && b.Written(b.used.services, i), false
}

// LineColumns are the file's columns that make a row a service line.
func (b *Batch) LineColumns() (columns []string) {
	for _, c := range b.plan.lineWhen {
		columns = append(columns, b.Input.ColumnsOf(b.canonical.Elements[c])...)
	}
	return columns
}

// Used returns the columns of a claim that have values in these rows.
func (b *Batch) Used() *Columns { return &b.used }

// Filled reports whether one of the columns has a value in row i.
func (b *Batch) Filled(places []int, i int) bool {
	for _, c := range places {
		if b.Column(c).Value(i) != "" {
			return true
		}
	}
	return false
}

// Written is Filled, but also true for a value that cannot be read.
func (b *Batch) Written(places []int, i int) bool {
	for _, c := range places {
		col := b.Column(c)
		if k := col.Index[i]; k >= 0 && (col.Values[k] != "" || col.Bad != nil && col.Bad[k] != "") {
			return true
		}
	}
	return false
}
