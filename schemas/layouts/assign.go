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

// File is an input file: its path and columns.
type File struct {
	Path   string
	Fields []cpcds.Field
}

// Placement is how a layout reads a file.
type Placement struct {
	Tables  []*Table // the tables of its rows; the first is the file's own table
	LeftOut string   // why it is left out, "" if it is not
}

// Recognition is the one layout that fits a set of files.
type Recognition struct {
	Layout *Layout
	Files  []Placement
	Why    string // the reason, for the user
}

// Assign finds the tables of each file. The error names every file that fits none, with what the
// closest table lacks in it.
func (l *Layout) Assign(files []File) ([]Placement, error) {
	a := l.assign(files, false)
	if why := a.problem(l); why != "" {
		return nil, errors.New(why)
	}
	return a.files, nil
}

// assignment is how a layout reads a set of files.
type assignment struct {
	files   []Placement
	fits    int      // files that fit their table
	bound   int      // elements that have a column, over all files
	unknown int      // headers that are unknown, over all files
	faults  []string // of the files that do not fit
	foreign []string // those of them that have nothing to do with the layout
}

// assign finds the table of each file. strict rejects files whose headers are mostly unknown.
func (l *Layout) assign(files []File, strict bool) assignment {
	var a assignment
	for _, f := range files {
		m, fault := l.choose(f, strict)
		if reason := l.leavesOut(f.Path); fault != "" && reason != "" {
			a.files = append(a.files, Placement{LeftOut: reason})
			continue
		}
		x := Placement{Tables: []*Table{m.Table}}
		if fault == "" {
			x.Tables, fault = l.withRowsOf(m.Table, f)
		}
		a.files = append(a.files, x)
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

// choose finds the table of a file, and says why the file does not fit it.
func (l *Layout) choose(f File, strict bool) (best Match, fault string) {
	top, equal := Match{}, Match{}
	for _, t := range l.all() {
		if t.RowsOf != nil {
			continue
		}
		m := t.Match(f.Path, f.Fields)
		switch {
		case best.Table == nil || m.better(best):
			best = m
		case m.formOf(best) && !best.better(m):
			equal = m
		}
		if m.Bound > top.Bound {
			top = m
		}
	}
	switch {
	case !top.Fits && top.Bound > best.Bound && top.known() && (!best.Fits || len(top.Unknown) < len(best.Unknown)):
		// A typo in a required header must not turn the file into another table.
		return top, fmt.Sprintf("%s looks like table %s, but %s", f.Path, top.Table, top.lacks(f.Fields))
	case !best.Fits || strict && !best.known():
		return best, fmt.Sprintf("%s fits no table; the closest is %s: %s", f.Path, best.Table, best.lacks(f.Fields))
	case equal.formOf(best) && !best.better(equal):
		return best, fmt.Sprintf("%s fits %s and %s equally well; give the file a name that matches one of them", f.Path, best.Table, equal.Table)
	}
	return best, ""
}

// leavesOut returns why a file that fits no table is left out, "" if it is not.
func (l *Layout) leavesOut(file string) string {
	name := strings.ToLower(path.Base(filepath.ToSlash(file)))
	for _, x := range l.leftOut {
		if ok, _ := path.Match(x.pattern, name); ok {
			return x.reason
		}
	}
	return ""
}

// withRowsOf returns the table of a file and the tables that are also read from its files. If a
// form of a table matches the file's name, forms that match only other names are left out.
func (l *Layout) withRowsOf(own *Table, f File) (tables []*Table, fault string) {
	tables = []*Table{own}
	for _, t := range l.all() {
		if !slices.Contains(t.RowsOf, own.Table) || len(t.Files) > 0 && !t.hint(f.Path) && l.wanted(t.Table, f.Path) {
			continue
		}
		if m := t.Match(f.Path, f.Fields); !m.Fits {
			return tables, fmt.Sprintf("%s cannot be read as table %s: %s", f.Path, t, m.lacks(f.Fields))
		}
		tables = append(tables, t)
	}
	return tables, ""
}

// wanted reports whether a form of a table that is read from the files of others matches a file's
// name.
func (l *Layout) wanted(t cpcds.Table, file string) bool {
	return slices.ContainsFunc(l.tables[t], func(f *Table) bool { return f.RowsOf != nil && f.hint(file) })
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

// lacks says why a table does not fit, with the closest header for what is missing.
func (m Match) lacks(fields []cpcds.Field) string {
	if m.Refused != "" {
		return m.why()
	}
	parts := []string{m.lacking(fields)}
	for _, u := range unreadable(fields) {
		if !strings.Contains(parts[0], u) {
			parts = append(parts, u)
		}
	}
	return strings.Join(parts, "; ")
}

// unreadable names columns that cannot become text: one of them may be the missing one.
func unreadable(fields []cpcds.Field) (out []string) {
	const few = 3
	for _, f := range fields {
		if f.Fault != "" && len(out) < few {
			out = append(out, fmt.Sprintf("the column %q %s", f.Name, f.Fault))
		}
	}
	return out
}

func (m Match) lacking(fields []cpcds.Field) string {
	if len(m.Missing) == 0 {
		return m.why()
	}
	var parts []string
	for _, e := range m.Missing {
		parts = append(parts, m.Table.missing(e, fields))
	}
	return strings.Join(append(parts, m.faults...), "; ")
}

// Nearest returns the table's header that is closest to an unknown one, "" if none is close.
func (t *Table) Nearest(header string) string {
	var known []string
	for _, c := range t.columns {
		for _, group := range c.headers {
			known = append(known, group...)
		}
	}
	return Nearest(header, known)
}

// refuses returns why the layout refuses one of the files, "" if it does not. If it does, the files
// are of its family, and no other layout should be tried.
func (l *Layout) refuses(files []File) string {
	for _, f := range files {
		for _, t := range l.all() {
			if m := t.Match(f.Path, f.Fields); m.Refused != "" && m.known() {
				return fmt.Sprintf("layout %s: %s: refused because of the column %s", l.Name, f.Path, m.Refused)
			}
		}
	}
	return ""
}

// Recognise picks the layout that fits all files: the one that leaves the fewest headers unknown.
// It is an error if none fits, with what is missing for the closest one, or if two fit equally
// well.
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
		case !slices.ContainsFunc(a.files, func(p Placement) bool { return p.LeftOut == "" }):
			misfits[l] = a // it would leave out all of them
		case best == nil || a.unknown < fewest:
			best, fewest, equal = &Recognition{Layout: l, Files: a.files}, a.unknown, []string{l.Name}
		case a.unknown == fewest:
			equal = append(equal, l.Name)
		}
	}
	if best == nil {
		return nil, fmt.Errorf("recognise layout: no layout fits\n%s", nearestMisfit(ls, misfits, len(files)))
	}
	if len(equal) > 1 {
		return nil, fmt.Errorf("recognise layout: %s fit equally well; choose one with --layout", strings.Join(equal, " and "))
	}
	n, read := 0, 0
	for i, f := range files {
		if best.Files[i].LeftOut == "" {
			n += len(f.Fields)
			read++
		}
	}
	best.Why = fmt.Sprintf("knows %d of the %d columns of %s", n-fewest, n, count(read, "file"))
	return best, nil
}

// nearestMisfit says what is wrong with the closest layout, and only counts the fitting files for
// the others.
func nearestMisfit(ls []*Layout, misfits map[*Layout]assignment, files int) string {
	order := slices.Clone(ls)
	slices.SortStableFunc(order, func(x, y *Layout) int {
		a, b := misfits[x], misfits[y]
		return cmp.Or(cmp.Compare(b.fits, a.fits), cmp.Compare(b.bound, a.bound), cmp.Compare(a.unknown, b.unknown))
	})
	a := misfits[order[0]]
	lines := []string{a.problem(order[0])}
	for _, l := range order[1:] {
		lines = append(lines, fmt.Sprintf("layout %s is a worse match: it fits %d of %s", l.Name, misfits[l].fits, count(files, "file")))
	}
	return strings.Join(lines, "\n")
}
