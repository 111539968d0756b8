package parquetio

import (
	"io"
	"sync"
	"sync/atomic"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline/parquetio/cell"
	"cpcds2fhir/pipeline/parquetio/guarded"
	"cpcds2fhir/pipeline/parquetio/page"
)

// lastDict is used to number all dictionaries of the process, so that no two columns seen by a
// reader have the same dictionary number.
var lastDict atomic.Uint64

// chunk reads one column of one row group, page by page.
type chunk struct {
	leaf   *leaf
	shared *scratch
	walk   page.Walk
	codec  format.CompressionCodec
	limit  int // entries remaining in the pages that follow

	// The current page. Its entries are values, nulls and, in a list, markers for missing
	// elements. Only values are stored.
	decoder *page.Decoder
	values  encoding.Values
	indexes []int32 // of a dictionary-encoded page, otherwise nil
	reps    []byte  // nil outside lists
	defs    []byte  // nil if all entries are values
	entries int
	entry   int // next entry
	value   int // next value

	dict *dictionary // of the chunk, nil until the dictionary page is decoded

	held  [][]byte // text of earlier pages that the last row batch still points into
	kept  []byte   // scratch: definition levels of elements
	space *space
}

// space holds the buffers into which the levels and indexes of a page are decoded.
type space struct {
	indexes    []int32
	reps, defs []byte
	decoder    page.Decoder
	window     []byte
}

// scratch is memory shared by the chunks of a source. The input of a page is no longer needed once
// the page is decoded.
type scratch struct {
	page.Unpacker
	body, raw []byte
	texts     [][]byte // free buffers for text
	spaces    []*space // free spaces
	held      int64    // bytes of text held by chunks
	pageLimit int64    // the maximum page size, 0 for no limit
}

// scratches holds those that no source is using. Without the pool, memory would be allocated again
// for every source.
var scratches = sync.Pool{New: func() any { return new(scratch) }}

// dictionary is the dictionary of a chunk as text.
type dictionary struct {
	id    uint64
	text  []string
	blank bool // some entry is empty
}

// openChunk opens a column of the current row group at the source's current row. The chunk must be
// closed even if there is an error.
func (s *source) openChunk(column int) (*chunk, error) {
	l, g := s.columns[column], &s.file.groups[s.group]
	m, begin := &s.footer.Groups.list[s.group].chunks[l.chunk], s.footer.begin
	c := &chunk{leaf: l, shared: s.shared, walk: m.pages(s.file.os, begin), codec: m.codec, limit: int(m.values),
		space: s.shared.takeSpace()}
	c.decoder, c.walk.Window = &c.space.decoder, c.space.window
	c.decoder.Kind, c.decoder.Size, c.decoder.Spare, c.decoder.Limit = l.cell.Physical, l.cell.Size, s.footer.spare(), s.shared.pageLimit
	if s.shared.pageLimit > 0 {
		c.walk.Most = s.shared.pageLimit
	}
	if !m.placed(begin) || l.repeated == 0 && m.values != g.rows {
		return c, parquet.ErrCorrupted
	}
	var err error
	switch skip := int(s.row - g.first); {
	case skip == 0:
	case l.list < 0:
		err = c.pass(skip)
	default:
		err = c.passLists(skip)
	}
	return c, noEOF(err)
}

// pass skips rows of a column outside all lists. Pages that are skipped entirely are not decoded.
func (c *chunk) pass(rows int) error {
	for rows > 0 {
		var h page.Header
		if err := c.walk.Header(&h); err != nil {
			return err
		}
		if h.IsData() && h.Entries() <= rows && h.Entries() <= c.limit {
			rows -= h.Entries()
			c.limit -= h.Entries()
			if err := c.walk.Pass(&h); err != nil {
				return err
			}
			continue
		}
		if err := c.decode(&h); err != nil {
			return err
		}
		n := min(rows, c.entries)
		c.entry, c.value = n, n
		if c.defs != nil {
			c.value = c.present(c.defs[:n])
		}
		rows -= n
	}
	return nil
}

// passLists skips rows of a list column. A row may continue on the next page.
func (c *chunk) passLists(rows int) error {
	for begun := 0; ; {
		if c.entry == c.entries {
			if err := c.load(); err != nil {
				if err == io.EOF && begun == rows {
					return nil
				}
				return err
			}
		}
		for ; c.entry < c.entries; c.entry++ {
			if c.reps[c.entry] == 0 {
				if begun == rows {
					return nil
				}
				begun++
			} else if begun == 0 {
				return parquet.ErrCorrupted
			}
			if c.defs[c.entry] == c.leaf.present {
				c.value++
			}
		}
	}
}

// ends returns an error if the chunk has more rows than its row group.
func (c *chunk) ends() error {
	if c.entry < c.entries || c.limit > 0 {
		return errLong
	}
	return nil
}

func (c *chunk) close() {
	_ = c.turnText()
	c.releaseHeld()
	c.space.window = c.walk.Window[:0]
	c.shared.spaces = append(c.shared.spaces, c.space)
}

func (s *scratch) takeSpace() *space {
	n := len(s.spaces)
	if n == 0 {
		return new(space)
	}
	x := s.spaces[n-1]
	s.spaces = s.spaces[:n-1]
	return x
}

// releaseHeld frees the text that the last row batch pointed into.
func (c *chunk) releaseHeld() {
	const most, large = 256, 1 << 20 // number of free buffers for all columns together, size of a buffer
	for _, b := range c.held {
		c.shared.held -= int64(cap(b))
		if len(c.shared.texts) < most && cap(b) <= large {
			c.shared.texts = append(c.shared.texts, b)
		}
	}
	c.held = c.held[:0]
}

// load moves to the next page that has entries. It returns io.EOF at the end of the chunk.
func (c *chunk) load() error {
	for {
		if c.limit == 0 {
			return io.EOF
		}
		var h page.Header
		if err := c.walk.Header(&h); err != nil {
			return err
		}
		if err := c.decode(&h); err != nil {
			return err
		}
		if c.entries > 0 {
			return nil
		}
	}
}

// read appends the next rows of a column outside all lists.
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

// readList appends the elements of the next rows of a list column to the vector, and the number of
// elements of each row to lengths. A row may continue on the next page.
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

// take appends n entries. defs distinguishes values from nulls; nil means that all entries are
// values.
func (c *chunk) take(to *vector, defs []byte, n int) error {
	values := n
	if defs != nil {
		values = c.present(defs)
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
	err := guarded.Call(func() error {
		to.plain, to.arena = c.leaf.cell.Texts(to.plain, to.arena, c.values, first, c.value)
		return nil
	})
	if err != nil {
		return err
	}
	switch c.leaf.cell.Kind {
	case cell.Text, cell.FixedText:
		for _, s := range to.plain[at:] {
			if !c.leaf.isText(s) {
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
