package arrowio

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// slabRows is how many rows a slab has at most, but for nested rows: a slab has as
// many of them as promise to become about so many rows.
const slabRows = 4096

// source reads a range of rows of a file.
type source struct {
	file    *file
	columns []*leaf
	lists   []list
	number  []int // by list in the file: its place in lists, -1 if it is not read

	row, to int64
	batch   int
	reader  reader
	record  arrow.Record
	arrays  []place // by column, in the record

	vectors []vector
	rows    []int32 // the rows of the slab, as places in the record
	lengths [][]int32
	unfold  pipeline.Unfold
	want    int // input rows of the next nested slab
}

// list is a list that is read.
type list struct {
	outer   []int
	array   array.ListLike
	structs []arrow.Array // around it
	at      []int32       // the elements of the slab, as places in the list's values
}

// place is where the values of a column are in a record.
type place struct {
	array   arrow.Array
	structs []arrow.Array // around it, within its list
}

func newSource(f *file, from, to int64, columns []int) *source {
	s := &source{file: f, row: from, to: to, want: slabRows / 8, vectors: make([]vector, len(columns)),
		arrays: make([]place, len(columns)), number: make([]int, f.lists)}
	used := make([]*leaf, f.lists)
	for _, c := range columns {
		l := &f.leaves[c]
		s.columns = append(s.columns, l)
		if l.list >= 0 {
			used[l.list] = l
		}
	}
	for i, l := range used { // in the order of the file, whatever the order of the columns
		s.number[i] = -1
		if l != nil {
			s.number[i] = len(s.lists)
			s.lists = append(s.lists, list{outer: l.outer})
		}
	}
	s.lengths = make([][]int32, len(s.lists))
	for s.batch < len(f.batches) && f.batches[s.batch].first+f.batches[s.batch].rows <= from {
		s.batch++
	}
	return s
}

// Next implements pipeline.Source.
func (s *source) Next(ctx context.Context, r *cpcds.Rows) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.row >= s.to {
		return io.EOF
	}
	if err := guard(s.enterBatch); err != nil {
		return s.file.describe(s.row+1, err)
	}
	for len(r.Columns) < len(s.columns) {
		r.Columns = append(r.Columns, cpcds.Column{})
	}
	r.Columns, r.First = r.Columns[:len(s.columns)], s.row
	b := s.file.batches[s.batch]
	rows := min(s.to, b.first+b.rows) - s.row
	if len(s.lists) > 0 {
		rows = min(rows, int64(s.want))
	}
	rows = min(rows, slabRows)
	s.rows = s.rows[:0]
	for i := range rows {
		s.rows = append(s.rows, int32(s.row-b.first+i))
	}
	if err := s.read(r); err != nil {
		return err
	}
	s.row += rows
	return nil
}

// enterBatch reads the record that holds the next row.
func (s *source) enterBatch() error {
	for b := s.file.batches[s.batch]; s.row >= b.first+b.rows; b = s.file.batches[s.batch] {
		s.release()
		s.batch++
	}
	if s.record != nil {
		return nil
	}
	if s.reader == nil {
		r, err := s.file.reader()
		if err != nil {
			return err
		}
		s.reader = r
	}
	rec, err := s.reader.record(s.batch)
	if err != nil {
		return err
	}
	s.record = rec
	if rec.NumRows() != s.file.batches[s.batch].rows {
		return errCorrupt
	}
	for i, l := range s.columns {
		if l.list < 0 {
			s.arrays[i] = walk(rec.Column(l.outer[0]), nil, l.outer[1:])
			continue
		}
		x := &s.lists[s.number[l.list]]
		p := walk(rec.Column(x.outer[0]), nil, x.outer[1:])
		x.array, x.structs = p.array.(array.ListLike), p.structs
		s.arrays[i] = walk(x.array.ListValues(), nil, l.inner)
	}
	return nil
}

// walk goes from an array down to a leaf or a list.
func walk(a arrow.Array, structs []arrow.Array, way []int) place {
	st, ok := a.(*array.Struct)
	if !ok {
		return place{a, structs}
	}
	structs = append(structs, st)
	return walk(st.Field(way[0]), structs, way[1:])
}

// read fills a slab with s.rows.
func (s *source) read(r *cpcds.Rows) error {
	if err := guard(s.measure); err != nil {
		return s.file.describe(s.row+1, err)
	}
	nested := len(s.lists) > 0
	if !nested {
		r.N, r.Whole, r.Numbers = len(s.rows), nil, nil
	} else {
		r.N = s.unfold.Plan(len(s.rows), s.lengths)
		r.Whole = s.unfold.Whole(r.Whole[:0])
		s.want = min(max(len(s.rows)*slabRows/max(r.N, 1), 1), slabRows)
	}
	for i, l := range s.columns {
		v, col := &s.vectors[i], &r.Columns[i]
		at := s.rows
		if l.list >= 0 {
			at = s.lists[s.number[l.list]].at
		}
		err := guard(func() error { return v.fill(s.arrays[i].array, s.arrays[i].structs, at) })
		if errors.Is(err, errNotText) {
			return &pipeline.FormatError{File: s.file.path, Row: s.row + 1, Column: l.field.Name,
				What: "is not valid UTF-8 text or holds a NUL, here or in the rows that follow"}
		}
		if err != nil {
			return s.file.describe(s.row+1, err)
		}
		switch {
		case !nested:
			col.Index = append(col.Index[:0], v.index...)
		case l.list < 0:
			col.Index = s.unfold.Repeat(col.Index[:0], v.index)
		default:
			col.Index = s.unfold.Spread(col.Index[:0], s.number[l.list], v.index)
		}
		v.column(col)
	}
	return nil
}

// measure finds the elements of the lists of the slab. A list that is null may
// still have a range of elements; it does not count.
func (s *source) measure() error {
	for k := range s.lists {
		x := &s.lists[k]
		x.at, s.lengths[k] = x.at[:0], s.lengths[k][:0]
		limit := int64(x.array.ListValues().Len())
		for _, i := range s.rows {
			null := x.array.IsNull(int(i))
			for _, st := range x.structs {
				null = null || st.IsNull(int(i))
			}
			var from, to int64
			if !null {
				from, to = x.array.ValueOffsets(int(i))
			}
			if from < 0 || to < from || to > limit {
				return errCorrupt
			}
			for e := from; e < to; e++ {
				x.at = append(x.at, int32(e))
			}
			s.lengths[k] = append(s.lengths[k], int32(to-from))
		}
	}
	return nil
}

func (s *source) release() {
	if s.record != nil {
		s.record.Release()
		s.record = nil
	}
}

// Close implements pipeline.Source.
func (s *source) Close() error {
	s.release()
	if s.reader != nil {
		s.reader.close()
		s.reader = nil
	}
	return nil
}
