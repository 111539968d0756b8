package mappers_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/mappers"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// benefit is what the search parameters of an ExplanationOfBenefit look at.
type benefit struct {
	Identifier []struct{ System, Value string }
	Type       struct {
		Coding []struct{ System, Code string }
	}
	Patient, Insurer, Provider reference
	Payee                      struct{ Party reference }
	BillablePeriod             period
	CareTeam                   []struct{ Provider reference }
	Insurance                  []struct{ Coverage reference }
	Item                       []struct {
		ServicedDate   string
		ServicedPeriod period
	}
}

type (
	reference struct{ Reference string }
	period    struct{ Start, End string }
)

// keysOf derives the index entries of a resource from its JSON alone.
func keysOf(t *testing.T, data []byte) []fhir.Key {
	t.Helper()
	var r benefit
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	var keys []fhir.Key
	add := func(p fhir.Param, value string) {
		if value != "" {
			keys = append(keys, fhir.Key{Param: p, Value: value})
		}
	}
	add(fhir.ParamPatient, r.Patient.Reference)
	add(fhir.ParamInsurer, r.Insurer.Reference)
	add(fhir.ParamProvider, r.Provider.Reference)
	add(fhir.ParamPayee, r.Payee.Party.Reference)
	for _, i := range r.Identifier {
		add(fhir.ParamIdentifier, i.System+"|"+i.Value)
	}
	for _, c := range r.Type.Coding {
		add(fhir.ParamType, c.System+"|"+c.Code)
	}
	for _, c := range r.CareTeam {
		add(fhir.ParamCareTeam, c.Provider.Reference)
	}
	for _, i := range r.Insurance {
		add(fhir.ParamCoverage, i.Coverage.Reference)
	}
	add(fhir.ParamBillablePeriodStart, r.BillablePeriod.Start)
	served := func(from, to string) {
		if from != "" {
			add(fhir.ParamServiceStartDate, from)
			add(fhir.ParamServiceDate, from+"/"+to)
		}
	}
	served(r.BillablePeriod.Start, r.BillablePeriod.End)
	for _, i := range r.Item {
		served(i.ServicedDate, i.ServicedDate)
		served(i.ServicedPeriod.Start, i.ServicedPeriod.End)
	}
	return sortedKeys(keys)
}

// sortedKeys drops repetitions: an index holds an entry once.
func sortedKeys(keys []fhir.Key) []fhir.Key {
	keys = slices.Clone(keys)
	slices.SortFunc(keys, func(a, b fhir.Key) int {
		if a.Param != b.Param {
			return int(a.Param) - int(b.Param)
		}
		if a.Value < b.Value {
			return -1
		}
		if a.Value > b.Value {
			return 1
		}
		return 0
	})
	return slices.Compact(keys)
}

// TestEveryIdentifierIsAKey holds the identifiers of the small tables' resources against their index
// entries.
func TestEveryIdentifierIsAKey(t *testing.T) {
	for table, mapRow := range tables(mappers.New(carin.V220, systems)) {
		r := one(t, func(out *fhir.Batch) { mapRow(out, filled) })
		want := keysOf(t, r.JSON)
		keep := func(keys []fhir.Key) []fhir.Key {
			return sortedKeys(slices.DeleteFunc(slices.Clone(keys), func(k fhir.Key) bool { return k.Param != fhir.ParamIdentifier }))
		}
		if d := cmp.Diff(keep(want), keep(r.Keys)); d != "" || len(want) == 0 {
			t.Errorf("%s: identifiers of the resource and index entries (-want +got):\n%s", table, d)
		}
	}
}

// TestKeysAreThoseOfTheResource holds the index entries against the resource: a
// search must find what a reader of the resource would.
func TestKeysAreThoseOfTheResource(t *testing.T) {
	vision := func(c *cpcds.Claim) { c.Set(cpcds.ClaimType, "vision") }
	for _, test := range []struct {
		name    string
		profile carin.Profile
		change  func(c *cpcds.Claim)
	}{
		{"inpatient", carin.Inpatient, nil},
		{"outpatient", carin.Outpatient, nil},
		{"professional", carin.Professional, nil},
		{"pharmacy", carin.Pharmacy, nil},
		{"oral", carin.Oral, nil},
		{"vision", carin.Professional, vision},
		{"rendering provider without a taxonomy", carin.Outpatient, func(c *cpcds.Claim) {
			c.Set(cpcds.PerformingProviderTaxonomy, "")
			c.CareTeam[0].Set(cpcds.CareTeamRole, "rendering")
			c.CareTeam[0].Set(cpcds.CareTeamProviderTaxonomy, "")
		}},
		{"fill without a reference number", carin.Pharmacy, func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.RxServiceReferenceNumber, "") }},
		{"fill that has the number of the claim", carin.Pharmacy, func(c *cpcds.Claim) {
			c.Lines[0].Set(cpcds.RxServiceReferenceNumber, c.Get(cpcds.ClaimUniqueIdentifier))
		}},
		{"fill without statement dates", carin.Pharmacy, func(c *cpcds.Claim) {
			c.Set(cpcds.StatementFromDate, "")
			c.Set(cpcds.StatementThruDate, "")
		}},
		{"statement that ends before it begins", carin.Professional, func(c *cpcds.Claim) { c.Set(cpcds.StatementThruDate, "2025-02-01") }},
		{"no other coverage and no payee", carin.Oral, func(c *cpcds.Claim) {
			c.Refs.OtherCoverage, c.Refs.Payee = "", ""
			c.Set(cpcds.ClaimPayeeTypeCode, "")
		}},
		{"service of one day", carin.Professional, func(c *cpcds.Claim) { c.Lines[0].Set(cpcds.ServiceToDate, "") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := sample(test.profile)
			if test.change != nil {
				test.change(c)
			}
			r := mapClaim(t, mappers.New(carin.V220, systems), c)
			if diff := cmp.Diff(keysOf(t, r.JSON), sortedKeys(r.Keys)); diff != "" {
				t.Errorf("index entries (-by the resource +given):\n%s", diff)
			}
		})
	}
}
