package layouts

import (
	"cmp"
	"errors"
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
	NameHint bool            // the name of the file speaks for the table
	Refused  string          // why the layout refuses the file, "" if it does not

	columns int
	faults  []string
}

// Match compares a table with the columns of a file. It is the zero Match if the
// layout has no such table. file may be "".
func (l *Layout) Match(t cpcds.Table, file string, fields []cpcds.Field) Match {
	tab := l.tables[t]
	if tab == nil {
		return Match{}
	}
	m := Match{columns: len(fields), NameHint: tab.hint(file)}
	h := newHeaders(fields)
	used := map[int]bool{}
	keyed := len(tab.Key) == 0
	for _, c := range tab.columns {
		bound := false
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
		switch {
		case bound:
			m.Bound++
			keyed = keyed || slices.Contains(tab.Key, c.element)
		case slices.Contains(tab.Required, c.element):
			m.Missing = append(m.Missing, c.element)
		}
	}
	for i, f := range fields {
		folded := fold(f.Name)
		if reason := tab.refused[folded]; reason != "" && m.Refused == "" {
			m.Refused = fmt.Sprintf("%q: %s", f.Name, reason)
		}
		if !used[i] && tab.Reason(f.Name) == "" {
			m.Unknown = append(m.Unknown, f.Name)
		}
	}
	m.Fits = keyed && len(m.Missing) == 0 && m.Refused == "" && len(m.faults) == 0
	return m
}

// hint reports whether the file's own name, or that of its folder, has a pattern
// of the table.
func (t *Table) hint(file string) bool {
	file = strings.ToLower(filepath.ToSlash(file))
	for _, p := range t.Files {
		for _, name := range []string{path.Base(file), path.Base(path.Dir(file))} {
			if ok, _ := path.Match(p, name); ok {
				return true
			}
		}
	}
	return false
}

// better reports whether m fits a file better than o does. Fitting comes first,
// then few unknown headers, many bound ones and the name of the file.
func (m Match) better(o Match) bool {
	switch {
	case m.Fits != o.Fits:
		return m.Fits
	case len(m.Unknown) != len(o.Unknown):
		return len(m.Unknown) < len(o.Unknown)
	case m.Bound != o.Bound:
		return m.Bound > o.Bound
	}
	return m.NameHint && !o.NameHint
}

// known reports whether most headers mean something to the table: at least two of
// three. A few equal names do not make a file one of the layout's.
func (m Match) known() bool { return 3*len(m.Unknown) <= m.columns }

// why says in words why a file does not fit.
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

// File is an input file by its path and columns.
type File struct {
	Path   string
	Fields []cpcds.Field
}

// Recognition is the one layout that fits a set of files.
type Recognition struct {
	Layout *Layout
	Tables []cpcds.Table // the table of each file
	Why    string        // for people: what spoke for it
}

// Assign finds the table of each file. The error names every file that fits none,
// with what is missing from the table that comes nearest.
func (l *Layout) Assign(files []File) ([]cpcds.Table, error) {
	a := l.assign(files, false)
	if why := a.problem(l); why != "" {
		return nil, errors.New(why)
	}
	return a.tables, nil
}

// assignment is what a layout makes of a set of files.
type assignment struct {
	tables  []cpcds.Table
	fits    int      // files that fit their table
	bound   int      // elements that have a column, over all files
	unknown int      // headers that are unknown, over all files
	faults  []string // of the files that do not fit
	foreign []string // those of them that have nothing to do with the layout
}

// assign finds the table of each file. strict refuses files of which most headers are
// unknown.
func (l *Layout) assign(files []File, strict bool) assignment {
	var a assignment
	for _, f := range files {
		table, m, fault := l.choose(f, strict)
		a.tables = append(a.tables, table)
		a.unknown += len(m.Unknown)
		a.bound += m.Bound
		if fault == "" {
			a.fits++
			continue
		}
		a.faults = append(a.faults, fault)
		if !m.known() && m.Refused == "" {
			a.foreign = append(a.foreign, f.Path)
		}
	}
	return a
}

// choose finds the table of a file, and says what keeps the file from fitting it.
func (l *Layout) choose(f File, strict bool) (table cpcds.Table, best Match, fault string) {
	table, found := cpcds.Claims, false
	top, topTable := Match{}, cpcds.Claims
	for t := range cpcds.NumTables {
		if l.tables[t] == nil {
			continue
		}
		m := l.Match(t, f.Path, f.Fields)
		if !found || m.better(best) {
			best, table, found = m, t, true
		}
		if m.Bound > top.Bound {
			top, topTable = m, t
		}
	}
	switch {
	case !top.Fits && top.Bound > best.Bound && top.known():
		// A typo in a required header must not make another table of the file.
		return topTable, top, fmt.Sprintf("%s looks like table %s, but %s", f.Path, topTable, l.lacks(topTable, top, f.Fields))
	case !best.Fits || strict && !best.known():
		return table, best, fmt.Sprintf("%s fits no table; as %s: %s", f.Path, table, l.lacks(table, best, f.Fields))
	}
	return table, best, ""
}

// problem says what is wrong with the files that do not fit, "" if all do.
func (a *assignment) problem(l *Layout) string {
	if a.faults == nil {
		return ""
	}
	s := fmt.Sprintf("layout %s: %s", l.Name, strings.Join(a.faults, "\n  "))
	if a.foreign != nil && a.fits >= len(a.faults) {
		it := "it"
		if len(a.foreign) > 1 {
			it = "them"
		}
		s += fmt.Sprintf("\n%s: to leave %s out, name the other files instead of the folder", strings.Join(a.foreign, ", "), it)
	}
	return s
}

// lacks says why a table does not fit, with the nearest header for what is missing.
func (l *Layout) lacks(t cpcds.Table, m Match, fields []cpcds.Field) string {
	if m.Refused != "" || len(m.Missing) == 0 {
		return m.why()
	}
	var parts []string
	for _, e := range m.Missing {
		parts = append(parts, missing(l.tables[t].column(e), fields))
	}
	return strings.Join(append(parts, m.faults...), "; ")
}

// Nearest returns the header that the table knows and that comes nearest to an
// unknown one, "" if none is near.
func (t *Table) Nearest(header string) string {
	var known []string
	for _, c := range t.columns {
		for _, group := range c.headers {
			known = append(known, group...)
		}
	}
	return nearest(header, known)
}

// refuses returns why the layout refuses one of the files, "" if it does not: then
// the files are of its family, and no other layout should have them.
func (l *Layout) refuses(files []File) string {
	for _, f := range files {
		for t := range cpcds.NumTables {
			if m := l.Match(t, f.Path, f.Fields); m.Refused != "" && m.known() {
				return fmt.Sprintf("layout %s: %s: refused because of the column %s", l.Name, f.Path, m.Refused)
			}
		}
	}
	return ""
}

// Recognise picks the layout that fits all files: the one that leaves the fewest
// headers unknown. It is an error if none fits, with what is missing from the one that
// comes nearest, or if two fit equally well.
func Recognise(ls []*Layout, files []File) (*Recognition, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("recognise layout: no files")
	}
	var best *Recognition
	var fewest int
	var equal []string
	misfits := map[*Layout]assignment{}
	for _, l := range ls {
		if why := l.refuses(files); why != "" {
			return nil, fmt.Errorf("recognise layout: %s", why)
		}
		a := l.assign(files, true)
		if a.faults != nil {
			misfits[l] = a
			continue
		}
		switch {
		case best == nil || a.unknown < fewest:
			best, fewest, equal = &Recognition{Layout: l, Tables: a.tables}, a.unknown, []string{l.Name}
		case a.unknown == fewest:
			equal = append(equal, l.Name)
		}
	}
	if best == nil {
		return nil, fmt.Errorf("recognise layout: no layout fits\n%s", nearestMisfit(ls, misfits, len(files)))
	}
	if len(equal) > 1 {
		return nil, fmt.Errorf("recognise layout: %s fit equally well; say which one", strings.Join(equal, " and "))
	}
	n := 0
	for _, f := range files {
		n += len(f.Fields)
	}
	best.Why = fmt.Sprintf("knows %d of the %d columns of %d files", n-fewest, n, len(files))
	return best, nil
}

// nearestMisfit says what is wrong with the layout that comes nearest, and of the
// others no more than that they do not.
func nearestMisfit(ls []*Layout, misfits map[*Layout]assignment, files int) string {
	order := slices.Clone(ls)
	slices.SortStableFunc(order, func(x, y *Layout) int {
		a, b := misfits[x], misfits[y]
		return cmp.Or(cmp.Compare(b.fits, a.fits), cmp.Compare(b.bound, a.bound), cmp.Compare(a.unknown, b.unknown))
	})
	a := misfits[order[0]]
	lines := []string{a.problem(order[0])}
	for _, l := range order[1:] {
		lines = append(lines, fmt.Sprintf("layout %s is further away: %d of %d files fit it", l.Name, misfits[l].fits, files))
	}
	return strings.Join(lines, "\n")
}
