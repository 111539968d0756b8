package synth

import (
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// adjudicateClaim adjudicates a claim whose lines have their charges: it prices them,
// denies some, and writes amounts, units and codes.
func (g *generator) adjudicateClaim(d *draft) {
	r := &g.rng
	d.refused = 0
	d.unmark(denied)
	d.unmark(partlyDenied)
	d.Set(cpcds.ClaimPaymentDenialCode, "")
	d.Set(cpcds.ClaimRemittanceRemarkCode, "")
	d.Set(cpcds.ClaimPaymentMemberExplanation, "")

	outcome := g.code(cpcds.ClaimPaymentStatusCode, 8, "paid")
	all, some := outcome == "denied", outcome == "partiallypaid"
	one := len(d.Lines) == 1 || d.has(compound) // with one line, nothing smaller can be denied
	reason := pick(r, g.codes.codes["line denial"])
	for i := range d.Lines {
		l, p := &d.Lines[i], &d.prices[i]
		l.Set(cpcds.LinePaymentDenialCode, "")
		l.Set(cpcds.LineRemittanceRemarkCode, "")
		l.Set(cpcds.PaymentMemberExplanation, "")
		if l.Get(cpcds.CompoundParentLineNumber) != "" {
			continue
		}
		no := all || some && !one && (i == len(d.Lines)-1 && d.refused == 0 || i > 0 && r.chance(250))
		part := some && one
		if part {
			g.limit(p, i == 0, d.crossover)
		} else {
			g.adjudicate(p, p.submitted, i == 0, d.crossover)
		}
		if no || part {
			d.refused++
			g.refuse(d, l, reason)
		}
		if no {
			p.refuse()
		} else if isDrug(d, l) {
			p.drug = p.eligible
		}
		g.allow(d, l, no)
	}
	if all && d.kind != pharmacyClaim {
		d.Set(cpcds.ClaimPaymentDenialCode, pick(r, g.codes.codes["claim denial"]))
		d.Set(cpcds.ClaimRemittanceRemarkCode, pick(r, g.codes.codes["remark"]))
	}
	switch {
	case all:
		d.Set(cpcds.ClaimPaymentMemberExplanation, "Your plan did not pay this claim. You may appeal within 60 days.")
	case r.chance(100):
		d.Set(cpcds.ClaimPaymentMemberExplanation, "This is not a bill.")
	}
	g.writeAmounts(d)
}

// isDrug reports whether a line is for a drug: a fill, or one with a pharmacy revenue code, a HCPCS
// drug code or CDT's code for drugs that a dentist dispenses.
func isDrug(d *draft, l *cpcds.Line) bool {
	revenue, service := l.Get(cpcds.RevenueCenterCode), l.Get(cpcds.ProcedureCode)
	return d.kind == pharmacyClaim || strings.HasPrefix(revenue, "025") || revenue == "0636" || strings.HasPrefix(service, "J") || service == "D9630"
}

// refuse writes the reasons of a denied line. A claim priced as a whole has them in the header.
func (g *generator) refuse(d *draft, l *cpcds.Line, reason string) {
	r := &g.rng
	switch {
	case d.kind == pharmacyClaim:
		codes := pick(r, g.codes.codes["reject"])
		if second := pick(r, g.codes.codes["reject"]); second != codes && r.chance(200) {
			codes = g.arena.join(codes, " ", second)
		}
		l.Set(cpcds.LinePaymentDenialCode, codes)
		l.Set(cpcds.PaymentMemberExplanation, "Your plan does not cover this fill, or not all of it.")
	case d.headerPriced:
		d.Set(cpcds.ClaimPaymentDenialCode, reason)
	default:
		l.Set(cpcds.LinePaymentDenialCode, reason)
		if r.chance(700) {
			l.Set(cpcds.LineRemittanceRemarkCode, pick(r, g.codes.codes["remark"]))
		}
		l.Set(cpcds.PaymentMemberExplanation, "Your plan does not cover this service.")
	}
}

// allow writes the allowed units and the network status of a line if the profile has a place for
// them.
func (g *generator) allow(d *draft, l *cpcds.Line, no bool) {
	if d.statusByLine {
		l.Set(cpcds.LineBenefitPaymentStatus, g.code(cpcds.LineBenefitPaymentStatus, 2, d.Get(cpcds.BillingProviderNetworkStatus)))
	}
	switch d.kind {
	case professional, vision, oral:
		status := g.code(cpcds.LineBenefitPaymentStatus, 30, d.Get(cpcds.PerformingProviderNetworkStatus))
		if d.crossover && g.rng.chance(300) {
			status = "other"
		}
		l.Set(cpcds.LineBenefitPaymentStatus, status)
	case inpatient, outpatient:
		if d.headerPriced {
			return
		}
	case pharmacyClaim:
		return
	}
	units := l.Get(cpcds.NumberOfUnits)
	if no {
		units = "0"
	}
	l.Set(cpcds.AllowedNumberOfUnits, units)
}

// links is the length of the chain of adjustments that a claim starts: mostly one.
func (g *generator) links() int {
	switch k := g.rng.below(1000); {
	case k < 8:
		return 3
	case k < 55:
		return 2
	}
	return 1
}

// chain finishes the draft and the n-1 claims that adjust it in turn, each naming its direct
// neighbours. It returns n.
func (g *generator) chain(n int) int {
	for i := 1; i < n; i++ {
		void := i == n-1 && g.rng.chance(350)
		g.adjust(&g.draft, &g.next, void)
		g.finish(&g.draft)
		g.draft, g.next = g.next, g.draft
	}
	g.finish(&g.draft)
	return n
}

// adjust makes next the claim that replaces or voids old.
func (g *generator) adjust(old, next *draft, void bool) {
	r := &g.rng
	next.copyFrom(old)
	next.ordinal++
	next.received = old.updated + day(r.between(5, 120))
	g.calendar(next)
	next.Set(cpcds.ClaimAdjustedFromIdentifier, old.Get(cpcds.ClaimUniqueIdentifier))
	old.Set(cpcds.ClaimAdjustedToIdentifier, next.Get(cpcds.ClaimUniqueIdentifier))
	old.mark(adjusted)
	g.touch(old, max(old.updated, next.paid))

	if void {
		next.mark(voided)
		next.unmark(replacement)
		g.frequency(next, '8')
		next.Set(cpcds.ClaimProcessingStatusCode, "cancelled")
		old.Set(cpcds.ClaimProcessingStatusCode, "cancelled")
		g.takeBack(next)
		return
	}
	next.mark(replacement)
	g.frequency(next, '7')
	next.Set(cpcds.ClaimProcessingStatusCode, "active")
	for i := range next.prices {
		p := &next.prices[i]
		*p = price{submitted: p.submitted * r.between(80, 100) / 100}
	}
	g.adjudicateClaim(next)
}

// frequency replaces the last digit of an institutional claim's type of bill.
func (g *generator) frequency(d *draft, digit byte) {
	if bill := d.Get(cpcds.ClaimTypeOfBillCode); bill != "" {
		d.Set(cpcds.ClaimTypeOfBillCode, g.arena.join(bill[:3], string(rune(digit))))
	}
}

// takeBack makes a claim entirely noncovered.
func (g *generator) takeBack(d *draft) {
	d.refused = 0
	d.unmark(denied)
	d.unmark(partlyDenied)
	for _, e := range [...]cpcds.Element{cpcds.ClaimPaymentDenialCode, cpcds.ClaimRemittanceRemarkCode} {
		d.Set(e, "")
	}
	for i := range d.Lines {
		l := &d.Lines[i]
		for _, e := range [...]cpcds.Element{cpcds.LinePaymentDenialCode, cpcds.LineRemittanceRemarkCode, cpcds.PaymentMemberExplanation} {
			l.Set(e, "")
		}
		d.prices[i].refuse()
	}
	d.Set(cpcds.ClaimPaymentMemberExplanation, "The provider took this claim back.")
	g.writeAmounts(d)
}

// finish plants a fault in the claim, if it is its turn, and emits it.
func (g *generator) finish(d *draft) {
	g.fault(d)
	g.emit(d)
}
