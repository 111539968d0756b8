// Package mappers turns claims, and rows of the small tables, into resources of
// the CARIN Blue Button profiles. There is one file per profile that reads like
// the profile; eob.go holds what the five ExplanationOfBenefit profiles share.
//
// Mappers are pure: the same input gives the same bytes. They do no I/O, read no clock and keep no
// state. Their input has passed the rules of package carin, so they cannot fail. The comment above
// a line names the CPCDS MapID.
package mappers

import (
	"sync"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Systems are the Identifier.system URIs of the payer's own identifiers.
type Systems struct {
	Claim, Member, UniqueMember, Provider, Organization, Payer, Coverage string
}

// Mapper maps for one release of the guide. It is safe for concurrent use.
type Mapper struct {
	version *carin.Version
	systems Systems

	eob          [carin.NumProfiles]eobFragments
	coding       versioned
	patient      patientFragments
	coverage     coverageFragments
	organization organizationFragments
	practitioner practitionerFragments
	amounts      carin.AmountSet // that the release knows
	scratch      sync.Pool
}

// identified begins the system and value of an Identifier; a layout may have no system.
func identified(system string) string {
	if system == "" {
		return `"value":"`
	}
	return `"system":"` + system + `","value":"`
}

// New returns a Mapper.
func New(v *carin.Version, systems Systems) *Mapper {
	m := &Mapper{version: v, systems: systems, amounts: v.KnownAmounts(), scratch: sync.Pool{New: func() any { return new(scratch) }}}
	m.coding = newVersioned(v)
	for p := range m.eob {
		m.eob[p] = newEOBFragments(v, carin.Profile(p), systems)
	}
	m.patient = newPatientFragments(v, systems)
	m.coverage = newCoverageFragments(v, systems)
	m.organization = newOrganizationFragments(v, systems)
	m.practitioner = newPractitionerFragments(v, systems)
	return m
}

// Map appends the ExplanationOfBenefit of a claim whose Refs are resolved. amounts is
// filled from the claim.
func (m *Mapper) Map(out *fhir.Batch, c *cpcds.Claim, amounts *carin.AmountTable) {
	p, ok := carin.ProfileOf(c)
	if !ok {
		panic("mappers: claim without a profile passed the rules")
	}
	s := m.scratch.Get().(*scratch)
	e := eob{m: m, c: c, amounts: amounts, f: &m.eob[p], s: s, profile: p}
	e.headerPriced = e.isHeaderPriced()
	e.begin(out)
	switch p {
	case carin.Inpatient:
		e.inpatient()
	case carin.Outpatient:
		e.outpatient()
	case carin.Professional:
		e.professional()
	case carin.Pharmacy:
		e.pharmacy()
	case carin.Oral:
		e.oral()
	}
	e.end(out)
	s.reset()
	m.scratch.Put(s)
}

// versioned are the fragments whose code system or version differs between releases.
type versioned struct {
	icd10, icd9  fhir.Coded
	masked       string
	pcs10, pcs9  fhir.Coded
	poa          fhir.Coded
	surface      fhir.Coded
	notService   string // productOrService that is not applicable
	notServiceTx string // the same up to the text
}

func newVersioned(v *carin.Version) versioned {
	absent := fhir.NewCoded("productOrService", carin.SysAbsent, v.AbsentVersion).With("not-applicable")
	return versioned{
		icd10:        fhir.NewCoded("diagnosisCodeableConcept", carin.SysICD10CM, ""),
		icd9:         fhir.NewCoded("diagnosisCodeableConcept", v.SysICD9CM, ""),
		masked:       fhir.NewCoded("diagnosisCodeableConcept", carin.SysAbsent, v.AbsentVersion).With("masked"),
		pcs10:        fhir.NewCoded("procedureCodeableConcept", carin.SysICD10PCS, ""),
		pcs9:         fhir.NewCoded("procedureCodeableConcept", v.SysICD9PCS, ""),
		poa:          fhir.NewCoded("onAdmission", v.SysPOA, ""),
		surface:      fhir.NewCodedItem(v.SysToothSurface, ""),
		notService:   absent,
		notServiceTx: absent[:len(absent)-len("},")] + `,"text":"`,
	}
}

// meta returns `"meta":{"lastUpdated":"`, and what follows the date.
func metaFragments(url string) (open, closing string) {
	return `"meta":{"lastUpdated":"`, `","profile":["` + url + `"]},`
}
