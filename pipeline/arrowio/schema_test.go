package arrowio

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"cpcds2fhir/pipeline/arrowmeta"
)

// TestUnknownType opens a file with a type that a later version of Arrow might add. The columns
// before it can be read; the positions of those after it are unknown.
func TestUnknownType(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "first", Type: arrow.BinaryTypes.String},
		{Name: "new", Type: arrow.BinaryTypes.String},
		{Name: "last", Type: arrow.ListOf(arrow.BinaryTypes.String)},
	}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	b.Field(0).(*array.StringBuilder).Append("a")
	b.Field(1).(*array.StringBuilder).Append("b")
	b.Field(2).(*array.ListBuilder).Append(true)
	path := writeRecords(t, forms[0], []arrow.Record{b.NewRecord()})
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	end := len(raw) - trailer
	start := end - int(binary.LittleEndian.Uint32(raw[end:]))
	s, _ := arrowmeta.Child(arrowmeta.Root(raw[start:end]), footerSchema)
	fields, err := arrowmeta.Tables(&s, arrowmeta.SchemaFields)
	if err != nil {
		t.Fatal(err)
	}
	raw[start+int(fields[1].Pos)+int(fields[1].Offset(arrowmeta.FieldKind))] = 99
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x := f.Fields()
	if len(x) != 3 || x[0].Fault != "" || x[1].Fault != "is of type unknown, which cannot be converted to text" || !strings.HasPrefix(x[2].Fault, "follows a column") {
		t.Fatalf("got %v", x)
	}
	got, err := readRange(f, 0, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	compareRows(t, "before the unknown type", [][]string{{"a"}}, got.rows)
}

// TestNoRows opens files without record batches, and files with empty ones.
func TestNoRows(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}}, nil)
	empty := array.NewRecordBuilder(memory.NewGoAllocator(), schema).NewRecord()
	for _, form := range forms {
		f := openForm(t, form, []arrow.Record{empty, empty})
		spans, err := f.Spans(context.Background())
		if err != nil || len(spans) != 0 || len(f.Fields()) != 1 {
			t.Errorf("%s: got %v, %v", form.name, spans, err)
		}
		if got, err := readRange(f, 0, 0, nil); err != nil || len(got.rows) != 0 {
			t.Errorf("%s: got %v, %v", form.name, got, err)
		}
	}
}

// TestNotArrow opens files that are not Arrow files.
func TestNotArrow(t *testing.T) {
	check := func(content, what string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "x.arrow")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, Options{}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%q: got %v, want %s", content, err, what)
		}
	}
	check("", "is empty")
	check("ARROW1", "is too short")
	check("id,name\n1,Smith\n2,Jones\n", "is not an Arrow file")
	check("\x10\x00\x00\x00"+strings.Repeat("\x00", 40), "is not an Arrow file") // looks like the length of a schema in the old stream format
	check("FEA1............FEA1", "Feather file of version 1")
	check("ARROW1\x00\x00............", "the Arrow footer is missing")
	check("ARROW1\x00\x00....\xff\xff\xff\x7fARROW1", "is corrupt")
	check("\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00", "is corrupt")
}
