package main

import (
	"fmt"
	"slices"

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// unreadColumn is a column that is not read, with the number of files that have it and the first of
// them.
type unreadColumn struct {
	table  *layouts.Table
	field  cpcds.Field
	first  string
	last   string // the file counted last: a file may have two columns of the name
	files  int
	reason string // the layout's reason, "" if it does not know the column
}

// note adds the columns of a file that are not read, each once for all files of a table: those that
// the layout does not know, and ignored ones that could not be read.
func (x *extract) note(path string, t *layouts.Table, fields []cpcds.Field) {
	unknown := t.Match(path, fields).Unknown
	for _, f := range fields {
		reason := t.Reason(f.Name)
		if !slices.Contains(unknown, f.Name) && (reason == "" || f.Fault == "") {
			continue
		}
		f.Type, f.Bulk = "", false
		same := func(u *unreadColumn) bool { return u.table == t && u.field == f }
		if i := slices.IndexFunc(x.unread, same); i >= 0 {
			if u := x.unread[i]; u.last != path {
				u.last = path
				u.files++
			}
			continue
		}
		x.unread = append(x.unread, &unreadColumn{t, f, path, path, 1, reason})
	}
}

// noteZones warns of dates read from instants in UTC: an evening in America is the next day in UTC.
func (x *extract) noteZones(t *layouts.Table, b *layouts.Binding, fields []cpcds.Field) {
	if x.layout.Zone != nil {
		return
	}
	for _, e := range b.Elements() {
		if e.Info().Kind != cpcds.DateKind {
			continue
		}
		for _, name := range b.Columns(e) {
			utc := slices.ContainsFunc(fields, func(f cpcds.Field) bool { return f.Name == name && f.Type == "timestamp[UTC]" })
			if !utc {
				continue
			}
			x.warnOnce(fmt.Sprintf("table %s: the column %q holds instants in UTC, so %s is their day in UTC; set time_zone in the layout for another time zone",
				t, name, e.Column()))
		}
	}
}

// warnOnce adds a warning that many files may cause, once.
func (x *extract) warnOnce(w string) {
	if !slices.Contains(x.warnings, w) {
		x.warnings = append(x.warnings, w)
	}
}

// warning says that a column is left out, and why.
func (u *unreadColumn) warning(layout string) string {
	where := u.first
	if u.files > 1 {
		where += fmt.Sprintf(" and %s", many(int64(u.files-1), "more file"))
	}
	w := fmt.Sprintf("%s: the column %q", where, u.field.Name)
	if u.field.Fault != "" {
		w += " " + u.field.Fault + " and"
	}
	w += " is left out"
	if u.reason != "" {
		return w
	}
	w += fmt.Sprintf(": table %s of layout %s does not have it", u.table, layout)
	if n := u.table.Nearest(u.field.Name); n != "" {
		w += fmt.Sprintf(" (did you mean %q?)", n)
	}
	return w
}
