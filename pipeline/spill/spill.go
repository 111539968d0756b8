// Package spill spreads rows over partitions in Arrow IPC files while the shuffle
// sorts them out. The files are compressed, live as long as a run, and hold
// members' data: they are readable by their owner alone.
package spill

import (
	"encoding/binary"
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

// A file is a sequence of Arrow streams of one record each, which is a chunk of
// packed rows: how many there are, and a zstd frame of all of them. A column of its
// own for each of some 200 mostly empty columns cost five times as much, in three
// buffers each that were compressed one by one.
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

// Writer appends rows to the partitions of a Set. Rows wait in memory, packed,
// until they reach a limit; then every partition appends what it has to its file.
// A Writer is used by one goroutine at a time.
type Writer struct {
	set     *Set
	limit   int
	packed  [][]byte // by partition
	rows    []int64  // by partition: how many are packed
	waiting int      // bytes in packed
	encoder *zstd.Encoder
	frame   []byte
}

// Writer returns a Writer; limit is how many bytes of packed rows may wait.
func (s *Set) Writer(limit int) (*Writer, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("spill rows: %w", err)
	}
	n := len(s.partitions)
	return &Writer{set: s, limit: limit, packed: make([][]byte, n), rows: make([]int64, n), encoder: e}, nil
}

// Append copies the picked rows into partitions: picks holds row numbers by
// partition. tag is read back with every row.
func (w *Writer) Append(rows *cpcds.Rows, picks [][]int32, tag int32) error {
	for p, pick := range picks {
		if len(pick) == 0 {
			continue
		}
		b := w.packed[p]
		for _, i := range pick {
			b = packRow(b, rows, int(i), tag)
		}
		w.waiting += len(b) - len(w.packed[p])
		w.packed[p] = b
		w.rows[p] += int64(len(pick))
	}
	if w.waiting < w.limit {
		return nil
	}
	return w.flush()
}

// packRow appends row i: tag, number, whole, and each column as its length plus
// one and its bytes, 0 for none.
func packRow(b []byte, rows *cpcds.Rows, i int, tag int32) []byte {
	b = binary.AppendUvarint(b, uint64(tag))
	b = binary.AppendUvarint(b, uint64(rows.InputRow(i)))
	whole := byte(0)
	if len(rows.Whole) == 0 || rows.Whole[i] {
		whole = 1
	}
	b = append(b, whole)
	for c := range rows.Columns {
		v := rows.Columns[c].Value(i)
		if v == "" {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(v)+1))
		b = append(b, v...)
	}
	return b
}

// Close writes what waits.
func (w *Writer) Close() error {
	err := w.flush()
	w.packed = nil
	return errors.Join(err, w.encoder.Close())
}

func (w *Writer) flush() error {
	for p := range w.packed {
		if w.rows[p] == 0 {
			continue
		}
		if err := w.write(p); err != nil {
			return fmt.Errorf("spill rows: %w", err)
		}
		w.packed[p], w.rows[p] = w.packed[p][:0], 0
	}
	w.waiting = 0
	return nil
}

// write appends the waiting rows of a partition to its file. The file is open for
// as long as that takes: there may be more partitions than a process may have
// files open.
func (w *Writer) write(p int) (err error) {
	w.frame = w.encoder.EncodeAll(w.packed[p], w.frame[:0])
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).(*array.Int64Builder).Append(w.rows[p])
	b.Field(1).(*array.BinaryBuilder).Append(w.frame)
	rec := b.NewRecord()
	defer rec.Release()

	part := &w.set.partitions[p]
	part.mu.Lock()
	defer part.mu.Unlock()
	f, err := os.OpenFile(w.set.path(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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
