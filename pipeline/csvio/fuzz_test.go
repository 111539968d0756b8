package csvio

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// FuzzCSV compares with encoding/csv on what both accept.
func FuzzCSV(f *testing.F) {
	f.Add([]byte("a,b\n1,2\n"))
	f.Add([]byte("a,b\r\n\"x\"\"y\",\"\n\"\r\n\r\n3,4"))
	f.Add([]byte("a\n\"\"\n\"b\"\"\"\n\r"))
	f.Add(sample(20))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte) {
		r := csv.NewReader(bytes.NewReader(content))
		want, err := r.ReadAll()
		if err != nil {
			return
		}
		path := filepath.Join(dir, "fuzz.csv")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		header, rows, err := parse(t, path, Options{Delimiter: ',', Escape: '"'})
		if err != nil {
			return
		}
		want[0][0] = strings.TrimPrefix(want[0][0], "\ufeff")
		for i, name := range header {
			if strings.TrimSpace(want[0][i]) == "" {
				want[0][i] = name
			}
		}
		for i, row := range want {
			// An empty field behind the last column is none.
			if n := len(header); len(row) == n+1 && strings.TrimSpace(row[n]) == "" {
				want[i] = row[:n]
			}
		}
		got := append([][]string{header}, rows...)
		for _, row := range got {
			for i, v := range row {
				// encoding/csv makes CRLF within quotes a line feed.
				row[i] = strings.ReplaceAll(v, "\r\n", "\n")
			}
		}
		compareRows(t, fmt.Sprintf("%q", content), want, got)
	})
}

// fuzzed makes options of the bits of a number.
func fuzzed(bits uint16) Options {
	on := func(n int) bool { return bits>>n&1 != 0 }
	o := Options{Trim: on(0), ExcelGuards: on(1), ShortRows: on(2), NoQuote: on(3)}
	switch bits >> 4 & 3 {
	case 1:
		o.Escape = '\\'
	case 2:
		o.Escape = '"'
	case 3:
		o.Quote = '\''
	}
	o.Encoding = []string{"", "", "latin1", "utf-16", "utf-16le", "utf-16be", "", ""}[bits>>6&7]
	o.Delimiter = []byte{0, 0, ',', ' '}[bits>>9&3]
	if on(11) {
		o.NoHeader, o.Columns = true, []string{"a", "b", "c"}
	}
	return o
}

// FuzzOptions reads anything with any options: from the beginning, from the middle and
// by the scan, plain and compressed, the rows are the same.
func FuzzOptions(f *testing.F) {
	for _, content := range []string{
		"a,b\n1,2\n3,4\n", "a,b,\n1,2,\n3,4,\n", "a, \"b\" ,c\n1, \"x, y\"\t,3\n", "a,b\n=\"00123\",\"=\"\"04\"\"\"\n",
		"a,b\n\"Smith \\\"Jr\\\"\",x\\,y\n\\N,\\\r\n\n\\", "a,b\n\"C:\\\",2\n", "a,b\r1,2\r", "\xff\xfea\x00\n\x00b\x00\n\x00\x00\xd8",
		"a b\n'1 2' 3\n", "a,b\n1,2\na,b\n\ufeffa,b\n", "a,,a\n1,2,3\n",
	} {
		for _, bits := range []uint16{0, 1, 2, 4, 0x10, 0x13, 0x20, 0x30, 0xc0, 0x600, 0x800} {
			f.Add([]byte(content), bits)
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, content []byte, bits uint16) {
		opts := fuzzed(bits)
		plain, packed := filepath.Join(dir, "fuzz.csv"), filepath.Join(dir, "fuzz.csv.gz")
		if err := os.WriteFile(plain, content, 0o600); err != nil {
			t.Fatal(err)
		}
		header, rows, err := parse(t, plain, opts)
		if bits&0x8000 == 0 || kindOf(content) != "" {
			return
		}
		if err := os.WriteFile(packed, stored(t, content), 0o600); err != nil {
			t.Fatal(err)
		}
		packedHeader, packedRows, packedErr := parse(t, packed, opts)
		if got, want := strings.ReplaceAll(fmt.Sprint(packedErr), packed, plain), fmt.Sprint(err); got != want {
			t.Fatalf("%q: compressed it says %s, plain %s", content, got, want)
		}
		compareRows(t, fmt.Sprintf("%q compressed", content), append([][]string{header}, rows...), append([][]string{packedHeader}, packedRows...))
	})
}

// stored makes a gzip stream without the time that compression takes.
func stored(t testing.TB, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// wide makes rows of claims: 60 columns, half of them empty.
func wide(rows int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for c := range 60 {
		if c > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "column %d", c)
	}
	b.WriteByte('\n')
	for range rows {
		for c := range 60 {
			if c > 0 {
				b.WriteByte(',')
			}
			if c%2 == 0 {
				fmt.Fprintf(&b, "%d.%02d", rnd.IntN(100000), rnd.IntN(100))
			}
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// BenchmarkRead compares this package with encoding/csv, which is given all it has
// to be fast, and shows what the scan costs.
func BenchmarkRead(b *testing.B) {
	const rows = 50_000
	content := wide(rows)
	path := write(b, "wide.csv", content)
	rate := func(b *testing.B) {
		b.SetBytes(int64(len(content)))
		b.ReportAllocs()
		b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
	}
	b.Run("csvio", func(b *testing.B) {
		f, err := Open(path, Options{})
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		for b.Loop() {
			s, err := f.Open(b.Context(), 0, rows, pipeline.ReadableColumns(f))
			if err != nil {
				b.Fatal(err)
			}
			var r cpcds.Rows
			n := 0
			for s.Next(b.Context(), &r) == nil {
				n += r.N
			}
			s.Close()
			if n != rows {
				b.Fatalf("read %d rows", n)
			}
		}
		rate(b)
	})
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			f, err := Open(path, Options{})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := f.Spans(b.Context()); err != nil {
				b.Fatal(err)
			}
			f.Close()
		}
		rate(b)
	})
	b.Run("encoding-csv", func(b *testing.B) {
		for b.Loop() {
			f, err := os.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			r := csv.NewReader(f)
			r.ReuseRecord = true
			n := 0
			for {
				if _, err := r.Read(); err != nil {
					break
				}
				n++
			}
			f.Close()
			if n != rows+1 {
				b.Fatalf("read %d records", n)
			}
		}
		rate(b)
	})
}
