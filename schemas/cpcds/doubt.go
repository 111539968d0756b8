package cpcds

import "regexp"

// dataLike are the forms of values that are unlikely to be names: numbers, dates, and texts with
// long runs of digits, like identifiers.
var dataLike = regexp.MustCompile(`^\s*([-+$]?\d+([.,:]\d+)*|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(\D.*)?|.*\d{5}.*)\s*$`)

// Doubtful reports whether the column names may be the values of a row, because the file has no
// header line: a name is missing or duplicated, or looks like a number, a date or an identifier.
// Unless a layout knows one of them, messages then give positions.
func Doubtful(fields []Field) bool {
	type place struct{ group, name string }
	seen := make(map[place]bool, len(fields))
	for _, f := range fields {
		p := place{f.Group, f.Name}
		if f.Name == "" || seen[p] || f.Fault == Unnamed || dataLike.MatchString(f.Name) {
			return true
		}
		seen[p] = true
	}
	return false
}

// Unnamed is the fault of a column whose header is empty.
const Unnamed = "has no name"
