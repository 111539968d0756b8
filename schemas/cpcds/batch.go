package cpcds

// Column is a column of text: row i has the value Values[Index[i]], or nothing if Index[i] is
// negative. A Parquet dictionary page already has this form; a plain column has one value per row.
// Values are views: they are valid until the batch is filled again.
type Column struct {
	Index  []int32
	Values []string

	// Dict identifies Values while they stay the same over several batches, so that work on them
	// need not be repeated. 0 means that Values is new each time.
	Dict uint64

	// Bad names the rule that a value broke when it was read, by its index in Values, "" if it is
	// valid; nil if all are valid. The text of a bad value is empty.
	Bad []string

	// Repaired names the repair that made a value, by its index in Values, "" if none did; nil if
	// there are none.
	Repaired []string
}

// Field is one column of an input file, as its schema or header line has it.
type Field struct {
	Name  string // the header as written in the file
	Group string // the list that holds the column in a nested file, "" at the top
	Type  string // the type in the file, for messages: "string", "decimal(12,2)", "date"

	// Fault says why its values cannot become text, "" if they can: "is a map". Such a column can
	// be named but not read.
	Fault string

	// Bulk marks a column that is not worth keeping with a rejected row: its values may be large or
	// binary. It is read only if it is bound.
	Bulk bool
}

// Value returns the value of row i, "" if there is none.
func (c *Column) Value(i int) string {
	if i >= len(c.Index) {
		return ""
	}
	if k := c.Index[i]; k >= 0 {
		return c.Values[k]
	}
	return ""
}

// Reset empties the column and keeps its memory.
func (c *Column) Reset() {
	c.Index, c.Values, c.Dict, c.Bad, c.Repaired = c.Index[:0], c.Values[:0], 0, nil, nil
}

// AppendPlain appends a row with its own value; "" appends an absent value. The column must not be
// a dictionary column.
func (c *Column) AppendPlain(v string) {
	if v == "" {
		c.Index = append(c.Index, -1)
		return
	}
	c.Index = append(c.Index, int32(len(c.Values)))
	c.Values = append(c.Values, v)
}

// Rows is a row batch of rows of one lane as the source has them: its own columns, the values as
// text, not yet interpreted. A source refills it repeatedly.
type Rows struct {
	First   int64    // number of the first row within its input, counted from 0
	N       int      // rows in this row batch
	Columns []Column // in the order of the lane's schema

	// Whole, if not empty, says for each row whether it begins an input row: a source that unfolds
	// nested lists makes several rows from one. If empty, all rows do.
	Whole []bool

	// Numbers, if not empty, has the number of each row's input row: rows that were gathered from
	// several places are not consecutive.
	Numbers []int64
}

// Reset empties the row batch and keeps its memory.
func (r *Rows) Reset() {
	r.N, r.Whole, r.Numbers = 0, r.Whole[:0], r.Numbers[:0]
	for i := range r.Columns {
		r.Columns[i].Reset()
	}
}

// InputRow returns the number of the input row, counted from 0, of row i.
func (r *Rows) InputRow(i int) int64 {
	if len(r.Numbers) > 0 {
		return r.Numbers[i]
	}
	if len(r.Whole) == 0 {
		return r.First + int64(i)
	}
	n := r.First - 1
	for _, w := range r.Whole[:i+1] {
		if w {
			n++
		}
	}
	return n
}

// Batch is a row batch of rows of one table as canonical text, one column per bound
// element. Its rows are those of the Rows it was made from, which it may point
// into.
type Batch struct {
	Table    Table
	N        int
	Elements []Element // the bound elements, parallel to Columns
	Columns  []Column
}

// Column returns the column of e, nil if it is not bound.
func (b *Batch) Column(e Element) *Column {
	for i, x := range b.Elements {
		if x == e {
			return &b.Columns[i]
		}
	}
	return nil
}
