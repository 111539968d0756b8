package parquetio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// TestSpool reads files with so little memory that every row group goes through a spool file, and
// expects the same result as without a limit.
func TestSpool(t *testing.T) {
	flat, _ := makeTyped(9000)
	lists, _ := makeNested(3000)
	for name, path := range map[string]string{
		"flat":   writeFile(t, flat, 5000, parquet.PageBufferSize(50_000)),
		"nested": writeFile(t, lists, 2000),
	} {
		want := readAll(t, open(t, path), nil)
		dir := t.TempDir()
		f, err := Open(path, Options{Memory: 200_000, Temp: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		src, err := f.Open(t.Context(), 0, 1, pipeline.ReadableColumns(f))
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Next(t.Context(), &cpcds.Rows{}); err != nil {
			t.Fatal(err)
		}
		if src.(*source).spool == nil {
			t.Fatalf("%s: nothing was spooled", name)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s: the folder has %v, %v; no files with members' data must remain", name, left, err)
		}
		src.Close()
		compareRows(t, name, want.rows, readAll(t, f, nil).rows)
		checkRanges(t, f, want)
	}
}

// TestSpoolMemory reads a row group whose columns have a single page each, and checks the memory
// in use.
func TestSpoolMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a large file")
	}
	const rows, columns, limit = 100_000, 60, 4 << 20
	path := writePages(t, rows, columns)
	peak := func(o Options) int64 {
		f, err := Open(path, o)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		src, err := f.Open(t.Context(), 0, rows, pipeline.ReadableColumns(f))
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		var most int64
		done, sampled := make(chan bool), make(chan bool)
		go func() { // the columns are read within the first call of Next
			defer close(sampled)
			for {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, int64(m.HeapAlloc))
				select {
				case <-done:
					return
				default:
				}
			}
		}()
		var r cpcds.Rows
		for err == nil {
			err = src.Next(t.Context(), &r)
		}
		close(done)
		<-sampled
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return most
	}
	runtime.GC()
	runtime.GC() // also clears pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before := int64(m.HeapAlloc)
	spooled := peak(Options{Memory: limit, Temp: t.TempDir()}) - before
	// A row batch of all columns takes about 15 MB, regardless of the limit.
	if spooled > limit+18<<20 {
		t.Errorf("%d MB are held, with a limit of %d MB", spooled>>20, limit>>20)
	}
	if whole := peak(Options{}) - before; whole < 2*spooled {
		t.Errorf("without a limit %d MB are held, with one %d MB: the test is meaningless", whole>>20, spooled>>20)
	}
}

// writePages writes a row group with one page for each column.
func writePages(t *testing.T, rows, columns int) string {
	t.Helper()
	group := parquet.Group{}
	for c := range columns {
		group[fmt.Sprintf("c%02d", c)] = parquet.Optional(parquet.Encoded(parquet.String(), &parquet.Plain))
	}
	path := t.TempDir() + "/pages.parquet"
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := parquet.NewWriter(f, parquet.NewSchema("row", group), parquet.PageBufferSize(1<<30), parquet.Compression(&parquet.Zstd))
	row := make(parquet.Row, columns)
	for i := range rows {
		for c := range row {
			row[c] = parquet.ByteArrayValue(fmt.Appendf(nil, "%d of column %d", i, c)).Level(0, 1, c)
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTooLarge checks that a column that cannot fit into memory in any way is rejected, with its
// name in the error.
func TestTooLarge(t *testing.T) {
	path := writeFile(t, []struct {
		ID  string `parquet:"id"`
		Big string `parquet:"big"`
	}{{"1", strings.Repeat("x", 4<<20)}}, 1)
	f, err := Open(path, Options{Memory: 3 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = readRange(f, 0, 1, nil)
	var fault *pipeline.FormatError
	if !errors.As(err, &fault) || fault.Column != "big" || !strings.Contains(fault.Hint, "--memory") {
		t.Errorf("got %v, want that column big needs more memory", err)
	}
	// A column that is not read needs no memory.
	if got, err := readRange(f, 0, 1, []int{0}); err != nil || got.rows[0][0] != "1" {
		t.Errorf("got %v, %v from the other column", got, err)
	}
	src, err := f.Open(context.Background(), 0, 1, pipeline.Columns{Bound: []int{0}, Kept: []int{1}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var r cpcds.Rows
	if err := src.Next(context.Background(), &r); err != nil || r.Columns[0].Value(0) != "1" || r.Columns[1].Value(0) != "" {
		t.Errorf("a column that is only kept stops the load: %v", err)
	}
}

// TestLongValues reads long values, one per page, with little memory: row batches have so few rows
// that their text fits.
func TestLongValues(t *testing.T) {
	if testing.Short() {
		t.Skip("writes a large file")
	}
	type row struct {
		ID   int32  `parquet:"id"`
		Long string `parquet:"long"`
	}
	const rows, length, limit = 200, 400_000, 4 << 20
	path := t.TempDir() + "/long.parquet"
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[row](out, parquet.PageBufferSize(1000), parquet.Compression(&parquet.Zstd))
	for i := range rows { // one by one, otherwise they share a page
		if _, err := w.Write([]row{{int32(i), strings.Repeat(string(rune('a'+i%26)), length)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), out.Close()); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, Options{Memory: limit, Temp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	src, err := f.Open(t.Context(), 0, rows, pipeline.ReadableColumns(f))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var r cpcds.Rows
	n := 0
	for ; ; n += r.N {
		err := src.Next(t.Context(), &r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if r.N*length > limit {
			t.Fatalf("a row batch has %d rows, with %d MB of text", r.N, r.N*length>>20)
		}
		for i := range r.N {
			if v := r.Columns[1].Value(i); len(v) != length || v[0] != byte('a'+(n+i)%26) {
				t.Fatalf("row %d has a different value", n+i)
			}
		}
	}
	if n != rows {
		t.Errorf("got %d rows, want %d", n, rows)
	}
}
