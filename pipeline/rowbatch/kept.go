package rowbatch

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Kept has copies of rows of any batches, as their files have them: what a reject shows. Canonical
// values are not copied. The zero value has none. It belongs to one goroutine at a time.
type Kept struct {
	of   map[*Input]*Batch
	text strings.Builder // what the values are views of; a full one is left to its values
	size int
}

// keptText is how much text is allocated at once.
const keptText = 64 << 10

// Add copies rows, and returns the copies, which are valid until Reset. Rows of a layout have no file:
// of these there is none.
func (k *Kept) Add(segments []Segment) []Segment {
	copies := make([]Segment, 0, len(segments))
	for _, s := range segments {
		if s.Batch.Input == nil || s.From == s.To {
			continue
		}
		b := k.batch(s.Batch.Input)
		from := b.raw.N
		k.copy(&b.raw, s)
		copies = append(copies, Segment{Batch: b, From: from, To: b.raw.N, Older: s.Older})
	}
	return copies
}

// Size is about how many bytes the copies take.
func (k *Kept) Size() int { return k.size }

// Reset drops the copies but keeps the memory of their columns.
func (k *Kept) Reset() {
	for _, b := range k.of {
		b.raw.Reset()
	}
	k.text, k.size = strings.Builder{}, 0
}

func (k *Kept) batch(in *Input) *Batch {
	b := k.of[in]
	if b == nil {
		if k.of == nil {
			k.of = map[*Input]*Batch{}
		}
		b = &Batch{Input: in}
		b.raw.Columns = make([]cpcds.Column, len(in.order))
		k.of[in] = b
	}
	return b
}

func (k *Kept) copy(to *cpcds.Rows, s Segment) {
	from := &s.Batch.raw
	number := from.InputRow(s.From)
	for i := s.From; i < s.To; i++ {
		begins := s.Batch.Begins(i)
		switch {
		case len(from.Numbers) > 0:
			number = from.Numbers[i]
		case begins && i > s.From:
			number++
		}
		to.Numbers, to.Whole = append(to.Numbers, number), append(to.Whole, begins)
	}
	for c := range to.Columns {
		if c < len(from.Columns) {
			k.column(&to.Columns[c], &from.Columns[c], s.From, s.To)
		} else {
			k.column(&to.Columns[c], &cpcds.Column{}, s.From, s.To)
		}
	}
	to.N += s.To - s.From
	k.size += (s.To - s.From) * 4 * len(to.Columns)
}

// column copies the values of rows. A value that repeats the one before is stored once: rows of a claim
// repeat its header.
func (k *Kept) column(to, from *cpcds.Column, first, end int) {
	for i := first; i < end; i++ {
		v := from.Value(i)
		if n := len(to.Values); v != "" && n > 0 && to.Values[n-1] == v {
			to.Index = append(to.Index, int32(n-1))
			continue
		}
		to.AppendPlain(k.clone(v))
	}
}

func (k *Kept) clone(v string) string {
	if v == "" {
		return ""
	}
	if k.text.Cap()-k.text.Len() < len(v) {
		k.text = strings.Builder{}
		k.text.Grow(max(keptText, len(v)))
	}
	from := k.text.Len()
	k.text.WriteString(v)
	k.size += len(v)
	return k.text.String()[from:]
}
