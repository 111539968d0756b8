package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/fhir"
)

// found lists the ids that a query finds; params are names and values of filters,
// and an empty name is none.
func found(t *testing.T, s *Store, q *Query, params ...string) []string {
	t.Helper()
	asked := *q
	asked.Filters = nil
	for i := 0; i < len(params); i += 2 {
		if params[i] == "" {
			continue
		}
		f, err := ParseFilter(params[i], params[i+1])
		if err != nil {
			t.Fatal(err)
		}
		asked.Filters = append(asked.Filters, f)
	}
	var ids []string
	for e, err := range s.Search(t.Context(), &asked) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != asked.Type || e.Deleted || (len(e.JSON) == 0) != asked.NoJSON {
			t.Errorf("entry %+v", e)
		}
		ids = append(ids, e.ID)
	}
	return ids
}

func eob(id, patient, updated string, keys ...string) *fhir.Resource {
	r := &fhir.Resource{
		Type: fhir.ExplanationOfBenefit, ID: id, LastUpdated: updated, JSON: []byte(`{"id":"` + id + `"}`),
		Keys: []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/" + patient}},
	}
	for i := 0; i < len(keys); i += 2 {
		p, ok := fhir.ParseParam(keys[i])
		if !ok {
			panic("no parameter " + keys[i])
		}
		r.Keys = append(r.Keys, fhir.Key{Param: p, Value: keys[i+1]})
	}
	return r
}

const claimType = "http://terminology.hl7.org/CodeSystem/claim-type|"

var (
	longSystem = "urn:" + strings.Repeat("system", 20)
	longCode   = strings.Repeat("code", 30)
)

func searchStore(t *testing.T) *Store {
	s := open(t, t.TempDir(), Options{})
	put(t, s,
		eob("e1", "p1", "2024-01-10T10:00:00Z", "identifier", "urn:c|100", "type", claimType+"pharmacy", "service-date", "2023-03-05/2023-03-05",
			"service-start-date", "2023-03-05", "provider", "Organization/o1", "care-team", "Practitioner/d1", "care-team", "Organization/o2"),
		eob("e2", "p1", "2024-02-10T10:00:00Z", "identifier", "urn:c|200", "identifier", "urn:other|100", "type", claimType+"institutional",
			"service-date", "2023-03-01/2023-04-15", "service-start-date", "2023-03-01", "provider", "Organization/o2"),
		eob("e3", "p1", "2024-03-10T10:00:00.5Z", "identifier", "|100", "type", claimType+"pharmacy", "service-date", "2024-01-01/", "service-start-date", "2024-01-01"),
		eob("e4", "p2", "2024-01-10T10:00:00Z", "identifier", longSystem+"|"+longCode, "type", claimType+"pharmacy", "service-start-date", "9999-12-31"),
		eob("e5", "p10", "2024-01-10T10:00:00Z", "identifier", longSystem+"|"+longCode+"x"),
		&fhir.Resource{Type: fhir.Patient, ID: "p1", LastUpdated: "2024-01-01T00:00:00Z", JSON: []byte(`{}`)},
		&fhir.Resource{Type: fhir.Patient, ID: "p2", LastUpdated: "2024-01-01T00:00:00Z", JSON: []byte(`{}`)},
		organization("o1", "one"),
	)
	return s
}

func TestSearch(t *testing.T) {
	s := searchStore(t)
	f := func(q Query, want string, params ...string) {
		t.Helper()
		if diff := cmp.Diff(want, strings.Join(found(t, s, &q, params...), " ")); diff != "" {
			t.Errorf("%+v %q (-want +got):\n%s", q, params, diff)
		}
		// The same without the index of the patient must find the same.
		if len(q.Patients) == 1 && q.Type == fhir.ExplanationOfBenefit && q.IDs == nil {
			patient := q.Patients[0]
			q.Patients = nil
			if diff := cmp.Diff(want, strings.Join(found(t, s, &q, append(params, "patient", "Patient/"+patient)...), " ")); diff != "" {
				t.Errorf("without the index: %q (-want +got):\n%s", params, diff)
			}
		}
	}
	all := Query{SourceDates: true, Type: fhir.ExplanationOfBenefit}
	p1 := Query{SourceDates: true, Type: fhir.ExplanationOfBenefit, Patients: []string{"p1"}}

	f(all, "e1 e2 e3 e4 e5")
	f(p1, "e1 e2 e3")
	f(Query{Type: fhir.ExplanationOfBenefit, Patients: []string{"p"}}, "")
	f(Query{Type: fhir.ExplanationOfBenefit, Patients: []string{"nobody"}}, "")
	f(Query{Type: fhir.Coverage, Patients: []string{"p1"}}, "")
	f(Query{Type: fhir.Patient, Patients: []string{"p1"}}, "p1")
	f(Query{Type: fhir.Patient}, "p1 p2")
	f(Query{Type: fhir.Organization}, "o1")

	f(Query{Type: fhir.ExplanationOfBenefit, Patients: []string{"p2", "p1", "nobody"}}, "e1 e2 e3 e4")
	f(Query{Type: fhir.ExplanationOfBenefit, Patients: []string{"p2", "p1"}, Count: 2, After: "e2"}, "e3 e4")
	f(Query{Type: fhir.ExplanationOfBenefit, Patients: []string{}}, "")

	// _id
	f(Query{Type: fhir.ExplanationOfBenefit, IDs: []string{"e3", "e1", "e3", "none", "../x"}}, "e1 e3")
	f(Query{Type: fhir.ExplanationOfBenefit, IDs: []string{"e3", "e4"}, Patients: []string{"p1"}}, "e3")
	f(Query{Type: fhir.ExplanationOfBenefit, IDs: []string{}}, "")
	f(Query{Type: fhir.ExplanationOfBenefit, IDs: []string{"e3", "e1"}}, "e1", "type", "pharmacy", "identifier", "urn:c|")

	// Pages
	f(Query{Type: fhir.ExplanationOfBenefit, Patients: []string{"p1"}, Count: 2}, "e1 e2")
	f(Query{Type: fhir.ExplanationOfBenefit, Patients: []string{"p1"}, Count: 2, After: "e2"}, "e3")
	f(Query{Type: fhir.ExplanationOfBenefit, Count: 2, After: "e2"}, "e3 e4")
	f(Query{Type: fhir.ExplanationOfBenefit, After: "e1"}, "e2 e3", "identifier", "100,200")
	f(Query{Type: fhir.ExplanationOfBenefit, After: "e5"}, "")
	f(Query{Type: fhir.ExplanationOfBenefit, Patients: []string{"p1"}, NoJSON: true, Count: 1}, "e2", "type", "institutional")

	// identifier and type
	for _, q := range []Query{all, p1} {
		f(q, "e1", "identifier", "urn:c|100")
		f(q, "e1 e2 e3", "identifier", "100")
		f(q, "e3", "identifier", "|100")
		f(q, "e1 e2", "identifier", "urn:c|")
		f(q, "e2 e3", "identifier", "|100,urn:c|200")
		f(q, "", "identifier", "10")
		f(q, "", "identifier", "urn:c|1")
		f(q, "", "identifier", "URN:C|100")
	}
	f(all, "e4", "identifier", longSystem+"|"+longCode)
	f(all, "e4", "identifier", longCode)
	f(all, "e5", "identifier", longCode+"x")
	f(all, "", "identifier", longCode[:100])
	f(p1, "e1 e3", "type", claimType+"pharmacy")
	f(p1, "e1 e3", "type", "pharmacy")
	f(p1, "e1 e2 e3", "type", "pharmacy,institutional")
	f(p1, "", "type", "other|pharmacy")
	f(p1, "e1", "type", "pharmacy", "identifier", "100", "provider", "Organization/o1")

	// References
	f(p1, "e1", "provider", "Organization/o1")
	f(p1, "e2", "provider", "o2")
	f(p1, "e1", "care-team", "o2")
	f(p1, "", "care-team", "Practitioner/o2")
	f(p1, "", "provider", "2")

	// Dates
	f(p1, "e1", "service-start-date", "2023-03-05")
	f(p1, "e1 e2", "service-start-date", "2023-03")
	f(p1, "e1 e2", "service-start-date", "2023")
	f(p1, "e1 e3", "service-start-date", "ge2023-03-05")
	f(p1, "e3", "service-start-date", "gt2023-03-05")
	f(p1, "e1 e2", "service-start-date", "le2023-03-05")
	f(p1, "e2", "service-start-date", "lt2023-03-05")
	f(p1, "e1", "service-start-date", "gt2023-03-01", "service-start-date", "lt2023-04-01")
	f(p1, "e2 e3", "service-start-date", "ne2023-03-05")
	f(all, "e4", "service-start-date", "gt2025")
	f(p1, "e1", "service-date", "2023-03")
	f(p1, "e1 e2 e3", "service-date", "ge2023-03-05")
	f(p1, "e2 e3", "service-date", "gt2023-03-05")
	f(p1, "e3", "service-date", "sa2023-04-15")
	f(p1, "e1", "service-date", "eb2023-04-01")
	f(p1, "e1", "_lastUpdated", "2024-01-10")
	f(p1, "e2 e3", "_lastUpdated", "gt2024-01-10")
	f(p1, "e1 e2", "_lastUpdated", "lt2024-03-10T10:00:00.5Z")
	f(p1, "e2", "_lastUpdated", "2024-02-10T12:00:00+02:00")
	f(p1, "e1 e2 e3", "_lastUpdated", "ge2024-01-10T10:00:00Z")
}

func TestCount(t *testing.T) {
	s := searchStore(t)
	f := func(want int64, q Query) {
		t.Helper()
		if n, err := Count(t.Context(), s, &q); n != want || err != nil {
			t.Errorf("%+v: counted %d, %v, want %d", q, n, err, want)
		}
	}
	f(5, Query{Type: fhir.ExplanationOfBenefit})
	f(5, Query{Type: fhir.ExplanationOfBenefit, Count: 2, After: "e2"})
	f(3, Query{Type: fhir.ExplanationOfBenefit, Patients: []string{"p1"}, Count: 1})
	f(2, Query{Type: fhir.ExplanationOfBenefit, IDs: []string{"e1", "e4", "none"}, Count: 1})
	f(0, Query{Type: fhir.Coverage})
}

func TestSearchKeys(t *testing.T) {
	s := searchStore(t)
	for e, err := range s.Search(t.Context(), &Query{Type: fhir.ExplanationOfBenefit, IDs: []string{"e3"}}) {
		if err != nil {
			t.Fatal(err)
		}
		want := []fhir.Key{
			{Param: fhir.ParamPatient, Value: "Patient/p1"}, {Param: fhir.ParamIdentifier, Value: "|100"},
			{Param: fhir.ParamType, Value: claimType + "pharmacy"}, {Param: fhir.ParamServiceDate, Value: "2024-01-01/"},
			{Param: fhir.ParamServiceStartDate, Value: "2024-01-01"},
		}
		if diff := cmp.Diff(want, e.Keys); diff != "" || string(e.JSON) != `{"id":"e3"}` || e.LastUpdated != "2024-03-10T10:00:00.5Z" {
			t.Errorf("entry %+v, keys (-want +got):\n%s", e, diff)
		}
	}
}

// TestResourceMovesToAnotherPatient corrects the patient of a claim.
func TestResourceMovesToAnotherPatient(t *testing.T) {
	s := searchStore(t)
	moved := eob("e1", "p2", "2024-05-01T00:00:00Z", "identifier", "urn:c|101")
	moved.JSON = []byte(`{"id":"e1","moved":true}`)
	wantOutcomes(t, put(t, s, moved), Updated)
	f := func(patient string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, found(t, s, &Query{Type: fhir.ExplanationOfBenefit, Patients: []string{patient}})); diff != "" {
			t.Errorf("patient %s (-want +got):\n%s", patient, diff)
		}
	}
	f("p1", "e2", "e3")
	f("p2", "e1", "e4")
}

func TestParseFilterErrors(t *testing.T) {
	for _, p := range [][2]string{
		{"name", "secret"}, {"service-date", "secret"}, {"service-date", "xx2020-01-01"}, {"service-date", ""},
		{"_lastUpdated", "ge2020-13-01"}, {"identifier", "a,,b"}, {"patient:Patient", "secret"},
	} {
		_, err := ParseFilter(p[0], p[1])
		if e, ok := errors.AsType[*FilterError](err); !ok {
			t.Errorf("%s=%s: %v, want *FilterError", p[0], p[1], err)
		} else if strings.Contains(e.Error(), "secret") {
			t.Errorf("the error %q holds the value", e)
		}
	}
}

func TestSplitValues(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		var got []string
		for v := range splitValues(in) {
			got = append(got, v)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
	f("a", "a")
	f("a,b", "a", "b")
	f(`a\,b,c`, `a\,b`, "c")
	f(`a\\,b`, `a\\`, "b")
	f(`a\`, `a\`)
	f("a,", "a", "")
}

func TestParseToken(t *testing.T) {
	f := func(in string, want token) {
		t.Helper()
		if got := parseToken(in); got != want {
			t.Errorf("%q: got %+v, want %+v", in, got, want)
		}
	}
	f("a", token{code: "a", anySystem: true})
	f("urn:x|a", token{system: "urn:x", code: "a"})
	f("|a", token{code: "a"})
	f("urn:x|", token{system: "urn:x", anyCode: true})
	f(`a\|b`, token{code: "a|b", anySystem: true})
	f(`urn:x|a|b`, token{system: "urn:x", code: "a|b"})
	f(`urn:x|a\|b`, token{system: "urn:x", code: "a|b"})
	f(`a\b`, token{code: `a\b`, anySystem: true})
	f(`a\\b`, token{code: `a\b`, anySystem: true})
	f(`a\,b`, token{code: "a,b", anySystem: true})
	f(`a\`, token{code: `a\`, anySystem: true})
}
