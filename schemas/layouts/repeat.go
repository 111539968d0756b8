package layouts

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"cpcds2fhir/schemas/cpcds"
)

// repeatMark is the placeholder for the repetition's number in the headers of a repeat block.
const repeatMark = "{n}"

// maxRepeat limits a repeat block: no claim form has more of anything.
const maxRepeat = 500

// repeat reads the repeat block: sets of columns that occur several times in a row, with a number
// in their headers. One set is one diagnosis, procedure or provider.
func (p *tableParser) repeat(n ast.Node) {
	for _, item := range p.items(n) {
		var columns []*column
		from, to := 0, 0
		p.fields(item, "repeat", map[string]func(entry){
			"n":       func(e entry) { from, to = p.span(e) },
			"columns": func(e entry) { columns = p.repeatColumns(e) },
		})
		if len(columns) == 0 {
			p.at(item, "", "repeat needs columns")
			continue
		}
		p.marks(item, columns, from > 0)
		for i := from; i <= to; i++ {
			for _, c := range columns {
				p.table.columns = append(p.table.columns, c.repetition(i, p.repeated))
			}
			p.repeated++
		}
	}
}

// span reads "1..25".
func (p *tableParser) span(e entry) (from, to int) {
	first, last, ok := strings.Cut(p.text(e.val, e.key), "..")
	from, err := strconv.Atoi(first)
	to, err2 := strconv.Atoi(last)
	if !ok || err != nil || err2 != nil || from < 1 || to < from || to > maxRepeat {
		p.at(e.val, "", "n must be a range like 1..25")
		return 1, 1
	}
	return from, to
}

// repeatColumns reads the columns of a set, which must all have the same level.
func (p *tableParser) repeatColumns(e entry) (columns []*column) {
	for _, x := range p.entries(e.val, "columns") {
		el, ok := p.element(p.table.Table, x)
		if !ok {
			continue
		}
		if slices.ContainsFunc(columns, func(c *column) bool { return c.element == el }) {
			p.at(x.node, "", "%s is duplicated", x.key)
			continue
		}
		c := p.newColumn(el, x)
		l := el.Info().Level
		switch {
		case !repeats(el):
			p.at(x.node, "", "%s is of level %s: only diagnosis, procedure and care_team elements repeat in a row", x.key, l)
		case len(columns) > 0 && columns[0].element.Info().Level != l:
			p.at(x.node, "put it in its own set", "%s is of level %s, the set is of level %s", x.key, l, columns[0].element.Info().Level)
		case c.origin == fromEach:
			p.at(x.node, "", "%s repeats inside a set that already repeats", x.key)
		}
		columns = append(columns, c)
	}
	return columns
}

// marks checks that the headers of a repeating set, and only those, have the number.
func (p *tableParser) marks(item ast.Node, columns []*column, numbered bool) {
	marked := slices.ContainsFunc(columns, func(c *column) bool {
		return slices.ContainsFunc(slices.Concat(c.headers...), func(h string) bool { return strings.Contains(h, repeatMark) })
	})
	switch {
	case numbered && !marked:
		p.at(item, "", "no header of the set has %s", repeatMark)
	case marked && !numbered:
		p.at(item, "", "the headers have %s, so the set needs n, such as n: 1..25", repeatMark)
	}
}

// repetition returns the column of one repetition of its set.
func (c *column) repetition(n, rep int) *column {
	x := *c
	x.rep = rep
	number := func(headers []string) []string {
		out := make([]string, len(headers))
		for i, h := range headers {
			out[i] = strings.ReplaceAll(h, repeatMark, fmt.Sprint(n))
		}
		return out
	}
	x.headers = make([][]string, len(c.headers))
	for i, group := range c.headers {
		x.headers[i] = number(group)
	}
	if c.lenient != nil && c.lenient.headers != nil {
		l := *c.lenient
		l.headers = number(l.headers)
		x.lenient = &l
	}
	return &x
}

// number numbers the repetitions of each level from 0, those of each first.
func (t *Table) number() {
	next := map[cpcds.Level]int{}
	for _, c := range t.columns {
		if l := c.element.Info().Level; c.origin == fromEach {
			next[l] = max(next[l], len(c.headers))
		}
	}
	var sets []int
	of := map[int][]*column{}
	for _, c := range t.columns {
		if c.rep >= 0 {
			if of[c.rep] == nil {
				sets = append(sets, c.rep)
			}
			of[c.rep] = append(of[c.rep], c)
		}
	}
	slices.Sort(sets)
	for _, s := range sets {
		l := of[s][0].element.Info().Level
		for _, c := range of[s] {
			c.rep = next[l]
		}
		next[l]++
	}
}
