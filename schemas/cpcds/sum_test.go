package cpcds_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

func sum(amounts ...string) string {
	var s cpcds.Sum
	for _, a := range amounts {
		s.Add(a)
	}
	return string(s.Append(nil))
}

func TestSum(t *testing.T) {
	check := func(want string, amounts ...string) {
		t.Helper()
		if got := sum(amounts...); got != want {
			t.Errorf("the sum of %v is %s, want %s", amounts, got, want)
		}
	}
	check("0.30", "0.10", "0.20")
	check("100.00", "100.00", "")
	check("-0.05", "0.10", "-0.15")
	check("0.00", "12.34", "-12.34")
	check("0.00", "-0.00")
	check("1.001", "1.00", "0.001")
	check("0.0003", "0.0001", "0.0002")
	check("0.0000", "0.0001", "-0.0001")
	check("-99999999999999.98", "-99999999999999.99", "0.01")
	// More digits or decimals than the fast way has room for.
	check("123456789012345678901234567890.12", "123456789012345678901234567890.11", "0.01")
	check("0.00001", "0.00001")
	check("1.00001", "1.00", "0.00001", "0.00")
	check("0.00", "123456789012345678.00", "-123456789012345678.00")
}

// TestManySums goes past what 64 bits hold, step by step.
func TestManySums(t *testing.T) {
	var s cpcds.Sum
	const n = 2000
	for range n {
		s.Add("99999999999999.9999")
	}
	want := new(big.Rat).SetFrac64(99999999999999_9999, 10000)
	want.Mul(want, big.NewRat(n, 1))
	if got := string(s.Append(nil)); got != want.FloatString(4) {
		t.Errorf("got %s, want %s", got, want.FloatString(4))
	}
}

func TestEmptySum(t *testing.T) {
	var s cpcds.Sum
	s.Add("")
	if !s.Empty() {
		t.Error("a sum of absent amounts is not empty")
	}
	s.Add("0.00")
	if s.Empty() {
		t.Error("a sum of nothing owed is empty")
	}
}

// TestSumsAgreeWithRationals adds random amounts in both ways.
func TestSumsAgreeWithRationals(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		want, places := new(big.Rat), 2
		var amounts []string
		for range 1 + r.IntN(20) {
			decimals := 2 + r.IntN(4)
			whole := r.Uint64() >> r.IntN(64)
			a := fmt.Sprintf("%d.%s", whole, strings.Repeat("7", decimals))
			if r.IntN(3) == 0 {
				a = "-" + a
			}
			amounts = append(amounts, a)
			x, ok := new(big.Rat).SetString(a)
			if !ok {
				t.Fatalf("%s is no number", a)
			}
			want.Add(want, x)
			places = max(places, decimals)
		}
		if got := sum(amounts...); got != want.FloatString(places) {
			t.Fatalf("the sum of %v is %s, want %s", amounts, got, want.FloatString(places))
		}
	}
}
