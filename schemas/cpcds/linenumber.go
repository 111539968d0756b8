package cpcds

import "strings"

// CanonicalLineNumber returns the number of a line as it is compared: 01, +1, 1.0 and 1 are
// one line.
func CanonicalLineNumber(n string) string {
	if len(n) > 1 && !AllDigits(n) {
		plain := strings.TrimPrefix(n, "+")
		if whole, fraction, ok := strings.Cut(plain, "."); ok && strings.Trim(fraction, "0") == "" {
			plain = whole
		}
		if AllDigits(plain) {
			n = plain
		}
	}
	if len(n) < 2 || n[0] != '0' || !AllDigits(n) {
		return n
	}
	if n = strings.TrimLeft(n, "0"); n == "" {
		return "0"
	}
	return n
}

// CompareLineNumbers orders the canonical numbers of two lines: numbers by their value, then
// other texts, then none.
func CompareLineNumbers(a, b string) int {
	if a == b {
		return 0
	}
	x, y := lineNumberClass(a), lineNumberClass(b)
	if x != y {
		return x - y
	}
	if x == 0 && len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func lineNumberClass(n string) int {
	switch {
	case n == "":
		return 2
	case AllDigits(n):
		return 0
	}
	return 1
}

// AllDigits reports whether s has digits and nothing else.
func AllDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
