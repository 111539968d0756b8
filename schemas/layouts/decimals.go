package layouts

import "strings"

// Limits of a number. FHIR decimals have at most 18 digits in practice; no real amount of a claim
// has more than 15 before the point.
const (
	maxDigits   = 40
	maxInteger  = 15
	maxFraction = 15
)

// decimal is 0.d₁d₂…dₙ × 10^point, without zeros at either end. Zero has no digits.
type decimal struct {
	digits [maxDigits]byte
	n      int
	point  int
	neg    bool
}

// parseDecimal reads an optional sign and digits with at most one point. The sign may trail if
// trailing is set, and an exponent may follow if exponent is set. Thousands separators and decimal
// commas are rejected, because their meaning differs between countries.
func parseDecimal(s string, trailing, exponent bool) (d decimal, ok bool) {
	if trailing && s != "" && (s[len(s)-1] == '-' || s[len(s)-1] == '+') {
		d.neg = s[len(s)-1] == '-'
		s = s[:len(s)-1]
	} else if s != "" && (s[0] == '-' || s[0] == '+') {
		d.neg = s[0] == '-'
		s = s[1:]
	}
	if exponent {
		if i := strings.IndexAny(s, "eE"); i >= 0 {
			e, ok := parseExponent(s[i+1:])
			if !ok {
				return d, false
			}
			d.point = e
			s = s[:i]
		}
	}
	seen, fraction := false, false
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.' && !fraction:
			fraction = true
			continue
		case c < '0' || c > '9':
			return d, false
		}
		seen = true
		if d.n == 0 && c == '0' {
			if fraction {
				d.point--
			}
			continue
		}
		if d.n == maxDigits {
			return d, false
		}
		d.digits[d.n] = c
		d.n++
		if !fraction {
			d.point++
		}
	}
	d.trim()
	return d, seen
}

func parseExponent(s string) (int, bool) {
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	if s == "" || len(s) > 3 {
		return 0, false
	}
	e := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		e = e*10 + int(s[i]-'0')
	}
	if neg {
		e = -e
	}
	return e, true
}

// trim removes zeros at the end.
func (d *decimal) trim() {
	for d.n > 0 && d.digits[d.n-1] == '0' {
		d.n--
	}
	if d.n == 0 {
		d.point, d.neg = 0, false
	}
}

// round rounds to the given decimal places, halves away from zero.
func (d *decimal) round(places int) {
	keep := d.point + places
	if keep >= d.n {
		return
	}
	if keep < 0 {
		d.n = 0
		d.trim()
		return
	}
	up := d.digits[keep] >= '5'
	d.n = keep
	if up {
		i := keep - 1
		for ; i >= 0 && d.digits[i] == '9'; i-- {
			d.n--
		}
		if i >= 0 {
			d.digits[i]++
		} else {
			d.digits[0], d.n = '1', 1
			d.point++
		}
	}
	d.trim()
}

// fits reports whether the number is within the limits.
func (d *decimal) fits() bool { return d.point <= maxInteger && d.n-d.point <= maxFraction }

// append writes the number with at least the given decimal places.
func (d *decimal) append(dst []byte, places int) []byte {
	if d.neg {
		dst = append(dst, '-')
	}
	if d.point <= 0 {
		dst = append(dst, '0')
	}
	for i := range d.point {
		dst = append(dst, d.digit(i))
	}
	if places = max(places, d.n-d.point); places > 0 {
		dst = append(dst, '.')
		for i := range places {
			dst = append(dst, d.digit(d.point+i))
		}
	}
	return dst
}

// digit returns the i-th digit after the point of 0.d₁d₂…, 0 beyond the ends.
func (d *decimal) digit(i int) byte {
	if i < 0 || i >= d.n {
		return '0'
	}
	return d.digits[i]
}

// plainDecimal reports whether s is already canonical: no plus sign, no leading zeros, between
// least and most decimal places, and no trailing zeros beyond least.
func plainDecimal(s string, least, most int) bool {
	zero := true
	neg := s != "" && s[0] == '-'
	if neg {
		s = s[1:]
	}
	i := 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		zero = zero && s[i] == '0'
	}
	if i == 0 || i > maxInteger || i > 1 && s[0] == '0' {
		return false
	}
	if i == len(s) {
		return least == 0 && !(neg && zero)
	}
	fraction := s[i+1:]
	if s[i] != '.' || len(fraction) < max(least, 1) || len(fraction) > most {
		return false
	}
	for j := range len(fraction) {
		c := fraction[j]
		if c < '0' || c > '9' {
			return false
		}
		zero = zero && c == '0'
	}
	return !(neg && zero) && (len(fraction) == least || fraction[len(fraction)-1] != '0')
}
