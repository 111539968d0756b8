package parquetio

import (
	"context"
	"io"

	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// slabRows is how many rows a slab has at most, but for nested rows: a slab has as
// many of them as promise to become about so many rows.
const slabRows = 4096

// source reads a range of rows of a file.
type source struct {
	file    *file
	footer  *parquet.File
	columns []*leaf
	lists   []int // by number in the file: number among the lists that are read, -1 if none
	nested  bool

	row, to int64 // next input row; end of the range
	group   int   // the row group that row is in
	chunks  []*chunk

	vectors []vector
	lengths [][]int32 // by list that is read
	leads   []int     // by list that is read: the column that says how long the lists are
	unfold  pipeline.Unfold
	scratch []int32
	want    int // input rows of the next nested slab
}

func newSource(f *file, footer *parquet.File, from, to int64, columns []int) *source {
	s := &source{file: f, footer: footer, row: from, to: to, want: slabRows / 8, vectors: make([]vector, len(columns))}
	s.lists = make([]int, f.lists)
	for i := range s.lists {
		s.lists[i] = -1
	}
	for i, c := range columns {
		l := &f.leaves[c]
		s.columns = append(s.columns, l)
		if l.list >= 0 && s.lists[l.list] < 0 {
			s.leads = append(s.leads, i)
			s.lists[l.list] = 0
		}
	}
	n := 0 // number the lists in the order of the file, whatever the order of the columns
	for l, k := range s.lists {
		if k >= 0 {
			s.lists[l] = n
			n++
		}
	}
	s.lengths = make([][]int32, n)
	s.nested = n > 0
	for s.group < len(f.groups) && f.groups[s.group].first+f.groups[s.group].rows <= from {
		s.group++
	}
	return s
}

// Next implements pipeline.Source.
func (s *source) Next(ctx context.Context, r *cpcds.Rows) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, c := range s.chunks {
		c.releaseHeld()
	}
	if s.row >= s.to {
		return io.EOF
	}
	if err := s.enterGroup(); err != nil {
		return err
	}
	for len(r.Columns) < len(s.columns) {
		r.Columns = append(r.Columns, cpcds.Column{})
	}
	r.Columns, r.First = r.Columns[:len(s.columns)], s.row
	g := &s.file.groups[s.group]
	rows := min(s.to, g.first+g.rows) - s.row
	var err error
	if s.nested {
		rows = min(rows, int64(s.want))
		err = s.readNested(r, int(rows))
	} else {
		rows = min(rows, slabRows)
		err = s.readFlat(r, int(rows))
	}
	if err != nil {
		return err
	}
	s.row += rows
	return nil
}

// enterGroup opens the chunks of the row group that holds the next row.
func (s *source) enterGroup() error {
	g := &s.file.groups[s.group]
	if s.row >= g.first+g.rows {
		s.closeChunks()
		for s.row >= g.first+g.rows {
			s.group++
			g = &s.file.groups[s.group]
		}
	}
	if s.chunks != nil {
		return nil
	}
	chunks := s.footer.RowGroups()[s.group].ColumnChunks()
	for _, l := range s.columns {
		c, err := openChunk(l, chunks[l.chunk], s.row-g.first)
		if err != nil {
			return describe(s.file.path, l, s.row, noEOF(err))
		}
		s.chunks = append(s.chunks, c)
	}
	return nil
}

func (s *source) readFlat(r *cpcds.Rows, rows int) error {
	for i, c := range s.chunks {
		col, v := &r.Columns[i], &s.vectors[i]
		v.reset()
		v.index = col.Index[:0] // no list to unfold: read where it belongs
		if err := c.read(v, rows); err != nil {
			return describe(s.file.path, c.leaf, s.row, err)
		}
		col.Index, v.index = v.index, nil
		v.column(col)
	}
	r.N, r.Whole, r.Numbers = rows, nil, nil
	return nil
}

func (s *source) readNested(r *cpcds.Rows, rows int) error {
	for _, i := range s.leads {
		l := s.lists[s.columns[i].list]
		var err error
		s.vectors[i].reset()
		if s.lengths[l], err = s.chunks[i].readList(&s.vectors[i], s.lengths[l][:0], rows); err != nil {
			return describe(s.file.path, s.columns[i], s.row, err)
		}
	}
	r.N = s.unfold.Plan(rows, s.lengths)
	r.Whole = s.unfold.Whole(r.Whole[:0])
	for i, c := range s.chunks {
		if err := s.readColumn(i, rows); err != nil {
			return describe(s.file.path, c.leaf, s.row, err)
		}
		col, v := &r.Columns[i], &s.vectors[i]
		if c.leaf.list < 0 {
			col.Index = s.unfold.Repeat(col.Index[:0], v.index)
		} else {
			col.Index = s.unfold.Spread(col.Index[:0], s.lists[c.leaf.list], v.index)
		}
		v.column(col)
	}
	// A slab of the next nested rows should have about slabRows rows, if they have
	// as many elements as these.
	s.want = min(max(rows*slabRows/max(r.N, 1), 1), slabRows)
	return nil
}

// readColumn reads a column of nested rows, but for those that lead a list: they
// are read already. All columns of a list must have lists of the same lengths.
func (s *source) readColumn(i, rows int) error {
	c, v := s.chunks[i], &s.vectors[i]
	if c.leaf.list < 0 {
		v.reset()
		return c.read(v, rows)
	}
	for _, lead := range s.leads {
		if lead == i {
			return nil
		}
	}
	v.reset()
	var err error
	if s.scratch, err = c.readList(v, s.scratch[:0], rows); err != nil {
		return err
	}
	for k, n := range s.lengths[s.lists[c.leaf.list]] {
		if s.scratch[k] != n {
			return errUneven
		}
	}
	return nil
}

func (s *source) closeChunks() {
	for _, c := range s.chunks {
		c.close()
	}
	s.chunks = nil
}

// Close implements pipeline.Source.
func (s *source) Close() error {
	s.closeChunks()
	return nil
}
