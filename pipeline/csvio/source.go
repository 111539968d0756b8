package csvio

import (
	"context"
	"io"

	"cpcds2fhir/schemas/cpcds"
)

// slabRows is how many rows a slab has at most; one buffer full of rows may be
// fewer.
const slabRows = 4096

// source reads a range of rows. Fields are views into the scanner's buffer, which
// stays as it is until the next call.
type source struct {
	in      *scanner
	to      int64
	columns []column
}

// column collects one column of a slab.
type column struct {
	field  int      // its place in a record
	index  []int32  // the slab's, as long as the longest slab
	values []string // the source's own: what the slab had may belong to another source
}

func newSource(in *scanner, to int64, fields []int) *source {
	s := &source{in: in, to: to}
	for _, f := range fields {
		s.columns = append(s.columns, column{field: f})
	}
	return s
}

// skipTo passes over the rows before row.
func (s *source) skipTo(ctx context.Context, row int64) error {
	s.in.countOnly = true
	defer func() { s.in.countOnly = false }()
	for s.in.base.row < row {
		if s.in.base.row%markRows == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		rec, err := s.in.next(true)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.in.checkCount(&rec); err != nil {
			return err
		}
		s.in.passed(&rec)
	}
	return nil
}

// Next implements pipeline.Source.
func (s *source) Next(ctx context.Context, r *cpcds.Rows) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.begin(r)
	s.in.encoded = s.in.encoded[:0]
	for r.N < slabRows && s.in.base.row < s.to {
		rec, err := s.in.next(r.N == 0)
		if err == errHold || err == io.EOF && r.N > 0 {
			break
		}
		if err != nil {
			return err
		}
		if err := s.in.checkCount(&rec); err != nil {
			return err
		}
		s.add(r.N, &rec)
		r.N++
		s.in.passed(&rec)
	}
	if r.N == 0 {
		return io.EOF
	}
	for i := range s.columns {
		r.Columns[i].Index = s.columns[i].index[:r.N]
		r.Columns[i].Values = s.columns[i].values
	}
	return nil
}

// begin empties the slab and makes room for slabRows rows.
func (s *source) begin(r *cpcds.Rows) {
	for len(r.Columns) < len(s.columns) {
		r.Columns = append(r.Columns, cpcds.Column{})
	}
	r.Columns = r.Columns[:len(s.columns)]
	r.First, r.N, r.Whole, r.Numbers = s.in.base.row, 0, nil, nil
	for i := range s.columns {
		c := &s.columns[i]
		c.index = r.Columns[i].Index
		if cap(c.index) < slabRows {
			c.index = make([]int32, slabRows)
		}
		c.index, c.values = c.index[:slabRows], c.values[:0]
		r.Columns[i] = cpcds.Column{Index: c.index[:0]}
	}
}

// add writes row n of the slab.
func (s *source) add(n int, rec *record) {
	decoded := s.in.file.charset.perByte()
	fields := rec.fields
	for i := range s.columns {
		c := &s.columns[i]
		if c.field >= len(fields) || fields[c.field].from == fields[c.field].to {
			c.index[n] = -1
			continue
		}
		f := fields[c.field]
		var v string
		if decoded || f.escaped {
			v = s.in.text(rec, c.field)
		} else {
			v = view(rec.raw[f.from:f.to])
		}
		// The rows of a claim repeat its header: what stands in the row before too is
		// one value, to be converted once.
		if last := len(c.values) - 1; last < 0 || c.values[last] != v {
			c.values = append(c.values, v)
		}
		c.index[n] = int32(len(c.values) - 1)
	}
}

// Close implements pipeline.Source.
func (s *source) Close() error {
	s.in.close()
	return nil
}
