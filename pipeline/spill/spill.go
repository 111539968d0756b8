// Package spill spreads rows over partitions in Arrow IPC files while the shuffle
// sorts them out. The files are compressed, live as long as a run, and hold
// members' data: they are readable by their owner alone.
package spill

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"cpcds2fhir/schemas/cpcds"
)

// The columns that stand before the rows' own.
const (
	tagColumn    = iota // int32: what the caller said of the row
	numberColumn        // int64: number of the input row
	wholeColumn         // bool: the row begins its input row
	firstColumn
)

// Set is the partitions of rows that have the same columns. Rows wait in memory,
// packed, until they reach the limit; then every partition appends what it has to
// its file, as one Arrow stream. A Set is safe for concurrent use by writers; it
// is read after Close.
type Set struct {
	mu      sync.Mutex
	prefix  string // of the files' paths
	limit   int
	columns int
	builder *array.RecordBuilder
	schema  *arrow.Schema
	packed  [][]byte // by partition
	waiting int      // bytes in packed
	written []bool   // by partition: there is a file
}

// NewSet returns a Set of partitions with files below dir, named by name. columns
// must be different; limit is how many bytes of packed rows may wait in memory.
func NewSet(dir, name string, columns []string, partitions, limit int) *Set {
	fields := []arrow.Field{
		{Name: "_tag", Type: arrow.PrimitiveTypes.Int32},
		{Name: "_number", Type: arrow.PrimitiveTypes.Int64},
		{Name: "_whole", Type: arrow.FixedWidthTypes.Boolean},
	}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	schema := arrow.NewSchema(fields, nil)
	return &Set{
		prefix: filepath.Join(dir, name), limit: limit, columns: len(columns), schema: schema,
		builder: array.NewRecordBuilder(memory.DefaultAllocator, schema),
		packed:  make([][]byte, partitions), written: make([]bool, partitions),
	}
}

func (s *Set) path(p int) string { return fmt.Sprintf("%s-%04d.arrows", s.prefix, p) }

// Append copies the picked rows into partitions: picks holds row numbers by
// partition. tag is read back with every row.
func (s *Set) Append(rows *cpcds.Rows, picks [][]int32, tag int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, pick := range picks {
		b := s.packed[p]
		for _, i := range pick {
			b = packRow(b, rows, int(i), tag)
		}
		s.waiting += len(b) - len(s.packed[p])
		s.packed[p] = b
	}
	if s.waiting < s.limit {
		return nil
	}
	return s.flush()
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

func (s *Set) flush() error {
	for p := range s.packed {
		if len(s.packed[p]) == 0 {
			continue
		}
		if err := s.write(p); err != nil {
			return fmt.Errorf("spill rows: %w", err)
		}
		s.packed[p] = s.packed[p][:0]
	}
	s.waiting = 0
	return nil
}

// write appends the waiting rows of a partition to its file. The file is open for
// as long as that takes: there may be more partitions than a process may have
// files open.
func (s *Set) write(p int) (err error) {
	rec := s.record(s.packed[p])
	defer rec.Release()
	f, err := os.OpenFile(s.path(p), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.written[p] = true
	w := ipc.NewWriter(f, ipc.WithSchema(s.schema), ipc.WithZstd())
	if err := w.Write(rec); err != nil {
		f.Close()
		return err
	}
	if err := w.Close(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func (s *Set) record(b []byte) arrow.Record {
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		b = b[n:]
		return v
	}
	tags := s.builder.Field(tagColumn).(*array.Int32Builder)
	numbers := s.builder.Field(numberColumn).(*array.Int64Builder)
	whole := s.builder.Field(wholeColumn).(*array.BooleanBuilder)
	for len(b) > 0 {
		tags.Append(int32(number()))
		numbers.Append(int64(number()))
		whole.Append(b[0] == 1)
		b = b[1:]
		for c := range s.columns {
			col := s.builder.Field(firstColumn + c).(*array.StringBuilder)
			n := number()
			if n == 0 {
				col.AppendNull()
				continue
			}
			col.BinaryBuilder.Append(b[:n-1])
			b = b[n-1:]
		}
	}
	return s.builder.NewRecord()
}

// Close writes what waits.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.flush()
	s.packed = make([][]byte, len(s.packed))
	s.builder.Release()
	return err
}

// Remove removes the files.
func (s *Set) Remove() {
	for p, written := range s.written {
		if written {
			os.Remove(s.path(p))
		}
	}
}
