package spill

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"cpcds2fhir/schemas/cpcds"
)

// Reader reads the rows of one partition, in the order in which they were
// appended. It is not safe for concurrent use.
type Reader struct {
	f   *os.File
	buf *bufio.Reader
	r   *ipc.Reader // of the stream under way, nil between streams
}

// Open returns a Reader of a partition of a closed Set.
func (s *Set) Open(p int) (*Reader, error) {
	if !s.written[p] {
		return &Reader{}, nil
	}
	f, err := os.Open(s.path(p))
	if err != nil {
		return nil, fmt.Errorf("read spilled rows: %w", err)
	}
	return &Reader{f: f, buf: bufio.NewReaderSize(f, 1<<16)}, nil
}

// Next overwrites rows and tags with the next rows; their text holds until the
// next call. io.EOF ends.
func (r *Reader) Next(rows *cpcds.Rows, tags *[]int32) error {
	for {
		if r.r == nil {
			if err := r.stream(); err != nil {
				return err
			}
		}
		if r.r.Next() {
			break
		}
		if err := r.r.Err(); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read spilled rows: %w", err)
		}
		r.r.Release()
		r.r = nil
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

// stream opens the next of the streams that stand one after the other in the file.
func (r *Reader) stream() error {
	if r.f == nil {
		return io.EOF
	}
	if _, err := r.buf.Peek(1); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return fmt.Errorf("read spilled rows: %w", err)
	}
	rd, err := ipc.NewReader(r.buf)
	if err != nil {
		return fmt.Errorf("read spilled rows: %w", err)
	}
	r.r = rd
	return nil
}

// Close closes the file.
func (r *Reader) Close() {
	if r.r != nil {
		r.r.Release()
	}
	if r.f != nil {
		r.f.Close()
	}
}
