// Package columnar contains what the columnar formats, Parquet and Arrow, have in common:
// conversion of typed values to text, names of nested columns, and temporary files.
package columnar

import (
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const secondsPerDay = 24 * 60 * 60

// IsText reports whether a value is text, that is, valid UTF-8. Rows with control characters are
// rejected later, by the layout.
func IsText(s string) bool { return utf8.ValidString(s) }

// AppendDate appends a date, given as days since 1970-01-01, as YYYY-MM-DD.
func AppendDate(b []byte, days int64) []byte {
	year, month, day := civil(days)
	b = appendPadded(b, year, 4)
	b = append(b, '-')
	b = appendPadded(b, month, 2)
	b = append(b, '-')
	return appendPadded(b, day, 2)
}

// civil converts days since 1970-01-01 to a Gregorian calendar date. It counts in 400-year eras
// that begin on March 1, so that a leap day is the last day of its year.
func civil(days int64) (year, month, day int64) {
	const (
		daysPerEra = 146097
		marchFirst = 719468 // days from 0000-03-01 to 1970-01-01
	)
	days += marchFirst
	era := floorDiv(days, daysPerEra)
	inEra := days - era*daysPerEra
	yearOfEra := (inEra - inEra/1460 + inEra/36524 - inEra/(daysPerEra-1)) / 365
	inYear := inEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	fromMarch := (5*inYear + 2) / 153
	day = inYear - (153*fromMarch+2)/5 + 1
	month = fromMarch + 3
	year = yearOfEra + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

// AppendTimestamp appends a point in time in RFC 3339 format. It has as many decimal places of a
// second as needed, and none if the fraction is zero. count is the time since 1970-01-01T00:00:00
// in units of 1/perSecond seconds. perSecond is a power of ten, at most 1e9.
//
// If zone is nil, count is local wall-clock time, and the text has no UTC offset. Otherwise count
// is an instant relative to UTC, and the text has the UTC offset of the zone at that instant, so
// that it shows the local date in that zone.
func AppendTimestamp(b []byte, count, perSecond int64, zone *time.Location) []byte {
	seconds := floorDiv(count, perSecond)
	return AppendInstant(b, seconds, (count-seconds*perSecond)*(1e9/perSecond), zone)
}

// AppendInstant appends the time that is seconds and nanos (0 to 999999999) after
// 1970-01-01T00:00:00, in the format of AppendTimestamp.
func AppendInstant(b []byte, seconds, nanos int64, zone *time.Location) []byte {
	offset := 0
	if zone != nil && zone != time.UTC {
		_, offset = time.Unix(seconds, 0).In(zone).Zone()
		seconds += int64(offset)
	}
	days := floorDiv(seconds, secondsPerDay)
	b = AppendDate(b, days)
	b = append(b, 'T')
	b = appendClock(b, seconds-days*secondsPerDay, nanos)
	switch {
	case zone == nil:
		return b
	case offset == 0:
		return append(b, 'Z')
	case offset < 0:
		b, offset = append(b, '-'), -offset
	default:
		b = append(b, '+')
	}
	b = appendPadded(b, int64(offset/3600), 2)
	b = append(b, ':')
	return appendPadded(b, int64(offset/60%60), 2)
}

// ZoneOf returns the time zone for a name in a file: "UTC", "America/New_York" or an offset such
// as "+05:30". It returns false if there is no such zone.
func ZoneOf(name string) (*time.Location, bool) {
	switch name {
	case "":
		return nil, false
	case "Z", "UTC", "utc", "Etc/UTC", "GMT":
		return time.UTC, true
	case "Local":
		return nil, false // the zone of this machine is unrelated to the file
	}
	if name[0] == '+' || name[0] == '-' {
		digits := strings.ReplaceAll(name[1:], ":", "")
		if len(digits) == 2 {
			digits += "00"
		}
		at, err := time.Parse("1504", digits)
		if err != nil {
			return nil, false
		}
		offset := at.Hour()*3600 + at.Minute()*60
		if name[0] == '-' {
			offset = -offset
		}
		return time.FixedZone(name, offset), true
	}
	if zone, ok := zones.Load(name); ok {
		return zone.(*time.Location), true
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, false
	}
	one, _ := zones.LoadOrStore(name, zone)
	return one.(*time.Location), true
}

// zones caches the loaded time zones by name, so that there is only one Location for each.
var zones sync.Map

// AppendTime appends a time of day as hh:mm:ss, with decimal places of a second if the fraction is
// not zero. count is the time since midnight; perSecond is as in AppendTimestamp.
func AppendTime(b []byte, count, perSecond int64) []byte {
	seconds := floorDiv(count, perSecond)
	return appendClock(b, seconds, (count-seconds*perSecond)*(1e9/perSecond))
}

func appendClock(b []byte, seconds, nanos int64) []byte {
	b = appendPadded(b, seconds/3600, 2)
	b = append(b, ':')
	b = appendPadded(b, seconds/60%60, 2)
	b = append(b, ':')
	b = appendPadded(b, seconds%60, 2)
	if nanos == 0 {
		return b
	}
	b = append(b, '.')
	b = appendPadded(b, nanos, 9)
	for b[len(b)-1] == '0' {
		b = b[:len(b)-1]
	}
	return b
}

// AppendFloat appends a 32-bit or 64-bit floating-point number as the shortest decimal that
// converts back to the same number. Only numbers that are too large or too small to be an amount
// have an exponent.
func AppendFloat(b []byte, v float64, size int) []byte {
	format := byte('f')
	if a := math.Abs(v); a >= 1e21 || a != 0 && a < 1e-21 {
		format = 'g'
	}
	return strconv.AppendFloat(b, v, format, -1, size)
}

// MaxScale is the maximum accepted scale of a decimal, which is that of a 256-bit number. A larger
// scale in a schema means that it is damaged, and would produce extremely long text.
const MaxScale = 76

// AppendDecimal appends unscaled × 10^-scale as a plain decimal with scale decimal places.
func AppendDecimal(b []byte, unscaled int64, scale int) []byte {
	if unscaled < 0 {
		return appendDecimal(append(b, '-'), 0, -uint64(unscaled), scale)
	}
	return appendDecimal(b, 0, uint64(unscaled), scale)
}

// AppendDecimal128 is AppendDecimal for a 128-bit two's complement number with the given high and
// low halves.
func AppendDecimal128(b []byte, high int64, low uint64, scale int) []byte {
	h := uint64(high)
	if high < 0 {
		b = append(b, '-')
		low = -low
		h = ^h
		if low == 0 {
			h++
		}
	}
	return appendDecimal(b, h, low, scale)
}

// AppendDecimalBytes is AppendDecimal for a big-endian two's complement number of any length. It
// allocates only for numbers longer than 16 bytes.
func AppendDecimalBytes(b, unscaled []byte, scale int) []byte {
	if len(unscaled) > 16 {
		return appendBig(b, unscaled, scale)
	}
	var high int64
	var low uint64
	if len(unscaled) > 0 && unscaled[0]&0x80 != 0 {
		high, low = -1, math.MaxUint64
	}
	for _, c := range unscaled {
		high = high<<8 | int64(low>>56)
		low = low<<8 | uint64(c)
	}
	return AppendDecimal128(b, high, low, scale)
}

func appendBig(b, unscaled []byte, scale int) []byte {
	v := new(big.Int).SetBytes(unscaled)
	if unscaled[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(len(unscaled))*8))
	}
	if v.Sign() < 0 {
		b = append(b, '-')
		v.Neg(v)
	}
	start := len(b)
	return point(v.Append(b, 10), start, scale)
}

func appendDecimal(b []byte, high, low uint64, scale int) []byte {
	const chunk = 1e19 // the largest power of ten that fits into 64 bits
	start := len(b)
	if high == 0 {
		return point(strconv.AppendUint(b, low, 10), start, scale)
	}
	quotient, middle := high/chunk, high%chunk
	upper, rest := bits.Div64(middle, low, chunk)
	if quotient > 0 || upper >= chunk {
		top, next := bits.Div64(quotient, upper, chunk)
		b = strconv.AppendUint(b, top, 10)
		b = appendPadded64(b, next, 19)
	} else {
		b = strconv.AppendUint(b, upper, 10)
	}
	return point(appendPadded64(b, rest, 19), start, scale)
}

// point inserts the decimal point into the digits that begin at start.
func point(b []byte, start, scale int) []byte {
	for ; scale < 0; scale++ {
		b = append(b, '0')
	}
	if scale == 0 {
		return b
	}
	missing := scale + 1 - (len(b) - start) // there is at least one digit before the point
	for range max(missing, 0) + 1 {
		b = append(b, '0')
	}
	if missing > 0 {
		copy(b[start+missing:], b[start:len(b)-1-missing])
		for i := range missing {
			b[start+i] = '0'
		}
	}
	at := len(b) - 1 - scale
	copy(b[at+1:], b[at:len(b)-1])
	b[at] = '.'
	return b
}

// AppendUUID appends the sixteen bytes of a UUID in the usual text format.
func AppendUUID(b []byte, id []byte) []byte {
	const digits = "0123456789abcdef"
	for i, c := range id {
		switch i {
		case 4, 6, 8, 10:
			b = append(b, '-')
		}
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

func appendPadded(b []byte, v int64, width int) []byte {
	if v < 0 {
		b, v = append(b, '-'), -v
	}
	return appendPadded64(b, uint64(v), width)
}

func appendPadded64(b []byte, v uint64, width int) []byte {
	limit := uint64(1)
	for i := 1; i < width; i++ {
		limit *= 10
	}
	for ; limit > 1 && v < limit; limit /= 10 {
		b = append(b, '0')
	}
	return strconv.AppendUint(b, v, 10)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
