package carin

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// essential elements are never left out, even if no profile requires them: without them the
// resource would be a different one, or wrong. What is left out of a claim must not change who was
// treated for what, or what it cost.
var essential = map[cpcds.Element]string{
	cpcds.ClaimUniqueIdentifier:    "it tells claims apart",
	cpcds.ClaimSourceVersion:       "it says which record is the newest",
	cpcds.ClaimType:                "it chooses the profile",
	cpcds.ClaimSubType:             "it chooses the profile",
	cpcds.MemberID:                 "it says whose claim it is",
	cpcds.CoverageID:               "it says who pays",
	cpcds.ClaimPayerIdentifier:     "it says who pays",
	cpcds.LineNumber:               "it tells lines apart",
	cpcds.DiagnosisCode:            "it says what was treated",
	cpcds.DiagnosisCodeType:        "it says what the code means",
	cpcds.DiagnosisType:            "without it another diagnosis may look like the principal one",
	cpcds.NationalDrugCode:         "it says what was dispensed",
	cpcds.CompoundCode:             "it says what the drug code means",
	cpcds.CompoundParentLineNumber: "it says what a line is part of",
	cpcds.RxServiceReferenceNumber: "it tells fills apart",
	cpcds.QuantityDispensed:        "it says how much was dispensed",
	cpcds.QuantityQualifierCode:    "it says what the quantity means",
}

// Essential says why a value of an element is never left out, "" if it may be left out where the
// profile does not require it.
func Essential(e cpcds.Element) string {
	if e == cpcds.NoElement {
		return "no single value is at fault"
	}
	if why := essential[e]; why != "" {
		return why
	}
	switch e.Info().Kind {
	case cpcds.MoneyKind:
		return "the amounts would no longer be those of the claim"
	case cpcds.QuantityKind:
		return "it says how much"
	case cpcds.IDKind:
		if slices.Contains(cpcds.Columns(cpcds.Claims), e) { // claims have several of the others
			return "it says which one is meant"
		}
	}
	return ""
}

// leavable are the rules about one value, other than those about its form, that are met once the
// value is gone.
var leavable = map[string]bool{"point-of-origin": true, "surface-needs-tooth": true, "care-team-practitioner": true,
	"members-death-date": true, "poa-conflict": true}

// LeavesOut reports whether a claim or row that breaks a rule at an element is still right without
// the value. The rules decide whether what is left is valid.
func LeavesOut(rule string, t cpcds.Table, e cpcds.Element) bool {
	form := strings.HasPrefix(rule, "code-") || strings.HasPrefix(rule, "value-") || strings.HasPrefix(rule, t.String()+"-code-")
	return (form || leavable[rule]) && Essential(e) == ""
}

// Demands reports whether a rule requires the element in at least some claims of a profile.
func (k *Checker) Demands(t cpcds.Table, p Profile, e cpcds.Element) bool {
	rules := k.rows[t]
	if t == cpcds.Claims {
		rules = k.claims[p]
	}
	return slices.ContainsFunc(rules, func(r *Rule) bool {
		return r.Element == e && r.Severity == Error && strings.Contains(r.ID, "required")
	})
}

// LeavesOutAll reports whether everything that is wrong with a claim or row may be left out.
func LeavesOutAll(problems []cpcds.Problem, t cpcds.Table) bool {
	return !slices.ContainsFunc(problems, func(x cpcds.Problem) bool { return !LeavesOut(x.Rule, t, x.Element) })
}
