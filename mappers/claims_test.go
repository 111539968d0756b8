package mappers_test

import (
	"bytes"
	"fmt"
	"testing"

	"cpcds2fhir/mappers"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

var systems = mappers.Systems{
	Claim: "urn:test:claim", Member: "urn:test:member", UniqueMember: "urn:test:person", Provider: "urn:test:provider",
	Organization: "urn:test:organization", Payer: "urn:test:payer", Coverage: "urn:test:coverage",
}

var profiles = []carin.Profile{carin.Inpatient, carin.Outpatient, carin.Professional, carin.Pharmacy, carin.Oral}

// filled is a value for any element: one of its kind, different from that of other
// elements where it can be.
func filled(e cpcds.Element) string {
	if v, ok := codes[e]; ok {
		return v
	}
	switch e.Info().Kind {
	case cpcds.DateKind:
		return fmt.Sprintf("2025-03-%02d", e%28+1)
	case cpcds.InstantKind:
		return fmt.Sprintf("2025-04-%02dT00:00:00Z", e%28+1)
	case cpcds.MoneyKind:
		return fmt.Sprintf("%d.50", e+1)
	case cpcds.QuantityKind:
		return fmt.Sprint(int(e) + 1)
	case cpcds.NPIKind:
		return "1900000013"
	case cpcds.FlagKind:
		return "true"
	case cpcds.CodesKind:
		return "1 2"
	}
	return fmt.Sprintf("%s-%d", e.Column(), e)
}

// codes are the values of elements that decide what is written.
var codes = map[cpcds.Element]string{
	cpcds.ClaimProcessingStatusCode: "active", cpcds.StatementFromDate: "2025-03-01", cpcds.StatementThruDate: "2025-03-09",
	cpcds.MemberAdmissionDate: "2025-03-01", cpcds.MemberDischargeDate: "2025-03-09",
	cpcds.AdmissionTypeCode: "4", cpcds.PointOfOriginCode: "5", cpcds.DRGName: "APR-DRG",
	cpcds.ClaimPayeeTypeCode: "provider", cpcds.LineNumber: "7",
	cpcds.ServiceFromDate: "2025-03-02", cpcds.ServiceToDate: "2025-03-03",
	cpcds.ProcedureCode: "99213", cpcds.ProcedureModifierCode1: "25", cpcds.ProcedureModifierCode2: "RT",
	cpcds.ProcedureModifierCode3: "LT", cpcds.ProcedureModifierCode4: "59", cpcds.CompoundParentLineNumber: "",
	cpcds.DiagnosisCode: "I10", cpcds.DiagnosisCodeType: "icd9", cpcds.DiagnosisType: "",
	cpcds.InpatientProcedureCodeType: "icd9", cpcds.InpatientProcedureType: "other",
	cpcds.CareTeamRole: "primary", cpcds.ToothNumber: "3", cpcds.AdditionalToothNumbers: "4 00", cpcds.ToothSurface: "M O",
	cpcds.MissingToothNumbers: "1 2",
	cpcds.MembersRaceCode:     "2106-3", cpcds.MembersEthnicity: "2135-2", cpcds.CoveragesCoverageType: "211",
	cpcds.OrganizationsOrganizationActive: "false",
}

// sample is a claim of a profile with every element that the profile could have.
func sample(p carin.Profile) *cpcds.Claim {
	c := &cpcds.Claim{}
	for _, e := range cpcds.Columns(cpcds.Claims) {
		if e.Info().Level == cpcds.HeaderLevel {
			c.Set(e, filled(e))
		}
	}
	c.Lines = []cpcds.Line{record[cpcds.Line](cpcds.LineLevel), record[cpcds.Line](cpcds.LineLevel)}
	c.Lines[1].Set(cpcds.LineNumber, "8")
	c.Lines[1].Set(cpcds.PatientWeight, "90")
	c.Diagnoses = []cpcds.Diagnosis{record[cpcds.Diagnosis](cpcds.DiagnosisLevel), record[cpcds.Diagnosis](cpcds.DiagnosisLevel)}
	c.Diagnoses[0].Set(cpcds.DiagnosisType, "principal")
	c.Procedures = []cpcds.Procedure{record[cpcds.Procedure](cpcds.ProcedureLevel)}
	c.CareTeam = []cpcds.CareTeam{record[cpcds.CareTeam](cpcds.CareTeamLevel)}
	switch p {
	case carin.Inpatient, carin.Outpatient:
		c.Set(cpcds.ClaimType, "institutional")
		c.Set(cpcds.ClaimSubType, p.String())
	default:
		c.Set(cpcds.ClaimType, p.String())
	}
	if p == carin.Oral {
		for i := range c.Lines {
			c.Lines[i].Set(cpcds.ProcedureCode, "D1110")
		}
	}
	if p == carin.Pharmacy {
		c.Lines[1].Set(cpcds.CompoundParentLineNumber, "7")
	}
	c.Refs = cpcds.Refs{Claim: "e1", Patient: "Patient/p1", Coverage: "Coverage/c1", Insurer: "Organization/o1",
		OtherCoverage: "Coverage/c2", Payee: "Organization/o2", CareTeam: []string{"Practitioner/team"}}
	for r := range cpcds.NumRoles {
		if r != cpcds.OtherOperating && r != cpcds.PurchasedService { // no column names these
			c.Refs.Providers[r] = "Practitioner/" + r.String()
		}
	}
	return c
}

// record fills every element of a record of a level.
func record[R any, P interface {
	*R
	Set(cpcds.Element, string)
}](level cpcds.Level) R {
	var r R
	for e := range cpcds.NumElements {
		if e.Info().Level == level {
			P(&r).Set(e, filled(e))
		}
	}
	return r
}

// without is a copy of a claim in which no record has an element.
func without(c *cpcds.Claim, e cpcds.Element) *cpcds.Claim {
	d := *c
	d.Lines = append([]cpcds.Line(nil), c.Lines...)
	d.Diagnoses = append([]cpcds.Diagnosis(nil), c.Diagnoses...)
	d.Procedures = append([]cpcds.Procedure(nil), c.Procedures...)
	d.CareTeam = append([]cpcds.CareTeam(nil), c.CareTeam...)
	d.Clear(e)
	return &d
}

// one runs a mapping that makes one resource, and returns a view of it.
func one(t testing.TB, mapped func(out *fhir.Batch)) *fhir.Resource {
	t.Helper()
	var out fhir.Batch
	mapped(&out)
	if out.Len() != 1 {
		t.Fatalf("%d resources were made, want 1", out.Len())
	}
	var got *fhir.Resource
	for _, r := range out.All() {
		got = r
	}
	return got
}

// same reports whether two mappings made the same resource.
func same(a, b *fhir.Resource) bool {
	return bytes.Equal(a.JSON, b.JSON) && a.LastUpdated == b.LastUpdated && a.SourceVersion == b.SourceVersion
}

func mapClaim(t testing.TB, m *mappers.Mapper, c *cpcds.Claim) *fhir.Resource {
	t.Helper()
	return one(t, func(out *fhir.Batch) { appendClaim(m, out, c) })
}
