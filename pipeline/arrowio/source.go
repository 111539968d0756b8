package arrowio

import (
	"context"
	"errors"
	"io"
	"math"
	"os"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowio/array"
	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowio/ipc"
	"cpcds2fhir/schemas/cpcds"
)

const (
	// batchRows is the maximum number of rows in a row batch. Nested rows can exceed it: a row
	// batch has as many of them as are expected to unfold into about this many rows.
	batchRows = 4096

	// perCell is the approximate memory in bytes for each value of a row batch, in addition to
	// long text.
	perCell = 64

	maxElements = 1 << 26 // maximum number of list elements per row, regardless of the memory limit

	// Values of column.list for columns that are not in an unfolded list.
	atTop       = -1
	notUnfolded = -2
)

// source reads a range of rows of a file.
type source struct {
	file    *file
	columns []column
	lists   []list

	row, to int64
	batch   int
	memory  int64       // math.MaxInt64 if there is no limit
	body    *array.Body // of the current batch, nil if it has not been read yet
	ready   bool        // the dictionaries have been read, so the memory left for buffers is known
	store   *array.Storage

	rows    []int32 // indexes of the rows of the row batch, relative to its first row
	lengths [][]int32
	unfold  pipeline.Unfold
	want    int // input rows of the next row batch
}

// column is a column that is being read.
type column struct {
	leaf *leaf
	kept bool  // it is only kept, so its errors do not stop the load
	list int   // its index in lists, or atTop or notUnfolded
	err  error // the reason why it cannot be read in this batch
	skip bool  // it does not fit into this row batch
	vector
}

// list is a list that is being read.
type list struct {
	typ    *array.Type
	outer  []*array.Type // the structs that contain it
	window array.Lists

	first int64   // index of the first element in the row batch
	n     int     // length of the element range from the first to the last
	at    []int32 // indexes of the elements in the row batch, relative to first
}

func newSource(f *file, from, to int64, columns pipeline.Columns) *source {
	s := &source{file: f, row: from, to: to, memory: f.options.Memory, store: array.NewStorage(f.options.Temp, f.options.Memory)}
	if s.memory <= 0 {
		s.memory = math.MaxInt64
	}
	for i, k := range columns.All() {
		c := column{leaf: &f.leaves[k], kept: i >= len(columns.Bound), list: atTop}
		if c.leaf.list != nil {
			c.list = notUnfolded
		}
		s.columns = append(s.columns, c)
	}
	for _, x := range f.lists { // in file order, regardless of column order
		s.addList(x)
	}
	s.lengths = make([][]int32, len(s.lists))
	s.want = s.most()
	if len(s.lists) > 0 {
		s.want = max(s.want/8, 1)
	}
	for s.batch < len(f.Batches) && f.Batches[s.batch].First+f.Batches[s.batch].Rows <= from {
		s.batch++
	}
	return s
}

// addList adds a list if it contains a bound column, because only such lists are unfolded.
func (s *source) addList(x *array.Type) {
	bound := false
	for i := range s.columns {
		bound = bound || s.columns[i].leaf.list == x && !s.columns[i].kept
	}
	if !bound {
		return
	}
	var outer []*array.Type
	for i := range s.columns {
		if c := &s.columns[i]; c.leaf.list == x {
			c.list, outer = len(s.lists), c.leaf.outer
		}
	}
	s.lists = append(s.lists, list{typ: x, outer: outer, window: array.Lists{Around: make([]array.Window, len(outer))}})
}

// most returns the maximum number of rows in a row batch. It is lower if there are many columns,
// because they need much memory.
func (s *source) most() int {
	return int(min(max(s.memory/4/perCell/int64(max(len(s.columns), 1)), 1), batchRows))
}

// Next implements pipeline.Source.
func (s *source) Next(ctx context.Context, r *cpcds.Rows) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.row >= s.to {
		return io.EOF
	}
	if err := fault.Guard(s.enterBatch); err != nil {
		return s.file.describe(s.row+1, "", err)
	}
	for len(r.Columns) < len(s.columns) {
		r.Columns = append(r.Columns, cpcds.Column{})
	}
	r.Columns, r.First = r.Columns[:len(s.columns)], s.row
	if err := s.readDictionaries(); err != nil {
		return err
	}
	rows, err := s.plan()
	if err != nil {
		return err
	}
	if err := s.read(r); err != nil {
		return err
	}
	s.row += rows
	return nil
}

// enterBatch opens the record batch that contains the next row.
func (s *source) enterBatch() error {
	for b := s.file.Batches[s.batch]; s.row >= b.First+b.Rows; b = s.file.Batches[s.batch] {
		s.batch++
		s.body = nil
	}
	if s.body != nil {
		return nil
	}
	f := s.file
	b := &f.Batches[s.batch]
	m, err := ipc.ReadMessage(f.os, f.size, b.Place)
	if err != nil {
		return err
	}
	if m.Kind != ipc.KindRecordBatch || m.Rows != b.Rows {
		return fault.Corrupt("it changed while it was being read")
	}
	next, err := f.schema.Batch(f.os, m, s.store)
	if err != nil {
		return err
	}
	s.leaveBatch()
	s.body, s.ready = next, false
	return nil
}

// leaveBatch drops all references to the buffers of the current batch.
func (s *source) leaveBatch() {
	for i := range s.columns {
		c := &s.columns[i]
		c.err = nil
		c.values.Leave()
		for k := range c.structs {
			c.structs[k].Leave()
		}
		clear(c.plain[:cap(c.plain)])
	}
	for i := range s.lists {
		s.lists[i].window.Leave()
	}
}

// readDictionaries reads the dictionaries of the current batch. The memory that they leave is
// available for its buffers.
func (s *source) readDictionaries() error {
	if s.ready {
		return nil
	}
	used := int64(0)
	for i := range s.columns {
		c := &s.columns[i]
		x := c.leaf.typ.Encoded()
		if c.list == notUnfolded || c.leaf.field.Fault != "" || x.Values == nil {
			continue
		}
		of := s.file.ChainOf(x.Dict, &s.file.Batches[s.batch])
		if c.dict == nil || c.dict.of != of || c.dict.size > s.memory/2-used {
			c.dict = nil
			err := fault.Guard(func() (err error) {
				c.dict, err = s.file.dictionary(x, of, s.memory/2-used)
				return err
			})
			if err != nil {
				var size *fault.SizeError
				if errors.As(err, &size) {
					size.Need += 2 * used
				}
				if c.err = err; s.stops(c, err) {
					return s.file.describe(s.row+1, c.leaf.field.Name, err)
				}
				continue
			}
		}
		used += c.dict.size
	}
	s.store.Reset(s.memory/2 - used)
	s.ready = true
	return nil
}

// stops reports whether an error in a column stops the load. An error in a column that is only
// kept does not, unless it is a disk error.
func (s *source) stops(c *column, err error) bool {
	var disk *os.PathError
	return !c.kept || errors.As(err, &disk)
}

// read fills a row batch with the planned rows.
func (s *source) read(r *cpcds.Rows) error {
	nested := len(s.lists) > 0
	r.Numbers = nil
	if !nested {
		r.N, r.Whole = len(s.rows), nil
	} else {
		r.N = s.unfold.Plan(len(s.rows), s.lengths)
		r.Whole = s.unfold.Whole(r.Whole[:0])
		s.want = min(max(len(s.rows)*s.most()/max(r.N, 1), 1), s.most())
	}
	for i := range s.columns {
		c, col := &s.columns[i], &r.Columns[i]
		if c.list == notUnfolded {
			c.vector.clear(len(s.rows))
		} else if err := s.fill(c); err != nil {
			if s.stops(c, err) {
				return s.file.describe(s.row+1, c.leaf.field.Name, err)
			}
			_, _, at := s.span(c)
			c.vector.clear(len(at))
		}
		switch {
		case !nested:
			col.Index = append(col.Index[:0], c.index...)
		case c.list < 0:
			col.Index = s.unfold.Repeat(col.Index[:0], c.index)
		default:
			col.Index = s.unfold.Spread(col.Index[:0], c.list, c.index)
		}
		c.column(col)
	}
	return nil
}

// span returns the values of a column that are in the row batch: the range, and the indexes
// relative to first.
func (s *source) span(c *column) (first int64, n int, at []int32) {
	if c.list >= 0 {
		l := &s.lists[c.list]
		return l.first, l.n, l.at
	}
	return s.row - s.file.Batches[s.batch].First, len(s.rows), s.rows
}

func (s *source) fill(c *column) error {
	if c.leaf.field.Fault != "" {
		return &pipeline.FormatError{Column: c.leaf.field.Name, What: c.leaf.field.Fault,
			Hint: "leave the column out of the extract or write it as text"}
	}
	if c.err != nil {
		return c.err
	}
	if c.skip {
		return &fault.SizeError{What: "does not fit into the memory limit"}
	}
	first, n, at := s.span(c)
	return fault.Guard(func() error { return c.vector.fill(s.body, c, first, n, at) })
}

// Close implements pipeline.Source.
func (s *source) Close() error {
	s.store.Close()
	s.body = nil
	return nil
}
