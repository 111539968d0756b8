package parquetio

import (
	"bytes"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline/parquetio/cell"
	"cpcds2fhir/pipeline/parquetio/page"
)

// plainDictionary is the deprecated encoding PLAIN_DICTIONARY, which old writers use both for
// dictionary pages and for data pages with dictionary indexes.
const plainDictionary format.Encoding = 2

// decode decodes the page whose header was just read, a dictionary page or a data page. It skips
// pages of other types.
func (c *chunk) decode(h *page.Header) error {
	c.entries, c.entry, c.value = 0, 0, 0
	if !h.IsData() && h.Type != format.DictionaryPage {
		return c.walk.Pass(h)
	}
	n := h.Entries()
	if n > c.limit {
		return errLong
	}
	// A page of nulls can claim any number of entries in a few bytes.
	size := int64(h.Uncompressed) + int64(h.Compressed) + perEntry*int64(n)
	if limit := c.shared.pageLimit; limit > 0 && size > limit {
		return &page.SizeError{Size: size}
	}
	var err error
	if c.shared.body, err = c.walk.Body(c.shared.body, h); err != nil {
		return err
	}
	defer c.shared.trim()
	switch h.Type {
	case format.DictionaryPage:
		return c.decodeDictionary(h)
	case format.DataPage:
		err = c.decodeV1(h, n)
	default:
		err = c.decodeV2(h, n)
	}
	if err != nil {
		return err
	}
	c.entries = n
	c.limit -= n
	return nil
}

// unpack decompresses bytes of a page to size bytes.
func (c *chunk) unpack(src []byte, codec format.CompressionCodec, size int) ([]byte, error) {
	out, err := c.shared.Unpack(c.shared.raw, src, codec, size)
	if err == nil && codec != format.Uncompressed && cap(out) > cap(c.shared.raw) {
		c.shared.raw = out
	}
	return out, err
}

// trim releases the memory that an unusually large page needed.
func (s *scratch) trim() {
	const usual = 8 << 20
	if cap(s.body) > usual {
		s.body = nil
	}
	if cap(s.raw) > usual {
		s.raw = nil
	}
	s.Trim(usual)
}

func (c *chunk) decodeDictionary(h *page.Header) error {
	if c.dict != nil {
		return nil // a second dictionary, which must not be used
	}
	raw, err := c.unpack(c.shared.body, c.codec, int(h.Uncompressed))
	if err != nil {
		return err
	}
	n := int(h.Dictionary.V.NumValues)
	e := h.Dictionary.V.Encoding
	if e == plainDictionary {
		e = format.Plain
	}
	c.decoder.Text = nil // the dictionary keeps its text, so do not reuse the buffer
	v, err := c.decoder.Values(raw, e, n)
	if err != nil {
		return err
	}
	dict := &dictionary{id: lastDict.Add(1)}
	dict.text, _ = c.leaf.cell.Texts(make([]string, 0, n), nil, v, 0, n)
	c.decoder.Text = nil
	for _, s := range dict.text {
		if s == "" {
			dict.blank = true
		}
		if !c.leaf.isText(s) {
			return errNotText
		}
	}
	c.dict = dict
	return nil
}

func (c *chunk) decodeV1(h *page.Header, n int) error {
	raw, err := c.unpack(c.shared.body, c.codec, int(h.Uncompressed))
	if err != nil {
		return err
	}
	v := &h.V1.V
	c.reps, c.defs = nil, nil
	if c.leaf.repeated > 0 {
		if c.space.reps, raw, err = page.LevelsV1(c.space.reps, raw, v.Repetitions, c.leaf.repeated, n); err != nil {
			return err
		}
		c.reps = c.space.reps
	}
	if c.leaf.present > 0 {
		if c.space.defs, raw, err = page.LevelsV1(c.space.defs, raw, v.Definitions, c.leaf.present, n); err != nil {
			return err
		}
		c.defs = c.space.defs
	}
	return c.decodeValues(raw, v.Encoding, n)
}

func (c *chunk) decodeV2(h *page.Header, n int) error {
	v := &h.V2.V
	body := c.shared.body
	reps, defs := body[:v.RepetitionBytes], body[v.RepetitionBytes:v.RepetitionBytes+v.DefinitionBytes]
	var err error
	c.reps, c.defs = nil, nil
	if c.leaf.repeated > 0 {
		if c.space.reps, err = page.Levels(c.space.reps, reps, c.leaf.repeated, n); err != nil {
			return err
		}
		c.reps = c.space.reps
		if n > 0 && c.reps[0] != 0 {
			return parquet.ErrCorrupted
		}
	}
	if c.leaf.present > 0 {
		if c.space.defs, err = page.Levels(c.space.defs, defs, c.leaf.present, n); err != nil {
			return err
		}
		c.defs = c.space.defs
	}
	levels := int(v.RepetitionBytes + v.DefinitionBytes)
	codec := c.codec
	if v.Packed.Valid && !v.Packed.V {
		codec = format.Uncompressed
	}
	raw, err := c.unpack(body[levels:], codec, int(h.Uncompressed)-levels)
	if err != nil {
		return err
	}
	return c.decodeValues(raw, v.Encoding, n)
}

func (c *chunk) present(defs []byte) int { return bytes.Count(defs, []byte{c.leaf.present}) }

func (c *chunk) decodeValues(raw []byte, e format.Encoding, n int) error {
	values := n
	if c.defs != nil {
		if values = c.present(c.defs); values == n && c.leaf.list < 0 {
			c.defs = nil
		}
	}
	c.indexes = nil
	if c.leaf.cell.Kind == cell.Null {
		if values != 0 {
			return parquet.ErrCorrupted
		}
		return nil
	}
	if err := c.turnText(); err != nil {
		return err
	}
	if e != plainDictionary && e != format.RLEDictionary {
		var err error
		c.values, err = c.decoder.Values(raw, e, values)
		return err
	}
	if c.dict == nil {
		if values > 0 {
			return parquet.ErrCorrupted
		}
		c.values = c.decoder.None()
		return nil
	}
	var err error
	if c.space.indexes, err = page.Indexes(c.space.indexes, raw, values); err != nil {
		return err
	}
	c.indexes = c.space.indexes
	if c.indexes == nil {
		c.indexes = []int32{}
	}
	var highest uint32
	for _, x := range c.indexes {
		highest = max(highest, uint32(x))
	}
	if values > 0 && int64(highest) >= int64(len(c.dict.text)) {
		return parquet.ErrCorrupted
	}
	return nil
}

// turnText keeps the text of the last page for the row batch that points into it, and uses another
// buffer for the next page. Row batches are kept small enough for their data to fit into memory,
// but text can exceed the limit if it is larger than the page sizes suggested.
func (c *chunk) turnText() error {
	if cap(c.decoder.Text) == 0 {
		return nil
	}
	c.held = append(c.held, c.decoder.Text)
	c.shared.held += int64(cap(c.decoder.Text))
	c.decoder.Text = nil
	if n := len(c.shared.texts); n > 0 {
		c.decoder.Text = c.shared.texts[n-1][:0]
		c.shared.texts = c.shared.texts[:n-1]
	}
	if limit := c.shared.pageLimit; limit > 0 && c.shared.held > 4*limit {
		return &page.SizeError{Size: c.shared.held / 4}
	}
	return nil
}
