package carin

import (
	"math/bits"

	"cpcds2fhir/schemas/cpcds"
)

// AmountTable holds all amounts of a claim as numbers, for the rules that compare them and the
// mapper that adds them up: each is parsed once. It is reused from claim to claim and is not safe
// for concurrent use.
type AmountTable struct {
	Header AmountRecord
	Lines  []AmountRecord // of the claim's lines, in their order

	// Inexact says that an amount does not fit: sums must then be made from the text.
	Inexact bool

	// Fine says that an amount has more than two decimals.
	Fine bool

	negative bool // an amount is below zero, or inexact
}

// AmountRecord holds the amounts of the header or of a line.
type AmountRecord struct {
	Filled AmountSet
	Summed AmountSet           // of a line: those that count toward the claim's total
	Units  [len(Amounts)]int64 // in ten-thousandths, for those that are filled
}

// AmountSet is a set of amounts, a bit for each place in Amounts.
type AmountSet uint32

var (
	allAmounts        = AmountSet(1<<len(Amounts) - 1)
	fromHealthAccount = amountSet("paidbypatienthealthaccount")
)

// KnownAmounts are the amounts whose category a release has; the Basis profiles have none.
func (v *Version) KnownAmounts() AmountSet {
	switch {
	case v.Basis:
		return 0
	case !v.PaidFromHealthAccnt:
		return allAmounts &^ fromHealthAccount
	}
	return allAmounts
}

// All yields the places of the set in Amounts, in their order.
func (s AmountSet) All(yield func(i int) bool) {
	for ; s != 0; s &= s - 1 {
		if !yield(bits.TrailingZeros32(uint32(s))) {
			return
		}
	}
}

// headerAmounts and lineAmounts are the columns of Amounts in compact form: most are empty, and
// finding that out is most of the work.
var headerAmounts, lineAmounts = func() (h, l [len(Amounts)]cpcds.Element) {
	for i, a := range &Amounts {
		h[i], l[i] = a.Header, a.Line
	}
	return h, l
}()

// mostLines is how many amounts can be added without overflow, see cpcds.Units.
const mostLines = 1 << 12

// Fill reads the amounts of a claim of a profile, which must not change until rules and
// mapper are done with the table.
//
// All amounts of lines count toward the claim's total, with two exceptions: those of a compound's
// ingredients, which the compound's amounts include, and those of a line with revenue code 0001,
// which NUBC defines as the total of the others. These count only where no other line has the
// amount.
func (t *AmountTable) Fill(c *cpcds.Claim, p Profile) {
	t.Inexact, t.Fine = len(c.Lines) > mostLines, false
	t.negative = t.Inexact
	t.Header.Filled = 0
	for i, e := range &headerAmounts {
		if v := c.Header.Get(e); v != "" {
			t.add(&t.Header, i, v)
		}
	}
	t.Lines = t.Lines[:0]
	for j := range c.Lines {
		if len(t.Lines) < cap(t.Lines) {
			t.Lines = t.Lines[:j+1]
		} else {
			t.Lines = append(t.Lines, AmountRecord{})
		}
		x, l := &t.Lines[j], &c.Lines[j]
		x.Filled = 0
		for i, e := range &lineAmounts {
			if v := l.Get(e); v != "" {
				t.add(x, i, v)
			}
		}
	}
	var said AmountSet // on lines other than a total line
	totals := false
	for j := range c.Lines {
		x := &t.Lines[j]
		x.Summed = x.Filled
		switch {
		case Ingredient(p, &c.Lines[j]):
			x.Summed = 0
		case TotalLine(p, &c.Lines[j]):
			totals = true
		default:
			said |= x.Filled
		}
	}
	for j := range c.Lines {
		if totals && TotalLine(p, &c.Lines[j]) {
			t.Lines[j].Summed &^= said
		}
	}
}

// TotalLine reports whether a line of an institutional claim is the total of the others.
func TotalLine(p Profile, l *cpcds.Line) bool {
	return (p == Inpatient || p == Outpatient) && l.Get(cpcds.RevenueCenterCode) == "0001"
}

func (t *AmountTable) add(x *AmountRecord, i int, v string) {
	n, fine, ok := cpcds.Units(v)
	x.Units[i] = n
	x.Filled |= 1 << i
	t.Fine = t.Fine || fine
	t.Inexact = t.Inexact || !ok
	t.negative = t.negative || n < 0 || !ok
}

// has reports whether all amounts of the set are filled.
func (x *AmountRecord) has(s AmountSet) bool { return x.Filled&s == s }

// sum adds the filled amounts of a set.
func (x *AmountRecord) sum(s AmountSet) (n int64) {
	for i := range (x.Filled & s).All {
		n += x.Units[i]
	}
	return n
}
