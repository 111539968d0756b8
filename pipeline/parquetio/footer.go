package parquetio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/pipeline/parquetio/guarded"
	"cpcds2fhir/pipeline/parquetio/page"
)

// footer is the part of a file's metadata that a reader needs. Statistics, page indexes and Bloom
// filters are not decoded: they are larger than everything else, and a reader that relies on them
// returns the wrong rows if a writer got them wrong.
type footer struct {
	Schema    thrift.Slice[format.SchemaElement] `thrift:"2,required"`
	Rows      int64                              `thrift:"3,required"`
	Groups    groups                             `thrift:"4,required"`
	Values    thrift.Slice[keyValue]             `thrift:"5,optional"`
	Writer    string                             `thrift:"6,optional"`
	Encrypted thrift.Null[struct{}]              `thrift:"8,optional"`

	begin int64 // its offset in the file
}

// rowGroup is a row group with the metadata that is kept of its column chunks.
type rowGroup struct {
	rows   int64
	chunks []chunkMeta
}

// chunkMeta is the metadata that is kept of a column chunk. There may be millions of chunks.
type chunkMeta struct {
	start, compressed int64 // offset of its first page, and total size of its pages
	uncompressed      int64
	values            int64
	codec             format.CompressionCodec
	encrypted         bool
}

// groups decodes row groups one at a time and keeps only a little of each.
type groups struct {
	list []rowGroup
	end  int64 // end of all data that they refer to
	away bool  // some columns are in other files
}

type wholeGroup struct {
	Columns thrift.Slice[columnChunk] `thrift:"1,required"`
	Rows    int64                     `thrift:"3,required"`
}

type columnChunk struct {
	File        string                `thrift:"1,optional"`
	Meta        wholeMeta             `thrift:"3,optional"`
	OffsetIndex int64                 `thrift:"4,optional"`
	OffsetSize  int32                 `thrift:"5,optional"`
	ColumnIndex int64                 `thrift:"6,optional"`
	ColumnSize  int32                 `thrift:"7,optional"`
	Crypto      thrift.Null[struct{}] `thrift:"8,optional"`
	Sealed      []byte                `thrift:"9,optional"`
}

type wholeMeta struct {
	Codec        format.CompressionCodec `thrift:"4,optional"`
	Values       int64                   `thrift:"5,optional"`
	Uncompressed int64                   `thrift:"6,optional"`
	Compressed   int64                   `thrift:"7,optional"`
	DataPage     int64                   `thrift:"9,optional"`
	Dictionary   int64                   `thrift:"11,optional"`
	Bloom        int64                   `thrift:"14,optional"`
	BloomSize    int32                   `thrift:"15,optional"`
}

// keyValue is an entry of the file's key-value metadata. The value may be missing.
type keyValue struct {
	Key   string `thrift:"1,required"`
	Value string `thrift:"2,optional"`
}

// Type implements thrift.Value.
func (groups) Type() thrift.Type { return thrift.LIST }

// EncodeFunc implements thrift.Value. Footers are never written.
func (groups) EncodeFunc(thrift.EncodeFuncCache) thrift.EncodeFunc { return nil }

// NullFunc implements thrift.Value.
func (groups) NullFunc() thrift.NullFunc { return func(reflect.Value) bool { return false } }

// DecodeFunc implements thrift.Value.
func (groups) DecodeFunc(cache thrift.DecodeFuncCache) thrift.DecodeFunc {
	decode := thrift.DecodeFuncFor[wholeGroup](cache)
	return func(r thrift.Reader, v reflect.Value, flags thrift.Flags) error {
		l, err := r.ReadList()
		if err != nil {
			return err
		}
		if l.Type != thrift.STRUCT {
			return parquet.ErrCorrupted
		}
		to := v.Addr().Interface().(*groups)
		var whole wholeGroup
		for range l.Size {
			whole.Columns, whole.Rows = whole.Columns[:0], 0
			clear(whole.Columns[:cap(whole.Columns)])
			if err := decode(r, reflect.ValueOf(&whole).Elem(), flags); err != nil {
				return err
			}
			to.add(&whole)
		}
		return nil
	}
}

// add keeps the required metadata of a row group.
func (g *groups) add(whole *wholeGroup) {
	group := rowGroup{rows: whole.Rows, chunks: make([]chunkMeta, len(whole.Columns))}
	for i := range whole.Columns {
		c := &whole.Columns[i]
		m := &c.Meta
		group.chunks[i] = chunkMeta{start: m.start(), compressed: m.Compressed, uncompressed: m.Uncompressed, values: m.Values, codec: m.Codec,
			encrypted: c.Crypto.Valid || len(c.Sealed) > 0}
		g.away = g.away || c.File != ""
		g.end = max(g.end, m.start()+m.Compressed, c.OffsetIndex+int64(c.OffsetSize), c.ColumnIndex+int64(c.ColumnSize), m.Bloom+int64(m.BloomSize))
	}
	g.list = append(g.list, group)
}

// start returns the offset of the first page of the chunk, which is the dictionary page if there
// is one. Some writers store the offset of the dictionary page as that of the data pages.
func (c *wholeMeta) start() int64 {
	if c.Dictionary > 0 && (c.Dictionary < c.DataPage || c.DataPage <= 0) {
		return c.Dictionary
	}
	return c.DataPage
}

// spare reports whether the writer leaves extra bytes after the values of a page.
func (f *footer) spare() bool { return strings.HasPrefix(f.Writer, "fastparquet") }

// placed reports whether the chunk begins within the data of a file, which ends at offset begin.
func (c *chunkMeta) placed(begin int64) bool {
	return c.start >= int64(len(magic)) && c.start <= begin && c.compressed >= 0 && c.values >= 0
}

// pages returns a walk over the pages of the chunk in a file whose data ends at offset begin.
func (c *chunkMeta) pages(in io.ReaderAt, begin int64) page.Walk {
	return page.NewWalk(in, c.start, c.compressed, begin)
}

// value returns the value of a key in the file's metadata.
func (f *footer) value(key string) (string, bool) {
	for _, v := range f.Values {
		if v.Key == key {
			return v.Value, true
		}
	}
	return "", false
}

// hasPrefix reports whether any key in the file's metadata has the prefix.
func (f *footer) hasPrefix(prefix string) bool {
	for _, v := range f.Values {
		if strings.HasPrefix(v.Key, prefix) {
			return true
		}
	}
	return false
}

const magic = "PAR1"

// trailer is the size of the footer length and the magic number after the footer.
const trailer = 4 + len(magic)

// parse reads the whole footer.
func (f *file) parse() (*footer, error) {
	info, err := f.os.Stat()
	if err != nil {
		return nil, fmt.Errorf("open Parquet file: %w", err)
	}
	size := info.Size()
	length, err := f.checkMagic(size)
	if err != nil {
		return nil, err
	}
	if f.options.Footer > 0 && length > f.options.Footer {
		return nil, f.fault(fmt.Sprintf("has a footer of %d MB, too large for the memory limit of the load", length>>20),
			"write larger row groups, or set --memory to about "+columnar.Mebibytes(5*length))
	}
	raw := make([]byte, length)
	if _, err := f.os.ReadAt(raw, size-int64(trailer)-length); err != nil {
		return nil, fmt.Errorf("read Parquet footer: %w", err)
	}
	p := &footer{begin: size - int64(trailer) - length}
	if _, err := guarded.Thrift(raw, p); err != nil {
		return nil, f.fault("has a footer that cannot be read", "was the file written to the end and copied as binary?")
	}
	p.Writer = strings.Clone(p.Writer) // it points into raw
	return p, nil
}

// checkMagic detects the usual kinds of damage before the footer is parsed, and returns the length
// of the footer.
func (f *file) checkMagic(size int64) (int64, error) {
	if size == 0 {
		return 0, f.fault("is empty", "")
	}
	var head [len(magic)]byte
	var tail [trailer]byte
	if size < int64(len(head)+len(tail)) {
		return 0, f.fault("is too short to be a Parquet file", "was the copy complete?")
	}
	if _, err := f.os.ReadAt(head[:], 0); err != nil {
		return 0, fmt.Errorf("read Parquet header: %w", err)
	}
	if _, err := f.os.ReadAt(tail[:], size-int64(len(tail))); err != nil {
		return 0, fmt.Errorf("read Parquet footer: %w", err)
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	switch {
	case string(head[:]) == "PARE" || string(tail[4:]) == "PARE":
		return 0, f.fault("is encrypted", "decrypt it first")
	case string(head[:]) != magic:
		return 0, f.fault("is not a Parquet file", "")
	case string(tail[4:]) != magic:
		return 0, f.fault("is truncated: the Parquet footer is missing", "was the copy complete?")
	case length > size-int64(len(head)+len(tail)):
		return 0, f.fault("has a footer that cannot be read", "was the copy complete?")
	}
	return length, nil
}

// maxRows is the maximum number of rows in a row group: a page counts them with 31 bits.
const maxRows = math.MaxInt32

// check looks for problems that make the whole file unreadable, and for problems that would make
// its chunks refer to the data of another file.
func (f *file) check(p *footer) error {
	readable := len(p.Groups.list) == 0
	var rows int64
	for _, g := range p.Groups.list {
		if g.rows < 0 || g.rows > maxRows {
			return f.fault("has a row group with an impossible number of rows", "was the copy complete?")
		}
		rows += g.rows
		readable = readable || slices.ContainsFunc(g.chunks, func(c chunkMeta) bool { return !c.encrypted })
	}
	end := max(p.Groups.end, int64(len(magic)))
	switch {
	case rows != p.Rows:
		return f.fault("is corrupt: the row counts of its row groups do not add up to that of the file", "was the copy complete?")
	case p.Groups.away:
		return f.fault("keeps its columns in other files", "name those files instead")
	case p.Encrypted.Valid && !readable:
		return f.fault("is encrypted", "decrypt it first")
	case end < p.begin:
		return f.checkJoined(p.begin - end)
	}
	return nil
}

// checkJoined looks for another file before the one that the footer belongs to. After "cat a b",
// offsets relative to the beginning of b point into a, so rows of a would be read in place of
// those of b. If everything in b is accounted for, b begins after gap bytes. With padding, or a
// Bloom filter of unknown length, it begins earlier.
func (f *file) checkJoined(gap int64) error {
	const window = 1 << 20
	from := max(gap-window, 0)
	b := make([]byte, gap-from+int64(len(magic)))
	n, err := f.os.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read Parquet file: %w", err)
	}
	b = b[:n]
	joined := from+int64(len(b)) > int64(trailer) && bytes.HasSuffix(b, []byte(magic))
	for at := 0; !joined; at++ {
		i := bytes.Index(b[at:], []byte(magic))
		if i < 0 {
			return nil
		}
		at += i
		joined = f.endsAt(from + int64(at))
	}
	return f.fault("consists of two Parquet files joined together", "split them")
}

// endsAt reports whether a Parquet file could end with the magic number at this offset: it is
// preceded by the length of a footer, and a footer begins that many bytes earlier.
func (f *file) endsAt(at int64) bool {
	const firstField = 0x15 // Thrift header of the version field, an i32
	var length [4]byte
	var begin [1]byte
	if at < int64(trailer) {
		return false
	}
	if _, err := f.os.ReadAt(length[:], at-int64(len(length))); err != nil {
		return false
	}
	start := at - int64(len(length)) - int64(binary.LittleEndian.Uint32(length[:]))
	if start < int64(len(magic)) || start >= at-int64(len(length)) {
		return false
	}
	_, err := f.os.ReadAt(begin[:], start)
	return err == nil && begin[0] == firstField
}
