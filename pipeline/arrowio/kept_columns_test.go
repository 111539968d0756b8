package arrowio

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowio/ipc"
)

// TestKeptColumns reads bound columns and columns that are only kept, some of whose values are not
// text.
func TestKeptColumns(t *testing.T) {
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.Binary}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int32},
		{Name: "raw", Type: arrow.BinaryTypes.Binary},
		{Name: "dict", Type: dict},
		{Name: "words", Type: arrow.ListOf(arrow.BinaryTypes.Binary)},
		{Name: "span", Type: arrow.FixedWidthTypes.Duration_s},
	}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	for i, v := range []string{"good", "\xff\xfe", "a\xffb", "fine"} {
		b.Field(0).(*array.Int32Builder).Append(int32(i))
		b.Field(1).(*array.BinaryBuilder).Append([]byte(v))
		if err := b.Field(2).(*array.BinaryDictionaryBuilder).Append([]byte(v)); err != nil {
			t.Fatal(err)
		}
		b.Field(3).(*array.ListBuilder).Append(true)
		words := b.Field(3).(*array.ListBuilder).ValueBuilder().(*array.BinaryBuilder)
		words.Append([]byte("w"))
		words.Append([]byte(v))
		b.Field(4).(*array.DurationBuilder).Append(1)
	}
	records := []arrow.Record{b.NewRecord()}
	for _, form := range forms {
		f := openForm(t, form, records)
		check := func(bound, kept []int, want ...string) {
			t.Helper()
			got, err := readKept(f, 4, bound, kept)
			if err != nil {
				t.Fatalf("%s: %v", form.name, err)
			}
			for i, row := range got.rows {
				if i >= len(want) || strings.Join(row, ",") != want[i] {
					t.Fatalf("%s: got %q, want %q", form.name, got.rows, want)
				}
			}
			if len(got.rows) != len(want) {
				t.Fatalf("%s: got %q, want %q", form.name, got.rows, want)
			}
		}
		check([]int{0}, []int{1, 2, 4}, "0,good,good,", "1,,,", "2,,,", "3,fine,fine,")
		check([]int{0}, []int{3}, "0,", "1,", "2,", "3,") // the list is not unfolded
		check(nil, []int{1}, "good", "", "", "fine")
		for _, column := range []int{1, 2, 3} {
			_, err := readKept(f, 4, []int{column}, []int{0})
			var fault *pipeline.FormatError
			if !errors.As(err, &fault) || fault.Column != f.Fields()[column].Name || !strings.Contains(fault.What, "UTF-8") {
				t.Errorf("%s: column %d: got %v", form.name, column, err)
			}
		}
	}
}

// TestUnreadBytes overwrites all data of a column that is not read.
func TestUnreadBytes(t *testing.T) {
	for _, form := range forms {
		records, want := typedRecords(300, 200)
		path := writeRecords(t, form, records)
		f, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		o, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		x := f.(*file)
		for i := range x.Batches {
			m, err := ipc.ReadMessage(o, x.size, x.Batches[i].Place)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range m.Buffers[3:6] { // the buffers of column 1, which is text like column 0
				if _, err := o.WriteAt([]byte(strings.Repeat("\xfe", int(p.Length))), m.Body+p.Offset); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := readRange(f, 0, 500, nil); err == nil {
			t.Errorf("%s: the damage was not detected", form.name)
		}
		got, err := readRange(f, 0, 500, []int{0, 2, 9})
		if err != nil {
			t.Fatalf("%s: %v", form.name, err)
		}
		for i, row := range got.rows {
			if w := want[i]; row[0] != w[0] || row[1] != w[2] || row[2] != w[9] {
				t.Fatalf("%s: row %d: got %q", form.name, i, row)
			}
		}
	}
}

// TestNothingReadable opens a file without any column that can be converted to text.
func TestNothingReadable(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "span", Type: arrow.FixedWidthTypes.Duration_s}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	b.Field(0).(*array.DurationBuilder).Append(1)
	f := openForm(t, forms[0], []arrow.Record{b.NewRecord()})
	if len(f.Fields()) != 1 || f.Fields()[0].Fault == "" {
		t.Errorf("got %v, want one column with a fault", f.Fields())
	}
}

// TestBulk reads a column with more than 16 MiB in one of its batches.
func TestBulk(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "note", Type: arrow.BinaryTypes.String}, {Name: "id", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	var records []arrow.Record
	for _, size := range []int{10, 17 << 20} {
		b.Field(0).(*array.StringBuilder).Append(strings.Repeat("x", size))
		b.Field(1).(*array.StringBuilder).Append("i")
		records = append(records, b.NewRecord())
	}
	path := writeRecords(t, forms[0], records)
	dir := t.TempDir()
	f, err := Open(path, Options{Memory: 32 << 20, Temp: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if x := f.Fields(); !x[0].Bulk || x[1].Bulk {
		t.Errorf("got %v, want the first column alone as bulk", x)
	}
	// The value is larger than the part of the memory that is reserved for values.
	_, err = readRange(f, 0, 2, nil)
	var fault *pipeline.FormatError
	if !errors.As(err, &fault) || fault.Column != "note" || fault.Row != 2 || !strings.Contains(fault.Hint, "69MiB") {
		t.Fatalf("got %v, want a value that is too large", err)
	}
	enough, err := Open(path, Options{Memory: 69 << 20, Temp: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer enough.Close()
	if got, err := readRange(enough, 0, 2, nil); err != nil || len(got.rows[1][0]) != 17<<20 {
		t.Errorf("within the memory named by the hint: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("files remain: %v, %v", left, err)
	}
}

// TestKeptInList keeps a column of a list that is unfolded because of another column, a column of
// a list that is not unfolded, and a damaged column.
func TestKeptInList(t *testing.T) {
	line := arrow.StructOf(arrow.Field{Name: "number", Type: arrow.PrimitiveTypes.Int32}, arrow.Field{Name: "raw", Type: arrow.BinaryTypes.Binary})
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "lines", Type: arrow.ListOf(line)},
		{Name: "codes", Type: arrow.ListOf(arrow.BinaryTypes.String)},
	}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	for i := range 3 {
		for k := range 2 {
			if k == 0 {
				b.Field(0).(*array.ListBuilder).Append(true)
			}
			s := b.Field(0).(*array.ListBuilder).ValueBuilder().(*array.StructBuilder)
			s.Append(true)
			s.FieldBuilder(0).(*array.Int32Builder).Append(int32(10*i + k))
			s.FieldBuilder(1).(*array.BinaryBuilder).Append([]byte{'a' + byte(i), 0xff * byte(k)}[:1+k])
		}
		b.Field(1).(*array.ListBuilder).Append(true)
		b.Field(1).(*array.ListBuilder).ValueBuilder().(*array.StringBuilder).Append("c")
	}
	f := openForm(t, forms[0], []arrow.Record{b.NewRecord()})
	got, err := readKept(f, 3, []int{0}, []int{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	compareRows(t, "kept in a list", [][]string{{"0", "a", ""}, {"1", "", ""}, {"10", "b", ""}, {"11", "", ""}, {"20", "c", ""}, {"21", "", ""}}, got.rows)
}
