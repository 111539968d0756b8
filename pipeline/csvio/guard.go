package csvio

import (
	"strings"
	"unicode/utf8"
)

// A guard keeps spreadsheets from dropping the zeros of a number: ="00123".

// guarded reports whether a value begins like a guard. If it does not end like one, a part is
// missing, for example because of a delimiter in it.
func guarded(v string) bool {
	return strings.HasPrefix(v, "=") && strings.HasPrefix(strings.TrimSpace(v[1:]), `"`)
}

// unguarded returns the content of a guard; false if v is not one.
func unguarded(v string) (string, bool) {
	if !guarded(v) {
		return v, false
	}
	if v = strings.TrimSpace(v[1:]); len(v) < 2 || v[len(v)-1] != '"' {
		return v, false
	}
	v = v[1 : len(v)-1]
	if !strings.Contains(v, `"`) {
		return v, true
	}
	plain := strings.ReplaceAll(v, `""`, `"`)
	return plain, 2*strings.Count(plain, `"`) == strings.Count(v, `"`)
}

// suspect has the first bytes of values that may be a guard or a null mark, and of blanks, because
// layouts trim values; some blanks are not ASCII. It is a table because every value is looked up in
// it.
var suspect = func() (t [256]bool) {
	for b := range t {
		t[b] = b == '=' || b == backslash || b <= ' ' || b >= utf8.RuneSelf
	}
	return t
}()

// judge returns what a suspect value stands for, "" if it means no value.
func (s *source) judge(c *column, v string) (string, error) {
	bare := strings.TrimSpace(v)
	if guarded(bare) {
		var err error
		if v, err = s.unguard(c, bare); err != nil {
			return "", err
		}
		bare = strings.TrimSpace(v)
	}
	if bare == nullMark {
		return v, s.checkNull(c)
	}
	return v, nil
}

// unguard returns the value of a guard. If guards are not expected, it is a fault in a bound
// column. In other columns the value is left out: if a reject kept it, a replay with another layout
// would take it as it is.
func (s *source) unguard(c *column, v string) (string, error) {
	plain, ok := unguarded(v)
	switch {
	case s.in.file.opts.ExcelGuards && ok:
		return plain, nil
	case !c.bound:
		return "", nil
	case !s.in.file.opts.ExcelGuards:
		return "", s.in.fault(s.in.column(c.field), `is guarded for a spreadsheet, as in ="..."`, "set excel_guards: true under csv in the layout to read the value in the quotes")
	}
	return "", s.in.fault(s.in.column(c.field), `begins like ="..." but does not end like it`, "is there a delimiter in it?")
}

// nullMark is what MySQL, PostgreSQL, Hive and ClickHouse write for a missing value.
const nullMark = `\N`

// checkNull rejects the null mark in a bound column, unless the layout says what it is: as text it
// would become a name or an id.
func (s *source) checkNull(c *column) error {
	o := &s.in.file.opts
	if !c.bound || o.Escape != 0 || o.NullMark {
		return nil
	}
	return s.in.fault(s.in.column(c.field), `is \N, which many systems write for a missing value`,
		`add it to null in the layout, for all columns, or set escape: '\' under csv`)
}
