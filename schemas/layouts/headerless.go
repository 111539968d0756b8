package layouts

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// headerless reports whether the column names are probably the values of a row: they look like it,
// and the table knows none of them. Messages must not repeat them.
func (t *Table) headerless(fields []cpcds.Field) bool {
	if !cpcds.Doubtful(fields) {
		return false
	}
	h := newHeaders(fields)
	for _, c := range t.columns {
		for _, group := range c.headers {
			for _, alias := range group {
				if h.names[cpcds.FoldHeader(alias)] != nil {
					return false
				}
			}
		}
	}
	for _, f := range fields {
		if t.Reason(f.Name) != "" || t.refused[cpcds.FoldHeader(f.Name)] != "" || t.Lends(f.Name) {
			return false
		}
	}
	return true
}

// Headerless reports whether the column names are probably the values of a row, as far as can be
// told without their layout: they look like it, and no built-in layout knows any of them.
func Headerless(fields []cpcds.Field) bool {
	if !cpcds.Doubtful(fields) {
		return false
	}
	for _, l := range builtins() {
		for _, t := range l.all() {
			if !t.headerless(fields) {
				return false
			}
		}
	}
	return true
}

// KnowsHeader reports whether the column names are surely a header. At least two and at least a
// third of them must be known or similar to a known one, as a header of a built-in layout or of the
// element it seems to be; one is enough if nearly all are several words joined by underscores.
// There may be no duplicates, and no unknown name may begin with a digit. Any other names might be
// the values of a row: a value may be a word that is a column name elsewhere.
func KnowsHeader(fields []cpcds.Field) bool {
	cols := columnsOfSample(Sample{Fields: fields, Values: make([][]string, len(fields))})
	known := make([]bool, len(fields))
	for _, v := range vocabularies() {
		for _, p := range guess(v, cols).bound {
			if p.exact || p.score >= enough {
				for _, c := range p.columns {
					known[c] = true
				}
			}
		}
	}
	count, joined, seen := 0, 0, map[string]bool{}
	for i, f := range fields {
		name := strings.TrimSpace(f.Name)
		if known[i] {
			count++
		}
		if strings.Contains(strings.Trim(name, "_"), "_") && !strings.Contains(name, " ") {
			joined++
		}
		if seen[f.Group+"\x1f"+name] || !known[i] && name != "" && name[0] >= '0' && name[0] <= '9' {
			return false
		}
		seen[f.Group+"\x1f"+name] = true
	}
	return 3*count >= len(fields) && count >= min(2, len(fields)) || count > 0 && 10*joined >= 8*len(fields)
}
