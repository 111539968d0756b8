package layouts

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// plainDate reports whether s is a valid date as YYYY-MM-DD.
func plainDate(s string) bool {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return false
	}
	y, ok1 := number(s[0:4])
	m, ok2 := number(s[5:7])
	d, ok3 := number(s[8:10])
	return ok1 && ok2 && ok3 && validDay(y, m, d)
}

// number reads a number of digits only.
func number(s string) (int, bool) {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, s != ""
}

var monthDays = [13]int{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

func validDay(y, m, d int) bool {
	if y < 1 || y > 9999 || m < 1 || m > 12 || d < 1 {
		return false
	}
	if m == 2 && y%4 == 0 && (y%100 != 0 || y%400 == 0) {
		return d <= 29
	}
	return d <= monthDays[m]
}

// clock is a time of day with its offset from UTC.
type clock struct {
	hms    string // hh:mm:ss, or hh:mm
	parts  string // of a second: a point and digits without trailing zeros; or ""
	offset string // Z, +hh:mm, -hh:mm, or "" if the text has none
}

// parseClock reads hh:mm[:ss[.fraction]], then Z or an offset or nothing. Offsets may be
// written +hh:mm, +hhmm or +hh.
func parseClock(s string) (c clock, ok bool) {
	n := 5
	if len(s) >= 8 && s[5] == ':' {
		n = 8
	}
	if len(s) < n || s[2] != ':' {
		return c, false
	}
	for i, limit := 0, 23; i < n; i, limit = i+3, 59 {
		if v, ok := number(s[i : i+2]); !ok || v > limit {
			return c, false
		}
	}
	c.hms = s[:n]
	rest := s[n:]
	if n == 8 && rest != "" && rest[0] == '.' {
		digits := 1
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		if digits == 1 {
			return c, false
		}
		c.parts = strings.TrimRight(strings.TrimRight(rest[:digits], "0"), ".")
		rest = rest[digits:]
	}
	switch {
	case rest == "" || rest == "Z":
		c.offset = rest
		return c, true
	case rest == "+00" || rest == "+0000":
		c.offset = "Z"
		return c, true
	case len(rest) == 3:
		rest += ":00"
	case len(rest) == 5:
		rest = rest[:3] + ":" + rest[3:]
	}
	if len(rest) != 6 || rest[0] != '+' && rest[0] != '-' || rest[3] != ':' {
		return c, false
	}
	h, ok1 := number(rest[1:3])
	m, ok2 := number(rest[4:6])
	c.offset = rest
	return c, ok1 && ok2 && h <= 14 && m <= 59
}

// splitISO splits a text into day and clock; a date without time has no clock.
func splitISO(s string) (day string, c clock, ok bool) {
	if len(s) < 10 || !plainDate(s[:10]) {
		return "", c, false
	}
	if len(s) == 10 {
		return s, c, true
	}
	if s[10] != 'T' && s[10] != ' ' {
		return "", c, false
	}
	c, ok = parseClock(s[11:])
	return s[:10], c, ok
}

// instant joins a day and a clock to a point in time in UTC, so that it has one spelling however
// the source writes it. A missing time is midnight; a missing zone is the layout's, or UTC if it
// has none.
func instant(zone *time.Location, day string, c clock) string {
	hms := c.hms
	switch len(hms) {
	case 0:
		hms = "00:00:00"
	case 5:
		hms += ":00"
	}
	text := day + "T" + hms
	if c.offset == "Z" || c.offset == "" && zone == nil {
		return text + c.parts + "Z"
	}
	var at time.Time
	var err error
	if c.offset == "" {
		at, err = time.ParseInLocation("2006-01-02T15:04:05", text, zone)
	} else {
		at, err = time.Parse("2006-01-02T15:04:05Z07:00", text+c.offset)
	}
	if err != nil {
		return text + c.parts + cmp.Or(c.offset, "Z")
	}
	if utc := at.UTC(); utc.Year() > 0 && utc.Year() < 10000 { // otherwise FHIR cannot express it in UTC
		at = utc
	}
	return at.Format("2006-01-02T15:04:05") + c.parts + at.Format("Z07:00")
}

// dayIn returns the day of an instant in a zone. Without a zone, or if the text has no offset, it
// is the day as written.
func dayIn(zone *time.Location, day string, c clock) string {
	if zone == nil || c.offset == "" {
		return day
	}
	at, err := time.Parse(time.RFC3339, instant(nil, day, c))
	if err != nil {
		return day
	}
	return at.In(zone).Format(time.DateOnly)
}

// plainInstant reports whether s is already canonical, in UTC.
func plainInstant(s string) bool {
	if len(s) != 20 || s[10] != 'T' || s[19] != 'Z' || !plainDate(s[:10]) {
		return false
	}
	c, ok := parseClock(s[11:])
	return ok && len(c.hms) == 8
}

// dateFormat is a compiled pattern such as DD-Mon-YYYY: tokens and literal text.
type dateFormat []string

// dateTokens are the tokens of a pattern, longer ones first.
var dateTokens = []string{"YYYY", "Mon", "MM", "DD", "hh", "mm", "ss", "M", "D"}

const months = "janfebmaraprmayjunjulaugsepoctnovdec"

// parseFormat compiles a pattern. It must have a year, a month and a day.
func parseFormat(pattern string) (dateFormat, error) {
	var f dateFormat
	seen := map[byte]bool{}
	for rest := pattern; rest != ""; {
		token := rest[:1]
		for _, t := range dateTokens {
			if strings.HasPrefix(rest, t) {
				token = t
				break
			}
		}
		c := token[0]
		if token == "Mon" {
			c = 'M'
		}
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		switch {
		case letter && token == "T" || letter && token == "Z":
		case letter && len(token) == 1 && token != "M" && token != "D":
			return nil, fmt.Errorf("date format %q has %q; use YYYY, MM, Mon, M, DD, D, hh, mm and ss", pattern, token)
		case letter && seen[c]:
			return nil, fmt.Errorf("date format %q has %s twice", pattern, token)
		case letter:
			seen[c] = true
		}
		f = append(f, token)
		rest = rest[len(token):]
	}
	if !seen['Y'] || !seen['M'] || !seen['D'] {
		return nil, fmt.Errorf("date format %q must have a year, a month and a day", pattern)
	}
	return f, nil
}

// parse reads a text by the pattern; all of it must match.
func (f dateFormat) parse(s string) (day string, c clock, ok bool) {
	var y, m, d, hh, mm, ss int
	timed := false
	for _, t := range f {
		n := len(t)
		if t == "M" || t == "D" {
			if n = 2; len(s) < 2 || s[1] < '0' || s[1] > '9' {
				n = 1
			}
		}
		if len(s) < n {
			return "", c, false
		}
		part := s[:n]
		s = s[n:]
		var v int
		switch t {
		case "Mon":
			i := strings.Index(months, strings.ToLower(part))
			if i < 0 || i%3 != 0 {
				return "", c, false
			}
			m = i/3 + 1
			continue
		case "YYYY", "MM", "M", "DD", "D", "hh", "mm", "ss":
			if v, ok = number(part); !ok {
				return "", c, false
			}
		default:
			if part != t {
				return "", c, false
			}
			if t == "Z" {
				c.offset = t
			}
			continue
		}
		switch t {
		case "YYYY":
			y = v
		case "MM", "M":
			m = v
		case "DD", "D":
			d = v
		case "hh":
			hh, timed = v, true
		case "mm":
			mm = v
		case "ss":
			ss = v
		}
	}
	if s != "" || !validDay(y, m, d) || hh > 23 || mm > 59 || ss > 59 {
		return "", c, false
	}
	if timed {
		c.hms = fmt.Sprintf("%02d:%02d:%02d", hh, mm, ss)
	} else {
		c.offset = "" // a date without time is not an instant
	}
	return fmt.Sprintf("%04d-%02d-%02d", y, m, d), c, true
}
