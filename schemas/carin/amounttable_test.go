package carin

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"cpcds2fhir/schemas/cpcds"
)

// TestAmountsAsNumbersAndText judges claims of random amounts twice, with numbers and
// with exact sums of the text: the same rules must be broken at the same places.
func TestAmountsAsNumbersAndText(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	rules := identityRules()
	broken := map[string]int{}
	for range 20_000 {
		var c cpcds.Claim
		amount := func() string {
			return []string{"", "", "0.00", "10.00", "10", "20.0000", "-10.00", "5.5", fmt.Sprint(rnd.IntN(40)), "99999999999.9999"}[rnd.IntN(10)]
		}
		c.Lines = make([]cpcds.Line, rnd.IntN(3))
		for i := range Amounts {
			c.Set(Amounts[i].Header, amount())
			for j := range c.Lines {
				c.Lines[j].Set(Amounts[i].Line, amount())
			}
		}
		judge := func(inexact bool) (list []cpcds.Problem) {
			var out Verdict
			var table AmountTable
			table.Fill(&c, Professional)
			if table.Inexact {
				t.Fatal("an amount does not fit")
			}
			table.Inexact = inexact
			for i := range rules {
				rules[i].claim(&c, &report{rule: &rules[i], version: V220, profile: Professional, amounts: &table, out: &out})
			}
			return out.Warnings
		}
		numbers, text := judge(false), judge(true)
		if !slices.Equal(numbers, text) {
			t.Fatalf("numbers: %v, text: %v", numbers, text)
		}
		for _, p := range numbers {
			broken[p.Rule]++
		}
	}
	for _, rule := range []string{"amounts-eligible", "amounts-member-liability", "amounts-paid", "amounts-of-lines", "amount-negative"} {
		if broken[rule] == 0 {
			t.Errorf("%s was never broken", rule)
		}
	}
}

func TestAmountsThatDoNotFit(t *testing.T) {
	for _, v := range []string{"12345678901234567890123456789.00", "1.23456", "999999999999999"} {
		var c cpcds.Claim
		c.Set(cpcds.ClaimTotalSubmittedAmount, v)
		var table AmountTable
		table.Fill(&c, Professional)
		if !table.Inexact {
			t.Errorf("%s is taken for a number", v)
		}
	}
}
