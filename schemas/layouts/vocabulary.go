package layouts

import (
	"bytes"
	"embed"
	"encoding/csv"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode"

	"cpcds2fhir/schemas/cpcds"
)

//go:embed vocabulary/*.csv codes.csv
var vocabularyFiles embed.FS

// vocabularyTable reads a file of the vocabulary, without its header. The files are built in, so a
// fault in one is a bug.
func vocabularyTable(name string) [][]string {
	src, err := vocabularyFiles.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("open vocabulary: %v", err))
	}
	r := csv.NewReader(bytes.NewReader(src))
	r.Comment = '#'
	rows, err := r.ReadAll()
	if err != nil {
		panic(fmt.Sprintf("read vocabulary %s: %v", name, err))
	}
	return rows[1:]
}

// wordMeanings maps words and runs of words, with single spaces, to their meanings.
var wordMeanings = sync.OnceValue(func() map[string][]string {
	out := map[string][]string{}
	for _, row := range vocabularyTable("vocabulary/words.csv") {
		out[row[0]] = strings.Fields(row[1])
	}
	return out
})

const longestRun = 3 // words in an entry of wordMeanings

// split splits a header into lower-case words and numbers: DxCode-1, DX_CODE1 and "dx code 1" are
// the same.
func split(header string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
		}
		word = nil
	}
	runes := []rune(header)
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			flush()
			continue
		}
		if i > 0 && len(word) > 0 {
			before := runes[i-1]
			switch {
			case unicode.IsUpper(r) && unicode.IsLower(before),
				unicode.IsUpper(r) && unicode.IsUpper(before) && i+1 < len(runes) && unicode.IsLower(runes[i+1]),
				unicode.IsDigit(r) && unicode.IsLetter(before):
				flush()
			case unicode.IsLetter(r) && unicode.IsDigit(before) && !ordinal(runes[i:]):
				flush()
			}
		}
		word = append(word, r)
	}
	flush()
	return words
}

// ordinal reports whether a text continues like 1ST or 2nd.
func ordinal(r []rune) bool {
	if len(r) < 2 || len(r) > 2 && unicode.IsLetter(r[2]) {
		return false
	}
	return slices.Contains([]string{"st", "nd", "rd", "th"}, strings.ToLower(string(r[:2])))
}

// meaning returns the words that a header means, in order, each once.
func meaning(header string) []string {
	words := split(header)
	var out []string
	add := func(list ...string) {
		for _, w := range list {
			if !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
next:
	for i := 0; i < len(words); {
		for n := min(longestRun, len(words)-i); n > 0; n-- {
			if means, ok := wordMeanings()[strings.Join(words[i:i+n], " ")]; ok {
				add(means...)
				i += n
				continue next
			}
		}
		add(strings.TrimLeft(words[i], "0"))
		i++
	}
	return slices.DeleteFunc(out, func(w string) bool { return w == "" })
}

// phrase is one name of an element.
type phrase struct {
	element cpcds.Element
	words   map[string]bool
	name    string // folded
}

// vocabulary is what is known of the headers of one table.
type vocabulary struct {
	table   cpcds.Table
	exact   map[string]cpcds.Element // folded: canonical names and headers of built-in layouts
	known   []string                 // its headers, sorted
	phrases []phrase
	weights map[string]float64 // by word: how distinctive it is
	rare    float64            // weight of a word that no element has
	words   []string           // all that have a weight, sorted
}

// context are words that nearly every header of a table could have, so they say little.
var context = [cpcds.NumTables][]string{
	cpcds.Members:       {"member", "patient", "subscriber", "coverage"},
	cpcds.Coverages:     {"coverage"},
	cpcds.Providers:     {"provider", "billing", "performing"},
	cpcds.Organizations: {"organization", "provider"},
	cpcds.Claims:        {"claim", "line", "header"},
}

// little is the share of its weight that such a word keeps.
const little = 0.15

// generic words say what form a value has, not what it is about.
var generic = []string{"code", "number", "identifier", "indicator", "name", "text", "amount", "date"}

// vague words are shared by headers that have nothing else in common.
var vague = append([]string{"count", "total", "status", "type", "from", "to", "last", "updated", "other"}, generic...)

// tells reports whether a header and a phrase share a word that says what the column is about. A
// header without "name" is not a name.
func (v *vocabulary) tells(words []string, p *phrase) bool {
	if p.words["name"] && !slices.Contains(words, "name") {
		return false
	}
	return slices.ContainsFunc(words, func(w string) bool {
		return p.words[w] && !slices.Contains(vague, w) && !slices.Contains(context[v.table], w)
	})
}

var vocabularies = sync.OnceValue(func() (out [cpcds.NumTables]*vocabulary) {
	exact := knownHeaders()
	listed := vocabularyTable("vocabulary/headers.csv")
	for t := range cpcds.NumTables {
		v := &vocabulary{table: t, exact: exact[t], weights: map[string]float64{}}
		for _, el := range cpcds.Columns(t) {
			v.add(el, el.Column())
		}
		v.known = slices.Sorted(maps.Keys(v.exact))
		for _, h := range v.known {
			v.add(v.exact[h], h)
		}
		for _, row := range listed {
			if row[0] != t.String() {
				continue
			}
			el, ok := cpcds.Lookup(t, row[1])
			if !ok {
				panic("headers.csv: unknown element " + row[1])
			}
			for h := range strings.SplitSeq(row[2], ";") {
				v.add(el, h)
			}
		}
		v.weigh()
		out[t] = v
	}
	return out
})

func (v *vocabulary) add(el cpcds.Element, header string) {
	p := phrase{element: el, words: map[string]bool{}, name: cpcds.FoldHeader(header)}
	for _, w := range meaning(header) {
		p.words[w] = true
	}
	v.phrases = append(v.phrases, p)
}

// weigh weights each word by its rarity among the elements.
func (v *vocabulary) weigh() {
	elements := map[string]map[cpcds.Element]bool{}
	for _, p := range v.phrases {
		for w := range p.words {
			if elements[w] == nil {
				elements[w] = map[cpcds.Element]bool{}
			}
			elements[w][p.element] = true
		}
	}
	all := float64(len(cpcds.Columns(v.table)))
	for w, els := range elements {
		v.weights[w] = math.Log(1 + all/float64(len(els)))
		if slices.Contains(context[v.table], w) {
			v.weights[w] *= little
		}
		if slices.Contains(generic, w) {
			v.weights[w] *= 0.5
		}
	}
	v.rare = math.Log(1+all) * 0.75
	v.words = slices.Sorted(maps.Keys(v.weights))
}

func (v *vocabulary) weight(word string) float64 {
	if w, ok := v.weights[word]; ok {
		return w
	}
	if slices.Contains(context[v.table], word) {
		return v.rare * little
	}
	return v.rare
}

// read returns the words of a header as the vocabulary has them, with typos corrected.
func (v *vocabulary) read(header string) []string {
	words := meaning(header)
	for i, w := range words {
		if _, ok := v.weights[w]; !ok && len(w) > 5 {
			if near := closest(w, v.words); near != "" {
				words[i] = near
			}
		}
	}
	return words
}

// alike is the similarity of a header's words and a phrase, from 0 to 1: twice the weight of what
// they share over the weight of both.
func (v *vocabulary) alike(words []string, p *phrase) float64 {
	var shared, all float64
	for _, w := range words {
		weight := v.weight(w)
		all += weight
		if p.words[w] {
			shared += weight
		}
	}
	for w := range p.words {
		all += v.weight(w)
	}
	if all == 0 {
		return 0
	}
	return 2 * shared / all
}

// knownHeaders returns, for each table, the canonical names and all aliases of the
// built-in layouts, folded.
func knownHeaders() (out [cpcds.NumTables]map[string]cpcds.Element) {
	for t := range cpcds.NumTables {
		out[t] = map[string]cpcds.Element{}
		for _, l := range builtins() {
			for _, tab := range l.tables[t] {
				if tab.Form == "" { // a header of a form has its meaning only in that form
					tab.known(out[t])
				}
			}
		}
		for _, el := range cpcds.Columns(t) {
			out[t][cpcds.FoldHeader(el.Column())] = el
		}
	}
	return out
}

// known adds the headers whose values are an element unchanged.
func (t *Table) known(out map[string]cpcds.Element) {
	for _, c := range t.columns {
		// The input of an expression holds more than the element.
		if c.origin == fromAll || c.plain.expression != nil {
			continue
		}
		for _, group := range c.headers[:min(1, len(c.headers))] {
			for _, h := range group {
				if _, ok := out[cpcds.FoldHeader(h)]; !ok && t.Reason(h) == "" {
					out[cpcds.FoldHeader(h)] = c.element
				}
			}
		}
	}
}

// closest returns the known text that differs in at most a quarter of the bytes.
func closest(folded string, known []string) string {
	best, found := "", len(folded)/4+1
	for _, k := range known {
		if d := distance(folded, k, found); d < found {
			best, found = k, d
		}
	}
	return best
}
