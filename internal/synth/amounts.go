package synth

import "cpcds2fhir/schemas/cpcds"

// price is the adjudication of one line, in cents. These hold:
//
//	eligible = submitted - noncovered - discount
//	paid     = eligible - deductible - coinsurance - copay - other
type price struct {
	submitted, noncovered, discount, eligible int
	deductible, coinsurance, copay            int
	other, paid                               int
	drug                                      int // price of the drug, if it is covered
}

func (p *price) liability() int { return p.deductible + p.coinsurance + p.copay }

func (p *price) add(q *price) {
	p.submitted += q.submitted
	p.noncovered += q.noncovered
	p.discount += q.discount
	p.eligible += q.eligible
	p.deductible += q.deductible
	p.coinsurance += q.coinsurance
	p.copay += q.copay
	p.other += q.other
	p.paid += q.paid
	p.drug += q.drug
}

// refuse makes a price that pays nothing.
func (p *price) refuse() { *p = price{submitted: p.submitted, noncovered: p.submitted} }

// adjudicate prices a charge: what the plan allows, what the member owes, and what another payer
// already paid.
func (g *generator) adjudicate(p *price, charge int, first, crossover bool) {
	d := &g.rng
	*p = price{submitted: charge}
	p.discount = charge * d.between(15, 65) / 100
	p.eligible = charge - p.discount
	rest := p.eligible
	if first && d.chance(180) {
		p.copay = min(rest, pick(d, []int{100, 200, 300, 400, 800}))
		rest -= p.copay
	}
	if d.chance(40) {
		p.coinsurance = rest * pick(d, []int{5, 10, 20}) / 100
		rest -= p.coinsurance
	}
	if first && d.chance(25) {
		p.deductible = min(rest, d.between(500, 10000))
		rest -= p.deductible
	}
	if crossover {
		p.other = rest * d.between(60, 80) / 100
		rest -= p.other
	}
	p.paid = rest
}

// limit prices a charge when the plan covers two thirds of it.
func (g *generator) limit(p *price, first, crossover bool) {
	charge := p.submitted
	g.adjudicate(p, charge*2/3, first, crossover)
	p.noncovered = charge - p.submitted
	p.submitted = charge
}

// amountColumns are the columns of the amounts at one level.
type amountColumns struct {
	submitted, eligible, deductible, coinsurance, copay, noncovered, other, payment, discount cpcds.Element
	drug, provider, member, liability                                                         cpcds.Element
	byPatient                                                                                 [4]cpcds.Element
}

var (
	headerAmounts = amountColumns{
		cpcds.ClaimTotalSubmittedAmount, cpcds.ClaimTotalEligibleAmount, cpcds.MemberPaidDeductible, cpcds.CoinsuranceLiabilityAmount,
		cpcds.CopayAmount, cpcds.ClaimNoncoveredAmount, cpcds.ClaimOtherPayerPaidAmount, cpcds.ClaimPaymentAmount, cpcds.ClaimTotalDiscountAmount,
		cpcds.ClaimTotalDrugCost, cpcds.ClaimAmountPaidToProvider, cpcds.MemberReimbursement, cpcds.MemberLiability,
		[4]cpcds.Element{cpcds.AmountPaidByPatient, cpcds.AmountPaidByPatientCash, cpcds.AmountPaidByPatientHealthAccount, cpcds.AmountPaidByPatientOther},
	}
	lineAmounts = amountColumns{
		cpcds.LineSubmittedAmount, cpcds.LineEligibleAmount, cpcds.LinePatientDeductible, cpcds.LineCoinsuranceAmount,
		cpcds.LineCopayAmount, cpcds.LineNoncoveredAmount, cpcds.LineOtherPayerPaidAmount, cpcds.LinePaymentAmount, cpcds.LineDiscountAmount,
		cpcds.DrugCost, cpcds.LineAmountPaidToProvider, cpcds.LineMemberReimbursement, cpcds.LineMemberLiability,
		[4]cpcds.Element{cpcds.LineAmountPaidByPatient, cpcds.LineAmountPaidByPatientCash, cpcds.LineAmountPaidByPatientHealthAccount, cpcds.LineAmountPaidByPatientOther},
	}
)

// all lists the columns.
func (c *amountColumns) all() []cpcds.Element {
	return append([]cpcds.Element{c.submitted, c.eligible, c.deductible, c.coinsurance, c.copay, c.noncovered, c.other, c.payment, c.discount,
		c.drug, c.provider, c.member, c.liability}, c.byPatient[:]...)
}

// record is a header or a line.
type record interface{ Set(cpcds.Element, string) }

// write sets the amounts of a record of the claim d.
func (c *amountColumns) write(r record, a *arena, p *price, d *draft) {
	r.Set(c.submitted, a.money(p.submitted))
	r.Set(c.eligible, a.money(p.eligible))
	r.Set(c.deductible, a.money(p.deductible))
	r.Set(c.coinsurance, a.money(p.coinsurance))
	r.Set(c.copay, a.money(p.copay))
	r.Set(c.noncovered, a.money(p.noncovered))
	r.Set(c.discount, a.money(p.discount))
	r.Set(c.payment, a.money(p.paid))
	for _, e := range [...]cpcds.Element{c.other, c.drug, c.provider, c.member, c.liability, c.byPatient[d.method]} {
		r.Set(e, "")
	}
	if d.crossover {
		r.Set(c.other, a.money(p.other))
	}
	if p.drug > 0 {
		r.Set(c.drug, a.money(p.drug))
	}
	if d.toMember {
		r.Set(c.member, a.money(p.paid))
	} else {
		r.Set(c.provider, a.money(p.paid))
	}
	// The guide includes what is not covered in the member's liability, and expects eligible less
	// liability to be paid. Both can hold only if everything is covered; otherwise the liability is
	// left out.
	if p.noncovered == 0 {
		r.Set(c.liability, a.money(p.liability()))
	}
	if p.liability() > 0 {
		r.Set(c.byPatient[d.method], a.money(p.liability()))
	}
}

// writeAmounts turns the prices of a claim into text: those of the lines, unless
// the claim is priced as a whole, and their sum.
func (g *generator) writeAmounts(d *draft) {
	var total price
	for i := range d.Lines {
		l := &d.Lines[i]
		if l.Get(cpcds.CompoundParentLineNumber) != "" {
			continue
		}
		total.add(&d.prices[i])
		if !d.headerPriced {
			lineAmounts.write(l, &g.arena, &d.prices[i], d)
		}
	}
	headerAmounts.write(&d.Header, &g.arena, &total, d)
	g.writePayment(d, &total)
}

// writePayment writes the outcome of the claim as a whole.
func (g *generator) writePayment(d *draft, total *price) {
	status := "paid"
	switch {
	case d.has(voided):
		status = ""
	case total.noncovered == total.submitted && d.refused > 0:
		status = "denied"
		d.mark(denied)
	case d.refused > 0:
		status = "partiallypaid"
		d.mark(partlyDenied)
	}
	d.Set(cpcds.ClaimPaymentStatusCode, status)
	d.Set(cpcds.ClaimPaidDate, "")
	if total.paid > 0 {
		d.Set(cpcds.ClaimPaidDate, d.paid.String())
	}
}
