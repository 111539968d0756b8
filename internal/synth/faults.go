package synth

import "cpcds2fhir/schemas/cpcds"

// fault is a problem that real extracts have. plant adds it to a finished claim; it returns false,
// and does nothing, if the claim has no place for it.
type fault struct {
	name  string
	plant func(g *generator, d *draft) bool
}

// faults lists all of them. Faults of the header are in this file, those of lines
// and diagnoses in faults_lines.go.
var faults = [...]fault{
	{"unknown-member", unknownMember},
	{"member-without-person", memberWithoutPerson},
	{"unknown-coverage", unknownCoverage},
	{"unknown-payer", unknownPayer},
	{"header-without-lines", headerWithoutLines},
	{"orphan-lines", orphanLines},
	{"header-disagreement", headerDisagreement},
	{"missing-adjudication-date", missingAdjudicationDate},
	{"missing-last-updated", missingLastUpdated},
	{"missing-statement-date", missingStatementDate},
	{"missing-admission-date", missingAdmissionDate},
	{"missing-billing-provider", missingBillingProvider},
	{"missing-benefit-status", missingBenefitStatus},
	{"nines-in-date", ninesInDate},
	{"eights-in-date", eightsInDate},
	{"zeros-in-date", zerosInDate},
	{"nines-in-amount", ninesInAmount},
	{"eights-in-npi", eightsInNPI},
	{"bad-check-digit", badCheckDigit},
	{"lost-leading-zero", lostLeadingZero},
	{"unknown-payment-status", unknownPaymentStatus},
	{"unknown-network-status", unknownNetworkStatus},
	{"unknown-claim-type", unknownClaimType},
	{"wrong-type-of-bill", wrongTypeOfBill},
	{"false-discharge-date", falseDischargeDate},
	{"wrong-point-of-origin", wrongPointOfOrigin},
	{"dangling-adjustment", danglingAdjustment},
	{"payee-without-name", payeeWithoutName},
	{"separator-in-name", separatorInName},
	{"negative-amount", negativeAmount},
	{"sums-disagree", sumsDisagree},
	{"redacted-payment", redactedPayment},
	{"contradictory-denial", contradictoryDenial},
	{"implied-decimals", impliedDecimals},
	{"overpunched-sign", overpunchedSign},

	{"duplicate-line", duplicateLine},
	{"missing-service-date", missingServiceDate},
	{"malformed-date", malformedDate},
	{"impossible-date", impossibleDate},
	{"future-date", futureDate},
	{"missing-line-amounts", missingLineAmounts},
	{"missing-place-of-service", missingPlaceOfService},
	{"missing-revenue-code", missingRevenueCode},
	{"local-procedure-code", localProcedureCode},
	{"short-drug-code", shortDrugCode},
	{"missing-days-supply", missingDaysSupply},
	{"orphan-ingredient", orphanIngredient},
	{"no-diagnosis", noDiagnosis},
	{"lower-case-diagnosis", lowerCaseDiagnosis},
	{"dotless-diagnosis", dotlessDiagnosis},
	{"filler-diagnosis", fillerDiagnosis},
	{"unknown-diagnosis-type", unknownDiagnosisType},
}

// fault plants one fault in the requested share of claims. What happens to a claim depends only on
// its number.
func (g *generator) fault(d *draft) {
	if g.opt.Faults <= 0 {
		return
	}
	g.luck.start(g.opt.Seed, faultStream, d.ordinal)
	if g.luck.rand.Float64() >= g.opt.Faults {
		return
	}
	at := g.luck.below(len(faults))
	for i := range faults {
		k := (at + i) % len(faults)
		if faults[k].plant(g, d) {
			d.fault = k
			return
		}
	}
}

// replace sets an element that is filled and reports whether it was.
func (d *draft) replace(e cpcds.Element, v string) bool {
	if d.Get(e) == "" {
		return false
	}
	d.Set(e, v)
	return true
}

func unknownMember(_ *generator, d *draft) bool { return d.replace(cpcds.MemberID, "999999999Z") }

// memberWithoutPerson is how T-MSIS marks records without a member.
func memberWithoutPerson(g *generator, d *draft) bool {
	return d.replace(cpcds.MemberID, g.arena.join("&", d.Get(cpcds.MemberID)))
}

func unknownCoverage(_ *generator, d *draft) bool {
	return d.replace(cpcds.CoverageID, "CV0000000")
}

func unknownPayer(_ *generator, d *draft) bool {
	d.Set(cpcds.CoverageID, "")
	return d.replace(cpcds.ClaimPayerIdentifier, "NOBODY")
}

func headerWithoutLines(_ *generator, d *draft) bool {
	d.Lines, d.prices = d.Lines[:0], d.prices[:0]
	return true
}

func orphanLines(_ *generator, d *draft) bool {
	d.orphaned = true
	return true
}

func headerDisagreement(g *generator, d *draft) bool {
	if len(d.Lines) < 2 {
		return false
	}
	d.conflict, d.other = cpcds.BillingProviderName, g.arena.join(d.Get(cpcds.BillingProviderName), " (old name)")
	return true
}

func missingAdjudicationDate(_ *generator, d *draft) bool {
	return d.replace(cpcds.AdjudicationDate, "")
}

func missingLastUpdated(_ *generator, d *draft) bool {
	return d.replace(cpcds.ClaimLastUpdatedDate, "")
}

func missingStatementDate(_ *generator, d *draft) bool {
	return d.kind != pharmacyClaim && d.replace(cpcds.StatementFromDate, "")
}

func missingAdmissionDate(_ *generator, d *draft) bool {
	return d.replace(cpcds.MemberAdmissionDate, "")
}

func missingBillingProvider(_ *generator, d *draft) bool {
	for _, e := range [...]cpcds.Element{cpcds.BillingProviderNPI, cpcds.BillingProviderID, cpcds.BillingProviderName,
		cpcds.ServiceFacilityNPI, cpcds.ServiceFacilityID} {
		d.Set(e, "")
	}
	return true
}

func missingBenefitStatus(_ *generator, d *draft) bool {
	if d.kind == professional || d.kind == vision {
		return false
	}
	d.Set(cpcds.ClaimBenefitPaymentStatus, "")
	for i := range d.Lines {
		d.Lines[i].Set(cpcds.LineBenefitPaymentStatus, "")
	}
	return true
}

func ninesInDate(_ *generator, d *draft) bool {
	return d.replace(cpcds.MemberDischargeDate, "9999-12-31") || d.replace(cpcds.StatementThruDate, "99991231")
}

func eightsInDate(_ *generator, d *draft) bool {
	return d.replace(cpcds.ClaimReceivedDate, "88888888")
}

func zerosInDate(_ *generator, d *draft) bool {
	return d.replace(cpcds.ClaimPaidDate, "00000000") || d.replace(cpcds.ClaimReceivedDate, "0001-01-01")
}

func ninesInAmount(_ *generator, d *draft) bool {
	return d.replace(cpcds.ClaimTotalEligibleAmount, "99999999.00")
}

func eightsInNPI(_ *generator, d *draft) bool {
	return d.replace(cpcds.AttendingProviderNPI, "8888888888") || d.replace(cpcds.PerformingProviderNPI, "8888888888") ||
		d.replace(cpcds.PrescribingProviderNPI, "8888888888")
}

func badCheckDigit(g *generator, d *draft) bool {
	npi := d.Get(cpcds.BillingProviderNPI)
	if npi == "" {
		return false
	}
	wrong := (npi[9]-'0'+3)%10 + '0'
	return d.replace(cpcds.BillingProviderNPI, g.arena.join(npi[:9], string(rune(wrong))))
}

// lostLeadingZero is what a spreadsheet does to a code of digits.
func lostLeadingZero(_ *generator, d *draft) bool {
	if bill := d.Get(cpcds.ClaimTypeOfBillCode); bill != "" {
		d.Set(cpcds.ClaimTypeOfBillCode, bill[1:])
		for i := range d.Lines {
			if code := d.Lines[i].Get(cpcds.RevenueCenterCode); code != "" {
				d.Lines[i].Set(cpcds.RevenueCenterCode, code[1:])
			}
		}
		return true
	}
	done := false
	for i := range d.Lines {
		if pos := d.Lines[i].Get(cpcds.PlaceOfServiceCode); pos != "" && pos[0] == '0' {
			d.Lines[i].Set(cpcds.PlaceOfServiceCode, pos[1:])
			done = true
		}
	}
	return done
}

func unknownPaymentStatus(_ *generator, d *draft) bool {
	return d.replace(cpcds.ClaimPaymentStatusCode, "P")
}

func unknownNetworkStatus(_ *generator, d *draft) bool {
	return d.replace(cpcds.BillingProviderNetworkStatus, "par")
}

func unknownClaimType(_ *generator, d *draft) bool { return d.replace(cpcds.ClaimType, "encounter") }

// wrongTypeOfBill puts an outpatient type of bill on an inpatient claim.
func wrongTypeOfBill(_ *generator, d *draft) bool {
	return d.kind == inpatient && d.replace(cpcds.ClaimTypeOfBillCode, "0131")
}

// falseDischargeDate puts a discharge date on the bill of a patient who has not been discharged.
func falseDischargeDate(_ *generator, d *draft) bool {
	if d.kind != inpatient {
		return false
	}
	d.Set(cpcds.ClaimTypeOfBillCode, "0112")
	d.Set(cpcds.PatientDischargeStatusCode, "30")
	d.Set(cpcds.MemberDischargeDate, d.thru.String())
	return true
}

func wrongPointOfOrigin(_ *generator, d *draft) bool {
	if d.kind != inpatient {
		return false
	}
	if d.has(newborn) {
		return d.replace(cpcds.PointOfOriginCode, "1")
	}
	return d.replace(cpcds.AdmissionTypeCode, "4") && d.replace(cpcds.PointOfOriginCode, "2")
}

// danglingAdjustment names a predecessor that no extract has.
func danglingAdjustment(_ *generator, d *draft) bool {
	if d.Get(cpcds.ClaimAdjustedFromIdentifier) != "" {
		return false
	}
	d.Set(cpcds.ClaimAdjustedFromIdentifier, "200000000000000000")
	return true
}

func payeeWithoutName(_ *generator, d *draft) bool {
	d.Set(cpcds.ClaimPayeeTypeCode, "other")
	for _, e := range [...]cpcds.Element{cpcds.ClaimPayee, cpcds.ClaimPayeeName, cpcds.ClaimPayeeRelationship} {
		d.Set(e, "")
	}
	return true
}

// separatorInName breaks readers that split lines at every separator.
func separatorInName(g *generator, d *draft) bool {
	return d.replace(cpcds.BillingProviderName, g.arena.join(d.Get(cpcds.BillingProviderName), " | dba\r\n\"Care, Inc.\""))
}

func negativeAmount(g *generator, d *draft) bool {
	return d.replace(cpcds.ClaimPaymentAmount, g.arena.join("-", d.Get(cpcds.ClaimPaymentAmount)))
}

func sumsDisagree(g *generator, d *draft) bool {
	if d.headerPriced {
		return false
	}
	var total price
	for i := range d.prices {
		total.add(&d.prices[i])
	}
	return d.replace(cpcds.ClaimTotalSubmittedAmount, g.arena.money(total.submitted+10001))
}

// redactedPayment is how managed care plans hide what they pay.
func redactedPayment(_ *generator, d *draft) bool {
	if d.headerPriced || d.kind == pharmacyClaim {
		return false
	}
	for i := range d.Lines {
		d.Lines[i].Set(cpcds.LinePaymentAmount, "0.00")
		d.Lines[i].Set(cpcds.LineAmountPaidToProvider, "")
	}
	d.Set(cpcds.ClaimAmountPaidToProvider, "")
	return d.replace(cpcds.ClaimPaymentAmount, "0.00")
}

func contradictoryDenial(_ *generator, d *draft) bool {
	if d.refused > 0 || d.has(voided) {
		return false
	}
	d.Set(cpcds.ClaimPaymentDenialCode, "29")
	return d.replace(cpcds.ClaimPaymentStatusCode, "denied")
}

func impliedDecimals(g *generator, d *draft) bool {
	text := d.Get(cpcds.ClaimTotalSubmittedAmount)
	return d.replace(cpcds.ClaimTotalSubmittedAmount, g.arena.join(text[:len(text)-3], text[len(text)-2:]))
}

// overpunchedSign writes the last digit and the sign as one letter, as zoned
// decimals do.
func overpunchedSign(g *generator, d *draft) bool {
	text := d.Get(cpcds.ClaimPaymentAmount)
	last := len(text) - 1
	return d.replace(cpcds.ClaimPaymentAmount, g.arena.join(text[:last-2], text[last-1:last], "{ABCDEFGHI"[text[last]-'0':text[last]-'0'+1]))
}
