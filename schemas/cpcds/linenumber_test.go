package cpcds_test

import (
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

func TestCanonicalLineNumber(t *testing.T) {
	for n, want := range map[string]string{"": "", "1": "1", "01": "1", "001": "1", "+1": "1", "1.0": "1", "+01.00": "1", "1.": "1", "0": "0", "00": "0", "0.0": "0",
		"10": "10", "1.5": "1.5", "-1": "-1", "A1": "A1", "A01": "A01", "+": "+", ".": ".", "+A": "+A", "1.0.0": "1.0.0", "99999999999999999999": "99999999999999999999"} {
		if got := cpcds.CanonicalLineNumber(n); got != want {
			t.Errorf("%q: got %q, want %q", n, got, want)
		}
	}
}

func TestCompareLineNumbers(t *testing.T) {
	order := []string{"0", "1", "2", "10", "100", "-1", "1.5", "A", "A1", ""}
	for i, a := range order {
		for j, b := range order {
			if got := cpcds.CompareLineNumbers(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("%q and %q: got %d", a, b, got)
			}
		}
	}
}
