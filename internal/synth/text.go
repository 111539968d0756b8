package synth

import (
	"strconv"
	"sync"
	"time"
	"unsafe"
)

// day is a date: days since 1970-01-01.
type day int32

const (
	firstDay day = -16436 // 1925-01-01
	lastDay  day = 23375  // 2033-12-31
)

// dayTexts has the text of every day from firstDay to lastDay, so that writing a date needs no
// memory.
var dayTexts = sync.OnceValue(func() []string {
	texts := make([]string, 0, lastDay-firstDay+1)
	for d := firstDay; d <= lastDay; d++ {
		texts = append(texts, time.Unix(int64(d)*86400, 0).UTC().Format(time.DateOnly))
	}
	return texts
})

// date is the day of a calendar date.
func date(year, month, dayOfMonth int) day {
	return day(time.Date(year, time.Month(month), dayOfMonth, 0, 0, 0, 0, time.UTC).Unix() / 86400)
}

func (d day) String() string { return dayTexts()[d-firstDay] }

func (d day) year() int {
	s := d.String()
	return twoDigits(s)*100 + twoDigits(s[2:])
}

func twoDigits(s string) int { return int(s[0]-'0')*10 + int(s[1]-'0') }

// fiscalYear is the federal fiscal year, which begins on 1 October and orders the
// versions of the DRG groupers.
func (d day) fiscalYear() int {
	if twoDigits(d.String()[5:]) >= 10 {
		return d.year() + 1
	}
	return d.year()
}

// arena holds texts made for the claims of one row batch. They are valid until reset.
type arena struct{ buf []byte }

func (a *arena) reset() { a.buf = a.buf[:0] }

// since returns what was appended since offset from. Growing the buffer keeps earlier texts valid.
func (a *arena) since(from int) string { return unsafe.String(&a.buf[from], len(a.buf)-from) }

// join returns the parts as one text.
func (a *arena) join(parts ...string) string {
	from := len(a.buf)
	for _, p := range parts {
		a.buf = append(a.buf, p...)
	}
	return a.since(from)
}

// number returns prefix and n, with leading zeros up to width digits.
func (a *arena) number(prefix string, n uint64, width int) string {
	from := len(a.buf)
	a.buf = append(a.buf, prefix...)
	a.digits(n, width)
	return a.since(from)
}

func (a *arena) digits(n uint64, width int) {
	var room [20]byte
	text := strconv.AppendUint(room[:0], n, 10)
	for range width - len(text) {
		a.buf = append(a.buf, '0')
	}
	a.buf = append(a.buf, text...)
}

// money returns cents as a decimal with two places.
func (a *arena) money(cents int) string {
	if cents == 0 {
		return "0.00"
	}
	from := len(a.buf)
	if cents < 0 {
		a.buf = append(a.buf, '-')
		cents = -cents
	}
	a.buf = strconv.AppendInt(a.buf, int64(cents/100), 10)
	a.buf = append(a.buf, '.', byte('0'+cents/10%10), byte('0'+cents%10))
	return a.since(from)
}

// instant returns a second of a day.
func (a *arena) instant(d day, second int) string {
	from := len(a.buf)
	a.buf = append(a.buf, d.String()...)
	a.buf = append(a.buf, 'T')
	for i, n := range [3]int{second / 3600, second / 60 % 60, second % 60} {
		if i > 0 {
			a.buf = append(a.buf, ':')
		}
		a.buf = append(a.buf, byte('0'+n/10), byte('0'+n%10))
	}
	a.buf = append(a.buf, 'Z')
	return a.since(from)
}

// npi returns a number of ten digits that begins with 1 or 2 and ends in the
// check digit of CMS: Luhn over 80840 and the nine digits. Different numbers make
// different NPIs.
func (a *arena) npi(number int) string {
	from := len(a.buf)
	lead := byte('1')
	if number%16 == 15 {
		lead = '2'
	}
	a.buf = append(a.buf, lead)
	// 61803399 has no factor in common with 10^8, so the map is one to one.
	a.digits(uint64(number)*61803399%100000000, 8)
	sum := 24
	for i, c := range a.buf[from:] {
		d := int(c - '0')
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	a.buf = append(a.buf, byte('0'+(10-sum%10)%10))
	return a.since(from)
}
