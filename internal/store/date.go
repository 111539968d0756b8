package store

import (
	"errors"
	"math"
	"strings"
	"time"
)

// period is the time from begin up to but not including end, in milliseconds since 1970. A date is
// the period of its day; an open end never ends.
type period struct{ begin, end int64 }

// dateTest is a date parameter with its prefix.
type dateTest struct {
	prefix string
	period period
}

func parseDateTest(v string) (test, error) {
	t := dateTest{prefix: "eq"}
	if len(v) > 2 && v[0] >= 'a' && v[0] <= 'z' {
		t.prefix, v = v[:2], v[2:]
	}
	switch t.prefix {
	case "eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap":
	default:
		return nil, errors.New("has an unknown prefix; use eq, ne, gt, ge, lt, le, sa, eb or ap")
	}
	var ok bool
	if t.period, ok = parseDate(v); !ok {
		return nil, errors.New("has a value that is not a date")
	}
	if t.prefix == "ap" {
		t.period = around(t.period, time.Now().UnixMilli())
	}
	return t, nil
}

// around is a period and what is near it: a tenth of the time between it and now, as FHIR proposes.
func around(p period, now int64) period {
	near := max(now-p.end, p.begin-now, 0) / 10
	return period{p.begin - near, p.end + near}
}

// Period reads an index entry that is a date, a time, or "start/end": the time from begin up to but
// not including end, in milliseconds since 1970.
func Period(value string) (begin, end int64, ok bool) {
	p, ok := parsePeriod(value)
	return p.begin, p.end, ok
}

// match compares as FHIR defines the prefixes for periods: gt and lt match if the resource extends
// beyond the searched period, ge and le also if it is within it.
func (want dateTest) match(value string) bool {
	have, ok := parsePeriod(value)
	if !ok {
		return false
	}
	w := want.period
	within := w.begin <= have.begin && have.end <= w.end
	switch want.prefix {
	case "eq":
		return within
	case "ne":
		return !within
	case "gt":
		return have.end > w.end
	case "ge":
		return have.end > w.end || within
	case "lt":
		return have.begin < w.begin
	case "le":
		return have.begin < w.begin || within
	case "sa":
		return have.begin >= w.end
	case "ap":
		return have.begin < w.end && have.end > w.begin
	default:
		return have.end <= w.begin
	}
}

// parsePeriod reads an index entry: a date, a time, or "start/end" of which
// either may be missing.
func parsePeriod(value string) (period, bool) {
	first, last, isPeriod := strings.Cut(value, "/")
	if !isPeriod {
		return parseDate(value)
	}
	p := period{math.MinInt64, math.MaxInt64}
	if first != "" {
		d, ok := parseDate(first)
		if !ok {
			return period{}, false
		}
		p.begin = d.begin
	}
	if last != "" {
		d, ok := parseDate(last)
		if !ok {
			return period{}, false
		}
		p.end = d.end
	}
	return p, first != "" || last != ""
}

// dateForms are the forms of a FHIR dateTime by their precision. Only times may
// have a zone.
var dateForms = []struct {
	layout string
	next   func(time.Time) time.Time // the end of the period
}{
	{"2006-01-02", func(t time.Time) time.Time { return t.AddDate(0, 0, 1) }},
	{time.RFC3339, func(t time.Time) time.Time { return t.Add(precision(t)) }},
	{"2006-01", func(t time.Time) time.Time { return t.AddDate(0, 1, 0) }},
	{"2006", func(t time.Time) time.Time { return t.AddDate(1, 0, 0) }},
	{"2006-01-02T15:04:05", func(t time.Time) time.Time { return t.Add(precision(t)) }},
	{"2006-01-02T15:04", func(t time.Time) time.Time { return t.Add(time.Minute) }},
	{"2006-01-02T15:04Z07:00", func(t time.Time) time.Time { return t.Add(time.Minute) }},
}

func parseDate(v string) (period, bool) {
	for _, f := range dateForms {
		if t, err := time.Parse(f.layout, v); err == nil {
			return period{t.UnixMilli(), f.next(t).UnixMilli()}, true
		}
	}
	return period{}, false
}

// precision is a millisecond for a time with a fraction of a second, because all systems write
// three digits; otherwise it is a second.
func precision(t time.Time) time.Duration {
	if t.Nanosecond() != 0 {
		return time.Millisecond
	}
	return time.Second
}
