package carin

import (
	"math/bits"
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// identity says that two sums of amounts are equal if the amounts of need are present; other
// missing amounts count as zero. Real data often breaks them (noncovered is within memberliability
// and outside of eligible), so they only warn.
type identity struct {
	id, text    string
	profiles    []Profile
	need        AmountSet
	left, right AmountSet
}

// identities are those that the guide asks testers to attest (requirements 143, 154, 155, 190 to
// 196 of release 2.0.0).
var identities = []identity{
	{"amounts-eligible", "the eligible amount should be the submitted amount less the noncovered amount and the discount", allButRx,
		amountSet("submitted", "eligible"), amountSet("eligible", "noncovered", "discount"), amountSet("submitted")},
	{"amounts-member-liability", "the member's liability should be the sum of deductible, coinsurance, copay and the noncovered amount", all,
		amountSet("memberliability"), amountSet("memberliability"), amountSet("deductible", "coinsurance", "copay", "noncovered")},
	{"amounts-paid", "the amounts paid to provider and patient should be the eligible amount less deductible, coinsurance, copay and what another payer paid", all,
		amountSet("eligible", "memberliability", "paidtoprovider"), amountSet("paidtoprovider", "paidtopatient", "deductible", "coinsurance", "copay", "priorpayerpaid"), amountSet("eligible")},
}

// amountSet is the set of the amounts with these codes.
func amountSet(codes ...string) (s AmountSet) {
	for _, code := range codes {
		s |= 1 << slices.IndexFunc(Amounts[:], func(a Amount) bool { return a.Code == code })
	}
	return s
}

// holds reports whether an identity holds for a record or cannot be checked.
func (x *identity) holds(r *AmountRecord) bool {
	return !r.has(x.need) || r.sum(x.left) == r.sum(x.right)
}

// holdsExactly is the same for amounts of any length.
func (x *identity) holdsExactly(get func(a *Amount) string) bool {
	for i := range x.need.All {
		if get(&Amounts[i]) == "" {
			return true
		}
	}
	var left, right cpcds.Sum
	for i := range x.left.All {
		left.Add(get(&Amounts[i]))
	}
	for i := range x.right.All {
		right.Add(get(&Amounts[i]))
	}
	return left.Same(&right)
}

// check fails at the first record of a claim for which the identity does not hold.
func (x *identity) check(about *Amount) func(c *cpcds.Claim, r *report) {
	return func(c *cpcds.Claim, r *report) {
		t := r.amounts
		ok := t.Inexact && x.holdsExactly(func(a *Amount) string { return c.Get(a.Header) }) || !t.Inexact && x.holds(&t.Header)
		if !ok {
			r.fail(-1)
			return
		}
		for i := range c.Lines {
			ok := t.Inexact && x.holdsExactly(func(a *Amount) string { return c.Lines[i].Get(a.Line) }) || !t.Inexact && x.holds(&t.Lines[i])
			if !ok {
				r.failAt(about.Line, i)
				return
			}
		}
	}
}

func identityRules() []Rule {
	var rules []Rule
	for i := range identities {
		x := &identities[i]
		about := &Amounts[bits.TrailingZeros32(uint32(x.need))]
		rules = append(rules, warning(claimRule(x.id, x.profiles, about.Header, x.text, x.check(about))))
	}
	return append(rules,
		warning(claimRule("amounts-of-lines", all, cpcds.ClaimTotalSubmittedAmount, "an amount of the header should be the sum of that amount on the lines",
			amountsOfLines)),
		warning(claimRule("amount-negative", all, cpcds.ClaimTotalSubmittedAmount, "an amount should not be negative: an adjustment should replace a claim, not subtract from it",
			func(c *cpcds.Claim, r *report) {
				if !r.amounts.negative {
					return
				}
				for i := range Amounts {
					if t := r.amounts; t.Header.has(1<<i) && (t.Header.Units[i] < 0 || t.Inexact && c.Get(Amounts[i].Header)[0] == '-') {
						r.failAt(Amounts[i].Header, -1)
						return
					}
					for j := range r.amounts.Lines {
						if x := &r.amounts.Lines[j]; x.has(1<<i) && (x.Units[i] < 0 || r.amounts.Inexact && c.Lines[j].Get(Amounts[i].Line)[0] == '-') {
							r.failAt(Amounts[i].Line, j)
							return
						}
					}
				}
			})),
		warning(claimRule("service-outside-statement", allButRx, cpcds.ServiceFromDate, "service_from_date should be within the statement period",
			func(c *cpcds.Claim, r *report) {
				from, thru := c.Get(cpcds.StatementFromDate), c.Get(cpcds.StatementThruDate)
				for i := range c.Lines {
					if d := c.Lines[i].Get(cpcds.ServiceFromDate); d != "" && (d < from || thru != "" && thru >= from && d > thru) {
						r.fail(i)
						return
					}
				}
			})),
		warning(claimRule("received-before-service", all, cpcds.ClaimReceivedDate, "claim_received_date should not be before the first service",
			func(c *cpcds.Claim, r *report) {
				first := c.Get(cpcds.StatementFromDate)
				if first == "" {
					first = c.FirstService()
				}
				if d := c.Get(cpcds.ClaimReceivedDate); d != "" && d < first {
					r.fail(-1)
				}
			})),
		warning(claimRule("paid-before-adjudication", all, cpcds.ClaimPaidDate, "claim_paid_date should not be before adjudication_date",
			func(c *cpcds.Claim, r *report) {
				if d := c.Get(cpcds.ClaimPaidDate); d != "" && d < c.Get(cpcds.AdjudicationDate) {
					r.fail(-1)
				}
			})),
	)
}

// amountsOfLines fails at the first amount of the header that the lines do not add up to.
func amountsOfLines(c *cpcds.Claim, r *report) {
	t := r.amounts
	for i := range t.Header.Filled.All {
		a := &Amounts[i]
		var same bool
		if t.Inexact {
			var sum cpcds.Sum
			for j := range c.Lines {
				if t.Lines[j].Summed&(1<<i) != 0 {
					sum.Add(c.Lines[j].Get(a.Line))
				}
			}
			same = sum.Empty() || sum.Equal(c.Get(a.Header))
		} else {
			sum, some := int64(0), false
			for j := range t.Lines {
				if t.Lines[j].Summed&(1<<i) != 0 {
					sum, some = sum+t.Lines[j].Units[i], true
				}
			}
			same = !some || sum == t.Header.Units[i]
		}
		if !same {
			r.failAt(a.Header, -1)
			return
		}
	}
}
