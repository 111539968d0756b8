package mappers_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"cpcds2fhir/mappers"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// notMapped are the elements of claims that no mapper reads, and why.
var notMapped = map[cpcds.Element]string{
	cpcds.MemberID:                "resolved to the patient",
	cpcds.CoverageID:              "resolved to the coverage",
	cpcds.ClaimPayerIdentifier:    "resolved to the insurer",
	cpcds.ClaimPayerName:          "names an insurer that no table has",
	cpcds.OtherCoverageID:         "resolved to the other coverage",
	cpcds.ClaimPayee:              "resolved to the payee",
	cpcds.ClaimPayeeName:          "names a payee that no table has",
	cpcds.ClaimPayeeRelationship:  "is said of such a payee",
	cpcds.BillingProviderNPI:      "resolved to the provider",
	cpcds.BillingProviderID:       "resolved to the provider",
	cpcds.BillingProviderName:     "names a provider that no table has",
	cpcds.AttendingProviderNPI:    "resolved to the care team",
	cpcds.AttendingProviderName:   "names a provider that no table has",
	cpcds.PerformingProviderNPI:   "resolved to the care team",
	cpcds.PerformingProviderName:  "names a provider that no table has",
	cpcds.PCPNPI:                  "resolved to the care team",
	cpcds.PCPName:                 "names a provider that no table has",
	cpcds.ReferringProviderNPI:    "resolved to the care team",
	cpcds.ReferringProviderName:   "names a provider that no table has",
	cpcds.OperatingProviderNPI:    "resolved to the care team",
	cpcds.OperatingProviderName:   "names a provider that no table has",
	cpcds.SupervisingProviderNPI:  "resolved to the care team",
	cpcds.SupervisingProviderName: "names a provider that no table has",
	cpcds.PrescribingProviderNPI:  "resolved to the care team",
	cpcds.PrescribingProviderName: "names a provider that no table has",
	cpcds.ServiceFacilityNPI:      "resolved to the service facility",
	cpcds.ServiceFacilityID:       "resolved to the service facility",
	cpcds.ServiceFacilityName:     "names a facility that no table has",
	cpcds.ServiceFacilityAddress:  "is said of such a facility",
	cpcds.CareTeamProviderNPI:     "resolved to the care team",
	cpcds.CareTeamProviderName:    "names a provider that no table has",

	cpcds.ClaimType:                      "chooses the profile",
	cpcds.ClaimSubType:                   "chooses the profile",
	cpcds.OrthodonticsTreatmentIndicator: "only false says more than the months do",
}

// TestEveryElementIsMapped takes each element out of a claim that has all of them:
// the resource must change in some profile, and must stay JSON.
func TestEveryElementIsMapped(t *testing.T) {
	m := mappers.New(carin.V220, systems)
	for _, e := range cpcds.Columns(cpcds.Claims) {
		changes := false
		for _, p := range profiles {
			c := sample(p)
			before := mapClaim(t, m, c)
			if e == cpcds.ClaimType || e == cpcds.ClaimSubType {
				continue
			}
			after := mapClaim(t, m, without(c, e))
			if !json.Valid(after.JSON) {
				t.Errorf("%s without %s is no JSON", p, e)
			}
			changes = changes || !same(before, after)
		}
		reason, listed := notMapped[e]
		switch {
		case !changes && !listed:
			t.Errorf("%s is not mapped, and no reason is given", e)
		case changes && listed:
			t.Errorf("%s is mapped, though it is listed: %s", e, reason)
		}
	}
}

// tables maps a row of each small table from its elements.
func tables(m *mappers.Mapper) map[cpcds.Table]func(out *fhir.Batch, get func(cpcds.Element) string) {
	return map[cpcds.Table]func(out *fhir.Batch, get func(cpcds.Element) string){
		cpcds.Members: func(out *fhir.Batch, get func(cpcds.Element) string) {
			r := row[cpcds.Member](cpcds.Members, get)
			m.Patient(out, "p1", &r)
		},
		cpcds.Coverages: func(out *fhir.Batch, get func(cpcds.Element) string) {
			r := row[cpcds.Coverage](cpcds.Coverages, get)
			m.Coverage(out, "c1", &r, mappers.CoverageRefs{Beneficiary: "Patient/p1", Payor: "Organization/o1", Subscriber: "Patient/p2"})
		},
		cpcds.Providers: func(out *fhir.Batch, get func(cpcds.Element) string) {
			r := row[cpcds.Provider](cpcds.Providers, get)
			m.Practitioner(out, "r1", &r)
		},
		cpcds.Organizations: func(out *fhir.Batch, get func(cpcds.Element) string) {
			r := row[cpcds.Organization](cpcds.Organizations, get)
			m.Organization(out, "o1", &r)
		},
	}
}

func row[R any, P interface {
	*R
	Set(cpcds.Element, string)
}](t cpcds.Table, get func(cpcds.Element) string) R {
	var r R
	for _, e := range cpcds.Columns(t) {
		P(&r).Set(e, get(e))
	}
	return r
}

// notMappedOfTables is notMapped for the small tables.
var notMappedOfTables = map[cpcds.Element]string{
	cpcds.CoveragesPayerIdentifier:      "resolved to the payor",
	cpcds.CoveragesSubscriberFamilyName: "names a subscriber who is no member",
	cpcds.CoveragesSubscriberGivenName:  "names a subscriber who is no member",
}

// TestEveryTableElementIsMapped is TestEveryElementIsMapped for the small tables.
func TestEveryTableElementIsMapped(t *testing.T) {
	for table, mapRow := range tables(mappers.New(carin.V220, systems)) {
		before := one(t, func(out *fhir.Batch) { mapRow(out, filled) })
		for _, e := range cpcds.Columns(table) {
			blank := map[cpcds.Element]bool{e: true}
			compare := before
			if e == cpcds.MembersDeceased { // a date of death says more
				blank[cpcds.MembersDateOfDeath] = true
				compare = one(t, func(out *fhir.Batch) {
					mapRow(out, func(x cpcds.Element) string {
						if x == cpcds.MembersDateOfDeath {
							return ""
						}
						return filled(x)
					})
				})
			}
			after := one(t, func(out *fhir.Batch) {
				mapRow(out, func(x cpcds.Element) string {
					if blank[x] {
						return ""
					}
					return filled(x)
				})
			})
			if !json.Valid(after.JSON) {
				t.Errorf("%s without %s is no JSON", table, e)
			}
			reason, listed := notMappedOfTables[e]
			switch changes := !same(compare, after); {
			case !changes && !listed:
				t.Errorf("%s: %s is not mapped, and no reason is given", table, e)
			case changes && listed:
				t.Errorf("%s: %s is mapped, though it is listed: %s", table, e, reason)
			}
		}
	}
}

// TestBareRows maps rows that have nothing at all: what remains must be JSON, and a
// name or identifier that is missing must leave no empty array behind.
func TestBareRows(t *testing.T) {
	m := mappers.New(carin.V220, systems)
	bare := map[string]*fhir.Resource{
		"local organization": one(t, func(out *fhir.Batch) { m.LocalOrganization(out, "o2", "2005-05-23T00:00:00Z", "220071", "", "") }),
		"named organization": one(t, func(out *fhir.Batch) { m.NamedOrganization(out, "o1", "2005-05-23T00:00:00Z", "1900000013", "", "") }),
		"payer":              one(t, func(out *fhir.Batch) { m.PayerOrganization(out, "o1", "2005-05-23T00:00:00Z", "STATE", "") }),
		"named practitioner": one(t, func(out *fhir.Batch) { m.NamedPractitioner(out, "r1", "2005-05-23T00:00:00Z", "1900000013", "") }),
		"related person":     one(t, func(out *fhir.Batch) { m.RelatedPerson(out, &mappers.Related{ID: "x1", Patient: "Patient/p1"}) }),
	}
	for table, mapRow := range tables(m) {
		bare[table.String()] = one(t, func(out *fhir.Batch) { mapRow(out, func(cpcds.Element) string { return "" }) })
	}
	for name, r := range bare {
		if !json.Valid(r.JSON) {
			t.Errorf("%s is no JSON: %s", name, r.JSON)
		}
		if bytes.Contains(r.JSON, []byte("[]")) || bytes.Contains(r.JSON, []byte("{}")) {
			t.Errorf("%s has an empty array or object, which FHIR forbids: %s", name, r.JSON)
		}
	}
}

// TestFamilyName splits the names that claims give their providers.
func TestFamilyName(t *testing.T) {
	m := mappers.New(carin.V220, systems)
	for full, want := range map[string]string{
		"Okafor, Chidi": "Okafor", "Chidi Okafor": "Okafor", "Okafor": "Okafor", "Ana Maria da Silva": "Silva", "van Dyk, Jo": "van Dyk",
	} {
		r := one(t, func(out *fhir.Batch) { m.NamedPractitioner(out, "r1", "2005-05-23T00:00:00Z", "1900000013", full) })
		var got struct {
			Name []struct{ Family, Text string }
		}
		if err := json.Unmarshal(r.JSON, &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Name) != 1 || got.Name[0].Family != want || got.Name[0].Text != full {
			t.Errorf("%q became %+v, want the family name %q", full, got.Name, want)
		}
	}
}

// TestConcurrent maps the same claims on several goroutines at once: a Mapper is
// shared by the lanes.
func TestConcurrent(t *testing.T) {
	m := mappers.New(carin.V220, systems)
	want := map[carin.Profile][]byte{}
	for _, p := range profiles {
		want[p] = slices.Clone(mapClaim(t, m, sample(p)).JSON)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				for _, p := range profiles {
					if got := mapClaim(t, m, sample(p)).JSON; !bytes.Equal(got, want[p]) {
						t.Errorf("%s differs from what one goroutine makes", p)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestMapAllocatesNothing holds the mappers to no allocation per claim once the
// batch has grown.
func TestMapAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool forgets at random")
	}
	for _, v := range []*carin.Version{carin.V220, carin.V200} {
		m := mappers.New(v, systems)
		for _, p := range profiles {
			c := sample(p)
			var out fhir.Batch
			var amounts carin.AmountTable
			if n := testing.AllocsPerRun(200, func() { out.Reset(); amounts.Fill(c, p); m.Map(&out, c, &amounts) }); n >= 1 {
				t.Errorf("%s of release %s: %v allocations per claim", p, v.Name, n)
			}
		}
	}
}

// TestTotalsOfNumbersAndText maps claims of random amounts with sums of numbers and with
// exact sums of the text: the resources must be the same.
func TestTotalsOfNumbersAndText(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	m := mappers.New(carin.V220, systems)
	fine := 0
	for n := range 2000 {
		c := typical(profiles[n%len(profiles)])
		some := []string{"", "", "0.00", "10.00", "10", "-10.05", "5.5", "99999999999.99", "1.125", "2.0000"}
		if n%2 == 0 {
			some = some[:len(some)-2]
		}
		for i := range carin.Amounts {
			if rnd.IntN(3) == 0 {
				c.Set(carin.Amounts[i].Header, some[rnd.IntN(len(some))])
			}
			for j := range c.Lines {
				c.Lines[j].Set(carin.Amounts[i].Line, some[rnd.IntN(len(some))])
			}
		}
		var numbers, text fhir.Batch
		var amounts carin.AmountTable
		amounts.Fill(c, profileOf(c))
		m.Map(&numbers, c, &amounts)
		if amounts.Inexact {
			t.Fatal("an amount does not fit")
		}
		if amounts.Fine {
			fine++
		}
		amounts.Inexact = true
		m.Map(&text, c, &amounts)
		if !bytes.Equal(numbers.Lines(0, 1), text.Lines(0, 1)) {
			t.Fatalf("numbers: %s\ntext: %s", numbers.Lines(0, 1), text.Lines(0, 1))
		}
	}
	if fine == 0 || fine > 1000 {
		t.Errorf("%d claims of 2000 have more than two decimals", fine)
	}
}

func appendClaim(m *mappers.Mapper, out *fhir.Batch, c *cpcds.Claim) {
	var amounts carin.AmountTable
	amounts.Fill(c, profileOf(c))
	m.Map(out, c, &amounts)
}

func BenchmarkMap(b *testing.B) {
	m := mappers.New(carin.V220, systems)
	for _, p := range profiles {
		b.Run(p.String(), func(b *testing.B) {
			c := typical(p)
			var out fhir.Batch
			var amounts carin.AmountTable
			appendClaim(m, &out, c)
			b.SetBytes(int64(out.Size()))
			b.ReportAllocs()
			for b.Loop() {
				out.Reset()
				amounts.Fill(c, p)
				m.Map(&out, c, &amounts)
			}
		})
	}
}

// typical is a claim as extracts have them: four lines, each with three amounts,
// three diagnoses, and of the header what most claims fill.
func typical(p carin.Profile) *cpcds.Claim {
	c := sample(p)
	for _, e := range []cpcds.Element{cpcds.ClaimPaymentDenialCode, cpcds.ClaimRemittanceRemarkCode, cpcds.ClaimAdjustedFromIdentifier,
		cpcds.ClaimAdjustedToIdentifier, cpcds.ClaimOtherPayerName, cpcds.ClaimPaymentMemberExplanation} {
		c.Set(e, "")
	}
	for i := range carin.Amounts {
		c.Set(carin.Amounts[i].Header, "")
	}
	c.Refs.OtherCoverage, c.CareTeam, c.Refs.CareTeam = "", nil, nil
	line := c.Lines[0]
	for i := range carin.Amounts {
		if a := carin.Amounts[i]; a.Code != "submitted" && a.Code != "eligible" && a.Code != "benefit" {
			line.Set(a.Line, "")
		}
	}
	for _, e := range []cpcds.Element{cpcds.LinePaymentDenialCode, cpcds.LineRemittanceRemarkCode, cpcds.PaymentMemberExplanation, cpcds.PatientWeight,
		cpcds.AmbulanceTransportReasonCode, cpcds.TransportationDistance, cpcds.RoundTripPurpose, cpcds.StretcherPurpose, cpcds.PickupLocation,
		cpcds.DropoffLocation, cpcds.ProcedureModifierCode3, cpcds.ProcedureModifierCode4} {
		line.Set(e, "")
	}
	c.Lines = c.Lines[:0]
	for _, n := range []string{"1", "2", "3", "4"} {
		line.Set(cpcds.LineNumber, n)
		c.Lines = append(c.Lines, line)
	}
	c.Diagnoses = append(c.Diagnoses, c.Diagnoses[1])
	return c
}

func profileOf(c *cpcds.Claim) carin.Profile {
	p, ok := carin.ProfileOf(c)
	if !ok {
		panic("the claim has no profile")
	}
	return p
}
