package cpcds

import (
	"math/big"
	"strconv"
)

// Sum adds amounts in canonical text exactly. The zero value is an empty sum.
// Amounts of up to four decimals and 14 digits before the point are added as
// integers; anything longer falls back to big numbers.
type Sum struct {
	some  bool
	units int64 // ten-thousandths
	big   *big.Rat
	scale int // decimals of the sum
}

// Add adds an amount; "" adds nothing.
func (s *Sum) Add(v string) {
	if v == "" {
		return
	}
	s.some = true
	units, decimals, ok := tenThousandths(v)
	s.scale = max(s.scale, decimals, 2)
	if ok && s.big == nil && s.units < 1<<62 && s.units > -1<<62 {
		s.units += units
		return
	}
	if s.big == nil {
		s.big = big.NewRat(s.units, 10000)
	}
	if r, ok := new(big.Rat).SetString(v); ok {
		s.big.Add(s.big, r)
	}
}

// Empty reports whether nothing was added.
func (s *Sum) Empty() bool { return !s.some }

// Append appends the sum as canonical text: two decimals, or as many as the
// longest amount has.
func (s *Sum) Append(b []byte) []byte {
	if s.big != nil {
		return append(b, s.big.FloatString(s.scale)...)
	}
	n := s.units
	if s.scale == 2 {
		return AppendUnits(b, n)
	}
	if n < 0 {
		b, n = append(b, '-'), -n
	}
	b = strconv.AppendInt(b, n/10000, 10)
	b = append(b, '.')
	div := int64(1000)
	for i := 0; i < s.scale; i++ {
		b = append(b, byte('0'+n/div%10))
		div /= 10
	}
	return b
}

// tenThousandths parses canonical money; ok is false if it does not fit.
func tenThousandths(v string) (n int64, decimals int, ok bool) {
	// Nearly all amounts have two decimals and no sign.
	if end := len(v) - 3; end > 0 && end <= 14 && v[end] == '.' && v[0] != '-' {
		for i := range end {
			n = n*10 + int64(v[i]-'0')
		}
		n = n*100 + int64(v[end+1]-'0')*10 + int64(v[end+2]-'0')
		return n * 100, 2, true
	}
	neg := v[0] == '-'
	if neg {
		v = v[1:]
	}
	point := -1
	for i := range len(v) {
		if v[i] == '.' {
			point = i
			continue
		}
		n = n*10 + int64(v[i]-'0')
	}
	if point >= 0 {
		decimals = len(v) - point - 1
	}
	if decimals > 4 || len(v)-decimals > 15 {
		return 0, decimals, false
	}
	for i := decimals; i < 4; i++ {
		n *= 10
	}
	if neg {
		n = -n
	}
	return n, decimals, true
}

// Units parses canonical money to ten-thousandths of its unit; fine says that it has
// more than two decimals. ok is false if it has more than four, or so many digits that
// sums of thousands of such amounts could overflow.
func Units(v string) (n int64, fine, ok bool) {
	n, decimals, ok := tenThousandths(v)
	return n, decimals > 2, ok && n < 1<<50 && n > -1<<50
}

// AppendUnits appends ten-thousandths as canonical text of two decimals.
func AppendUnits(b []byte, n int64) []byte {
	if n < 0 {
		b, n = append(b, '-'), -n
	}
	b = strconv.AppendInt(b, n/10000, 10)
	hundredths := n % 10000 / 100
	return append(b, '.', byte('0'+hundredths/10), byte('0'+hundredths%10))
}

// Equal reports whether the sum is the amount v.
func (s *Sum) Equal(v string) bool {
	var o Sum
	o.Add(v)
	return s.Same(&o)
}

// Same reports whether two sums are the same amount.
func (s *Sum) Same(o *Sum) bool {
	if s.big == nil && o.big == nil {
		return s.units == o.units
	}
	return s.rat().Cmp(o.rat()) == 0
}

func (s *Sum) rat() *big.Rat {
	if s.big != nil {
		return s.big
	}
	return big.NewRat(s.units, 10000)
}
