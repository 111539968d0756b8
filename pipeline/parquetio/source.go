package parquetio

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/parquetio/cell"
	"cpcds2fhir/schemas/cpcds"
)

// batchRows is the maximum number of rows in a row batch. Nested rows can exceed it: a row batch
// has as many of them as are expected to unfold into about this many rows.
const batchRows = 4096

// source reads a range of rows of a file.
type source struct {
	file    *file
	footer  *footer
	columns []*leaf
	bound   int   // this many columns at the start are bound and must be readable
	lists   []int // by list number in the file: index among the lists being read, -1 if not read
	nested  bool

	row, to int64 // next input row; end of the range
	group   int   // the row group that contains row
	chunks  []*chunk
	spool   *spool // of a row group whose columns do not fit into memory together; chunks is nil then
	block   int    // next block of the spool
	lost    []bool // by column: it is only kept and could not be read
	shared  *scratch

	vectors []vector
	lengths [][]int32 // by list being read
	leads   []int     // by list being read: the column that determines the list lengths
	unfold  pipeline.Unfold
	scratch []int32
	want    int // input rows of the next nested row batch
	most    int // input rows of a row batch of the row group, or of a spool block, that fit into memory
}

func newSource(f *file, footer *footer, from, to int64, read pipeline.Columns) *source {
	columns := read.All()
	s := &source{file: f, footer: footer, row: from, to: to, want: batchRows / 8, bound: len(read.Bound),
		vectors: make([]vector, len(columns)), lost: make([]bool, len(columns))}
	s.shared = scratches.Get().(*scratch)
	s.shared.pageLimit = f.options.Memory
	s.lists = make([]int, f.lists)
	for i := range s.lists {
		s.lists[i] = -1
	}
	for i, c := range columns {
		l := &f.leaves[c]
		s.columns = append(s.columns, l)
		if l.list >= 0 && s.lists[l.list] < 0 && i < s.bound {
			s.leads = append(s.leads, i)
			s.lists[l.list] = 0
		}
	}
	n := 0 // number the lists in file order, regardless of column order
	for l, k := range s.lists {
		if k >= 0 {
			s.lists[l] = n
			n++
		}
	}
	for i, l := range s.columns[s.bound:] {
		if l.list >= 0 && s.lists[l.list] < 0 { // its list is not unfolded, so the column has no values
			s.columns[s.bound+i] = &leaf{field: l.field, chunk: l.chunk, list: -1, cell: cell.Type{Kind: cell.Null}}
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
	if err := s.enterGroup(ctx); err != nil {
		return err
	}
	for len(r.Columns) < len(s.columns) {
		r.Columns = append(r.Columns, cpcds.Column{})
	}
	r.Columns, r.First = r.Columns[:len(s.columns)], s.row
	g := &s.file.groups[s.group]
	rows := min(s.to, g.first+g.rows, s.row+int64(s.most)) - s.row
	read := s.readFlat
	if s.nested {
		read = s.readNested
		if s.spool == nil { // the blocks of a spool already have the right size
			rows = min(rows, int64(s.want))
		}
	}
	if err := read(r, int(rows)); err != nil {
		return err
	}
	s.row += rows
	s.block++
	if s.row == g.first+g.rows {
		return s.groupEnds()
	}
	return nil
}

// groupEnds checks that no column has more rows than its row group.
func (s *source) groupEnds() error {
	for i, c := range s.chunks {
		if s.lost[i] {
			continue
		}
		if err := s.lose(i, c.ends()); err != nil {
			return s.describe(i, err)
		}
	}
	return nil
}

// enterGroup opens the chunks of the row group that contains the next row.
func (s *source) enterGroup(ctx context.Context) error {
	g := &s.file.groups[s.group]
	if s.row >= g.first+g.rows {
		s.closeChunks()
		for s.row >= g.first+g.rows {
			s.group++
			g = &s.file.groups[s.group]
		}
	}
	if s.chunks != nil || s.spool != nil {
		return nil
	}
	s.most = batchRows
	if !s.fits() {
		return s.fillSpool(ctx, min(s.to, g.first+g.rows)-s.row)
	}
	for i := range s.columns {
		c, err := s.openChunk(i)
		s.chunks = append(s.chunks, c)
		if err = s.lose(i, err); err != nil {
			return s.describe(i, err)
		}
	}
	return nil
}

// describe adds the column and the row to an error.
func (s *source) describe(i int, err error) error {
	return describe(s.file, s.columns[i], s.row, err)
}

// lose returns the error of a column, unless the column is only kept and the error is in the file.
// In that case the column has no values for the rest of the row group.
func (s *source) lose(i int, err error) error {
	var disk *os.PathError
	if err != nil && i >= s.bound && !errors.As(err, &disk) && !errors.Is(err, context.Canceled) {
		s.lost[i] = true
		return nil
	}
	return err
}

// none sets the column to rows nulls.
func (v *vector) none(rows int) {
	v.reset()
	for range rows {
		v.index = append(v.index, -1)
	}
}

func (s *source) readFlat(r *cpcds.Rows, rows int) error {
	for i := range s.columns {
		col, v := &r.Columns[i], &s.vectors[i]
		v.index = col.Index[:0] // no list to unfold: read directly into the column
		if !s.lost[i] {
			if err := s.lose(i, s.readRows(i, rows)); err != nil {
				return s.describe(i, err)
			}
		}
		if s.lost[i] {
			v.none(rows)
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
		if s.lengths[l], err = s.readLists(i, s.lengths[l][:0], rows); err != nil {
			return s.describe(i, err)
		}
	}
	r.N = s.unfold.Plan(rows, s.lengths)
	r.Whole = s.unfold.Whole(r.Whole[:0])
	for i, leaf := range s.columns {
		if !s.lost[i] {
			if err := s.lose(i, s.readColumn(i, rows)); err != nil {
				return s.describe(i, err)
			}
		}
		if s.lost[i] {
			s.vectors[i].none(s.rowsOf(leaf, rows))
		}
		col, v := &r.Columns[i], &s.vectors[i]
		if leaf.list < 0 {
			col.Index = s.unfold.Repeat(col.Index[:0], v.index)
		} else {
			col.Index = s.unfold.Spread(col.Index[:0], s.lists[leaf.list], v.index)
		}
		v.column(col)
	}
	// Size the next nested row batch to about batchRows rows, assuming that its rows have as many
	// elements as these.
	s.want = min(max(rows*batchRows/max(r.N, 1), 1), batchRows)
	return nil
}

// rowsOf returns the number of entries that a column has for the given number of input rows.
func (s *source) rowsOf(l *leaf, rows int) int {
	if l.list < 0 {
		return rows
	}
	n := 0
	for _, k := range s.lengths[s.lists[l.list]] {
		n += int(k)
	}
	return n
}

// readColumn reads a column of nested rows, except for columns that lead a list, which have
// already been read. All columns of a list must have the same list lengths.
func (s *source) readColumn(i, rows int) error {
	l := s.columns[i]
	if l.list < 0 {
		return s.readRows(i, rows)
	}
	for _, lead := range s.leads {
		if lead == i {
			return nil
		}
	}
	var err error
	if s.scratch, err = s.readLists(i, s.scratch[:0], rows); err != nil {
		return err
	}
	if !slices.Equal(s.scratch, s.lengths[s.lists[l.list]]) {
		return errUneven
	}
	return nil
}

// readRows reads the next rows of a column outside all lists into its vector.
func (s *source) readRows(i, rows int) error {
	v := &s.vectors[i]
	if s.spool != nil {
		_, err := s.spool.read(i, s.block, v, nil)
		return err
	}
	v.reset()
	return s.chunks[i].read(v, rows)
}

// readLists reads the next rows of a list column into its vector, and appends the number of
// elements of each row to lengths.
func (s *source) readLists(i int, lengths []int32, rows int) ([]int32, error) {
	v := &s.vectors[i]
	if s.spool != nil {
		return s.spool.read(i, s.block, v, lengths)
	}
	v.reset()
	return s.chunks[i].readList(v, lengths, rows)
}

func (s *source) closeChunks() {
	for _, c := range s.chunks {
		c.close()
	}
	s.chunks = nil
	if s.spool != nil {
		s.spool.file.Discard()
		s.spool = nil
	}
	clear(s.lost)
}

// Close implements pipeline.Source.
func (s *source) Close() error {
	s.closeChunks()
	if s.shared != nil {
		scratches.Put(s.shared)
		s.shared = nil
	}
	return nil
}
