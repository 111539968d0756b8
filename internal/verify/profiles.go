package verify

import (
	"slices"
	"strings"
)

// guide is the prefix of the canonical URLs of the guide's profiles.
const guide = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/"

// known is the guide's list of profiles by resource type, with the releases that have them
// (https://hl7.org/fhir/us/carin-bb/artifacts.html). It is repeated here, independently of
// schemas/carin, so that a mistake there is found.
var known = map[string][]profile{
	"Coverage":      {{"C4BB-Coverage", both}},
	"Organization":  {{"C4BB-Organization", both}},
	"Patient":       {{"C4BB-Patient", both}},
	"Practitioner":  {{"C4BB-Practitioner", both}},
	"RelatedPerson": {{"C4BB-RelatedPerson", both}},
	"ExplanationOfBenefit": {
		{"C4BB-ExplanationOfBenefit-Inpatient-Institutional", both},
		{"C4BB-ExplanationOfBenefit-Outpatient-Institutional", both},
		{"C4BB-ExplanationOfBenefit-Professional-NonClinician", both},
		{"C4BB-ExplanationOfBenefit-Pharmacy", both},
		{"C4BB-ExplanationOfBenefit-Oral", both},
		{"C4BB-ExplanationOfBenefit-Inpatient-Institutional-Basis", []string{"2.2.0"}},
		{"C4BB-ExplanationOfBenefit-Outpatient-Institutional-Basis", []string{"2.2.0"}},
		{"C4BB-ExplanationOfBenefit-Professional-NonClinician-Basis", []string{"2.2.0"}},
		{"C4BB-ExplanationOfBenefit-Pharmacy-Basis", []string{"2.2.0"}},
		{"C4BB-ExplanationOfBenefit-Oral-Basis", []string{"2.2.0"}},
	},
}

type profile struct {
	id       string
	releases []string
}

var both = []string{"2.0.0", "2.2.0"}

// knownProfile reports whether a canonical URL with a release is a profile of a type.
func knownProfile(of, canonical string) bool {
	name, release, _ := strings.Cut(canonical, "|")
	id, ok := strings.CutPrefix(name, guide)
	return ok && slices.ContainsFunc(known[of], func(p profile) bool { return p.id == id && slices.Contains(p.releases, release) })
}
