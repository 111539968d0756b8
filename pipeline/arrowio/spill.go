package arrowio

import (
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"cpcds2fhir/schemas/cpcds"
)

// A spill file is an Arrow IPC stream. Its first columns say where a row comes
// from; the columns of the rows follow, as nullable text.
var spillPlace = []arrow.Field{
	{Name: "_lane", Type: arrow.PrimitiveTypes.Int32},
	{Name: "_row", Type: arrow.PrimitiveTypes.Int64},
	{Name: "_whole", Type: arrow.FixedWidthTypes.Boolean},
}

// A batch of a spill file is written when it has spillRows rows or spillText bytes
// of text.
const (
	spillRows = 4096
	spillText = 1 << 20
)

// SpillWriter writes rows of any lanes to a spill file. It holds one batch in
// memory. It is not safe for concurrent use.
type SpillWriter struct {
	out    *ipc.Writer
	build  *array.RecordBuilder
	lanes  *array.Int32Builder
	rows   *array.Int64Builder
	wholes *array.BooleanBuilder
	texts  []*array.StringBuilder
	n      int // rows of the batch
	size   int // bytes of text of the batch

	inputRows []int64 // scratch: the input row of each row of an unfolded slab
}

// NewSpillWriter begins a spill file with the named columns of text. w is not
// closed by the writer; nothing is written before the first batch or Close.
func NewSpillWriter(w io.Writer, columns []string) *SpillWriter {
	fields := append([]arrow.Field(nil), spillPlace...)
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	schema := arrow.NewSchema(fields, nil)
	s := &SpillWriter{
		out:   ipc.NewWriter(w, ipc.WithSchema(schema), ipc.WithZstd()),
		build: array.NewRecordBuilder(memory.NewGoAllocator(), schema),
	}
	s.lanes = s.build.Field(0).(*array.Int32Builder)
	s.rows = s.build.Field(1).(*array.Int64Builder)
	s.wholes = s.build.Field(2).(*array.BooleanBuilder)
	for i := range columns {
		s.texts = append(s.texts, s.build.Field(len(spillPlace)+i).(*array.StringBuilder))
	}
	return s
}

// Append adds the rows of a slab that pick names, in its order. The columns of the
// slab must be those of the file. The text is copied.
func (s *SpillWriter) Append(rows *cpcds.Rows, pick []int32, lane int32) error {
	if len(rows.Columns) != len(s.texts) {
		return fmt.Errorf("append to spill file: the slab has %d columns, the file %d", len(rows.Columns), len(s.texts))
	}
	s.countInputRows(rows)
	for len(pick) > 0 {
		n := min(len(pick), spillRows-s.n)
		for _, i := range pick[:n] {
			s.lanes.Append(lane)
			s.rows.Append(s.inputRow(rows, i))
			s.wholes.Append(len(rows.Whole) == 0 || rows.Whole[i])
		}
		for c, text := range s.texts {
			s.size += appendText(text, &rows.Columns[c], pick[:n])
		}
		s.n += n
		pick = pick[n:]
		if s.n >= spillRows || s.size >= spillText {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func appendText(text *array.StringBuilder, c *cpcds.Column, pick []int32) (size int) {
	for _, i := range pick {
		k := c.Index[i]
		if k < 0 {
			text.AppendNull()
			continue
		}
		text.Append(c.Values[k])
		size += len(c.Values[k])
	}
	return size
}

// countInputRows does for all rows of an unfolded slab what Rows.InputRow does for
// one.
func (s *SpillWriter) countInputRows(rows *cpcds.Rows) {
	s.inputRows = s.inputRows[:0]
	n := rows.First - 1
	for _, whole := range rows.Whole {
		if whole {
			n++
		}
		s.inputRows = append(s.inputRows, n)
	}
}

func (s *SpillWriter) inputRow(rows *cpcds.Rows, i int32) int64 {
	if len(s.inputRows) == 0 {
		return rows.First + int64(i)
	}
	return s.inputRows[i]
}

func (s *SpillWriter) flush() error {
	rec := s.build.NewRecord()
	defer rec.Release()
	s.n, s.size = 0, 0
	if err := s.out.Write(rec); err != nil {
		return fmt.Errorf("write spill file: %w", err)
	}
	return nil
}

// Close writes what is left and the end of the file. A file that was not closed
// cannot be read in full: its reader says that it is truncated.
func (s *SpillWriter) Close() error {
	defer s.build.Release()
	if s.n > 0 {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if err := s.out.Close(); err != nil {
		return fmt.Errorf("write end of spill file: %w", err)
	}
	return nil
}

// SpillReader reads a spill file in the order in which it was written. It holds
// one batch in memory. It is not safe for concurrent use.
type SpillReader struct {
	in     *ipc.Reader
	end    *endWatcher
	values [][]string
}

// NewSpillReader opens a spill file. r is not closed by the reader.
func NewSpillReader(r io.Reader) (*SpillReader, error) {
	s := &SpillReader{end: &endWatcher{in: r}}
	err := guard(func() (err error) {
		s.in, err = ipc.NewReader(s.end)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open spill file: %w", err)
	}
	fields := s.in.Schema().Fields()
	if len(fields) < len(spillPlace) {
		return nil, fmt.Errorf("open spill file: it has %d columns", len(fields))
	}
	s.values = make([][]string, len(fields)-len(spillPlace))
	return s, nil
}

// Columns returns the names of the columns of text.
func (s *SpillReader) Columns() []string {
	var names []string
	for _, f := range s.in.Schema().Fields()[len(spillPlace):] {
		names = append(names, f.Name)
	}
	return names
}

// Next overwrites rows with the next rows, and the three slices with the lane of
// each, its input row and whether it begins that input row. The text holds until
// the next call. First and Whole of rows mean nothing here: the rows are of many
// lanes. io.EOF ends; an error that wraps io.ErrUnexpectedEOF means that the file
// was not written to its end.
func (s *SpillReader) Next(rows *cpcds.Rows, lanes *[]int32, inputRows *[]int64, whole *[]bool) error {
	if !s.in.Next() {
		err := s.in.Err()
		if err == nil && s.end.ended() {
			return io.EOF
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read spill file: %w", err)
	}
	err := guard(func() error { return s.fill(rows, lanes, inputRows, whole) })
	if err != nil {
		return fmt.Errorf("read spill file: %w", err)
	}
	return nil
}

func (s *SpillReader) fill(rows *cpcds.Rows, lanes *[]int32, inputRows *[]int64, whole *[]bool) error {
	rec := s.in.Record()
	n := int(rec.NumRows())
	*lanes = append((*lanes)[:0], rec.Column(0).(*array.Int32).Int32Values()...)
	*inputRows = append((*inputRows)[:0], rec.Column(1).(*array.Int64).Int64Values()...)
	begins := rec.Column(2).(*array.Boolean)
	*whole = (*whole)[:0]
	for i := range n {
		*whole = append(*whole, begins.Value(i))
	}
	for len(rows.Columns) < len(s.values) {
		rows.Columns = append(rows.Columns, cpcds.Column{})
	}
	rows.Columns = rows.Columns[:len(s.values)]
	rows.First, rows.N, rows.Whole = 0, n, nil
	for c := range s.values {
		text := rec.Column(len(spillPlace) + c).(*array.String)
		col, values := &rows.Columns[c], s.values[c][:0]
		index := col.Index[:0]
		for i := range n {
			if text.IsNull(i) {
				index = append(index, -1)
				continue
			}
			index = append(index, int32(len(values)))
			values = append(values, text.Value(i))
		}
		s.values[c] = values
		*col = cpcds.Column{Index: index, Values: values}
	}
	return nil
}

// Close releases the memory of the reader.
func (s *SpillReader) Close() { s.in.Release() }

// endWatcher remembers the last bytes of a stream. The library takes a stream that
// stops between two batches for a whole one; only the end mark tells.
type endWatcher struct {
	in   io.Reader
	last [8]byte
}

func (e *endWatcher) Read(p []byte) (int, error) {
	n, err := e.in.Read(p)
	if n >= len(e.last) {
		copy(e.last[:], p[n-len(e.last):n])
	} else {
		copy(e.last[:], e.last[n:])
		copy(e.last[len(e.last)-n:], p[:n])
	}
	return n, err
}

func (e *endWatcher) ended() bool { return e.last == [8]byte{0xff, 0xff, 0xff, 0xff} }
