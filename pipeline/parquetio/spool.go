package parquetio

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/pipeline/parquetio/page"
)

// spool holds the rows of a row group in a temporary file. Each column of a row group may have a
// single page as long as the row group itself, so the columns may not all fit into memory at the
// same time. Therefore the columns are read one after the other and split into blocks, with as
// many rows as a row batch has.
type spool struct {
	file *columnar.TempFile
	size int64

	columns []spoolColumn
	buffer  []byte
}

type spoolColumn struct {
	blocks []blockAt
	text   []byte // the current block; the row batch points into it
}

// blockAt is the location of a block in the file.
type blockAt struct {
	offset, size int64
}

// perEntry is the memory in bytes for each entry of a page in addition to its value: levels and an
// index. perText is the size of a string header.
const perEntry, perText = 6, 16

// footprint is the memory that a column of a row group needs, in bytes.
type footprint struct {
	held int64 // its largest page when decoded, plus its dictionary
	row  int64 // the maximum per row over all pages
}

func (s *source) footprint(m *chunkMeta) (p footprint, err error) {
	if !m.placed(s.footer.begin) {
		return p, errShort
	}
	w := m.pages(s.file.os, s.footer.begin)
	var dictionary int64
	for w.More() {
		var h page.Header
		if err := w.Header(&h); err != nil {
			return p, err
		}
		size := int64(h.Uncompressed)
		switch n := int64(h.Entries()); {
		case h.Dictionary.Valid:
			dictionary = size + perText*int64(h.Dictionary.V.NumValues)
		case n > 0:
			p.held, p.row = max(p.held, size+perEntry*n), max(p.row, size/n+perText)
		}
		if err := w.Pass(&h); err != nil {
			return p, err
		}
	}
	p.held += dictionary
	return p, nil
}

// fits reports whether all columns of the row group fit into memory together, and sets the maximum
// number of rows of its row batches.
func (s *source) fits() bool {
	limit := s.file.options.Memory
	if limit <= 0 {
		return true
	}
	chunks := s.footer.Groups.list[s.group].chunks
	rows := s.file.groups[s.group].rows
	var whole int64
	for _, l := range s.columns {
		whole += chunks[l.chunk].uncompressed + perEntry*chunks[l.chunk].values
	}
	if whole <= limit {
		return true
	}
	var sum footprint
	for _, l := range s.columns {
		m := &chunks[l.chunk]
		p, err := s.footprint(m)
		if err != nil {
			return true // reading the column reports the error
		}
		sum.held += p.held
		sum.row += p.row * max(m.values/max(rows, 1), 1)
	}
	s.most = int(min(max(limit/2/max(sum.row, 1), 1), batchRows))
	return sum.held <= limit
}

// fillSpool reads the rows of the row group, starting at the source's current row, into a spool.
func (s *source) fillSpool(ctx context.Context, rows int64) error {
	f, err := columnar.NewTempFile(s.file.options.Temp)
	if err != nil {
		return fmt.Errorf("create space for a large row group: %w", err)
	}
	s.block = 0
	s.spool = &spool{file: f, columns: make([]spoolColumn, len(s.columns))}
	if s.nested {
		s.most = min(s.most, s.nestedRows())
	}
	for i := range s.columns {
		c, err := s.openChunk(i)
		if err == nil {
			err = s.spoolColumn(ctx, i, c, rows)
			c.close()
		}
		if err = s.lose(i, err); err != nil {
			return s.describe(i, err)
		}
	}
	return nil
}

// nestedRows returns how many nested rows of the row group are expected to unfold into one row
// batch.
func (s *source) nestedRows() int {
	g := &s.footer.Groups.list[s.group]
	most := g.rows
	for _, l := range s.columns {
		most = max(most, g.chunks[l.chunk].values)
	}
	return int(max(1, batchRows*g.rows/max(most, 1)))
}

// spoolColumn writes the blocks of a column.
func (s *source) spoolColumn(ctx context.Context, i int, c *chunk, rows int64) error {
	v := &s.vectors[i]
	toEnd := s.row+rows == s.file.groups[s.group].first+s.file.groups[s.group].rows
	for rows > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(rows, int64(s.most)))
		v.reset()
		var err error
		s.scratch = s.scratch[:0]
		if c.leaf.list < 0 {
			err = c.read(v, n)
		} else {
			s.scratch, err = c.readList(v, s.scratch, n)
		}
		if err != nil {
			return err
		}
		v.beginPlain()
		if err := s.spool.write(i, v, s.scratch); err != nil {
			return err
		}
		c.releaseHeld()
		rows -= int64(n)
	}
	v.forget() // otherwise its column would stay in memory until all others are read
	if toEnd {
		return c.ends()
	}
	return nil
}

// write appends a block: the list lengths, the index of each entry, and the values.
func (p *spool) write(column int, v *vector, lengths []int32) error {
	b := p.buffer[:0]
	for _, list := range [][]int32{lengths, v.index} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, k := range list {
			b = binary.AppendUvarint(b, uint64(k+1))
		}
	}
	b = binary.AppendUvarint(b, uint64(len(v.plain)))
	for _, s := range v.plain {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	p.buffer = b
	if _, err := p.file.WriteAt(b, p.size); err != nil {
		return fmt.Errorf("write a large row group: %w", err)
	}
	c := &p.columns[column]
	c.blocks = append(c.blocks, blockAt{p.size, int64(len(b))})
	p.size += int64(len(b))
	return nil
}

// read reads a block into a vector, and appends its list lengths to lengths.
func (p *spool) read(column, block int, v *vector, lengths []int32) ([]int32, error) {
	c := &p.columns[column]
	if block >= len(c.blocks) {
		return lengths, errShort
	}
	at := c.blocks[block]
	c.text = slices.Grow(c.text[:0], int(at.size))[:at.size]
	if _, err := p.file.ReadAt(c.text, at.offset); err != nil {
		return lengths, fmt.Errorf("read a large row group: %w", err)
	}
	r := blockReader{rest: c.text}
	lengths = r.list(lengths)
	v.reset()
	v.index = r.list(v.index)
	for range r.count() {
		n := r.count()
		v.plain = append(v.plain, view(r.rest[:n]))
		r.rest = r.rest[n:]
	}
	return lengths, nil
}

// blockReader parses a block. It does not check for damage because no other process can write to
// the file.
type blockReader struct{ rest []byte }

func (r *blockReader) count() int {
	x, n := binary.Uvarint(r.rest)
	r.rest = r.rest[n:]
	return int(x)
}

func (r *blockReader) list(to []int32) []int32 {
	for range r.count() {
		to = append(to, int32(r.count())-1)
	}
	return to
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
