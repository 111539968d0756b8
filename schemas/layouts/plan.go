package layouts

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"cpcds2fhir/schemas/cpcds"
)

// plan makes one column of a batch. It keeps memory between batches.
type columnPlan struct {
	conv     *conversion
	source   []int // places in Rows.Columns; none: constant
	constant string

	dict   uint64 // Column.Dict of the source that converted holds, 0: none
	id     uint64 // Column.Dict of the result
	cells  cells
	index  []int32
	memo   memo
	joined joinMemo
}

// dictionaries numbers the converted dictionaries of the process, so that no two columns share a
// number.
var dictionaries atomic.Uint64

func newPlan(c *conversion, constant string, source []int) *columnPlan {
	p := &columnPlan{conv: c, constant: constant, source: slices.Clone(source)}
	if len(source) == 0 {
		p.id = dictionaries.Add(1)
		p.cells.add(result{text: constant})
	}
	return p
}

// repeat makes a constant column: its index is all zeros.
func (p *columnPlan) repeat(n int) cpcds.Column {
	if len(p.index) < n {
		p.index = make([]int32, n)
	}
	return p.cells.column(p.index[:n], p.id)
}

// convert makes a column from one column. A new dictionary is converted once; its texts are copied,
// because the source may move them without changing the number.
func (p *columnPlan) convert(src *cpcds.Column, n int) cpcds.Column {
	if src.Dict == 0 {
		p.dict = 0
		return p.each(src, n)
	}
	if src.Dict != p.dict {
		p.dict, p.id = src.Dict, dictionaries.Add(1)
		p.cells.reset()
		for _, v := range src.Values {
			p.cells.add(p.conv.value(v))
		}
		p.cells.own()
		if p.conv.standby != "" {
			p.cells.add(result{text: p.conv.standby})
		}
	}
	return p.cells.column(p.rows(src, n), p.id)
}

// each converts a column without a dictionary. Most values are already canonical: as long as all
// are, the source's own values are used.
func (p *columnPlan) each(src *cpcds.Column, n int) cpcds.Column {
	c, values := p.conv, src.Values
	i := 0
	if c.simple && c.standby == "" {
		for i < len(values) && c.canonical(values[i]) {
			i++
		}
		if i == len(values) {
			return cpcds.Column{Index: src.Index, Values: values}
		}
	}
	p.cells.reset()
	p.cells.values = append(p.cells.values, values[:i]...)
	var last result
	for first := i; i < len(values); i++ {
		v := values[i]
		if i == first || v != values[i-1] {
			if t := strings.TrimSpace(v); c.simple && c.canonical(t) {
				last = result{text: t}
			} else {
				last = p.memo.value(c, t)
			}
		}
		p.cells.add(last)
	}
	if c.standby != "" {
		p.cells.add(result{text: c.standby})
	}
	return p.cells.column(p.rows(src, n), 0)
}

// rows returns the index of the result: the source's own, unless the layout has a
// standby for rows without a value. The standby is the last value.
func (p *columnPlan) rows(src *cpcds.Column, n int) []int32 {
	if p.conv.standby == "" {
		return src.Index
	}
	p.index = append(p.index[:0], src.Index...)
	for len(p.index) < n {
		p.index = append(p.index, -1)
	}
	for i, k := range p.index {
		if k < 0 {
			p.index[i] = int32(len(p.cells.values) - 1)
		}
	}
	return p.index
}

// join makes a column from several columns. Rows of one claim are mostly like the row before, so
// that is checked first.
func (p *columnPlan) join(src *cpcds.Rows) cpcds.Column {
	p.cells.reset()
	p.index = p.index[:0]
	for i := range src.N {
		if i > 0 && p.same(src, i) {
			p.index = append(p.index, p.index[i-1])
			continue
		}
		r := p.joined.value(p, src, i)
		if r == (result{}) {
			p.index = append(p.index, -1)
			continue
		}
		p.index = append(p.index, int32(len(p.cells.values)))
		p.cells.add(r)
	}
	return p.cells.column(p.index, 0)
}

// same reports whether row i has the same value indices as the row before.
func (p *columnPlan) same(src *cpcds.Rows, i int) bool {
	for _, s := range p.source {
		x := src.Columns[s].Index
		if i < len(x) && x[i] != x[i-1] || i == len(x) && x[i-1] >= 0 {
			return false
		}
	}
	return true
}

// joinMemo caches the results of joined values.
type joinMemo struct {
	results map[string]result
	key     []byte
	raw     []string
}

const maxJoined = 4096

func (m *joinMemo) value(p *columnPlan, src *cpcds.Rows, row int) result {
	m.key = m.key[:0]
	for _, s := range p.source {
		v := src.Columns[s].Value(row)
		m.key = binary.AppendUvarint(m.key, uint64(len(v)))
		m.key = append(m.key, v...)
	}
	if r, ok := m.results[string(m.key)]; ok {
		return r
	}
	m.raw = m.raw[:0]
	for _, s := range p.source {
		m.raw = append(m.raw, strings.Clone(src.Columns[s].Value(row)))
	}
	r := p.conv.values(m.raw)
	if m.results == nil || len(m.results) >= maxJoined {
		m.results = make(map[string]result)
	}
	m.results[string(m.key)] = r
	return r
}

// memo caches the results of some recent values. It holds one value per slot.
type memo struct {
	seed  maphash.Seed
	slots []slot
}

type slot struct {
	raw string
	result
}

const memoSlots = 512

// value converts a trimmed value, which is copied where it is remembered.
func (m *memo) value(c *conversion, v string) result {
	if v == "" {
		return c.value("")
	}
	if m.slots == nil {
		m.seed, m.slots = maphash.MakeSeed(), make([]slot, memoSlots)
	}
	s := &m.slots[maphash.String(m.seed, v)%memoSlots]
	if s.raw != v {
		s.raw = strings.Clone(v)
		s.result = c.value(s.raw)
	}
	return s.result
}

// cells are converted values with the rules they break and the repairs they had.
type cells struct {
	values, bad, repaired []string
	someBad, someRepaired bool
}

func (c *cells) reset() {
	c.values, c.someBad, c.someRepaired = c.values[:0], false, false
}

// add appends a result. The notes begin with the first value that has one.
func (c *cells) add(r result) {
	c.bad, c.someBad = note(c.bad, c.someBad, len(c.values), r.bad)
	c.repaired, c.someRepaired = note(c.repaired, c.someRepaired, len(c.values), r.repaired)
	c.values = append(c.values, r.text)
}

func note(notes []string, some bool, n int, s string) ([]string, bool) {
	if !some {
		if s == "" {
			return notes, false
		}
		notes = slices.Grow(notes[:0], n+1)[:n]
		clear(notes)
	}
	return append(notes, s), true
}

// own copies all texts into its own memory.
func (c *cells) own() {
	n := 0
	for _, v := range c.values {
		n += len(v)
	}
	var b strings.Builder
	b.Grow(n)
	for _, v := range c.values {
		b.WriteString(v)
	}
	all := b.String()
	for i, v := range c.values {
		c.values[i], all = all[:len(v)], all[len(v):]
	}
}

func (c *cells) column(index []int32, dict uint64) cpcds.Column {
	col := cpcds.Column{Index: index, Values: c.values, Dict: dict}
	if c.someBad {
		col.Bad = c.bad
	}
	if c.someRepaired {
		col.Repaired = c.repaired
	}
	return col
}
