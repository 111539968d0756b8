package parquetio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline"
)

// TestJoined checks that two concatenated files are rejected, because the offsets in the footer of
// the second one point into the first.
func TestJoined(t *testing.T) {
	type row struct {
		ID   string `parquet:"id"`
		Name string `parquet:"name,dict"`
	}
	file := func(n int, options ...parquet.WriterOption) []byte {
		rows := make([]row, n)
		for i := range rows {
			rows[i] = row{fmt.Sprint("id", i), fmt.Sprint("name", i%7)}
		}
		raw, err := os.ReadFile(writeFile(t, rows, 100, options...))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	bloom := parquet.BloomFilters(parquet.SplitBlockFilter(10, "id"))
	for name, parts := range map[string][][]byte{
		"the first is longer":  {file(900), file(5)},
		"the second is longer": {file(5), file(900)},
		"three":                {file(50), file(50), file(50)},
		"with bloom filters":   {file(300, bloom), file(200, bloom)},
		"a line end between":   {file(300), []byte("\r\n"), file(200)},
		"padding between":      {file(300), make([]byte, 500), file(200)},
	} {
		path := filepath.Join(t.TempDir(), "joined.parquet")
		if err := os.WriteFile(path, slices.Concat(parts...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path, Options{})
		var fault *pipeline.FormatError
		if !errors.As(err, &fault) || !strings.Contains(fault.What, "two Parquet files") {
			t.Errorf("%s: got %v, want a fault that names two Parquet files", name, err)
		}
		if err := os.WriteFile(path, parts[0], 0o600); err != nil {
			t.Fatal(err)
		}
		if f, err := Open(path, Options{}); err != nil {
			t.Errorf("%s: the first file alone: %v", name, err)
		} else {
			f.Close()
		}
	}
}

// FuzzParquet opens mutated files. Nothing may panic. If a file can be read both from the
// beginning and from the middle, the rows must be the same.
func FuzzParquet(f *testing.F) {
	typed, _ := makeTyped(40)
	lists, _ := makeNested(30)
	for version := 1; version <= 2; version++ {
		for _, path := range []string{
			writeFile(f, typed, 25, parquet.DataPageVersion(version), parquet.PageBufferSize(200), parquet.Compression(&parquet.Snappy)),
			writeFile(f, lists, 30, parquet.DataPageVersion(version), parquet.PageBufferSize(100), parquet.Compression(&parquet.Zstd)),
			writeFile(f, lists, 10, parquet.DataPageVersion(version), parquet.Compression(&parquet.Lz4Raw)),
		} {
			raw, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw, uint8(7))
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte, from uint8) {
		path := filepath.Join(dir, "fuzz.parquet")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		opened, err := Open(path, Options{Memory: 32 << 20})
		if err != nil {
			return
		}
		defer opened.Close()
		const most = 500 // maximum number of rows that a mutated file may claim
		var rows int64
		for _, g := range opened.(*file).groups {
			rows += g.rows
		}
		if rows == 0 || rows > most {
			return
		}
		whole, err := readRange(opened, 0, rows, nil)
		if err != nil {
			return
		}
		at := int64(from) % rows
		part, err := readRange(opened, at, rows, nil)
		if err != nil {
			t.Fatalf("the file can be read as a whole but not from row %d: %v", at, err)
		}
		first := slices.IndexFunc(whole.input, func(n int64) bool { return n >= at })
		if diff := cmp.Diff(whole.rows[first:], part.rows); diff != "" {
			t.Fatalf("from row %d (-whole +part):\n%s", at, diff)
		}
	})
}

// TestWrongPlaces reads files from writers that store wrong offsets in the footer: misleading page
// indexes, the offset of the dictionary page instead of the data pages, and chunks that are too
// short by the size of a header.
func TestWrongPlaces(t *testing.T) {
	type row struct {
		Code string  `parquet:"code,dict"`
		Flag *bool   `parquet:"flag,optional"`
		List []int32 `parquet:"list,list"`
	}
	var rows []row
	for i := range 4000 {
		flag := i%3 == 0
		rows = append(rows, row{fmt.Sprint("c", i%50), &flag, []int32{int32(i), int32(-i)}[:i%3]})
	}
	path := writeFile(t, rows, len(rows), parquet.PageBufferSize(500))
	want := readAll(t, open(t, path), nil)
	for name, spoil := range map[string]func(c *format.ColumnChunk){
		"page indexes":      func(c *format.ColumnChunk) { c.OffsetIndexOffset, c.ColumnIndexOffset = 4, 4 },
		"place of the data": func(c *format.ColumnChunk) { c.MetaData.DataPageOffset = startOf(c) },
		"place of the dictionary": func(c *format.ColumnChunk) {
			c.MetaData.DataPageOffset, c.MetaData.DictionaryPageOffset = startOf(c), 0
		},
		"length of the chunk": func(c *format.ColumnChunk) { c.MetaData.TotalCompressedSize -= 25 },
	} {
		f := open(t, rewriteFooter(t, path, spoil))
		compareRows(t, name, want.rows, readAll(t, f, nil).rows)
		checkRanges(t, f, want)
	}
}

func startOf(c *format.ColumnChunk) int64 {
	if c.MetaData.DictionaryPageOffset > 0 {
		return c.MetaData.DictionaryPageOffset
	}
	return c.MetaData.DataPageOffset
}

// rewriteFooter copies a file with a modified footer.
func rewriteFooter(t *testing.T, path string, change func(c *format.ColumnChunk)) string {
	t.Helper()
	return rewriteFile(t, path, func(meta *format.FileMetaData) {
		for g := range meta.RowGroups {
			for c := range meta.RowGroups[g].Columns {
				change(&meta.RowGroups[g].Columns[c])
			}
		}
	})
}

func rewriteFile(t *testing.T, path string, change func(meta *format.FileMetaData)) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin := len(raw) - trailer - int(binary.LittleEndian.Uint32(raw[len(raw)-trailer:]))
	var meta format.FileMetaData
	var protocol thrift.CompactProtocol
	if err := thrift.Unmarshal(&protocol, raw[begin:len(raw)-trailer], &meta); err != nil {
		t.Fatal(err)
	}
	change(&meta)
	footer, err := thrift.Marshal(&protocol, &meta)
	if err != nil {
		t.Fatal(err)
	}
	out := append(raw[:begin:begin], footer...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(footer)))
	changed := filepath.Join(t.TempDir(), "changed.parquet")
	if err := os.WriteFile(changed, append(out, magic...), 0o600); err != nil {
		t.Fatal(err)
	}
	return changed
}

// TestWrongCounts reads files with contradictory counts in the footer.
func TestWrongCounts(t *testing.T) {
	type row struct {
		ID   string  `parquet:"id"`
		List []int32 `parquet:"list,list"`
	}
	rows := make([]row, 64)
	for i := range rows {
		rows[i] = row{fmt.Sprint(i), []int32{1, 2}}
	}
	path := writeFile(t, rows, len(rows), parquet.PageBufferSize(40))
	fails := func(name string, columns []int, change func(meta *format.FileMetaData)) {
		t.Helper()
		f, err := Open(rewriteFile(t, path, change), Options{})
		if err == nil {
			defer f.Close()
			var total int64
			for _, g := range f.(*file).groups {
				total += g.rows
			}
			_, err = readRange(f, 0, total, columns)
		}
		if fault := (*pipeline.FormatError)(nil); !errors.As(err, &fault) {
			t.Errorf("%s: got %v, want a fault that the file is corrupt", name, err)
		}
	}
	group := func(meta *format.FileMetaData) *format.RowGroup { return &meta.RowGroups[0] }
	fails("the file has more rows", nil, func(m *format.FileMetaData) { m.NumRows++ })
	fails("half of the rows", []int{0}, func(m *format.FileMetaData) { m.NumRows, group(m).NumRows = 32, 32 })
	fails("half of the lists", []int{1}, func(m *format.FileMetaData) { m.NumRows, group(m).NumRows = 32, 32 })
	fails("half of a column", []int{0}, func(m *format.FileMetaData) { group(m).Columns[0].MetaData.NumValues = 32 })
	fails("half of the elements", []int{1}, func(m *format.FileMetaData) { group(m).Columns[1].MetaData.NumValues = 64 })
	fails("rows without end", nil, func(m *format.FileMetaData) { m.NumRows, group(m).NumRows = 1<<60, 1<<60 })
	fails("a place before the file", []int{0}, func(m *format.FileMetaData) { group(m).Columns[0].MetaData.DataPageOffset = -5 })
}
