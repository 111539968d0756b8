package fhir

import (
	"encoding/binary"
	"strings"
)

// CompareVersions orders two source versions of one record: below zero if a is older, zero if both
// have the same time or number, above zero if a is newer. ok is false if they cannot be compared,
// for example a number and a point in time. The caller must then report it, not guess.
//
// A version is one of
//
//	nothing      older than everything
//	a number     digits, with decimals or without: 9 is older than 10
//	an instant   a day, or a day with a time, as ISO 8601 writes them: what counts is the
//	             point in time, with all digits of its seconds, whatever its offset from
//	             UTC. A time without an offset is in UTC; a day begins at midnight UTC
//	a text       everything else; the greater text is the newer
func CompareVersions(a, b string) (order int, ok bool) {
	switch {
	case a == b:
		return 0, true
	case a == "":
		return -1, true
	case b == "":
		return 1, true
	}
	x, y := parseVersion(a), parseVersion(b)
	if x.kind != y.kind {
		return 0, false
	}
	switch x.kind {
	case numberVersion:
		return compareNumbers(a, b), true
	case instantVersion:
		return strings.Compare(string(x.at[:]), string(y.at[:])), true
	}
	return strings.Compare(a, b), true
}

type versionKind uint8

const (
	textVersion versionKind = iota
	numberVersion
	instantVersion
)

type version struct {
	kind versionKind
	at   InstantKey // of an instant
}

func parseVersion(s string) version {
	if at, ok := ParseInstant(s); ok {
		return version{instantVersion, at}
	}
	if isNumber(s) {
		return version{kind: numberVersion}
	}
	return version{}
}

func isNumber(s string) bool {
	whole, decimals, point := strings.Cut(s, ".")
	return isDigits(whole) && (!point || isDigits(decimals))
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// compareNumbers compares decimal numbers of any length.
func compareNumbers(a, b string) int {
	aw, ad, _ := strings.Cut(a, ".")
	bw, bd, _ := strings.Cut(b, ".")
	aw, bw = strings.TrimLeft(aw, "0"), strings.TrimLeft(bw, "0")
	if len(aw) != len(bw) {
		return len(aw) - len(bw)
	}
	if c := strings.Compare(aw, bw); c != 0 {
		return c
	}
	return strings.Compare(strings.TrimRight(ad, "0"), strings.TrimRight(bd, "0"))
}

// InstantKey is a point in time as bytes that sort in time order: the seconds since the year 1,
// then the fraction of a second in units of 10^-18. The zero key is before all others.
type InstantKey [16]byte

// fractionDigits is the number of decimals of a second that count; databases write at most nine.
const fractionDigits = 18

// ParseInstant reads YYYY-MM-DD, or that with a T or a blank, hh:mm[:ss[.fraction]] and nothing, Z,
// ±hh:mm, ±hhmm or ±hh. Missing parts are UTC, midnight and zero.
func ParseInstant(s string) (key InstantKey, ok bool) {
	var hour, minute, second, zone int
	var fraction uint64
	if len(s) < 10 || s[4] != '-' || s[7] != '-' {
		return key, false
	}
	year, ok1 := digits(s[:4])
	month, ok2 := digits(s[5:7])
	day, ok3 := digits(s[8:10])
	if !ok1 || !ok2 || !ok3 {
		return key, false
	}
	if rest := s[10:]; rest != "" {
		if rest[0] != 'T' && rest[0] != ' ' {
			return key, false
		}
		if hour, minute, second, fraction, rest, ok = parseTime(rest[1:]); !ok {
			return key, false
		}
		if zone, ok = parseOffset(rest); !ok {
			return key, false
		}
	}
	if year < 1 || month < 1 || month > 12 || day < 1 || day > daysOf(year, month) {
		return key, false
	}
	// Days count from 1, so that no offset goes below zero.
	seconds := ((daysBefore(year, month)+day)*24+hour)*60*60 + minute*60 + second - zone
	binary.BigEndian.PutUint64(key[:], uint64(seconds))
	binary.BigEndian.PutUint64(key[8:], fraction)
	return key, true
}

// daysOf returns the length of a month.
func daysOf(year, month int) int {
	switch month {
	case 2:
		if leap(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

func leap(year int) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }

// daysBefore counts the days from the beginning of the year 1 to that of a month.
func daysBefore(year, month int) int {
	y := year - 1
	n := 365*y + y/4 - y/100 + y/400
	for m := 1; m < month; m++ {
		n += daysOf(year, m)
	}
	return n
}

func digits(s string) (n int, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, s != ""
}

// parseTime reads hh:mm[:ss[.fraction]] and returns what follows it.
func parseTime(s string) (hour, minute, second int, fraction uint64, rest string, ok bool) {
	if len(s) < 5 || s[2] != ':' {
		return 0, 0, 0, 0, "", false
	}
	var ok1, ok2 bool
	hour, ok1 = digits(s[:2])
	minute, ok2 = digits(s[3:5])
	ok, rest = ok1 && ok2 && hour < 24 && minute < 60, s[5:]
	if len(rest) < 3 || rest[0] != ':' {
		return hour, minute, 0, 0, rest, ok
	}
	second, ok1 = digits(rest[1:3])
	ok, rest = ok && ok1 && second < 60, rest[3:]
	if rest == "" || rest[0] != '.' {
		return hour, minute, second, 0, rest, ok
	}
	n := 1
	for ; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
		if n <= fractionDigits {
			fraction = fraction*10 + uint64(rest[n]-'0')
		}
	}
	for i := n; i <= fractionDigits; i++ {
		fraction *= 10
	}
	return hour, minute, second, fraction, rest[n:], ok && n > 1
}

// parseOffset reads Z, ±hh:mm, ±hhmm, ±hh or nothing, as seconds east of UTC.
func parseOffset(s string) (seconds int, ok bool) {
	if s == "" || s == "Z" {
		return 0, true
	}
	sign := 1
	switch s[0] {
	case '-':
		sign = -1
	case '+':
	default:
		return 0, false
	}
	s = s[1:]
	var minute int
	ok2 := true
	switch {
	case len(s) == 5 && s[2] == ':':
		minute, ok2 = digits(s[3:])
	case len(s) == 4:
		minute, ok2 = digits(s[2:])
	case len(s) != 2:
		return 0, false
	}
	hour, ok := digits(s[:2])
	return sign * (hour*60 + minute) * 60, ok && ok2 && hour <= 14 && minute < 60
}
