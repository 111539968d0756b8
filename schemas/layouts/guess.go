package layouts

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// seen is a column of an extract that needs an element.
type seen struct {
	header string
	values []string
	form   *valueForm // of the values; nil until it is looked at
	lined  bool       // its file has a line number
	files  int        // how many files have it
}

// proposal is a proposed element.
type proposal struct {
	columns []int // places among the columns that were seen; several are repetitions
	exact   bool  // the header is one that is known to mean the element
	score   float64
	or      cpcds.Element // another element that the header fits equally well
	open    bool          // there is such an element
}

// enough is the similarity that a header and a phrase need. It is high on purpose: a wrong binding
// costs more than a missing one.
const enough = 0.74

// sure is their similarity if they have the same words.
const sure = 0.99

// guesser finds elements for the columns of one table.
type guesser struct {
	v     *vocabulary
	cols  []seen
	words [][]string
	forms []valueForm
	bound map[cpcds.Element]*proposal
	used  map[int]bool
}

// guess finds the likely elements of the columns. No column is two elements, and no element has two
// columns except repetitions.
func guess(v *vocabulary, cols []seen) *guesser {
	g := &guesser{v: v, cols: cols, bound: map[cpcds.Element]*proposal{}, used: map[int]bool{}}
	for i, c := range cols {
		g.words = append(g.words, v.read(c.header))
		if c.form == nil {
			f := formOf(c.values)
			c.form = &f
		}
		g.forms = append(g.forms, *c.form)
		el, ok := v.exact[cpcds.FoldHeader(c.header)]
		if number, _ := numbered(g.words[i]); ok && g.bound[el] == nil && (number == 0 || !repeats(el)) {
			g.bind(el, &proposal{columns: []int{i}, exact: true, score: 1})
		}
	}
	for i := range cols {
		g.hint(i)
	}
	g.repetitions()
	g.singles()
	g.align()
	return g
}

func (g *guesser) bind(el cpcds.Element, p *proposal) {
	g.bound[el] = p
	for _, i := range p.columns {
		g.used[i] = true
	}
}

// hint adds what the values tell about a column if its header does not.
func (g *guesser) hint(i int) {
	has := func(w string) bool { return slices.Contains(g.words[i], w) }
	switch f := &g.forms[i]; {
	case f.date != "" && !has("date"):
		g.words[i] = append(g.words[i], "date")
	case f.kind == moneyForm && !has("amount") && !has("number") && !has("quantity") && !has("units"):
		g.words[i] = append(g.words[i], "amount")
	}
}

// candidate is an element that a column could be.
type candidate struct {
	column  int
	element cpcds.Element
	score   float64
}

// candidates lists what a column could be by its words, the likeliest first.
func (g *guesser) candidates(i int, words []string) []candidate {
	best := map[cpcds.Element]float64{}
	typo := closest(cpcds.FoldHeader(g.cols[i].header), g.v.known)
	for k := range g.v.phrases {
		p := &g.v.phrases[k]
		score := g.v.alike(words, p) - misplaced(p, words)
		if p.name == typo {
			score = max(score, 0.95)
		}
		if score < sure && !g.v.tells(words, p) {
			continue
		}
		if score > best[p.element] {
			best[p.element] = score
		}
	}
	var out []candidate
	for el, score := range best {
		if score < enough || !suits(el, words, &g.forms[i]) {
			continue
		}
		out = append(out, candidate{i, el, score + g.levelled(i, el, words)})
	}
	slices.SortFunc(out, likelier)
	return out
}

// misplaced is the penalty if the header is about lines and the phrase about the claim, or the
// other way round.
func misplaced(p *phrase, words []string) float64 {
	line, claim := slices.Contains(words, "line"), slices.Contains(words, "claim")
	switch level := p.element.Info().Level; {
	case line && !p.words["line"] && level == cpcds.HeaderLevel, claim && !line && !p.words["claim"] && level == cpcds.LineLevel:
		return 0.1
	}
	return 0
}

// likelier sorts by score; between equals the order of columns and elements decides.
func likelier(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.column, b.column), cmp.Compare(a.element, b.element))
}

// levelled prefers line elements in a file with lines and header elements in one without, if the
// words of the header leave it open.
func (g *guesser) levelled(i int, el cpcds.Element, words []string) float64 {
	line := g.cols[i].lined
	switch {
	case slices.Contains(words, "line"):
		line = true
	case slices.Contains(words, "claim"), slices.Contains(words, "total"), slices.Contains(words, "header"):
		line = false
	}
	if level := el.Info().Level; level == cpcds.LineLevel && line || level == cpcds.HeaderLevel && !line {
		return 0.02
	}
	return 0
}

// suits reports whether the kind of an element agrees with the words of a header and the form of
// its values.
func suits(el cpcds.Element, words []string, f *valueForm) bool {
	kind := el.Info().Kind
	day := kind == cpcds.DateKind || kind == cpcds.InstantKind
	for _, w := range words {
		switch w {
		case "date":
			if !day {
				return false
			}
		case "amount":
			if kind != cpcds.MoneyKind {
				return false
			}
		case "npi":
			if kind != cpcds.NPIKind && kind != cpcds.IDKind {
				return false
			}
		case "name", "description":
			if kind != cpcds.TextKind {
				return false
			}
		case "code", "status", "qualifier", "identifier", "number":
			if day || kind == cpcds.MoneyKind || kind == cpcds.QuantityKind && w != "number" {
				return false
			}
		case "count", "quantity":
			if kind != cpcds.QuantityKind && kind != cpcds.TextKind {
				return false
			}
		}
	}
	switch {
	case f.kind == noForm:
		return true
	case day:
		return f.date != "" || f.kind == nullForm
	case kind == cpcds.MoneyKind, kind == cpcds.QuantityKind:
		return f.date == "" && f.numeric()
	case kind == cpcds.NPIKind:
		return f.kind == npiForm || slices.Contains(words, "npi")
	}
	return kind == cpcds.TextKind || f.kind != textForm || kind == cpcds.IDKind
}

// repeats reports whether an element may occur several times in a row.
func repeats(el cpcds.Element) bool {
	switch el.Info().Level {
	case cpcds.DiagnosisLevel, cpcds.ProcedureLevel, cpcds.CareTeamLevel:
		return true
	}
	return false
}

// series are columns whose headers differ only in a number.
type series struct {
	element cpcds.Element
	score   float64
	columns map[int]int // number -> column
}

// repetitions binds numbered columns that fit a repeating element: Dx 1, Dx 2 and so on.
func (g *guesser) repetitions() {
	found := map[string]*series{}
	for i := range g.cols {
		number, base := numbered(g.words[i])
		if g.used[i] || number == 0 {
			continue
		}
		list := g.candidates(i, base)
		plain := g.candidates(i, g.words[i])
		if len(list) == 0 || !repeats(list[0].element) || len(plain) > 0 && plain[0].score > list[0].score {
			continue
		}
		key := list[0].element.Column() + " " + strings.Join(base, " ")
		if found[key] == nil {
			found[key] = &series{element: list[0].element, score: list[0].score, columns: map[int]int{}}
		}
		if _, ok := found[key].columns[number]; !ok {
			found[key].columns[number] = i
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		s := found[key]
		for _, other := range found {
			if other.element == s.element && len(other.columns) > len(s.columns) {
				s = other
			}
		}
		g.serial(s)
	}
}

// serial binds one series, unless its element has a column.
func (g *guesser) serial(s *series) {
	if g.bound[s.element] != nil {
		return
	}
	var columns []int
	if _, ok := s.columns[1]; !ok {
		// The first one may have its own name: Principal Dx, Dx 2, Dx 3.
		for i := range g.cols {
			words := slices.DeleteFunc(slices.Clone(g.words[i]), func(w string) bool { return w == "principal" })
			number, _ := numbered(words)
			if list := g.candidates(i, words); !g.used[i] && number == 0 && len(list) > 0 && list[0].element == s.element {
				columns = append(columns, i)
				break
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(s.columns)) {
		columns = append(columns, s.columns[n])
	}
	g.bind(s.element, &proposal{columns: columns, score: s.score})
}

// numbered returns the number among words and the other words, 0 if there is none or
// more than one.
func numbered(words []string) (number int, base []string) {
	for _, w := range words {
		n, err := strconv.Atoi(w)
		switch {
		case err != nil:
			base = append(base, w)
		case number != 0 || n < 1 || n > 99:
			return 0, words
		default:
			number = n
		}
	}
	return number, base
}

// singles binds the other columns, the best matches first.
func (g *guesser) singles() {
	var all []candidate
	for i := range g.cols {
		if !g.used[i] {
			all = append(all, g.candidates(i, g.words[i])...)
		}
	}
	slices.SortFunc(all, likelier)
	for _, c := range all {
		if g.used[c.column] || g.bound[c.element] != nil {
			continue
		}
		g.bind(c.element, &proposal{columns: []int{c.column}, score: c.score})
	}
	for _, c := range all {
		for el, p := range g.bound {
			if p.exact || p.columns[0] != c.column || el == c.element || g.bound[c.element] != nil || p.open {
				continue
			}
			if p.score-c.score < 0.05 {
				p.or, p.open = c.element, true
			}
		}
	}
}

// mains are the elements that the repetitions of a level are counted by.
var mains = map[cpcds.Level]cpcds.Element{
	cpcds.DiagnosisLevel: cpcds.DiagnosisCode, cpcds.ProcedureLevel: cpcds.InpatientProcedureCode, cpcds.CareTeamLevel: cpcds.CareTeamProviderNPI,
}

// align undoes guesses that would end up in a different repetition than their numbers say, or in
// all of them.
func (g *guesser) align() {
	for el, p := range g.bound {
		main, ok := mains[el.Info().Level]
		if !ok || el == main || p.exact {
			continue
		}
		m := g.bound[main]
		fits := m != nil && len(p.columns) <= len(m.columns) && (len(p.columns) > 1) == (len(m.columns) > 1)
		for i := 0; fits && i < len(p.columns); i++ {
			a, _ := numbered(g.words[p.columns[i]])
			b, _ := numbered(g.words[m.columns[i]])
			fits = a == b
		}
		if !fits {
			delete(g.bound, el)
			for _, i := range p.columns {
				delete(g.used, i)
			}
		}
	}
}

// looksLike returns the element closest to an unbound column, if any is close.
func (g *guesser) looksLike(i int) (cpcds.Element, bool) {
	_, base := numbered(g.words[i])
	for _, words := range [][]string{g.words[i], base} {
		if list := g.candidates(i, words); len(list) > 0 {
			return list[0].element, true
		}
	}
	return 0, false
}
