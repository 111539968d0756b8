package csvio

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

func write(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// every binds all columns of a file.
func every(f pipeline.File) (c pipeline.Columns) {
	for i := range f.Fields() {
		c.Bound = append(c.Bound, i)
	}
	return c
}

// read reads rows of a file as text; to is past the end for all of them.
func read(f pipeline.File, from, to int64, columns pipeline.Columns) ([][]string, error) {
	s, err := f.Open(context.Background(), from, to, columns)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	rows := [][]string{}
	var r cpcds.Rows
	for {
		r.Reset()
		err := s.Next(context.Background(), &r)
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		if want := from + int64(len(rows)); r.First != want || r.N == 0 {
			return nil, fmt.Errorf("a row batch of %d rows begins at row %d, want %d", r.N, r.First, want)
		}
		for i := range r.N {
			row := make([]string, len(r.Columns))
			for c := range r.Columns {
				if k := r.Columns[c].Index[i]; k >= 0 && r.Columns[c].Values[k] == "" {
					return nil, errors.New("an absent value has an entry")
				}
				row[c] = strings.Clone(r.Columns[c].Value(i))
			}
			rows = append(rows, row)
		}
	}
}

// parse reads a file in full and checks that its scan, and readers that begin
// elsewhere, see the same rows.
func parse(t testing.TB, path string, opts Options) ([]string, [][]string, error) {
	t.Helper()
	f, err := Open(path, opts)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	var header []string
	for _, x := range f.Fields() {
		header = append(header, x.Name)
	}
	text, textErr := read(f, 0, 1<<40, pipeline.Columns{Kept: every(f).Bound})
	_, middleErr := read(f, 1, 1<<40, pipeline.Columns{Kept: every(f).Bound})
	spans, err := f.Spans(context.Background())
	if fmt.Sprint(err) != fmt.Sprint(textErr) || fmt.Sprint(err) != fmt.Sprint(middleErr) {
		t.Fatalf("the scan says %v, reading says %v, from the middle %v", err, textErr, middleErr)
	}
	if err != nil {
		return header, nil, err
	}
	var next int64
	for _, s := range spans {
		if s.First != next {
			t.Fatalf("a span begins at row %d, want %d", s.First, next)
		}
		next += s.Rows
	}
	if next != int64(len(text)) {
		t.Fatalf("the scan counts %d rows, reading gives %d", next, len(text))
	}
	rows, err := read(f, 0, 1<<40, every(f))
	if err != nil {
		return header, nil, err // of a value, which a scan does not look at
	}
	compareRows(t, "kept columns", rows, text)
	checkTails(t, f, rows)
	return header, rows, nil
}

// checkTails reads a file from some of its rows on.
func checkTails(t testing.TB, f pipeline.File, rows [][]string) {
	t.Helper()
	n := len(rows)
	for _, from := range []int{1, n / 3, n / 2, n - 1, n} {
		if from < 0 || from > n {
			continue
		}
		tail, err := read(f, int64(from), 1<<40, every(f))
		if err != nil {
			t.Fatalf("from row %d: %v", from, err)
		}
		compareRows(t, fmt.Sprintf("from row %d", from), rows[from:], tail)
	}
}

func TestForms(t *testing.T) {
	check := func(content string, opts Options, want ...[]string) {
		t.Helper()
		header, rows, err := parse(t, write(t, "a.csv", []byte(content)), opts)
		if err != nil {
			t.Errorf("%q: %v", content, err)
			return
		}
		if diff := cmp.Diff(want, append([][]string{header}, rows...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", content, diff)
		}
	}
	row := func(s ...string) []string { return s }
	check("a,b\n1,2\n", Options{}, row("a", "b"), row("1", "2"))
	check("a,b\r\n1,2\r\n3,", Options{}, row("a", "b"), row("1", "2"), row("3", ""))
	check("a,b\n\n\r\n1,2\n\n", Options{}, row("a", "b"), row("1", "2"))
	check("\xef\xbb\xbfa;b\n1;2,5", Options{}, row("a", "b"), row("1", "2,5"))
	check("a|b|c,d\n1|2|3", Options{}, row("a", "b", "c,d"), row("1", "2", "3"))
	check("a\tb\n1\t2", Options{}, row("a", "b"), row("1", "2"))
	check("\"x;y;z\",b\n1,2", Options{}, row("x;y;z", "b"), row("1", "2"))
	check("a\n1\n", Options{}, row("a"), row("1"))
	check("a,b\n\"x,\"\"y\"\"\nz\",2\n3,\"\"\n", Options{}, row("a", "b"), row("x,\"y\"\nz", "2"), row("3", ""))
	check("a,b\n5\" pipe,2\n", Options{}, row("a", "b"), row("5\" pipe", "2"))
	check("a,b\n'x,y',\"2\"\n", Options{Quote: '\''}, row("a", "b"), row("x,y", "\"2\""))
	check("a,b\n\"x,y\n", Options{NoQuote: true}, row("a", "b"), row("\"x", "y"))
	check("1,2\n3,4", Options{NoHeader: true, Columns: []string{"p", "q"}}, row("p", "q"), row("1", "2"), row("3", "4"))
	check("a,b,c\n1\n2,3\n", Options{ShortRows: true}, row("a", "b", "c"), row("1", "", ""), row("2", "3", ""))
	check("a:b\n1:2,3", Options{Delimiter: ':'}, row("a", "b"), row("1", "2,3"))
	check("a,b\n", Options{}, row("a", "b"))
	check("a,b\n\"1\r\n2\",\"3\"\r\n", Options{}, row("a", "b"), row("1\r\n2", "3"))
}

func TestFaults(t *testing.T) {
	check := func(content string, opts Options, want pipeline.FormatError) {
		t.Helper()
		path := write(t, "a.csv", []byte(content))
		_, _, err := parse(t, path, opts)
		var got *pipeline.FormatError
		if !errors.As(err, &got) {
			t.Errorf("%.40q: got %v, want a format error", content, err)
			return
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%.40q: the error quotes the data: %v", content, err)
		}
		want.File, want.Hint = path, got.Hint
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%.40q (-want +got):\n%s", content, diff)
		}
	}
	check("", Options{}, pipeline.FormatError{What: "is empty"})
	check("\n\r\n", Options{}, pipeline.FormatError{What: "is empty"})
	check("a,b\n1,2\n\nsecret\n", Options{}, pipeline.FormatError{Row: 2, Line: 4, What: "has 1 fields, but the header has 2"})
	check("a,b\n\"1\n1\",2\nsecret,4,5\n", Options{}, pipeline.FormatError{Row: 2, Line: 4, What: "has 3 fields, but the header has 2"})
	check("a,b\n1,2,3,\n", Options{}, pipeline.FormatError{Row: 1, Line: 2, What: "has 4 fields, but the header has 2"})
	check("a,b\n1,2\n3,\"secret\n5,6\n", Options{}, pipeline.FormatError{Row: 2, Line: 3, Column: "b", What: "opens a quote that is never closed"})
	check("a,b\n1,\"secret\"x\n", Options{}, pipeline.FormatError{Row: 1, Line: 2, Column: "b", What: "has text after a closing quote"})
	check("a,b\n1,2\nsecret\xff,2\n", Options{}, pipeline.FormatError{Row: 2, Line: 3, Column: "a", What: "is not valid UTF-8"})
	check(", \n", Options{}, pipeline.FormatError{Line: 1, What: "has no names in its first line"})
	check("1980-01-31,secret\nx\n", Options{}, pipeline.FormatError{Row: 1, Line: 2, What: "has 1 fields, but the header has 2"})
	check("1980-01-31,secret\nx,y\xff\n", Options{}, pipeline.FormatError{Row: 1, Line: 2, Column: "2", What: "is not valid UTF-8"})
	check("a\xff,c\n", Options{}, pipeline.FormatError{Line: 1, What: "is not valid UTF-8"})
	check("a,b\n1,secretsecret\n", Options{MaxField: 10}, pipeline.FormatError{Row: 1, Line: 2, Column: "b", What: "has a field of more than 10 bytes"})
	check("a,b\n1,\""+strings.Repeat("secret\n", 1<<20), Options{}, pipeline.FormatError{Row: 1, Line: 2, Column: "b", What: "has a field of more than 1048576 bytes"})
	check("a,b\n1,"+strings.Repeat("secret", 1<<20), Options{}, pipeline.FormatError{Row: 1, Line: 2, Column: "b", What: "has a field of more than 1048576 bytes"})
	check("\xff\xfea\x00,\x00b\x00\n\x00", Options{}, pipeline.FormatError{What: "is UTF-16 text"})

	if _, err := Open(filepath.Join(t.TempDir(), "none.csv"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error of package os", err)
	}
}

// sample has n rows, of which some have quotes, line feeds and other letters.
func sample(n int) []byte {
	var b bytes.Buffer
	b.WriteString("id,name,note,ä\n")
	for i := range n {
		switch i % 5 {
		case 0:
			fmt.Fprintf(&b, "%d,\"a \"\"%d\"\" b\",,x\n", i, i)
		case 1:
			fmt.Fprintf(&b, "%d,\"two\nlines\",ö%d,\"\"\n", i, i)
		case 2:
			fmt.Fprintf(&b, "\n%d,%s,ß,\r\n", i, strings.Repeat("x", i%97))
		default:
			fmt.Fprintf(&b, "%d,plain,,é\n", i)
		}
	}
	return b.Bytes()
}

// reference reads with encoding/csv.
func reference(t testing.TB, content []byte) [][]string {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
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

// TestContainers reads the same rows from all encodings and compressions.
func TestContainers(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	content := sample(40000)
	want := reference(t, content)
	check := func(name string, raw []byte, opts Options) {
		t.Helper()
		header, rows, err := parse(t, write(t, name, raw), opts)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		compareRows(t, name, want, append([][]string{header}, rows...))
	}
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(content)
	g.Close()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	zst := z.EncodeAll(content, nil)
	encode := func(raw []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	check("plain.csv", content, Options{})
	check("a.csv.gz", gz.Bytes(), Options{})
	check("a.csv.zst", zst, Options{})
	check("latin1.csv", encode(charmap.ISO8859_1.NewEncoder().Bytes(content)), Options{Encoding: "latin1"})
	check("cp1252.csv", encode(charmap.Windows1252.NewEncoder().Bytes(content)), Options{Encoding: "windows-1252"})
	check("utf16.csv", encode(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder().Bytes(content)), Options{Encoding: "utf-16"})

	for _, broken := range []struct {
		name string
		raw  []byte
		what string
	}{
		{"cut.csv.gz", gz.Bytes()[:gz.Len()/2], "truncated"},
		{"cut.csv.zst", zst[:len(zst)/2], "truncated"},
		{"not.csv.gz", content, "is not compressed, though its name says gzip"},
		{"not.csv.zst", content, "is not compressed, though its name says zstd"},
	} {
		_, _, err := parse(t, write(t, broken.name, broken.raw), Options{})
		var fault *pipeline.FormatError
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), broken.what) {
			t.Errorf("%s: got %v, want %q", broken.name, err, broken.what)
		}
	}
}

// TestRanges opens a file at many rows; it is large enough for several spans.
func TestRanges(t *testing.T) {
	content := sample(20000)
	wide := bytes.Repeat([]byte("y"), 4000)
	content = bytes.ReplaceAll(content, []byte("plain"), wide)
	want := reference(t, content)[1:]
	path := write(t, "a.csv", content)
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := int64(len(want))
	for _, from := range []int64{1, 4095, 4096, 4097, rows - 1, rows} {
		got, err := read(f, from, min(from+5000, rows), every(f))
		if err != nil {
			t.Fatal(err)
		}
		compareRows(t, fmt.Sprintf("from %d", from), want[from:min(from+5000, rows)], got)
	}
	spans, err := f.Spans(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(spans) != len(content)/spanBytes+1 {
		t.Errorf("got %d spans for %d MiB", len(spans), len(content)>>20)
	}
	for _, s := range spans {
		got, err := read(f, s.First, s.First+s.Rows, pipeline.Columns{Bound: []int{3, 0, 0}})
		if err != nil {
			t.Fatal(err)
		}
		for i, row := range got {
			w := want[s.First+int64(i)]
			if !slices.Equal(row, []string{w[3], w[0], w[0]}) {
				t.Fatalf("span at %d, row %d: got %q", s.First, i, row)
			}
		}
	}
	// A row of the second span is counted from the file's beginning in faults.
	broken := append(slices.Clone(content), "1,2\n"...)
	g, err := Open(write(t, "b.csv", broken), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, err = g.Spans(context.Background())
	var fault *pipeline.FormatError
	if !errors.As(err, &fault) || fault.Row != rows+1 || fault.Line != int64(bytes.Count(broken, []byte("\n"))) {
		t.Errorf("got %v, want row %d", err, rows+1)
	}
}

func TestCancel(t *testing.T) {
	f, err := Open(write(t, "a.csv", sample(10)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Spans(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if spans, err := f.Spans(context.Background()); err != nil || len(spans) != 1 {
		t.Errorf("after a cancelled scan: %v, %v", spans, err)
	}
}

// TestEqualNeighboursAreOneValue holds a row batch to one value for what rows repeat.
func TestEqualNeighboursAreOneValue(t *testing.T) {
	f, err := Open(write(t, "rows.csv", []byte("a,b\nx,1\nx,\n\"x\",1\ny,2\nx,2\n")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s, err := f.Open(t.Context(), 0, 5, pipeline.ReadableColumns(f))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var r cpcds.Rows
	if err := s.Next(t.Context(), &r); err != nil {
		t.Fatal(err)
	}
	want := []cpcds.Column{
		{Index: []int32{0, 0, 0, 1, 2}, Values: []string{"x", "y", "x"}},
		{Index: []int32{0, -1, 0, 1, 1}, Values: []string{"1", "2"}},
	}
	if d := cmp.Diff(want, r.Columns); d != "" {
		t.Error(d)
	}
}

// TestNUL leaves a NUL to the layout, as it does all control characters.
func TestNUL(t *testing.T) {
	path := write(t, "a.csv", []byte("a,b\n1,x\x00y\n2,z\n"))
	for _, encoding := range []string{"", "latin1"} {
		_, rows, err := parse(t, path, Options{Encoding: encoding})
		if err != nil {
			t.Fatal(err)
		}
		compareRows(t, encoding, [][]string{{"1", "x\x00y"}, {"2", "z"}}, rows)
	}
}
