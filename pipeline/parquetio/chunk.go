package parquetio

import (
	"errors"
	"io"
	"os"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/columnar"
)

// lastDict numbers the dictionaries of the process, so that no two columns that a
// reader sees have the same number.
var lastDict atomic.Uint64

// chunk reads one column of one row group, page by page.
type chunk struct {
	leaf  *leaf
	pages parquet.Pages

	// The current page. Its entries are values, nulls and, in a list, places where
	// there is no element. Only values are stored.
	page    parquet.Page
	values  encoding.Values
	indexes []int32 // of a dictionary-encoded page
	reps    []byte  // nil outside of lists
	defs    []byte  // nil if all entries are values
	entries int
	entry   int // next entry
	value   int // next value

	dict *dictionary // of the chunk, nil until a page uses it

	held []parquet.Page // pages that the last slab still points into
	kept []byte         // scratch: definition levels of elements
}

// dictionary is the dictionary of a chunk as text.
type dictionary struct {
	of    parquet.Dictionary
	id    uint64
	text  []string
	blank bool // there is an empty text among them
}

// errNotText means that a value is not UTF-8 or holds a NUL.
var errNotText = errors.New("not text")

// errUneven means that the columns of a list disagree on its length.
var errUneven = errors.New("lists of different lengths")

// errShort means that a chunk ends before its row group does.
var errShort = errors.New("short column chunk")

func openChunk(l *leaf, c parquet.ColumnChunk, skip int64) (*chunk, error) {
	r := &chunk{leaf: l}
	err := guard(func() error {
		if skip > 0 {
			// Where there is an index of the pages, loading it lets the seek jump.
			if _, err := c.OffsetIndex(); err != nil && !errors.Is(err, parquet.ErrMissingOffsetIndex) {
				return err
			}
		}
		r.pages = c.Pages()
		if skip == 0 || r.skipsByReading() {
			return nil
		}
		return r.pages.SeekToRow(skip)
	})
	if err == nil && r.skipsByReading() {
		err = r.discard(skip)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// skipsByReading is true for bit-packed booleans: a seek hands out a part of a
// page, and its bits do not say where within a byte they begin.
func (c *chunk) skipsByReading() bool { return c.leaf.cell.kind == boolCell }

func (c *chunk) discard(rows int64) error {
	var scratch vector
	for rows > 0 {
		n := min(rows, slabRows)
		scratch.reset()
		if err := c.read(&scratch, int(n)); err != nil {
			return err
		}
		c.releaseHeld()
		rows -= n
	}
	return nil
}

// guard calls into the library, which panics on some broken pages.
func guard(call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = parquet.ErrCorrupted
		}
	}()
	return call()
}

func (c *chunk) close() {
	c.releaseHeld()
	parquet.Release(c.page)
	c.page = nil
	if c.pages != nil {
		c.pages.Close()
	}
}

// releaseHeld gives back the pages that no slab points into any more.
func (c *chunk) releaseHeld() {
	for _, p := range c.held {
		parquet.Release(p)
	}
	c.held = c.held[:0]
}

// load goes to the next page that has entries. io.EOF ends the chunk.
func (c *chunk) load() error {
	for {
		if c.page != nil {
			if c.indexes == nil {
				c.held = append(c.held, c.page)
			} else {
				parquet.Release(c.page)
			}
			c.page = nil
		}
		if err := guard(c.readPage); err != nil {
			return err
		}
		if c.entries > 0 {
			return nil
		}
	}
}

func (c *chunk) readPage() error {
	page, err := c.pages.ReadPage()
	if err != nil {
		return err
	}
	c.page, c.entry, c.value = page, 0, 0
	c.entries = int(page.NumValues())
	c.reps, c.defs, c.indexes = page.RepetitionLevels(), page.DefinitionLevels(), nil
	values := c.entries
	if nulls := int(page.NumNulls()); nulls > 0 {
		values -= nulls
	} else if c.leaf.list < 0 {
		c.defs = nil
	}
	if c.leaf.cell.kind == nullCell {
		return nil
	}
	c.values = page.Data()
	if d := page.Dictionary(); d != nil {
		return c.index(d, values)
	}
	return nil
}

// index prepares a dictionary-encoded page: from here on every index is known to
// be within the dictionary.
func (c *chunk) index(d parquet.Dictionary, values int) error {
	if c.dict == nil || c.dict.of != d {
		if err := c.readDictionary(d); err != nil {
			return err
		}
	}
	c.indexes = c.values.Int32()
	var highest uint32
	for _, x := range c.indexes {
		highest = max(highest, uint32(x))
	}
	if len(c.indexes) < values || values > 0 && int(highest) >= len(c.dict.text) {
		return parquet.ErrCorrupted
	}
	if c.indexes == nil {
		c.indexes = []int32{}
	}
	return nil
}

func (c *chunk) readDictionary(d parquet.Dictionary) error {
	n := d.Len()
	dict := &dictionary{of: d, id: lastDict.Add(1)}
	dict.text, _ = c.leaf.cell.texts(make([]string, 0, n), nil, d.Page().Data(), 0, n)
	for _, s := range dict.text {
		if s == "" {
			dict.blank = true
		}
		if !columnar.IsText(s) {
			return errNotText
		}
	}
	c.dict = dict
	return nil
}

// read appends the next rows of a column outside of all lists.
func (c *chunk) read(to *vector, rows int) error {
	for rows > 0 {
		if c.entry == c.entries {
			if err := c.load(); err != nil {
				return noEOF(err)
			}
		}
		n := min(rows, c.entries-c.entry)
		var defs []byte
		if c.defs != nil {
			defs = c.defs[c.entry : c.entry+n]
		}
		if err := c.take(to, defs, n); err != nil {
			return err
		}
		c.entry += n
		rows -= n
	}
	return nil
}

// readList appends the elements of the next rows of a column of a list, and the
// number of elements of each row to lengths. A row may go on in the next page.
func (c *chunk) readList(to *vector, lengths []int32, rows int) ([]int32, error) {
	begun := 0
	for {
		if c.entry == c.entries {
			err := c.load()
			if err == io.EOF && begun == rows {
				return lengths, nil
			}
			if err != nil {
				return lengths, noEOF(err)
			}
		}
		from := c.entry
		c.kept = c.kept[:0]
		for ; c.entry < c.entries; c.entry++ {
			if c.reps[c.entry] == 0 {
				if begun == rows {
					break
				}
				begun++
				lengths = append(lengths, 0)
			} else if begun == 0 {
				return lengths, parquet.ErrCorrupted
			}
			if d := c.defs[c.entry]; d >= c.leaf.element {
				lengths[len(lengths)-1]++
				c.kept = append(c.kept, d)
			}
		}
		if err := c.take(to, c.kept, len(c.kept)); err != nil {
			return lengths, err
		}
		if c.entry < c.entries {
			return lengths, nil
		}
		if from == c.entry {
			return lengths, parquet.ErrCorrupted
		}
	}
}

// take appends n entries, of which defs tells values from nulls; nil means that
// all are values.
func (c *chunk) take(to *vector, defs []byte, n int) error {
	values := n
	if defs != nil {
		values = 0
		for _, d := range defs {
			if d == c.leaf.present {
				values++
			}
		}
	}
	first := c.value
	c.value += values
	if c.indexes != nil {
		if c.value > len(c.indexes) {
			return parquet.ErrCorrupted
		}
		to.addIndexes(c.dict, c.indexes[first:c.value], defs, c.leaf.present)
		return nil
	}
	to.beginPlain()
	at := len(to.plain)
	err := guard(func() error {
		to.plain, to.arena = c.leaf.cell.texts(to.plain, to.arena, c.values, first, c.value)
		return nil
	})
	if err != nil {
		return err
	}
	switch c.leaf.cell.kind {
	case textCell, fixedTextCell:
		for _, s := range to.plain[at:] {
			if !columnar.IsText(s) {
				return errNotText
			}
		}
	}
	to.addPlain(at, defs, c.leaf.present)
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return errShort
	}
	return err
}

// describe turns an error of a page into one that names the place. What the
// library says is left out: it may quote the data.
func describe(path string, l *leaf, row int64, err error) error {
	var disk *os.PathError
	if errors.As(err, &disk) {
		return err
	}
	f := &pipeline.FormatError{File: path, Row: row + 1, Column: l.field.Name, Hint: "was the copy complete?"}
	switch {
	case errors.Is(err, errNotText):
		f.What, f.Hint = "is not valid UTF-8 text or holds a NUL, here or in the rows that follow", ""
	case errors.Is(err, errUneven):
		f.What = "is corrupt: its lists have other lengths than those of its neighbour columns"
	case errors.Is(err, errShort), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		f.What = "is truncated: the data ends before the row group does"
	case errors.Is(err, parquet.ErrCorrupted):
		f.What = "is corrupt: a page does not agree with its header or its checksum"
	default:
		f.What = "has a page that cannot be decoded"
	}
	return f
}
