package claims

import (
	"slices"
	"strings"

	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// split divides the rows of a claim into parts that become separate claims: one per value of the
// element that the layout splits by, and the rest. A claim that is not split is one part without a
// key.
type split struct {
	parts []part
	of    map[string]int // index of the part of a key

	// undivided are amounts of the header that cannot be divided among the parts: the lines
	// do not add up to them.
	undivided []cpcds.Element
}

// part is the rows of one claim, or of one fill of it.
type part struct {
	key  string
	rows []rowbatch.Segment
	fate Fate
}

// splitter is how the layout splits claims, nil if it does not.
func (b *Builder) splitter() *layouts.Split {
	if s := b.Layout.Table(cpcds.Claims).Split; s != nil && b.Repairs.On(s.Repair) {
		return s
	}
	return nil
}

// several reports whether the claim was split into several.
func (s *split) several() bool { return len(s.parts) > 1 }

// rows divides the rows of a claim.
func (s *split) rows(all []rowbatch.Segment, divides bool) {
	for i := range s.parts {
		s.parts[i].rows = s.parts[i].rows[:0]
	}
	s.parts, s.undivided = s.parts[:0], s.undivided[:0]
	clear(s.of)
	if !divides {
		s.add("", all...)
		return
	}
	for _, x := range all {
		for i := x.From; i < x.To; i++ {
			s.add(x.Batch.Split(i), rowbatch.Segment{Batch: x.Batch, From: i, To: i + 1, Older: x.Older})
		}
	}
	slices.SortFunc(s.parts, func(x, y part) int { return strings.Compare(x.key, y.key) })
}

// add gives rows to the part of a key.
func (s *split) add(key string, rows ...rowbatch.Segment) {
	i, ok := s.of[key]
	if !ok {
		i = len(s.parts)
		if i < cap(s.parts) {
			s.parts = s.parts[:i+1]
		} else {
			s.parts = append(s.parts, part{})
		}
		s.parts[i].key = key
		if s.of == nil {
			s.of = map[string]int{}
		}
		s.of[key] = i
	}
	p := &s.parts[i]
	for _, x := range rows {
		if n := len(p.rows); n > 0 && p.rows[n-1].Batch == x.Batch && p.rows[n-1].To == x.From && p.rows[n-1].Older == x.Older {
			p.rows[n-1].To = x.To
		} else {
			p.rows = append(p.rows, x)
		}
	}
}

// sharedRows counts input rows by fate if the parts of a claim share them: a nested row is in a
// claim if one of its parts is.
func (s *split) sharedRows() (counted [numFates]int64) {
	type row struct {
		input *rowbatch.Input
		n     int64
	}
	fates := map[row]Fate{}
	for i := range s.parts {
		p := &s.parts[i]
		for _, x := range p.rows {
			for i := x.From; i < x.To; i++ {
				r := row{x.Batch.Input, x.Batch.InputRow(i)}
				if f, ok := fates[r]; !ok || p.fate < f {
					fates[r] = p.fate
				}
			}
		}
	}
	for _, f := range fates {
		counted[f]++
	}
	return counted
}

// diagnosesOfFills returns the rows whose diagnoses a part has in addition to its own: the rest of
// a claim also has those on the rows of its fills, because they are diagnoses of the claim.
func (s *split) diagnosesOfFills(p *part) (of []rowbatch.Segment) {
	if p.key != "" {
		return nil
	}
	for i := range s.parts {
		if s.parts[i].key != "" {
			of = append(of, s.parts[i].rows...)
		}
	}
	return of
}

// divide finds the amounts of the claim's header that cannot be divided among its parts.
func (b *Builder) divide() {
	b.asm.assemble(b.newest.rows)
	c := &b.asm.claim
	for i := range b.Version.KnownAmounts().All {
		a := &carin.Amounts[i]
		var lines cpcds.Sum
		for j := range c.Lines {
			lines.Add(c.Lines[j].Get(a.Line))
		}
		if header := c.Get(a.Header); header != "" && !lines.Equal(header) {
			b.split.undivided = append(b.split.undivided, a.Header)
		}
	}
}

// unprice drops the amounts of the header: they are those of the whole claim, and a part has its
// own lines' amounts. If these do not add up to the header's, the part has no total.
func (b *Builder) unprice() {
	c := &b.asm.claim
	for i := range carin.Amounts {
		c.Set(carin.Amounts[i].Header, "")
	}
	c.Undivided = append(c.Undivided, b.split.undivided...)
}
