package carin

import (
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// identity says that two sums of amounts are the same, where the amounts of need
// are there; those of the others that are not count as nothing. Real data often does
// not hold them (noncovered is within memberliability and outside of eligible), so
// they warn.
type identity struct {
	id, text    string
	profiles    []Profile
	need        []string // codes of Amounts
	left, right []string
}

// identities are those that testers of the guide are asked to attest (requirements
// 143, 154, 155, 190 to 196 of release 2.0.0).
var identities = []identity{
	{"amounts-eligible", "the eligible amount should be what was submitted less what is not covered and the discount", allButRx,
		[]string{"submitted", "eligible"}, []string{"eligible", "noncovered", "discount"}, []string{"submitted"}},
	{"amounts-member-liability", "the member's liability should be deductible, coinsurance, copay and what is not covered", all,
		[]string{"memberliability"}, []string{"memberliability"}, []string{"deductible", "coinsurance", "copay", "noncovered"}},
	{"amounts-paid", "what is paid to provider and patient should be the eligible amount less the member's deductible, coinsurance and copay, and what another payer paid", all,
		[]string{"eligible", "memberliability", "paidtoprovider"}, []string{"paidtoprovider", "paidtopatient", "deductible", "coinsurance", "copay", "priorpayerpaid"}, []string{"eligible"}},
}

func amountOf(code string) *Amount {
	return &Amounts[slices.IndexFunc(Amounts[:], func(a Amount) bool { return a.Code == code })]
}

// holds reports whether an identity holds, or cannot be judged.
func (x *identity) holds(get func(a *Amount) string) bool {
	for _, code := range x.need {
		if get(amountOf(code)) == "" {
			return true
		}
	}
	var left, right cpcds.Sum
	for _, code := range x.left {
		left.Add(get(amountOf(code)))
	}
	for _, code := range x.right {
		right.Add(get(amountOf(code)))
	}
	return left.Same(&right)
}

func identityRules() []Rule {
	var rules []Rule
	for i := range identities {
		x := &identities[i]
		rules = append(rules, warning(claimRule(x.id, x.profiles, amountOf(x.need[0]).Header, x.text, func(c *cpcds.Claim, r *report) {
			if !x.holds(func(a *Amount) string { return c.Get(a.Header) }) {
				r.fail(-1)
				return
			}
			for i := range c.Lines {
				if !x.holds(func(a *Amount) string { return c.Lines[i].Get(a.Line) }) {
					r.failAt(amountOf(x.need[0]).Line, i)
					return
				}
			}
		})))
	}
	return append(rules,
		warning(claimRule("amounts-of-lines", all, cpcds.ClaimTotalSubmittedAmount, "an amount of the header should be the sum of the lines that have it",
			func(c *cpcds.Claim, r *report) {
				for i := range Amounts {
					a := &Amounts[i]
					var sum cpcds.Sum
					for j := range c.Lines {
						if !Ingredient(r.profile, &c.Lines[j]) {
							sum.Add(c.Lines[j].Get(a.Line))
						}
					}
					if header := c.Get(a.Header); header != "" && !sum.Empty() && !sum.Equal(header) {
						r.failAt(a.Header, -1)
						return
					}
				}
			})),
		warning(claimRule("amount-negative", all, cpcds.ClaimTotalSubmittedAmount, "an amount is negative: adjustments should replace a claim, not subtract from it",
			func(c *cpcds.Claim, r *report) {
				for i := range Amounts {
					if v := c.Get(Amounts[i].Header); v != "" && v[0] == '-' {
						r.failAt(Amounts[i].Header, -1)
						return
					}
					for j := range c.Lines {
						if v := c.Lines[j].Get(Amounts[i].Line); v != "" && v[0] == '-' {
							r.failAt(Amounts[i].Line, j)
							return
						}
					}
				}
			})),
		warning(claimRule("service-outside-statement", allButRx, cpcds.ServiceFromDate, "service_from_date should lie within the statement period",
			func(c *cpcds.Claim, r *report) {
				from, thru := c.Get(cpcds.StatementFromDate), c.Get(cpcds.StatementThruDate)
				for i := range c.Lines {
					if d := c.Lines[i].Get(cpcds.ServiceFromDate); d != "" && (d < from || thru != "" && thru >= from && d > thru) {
						r.fail(i)
						return
					}
				}
			})),
		warning(claimRule("received-before-service", all, cpcds.ClaimReceivedDate, "claim_received_date should not lie before the first service",
			func(c *cpcds.Claim, r *report) {
				first := c.Get(cpcds.StatementFromDate)
				if first == "" && len(c.Lines) > 0 {
					first = c.Lines[0].Get(cpcds.ServiceFromDate)
				}
				if d := c.Get(cpcds.ClaimReceivedDate); d != "" && d < first {
					r.fail(-1)
				}
			})),
		warning(claimRule("paid-before-adjudication", all, cpcds.ClaimPaidDate, "claim_paid_date should not lie before adjudication_date",
			func(c *cpcds.Claim, r *report) {
				if d := c.Get(cpcds.ClaimPaidDate); d != "" && d < c.Get(cpcds.AdjudicationDate) {
					r.fail(-1)
				}
			})),
	)
}
