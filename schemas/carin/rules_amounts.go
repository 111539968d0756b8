package carin

import "cpcds2fhir/schemas/cpcds"

// Amount is one category of C4BBAdjudication with its columns.
type Amount struct {
	Code   string
	System string
	Header cpcds.Element
	Line   cpcds.Element
}

// Amounts lists the categories in the order they are written.
var Amounts = [...]Amount{
	{"submitted", SysAdjudication, cpcds.ClaimTotalSubmittedAmount, cpcds.LineSubmittedAmount},
	{"eligible", SysAdjudication, cpcds.ClaimTotalEligibleAmount, cpcds.LineEligibleAmount},
	{"deductible", SysAdjudication, cpcds.MemberPaidDeductible, cpcds.LinePatientDeductible},
	{"copay", SysAdjudication, cpcds.CopayAmount, cpcds.LineCopayAmount},
	{"benefit", SysAdjudication, cpcds.ClaimPaymentAmount, cpcds.LinePaymentAmount},
	{"coinsurance", SysC4BBAdjudication, cpcds.CoinsuranceLiabilityAmount, cpcds.LineCoinsuranceAmount},
	{"noncovered", SysC4BBAdjudication, cpcds.ClaimNoncoveredAmount, cpcds.LineNoncoveredAmount},
	{"priorpayerpaid", SysC4BBAdjudication, cpcds.ClaimOtherPayerPaidAmount, cpcds.LineOtherPayerPaidAmount},
	{"paidbypatient", SysC4BBAdjudication, cpcds.AmountPaidByPatient, cpcds.LineAmountPaidByPatient},
	{"paidbypatientcash", SysC4BBAdjudication, cpcds.AmountPaidByPatientCash, cpcds.LineAmountPaidByPatientCash},
	{"paidbypatientother", SysC4BBAdjudication, cpcds.AmountPaidByPatientOther, cpcds.LineAmountPaidByPatientOther},
	{"paidbypatienthealthaccount", SysC4BBAdjudication, cpcds.AmountPaidByPatientHealthAccount, cpcds.LineAmountPaidByPatientHealthAccount},
	{"paidtoprovider", SysC4BBAdjudication, cpcds.ClaimAmountPaidToProvider, cpcds.LineAmountPaidToProvider},
	{"paidtopatient", SysC4BBAdjudication, cpcds.MemberReimbursement, cpcds.LineMemberReimbursement},
	{"memberliability", SysC4BBAdjudication, cpcds.MemberLiability, cpcds.LineMemberLiability},
	{"discount", SysC4BBAdjudication, cpcds.ClaimTotalDiscountAmount, cpcds.LineDiscountAmount},
	{"drugcost", SysC4BBAdjudication, cpcds.ClaimTotalDrugCost, cpcds.DrugCost},
}

// HaveAdjudication reports whether an institutional line may have adjudications: the financial
// profiles require an amount among them (adjudication-has-amount-type-slice).
func (x *AmountRecord) HaveAdjudication(v *Version) bool {
	return v.Basis || x.Filled&v.KnownAmounts() != 0
}

func amountRules() []Rule {
	return []Rule{
		claimRule("required-amount", all, cpcds.ClaimTotalSubmittedAmount,
			"the claim must have an amount, in the header or on a line (total 1..*, EOB-institutional-item-or-header-adjudication); the Basis profiles do not require one",
			func(c *cpcds.Claim, r *report) {
				if r.version.Basis {
					return
				}
				filled := r.amounts.Header.Filled
				for i := range r.amounts.Lines {
					filled |= r.amounts.Lines[i].Filled
				}
				if filled&r.version.KnownAmounts() == 0 {
					r.fail(-1)
				}
			}),
		claimRule("required-line-amount", []Profile{Professional, Pharmacy, Oral}, cpcds.LineSubmittedAmount,
			"every line must have an amount (item.adjudication:adjudicationamounttype 1..*); the Basis profiles do not require one",
			func(c *cpcds.Claim, r *report) {
				if r.version.Basis {
					return
				}
				for i := range c.Lines {
					if r.amounts.Lines[i].Filled&r.version.KnownAmounts() == 0 && !Ingredient(r.profile, &c.Lines[i]) {
						r.fail(i)
					}
				}
			}),
		warning(claimRule("health-account-unknown", all, cpcds.AmountPaidByPatientHealthAccount,
			"this release has no category for payments from a health account; the amount is left out",
			func(c *cpcds.Claim, r *report) {
				if r.version.PaidFromHealthAccnt {
					return
				}
				if c.Get(cpcds.AmountPaidByPatientHealthAccount) != "" {
					r.fail(-1)
				}
				for i := range c.Lines {
					if c.Lines[i].Get(cpcds.LineAmountPaidByPatientHealthAccount) != "" {
						r.failAt(cpcds.LineAmountPaidByPatientHealthAccount, i)
					}
				}
			})),
		warning(claimRule("line-facts-without-amount", institutional, cpcds.AllowedNumberOfUnits,
			"an institutional line without amounts cannot carry allowed units in the financial profiles (adjudication-has-amount-type-slice); they are left out",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					if c.Lines[i].Get(cpcds.AllowedNumberOfUnits) != "" && !r.amounts.Lines[i].HaveAdjudication(r.version) {
						r.fail(i)
					}
				}
			})),
	}
}
