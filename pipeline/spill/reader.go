package spill

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/klauspost/compress/zstd"
)

var errDamaged = errors.New("the file is damaged")

// Reader reads the rows of one partition, chunk by chunk. It is not safe for
// concurrent use.
type Reader struct {
	f       *os.File
	buf     *bufio.Reader
	columns int
	decoder *zstd.Decoder
}

// Open returns a Reader of a partition.
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

// Next reads the next chunk and calls row for each of its rows: its tag, and its
// columns as values, "" where there is none. The text holds for as long as anyone
// points to it; values does not outlive the call. io.EOF ends.
func (r *Reader) Next(row func(tag int32, number int64, whole bool, values []string)) error {
	if r.f == nil {
		return io.EOF
	}
	if _, err := r.buf.Peek(1); errors.Is(err, io.EOF) {
		return io.EOF
	}
	n, b, err := r.chunk()
	if err != nil {
		return fmt.Errorf("read spilled rows: %w", err)
	}
	number := func() uint64 {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			b = nil
			return 0
		}
		b = b[k:]
		return v
	}
	values := make([]string, r.columns)
	for range n {
		tag, at := number(), number()
		if len(b) < 1+r.columns {
			return fmt.Errorf("read spilled rows: %w", errDamaged)
		}
		whole := b[0] == 1
		b = b[1:]
		for c := range values {
			values[c] = ""
			if size := number(); size > 1 {
				if uint64(len(b)) < size-1 {
					return fmt.Errorf("read spilled rows: %w", errDamaged)
				}
				// The chunk has a buffer of its own, which nothing writes to again.
				values[c] = unsafe.String(&b[0], int(size-1))
				b = b[size-1:]
			}
		}
		row(int32(tag), int64(at), whole, values)
	}
	return nil
}

// chunk reads the stream of one chunk: the number of its rows, and the packed rows.
func (r *Reader) chunk() (rows int64, packed []byte, err error) {
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
	packed, err = r.decoder.DecodeAll(rec.Column(1).(*array.Binary).Value(0), nil)
	if err != nil {
		return 0, nil, err
	}
	if stream.Next() { // this reads up to the stream's end, where the next one begins
		return 0, nil, errDamaged
	}
	return rows, packed, stream.Err()
}

// Close closes the file.
func (r *Reader) Close() {
	if r.f != nil {
		r.f.Close()
		r.decoder.Close()
	}
}
