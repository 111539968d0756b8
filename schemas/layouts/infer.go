package layouts

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Sample is a file for which a layout is wanted: its columns, and some values of
// each, in the order of the columns.
type Sample struct {
	Path   string
	Fields []cpcds.Field
	Values [][]string // may be shorter than Fields
}

// Infer proposes a layout for one or more files that no layout fits. It goes by headers first
// and by values where headers leave something open. The YAML passes Check, its
// comments say what was guessed, and it holds no value but well-known sentinels.
func Infer(name string, samples []Sample) []byte {
	words := knownHeaders()
	drafts := map[cpcds.Table]*draft{}
	for _, s := range samples {
		t := guessTable(s, words)
		if drafts[t] == nil {
			drafts[t] = &draft{table: t, names: map[string]bool{}, bound: map[cpcds.Element]*proposal{}}
		}
		drafts[t].add(s, words[t])
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Proposed from the headers and some values. Read it line by line: what is marked\n# \"guess\" is one. Then run \"layout check\" on it.\n")
	fmt.Fprintf(&b, "layout: %s\nabout: proposed from %d files\n", layoutNameOf(name), len(samples))
	nulls := map[string]bool{}
	for _, d := range drafts {
		maps.Copy(nulls, d.nulls())
	}
	if len(nulls) > 0 {
		fmt.Fprintf(&b, "# Texts that were seen where nothing seems to be meant.\nnull: [%s]\n", quoteAll(slices.Sorted(maps.Keys(nulls))))
	}
	b.WriteString("tables:\n")
	for _, t := range slices.Sorted(maps.Keys(drafts)) {
		drafts[t].write(&b)
	}
	return []byte(b.String())
}

// wordList holds the folded headers that are known to mean an element of a table.
type wordList map[string]cpcds.Element

// knownHeaders returns, for each table, the canonical names and all aliases of the
// built-in layouts, folded.
func knownHeaders() (out [cpcds.NumTables]wordList) {
	for t := range cpcds.NumTables {
		out[t] = wordList{}
		for _, l := range builtins() {
			tab := l.tables[t]
			if tab == nil {
				continue
			}
			for _, c := range tab.columns {
				// What an expression takes apart is more than the element.
				if c.origin == fromAll || c.plain.expression != nil {
					continue
				}
				for _, group := range c.headers[:min(1, len(c.headers))] {
					for _, h := range group {
						if _, ok := out[t][fold(h)]; !ok && tab.Reason(h) == "" {
							out[t][fold(h)] = c.element
						}
					}
				}
			}
		}
		for _, el := range cpcds.Columns(t) {
			out[t][fold(el.Column())] = el
		}
	}
	return out
}

// guessTable picks the table of which most headers are known; between equals the
// one that the file is named after.
func guessTable(s Sample, words [cpcds.NumTables]wordList) cpcds.Table {
	best, most := cpcds.Claims, -1
	file := strings.ToLower(filepath.Base(s.Path))
	for t := range cpcds.NumTables {
		n := 0
		for _, f := range s.Fields {
			if _, ok := words[t][fold(f.Name)]; ok {
				n += 2
			}
		}
		if strings.Contains(file, strings.TrimSuffix(t.String(), "s")) {
			n += 3
		}
		if n > most {
			best, most = t, n
		}
	}
	return best
}

// draft is a table in the making.
type draft struct {
	table   cpcds.Table
	files   []string
	names   map[string]bool // folded headers that are dealt with
	bound   map[cpcds.Element]*proposal
	ignored []string
}

// proposal is one column in the making.
type proposal struct {
	header string
	guess  string // why it is a guess, "" if the header is known
	values []string
}

func (d *draft) add(s Sample, words wordList) {
	d.files = append(d.files, filepath.Base(s.Path))
	known := slices.Sorted(maps.Keys(words))
	values := func(i int) []string {
		if i < len(s.Values) {
			return s.Values[i]
		}
		return nil
	}
	var open []int
	for i, f := range s.Fields {
		folded := fold(f.Name)
		if d.names[folded] {
			continue
		}
		el, ok := words[folded]
		if _, taken := d.bound[el]; !ok || taken {
			open = append(open, i)
			continue
		}
		d.names[folded] = true
		d.bound[el] = &proposal{header: f.Name, values: values(i)}
	}
	// Known headers have gone first, so that a guess cannot take their elements.
	for _, i := range open {
		f := s.Fields[i]
		d.names[fold(f.Name)] = true
		like := closest(fold(f.Name), known)
		el, ok := words[like]
		if _, taken := d.bound[el]; !ok || taken {
			d.ignored = append(d.ignored, f.Name)
			continue
		}
		d.bound[el] = &proposal{header: f.Name, guess: "the header is like " + el.Column(), values: values(i)}
	}
}

// closest returns the known header that differs in at most a quarter of the bytes.
func closest(folded string, known []string) string {
	best, found := "", len(folded)/4+1
	for _, k := range known {
		if d := distance(folded, k, found); d < found {
			best, found = k, d
		}
	}
	return best
}

func (d *draft) nulls() map[string]bool {
	out := map[string]bool{}
	for _, p := range d.bound {
		for _, v := range p.values {
			if v = strings.TrimSpace(v); slices.Contains(anySentinels, v) {
				out[v] = true
			}
		}
	}
	return out
}

// tableKeys are the elements that tell the records of a table apart.
var tableKeys = [cpcds.NumTables][]cpcds.Element{
	cpcds.Members:       {cpcds.MembersMemberID},
	cpcds.Coverages:     {cpcds.CoveragesCoverageID},
	cpcds.Providers:     {cpcds.ProvidersProviderID, cpcds.ProvidersProviderNPI},
	cpcds.Organizations: {cpcds.OrganizationsOrganizationID, cpcds.OrganizationsOrganizationNPI, cpcds.OrganizationsOrganizationPayerIdentifier},
	cpcds.Claims:        {cpcds.ClaimUniqueIdentifier},
}

func (d *draft) write(b *strings.Builder) {
	fmt.Fprintf(b, "  %s:\n    files: [%s]\n", d.table, quoteAll(d.files))
	var key []cpcds.Element
	for _, el := range tableKeys[d.table] {
		if d.bound[el] != nil {
			key = append(key, el)
		}
	}
	if len(key) > 0 {
		fmt.Fprintf(b, "    key: [%s]\n", names(key))
	} else {
		fmt.Fprintf(b, "    # No column looks like the key (%s): bind one and name it under key.\n", names(tableKeys[d.table]))
	}
	if d.table == cpcds.Claims && d.bound[cpcds.LineNumber] == nil {
		b.WriteString("    # No column looks like line_number: say under line_when which rows are service lines.\n")
	}
	b.WriteString("    columns:\n")
	for _, el := range slices.Sorted(maps.Keys(d.bound)) {
		d.bound[el].write(b, el)
	}
	if len(d.bound) == 0 {
		el := tableKeys[d.table][0]
		fmt.Fprintf(b, "      %s: %s # guess: nothing looks like any element\n", el, strconv.Quote(el.Column()))
	}
	if len(d.ignored) > 0 {
		b.WriteString("    # Bind these or say why they are not needed.\n    ignore:\n")
		for _, h := range d.ignored {
			fmt.Fprintf(b, "      %s: not bound yet, no element looks like it\n", strconv.Quote(h))
		}
	}
}

// write writes one column with what its values tell.
func (p *proposal) write(b *strings.Builder, el cpcds.Element) {
	options, notes := inferForm(el, p.values)
	if p.guess != "" {
		notes = append([]string{"guess: " + p.guess}, notes...)
	}
	fmt.Fprintf(b, "      %s: ", el)
	if len(options) == 0 {
		b.WriteString(strconv.Quote(p.header))
	} else {
		fmt.Fprintf(b, "{from: [%s], %s}", strconv.Quote(p.header), strings.Join(options, ", "))
	}
	if len(notes) > 0 {
		b.WriteString(" # " + strings.Join(notes, "; "))
	}
	b.WriteByte('\n')
}

func quoteAll(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// layoutNameOf makes a valid name of a layout.
func layoutNameOf(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	s := strings.Join(words, "-")
	if !layoutName.MatchString(s) {
		return strings.TrimSuffix("layout-"+s, "-")
	}
	return s
}
