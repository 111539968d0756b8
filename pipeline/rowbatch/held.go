package rowbatch

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Held has the rows of a claim that continues in the next batch of a reader. The zero value holds
// none.
type Held struct{ batch Batch }

// Empty reports whether no rows are held.
func (h *Held) Empty() bool { return h.batch.raw.N == 0 }

// Key is the claim key of the rows.
func (h *Held) Key() string { return h.batch.Key(0) }

// Add appends a copy of the rows [from, to) of a batch, which may be overwritten
// afterwards.
func (h *Held) Add(from *Batch, first, end int) {
	b := &h.batch
	if b.raw.N == 0 {
		b.raw.First = from.InputRow(first)
		b.canonical.Table, b.canonical.Elements = from.canonical.Table, from.canonical.Elements
		b.plan, b.Input = from.plan, from.Input
		b.raw.Columns = lengthened(b.raw.Columns, len(from.raw.Columns))
		b.canonical.Columns = lengthened(b.canonical.Columns, len(from.canonical.Columns))
	}
	for c := range from.raw.Columns {
		holdColumn(&b.raw.Columns[c], &from.raw.Columns[c], first, end)
	}
	for c := range from.canonical.Columns {
		holdColumn(&b.canonical.Columns[c], &from.canonical.Columns[c], first, end)
	}
	if len(from.raw.Whole) > 0 {
		b.raw.Whole = append(b.raw.Whole, from.raw.Whole[first:end]...)
	}
	if len(from.raw.Numbers) > 0 {
		b.raw.Numbers = append(b.raw.Numbers, from.raw.Numbers[first:end]...)
	}
	b.raw.N += end - first
	b.canonical.N = b.raw.N
}

// Rows returns all held rows. They are valid until Reset.
func (h *Held) Rows() Segment {
	h.batch.prune()
	return Segment{Batch: &h.batch, To: h.batch.raw.N}
}

// Reset drops the rows but keeps their memory.
func (h *Held) Reset() {
	h.batch.raw.Reset()
	h.batch.canonical.N = 0
	for c := range h.batch.canonical.Columns {
		h.batch.canonical.Columns[c].Reset()
	}
}

// Claims calls take for the rows of each claim key of b, in order. The last key may go on in the next
// batch, so its rows are held, and taken when it has ended; Release takes them at the end.
func (h *Held) Claims(b *Batch, take func(Segment) error) error {
	n := b.Len()
	for i := 0; i < n; {
		j := i + 1
		for j < n && b.SameKey(i, j) {
			j++
		}
		if !h.Empty() && h.Key() != b.Key(i) {
			if err := h.Release(take); err != nil {
				return err
			}
		}
		if !h.Empty() || j == n {
			h.Add(b, i, j)
		} else if err := take(Segment{Batch: b, From: i, To: j}); err != nil {
			return err
		}
		i = j
	}
	return nil
}

// Release takes the rows that are held, if there are any.
func (h *Held) Release(take func(Segment) error) error {
	if h.Empty() {
		return nil
	}
	err := take(h.Rows())
	h.Reset()
	return err
}

func lengthened(columns []cpcds.Column, n int) []cpcds.Column {
	for len(columns) < n {
		columns = append(columns, cpcds.Column{})
	}
	return columns
}

func holdColumn(dst, src *cpcds.Column, from, to int) {
	for i := from; i < to; i++ {
		if i >= len(src.Index) || src.Index[i] < 0 {
			dst.Index = append(dst.Index, -1)
			continue
		}
		k := src.Index[i]
		dst.Index = append(dst.Index, int32(len(dst.Values)))
		dst.Values = append(dst.Values, strings.Clone(src.Values[k]))
		dst.Bad = holdNote(dst.Bad, src.Bad, k, len(dst.Values))
		dst.Repaired = holdNote(dst.Repaired, src.Repaired, k, len(dst.Values))
	}
}

// holdNote copies a value's note; notes stay nil while there are none.
func holdNote(dst, src []string, k int32, n int) []string {
	note := ""
	if src != nil {
		note = src[k]
	}
	if note == "" && dst == nil {
		return nil
	}
	for len(dst) < n {
		dst = append(dst, "")
	}
	dst[n-1] = note
	return dst
}

// Gathered has rows of one input from many places of it.
type Gathered struct{ batch Batch }

// Gather begins to gather rows of an input.
func (in *Input) Gather() *Gathered {
	g := &Gathered{batch: Batch{Input: in}}
	g.batch.raw.Columns = make([]cpcds.Column, len(in.order))
	return g
}

// Add adds a row: the number of its input row, counted from 0, whether it begins that row, and its
// raw values in the order of the input's Columns.
func (g *Gathered) Add(number int64, begins bool, values []string) {
	rows := &g.batch.raw
	for c, v := range values {
		rows.Columns[c].AppendPlain(v)
	}
	rows.Numbers = append(rows.Numbers, number)
	rows.Whole = append(rows.Whole, begins)
	rows.N++
}

// Batch reads the rows through the layout. No row may be added afterwards.
func (g *Gathered) Batch() *Batch {
	b := &g.batch
	binding := b.Input.Binding.Clone()
	b.plan = newPlan(binding)
	binding.Convert(&b.canonical, &b.raw)
	b.prune()
	return b
}
