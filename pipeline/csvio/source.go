package csvio

import (
	"bytes"
	"context"
	"io"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// batchRows is the maximum number of rows of a row batch; a full buffer may have fewer.
const batchRows = 4096

// source reads a range of rows. Fields are views into the scanner's buffer, which
// stays as it is until the next call.
type source struct {
	in      *scanner
	to      int64
	columns []column
}

// column collects one column of a row batch.
type column struct {
	field  int      // its place in a record
	bound  bool     // a value that could mean two things is a fault
	index  []int32  // the row batch's, as long as the longest row batch
	values []string // the source's own: those of the row batch may belong to another source
}

func newSource(in *scanner, to int64, columns pipeline.Columns) *source {
	s := &source{in: in, to: to}
	for i, f := range columns.All() {
		s.columns = append(s.columns, column{field: f, bound: i < len(columns.Bound)})
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
		if err := s.in.check(&rec); err != nil {
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
	for r.N < batchRows && s.in.base.row < s.to {
		rec, err := s.in.next(r.N == 0)
		if err == errHold || err == io.EOF && r.N > 0 {
			break
		}
		if err != nil {
			return err
		}
		if err := s.in.check(&rec); err != nil {
			return err
		}
		if err := s.add(r.N, &rec); err != nil {
			return err
		}
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

// begin empties the row batch and makes room for batchRows rows.
func (s *source) begin(r *cpcds.Rows) {
	for len(r.Columns) < len(s.columns) {
		r.Columns = append(r.Columns, cpcds.Column{})
	}
	r.Columns = r.Columns[:len(s.columns)]
	r.First, r.N, r.Whole, r.Numbers = s.in.base.row, 0, nil, nil
	for i := range s.columns {
		c := &s.columns[i]
		c.index = r.Columns[i].Index
		if cap(c.index) < batchRows {
			c.index = make([]int32, batchRows)
		}
		c.index, c.values = c.index[:batchRows], c.values[:0]
		r.Columns[i] = cpcds.Column{Index: c.index[:0]}
	}
}

// add writes row n of the row batch.
func (s *source) add(n int, rec *record) error {
	if s.in.form.undecided() && bytes.IndexByte(rec.raw, backslash) >= 0 {
		if err := s.checkBackslashes(rec); err != nil {
			return err
		}
	}
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
			if err := s.checkEscapes(c, rec); err != nil {
				return err
			}
			v = s.in.text(rec, c.field)
		} else {
			v = view(rec.raw[f.from:f.to])
		}
		// The rows of a claim repeat its header: a value that repeats the row before is kept once,
		// so it is converted once.
		if last := len(c.values) - 1; last < 0 || c.values[last] != v {
			if suspect[v[0]] {
				var err error
				if v, err = s.judge(c, v); err != nil {
					return err
				}
				if v == "" {
					c.index[n] = -1
					continue
				}
			}
			c.values = append(c.values, v)
		}
		c.index[n] = int32(len(c.values) - 1)
	}
	return nil
}

// checkEscapes rejects an escape in a bound column that programs read differently.
func (s *source) checkEscapes(c *column, rec *record) error {
	f := rec.fields[c.field]
	if !c.bound || !f.escaped || s.in.form.escape == 0 || !s.in.form.escapesWord(rec.raw[f.from:f.to]) {
		return nil
	}
	return s.in.fault(s.in.column(c.field), "has an escape before a letter or digit, which programs read differently", "write the character itself")
}

// checkBackslashes rejects a backslash in a bound column that may be an escape or text.
func (s *source) checkBackslashes(rec *record) error {
	for i := range s.columns {
		c := &s.columns[i]
		if !c.bound || c.field >= len(rec.fields) {
			continue
		}
		if f := rec.fields[c.field]; escapeLike(rec.raw[f.from:f.to]) {
			return s.in.fault(s.in.column(c.field), `has a backslash before another, or before n, r or t; it may be an escape or text`,
				s.in.form.escapeHint("if a backslash escapes what follows it"))
		}
	}
	return nil
}

// Close implements pipeline.Source.
func (s *source) Close() error {
	s.in.close()
	return nil
}
