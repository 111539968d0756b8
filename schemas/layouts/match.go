package layouts

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Match says how well a table of a layout fits the columns of a file.
type Match struct {
	Fits     bool            // all required elements and one of the key are bound, and nothing is refused
	Bound    int             // elements that have a column
	Missing  []cpcds.Element // required elements without a column
	Unknown  []string        // headers that are neither bound nor ignored
	NameHint bool            // the file's name matches the table
	Table    *Table          // the table, in the form that fits best; nil if the layout has none
	Refused  string          // why the layout refuses the file, "" if it does not

	columns int
	faults  []string
}

// Match compares a table, in the form that fits best, with the columns of a file. It
// is the zero Match if the layout has no such table. file may be "".
func (l *Layout) Match(t cpcds.Table, file string, fields []cpcds.Field) Match {
	_, m := l.best(t, file, fields)
	return m
}

// best finds the form of a table that fits a file best, nil if there is no such table. Forms that
// are read from another table's files count only if there are no others.
func (l *Layout) best(t cpcds.Table, file string, fields []cpcds.Field) (tab *Table, best Match) {
	for _, own := range []bool{true, false} {
		for _, f := range l.tables[t] {
			if own != (f.RowsOf == nil) {
				continue
			}
			if m := f.Match(file, fields); tab == nil || m.better(best) {
				tab, best = f, m
			}
		}
		if tab != nil {
			return tab, best
		}
	}
	return nil, Match{}
}

// Match compares the table with the columns of a file. file may be "".
func (t *Table) Match(file string, fields []cpcds.Field) Match {
	m := Match{columns: len(fields), NameHint: t.hint(file), Table: t}
	h := newHeaders(fields)
	used := map[int]bool{}
	m.faults = t.without(h)
	keyed := len(t.Key) == 0
	has := map[cpcds.Element]bool{}
	for _, c := range t.columns {
		bound := c.origin == fromConst && slices.Contains(t.Required, c.element)
		for _, cols := range h.columns(c, &m.faults) {
			bound = true
			for _, i := range cols.fields {
				used[i] = true
			}
		}
		if c.lenient != nil {
			if i, ok := h.find(c.element, c.lenient.headers, &m.faults); ok {
				used[i] = true
			}
		}
		if bound && !has[c.element] {
			has[c.element] = true
			m.Bound++
			keyed = keyed || c.origin != fromConst && slices.Contains(t.Key, c.element)
		}
	}
	slices.Sort(m.faults)
	m.faults = slices.Compact(m.faults)
	for _, el := range t.Required {
		if !has[el] {
			m.Missing = append(m.Missing, el)
		}
	}
	for i, f := range fields {
		folded := cpcds.FoldHeader(f.Name)
		if reason := t.refused[folded]; reason != "" && m.Refused == "" {
			m.Refused = fmt.Sprintf("%q: %s", f.Name, reason)
		}
		if !used[i] && t.Reason(f.Name) == "" && !t.Lends(f.Name) {
			m.Unknown = append(m.Unknown, f.Name)
		}
	}
	m.Fits = keyed && len(m.Missing) == 0 && m.Refused == "" && len(m.faults) == 0
	return m
}

// without lists the headers that the table requires and the file lacks.
func (t *Table) without(h *headers) (faults []string) {
	for _, x := range t.Headers {
		if h.names[cpcds.FoldHeader(x)] == nil {
			faults = append(faults, fmt.Sprintf("no column %q", x))
		}
	}
	return faults
}

// hint reports whether the name of the file or its folder matches a pattern of the table. Partition
// folders, key=value, do not count: the one above them does.
func (t *Table) hint(file string) bool {
	file = strings.ToLower(filepath.ToSlash(file))
	dir := path.Dir(file)
	for strings.IndexByte(path.Base(dir), '=') > 0 {
		dir = path.Dir(dir)
	}
	for _, p := range t.Files {
		for _, name := range []string{path.Base(file), path.Base(dir)} {
			if ok, _ := path.Match(p, name); ok {
				return true
			}
		}
	}
	return false
}

// better reports whether m fits a file better than o. Fitting comes first, then fewer unknown
// headers, more bound ones and the file's name. Between forms of one table the name comes before
// headers, because it may be the only difference.
func (m Match) better(o Match) bool {
	switch {
	case m.Fits != o.Fits:
		return m.Fits
	case m.formOf(o) && m.NameHint != o.NameHint:
		return m.NameHint
	case len(m.Unknown) != len(o.Unknown):
		return len(m.Unknown) < len(o.Unknown)
	case m.Bound != o.Bound:
		return m.Bound > o.Bound
	}
	return m.NameHint && !o.NameHint
}

// formOf reports whether both are fitting forms of one table.
func (m Match) formOf(o Match) bool {
	return m.Fits && o.Fits && m.Table != nil && o.Table != nil && m.Table.Table == o.Table.Table
}

// known reports whether the table knows at least two thirds of the headers. A few common names do
// not make a file one of the layout's.
func (m Match) known() bool { return 3*len(m.Unknown) <= m.columns }

// why says why a file does not fit.
func (m Match) why() string {
	var parts []string
	if m.Refused != "" {
		return "refused because of the column " + m.Refused
	}
	if len(m.Missing) > 0 {
		names := make([]string, len(m.Missing))
		for i, e := range m.Missing {
			names[i] = e.Column()
		}
		parts = append(parts, "no column for "+strings.Join(names, ", "))
	}
	parts = append(parts, m.faults...)
	if !m.Fits && len(parts) == 0 {
		parts = append(parts, "no column of the key")
	}
	if !m.known() {
		parts = append(parts, fmt.Sprintf("%d of %d columns are unknown", len(m.Unknown), m.columns))
	}
	return strings.Join(parts, "; ")
}
