package sandbox

import (
	"fmt"
	"strconv"
	"time"

	"cpcds2fhir/schemas/cpcds"
)

// book is the extract while it is made.
type book struct {
	end time.Time // the first day of the month that the histories end in, at midnight in UTC

	members       []cpcds.Member
	coverages     []cpcds.Coverage
	providers     []cpcds.Provider
	organizations []cpcds.Organization
	claims        []*claim

	people map[string]*person
	count  map[string]int // claims by member
}

// day is the day of a month, some months before the last one. Of the last month only its first day has come.
func (b *book) day(monthsAgo, day int) time.Time {
	return b.upToEnd(b.end.AddDate(0, -monthsAgo, day-1))
}

func (b *book) upToEnd(t time.Time) time.Time {
	if t.After(b.end) {
		return b.end
	}
	return t
}

func date(t time.Time) string { return t.Format(time.DateOnly) }

func instant(t time.Time) string { return t.Format(time.RFC3339) }

// money writes cents.
func money(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

// price is the adjudication of a line, in cents. These hold:
//
//	allowed = charge - denied - discount
//	paid    = allowed - deductible - coinsurance - copay
type price struct {
	charge, denied, discount, allowed int
	deductible, coinsurance, copay    int
	paid                              int
	drug                              bool
}

// amountColumns are the columns of amounts at one level.
type amountColumns struct {
	charge, allowed, deductible, coinsurance, copay, denied, discount, paid, provider, liability, drug cpcds.Element
}

var (
	headerAmounts = amountColumns{
		cpcds.ClaimTotalSubmittedAmount, cpcds.ClaimTotalEligibleAmount, cpcds.MemberPaidDeductible, cpcds.CoinsuranceLiabilityAmount,
		cpcds.CopayAmount, cpcds.ClaimNoncoveredAmount, cpcds.ClaimTotalDiscountAmount, cpcds.ClaimPaymentAmount,
		cpcds.ClaimAmountPaidToProvider, cpcds.MemberLiability, cpcds.ClaimTotalDrugCost,
	}
	lineAmounts = amountColumns{
		cpcds.LineSubmittedAmount, cpcds.LineEligibleAmount, cpcds.LinePatientDeductible, cpcds.LineCoinsuranceAmount,
		cpcds.LineCopayAmount, cpcds.LineNoncoveredAmount, cpcds.LineDiscountAmount, cpcds.LinePaymentAmount,
		cpcds.LineAmountPaidToProvider, cpcds.LineMemberLiability, cpcds.DrugCost,
	}
)

func (c *amountColumns) write(r interface{ Set(cpcds.Element, string) }, p *price) {
	for _, a := range []struct {
		e     cpcds.Element
		cents int
	}{
		{c.charge, p.charge}, {c.allowed, p.allowed}, {c.deductible, p.deductible}, {c.coinsurance, p.coinsurance}, {c.copay, p.copay},
		{c.denied, p.denied}, {c.discount, p.discount}, {c.paid, p.paid}, {c.provider, p.paid},
	} {
		r.Set(a.e, money(a.cents))
	}
	// The guide counts what is not covered as the member's liability, but Medicaid's members seldom owe it. So the
	// liability is given only where both readings agree.
	r.Set(c.liability, "")
	if p.denied == 0 {
		r.Set(c.liability, money(p.deductible+p.coinsurance+p.copay))
	}
	if p.drug && p.denied == 0 {
		r.Set(c.drug, money(p.allowed))
	}
}

// claim is one claim while it is made. Its amounts are written by book.close.
type claim struct {
	cpcds.Claim
	book       *book
	who        *person
	kind       string
	from, thru time.Time
	prices     []price
}

// open begins a claim with what claims of all kinds have. The billing provider is the payee, and the member's primary
// care provider is in the care team, so each claim has references of every kind.
func (b *book) open(key, kind string, from, thru time.Time, bills organization) *claim {
	who := b.people[key]
	b.count[key]++
	c := &claim{book: b, who: who, kind: kind, from: from, thru: b.upToEnd(thru)}
	b.claims = append(b.claims, c)
	set := c.Set
	set(cpcds.ClaimUniqueIdentifier, fmt.Sprintf("%s-%03d", key, b.count[key]))
	switch kind {
	case "inpatient", "outpatient":
		set(cpcds.ClaimType, "institutional")
		set(cpcds.ClaimSubType, kind)
		set(cpcds.PatientAccountNumber, fmt.Sprintf("A%s%03d", key[2:], b.count[key]))
		set(cpcds.MedicalRecordNumber, "R"+key[2:])
	default:
		set(cpcds.ClaimType, kind)
	}
	set(cpcds.MemberID, key)
	cover := who.coverOn(b, from)
	set(cpcds.CoverageID, cover.id(key))
	set(cpcds.ClaimPayerIdentifier, cover.payer.payer)
	set(cpcds.ClaimProcessingStatusCode, "active")
	set(cpcds.StatementFromDate, date(c.from))
	set(cpcds.StatementThruDate, date(c.thru))
	set(cpcds.ClaimBenefitPaymentStatus, "innetwork")
	set(cpcds.BillingProviderNPI, bills.npi)
	set(cpcds.BillingProviderNetworkStatus, "innetwork")
	set(cpcds.ClaimPayeeTypeCode, "provider")
	if who.pcp.npi != "" {
		set(cpcds.PCPNPI, who.pcp.npi)
	}
	c.process(2, 9, 14)
	if kind == "pharmacy" {
		c.process(0, 0, 8)
	}
	return c
}

// process sets when the claim was received, adjudicated and paid, in days after the service.
func (c *claim) process(received, adjudicated, paid int) *claim {
	after := func(days int) time.Time { return c.book.upToEnd(c.thru.AddDate(0, 0, days)) }
	c.Set(cpcds.ClaimReceivedDate, date(after(received)))
	c.Set(cpcds.AdjudicationDate, date(after(adjudicated)))
	c.Set(cpcds.ClaimPaidDate, date(after(paid)))
	c.Set(cpcds.ClaimLastUpdatedDate, instant(after(paid)))
	return c
}

// by names who treated the member.
func (c *claim) by(p practitioner) *claim {
	switch c.kind {
	case "inpatient":
		c.Set(cpcds.AttendingProviderNPI, p.npi)
	case "outpatient":
		c.Set(cpcds.AttendingProviderNPI, p.npi)
		c.Set(cpcds.PerformingProviderNPI, p.npi)
		c.Set(cpcds.PerformingProviderTaxonomy, p.taxonomy)
	case "pharmacy":
		c.Set(cpcds.PrescribingProviderNPI, p.npi)
	default:
		c.Set(cpcds.PerformingProviderNPI, p.npi)
		c.Set(cpcds.PerformingProviderTaxonomy, p.taxonomy)
		c.Set(cpcds.PerformingProviderNetworkStatus, "innetwork")
	}
	return c
}

// note is what the plan tells the member about the claim.
func (c *claim) note(text string) *claim {
	c.Set(cpcds.ClaimPaymentMemberExplanation, text)
	return c
}

// diagnose adds diagnoses; the first one of a claim is the principal one.
func (c *claim) diagnose(list ...diagnosis) *claim {
	for _, x := range list {
		var d cpcds.Diagnosis
		d.Set(cpcds.DiagnosisCode, x.code)
		d.Set(cpcds.DiagnosisDescription, x.text)
		kind := "other"
		switch {
		case len(c.Diagnoses) == 0:
			kind = "principal"
		case c.kind == "professional" || c.kind == "vision" || c.kind == "oral":
			kind = "secondary"
		}
		d.Set(cpcds.DiagnosisType, kind)
		if c.kind == "inpatient" {
			d.Set(cpcds.PresentOnAdmission, "Y")
		}
		c.Diagnoses = append(c.Diagnoses, d)
	}
	return c
}

// line adds a line with its price: what was charged, what the plan allows, and the member's copay.
func (c *claim) line(charge, allowed, copay int) *cpcds.Line {
	c.Lines = append(c.Lines, cpcds.Line{})
	c.prices = append(c.prices, price{charge: charge, discount: charge - allowed, allowed: allowed, copay: copay, paid: allowed - copay})
	l := &c.Lines[len(c.Lines)-1]
	l.Set(cpcds.LineNumber, strconv.Itoa(len(c.Lines)))
	l.Set(cpcds.ServiceFromDate, date(c.from))
	if c.kind != "pharmacy" {
		l.Set(cpcds.NumberOfUnits, "1")
		l.Set(cpcds.AllowedNumberOfUnits, "1")
	}
	return l
}

// service adds a service at a place, by its code of CPT, HCPCS or CDT.
func (c *claim) service(place, code, text string, charge, allowed, copay int) *claim {
	l := c.line(charge, allowed, copay)
	l.Set(cpcds.PlaceOfServiceCode, place)
	l.Set(cpcds.ProcedureCode, code)
	l.Set(cpcds.ProcedureDescription, text)
	return c
}

// revenue adds a line of an institutional claim, by its revenue code; code is that of the service, or "".
func (c *claim) revenue(revenue, code, text string, charge, allowed, copay int) *claim {
	l := c.line(charge, allowed, copay)
	l.Set(cpcds.RevenueCenterCode, revenue)
	l.Set(cpcds.ProcedureCode, code)
	l.Set(cpcds.ProcedureDescription, text)
	return c
}

// units says how many units the last line has, and for how many days of a stay.
func (c *claim) units(n int) *claim {
	l := &c.Lines[len(c.Lines)-1]
	l.Set(cpcds.NumberOfUnits, strconv.Itoa(n))
	l.Set(cpcds.AllowedNumberOfUnits, strconv.Itoa(n))
	if c.kind == "inpatient" {
		l.Set(cpcds.ServiceToDate, date(c.thru))
	}
	return c
}

// share moves a part of what the plan pays for the last line to the member.
func (c *claim) share(deductible, coinsurance int) *claim {
	p := &c.prices[len(c.prices)-1]
	p.deductible, p.coinsurance = deductible, coinsurance
	p.paid -= deductible + coinsurance
	return c
}

// tooth says where in the mouth the last line was done; surfaces may be "".
func (c *claim) tooth(number, surfaces string) *claim {
	l := &c.Lines[len(c.Lines)-1]
	l.Set(cpcds.ToothNumber, number)
	l.Set(cpcds.ToothSurface, surfaces)
	return c
}

// refuse denies the last line, with a claim adjustment reason code and a remark code, or on a pharmacy's claim with an
// NCPDP reject code and "".
func (c *claim) refuse(reason, remark, explanation string) *claim {
	l, p := &c.Lines[len(c.Lines)-1], &c.prices[len(c.prices)-1]
	*p = price{charge: p.charge, denied: p.charge}
	l.Set(cpcds.LinePaymentDenialCode, reason)
	l.Set(cpcds.LineRemittanceRemarkCode, remark)
	l.Set(cpcds.PaymentMemberExplanation, explanation)
	if c.kind != "pharmacy" {
		l.Set(cpcds.AllowedNumberOfUnits, "0")
	}
	return c
}

// replaces makes the claim the correction of an earlier one, which no longer counts.
func (c *claim) replaces(old *claim) *claim {
	c.Set(cpcds.ClaimAdjustedFromIdentifier, old.Get(cpcds.ClaimUniqueIdentifier))
	old.Set(cpcds.ClaimAdjustedToIdentifier, c.Get(cpcds.ClaimUniqueIdentifier))
	old.Set(cpcds.ClaimProcessingStatusCode, "cancelled")
	old.Set(cpcds.ClaimLastUpdatedDate, c.Get(cpcds.ClaimLastUpdatedDate))
	if bill := c.Get(cpcds.ClaimTypeOfBillCode); bill != "" {
		c.Set(cpcds.ClaimTypeOfBillCode, bill[:3]+"7")
	}
	return c
}

// close writes the amounts and the outcome of each claim.
func (b *book) close() {
	for _, c := range b.claims {
		var total price
		refused := 0
		for i := range c.Lines {
			p := &c.prices[i]
			p.drug = c.kind == "pharmacy"
			lineAmounts.write(&c.Lines[i], p)
			if p.denied > 0 {
				refused++
			}
			total.charge += p.charge
			total.denied += p.denied
			total.discount += p.discount
			total.allowed += p.allowed
			total.deductible += p.deductible
			total.coinsurance += p.coinsurance
			total.copay += p.copay
			total.paid += p.paid
			total.drug = p.drug
		}
		headerAmounts.write(&c.Header, &total)
		status := "paid"
		switch {
		case refused == len(c.Lines):
			status = "denied"
		case refused > 0:
			status = "partiallypaid"
		}
		c.Set(cpcds.ClaimPaymentStatusCode, status)
		if total.paid == 0 {
			c.Set(cpcds.ClaimPaidDate, "")
		}
	}
}
