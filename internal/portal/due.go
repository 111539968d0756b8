package portal

import (
	"slices"
	"time"

	"cpcds2fhir/internal/portal/lifecycle"
)

// Defaults of Rules.
const (
	sandboxDays = 2
	reviewDays  = 14
	lapseDays   = 90
	attestDays  = 365
	keepDays    = 730
)

// orElse is a number of the rules, or its default.
func orElse(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// A working day of the agency has 24 hours here, on its clock: what comes in at three o'clock is due at three o'clock. The
// arithmetic is that of the clock on the wall, so that a change to summer time moves nothing.

// works reports whether the agency works on the day of a local time.
func (p *Portal) works(day time.Time) bool {
	wd := day.Weekday()
	return wd != time.Saturday && wd != time.Sunday && !slices.Contains(p.Rules.Holidays, day.Format(time.DateOnly))
}

// wall is a time as a clock of the agency shows it, in a zone in which all days have 24 hours.
func (p *Portal) wall(t time.Time) time.Time {
	t = t.In(p.Zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// later is the time when so much business time has passed since a time.
func (p *Portal) later(from time.Time, d time.Duration) time.Time {
	at := p.wall(from)
	for range 10_000 { // an agency whose holidays never end
		next := at.Truncate(24 * time.Hour).Add(24 * time.Hour)
		if p.works(at) {
			if d <= next.Sub(at) {
				at = at.Add(d)
				break
			}
			d -= next.Sub(at)
		}
		at = next
	}
	return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), p.Zone).UTC()
}

// between is how much business time lies between two times, 0 if the second is not after the first.
func (p *Portal) between(from, to time.Time) (d time.Duration) {
	at, end := p.wall(from), p.wall(to)
	for at.Before(end) {
		next := at.Truncate(24 * time.Hour).Add(24 * time.Hour)
		if p.works(at) {
			d += min(next.Sub(at), end.Sub(at))
		}
		at = next
	}
	return d
}

// span is the business time in which staff decide.
func (p *Portal) span(kind lifecycle.Kind) time.Duration {
	days := orElse(p.Rules.ReviewDays, reviewDays)
	if kind == lifecycle.Sandbox {
		days = orElse(p.Rules.SandboxDays, sandboxDays)
	}
	return time.Duration(days) * 24 * time.Hour
}

// clock moves the clock of an application from one state to the next: it stands still while the applicant is waited for, and
// runs as long as staff have something to do.
func (p *Portal) clock(r *record, to lifecycle.State, now time.Time) {
	waited, waits := lifecycle.Waits(r.State), lifecycle.Waits(to)
	runs := lifecycle.Open(to) && !waits
	if waited {
		r.Waited += now.Sub(r.Since)
	}
	switch {
	case waits && !waited:
		r.Left = 0
		if !r.Due.IsZero() { // asking something late does not make it early
			r.Left = max(p.between(now, r.Due), time.Second)
		}
		r.Due = time.Time{}
	case runs && waited && r.Left > 0:
		r.Due, r.Left = p.later(now, r.Left), 0
	case runs && r.Due.IsZero(): // it begins, or begins again
		r.Due = p.later(now, p.span(r.Kind))
	case !runs && !waits:
		r.Due, r.Left = time.Time{}, 0
	}
}
