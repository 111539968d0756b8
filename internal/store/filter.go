package store

import (
	"fmt"
	"strings"

	"cpcds2fhir/schemas/fhir"
)

// Filter is one search parameter with its values. The zero value is not usable.
type Filter struct {
	param fhir.Param // lastUpdated for _lastUpdated
	tests []test     // one must hold
	value string     // as ParseFilter got it
}

// Text returns what ParseFilter makes the same filter of.
func (f *Filter) Text() (name, value string) {
	if f.param == lastUpdated {
		return "_lastUpdated", f.value
	}
	return f.param.String(), f.value
}

// lastUpdated stands for _lastUpdated, which is not an index entry.
const lastUpdated = fhir.NumParams

// FilterError says why a search parameter cannot be used. It never holds a value.
type FilterError struct {
	Param string // "" if the parameter is not known
	What  string
}

func (e *FilterError) Error() string {
	if e.Param == "" {
		return "search parameter " + e.What
	}
	return fmt.Sprintf("search parameter %s %s", e.Param, e.What)
}

// ParseFilter reads a search parameter as FHIR writes it: values separated by
// commas, of which one must match.
//
//	patient, coverage, insurer, provider, ...          "Type/id" or "id"
//	identifier, type                                   "system|code", "code", "|code" (no system), "system|" (any code)
//	_lastUpdated, service-date, service-start-date,    a date, partial date or time with eq, ne, gt, ge, lt, le, sa, eb
//	billable-period-start                              or ap before it; eq is the default
//
// Dates without a zone are taken as UTC. Modifiers and chains are not supported.
func ParseFilter(name, value string) (Filter, error) {
	f := Filter{param: lastUpdated, value: value}
	if name != "_lastUpdated" {
		var ok bool
		if f.param, ok = fhir.ParseParam(name); !ok {
			return Filter{}, &FilterError{What: "is unknown"}
		}
	}
	for v := range splitValues(value) {
		t, err := parseTest(f.param, v)
		if err != nil {
			return Filter{}, &FilterError{Param: name, What: err.Error()}
		}
		f.tests = append(f.tests, t)
	}
	return f, nil
}

// test is one value of a filter, matched against an index entry.
type test interface{ match(value string) bool }

func parseTest(p fhir.Param, v string) (test, error) {
	if v == "" {
		return nil, fmt.Errorf("has an empty value")
	}
	switch p {
	case lastUpdated, fhir.ParamServiceDate, fhir.ParamServiceStartDate, fhir.ParamBillablePeriodStart:
		return parseDateTest(v)
	case fhir.ParamIdentifier, fhir.ParamType:
		return parseToken(v), nil
	default:
		return reference(unescaped(v)), nil
	}
}

// matches reports whether a row passes the filter.
func (f *Filter) matches(r *row) bool {
	if f.param == lastUpdated {
		return f.one(string(r.lastUpdated))
	}
	found := false
	r.each(func(p fhir.Param, value []byte) bool {
		found = p == f.param && f.one(string(value))
		return !found
	})
	return found
}

// Indexed reports whether the store finds what passes the filter by an index, without a patient or ids.
func (f *Filter) Indexed() bool {
	if f.param != fhir.ParamIdentifier {
		return false
	}
	for _, t := range f.tests {
		if t.(token).anyCode {
			return false
		}
	}
	return true
}

// Matches reports whether an entry of a search without this filter passes it.
func (f *Filter) Matches(e *Entry) bool {
	if f.param == lastUpdated {
		return f.one(e.Updated())
	}
	for _, k := range e.Keys {
		if k.Param == f.param && f.one(k.Value) {
			return true
		}
	}
	return false
}

func (f *Filter) one(value string) bool {
	for _, t := range f.tests {
		if t.match(value) {
			return true
		}
	}
	return false
}

// reference is "Type/id" or an id of any type.
type reference string

func (want reference) match(value string) bool {
	if value == string(want) {
		return true
	}
	rest, ok := strings.CutSuffix(value, string(want))
	return ok && strings.HasSuffix(rest, "/") && !strings.Contains(string(want), "/")
}

// token is a code of a system, or a search for one.
type token struct {
	system, code       string
	anySystem, anyCode bool
}

// splitToken splits an index entry, "system|code".
func splitToken(value string) token {
	system, code, ok := strings.Cut(value, "|")
	if !ok {
		return token{code: value}
	}
	return token{system: system, code: code}
}

// parseToken reads a token of a search; bars that are part of the code or system follow a
// backslash.
func parseToken(v string) token {
	for i := 0; i < len(v); i++ {
		switch {
		case escapes(v[i:]):
			i++
		case v[i] == '|':
			code := unescaped(v[i+1:])
			return token{system: unescaped(v[:i]), code: code, anyCode: code == ""}
		}
	}
	return token{code: unescaped(v), anySystem: true}
}

// escapes reports whether s begins with a backslash that escapes the next character. Before any
// other character a backslash stands for itself.
func escapes(s string) bool {
	return len(s) > 1 && s[0] == '\\' && strings.IndexByte(`,|$\`, s[1]) >= 0
}

func unescaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if escapes(s[i:]) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (want token) match(value string) bool {
	t := splitToken(value)
	return (want.anySystem || t.system == want.system) && (want.anyCode || t.code == want.code)
}

// splitValues yields the values between commas, as they are written.
func splitValues(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		from := 0
		for i := 0; i < len(s); i++ {
			switch {
			case escapes(s[i:]):
				i++
			case s[i] == ',':
				if !yield(s[from:i]) {
					return
				}
				from = i + 1
			}
		}
		yield(s[from:])
	}
}
