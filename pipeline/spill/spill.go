// Package spill keeps rows in Arrow IPC files while the shuffle sorts them out.
// The files are compressed, live as long as a run, and hold members' data: whoever
// makes them must make them readable by their owner alone.
package spill

import (
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"cpcds2fhir/schemas/cpcds"
)

// The columns that stand before the rows' own.
const (
	tagColumn    = iota // int32: what the writer's caller said of the row
	numberColumn        // int64: number of the input row
	wholeColumn         // bool: the row begins its input row
	firstColumn
)

// Writer appends rows to one file. It is not safe for concurrent use.
type Writer struct {
	w     *ipc.Writer
	b     *array.RecordBuilder
	n     int
	limit int
}

// NewWriter returns a Writer of rows with the given columns, which must be
// different. It writes a record batch whenever limit rows are together; that is
// what it holds in memory.
func NewWriter(w io.Writer, columns []string, limit int) (*Writer, error) {
	fields := []arrow.Field{
		{Name: "_tag", Type: arrow.PrimitiveTypes.Int32},
		{Name: "_number", Type: arrow.PrimitiveTypes.Int64},
		{Name: "_whole", Type: arrow.FixedWidthTypes.Boolean},
	}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	schema := arrow.NewSchema(fields, nil)
	return &Writer{
		w:     ipc.NewWriter(w, ipc.WithSchema(schema), ipc.WithZstd()),
		b:     array.NewRecordBuilder(memory.DefaultAllocator, schema),
		limit: limit,
	}, nil
}

// Append copies the picked rows, each with the tag.
func (w *Writer) Append(rows *cpcds.Rows, pick []int32, tag int32) error {
	for len(pick) > 0 {
		n := min(len(pick), w.limit-w.n)
		w.append(rows, pick[:n], tag)
		pick = pick[n:]
		if w.n += n; w.n == w.limit {
			if err := w.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *Writer) append(rows *cpcds.Rows, pick []int32, tag int32) {
	tags := w.b.Field(tagColumn).(*array.Int32Builder)
	numbers := w.b.Field(numberColumn).(*array.Int64Builder)
	whole := w.b.Field(wholeColumn).(*array.BooleanBuilder)
	for _, i := range pick {
		tags.Append(tag)
		numbers.Append(rows.InputRow(int(i)))
		whole.Append(len(rows.Whole) == 0 || rows.Whole[i])
	}
	for c := range rows.Columns {
		col := &rows.Columns[c]
		b := w.b.Field(firstColumn + c).(*array.StringBuilder)
		for _, i := range pick {
			if v := col.Value(int(i)); v != "" {
				b.Append(v)
			} else {
				b.AppendNull()
			}
		}
	}
}

func (w *Writer) flush() error {
	if w.n == 0 {
		return nil
	}
	rec := w.b.NewRecord()
	defer rec.Release()
	w.n = 0
	if err := w.w.Write(rec); err != nil {
		return fmt.Errorf("write record batch: %w", err)
	}
	return nil
}

// Close writes what is left. It does not close the underlying writer.
func (w *Writer) Close() error {
	if err := w.flush(); err != nil {
		return err
	}
	w.b.Release()
	return w.w.Close()
}

// Reader reads a file that a Writer made, in order. It is not safe for concurrent
// use.
type Reader struct{ r *ipc.Reader }

// NewReader returns a Reader.
func NewReader(r io.Reader) (*Reader, error) {
	rd, err := ipc.NewReader(r, ipc.WithAllocator(memory.DefaultAllocator))
	if err != nil {
		return nil, fmt.Errorf("open record batches: %w", err)
	}
	return &Reader{rd}, nil
}

// Next overwrites rows and tags with the next rows; their text holds until the
// next call. io.EOF ends.
func (r *Reader) Next(rows *cpcds.Rows, tags *[]int32) error {
	if !r.r.Next() {
		if err := r.r.Err(); err != nil {
			return fmt.Errorf("read record batch: %w", err)
		}
		return io.EOF
	}
	rec := r.r.Record()
	n := int(rec.NumRows())
	rows.Reset()
	rows.N = n
	*tags = append((*tags)[:0], rec.Column(tagColumn).(*array.Int32).Int32Values()...)
	rows.Numbers = append(rows.Numbers, rec.Column(numberColumn).(*array.Int64).Int64Values()...)
	whole := rec.Column(wholeColumn).(*array.Boolean)
	for i := range n {
		rows.Whole = append(rows.Whole, whole.Value(i))
	}
	for len(rows.Columns) < int(rec.NumCols())-firstColumn {
		rows.Columns = append(rows.Columns, cpcds.Column{})
	}
	for c := range rows.Columns {
		text := rec.Column(firstColumn + c).(*array.String)
		col := &rows.Columns[c]
		for i := range n {
			if text.IsNull(i) {
				col.Index = append(col.Index, -1)
				continue
			}
			col.Index = append(col.Index, int32(len(col.Values)))
			col.Values = append(col.Values, text.Value(i))
		}
	}
	return nil
}

// Close releases the last record batch.
func (r *Reader) Close() { r.r.Release() }
