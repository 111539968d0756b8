package layouts

import (
	"fmt"
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// Fit says how a layout reads the columns of a set of files.
type Fit struct {
	Files  []FileFit
	Absent []AbsentColumn // columns of the layout that no file has
}

// FileFit says how the columns of one file are read.
type FileFit struct {
	Path    string
	Table   cpcds.Table
	Form    string // of the table, "" if it has none
	LeftOut string // why the layout leaves the file out, "" if it does not
	Fault   string // why the file cannot be loaded, "" if it can
	Columns int
	Bound   []BoundColumn
	Missing []AbsentColumn  // required elements without a column
	Ignored []string        // headers that the layout ignores on purpose
	Unknown []UnknownHeader // headers that are not read
}

// BoundColumn is an element with the headers that it is read from.
type BoundColumn struct {
	Table   cpcds.Table
	Element cpcds.Element
	Headers []string
}

// AbsentColumn is an element with the headers that it could be read from.
type AbsentColumn struct {
	Table   cpcds.Table
	Element cpcds.Element
	Headers []string
}

// UnknownHeader is a header that a layout does not know, with the closest one among those that the
// file lacks.
type UnknownHeader struct {
	Header  string
	Nearest string        // the layout's closest header, "" if none is close
	Element cpcds.Element // the element of Nearest, or that the header seems to be
	Likely  bool          // there is such an element
}

// Fits reports whether all files can be loaded.
func (f *Fit) Fits() bool {
	return !slices.ContainsFunc(f.Files, func(x FileFit) bool { return x.Fault != "" })
}

// Fit compares the layout with the columns of files.
func (l *Layout) Fit(files []File) *Fit {
	out := &Fit{}
	var have [cpcds.NumTables]map[string]bool // folded headers of the files of a table
	used := map[*Table]bool{}
	for _, f := range files {
		x, tables := l.fitFile(f)
		for _, t := range tables {
			used[t] = true
			if have[t.Table] == nil {
				have[t.Table] = map[string]bool{}
			}
			for _, field := range f.Fields {
				have[t.Table][cpcds.FoldHeader(field.Name)] = true
			}
		}
		out.Files = append(out.Files, x)
	}
	for _, tab := range l.all() {
		if !used[tab] {
			continue
		}
		for _, c := range tab.columns {
			for _, group := range c.headers {
				if !slices.ContainsFunc(group, func(h string) bool { return have[tab.Table][cpcds.FoldHeader(h)] }) {
					out.Absent = append(out.Absent, AbsentColumn{tab.Table, c.element, group})
				}
			}
		}
	}
	return out
}

func (l *Layout) fitFile(f File) (FileFit, []*Table) {
	m, fault := l.choose(f, false)
	tab := m.Table
	table := tab.Table
	tables := []*Table{tab}
	x := FileFit{Path: f.Path, Table: table, Form: tab.Form, Columns: len(f.Fields)}
	if reason := l.leavesOut(f.Path); fault != "" && reason != "" {
		x.LeftOut = reason
		return x, nil
	}
	if fault == "" {
		tables, fault = l.withRowsOf(tab, f)
	}
	x.Fault = fault
	h := newHeaders(f.Fields)
	var faults []string // Match already has them
	var free []string   // headers of the layout that the file does not have
	for _, c := range tab.columns {
		for _, group := range c.headers {
			if _, ok := h.find(c.element, group, &faults); !ok {
				free = append(free, group...)
			}
		}
		var headers []string
		for _, b := range h.columns(c, &faults) {
			for _, i := range b.fields {
				headers = append(headers, f.Fields[i].Name)
			}
		}
		if headers != nil {
			x.Bound = append(x.Bound, BoundColumn{table, c.element, headers})
		}
	}
	for _, t := range tables[1:] {
		for _, c := range t.columns {
			for _, b := range h.columns(c, &faults) {
				for _, i := range b.fields {
					x.Bound = append(x.Bound, BoundColumn{t.Table, c.element, []string{f.Fields[i].Name}})
				}
			}
		}
	}
	for _, el := range m.Missing {
		x.Missing = append(x.Missing, AbsentColumn{table, el, slices.Concat(tab.column(el).headers...)})
	}
	for _, field := range f.Fields {
		if tab.Reason(field.Name) != "" {
			x.Ignored = append(x.Ignored, field.Name)
		}
	}
	if tab.headerless(f.Fields) {
		for i := range f.Fields {
			x.Unknown = append(x.Unknown, UnknownHeader{Header: fmt.Sprintf("column %d", i+1)})
		}
		return x, tables
	}
	guesses := l.guessUnknown(table, m.Unknown)
	for _, header := range m.Unknown {
		u := UnknownHeader{Header: header, Nearest: Nearest(header, free)}
		if c := tab.of(u.Nearest); c != nil {
			u.Element, u.Likely = c.element, true
		} else if el, ok := guesses[header]; ok {
			u.Element, u.Likely = el, true
		}
		x.Unknown = append(x.Unknown, u)
	}
	return x, tables
}

// guessUnknown guesses the elements of headers from their words.
func (l *Layout) guessUnknown(t cpcds.Table, unknown []string) map[string]cpcds.Element {
	cols := make([]seen, len(unknown))
	for i, h := range unknown {
		cols[i] = seen{header: h}
	}
	out := map[string]cpcds.Element{}
	for el, p := range guess(vocabularies()[t], cols).bound {
		for _, i := range p.columns {
			out[unknown[i]] = el
		}
	}
	return out
}

// of returns the column that is read from a header, nil if there is none.
func (t *Table) of(header string) *column {
	if header == "" {
		return nil
	}
	for _, c := range t.columns {
		if slices.Contains(slices.Concat(c.headers...), header) {
			return c
		}
	}
	return nil
}
