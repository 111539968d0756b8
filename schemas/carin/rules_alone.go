package carin

import "cpcds2fhir/schemas/cpcds"

// companions are columns that mean nothing without another one: a replacement date, for example,
// has no place in the resource if the claim does not say that a prosthesis was replaced.
var companions = []struct {
	element, needs cpcds.Element
	profiles       []Profile
}{
	{cpcds.DRGVersion, cpcds.DRGCode, []Profile{Inpatient}},
	{cpcds.DRGName, cpcds.DRGCode, []Profile{Inpatient}},
	{cpcds.ServiceToDate, cpcds.ServiceFromDate, []Profile{Inpatient}},
	{cpcds.PerformingProviderTaxonomy, cpcds.PerformingProviderNPI, []Profile{Outpatient, Professional, Oral}},
	{cpcds.OrthodonticsTreatmentIndicator, cpcds.OrthodontiaMonths, []Profile{Oral}},
	{cpcds.OrthodonticsApplianceDate, cpcds.OrthodontiaMonths, []Profile{Oral}},
	{cpcds.PriorProsthesisDate, cpcds.ProsthesisReplacementIndicator, []Profile{Oral}},
	{cpcds.QuantityQualifierCode, cpcds.QuantityDispensed, []Profile{Pharmacy}},
}

// AloneRule begins the ids of the rules about companions.
const AloneRule = "alone-"

func aloneRules() []Rule {
	var rules []Rule
	for _, x := range companions {
		check := func(c *cpcds.Claim, r *report) {
			if v := c.Header.Get(x.element); v != "" && v != "false" && c.Header.Get(x.needs) == "" {
				r.fail(-1)
			}
		}
		if x.element.Info().Level == cpcds.LineLevel {
			check = func(c *cpcds.Claim, r *report) {
				for i := range c.Lines {
					if l := &c.Lines[i]; l.Get(x.element) != "" && l.Get(x.needs) == "" {
						r.fail(i)
					}
				}
			}
		}
		rules = append(rules, warning(claimRule(AloneRule+x.element.Column(), x.profiles, x.element,
			x.element.Column()+" means nothing without "+x.needs.Column()+"; it is left out", check)))
	}
	return append(rules, warning(claimRule("no-orthodontics", []Profile{Oral}, cpcds.OrthodontiaMonths,
		"if orthodontics_treatment_indicator is false, treatment months and appliance placement date mean nothing; they are left out",
		func(c *cpcds.Claim, r *report) {
			if c.Get(cpcds.OrthodonticsTreatmentIndicator) != "false" {
				return
			}
			for _, e := range [2]cpcds.Element{cpcds.OrthodontiaMonths, cpcds.OrthodonticsApplianceDate} {
				if c.Get(e) != "" {
					r.failAt(e, -1)
				}
			}
		})))
}
