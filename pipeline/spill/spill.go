// Package spill distributes rows over partitions, stored in Arrow IPC files, for the shuffle. The
// files are compressed and are kept only for the duration of a run. They contain members' data, so
// only their owner can read them.
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

// A file is a sequence of Arrow streams with one record each. A record is a chunk of rows: the
// number of rows, and a zstd frame with the columns, one after the other (chunk.go). Using one
// Arrow column for each of about 200 mostly empty columns cost five times as much, because each
// has three buffers that were compressed separately.
var schema = arrow.NewSchema([]arrow.Field{
	{Name: "rows", Type: arrow.PrimitiveTypes.Int64},
	{Name: "packed", Type: arrow.BinaryTypes.Binary},
}, nil)

// Set is a set of partitions for rows that have the same columns. Several Writers may write its
// files concurrently; the files may be read after all Writers are closed.
type Set struct {
	prefix     string // of the file paths
	columns    int
	partitions []partition
}

type partition struct {
	mu      sync.Mutex
	written bool // the file exists
}

// NewSet returns a Set with the given numbers of columns and partitions. Its files are in dir, and
// their names begin with name. No such files may exist yet.
func NewSet(dir, name string, columns, partitions int) *Set {
	return &Set{prefix: filepath.Join(dir, name), columns: columns, partitions: make([]partition, partitions)}
}

func (s *Set) path(p int) string { return fmt.Sprintf("%s-%04d.arrows", s.prefix, p) }

// Remove deletes the files.
func (s *Set) Remove() {
	for p := range s.partitions {
		if s.partitions[p].written {
			os.Remove(s.path(p))
		}
	}
}

// Writer appends rows to the partitions of Sets. Rows are buffered in memory up to a limit; then
// the set with the most buffered bytes is written. This keeps chunks large, regardless of which
// table of an extract is the largest: a chunk of 100 rows takes 25% more space than one of 1,000.
// A Writer must not be used concurrently.
type Writer struct {
	limit   int
	waiting map[*Set]*waiting
	bytes   int      // total bytes buffered
	free    [][]byte // buffers of written partitions, for reuse
	encoder *zstd.Encoder
	chunk   chunk
	frame   []byte
}

// waiting holds the buffered rows of a set, by partition.
type waiting struct {
	packed [][]byte
	rows   []int64
	bytes  int
}

// NewWriter returns a Writer that buffers up to limit bytes of rows.
func NewWriter(limit int) (*Writer, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("spill rows: %w", err)
	}
	return &Writer{limit: limit, waiting: map[*Set]*waiting{}, encoder: e}, nil
}

// Append copies the rows [from, to) into a partition of a set. tag is stored with every row and
// passed back by Reader.Next.
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

// Close writes all buffered rows.
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

// write appends rows of a partition to its file. The file is open only during the call because
// there may be more partitions than files that a process may have open.
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
