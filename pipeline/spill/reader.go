package spill

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/klauspost/compress/zstd"
)

// Reader reads the rows of one partition, one chunk at a time. It is not safe for concurrent use.
type Reader struct {
	f       *os.File
	buf     *bufio.Reader
	columns int
	decoder *zstd.Decoder
}

// Open returns a Reader for a partition.
func (s *Set) Open(p int) (*Reader, error) {
	if !s.partitions[p].written {
		return &Reader{}, nil
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("read spilled rows: %w", err)
	}
	f, err := os.Open(s.path(p))
	if err != nil {
		return nil, fmt.Errorf("read spilled rows: %w", err)
	}
	return &Reader{f: f, buf: bufio.NewReaderSize(f, 1<<16), columns: s.columns, decoder: d}, nil
}

// Next reads the next chunk and calls row for each of its rows with the tag, the row number, the
// whole mark, and the value of each column, "" if there is none. The strings stay valid as long as
// they are referenced; the slice values is valid only during the call. Next returns io.EOF at the
// end.
func (r *Reader) Next(row func(tag int32, number int64, whole bool, values []string)) error {
	if r.f == nil {
		return io.EOF
	}
	if _, err := r.buf.Peek(1); errors.Is(err, io.EOF) {
		return io.EOF
	}
	n, b, err := r.chunk()
	if err == nil {
		// The chunk has its own buffer, which is not modified again.
		err = rowsOf(b, int(n), r.columns, row)
	}
	if err != nil {
		return fmt.Errorf("read spilled rows: %w", err)
	}
	return nil
}

// chunk reads the stream of one chunk. It returns the number of rows and their encoded columns.
func (r *Reader) chunk() (rows int64, columns []byte, err error) {
	stream, err := ipc.NewReader(r.buf)
	if err != nil {
		return 0, nil, err
	}
	defer stream.Release()
	if !stream.Next() {
		return 0, nil, errors.Join(stream.Err(), errDamaged)
	}
	rec := stream.Record()
	rows = rec.Column(0).(*array.Int64).Value(0)
	columns, err = r.decoder.DecodeAll(rec.Column(1).(*array.Binary).Value(0), nil)
	if err != nil {
		return 0, nil, err
	}
	if stream.Next() { // this reads to the end of the stream, where the next one begins
		return 0, nil, errDamaged
	}
	return rows, columns, stream.Err()
}

// Close closes the file.
func (r *Reader) Close() {
	if r.f != nil {
		r.f.Close()
		r.decoder.Close()
	}
}
