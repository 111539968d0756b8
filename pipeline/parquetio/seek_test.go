package parquetio

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/parquetio/page"
)

// seekType is a physical type with the encodings that writers use for it.
type seekType struct {
	name      string
	node      func() parquet.Node
	encodings []encoding.Encoding
	value     func(n int) (parquet.Value, string)
}

var seekTypes = []seekType{
	{"boolean", func() parquet.Node { return parquet.Leaf(parquet.BooleanType) },
		[]encoding.Encoding{&parquet.Plain, &parquet.RLE},
		func(n int) (parquet.Value, string) {
			return parquet.BooleanValue(n%3 == 0), strconv.FormatBool(n%3 == 0)
		}},
	{"int32", func() parquet.Node { return parquet.Int(32) },
		[]encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary, &parquet.DeltaBinaryPacked, &parquet.ByteStreamSplit},
		func(n int) (parquet.Value, string) { return parquet.Int32Value(int32(n - 9)), strconv.Itoa(n - 9) }},
	{"int64", func() parquet.Node { return parquet.Int(64) },
		[]encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary, &parquet.DeltaBinaryPacked, &parquet.ByteStreamSplit},
		func(n int) (parquet.Value, string) { return parquet.Int64Value(int64(n) << 40), strconv.Itoa(n << 40) }},
	{"int96", func() parquet.Node { return parquet.Leaf(parquet.Int96Type) },
		[]encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary},
		func(n int) (parquet.Value, string) {
			return parquet.Int96Value(deprecated.Int96{0, 0, 2440588 + uint32(n)}), "1970-" + []string{"01", "02"}[n/31] + fmt.Sprintf("-%02dT00:00:00", n%31+1)
		}},
	{"float", func() parquet.Node { return parquet.Leaf(parquet.FloatType) },
		[]encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary, &parquet.ByteStreamSplit},
		func(n int) (parquet.Value, string) {
			return parquet.FloatValue(float32(n) + 0.5), strconv.Itoa(n) + ".5"
		}},
	{"double", func() parquet.Node { return parquet.Leaf(parquet.DoubleType) },
		[]encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary, &parquet.ByteStreamSplit},
		func(n int) (parquet.Value, string) {
			return parquet.DoubleValue(float64(n) + 0.25), strconv.Itoa(n) + ".25"
		}},
	{"text", parquet.String,
		[]encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary, &parquet.DeltaLengthByteArray, &parquet.DeltaByteArray},
		func(n int) (parquet.Value, string) {
			s := fmt.Sprintf("value %0*d", 1+n%7, n)
			return parquet.ByteArrayValue([]byte(s)), s
		}},
	{"fixed", func() parquet.Node { return parquet.Leaf(parquet.FixedLenByteArrayType(4)) },
		[]encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary, &parquet.DeltaByteArray, &parquet.ByteStreamSplit},
		func(n int) (parquet.Value, string) {
			s := fmt.Sprintf("%04d", n)
			return parquet.FixedLenByteArrayValue([]byte(s)), s
		}},
	{"decimal", func() parquet.Node { return parquet.Decimal(2, 9, parquet.FixedLenByteArrayType(4)) },
		[]encoding.Encoding{&parquet.Plain, &parquet.RLEDictionary},
		func(n int) (parquet.Value, string) {
			return parquet.FixedLenByteArrayValue(binary.BigEndian.AppendUint32(nil, uint32(100*n+5))), fmt.Sprintf("%d.05", n)
		}},
}

// repetition is how often a column can have a value in a row.
type repetition uint8

const (
	required repetition = iota
	optional
	repeated
)

// TestSeek writes every type as required, optional and list column, in every encoding, with every
// codec and both page versions. It opens the file at every row and expects the same rows as when
// reading from the beginning.
func TestSeek(t *testing.T) {
	codecs := []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Brotli, &parquet.Zstd, &parquet.Lz4Raw}
	files := 0
	for _, typ := range seekTypes {
		for k, enc := range typ.encodings {
			for rep := required; rep <= repeated; rep++ {
				for version := 1; version <= 2; version++ {
					codec := codecs[files%len(codecs)]
					files++
					name := fmt.Sprintf("%s, encoding %d, repetition %d, version %d, %s", typ.name, k, rep, version, codec)
					path, want := writeSeek(t, typ, enc, rep, parquet.DataPageVersion(version), parquet.Compression(codec), parquet.PageBufferSize(40))
					checkSeeks(t, name, path, want)
				}
			}
		}
	}
	if files < 150 {
		t.Errorf("only %d files were tested", files)
	}
}

const seekRows = 45

// writeSeek writes rows with a number and values. It returns their text: one row for each value,
// with its input row.
func writeSeek(t *testing.T, typ seekType, enc encoding.Encoding, rep repetition, options ...parquet.WriterOption) (string, *table) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(rep), 5))
	leaf := parquet.Encoded(typ.node(), enc)
	node := leaf
	switch rep {
	case optional:
		node = parquet.Optional(leaf)
	case repeated:
		node = parquet.List(parquet.Optional(leaf))
	}
	schema := parquet.NewSchema("row", parquet.Group{"id": parquet.Int(32), "v": node})
	var rows []parquet.Row
	want := &table{}
	for i := range seekRows {
		row := parquet.Row{parquet.Int32Value(int32(i)).Level(0, 0, 0)}
		add := func(v parquet.Value, text string) {
			row = append(row, v)
			want.rows = append(want.rows, []string{strconv.Itoa(i), text})
			want.input = append(want.input, int64(i))
		}
		v, text := typ.value(rnd.IntN(50))
		switch {
		case rep == required:
			add(v.Level(0, 0, 1), text)
		case rep == optional && i%4 == 0:
			add(parquet.NullValue().Level(0, 0, 1), "")
		case rep == optional:
			add(v.Level(0, 1, 1), text)
		case i%5 == 0:
			add(parquet.NullValue().Level(0, 0, 1), "") // an empty list
		default:
			for n := range rnd.IntN(6) + 1 {
				if v, text = typ.value(rnd.IntN(50)); n == 2 {
					add(parquet.NullValue().Level(1, 1, 1), "")
				} else {
					add(v.Level(min(n, 1), 2, 1), text)
				}
			}
		}
		rows = append(rows, row)
	}
	path := filepath.Join(t.TempDir(), "seek.parquet")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := parquet.NewWriter(f, append(options, schema)...)
	if _, err := w.WriteRows(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path, want
}

// checkSeeks opens a file at every row.
func checkSeeks(t *testing.T, name, path string, want *table) {
	t.Helper()
	f, err := Open(path, Options{})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer f.Close()
	step := int64(1)
	if testing.Short() {
		step = 11
	}
	for from := int64(0); from < seekRows; from += step {
		got, err := readRange(f, from, seekRows, nil)
		if err != nil {
			t.Fatalf("%s, from row %d: %v", name, from, err)
		}
		at := slices.IndexFunc(want.input, func(n int64) bool { return n >= from })
		if diff := cmp.Diff(want.rows[at:], got.rows); diff != "" {
			t.Fatalf("%s, from row %d (-want +got):\n%s", name, from, diff)
		}
	}
}

// TestSeekLargePages opens a file with large pages at the page boundaries and the adjacent rows.
// Another column has small pages with different boundaries.
func TestSeekLargePages(t *testing.T) {
	if testing.Short() {
		t.Skip("reads at many places, one after the other")
	}
	type row struct {
		ID    int64    `parquet:"id,delta"`
		Flag  *bool    `parquet:"flag,optional"`
		Code  *string  `parquet:"code,optional,dict"`
		Notes []string `parquet:"notes,list"`
	}
	rnd := rand.New(rand.NewPCG(3, 9))
	var rows []row
	for i := range 30_000 {
		x := row{ID: int64(i), Flag: pick(rnd, i%3 == 0), Code: pick(rnd, fmt.Sprint("c", rnd.IntN(300)))}
		for range rnd.IntN(4) {
			x.Notes = append(x.Notes, fmt.Sprint("n", rnd.IntN(1000)))
		}
		rows = append(rows, x)
	}
	for version := 1; version <= 2; version++ {
		f := open(t, writeFile(t, rows, len(rows), parquet.DataPageVersion(version), parquet.PageBufferSize(8000)))
		whole := readAll(t, f, nil)
		for column := range f.Fields() {
			for _, edge := range pageEdges(t, f, column) {
				for _, from := range []int64{edge - 1, edge, edge + 1} {
					if from < 0 || from >= int64(len(rows)) {
						continue
					}
					got, err := readRange(f, from, min(from+3, int64(len(rows))), nil)
					if err != nil {
						t.Fatalf("version %d, from row %d: %v", version, from, err)
					}
					at := slices.IndexFunc(whole.input, func(n int64) bool { return n >= from })
					if diff := cmp.Diff(whole.rows[at:at+len(got.rows)], got.rows); diff != "" {
						t.Fatalf("version %d, from row %d (-want +got):\n%s", version, from, diff)
					}
				}
			}
		}
	}
}

// pageEdges returns the rows at which the pages of a column begin, as far as the headers tell.
func pageEdges(t *testing.T, f pipeline.File, column int) (rows []int64) {
	t.Helper()
	p, err := f.(*file).footer()
	if err != nil {
		t.Fatal(err)
	}
	w := p.Groups.list[0].chunks[column].pages(f.(*file).os, p.begin)
	var at int64
	for w.More() {
		var h page.Header
		if err := w.Header(&h); err != nil {
			t.Fatal(err)
		}
		if h.IsData() {
			rows = append(rows, at)
			at += int64(h.Entries())
		}
		if err := w.Pass(&h); err != nil {
			t.Fatal(err)
		}
	}
	if len(rows) < 2 {
		t.Fatalf("column %d has %d pages", column, len(rows))
	}
	return rows
}

// TestSharedBooleanInList opens a file with a boolean list column at every row.
func TestSharedBooleanInList(t *testing.T) {
	f := open(t, sharedData(t, "../cases/files/bool-in-list-seek/small.parquet"))
	whole := readAll(t, f, nil)
	checkRanges(t, f, whole)
}
