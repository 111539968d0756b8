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
		header, rows, err := parse(t, path, Options{Delimiter: ','})
		if err != nil {
			return
		}
		got := append([][]string{header}, rows...)
		for _, row := range got {
			for i, v := range row {
				// encoding/csv makes CRLF within quotes a line feed.
				row[i] = strings.ReplaceAll(v, "\r\n", "\n")
			}
		}
		want[0][0] = strings.TrimPrefix(want[0][0], "\ufeff")
		compareRows(t, fmt.Sprintf("%q", content), want, got)
	})
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
			s, err := f.Open(b.Context(), 0, rows, nil)
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
