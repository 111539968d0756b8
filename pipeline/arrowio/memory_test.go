package arrowio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// wideRecord returns one large batch with numbers, text, views, and lists of text.
func wideRecord(rows, columns int) arrow.Record {
	var fields []arrow.Field
	types := []arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String, arrow.BinaryTypes.StringView, arrow.FixedWidthTypes.Boolean}
	for c := range columns {
		fields = append(fields, arrow.Field{Name: fmt.Sprint("c", c), Type: types[c%len(types)], Nullable: true})
	}
	fields = append(fields, arrow.Field{Name: "codes", Type: arrow.ListOf(arrow.BinaryTypes.String)})
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema(fields, nil))
	for i := range rows {
		for c := range columns {
			text := fmt.Sprintf("a value that is not short %d %d", c, i*7919%rows)
			switch x := b.Field(c).(type) {
			case *array.Int64Builder:
				x.Append(int64(i * c))
			case *array.StringBuilder:
				x.Append(text)
			case *array.StringViewBuilder:
				x.Append(text[:len(text)-i%20])
			case *array.BooleanBuilder:
				x.AppendNull()
			}
		}
		codes := b.Field(columns).(*array.ListBuilder)
		codes.Append(true)
		for k := range i % 3 {
			codes.ValueBuilder().(*array.StringBuilder).Append(fmt.Sprint(i, "-", k))
		}
	}
	return b.NewRecord()
}

// TestMemory reads a batch that is much larger than the memory limit. The rows must be the same as
// without the limit, and the heap must stay small.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	const limit = 2 << 20
	records := []arrow.Record{wideRecord(40_000, 24)}
	for _, form := range forms {
		path := writeRecords(t, form, records)
		dir := t.TempDir()
		free, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer free.Close()
		tight, err := Open(path, Options{Memory: limit, Temp: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer tight.Close()
		for _, r := range [][2]int64{{0, 3000}, {38_000, 40_000}} {
			want, err := readRange(free, r[0], r[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readRange(tight, r[0], r[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			compareRows(t, form.name, want.rows, got.rows)
			if !slices.Equal(want.input, got.input) {
				t.Errorf("%s: wrong input rows", form.name)
			}
		}
		base := heap()
		s, err := tight.Open(context.Background(), 0, 40_000, pipeline.ReadableColumns(tight))
		if err != nil {
			t.Fatal(err)
		}
		var r cpcds.Rows
		largest := uint64(0)
		for n := 0; ; n++ {
			err := s.Next(context.Background(), &r)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if n%20 == 0 {
				largest = max(largest, heap())
			}
		}
		s.Close()
		// A decoder also has its own window.
		if used := largest - min(base, largest); used > 2*limit+12<<20 {
			t.Errorf("%s: %d bytes are in use, want about %d", form.name, used, limit)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("%s: files remain: %v, %v", form.name, left, err)
		}
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestLargeDictionary reads a dictionary that is larger than the memory limit.
func TestLargeDictionary(t *testing.T) {
	typ := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}
	b := array.NewRecordBuilder(memory.NewGoAllocator(), arrow.NewSchema([]arrow.Field{{Name: "code", Type: typ}, {Name: "row", Type: arrow.PrimitiveTypes.Int32}}, nil))
	for i := range 5000 {
		if err := b.Field(0).(*array.BinaryDictionaryBuilder).AppendString(fmt.Sprint(strings.Repeat("x", 100), i)); err != nil {
			t.Fatal(err)
		}
		b.Field(1).(*array.Int32Builder).Append(int32(i))
	}
	path := writeRecords(t, forms[0], []arrow.Record{b.NewRecord()})
	read := func(memory int64) error {
		f, err := Open(path, Options{Memory: memory, Temp: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got, err := readKept(f, 5000, []int{1}, []int{0}); err != nil || len(got.rows) != 5000 {
			t.Errorf("the other column within %d bytes: %v", memory, err)
		}
		_, err = readRange(f, 0, 5000, nil)
		return err
	}
	err := read(1 << 20)
	var fault *pipeline.FormatError
	if !errors.As(err, &fault) || fault.Column != "code" || !strings.Contains(fault.What, "dictionary") || !strings.Contains(fault.Hint, " 2MiB") {
		t.Errorf("got %v, want a dictionary that is too large", err)
	}
	if err := read(2 << 20); err != nil {
		t.Errorf("within the memory named by the hint: %v", err)
	}
}
