package carin_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

var releases = []*carin.Version{carin.V220, carin.V200}

// goodClaim is the least claim that satisfies a profile, with an optional thing
// wherever a rule looks at one.
func goodClaim(p carin.Profile) *cpcds.Claim {
	c := &cpcds.Claim{Lines: make([]cpcds.Line, 1)}
	for e, v := range map[cpcds.Element]string{
		cpcds.ClaimUniqueIdentifier: "1", cpcds.ClaimLastUpdatedDate: "2025-03-01T00:00:00Z", cpcds.ClaimProcessingStatusCode: "active",
		cpcds.AdjudicationDate: "2025-03-01", cpcds.StatementFromDate: "2025-02-01", cpcds.StatementThruDate: "2025-02-03",
		cpcds.ClaimBenefitPaymentStatus: "innetwork", cpcds.ClaimTotalSubmittedAmount: "10.00",
	} {
		c.Set(e, v)
	}
	l := &c.Lines[0]
	l.Set(cpcds.LineNumber, "1")
	l.Set(cpcds.ServiceFromDate, "2025-02-01")
	l.Set(cpcds.LineSubmittedAmount, "10.00")
	c.Set(cpcds.ClaimType, p.String())
	billing := "Organization/o1"
	switch p {
	case carin.Inpatient, carin.Outpatient:
		c.Set(cpcds.ClaimType, "institutional")
		c.Set(cpcds.ClaimSubType, p.String())
		l.Set(cpcds.RevenueCenterCode, "0120")
		if p == carin.Inpatient {
			c.Set(cpcds.MemberAdmissionDate, "2025-02-01")
			c.Procedures = make([]cpcds.Procedure, 1)
			c.Procedures[0].Set(cpcds.InpatientProcedureCode, "0SRC0J9")
		}
	case carin.Professional:
		l.Set(cpcds.PlaceOfServiceCode, "11")
		l.Set(cpcds.ProcedureCode, "99213")
	case carin.Pharmacy:
		l.Set(cpcds.NationalDrugCode, "00093105801")
		l.Set(cpcds.DaysSupply, "30")
		l.Set(cpcds.DawProductSelectionCode, "0")
		l.Set(cpcds.RefillNumber, "0")
		l.Set(cpcds.RefillsAuthorized, "3")
	case carin.Oral:
		c.Set(cpcds.PerformingProviderNetworkStatus, "innetwork")
		l.Set(cpcds.PlaceOfServiceCode, "11")
		l.Set(cpcds.ProcedureCode, "D1110")
		billing = "Practitioner/r1" // release 2.0.0 wants a person
	}
	if p != carin.Pharmacy {
		c.Diagnoses = make([]cpcds.Diagnosis, 1)
		c.Diagnoses[0].Set(cpcds.DiagnosisCode, "I10")
	}
	c.CareTeam = make([]cpcds.CareTeam, 1)
	c.CareTeam[0].Set(cpcds.CareTeamRole, "primary")
	c.CareTeam[0].Set(cpcds.CareTeamProviderNPI, "1800000014")
	c.Refs = cpcds.Refs{Patient: "Patient/p1", Coverage: "Coverage/c1", Insurer: "Organization/o2", CareTeam: []string{"Practitioner/r1"}}
	c.Refs.Providers[cpcds.Billing] = billing
	return c
}

// breaks says how a good claim is made to break a rule. Rules that demand an
// element or a code are broken by breakingOf.
var breaks = map[string]func(c *cpcds.Claim){
	"unknown-member":           func(c *cpcds.Claim) { c.Refs.Patient = "" },
	"unknown-coverage":         func(c *cpcds.Claim) { c.Refs.Coverage = "" },
	"unknown-payer":            func(c *cpcds.Claim) { c.Refs.Insurer = "" },
	"insurer-is-payor":         func(c *cpcds.Claim) { c.Refs.Payor = "Organization/another" },
	"unknown-billing-provider": func(c *cpcds.Claim) { c.Refs.Providers[cpcds.Billing] = "" },
	"payee-other-party":        func(c *cpcds.Claim) { c.Set(cpcds.ClaimPayeeTypeCode, "other") },
	"point-of-origin": func(c *cpcds.Claim) {
		c.Set(cpcds.AdmissionTypeCode, "4")
		c.Set(cpcds.PointOfOriginCode, "1")
	},
	"statement-dates":        func(c *cpcds.Claim) { c.Set(cpcds.StatementThruDate, "2025-01-31") },
	"care-team-practitioner": func(c *cpcds.Claim) { c.Refs.Providers[cpcds.Primary] = "Organization/o3" },
	"provider-type": func(c *cpcds.Claim) {
		if c.Get(cpcds.ClaimType) == "oral" {
			c.Refs.Providers[cpcds.Billing] = "Organization/o1"
		} else {
			c.Refs.Providers[cpcds.Billing] = "Practitioner/r1"
		}
	},
	"unknown-other-coverage": func(c *cpcds.Claim) { c.Set(cpcds.OtherCoverageID, "C9") },
	"unknown-payee": func(c *cpcds.Claim) {
		c.Set(cpcds.ClaimPayeeTypeCode, "provider")
		c.Set(cpcds.ClaimPayee, "F-77")
	},
	"payee-without-type": func(c *cpcds.Claim) { c.Set(cpcds.ClaimPayee, "M1") },
	"payee-name-unused": func(c *cpcds.Claim) {
		c.Set(cpcds.ClaimPayeeTypeCode, "beneficiary")
		c.Set(cpcds.ClaimPayeeName, "Alvarez, Rosa")
		c.Refs.Payee = c.Refs.Patient
	},
	"fill-facts-differ": func(c *cpcds.Claim) {
		l := c.Lines[0]
		l.Set(cpcds.LineNumber, "2")
		l.Set(cpcds.DaysSupply, "10")
		l.Set(cpcds.LineSubmittedAmount, "0.00") // the header says the sum
		c.Lines = append(c.Lines, l)
	},
	"ingredient-facts": func(c *cpcds.Claim) {
		l := c.Lines[0]
		l.Set(cpcds.LineNumber, "2")
		l.Set(cpcds.CompoundParentLineNumber, "1")
		l.Set(cpcds.LineSubmittedAmount, "4.00")
		c.Lines = append(c.Lines, l)
	},
	"alone-service_to_date": func(c *cpcds.Claim) {
		c.Lines[0].Set(cpcds.ServiceFromDate, "")
		c.Lines[0].Set(cpcds.ServiceToDate, "2025-02-03")
	},
	"masked-with-code": maskFirst,
	"code-drg_code": func(c *cpcds.Claim) {
		c.Set(cpcds.DRGName, "MS-DRG")
		c.Set(cpcds.DRGCode, "7204")
	},
	"drg-without-name": func(c *cpcds.Claim) {
		c.Set(cpcds.DRGName, "")
		c.Set(cpcds.DRGCode, "470")
	},
	"own-prior":       func(c *cpcds.Claim) { c.Set(cpcds.ClaimAdjustedFromIdentifier, c.Get(cpcds.ClaimUniqueIdentifier)) },
	"line-renumbered": func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.LineNumber, "0") },
	"revenue-total-line": func(c *cpcds.Claim) {
		l := c.Lines[0]
		l.Set(cpcds.LineNumber, "2")
		l.Set(cpcds.RevenueCenterCode, "0001")
		c.Lines = append(c.Lines, l)
	},
	"compound-drug-code": func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.CompoundCode, "2") },
	"no-orthodontics": func(c *cpcds.Claim) {
		c.Set(cpcds.OrthodonticsTreatmentIndicator, "false")
		c.Set(cpcds.OrthodontiaMonths, "12")
	},
	"admission-dates": func(c *cpcds.Claim) {
		c.Set(cpcds.MemberAdmissionDate, "2024-03-05")
		c.Set(cpcds.MemberDischargeDate, "2024-03-04")
	},
	"code-inpatient_procedure_code_type": func(c *cpcds.Claim) {
		p := cpcds.Procedure{}
		p.Set(cpcds.InpatientProcedureCode, "0SRC0J9")
		p.Set(cpcds.InpatientProcedureCodeType, "icd8")
		c.Procedures = append(c.Procedures, p)
	},
	"rendering-needs-taxonomy":   func(c *cpcds.Claim) { c.Set(cpcds.PerformingProviderNPI, "1800000014") },
	"required-line":              func(c *cpcds.Claim) { c.Lines = nil },
	"required-diagnosis":         func(c *cpcds.Claim) { c.Diagnoses = nil },
	"required-benefit-status":    func(c *cpcds.Claim) { c.Set(cpcds.ClaimBenefitPaymentStatus, "") },
	"code-procedure_modifier":    func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.ProcedureModifierCode4, "X") },
	"code-missing_tooth_numbers": func(c *cpcds.Claim) { c.Set(cpcds.MissingToothNumbers, "1 33") },
	"code-tooth_number":          func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.ToothNumber, "33") },
	"code-additional_tooth_numbers": func(c *cpcds.Claim) {
		c.Lines[0].Set(cpcds.ToothNumber, "3")
		c.Lines[0].Set(cpcds.AdditionalToothNumbers, "4 99")
	},
	"code-tooth_surface": func(c *cpcds.Claim) {
		c.Lines[0].Set(cpcds.ToothNumber, "3")
		c.Lines[0].Set(cpcds.ToothSurface, "M X")
	},
	"surface-needs-tooth": func(c *cpcds.Claim) {
		c.Lines[0].Set(cpcds.ToothNumber, "00")
		c.Lines[0].Set(cpcds.ToothSurface, "M")
	},
	"code-oral_cavity_area": func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.OralCavityArea, "50") },
	"service-dates":         func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.ServiceToDate, "2025-01-01") },
	"compound-parent": func(c *cpcds.Claim) {
		l := c.Lines[0]
		l.Set(cpcds.LineNumber, "2")
		l.Set(cpcds.CompoundParentLineNumber, "9")
		c.Lines = append(c.Lines, l)
	},
	"code-diagnosis_code": func(c *cpcds.Claim) { c.Diagnoses[0].Set(cpcds.DiagnosisCode, "M1711") },
	"code-diagnosis_type": func(c *cpcds.Claim) { c.Diagnoses[0].Set(cpcds.DiagnosisType, "clinical") },
	"one-principal": func(c *cpcds.Claim) {
		second := c.Diagnoses[0]
		second.Set(cpcds.DiagnosisType, "principal")
		c.Diagnoses = append(c.Diagnoses, second)
	},
	"code-present_on_admission":     func(c *cpcds.Claim) { c.Diagnoses[0].Set(cpcds.PresentOnAdmission, "X") },
	"code-inpatient_procedure_code": func(c *cpcds.Claim) { c.Procedures[0].Set(cpcds.InpatientProcedureCode, "81.54") },
	"code-inpatient_procedure_type": func(c *cpcds.Claim) { c.Procedures[0].Set(cpcds.InpatientProcedureType, "second") },
	"code-care_team_role":           func(c *cpcds.Claim) { c.CareTeam[0].Set(cpcds.CareTeamRole, "nurse") },
	"code-care_team_provider_npi":   func(c *cpcds.Claim) { c.CareTeam[0].Set(cpcds.CareTeamProviderNPI, "") },
	"required-amount":               withoutAmounts,
	"required-line-amount":          func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.LineSubmittedAmount, "") },
	"health-account-unknown":        func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.LineAmountPaidByPatientHealthAccount, "1.00") },
	"amounts-eligible":              func(c *cpcds.Claim) { c.Set(cpcds.ClaimTotalEligibleAmount, "9.00") },
	"amounts-member-liability": func(c *cpcds.Claim) {
		c.Set(cpcds.MemberLiability, "5.00")
		c.Set(cpcds.CopayAmount, "4.00")
	},
	"amounts-paid": func(c *cpcds.Claim) {
		c.Set(cpcds.ClaimTotalEligibleAmount, "10.00")
		c.Set(cpcds.MemberLiability, "4.00")
		c.Set(cpcds.CopayAmount, "4.00")
		c.Set(cpcds.ClaimAmountPaidToProvider, "5.00")
	},
	"amounts-of-lines":          func(c *cpcds.Claim) { c.Set(cpcds.ClaimTotalSubmittedAmount, "11.00") },
	"amount-negative":           func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.LineMemberReimbursement, "-1.00") },
	"service-outside-statement": func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.ServiceFromDate, "2025-01-31") },
	"received-before-service":   func(c *cpcds.Claim) { c.Set(cpcds.ClaimReceivedDate, "2025-01-31") },
	"paid-before-adjudication":  func(c *cpcds.Claim) { c.Set(cpcds.ClaimPaidDate, "2025-02-28") },
	"line-facts-without-amount": func(c *cpcds.Claim) {
		c.Lines[0].Set(cpcds.LineSubmittedAmount, "")
		c.Lines[0].Set(cpcds.AllowedNumberOfUnits, "2")
	},
}

func withoutAmounts(c *cpcds.Claim) {
	c.Set(cpcds.ClaimTotalSubmittedAmount, "")
	c.Lines[0].Set(cpcds.LineSubmittedAmount, "")
}

// alsoBroken are rules that cannot be broken alone: another one sees the same.
var alsoBroken = map[string][]string{
	"masked-with-code":                  {"code-diagnosis_code"}, // of release 2.0.0
	"code-drg_name":                     {"alone-drg_name"},
	"code-performing_provider_taxonomy": {"alone-performing_provider_taxonomy"},
	"required-amount":                   {"required-line-amount"},
	"code-performing_provider_npi":      {"rendering-needs-taxonomy"},
}

// breakingOf returns how a rule is broken, nil if nobody says.
func breakingOf(r *carin.Rule) func(c *cpcds.Claim) {
	if f := breaks[r.ID]; f != nil {
		return f
	}
	value := ""
	if strings.HasPrefix(r.ID, "code-") {
		value = "no code"
	} else if strings.HasPrefix(r.ID, carin.AloneRule) {
		value = alone[r.Element]
	} else if !strings.HasPrefix(r.ID, "required-") {
		return nil
	}
	switch r.Element.Info().Level {
	case cpcds.HeaderLevel:
		return func(c *cpcds.Claim) { c.Set(r.Element, value) }
	case cpcds.LineLevel:
		return func(c *cpcds.Claim) { c.Lines[0].Set(r.Element, value) }
	}
	return nil
}

// alone are values of columns that say nothing without another one.
var alone = map[cpcds.Element]string{cpcds.DRGVersion: "42", cpcds.DRGName: "MS-DRG", cpcds.PerformingProviderTaxonomy: "207R00000X",
	cpcds.OrthodonticsTreatmentIndicator: "true", cpcds.OrthodonticsApplianceDate: "2024-01-01", cpcds.PriorProsthesisDate: "2019-01-01",
	cpcds.QuantityQualifierCode: "UN"}

// maskFirst withholds the first diagnosis of a claim and leaves its code.
func maskFirst(c *cpcds.Claim) {
	if len(c.Diagnoses) == 0 {
		c.Diagnoses = make([]cpcds.Diagnosis, 1)
	}
	c.Diagnoses[0].Set(cpcds.DiagnosisCodeType, "masked")
}

// onlyBefore22 are the rules that release 2.2.0 no longer has to fear.
var onlyBefore22 = []string{"provider-type", "required-refills_authorized", "health-account-unknown", "members-birth-sex-unknown"}

// judge returns the ids of the broken rules of a claim: errors, then warnings.
func judge(k *carin.Checker, c *cpcds.Claim, p carin.Profile) (errors, warnings []string) {
	var v carin.Verdict
	var amounts carin.AmountTable
	amounts.Fill(c, p)
	k.Claim(c, &amounts, p, &v)
	return ids(v.Errors), ids(v.Warnings)
}

func ids(problems []cpcds.Problem) []string {
	var list []string
	for _, p := range problems {
		list = append(list, p.Rule)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func TestGoodClaimsPass(t *testing.T) {
	for _, v := range releases {
		k := carin.NewChecker(v)
		for p := range carin.NumProfiles {
			if errors, warnings := judge(k, goodClaim(p), p); len(errors)+len(warnings) > 0 {
				t.Errorf("%s of release %s: errors %v, warnings %v", p, v.Name, errors, warnings)
			}
		}
	}
}

// TestEveryRule breaks each rule of claims in each profile that has it, and
// nothing but that rule must notice.
func TestEveryRule(t *testing.T) {
	for _, v := range releases {
		k := carin.NewChecker(v)
		for i := range k.Rules() {
			r := &k.Rules()[i]
			if len(r.Profiles) == 0 {
				continue
			}
			if strings.HasPrefix(r.ID, "unused-") {
				continue // TestUnusedColumns
			}
			breaking := breakingOf(r)
			if breaking == nil {
				t.Errorf("%s: no claim of this test breaks it", r.ID)
				continue
			}
			for _, p := range r.Profiles {
				c := goodClaim(p)
				breaking(c)
				errors, warnings := judge(k, c, p)
				got := append(errors, warnings...)
				if v == carin.V220 && slices.Contains(onlyBefore22, r.ID) {
					if len(got) > 0 {
						t.Errorf("%s in %s of release %s: broken are %v, want none", r.ID, p, v.Name, got)
					}
					continue
				}
				where := errors
				if r.Severity == carin.Warning {
					where = warnings
				}
				if !slices.Contains(where, r.ID) {
					t.Errorf("%s in %s of release %s is not broken: errors %v, warnings %v", r.ID, p, v.Name, errors, warnings)
				}
				for _, id := range got {
					if id != r.ID && !slices.Contains(alsoBroken[r.ID], id) {
						t.Errorf("%s in %s of release %s: %s is broken too", r.ID, p, v.Name, id)
					}
				}
			}
		}
	}
}

// TestRuleIDs: rejects, accounts and replays name rules by their ids.
func TestRuleIDs(t *testing.T) {
	for _, v := range releases {
		seen := map[string]bool{}
		for _, r := range carin.NewChecker(v).Rules() {
			if seen[r.ID] {
				t.Errorf("release %s has the rule %s twice", v.Name, r.ID)
			}
			seen[r.ID] = true
			if r.Text == "" || strings.ContainsAny(r.ID, " ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
				t.Errorf("the rule %q is not described, or its id is no id", r.ID)
			}
		}
		for id := range breaks {
			if !seen[id] {
				t.Errorf("this test breaks %s, which is no rule of release %s", id, v.Name)
			}
		}
	}
}

// TestProblemsNameTheirPlace: a reject shows the row and the column that a problem
// names.
func TestProblemsNameTheirPlace(t *testing.T) {
	k := carin.NewChecker(carin.V220)
	c := goodClaim(carin.Professional)
	second := c.Lines[0]
	second.Set(cpcds.LineNumber, "2")
	second.Set(cpcds.ProcedureModifierCode2, "X")
	c.Lines = append(c.Lines, second)
	c.Set(cpcds.ClaimPaymentStatusCode, "complete")
	c.Problems = []cpcds.Problem{{Rule: "value-date", Element: cpcds.ClaimPaidDate, Row: -1}}
	var v carin.Verdict
	var amounts carin.AmountTable
	amounts.Fill(c, carin.Professional)
	k.Claim(c, &amounts, carin.Professional, &v)
	want := []cpcds.Problem{
		{Rule: "value-date", Element: cpcds.ClaimPaidDate, Row: -1},
		{Rule: "code-claim_payment_status_code", Element: cpcds.ClaimPaymentStatusCode, Row: -1},
		{Rule: "code-procedure_modifier", Element: cpcds.ProcedureModifierCode2, Row: 1},
	}
	if diff := cmp.Diff(want, v.Errors); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if v.OK() {
		t.Error("a verdict with errors is OK")
	}
	if v.Reset(); !v.OK() {
		t.Error("Reset leaves errors behind")
	}
}

// TestAllowed are claims that look odd and are right.
func TestAllowed(t *testing.T) {
	for _, test := range []struct {
		name    string
		profile carin.Profile
		change  func(c *cpcds.Claim)
	}{
		{"vision without a code", carin.Professional, func(c *cpcds.Claim) {
			c.Set(cpcds.ClaimType, "vision")
			c.Lines[0].Set(cpcds.ProcedureCode, "")
		}},
		{"newborn from another hospital", carin.Inpatient, func(c *cpcds.Claim) {
			c.Set(cpcds.AdmissionTypeCode, "4")
			c.Set(cpcds.PointOfOriginCode, "6")
		}},
		{"compound without an NDC", carin.Pharmacy, func(c *cpcds.Claim) {
			c.Lines[0].Set(cpcds.CompoundCode, "2")
			c.Lines[0].Set(cpcds.NationalDrugCode, "")
		}},
		{"benefit status on the lines alone", carin.Professional, func(c *cpcds.Claim) {
			c.Set(cpcds.ClaimBenefitPaymentStatus, "")
			c.Lines[0].Set(cpcds.LineBenefitPaymentStatus, "other")
		}},
		{"institutional amounts in the header alone", carin.Outpatient, func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.LineSubmittedAmount, "") }},
		{"institutional amounts on the lines alone", carin.Inpatient, func(c *cpcds.Claim) { c.Set(cpcds.ClaimTotalSubmittedAmount, "") }},
		{"masked diagnosis", carin.Oral, func(c *cpcds.Claim) {
			c.Diagnoses[0].Set(cpcds.DiagnosisCode, "")
			c.Diagnoses[0].Set(cpcds.DiagnosisCodeType, "masked")
		}},
		{"ICD-9 stay", carin.Inpatient, func(c *cpcds.Claim) {
			c.Diagnoses[0].Set(cpcds.DiagnosisCode, "715.36")
			c.Diagnoses[0].Set(cpcds.DiagnosisCodeType, "icd9")
			c.Procedures[0].Set(cpcds.InpatientProcedureCode, "81.54")
			c.Procedures[0].Set(cpcds.InpatientProcedureCodeType, "icd9")
		}},
		{"rendering organization of a hospital", carin.Outpatient, func(c *cpcds.Claim) {
			c.Refs.Providers[cpcds.Rendering] = "Organization/o3"
		}},
		{"oral claim without a diagnosis", carin.Oral, func(c *cpcds.Claim) { c.Diagnoses = nil }},
		{"person who bills for a hospital", carin.Inpatient, func(c *cpcds.Claim) { c.Refs.Providers[cpcds.Billing] = "Practitioner/r1" }},
	} {
		c := goodClaim(test.profile)
		test.change(c)
		if errors, _ := judge(carin.NewChecker(carin.V220), c, test.profile); len(errors) > 0 {
			t.Errorf("%s: %v", test.name, errors)
		}
	}
}

// TestUnusedColumns fills each column that a profile has no place for: a warning
// names it, and every other rule is silent about it being there.
func TestUnusedColumns(t *testing.T) {
	k := carin.NewChecker(carin.V220)
	for i := range k.Rules() {
		r := &k.Rules()[i]
		if !strings.HasPrefix(r.ID, "unused-") {
			continue
		}
		for _, p := range r.Profiles {
			c, x := goodClaim(p), "x"
			if r.Element.Info().Kind == cpcds.FlagKind {
				x = "true"
			}
			switch r.Element.Info().Level {
			case cpcds.HeaderLevel:
				c.Set(r.Element, x)
			case cpcds.LineLevel:
				c.Lines[len(c.Lines)-1].Set(r.Element, x)
			case cpcds.DiagnosisLevel:
				c.Diagnoses = append(c.Diagnoses, cpcds.Diagnosis{})
				c.Diagnoses[len(c.Diagnoses)-1].Set(r.Element, x)
			case cpcds.ProcedureLevel:
				c.Procedures = append(c.Procedures, cpcds.Procedure{})
				c.Procedures[len(c.Procedures)-1].Set(r.Element, x)
			case cpcds.CareTeamLevel:
				c.CareTeam = append(c.CareTeam, cpcds.CareTeam{})
				c.CareTeam[len(c.CareTeam)-1].Set(r.Element, x)
			}
			if _, warnings := judge(k, c, p); !slices.Contains(warnings, r.ID) {
				t.Errorf("%s of %s is filled, warnings are %v", r.Element, p, warnings)
			}
		}
	}
}
