package arrowio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

type field = cpcds.Field

type table struct {
	rows  [][]string
	input []int64
}

// cut returns the rows that were produced from the input rows [from, to).
func (t *table) cut(from, to int64) (part table) {
	for i, n := range t.input {
		if n >= from && n < to {
			part.rows = append(part.rows, t.rows[i])
			part.input = append(part.input, n)
		}
	}
	return part
}

func readRange(f pipeline.File, from, to int64, columns []int) (*table, error) {
	bound := pipeline.Columns{Bound: columns}
	if columns == nil {
		bound = pipeline.ReadableColumns(f)
	}
	return readColumns(f, from, to, bound)
}

// readKept reads all rows, including columns that are only kept.
func readKept(f pipeline.File, rows int64, bound, kept []int) (*table, error) {
	return readColumns(f, 0, rows, pipeline.Columns{Bound: bound, Kept: kept})
}

func readColumns(f pipeline.File, from, to int64, columns pipeline.Columns) (*table, error) {
	return readAtMost(math.MaxInt, f, from, to, columns)
}

// readAtMost reads rows, and returns an error if there are more than most of them.
func readAtMost(most int, f pipeline.File, from, to int64, columns pipeline.Columns) (*table, error) {
	s, err := f.Open(context.Background(), from, to, columns)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var out table
	var r cpcds.Rows
	for {
		r.Reset()
		err := s.Next(context.Background(), &r)
		if err == io.EOF {
			return &out, nil
		}
		if err != nil {
			return nil, err
		}
		if len(out.rows)+r.N > most {
			return nil, &pipeline.FormatError{What: "has too many rows for a test"}
		}
		for i := range r.N {
			row := make([]string, len(r.Columns))
			for c := range r.Columns {
				if k := r.Columns[c].Index[i]; k >= 0 && r.Columns[c].Values[k] == "" {
					return nil, errors.New("an absent value has an entry")
				}
				row[c] = strings.Clone(r.Columns[c].Value(i))
			}
			out.rows = append(out.rows, row)
			out.input = append(out.input, r.InputRow(i))
		}
	}
}

func readAll(t testing.TB, f pipeline.File) *table {
	t.Helper()
	spans, err := f.Spans(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var out table
	next := int64(0)
	for _, s := range spans {
		if s.First != next {
			t.Fatalf("a span begins at row %d, want %d", s.First, next)
		}
		next += s.Rows
		part, err := readRange(f, s.First, s.First+s.Rows, nil)
		if err != nil {
			t.Fatal(err)
		}
		out.rows = append(out.rows, part.rows...)
		out.input = append(out.input, part.input...)
	}
	return &out
}

func compareRows(t testing.TB, name string, want, got [][]string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: got %d rows, want %d", name, len(got), len(want))
	}
	for i := range want {
		if !slices.Equal(want[i], got[i]) {
			t.Fatalf("%s: row %d (-want +got):\n%s", name, i, cmp.Diff(want[i], got[i]))
		}
	}
}

// form is one of the file formats in which tests write the same records.
type form struct {
	name    string
	stream  bool
	options []ipc.Option
}

var forms = []form{
	{"file.arrow", false, nil},
	{"zstd.arrow", false, []ipc.Option{ipc.WithZstd()}},
	{"lz4.feather", false, []ipc.Option{ipc.WithLZ4()}},
	{"stream.arrows", true, nil},
	{"zstd.arrows", true, []ipc.Option{ipc.WithZstd()}},
}

func writeRecords(t testing.TB, f form, records []arrow.Record) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), f.name)
	o, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	var w interface {
		Write(arrow.Record) error
		Close() error
	}
	options := append([]ipc.Option{ipc.WithSchema(records[0].Schema())}, f.options...)
	if f.stream {
		w = ipc.NewWriter(o, options...)
	} else if w, err = ipc.NewFileWriter(o, options...); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func openForm(t testing.TB, f form, records []arrow.Record) pipeline.File {
	t.Helper()
	file, err := Open(writeRecords(t, f, records), Options{})
	if err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// checkRanges reads ranges of rows and compares them with the result of reading the whole file.
func checkRanges(t *testing.T, f pipeline.File, whole *table) {
	t.Helper()
	rows := whole.input[len(whole.input)-1] + 1
	for _, from := range []int64{0, 1, rows / 3, rows - 1, rows} {
		for _, to := range []int64{from, min(from+1500, rows), rows} {
			part, err := readRange(f, from, to, nil)
			if err != nil {
				t.Fatalf("rows %d to %d: %v", from, to, err)
			}
			want := whole.cut(from, to)
			compareRows(t, fmt.Sprintf("rows %d to %d", from, to), want.rows, part.rows)
			if !slices.Equal(want.input, part.input) {
				t.Fatalf("rows %d to %d: wrong input rows", from, to)
			}
		}
	}
}

// TestNested unfolds a list of structs and a list of values.
func TestNested(t *testing.T) {
	line := arrow.StructOf(
		arrow.Field{Name: "number", Type: arrow.PrimitiveTypes.Int32, Nullable: true},
		arrow.Field{Name: "doctor", Type: arrow.StructOf(arrow.Field{Name: "npi", Type: arrow.BinaryTypes.String, Nullable: true}), Nullable: true},
	)
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.BinaryTypes.String},
		{Name: "lines", Type: arrow.ListOf(line), Nullable: true},
		{Name: "billing", Type: arrow.StructOf(arrow.Field{Name: "npi", Type: arrow.BinaryTypes.String, Nullable: true}), Nullable: true},
		{Name: "codes", Type: arrow.LargeListOf(arrow.BinaryTypes.String), Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	ids, lists := b.Field(0).(*array.StringBuilder), b.Field(1).(*array.ListBuilder)
	lines := lists.ValueBuilder().(*array.StructBuilder)
	numbers, doctors := lines.FieldBuilder(0).(*array.Int32Builder), lines.FieldBuilder(1).(*array.StructBuilder)
	npis := doctors.FieldBuilder(0).(*array.StringBuilder)
	billing := b.Field(2).(*array.StructBuilder)
	codes := b.Field(3).(*array.LargeListBuilder)
	rnd := rand.New(rand.NewPCG(3, 4))
	var records []arrow.Record
	var want table
	for n := range 3000 {
		id, bill := fmt.Sprint(n), ""
		ids.Append(id)
		if rnd.IntN(3) == 0 {
			billing.AppendNull()
		} else {
			bill = fmt.Sprint("b", n)
			billing.Append(true)
			billing.FieldBuilder(0).(*array.StringBuilder).Append(bill)
		}
		before := len(want.rows)
		add := func(number, npi, code string) {
			want.rows = append(want.rows, []string{id, number, npi, bill, code})
			want.input = append(want.input, int64(n))
		}
		if n%5 == 0 {
			lists.AppendNull()
		} else {
			lists.Append(true)
			for k := range rnd.IntN(4) {
				if rnd.IntN(5) == 0 {
					lines.AppendNull()
					add("", "", "")
					continue
				}
				lines.Append(true)
				numbers.Append(int32(k))
				npi := ""
				if rnd.IntN(3) == 0 {
					doctors.AppendNull()
				} else {
					doctors.Append(true)
					npi = fmt.Sprint("d", n)
					npis.Append(npi)
				}
				add(fmt.Sprint(k), npi, "")
			}
		}
		codes.Append(true)
		for range rnd.IntN(3) {
			codes.ValueBuilder().(*array.StringBuilder).Append(id)
			add("", "", id)
		}
		if len(want.rows) == before {
			add("", "", "")
		}
		if n%1100 == 0 {
			records = append(records, b.NewRecord())
		}
	}
	records = append(records, b.NewRecord())
	fields := []cpcds.Field{
		{Name: "id", Type: "string"},
		{Name: "number", Group: "lines", Type: "int32"},
		{Name: "npi", Group: "lines", Type: "string"},
		{Name: "npi", Type: "string"},
		{Name: "codes", Group: "codes", Type: "string"},
	}
	for _, form := range forms {
		f := openForm(t, form, records)
		if diff := cmp.Diff(fields, f.Fields()); diff != "" {
			t.Fatalf("%s: fields (-want +got):\n%s", form.name, diff)
		}
		got := readAll(t, f)
		compareRows(t, form.name, want.rows, got.rows)
		if !slices.Equal(want.input, got.input) {
			t.Errorf("%s: wrong input rows", form.name)
		}
		checkRanges(t, f, got)
		top, err := readRange(f, 0, 3000, []int{0})
		if err != nil || len(top.rows) != 3000 {
			t.Errorf("%s: without the lists: %d rows, %v", form.name, len(top.rows), err)
		}
	}
}

// TestUnsupported opens files with columns that cannot be converted to text. The other columns are
// read; an error occurs only if such a column is bound, and names it.
func TestUnsupported(t *testing.T) {
	check := func(typ arrow.DataType, want field) {
		t.Helper()
		schema := arrow.NewSchema([]arrow.Field{{Name: "a", Type: arrow.BinaryTypes.String}, {Name: "b", Type: typ, Nullable: true}}, nil)
		b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
		b.Field(0).(*array.StringBuilder).Append("text")
		b.Field(1).AppendNull()
		f := openForm(t, forms[0], []arrow.Record{b.NewRecord()})
		if diff := cmp.Diff([]field{{Name: "a", Type: "string"}, want}, f.Fields()); diff != "" {
			t.Errorf("%v: fields (-want +got):\n%s", typ, diff)
		}
		compareRows(t, typ.Name(), [][]string{{"text"}}, readAll(t, f).rows)
		_, err := readRange(f, 0, 1, []int{0, 1})
		var fault *pipeline.FormatError
		if !errors.As(err, &fault) || fault.File == "" || fault.Column != want.Name || fault.What != want.Fault {
			t.Errorf("%v: got %v, want a fault in column %s", typ, err, want.Name)
		}
	}
	check(arrow.MapOf(arrow.BinaryTypes.String, arrow.BinaryTypes.String), field{Name: "b", Type: "map", Fault: "is a map"})
	check(arrow.ListOf(arrow.ListOf(arrow.BinaryTypes.String)), field{Name: "b", Group: "b", Type: "list", Fault: "is a list within a list"})
	check(arrow.StructOf(arrow.Field{Name: "c", Type: arrow.FixedWidthTypes.Duration_s, Nullable: true}),
		field{Name: "c", Type: "duration", Fault: "is of type duration, which cannot be converted to text"})
}

func TestMissingFile(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none.arrow"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error of package os", err)
	}
}

// TestDamage damages files in many places. Reading them must return a *FormatError or rows, and
// must never panic.
func TestDamage(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	records, want := typedRecords(120, 80)
	dir := t.TempDir()
	for _, form := range forms {
		good, err := os.ReadFile(writeRecords(t, form, records))
		if err != nil {
			t.Fatal(err)
		}
		check := func(name string, raw []byte, mustFail bool) {
			t.Helper()
			path := filepath.Join(dir, form.name)
			if err := os.WriteFile(path, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path, Options{})
			if err == nil {
				defer f.Close()
				_, err = readRange(f, 0, int64(len(want)), nil)
				if err == nil && !mustFail {
					return
				}
			}
			var fault *pipeline.FormatError
			if !errors.As(err, &fault) && (mustFail || !strings.Contains(err.Error(), "are not in the file")) {
				t.Fatalf("%s, %s: got %v, want a format error", form.name, name, err)
			}
		}
		for cut := 0; cut < len(good); cut += len(good)/50 + 1 {
			check(fmt.Sprintf("cut at %d", cut), good[:cut], true)
		}
		if form.stream {
			check("end-of-stream marker missing", good[:len(good)-8], true)
		}
		rnd := rand.New(rand.NewPCG(5, 6))
		for range 300 {
			raw := slices.Clone(good)
			at := rnd.IntN(len(raw))
			raw[at] ^= 1 << rnd.IntN(8)
			check(fmt.Sprintf("bit at %d", at), raw, false)
		}
	}
}
