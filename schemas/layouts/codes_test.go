package layouts

import (
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// unjudged elements have closed codes that no rule of the profiles names: what they
// stand for decides.
var unjudged = []cpcds.Element{cpcds.InpatientProcedureCodeType, cpcds.InpatientProcedureType, cpcds.DiagnosisCodeType}

// TestCodesAreThoseOfTheRules proves that the rules accept each listed code in some
// profile and refuse another one.
func TestCodesAreThoseOfTheRules(t *testing.T) {
	k := carin.NewChecker(carin.V220)
	for el, codes := range closedCodes() {
		switch {
		case slices.Contains(unjudged, el):
			continue
		case el == cpcds.ClaimType || el == cpcds.ClaimSubType:
			for _, code := range codes {
				var c cpcds.Claim
				c.Set(cpcds.ClaimType, "institutional")
				c.Set(cpcds.ClaimSubType, "inpatient")
				c.Set(el, code)
				if _, ok := carin.ProfileOf(&c); !ok {
					t.Errorf("%s %s makes no profile", el, code)
				}
			}
			continue
		}
		for _, code := range codes {
			if refusals(k, el, code) == carin.NumProfiles {
				t.Errorf("the rules refuse %s of %s", code, el)
			}
		}
		if refusals(k, el, "zz") == 0 {
			t.Errorf("the rules do not know that the codes of %s are closed", el)
		}
	}
}

// refusals counts the profiles that refuse a code, of a small table all or none.
func refusals(k *carin.Checker, el cpcds.Element, code string) carin.Profile {
	refused := func(v *carin.Verdict) bool {
		return slices.ContainsFunc(v.Errors, func(p cpcds.Problem) bool {
			return p.Element == el && !strings.Contains(p.Rule, "required")
		})
	}
	if t := el.Info().Level.Table(); t != cpcds.Claims {
		var v carin.Verdict
		k.Row(t, func(e cpcds.Element) string {
			if e == el {
				return code
			}
			return ""
		}, &v)
		if refused(&v) {
			return carin.NumProfiles
		}
		return 0
	}
	var n carin.Profile
	for p := range carin.NumProfiles {
		var c cpcds.Claim
		c.Lines, c.Diagnoses, c.Procedures = make([]cpcds.Line, 1), make([]cpcds.Diagnosis, 1), make([]cpcds.Procedure, 1)
		switch el.Info().Level {
		case cpcds.LineLevel:
			c.Lines[0].Set(el, code)
		case cpcds.DiagnosisLevel:
			c.Diagnoses[0].Set(el, code)
		default:
			c.Set(el, code)
		}
		var v carin.Verdict
		var amounts carin.AmountTable
		amounts.Fill(&c, p)
		k.Claim(&c, &amounts, p, &v)
		if refused(&v) {
			n++
		}
	}
	return n
}
