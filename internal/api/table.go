package api

import (
	"slices"

	"cpcds2fhir/schemas/fhir"
)

// paramKind is the type of a search parameter, as FHIR names it.
type paramKind string

const (
	kindToken     paramKind = "token"
	kindDate      paramKind = "date"
	kindReference paramKind = "reference"
)

// param is a search parameter of a type.
type param struct {
	name       string
	kind       paramKind
	index      fhir.Param // of its entries in the store; numParams stands for _id and _lastUpdated
	definition string     // canonical URL
	targets    []fhir.Type
	doc        string
	search     bool // it can be searched by; otherwise it is only for includes
	include    bool // _include follows it
	sort       bool
}

// none is the index of parameters that are no index entries.
const none = fhir.NumParams

// resourceType is what the server can do with a type.
type resourceType struct {
	typ     fhir.Type
	profile []string // canonical URLs without version
	params  []param
	// reverse are the parameters of other types that _revinclude follows to this one.
	reverse []reverse
	// member is the parameter that says whose a resource is; none for those that are nobody's.
	member fhir.Param
	// mandatory and summary are the elements that _elements keeps and that _summary=true shows, from
	// the R4 definitions.
	mandatory, summary []string
	everything         bool // $everything
}

// reverse is a parameter of another type.
type reverse struct {
	typ  fhir.Type
	name string
}

const (
	carinProfile = "http://hl7.org/fhir/us/carin-bb/StructureDefinition/"
	carinParam   = "http://hl7.org/fhir/us/carin-bb/SearchParameter/"
	baseParam    = "http://hl7.org/fhir/SearchParameter/"
)

var (
	byID = param{name: "_id", kind: kindToken, index: none, definition: baseParam + "Resource-id", search: true,
		doc: "the logical id; several ids with commas"}
	byUpdate = param{name: "_lastUpdated", kind: kindDate, index: none, definition: baseParam + "Resource-lastUpdated", search: true, sort: true,
		doc: "when the resource last changed, in the payer's system or here, whichever was later"}
)

func eob(name string, kind paramKind, p fhir.Param, doc string) param {
	return param{name: name, kind: kind, index: p, definition: carinParam + "explanationofbenefit-" + name, search: true, doc: doc}
}

func (p param) following(targets ...fhir.Type) param {
	p.include, p.targets = true, targets
	return p
}

func (p param) sorting() param {
	p.sort = true
	return p
}

// types is the table.
var types = []resourceType{
	{
		typ: fhir.ExplanationOfBenefit, member: fhir.ParamPatient,
		profile: []string{carinProfile + "C4BB-ExplanationOfBenefit", carinProfile + "C4BB-ExplanationOfBenefit-Inpatient-Institutional",
			carinProfile + "C4BB-ExplanationOfBenefit-Outpatient-Institutional", carinProfile + "C4BB-ExplanationOfBenefit-Professional-NonClinician",
			carinProfile + "C4BB-ExplanationOfBenefit-Pharmacy", carinProfile + "C4BB-ExplanationOfBenefit-Oral"},
		params: []param{
			byID, byUpdate,
			eob("patient", kindReference, fhir.ParamPatient, "the member: ID, Patient/ID, or the URL of the Patient").following(fhir.Patient),
			eob("type", kindToken, fhir.ParamType, "the kind of claim: institutional, oral, pharmacy, professional or vision"),
			eob("identifier", kindToken, fhir.ParamIdentifier, "the number of the claim or of the prescription"),
			eob("service-date", kindDate, fhir.ParamServiceDate, "the billable period, or the date or period of any line").sorting(),
			eob("service-start-date", kindDate, fhir.ParamServiceStartDate, "the beginning of the billable period or of any line"),
			eob("billable-period-start", kindDate, fhir.ParamBillablePeriodStart, "the beginning of the billable period").sorting(),
			eob("provider", kindReference, fhir.ParamProvider, "the billing provider").following(fhir.Organization, fhir.Practitioner),
			eob("care-team", kindReference, fhir.ParamCareTeam, "a member of the care team").following(fhir.Organization, fhir.Practitioner),
			eob("coverage", kindReference, fhir.ParamCoverage, "a coverage that the claim was made under").following(fhir.Coverage),
			eob("insurer", kindReference, fhir.ParamInsurer, "the payer").following(fhir.Organization),
			param{name: "payee", kind: kindReference, index: fhir.ParamPayee, definition: baseParam + "ExplanationOfBenefit-payee", search: true,
				doc: "who was paid; the guide asks for its _include and leaves the parameter to FHIR"}.following(fhir.Organization, fhir.Practitioner, fhir.Patient, fhir.RelatedPerson),
		},
		mandatory: []string{"status", "type", "use", "patient", "created", "insurer", "provider", "outcome", "insurance"},
		summary: []string{"implicitRules", "status", "type", "use", "patient", "billablePeriod", "created", "insurer", "provider", "outcome",
			"insurance", "total"},
	},
	{
		typ: fhir.Coverage, member: fhir.ParamPatient, profile: []string{carinProfile + "C4BB-Coverage"},
		params: []param{
			byID, byUpdate,
			param{name: "patient", kind: kindReference, index: fhir.ParamPatient, definition: baseParam + "Coverage-patient", search: true,
				doc: "the member whom it covers"}.following(fhir.Patient),
			param{name: "beneficiary", kind: kindReference, index: fhir.ParamPatient, definition: baseParam + "Coverage-beneficiary", search: true,
				doc: "the member whom it covers"}.following(fhir.Patient),
			{name: "identifier", kind: kindToken, index: fhir.ParamIdentifier, definition: baseParam + "Coverage-identifier", search: true,
				doc: "the number of the coverage"},
			param{name: "payor", kind: kindReference, index: fhir.ParamPayor, definition: carinParam + "coverage-payor", search: true,
				doc: "the payer"}.following(fhir.Organization),
		},
		mandatory: []string{"status", "beneficiary", "payor"},
		summary: []string{"implicitRules", "identifier", "status", "type", "policyHolder", "subscriber", "subscriberId", "beneficiary", "dependent",
			"period", "payor", "order", "network"},
	},
	{
		typ: fhir.Patient, member: none, profile: []string{carinProfile + "C4BB-Patient"},
		params: []param{byID, byUpdate, {name: "identifier", kind: kindToken, index: fhir.ParamIdentifier,
			definition: baseParam + "Patient-identifier", search: true, doc: "the number of the member"}},
		reverse: []reverse{{fhir.ExplanationOfBenefit, "patient"}, {fhir.Coverage, "beneficiary"}, {fhir.Coverage, "patient"}},
		summary: []string{"implicitRules", "identifier", "active", "name", "telecom", "gender", "birthDate", "deceasedBoolean", "deceasedDateTime",
			"address", "managingOrganization", "link"},
		everything: true,
	},
	{
		typ: fhir.Organization, member: none, profile: []string{carinProfile + "C4BB-Organization"},
		params: []param{byID, byUpdate, {name: "identifier", kind: kindToken, index: fhir.ParamIdentifier,
			definition: baseParam + "Organization-identifier", search: true, doc: "an NPI, or the payer's own number"}},
		summary: []string{"implicitRules", "identifier", "active", "type", "name", "partOf"},
	},
	{
		typ: fhir.Practitioner, member: none, profile: []string{carinProfile + "C4BB-Practitioner"},
		params: []param{byID, byUpdate, {name: "identifier", kind: kindToken, index: fhir.ParamIdentifier,
			definition: baseParam + "Practitioner-identifier", search: true, doc: "an NPI, or the payer's own number"}},
		summary: []string{"implicitRules", "identifier", "active", "name", "telecom", "address", "gender", "birthDate"},
	},
	{
		typ: fhir.RelatedPerson, member: fhir.ParamPatient, profile: []string{carinProfile + "C4BB-RelatedPerson"},
		params: []param{byID, byUpdate, param{name: "patient", kind: kindReference, index: fhir.ParamPatient, definition: baseParam + "RelatedPerson-patient",
			search: true, doc: "the member"}.following(fhir.Patient)},
		mandatory: []string{"patient"},
		summary:   []string{"implicitRules", "identifier", "active", "patient", "relationship", "name", "telecom", "gender", "birthDate", "address"},
	},
}

// typeNamed returns what the server can do with a type, nil if it does not have it.
func typeNamed(name string) *resourceType {
	for i := range types {
		if types[i].typ.String() == name {
			return &types[i]
		}
	}
	return nil
}

func tableOf(t fhir.Type) *resourceType { return typeNamed(t.String()) }

// param returns a search parameter, nil if the type does not have it.
func (t *resourceType) param(name string) *param {
	i := slices.IndexFunc(t.params, func(p param) bool { return p.name == name })
	if i < 0 {
		return nil
	}
	return &t.params[i]
}

// names lists the parameters that satisfy a condition.
func (t *resourceType) names(is func(p *param) bool) (list []string) {
	for i := range t.params {
		if is(&t.params[i]) {
			list = append(list, t.params[i].name)
		}
	}
	return list
}

// control is a parameter that is about the answer, not about what is in it.
type control struct {
	name, doc string
	values    []string // those that are allowed; nil is any
}

// controls are the parameters of every search.
var controls = []control{
	{name: "_count", doc: "how many resources a page has, includes not counted; 0 is the total alone"},
	{name: "_sort", doc: "names of parameters to sort by, with - before those that descend"},
	{name: "_include", doc: "references to follow, as Type:parameter or Type:parameter:Target, or * for all"},
	{name: "_include:iterate", doc: "as _include, also from resources that were included"},
	{name: "_revinclude", doc: "resources that refer to those found, as Type:parameter"},
	{name: "_revinclude:iterate", doc: "as _revinclude, also to resources that were included"},
	{name: "_summary", doc: "count: the total alone; true: the elements that sum a resource up; text: its narrative; data: all but the narrative", values: []string{"true", "false", "text", "data", "count"}},
	{name: "_elements", doc: "the elements to return, besides those that must be there"},
	{name: "_total", doc: "whether the Bundle says how many resources there are on all pages", values: []string{"none", "estimate", "accurate"}},
	{name: "_format", doc: "the format, which counts more than Accept; only JSON is written", values: formats},
	{name: "_pretty", doc: "true indents the answer", values: []string{"true", "false"}},
	{name: cursorParam, doc: "the page, as the link of the page before names it"},
}

func isControl(name string) bool {
	return slices.ContainsFunc(controls, func(c control) bool { return c.name == name })
}
