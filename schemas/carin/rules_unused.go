package carin

import (
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// unseen are elements that become no value of a resource and are not lost: they
// order records, hold claims together or say how another column is read.
var unseen = []cpcds.Element{cpcds.ClaimSourceVersion, cpcds.LineNumber}

// UnusedRule begins the ids of the rules about columns without a place.
const UnusedRule = "unused-"

// unusedRules warn of columns that are filled although the resource of the profile
// has no place for them, so that no value is lost without a word.
func unusedRules() []Rule {
	var rules []Rule
	for _, e := range cpcds.Columns(cpcds.Claims) {
		if slices.Contains(unseen, e) {
			continue
		}
		var profiles []Profile
		for p := range NumProfiles {
			if !Uses(p, e) {
				profiles = append(profiles, p)
			}
		}
		if len(profiles) == 0 {
			continue
		}
		rules = append(rules, warning(claimRule(UnusedRule+e.Column(), profiles, e,
			e.Column()+" has no place in the resource of this profile; it is left out", filledIn(e))))
	}
	return rules
}

// filledIn fails at the first record of a claim in which the element is filled. A
// flag that is false says nothing that is lost.
func filledIn(e cpcds.Element) func(c *cpcds.Claim, r *report) {
	if e.Info().Kind == cpcds.FlagKind {
		return func(c *cpcds.Claim, r *report) {
			for i := range c.Diagnoses {
				if e.Info().Level == cpcds.DiagnosisLevel && c.Diagnoses[i].Get(e) == "true" {
					r.fail(i)
					return
				}
			}
			if e.Info().Level == cpcds.HeaderLevel && c.Header.Get(e) == "true" {
				r.fail(-1)
			}
		}
	}
	switch e.Info().Level {
	case cpcds.LineLevel:
		return func(c *cpcds.Claim, r *report) { failFirst(c.Lines, func(x *cpcds.Line) string { return x.Get(e) }, r) }
	case cpcds.DiagnosisLevel:
		return func(c *cpcds.Claim, r *report) {
			failFirst(c.Diagnoses, func(x *cpcds.Diagnosis) string { return x.Get(e) }, r)
		}
	case cpcds.ProcedureLevel:
		return func(c *cpcds.Claim, r *report) {
			failFirst(c.Procedures, func(x *cpcds.Procedure) string { return x.Get(e) }, r)
		}
	case cpcds.CareTeamLevel:
		return func(c *cpcds.Claim, r *report) {
			failFirst(c.CareTeam, func(x *cpcds.CareTeam) string { return x.Get(e) }, r)
		}
	}
	return func(c *cpcds.Claim, r *report) {
		if c.Header.Get(e) != "" {
			r.fail(-1)
		}
	}
}

func failFirst[T any](records []T, get func(*T) string, r *report) {
	for i := range records {
		if get(&records[i]) != "" {
			r.fail(i)
			return
		}
	}
}
