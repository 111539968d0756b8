package arrowio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"cpcds2fhir/pipeline"
	arrowipc "cpcds2fhir/pipeline/arrowio/ipc"
	"cpcds2fhir/pipeline/arrowmeta"
)

// Vtable offsets and sizes in the metadata that tests modify. Package ipc has the same constants.
const (
	footerSchema    = 6  // Footer.schema
	footerBatches   = 10 // Footer.recordBatches
	dictionaryDelta = 8  // DictionaryBatch.isDelta
	batchNodes      = 6  // RecordBatch.nodes
	batchBuffers    = 8  // RecordBatch.buffers

	pairSize    = 16 // of a field node, and of a buffer
	blockSize   = 24 // of a block of the footer
	blockLength = 8
	blockBody   = 16
	prefixSize  = 4                       // of the continuation marker, and of the metadata length
	trailer     = 4 + len(arrowipc.Magic) // the footer length, then the magic number
)

// damaged is a file with one record batch of two columns, c and ok, that a test can modify.
type damaged struct {
	t       *testing.T
	raw     []byte
	nodes   int // where the lists of the batch are in the file
	buffers int
	body    int
}

func newDamaged(t *testing.T, typ arrow.DataType, json string, options ...ipc.Option) *damaged {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "c", Type: typ, Nullable: true}, {Name: "ok", Type: arrow.PrimitiveTypes.Int32}}, nil)
	b := array.NewRecordBuilder(memory.NewGoAllocator(), schema)
	if err := b.UnmarshalJSON([]byte(`{"c": null, "ok": 0}`)); err != nil {
		t.Fatal(err)
	}
	for _, v := range strings.Split(json, ";") {
		if err := b.UnmarshalJSON([]byte(`{"c": ` + v + `, "ok": 1}`)); err != nil {
			t.Fatal(err)
		}
	}
	path := writeRecords(t, form{"damaged.arrow", false, options}, []arrow.Record{b.NewRecord()})
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x, err := arrowipc.IndexFile(bytes.NewReader(raw), int64(len(raw)), func(*arrowipc.Index, *arrowipc.Message) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	d := &damaged{t: t, raw: raw}
	at := x.Batches[0].Place
	meta := arrowmeta.Root(raw[at.At+2*prefixSize : at.At+at.Length])
	header, _ := arrowmeta.Child(meta, arrowmeta.MessageHeader)
	find := func(slot flatbuffers.VOffsetT) int {
		first, _, err := arrowmeta.Entries(&header, slot, pairSize)
		if err != nil {
			t.Fatal(err)
		}
		return int(at.At) + 2*prefixSize + int(first)
	}
	d.nodes, d.buffers, d.body = find(batchNodes), find(batchBuffers), int(at.At+at.Length)
	return d
}

// number overwrites a 64-bit number.
func (d *damaged) number(at int, v int64) { binary.LittleEndian.PutUint64(d.raw[at:], uint64(v)) }

func (d *damaged) length(node int, v int64)        { d.number(d.nodes+16*node, v) }
func (d *damaged) nulls(node int, v int64)         { d.number(d.nodes+16*node+8, v) }
func (d *damaged) bufferAt(buffer int, v int64)    { d.number(d.buffers+16*buffer, v) }
func (d *damaged) bufferSize(buffer int, v int64)  { d.number(d.buffers+16*buffer+8, v) }
func (d *damaged) bytes(buffer, at int, v ...byte) { copy(d.raw[d.place(buffer)+at:], v) }
func (d *damaged) place(buffer int) int {
	return d.body + int(binary.LittleEndian.Uint64(d.raw[d.buffers+16*buffer:]))
}

// check reads the file. Column c must be reported as corrupt, and column ok must still be
// readable.
func (d *damaged) check(name, what string) {
	d.t.Helper()
	path := filepath.Join(d.t.TempDir(), "damaged.arrow")
	if err := os.WriteFile(path, d.raw, 0o600); err != nil {
		d.t.Fatal(err)
	}
	for _, memory := range []int64{0, 1200} {
		f, err := Open(path, Options{Memory: memory, Temp: d.t.TempDir()})
		if err != nil {
			d.t.Fatalf("%s: %v", name, err)
		}
		defer f.Close()
		rows := f.(*file).Batches[0].Rows
		_, err = readRange(f, 0, rows, []int{0, 1})
		var fault *pipeline.FormatError
		if !errors.As(err, &fault) || fault.Column != "c" || fault.File != path || !strings.HasPrefix(fault.What, "is corrupt: ") || !strings.Contains(fault.What, what) {
			d.t.Errorf("%s: got %v, want column c corrupt: %s", name, err, what)
		}
		ok, err := readRange(f, 0, rows, []int{1})
		if err != nil || int64(len(ok.rows)) != rows {
			d.t.Errorf("%s: the other column: %v", name, err)
		}
		kept, err := readKept(f, rows, []int{1}, []int{0})
		if err != nil {
			d.t.Errorf("%s: kept: %v", name, err)
			continue
		}
		for i, row := range kept.rows {
			if row[0] != ok.rows[i][0] || row[1] != "" && memory == 0 { // with little memory, row batches before the damage are valid
				d.t.Errorf("%s: kept: row %d is %q", name, i, row)
			}
		}
	}
}

// TestCorrupt violates one rule of the format at a time.
func TestCorrupt(t *testing.T) {
	check := func(name string, typ arrow.DataType, json, what string, change func(*damaged)) {
		t.Helper()
		d := newDamaged(t, typ, json)
		change(d)
		d.check(name, what)
	}
	const texts, long = `"ab";"c"`, `"a value of more than twelve bytes";"another one that is long"`
	text, number := arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64
	list, two := arrow.ListOf(text), arrow.FixedSizeListOf(2, number)
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: text}
	pair := arrow.StructOf(arrow.Field{Name: "c", Type: number, Nullable: true})

	check("more rows", text, texts, "rows of its record batch", func(d *damaged) { d.length(0, 4) })
	check("fewer rows", text, texts, "rows of its record batch", func(d *damaged) { d.length(0, 2) })
	check("negative length", text, texts, "impossible", func(d *damaged) { d.length(0, -3) })
	check("negative nulls", text, texts, "impossible", func(d *damaged) { d.nulls(0, -1) })
	check("more nulls than rows", text, texts, "impossible", func(d *damaged) { d.nulls(0, 4) })
	check("fewer nulls", text, texts, "null count", func(d *damaged) { d.nulls(0, 0) })
	check("another null", number, "1;2", "null count", func(d *damaged) { d.bytes(0, 0, 2) })
	check("buffer before the body", text, texts, "outside its record batch", func(d *damaged) { d.bufferAt(1, -8) })
	check("buffer behind the body", text, texts, "outside its record batch", func(d *damaged) { d.bufferAt(2, 1<<40) })
	check("negative size", number, "1;2", "outside its record batch", func(d *damaged) { d.bufferSize(1, -1) })
	check("short bitmap", number, "1;2", "too short", func(d *damaged) { d.bufferSize(0, 0) })
	check("short values", number, "1;2", "too short", func(d *damaged) { d.bufferSize(1, 23) })
	check("short bits", arrow.FixedWidthTypes.Boolean, "true;false", "too short", func(d *damaged) { d.bufferSize(1, 0) })
	check("short offsets", text, texts, "too short", func(d *damaged) { d.bufferSize(1, 15) })
	check("short text", text, texts, "offsets", func(d *damaged) { d.bufferSize(2, 2) })
	check("offset goes down", text, texts, "offsets", func(d *damaged) { d.bytes(1, 8, 4) })
	check("first offset is negative", text, texts, "offsets", func(d *damaged) { d.bytes(1, 0, 0xff, 0xff, 0xff, 0xff) })
	check("last offset leads out", text, texts, "offsets", func(d *damaged) { d.bytes(1, 12, 200) })

	check("short list", list, `["a"];["b","c"]`, "", func(d *damaged) { d.length(1, 2) })
	check("list offset goes down", list, `["a"];["b","c"]`, "offsets", func(d *damaged) { d.bytes(1, 8, 9) })
	check("text of a list", list, `["a"];["b","c"]`, "offsets", func(d *damaged) { d.bytes(3, 4, 9) })
	check("short fixed list", two, `[1,2];[3,4]`, "shorter than its parent", func(d *damaged) { d.length(1, 5) })
	check("short struct", pair, `{"c":1};{"c":2}`, "shorter than its parent", func(d *damaged) { d.length(1, 2) })

	check("index leads out", dict, texts, "dictionary", func(d *damaged) { d.bytes(1, 2, 7) })
	check("negative index", dict, texts, "dictionary", func(d *damaged) { d.bytes(1, 2, 0xff) })

	views := arrow.BinaryTypes.StringView
	check("view of no buffer", views, long, "view", func(d *damaged) { d.bytes(1, 16+8, 3) })
	check("view leads out", views, long, "view", func(d *damaged) { d.bytes(1, 16+12, 250) })
	check("view of another value", views, long, "view", func(d *damaged) { d.bytes(1, 16+12, 1) })
	check("negative view", views, long, "view", func(d *damaged) { d.bytes(1, 16, 0xff, 0xff, 0xff, 0xff) })
	check("short views", views, long, "too short", func(d *damaged) { d.bufferSize(1, 47) })
}

// TestCorruptCompression modifies the metadata and the data of compressed buffers.
func TestCorruptCompression(t *testing.T) {
	for _, option := range []ipc.Option{ipc.WithLZ4(), ipc.WithZstd()} {
		values := `"` + strings.Repeat("text ", 50) + `"`
		check := func(name, what string, change func(*damaged)) {
			t.Helper()
			d := newDamaged(t, arrow.BinaryTypes.String, values, option)
			change(d)
			d.check(name, what)
		}
		check("longer", "shorter than its length prefix says", func(d *damaged) { d.bytes(2, 0, 251) })
		check("shorter", "longer than its length prefix says", func(d *damaged) { d.bytes(2, 0, 249) })
		check("negative", "impossible", func(d *damaged) { d.number(d.place(2), -2) })
		check("far too long", "impossible", func(d *damaged) { d.number(d.place(2), 1<<50) })
		check("cut off", "", func(d *damaged) { d.bufferSize(2, 20) })
		check("no room for its length", "too short for its length prefix", func(d *damaged) { d.bufferSize(2, 7) })
		check("another frame", "decompressed", func(d *damaged) { d.bytes(2, 8, 'x', 'y') })
	}
}

// TestNegativeBlock opens a file whose footer has a block with a negative offset or an invalid
// size.
func TestNegativeBlock(t *testing.T) {
	records, _ := typedRecords(5)
	raw, err := os.ReadFile(writeRecords(t, forms[0], records))
	if err != nil {
		t.Fatal(err)
	}
	size := len(raw) - trailer
	length := int(binary.LittleEndian.Uint32(raw[size:]))
	footer := arrowmeta.Root(raw[size-length : size])
	check := func(name string, at int, v int64) {
		t.Helper()
		first, n, err := arrowmeta.Entries(footer, footerBatches, blockSize)
		if err != nil || n != 1 {
			t.Fatal(n, err)
		}
		changed := bytes.Clone(raw)
		binary.LittleEndian.PutUint64(changed[size-length+int(first)+at:], uint64(v))
		path := filepath.Join(t.TempDir(), "block.arrow")
		if err := os.WriteFile(path, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(path, Options{})
		var fault *pipeline.FormatError
		if !errors.As(err, &fault) || fault.What != "is corrupt: a block is outside the file" {
			t.Errorf("%s: got %v", name, err)
		}
	}
	check("negative offset", 0, -8)
	check("offset beyond the end", 0, 1<<40)
	check("negative length", blockLength, 0x80000000)
	check("negative body", blockBody, -1)
	check("long body", blockBody, 1<<40)
}

// TestSharedNegativeOffset opens a file that used to be reported as a disk error.
func TestSharedNegativeOffset(t *testing.T) {
	path := filepath.Join("..", "..", "..", "shared", "cases", "files", "arrow-negative-offset", "claims.arrow")
	if _, err := os.Stat(path); err != nil {
		t.Skip("the shared test cases are missing")
	}
	_, err := Open(path, Options{})
	var fault *pipeline.FormatError
	if !errors.As(err, &fault) || !strings.HasPrefix(fault.What, "is corrupt") {
		t.Errorf("got %v, want a corrupt file", err)
	}
}

// TestJoined joins two files, in both orders, and with a file that has no rows. The rows of one of
// them must not be lost silently.
func TestJoined(t *testing.T) {
	large, _ := typedRecords(120, 80)
	small, _ := typedRecords(2)
	schema := large[0].Schema()
	empty := array.NewRecordBuilder(memory.NewGoAllocator(), schema).NewRecord()
	for _, form := range forms {
		var raw [][]byte
		for _, records := range [][]arrow.Record{large, small, {empty}} {
			b, err := os.ReadFile(writeRecords(t, form, records))
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, b)
		}
		for i, a := range raw {
			for j, b := range raw {
				path := filepath.Join(t.TempDir(), form.name)
				if err := os.WriteFile(path, append(bytes.Clone(a), b...), 0o600); err != nil {
					t.Fatal(err)
				}
				f, err := Open(path, Options{})
				if err == nil {
					_, err = f.Spans(t.Context())
					_ = f.Close()
				}
				var fault *pipeline.FormatError
				if !errors.As(err, &fault) {
					t.Errorf("%s: file %d followed by file %d gives %v, want a format error", form.name, i, j, err)
				}
			}
		}
	}
}
