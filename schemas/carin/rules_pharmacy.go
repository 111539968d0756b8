package carin

import (
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// fillFacts are on the lines in practice and occur once in the profile: the first line that has one
// counts.
var fillFacts = []cpcds.Element{cpcds.RxServiceReferenceNumber, cpcds.DaysSupply, cpcds.DawProductSelectionCode, cpcds.RefillNumber,
	cpcds.RefillsAuthorized, cpcds.PrescriptionOriginCode, cpcds.PlanReportedBrandGenericCode, cpcds.CompoundCode}

// ingredientFacts describe the ingredient of a row; detailFacts may also be those of the compound,
// which every row of a claim may repeat.
var (
	ingredientFacts = []cpcds.Element{cpcds.LineNumber, cpcds.CompoundParentLineNumber, cpcds.NationalDrugCode, cpcds.DrugDescription,
		cpcds.QuantityDispensed, cpcds.QuantityQualifierCode}
	detailFacts = func() (list []cpcds.Element) {
		for _, e := range cpcds.Columns(cpcds.Claims) {
			if e.Info().Level == cpcds.LineLevel && !slices.Contains(ingredientFacts, e) {
				list = append(list, e)
			}
		}
		return list
	}()
)

// pharmacyRules warn of facts on the lines of a pharmacy claim that the profile has only one place
// for.
func pharmacyRules() []Rule {
	rx := []Profile{Pharmacy}
	return []Rule{
		warning(claimRule("fill-facts-differ", rx, cpcds.DaysSupply,
			"what a pharmacy claim has once (days supply, refills, codes and number of the prescription) must not differ from line to line; the first line counts",
			func(c *cpcds.Claim, r *report) {
				for _, e := range fillFacts {
					fact := c.FillFact(e)
					for i := range c.Lines {
						if v := c.Lines[i].Get(e); v != "" && v != fact && !Ingredient(r.profile, &c.Lines[i]) {
							r.failAt(e, i)
						}
					}
				}
			})),
		warning(claimRule("compound-drug-code", rx, cpcds.NationalDrugCode,
			"a compound (compound_code 2) must not have a drug code, only its ingredients; it is left out",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					if l := &c.Lines[i]; l.Get(cpcds.CompoundCode) == "2" && l.Get(cpcds.NationalDrugCode) != "" && !Ingredient(r.profile, l) {
						r.fail(i)
					}
				}
			})),
		warning(claimRule("ingredient-facts", rx, cpcds.LineSubmittedAmount,
			"the row of an ingredient becomes a detail with drug code, description and quantity; other values, unless the compound has them too, are left out",
			func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					l := &c.Lines[i]
					if !Ingredient(r.profile, l) {
						continue
					}
					parent := slices.IndexFunc(c.Lines, func(x cpcds.Line) bool {
						return x.Get(cpcds.LineNumber) == l.Get(cpcds.CompoundParentLineNumber)
					})
					if parent < 0 { // the claim is rejected
						continue
					}
					for _, e := range detailFacts {
						if v := l.Get(e); v != "" && v != c.Lines[parent].Get(e) && Uses(r.profile, e) {
							r.failAt(e, i)
						}
					}
				}
			})),
	}
}
