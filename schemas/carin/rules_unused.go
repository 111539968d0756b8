package carin

import (
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

// unseen are elements that do not become a value of a resource but are not lost: they order
// records, group claims or say how another column is read.
var unseen = []cpcds.Element{cpcds.ClaimSourceVersion, cpcds.LineNumber}

// UnusedRule begins the ids of the rules about columns without a place.
const UnusedRule = "unused-"

// unusedRules warn of filled columns that the resource of the profile has no place for, so that no
// value is lost silently.
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

// filledIn fails at the first record of a claim in which the element is filled. A false flag does
// not count: nothing is lost with it.
func filledIn(e cpcds.Element) func(c *cpcds.Claim, r *report) {
	no := ""
	if e.Info().Kind == cpcds.FlagKind {
		no = "false"
	}
	switch e.Info().Level {
	case cpcds.LineLevel:
		return func(c *cpcds.Claim, r *report) {
			failFirst(c.Lines, func(x *cpcds.Line) string { return x.Get(e) }, no, r)
		}
	case cpcds.DiagnosisLevel:
		return func(c *cpcds.Claim, r *report) {
			failFirst(c.Diagnoses, func(x *cpcds.Diagnosis) string { return x.Get(e) }, no, r)
		}
	case cpcds.ProcedureLevel:
		return func(c *cpcds.Claim, r *report) {
			failFirst(c.Procedures, func(x *cpcds.Procedure) string { return x.Get(e) }, no, r)
		}
	case cpcds.CareTeamLevel:
		return func(c *cpcds.Claim, r *report) {
			failFirst(c.CareTeam, func(x *cpcds.CareTeam) string { return x.Get(e) }, no, r)
		}
	}
	return func(c *cpcds.Claim, r *report) {
		if v := c.Header.Get(e); v != "" && v != no {
			r.fail(-1)
		}
	}
}

// failFirst fails at the first record that has a value other than no.
func failFirst[T any](records []T, get func(*T) string, no string, r *report) {
	for i := range records {
		if v := get(&records[i]); v != "" && v != no {
			r.fail(i)
			return
		}
	}
}
