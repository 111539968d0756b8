// Package spill spreads rows over partitions in Arrow IPC files while the shuffle
// sorts them out. The files are compressed, live as long as a run, and hold
// members' data: they are readable by their owner alone.
package spill

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/klauspost/compress/zstd"

	"cpcds2fhir/schemas/cpcds"
)

// A file is a sequence of Arrow streams of one record each, which is a chunk of rows:
// how many there are, and a zstd frame of their columns, one after the other (chunk.go).
// An Arrow column for each of some 200 mostly empty columns cost five times as much, in
// three buffers each that were compressed one by one.
var schema = arrow.NewSchema([]arrow.Field{
	{Name: "rows", Type: arrow.PrimitiveTypes.Int64},
	{Name: "packed", Type: arrow.BinaryTypes.Binary},
}, nil)

// Set is the partitions of rows that have the same columns. Its files are written
// by Writers, several at a time, and read when all of them are closed.
type Set struct {
	prefix     string // of the files' paths
	columns    int
	partitions []partition
}

type partition struct {
	mu      sync.Mutex
	written bool // there is a file
}

// NewSet returns a Set of partitions of rows of so many columns, with files below
// dir, named by name. There must be no such files.
func NewSet(dir, name string, columns, partitions int) *Set {
	return &Set{prefix: filepath.Join(dir, name), columns: columns, partitions: make([]partition, partitions)}
}

func (s *Set) path(p int) string { return fmt.Sprintf("%s-%04d.arrows", s.prefix, p) }

// Remove removes the files.
func (s *Set) Remove() {
	for p := range s.partitions {
		if s.partitions[p].written {
			os.Remove(s.path(p))
		}
	}
}

// Writer appends rows to the partitions of Sets. Rows wait in memory until they reach
// a limit; then the set that has the most of them writes what it has. So chunks are
// large, whichever table an extract has most of: a chunk of 100 rows takes a quarter
// more than one of 1,000. A Writer is used by one goroutine at a time.
type Writer struct {
	limit   int
	waiting map[*Set]*waiting
	bytes   int      // that wait
	free    [][]byte // buffers of partitions that have been written
	encoder *zstd.Encoder
	chunk   chunk
	frame   []byte
}

// waiting is the rows of a set that wait, by partition.
type waiting struct {
	packed [][]byte
	rows   []int64
	bytes  int
}

// NewWriter returns a Writer; limit is how many bytes of rows may wait.
func NewWriter(limit int) (*Writer, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("spill rows: %w", err)
	}
	return &Writer{limit: limit, waiting: map[*Set]*waiting{}, encoder: e}, nil
}

// Append copies the rows [from, to) into a partition of a set. tag is read back with
// every row.
func (w *Writer) Append(s *Set, partition int, rows *cpcds.Rows, from, to int, tag int32) error {
	x := w.waiting[s]
	if x == nil {
		x = &waiting{packed: make([][]byte, len(s.partitions)), rows: make([]int64, len(s.partitions))}
		w.waiting[s] = x
	}
	b := x.packed[partition]
	if n := len(w.free); b == nil && n > 0 {
		b, w.free = w.free[n-1], w.free[:n-1]
	}
	before := len(b)
	b = packRows(b, rows, from, to, tag)
	x.packed[partition] = b
	x.rows[partition] += int64(to - from)
	x.bytes, w.bytes = x.bytes+len(b)-before, w.bytes+len(b)-before
	if w.bytes < w.limit {
		return nil
	}
	var most *Set
	for s, x := range w.waiting {
		if most == nil || x.bytes > w.waiting[most].bytes {
			most = s
		}
	}
	return w.flush(most)
}

// Close writes what waits.
func (w *Writer) Close() error {
	var err error
	for s := range w.waiting {
		err = errors.Join(err, w.flush(s))
	}
	w.waiting, w.free = nil, nil
	return errors.Join(err, w.encoder.Close())
}

func (w *Writer) flush(s *Set) error {
	x := w.waiting[s]
	for p, packed := range x.packed {
		if x.rows[p] == 0 {
			continue
		}
		if err := w.write(s, p, packed, x.rows[p]); err != nil {
			return fmt.Errorf("spill rows: %w", err)
		}
		w.free = append(w.free, packed[:0])
		x.packed[p], x.rows[p] = nil, 0
	}
	w.bytes -= x.bytes
	x.bytes = 0
	return nil
}

// write appends rows of a partition to its file. The file is open for as long as that
// takes: there may be more partitions than a process may have files open.
func (w *Writer) write(s *Set, p int, packed []byte, rows int64) (err error) {
	w.frame = w.encoder.EncodeAll(w.chunk.columns(packed, int(rows), s.columns), w.frame[:0])
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).Append(rows)
	b.Field(1).(*array.BinaryBuilder).Append(w.frame)
	rec := b.NewRecord()
	defer rec.Release()

	part := &s.partitions[p]
	part.mu.Lock()
	defer part.mu.Unlock()
	f, err := os.OpenFile(s.path(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	part.written = true
	stream := ipc.NewWriter(f, ipc.WithSchema(schema))
	if err := stream.Write(rec); err != nil {
		return err
	}
	return stream.Close()
}
