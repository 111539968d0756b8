package site

import (
	"time"

	"cpcds2fhir/internal/site/frame"
)

// born writes a FHIR date, which may lack the day or the month.
func (v *visit) born(text string) string {
	if t, err := time.Parse(time.DateOnly, text); err == nil {
		return v.Day(t)
	}
	return frame.Plain(text, 20)
}

// about writes how long an access token is good for: in hours, or in minutes below two hours unless it is one hour.
func (v *visit) about(d time.Duration) string {
	if d < 2*time.Hour && d != time.Hour {
		return v.Count("minutes", max(1, int(d.Round(time.Minute)/time.Minute)))
	}
	return v.Count("hours", int(d.Round(time.Hour)/time.Hour))
}

// howLong writes how long an app is allowed.
func (v *visit) howLong(d time.Duration) string {
	if d%(365*day) == 0 {
		return v.Count("years", int(d/(365*day)))
	}
	return v.Count("days", int(d/day))
}
