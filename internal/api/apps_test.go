package api_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/schemas/fhir"
)

// TestSync reads a member as apps do that keep a copy: the Patient first, then $everything or each type page
// by page, then whatever is referred to, with a token of SMART 1 or 2. Both ways find the same.
func TestSync(t *testing.T) {
	w := newWorld(t, 4)
	s := w.serve(t, nil)
	own := member(2)
	for _, scopes := range []string{"launch/patient patient/*.read openid fhirUser offline_access", "patient/Patient.r patient/Coverage.rs patient/ExplanationOfBenefit.rs patient/Organization.r patient/Practitioner.r patient/RelatedPerson.rs"} {
		get := func(path string) *answer {
			if strings.HasPrefix(path, "http") {
				return do(t, s, request{path: path, member: own, scopes: scopes})
			}
			return do(t, s, request{path: "/fhir/" + path, member: own, scopes: scopes})
		}
		if a := get("Patient/" + own); a.status != 200 || a.doc.ResourceType != "Patient" {
			t.Fatalf("the member: %d %s", a.status, a.body)
		}
		have := map[string]string{}
		take := func(ref string, text []byte) {
			have[ref] = string(text)
		}
		for _, typ := range []string{"ExplanationOfBenefit", "Coverage", "RelatedPerson"} {
			for _, a := range walk(t, get, typ+"?patient="+own+"&_count=2") {
				refs := a.refs(t, "match")
				for i, e := range a.doc.Entry {
					take(refs[i], e.Resource)
				}
			}
		}
		for more := true; more; {
			more = false
			for _, text := range have {
				for _, part := range strings.Split(text, `"reference":"`)[1:] {
					ref, _, _ := strings.Cut(part, `"`)
					if strings.Contains(ref, ":") {
						t.Errorf("%s is not relative", ref)
					}
					if have[ref] != "" {
						continue
					}
					a := get(ref)
					if a.status != 200 {
						t.Errorf("%s, which is referred to: %d", ref, a.status)
					}
					more = true
					take(ref, a.body)
				}
			}
		}
		var all []string
		for _, a := range walk(t, get, "Patient/"+own+"/$everything?_count=3") {
			all = append(all, a.refs(t, "")...)
		}
		for ref := range have {
			if !slices.Contains(all, ref) {
				t.Errorf("$everything lacks %s", ref)
			}
		}
		for _, ref := range all {
			if have[ref] == "" && !strings.HasPrefix(ref, "Organization/") && !strings.HasPrefix(ref, "Practitioner/") { // those are in the index only, here
				t.Errorf("$everything has %s, which nothing leads to", ref)
			}
		}
		for _, ref := range []string{"Organization/o1", "Practitioner/r1"} {
			if a := get(ref); a.status != 200 {
				t.Errorf("%s: %d", ref, a.status)
			}
		}
		for _, ref := range []string{"Organization/none", "Practitioner/none", "Patient/" + member(1), "Patient/none"} {
			began := time.Now()
			if a := get(ref); a.status != 404 || a.doc.ResourceType != "OperationOutcome" || time.Since(began) > 5*time.Second {
				t.Errorf("%s: %d after %s", ref, a.status, time.Since(began))
			}
		}
	}
}

// TestPolls asks again and again for what has changed since the answer before, while loads commit: nothing
// is missed, whatever its date in the source.
func TestPolls(t *testing.T) {
	w := newWorld(t, 2)
	s := w.serve(t, nil)
	const loads = 60
	for _, member := range []string{"p0001", ""} { // by the index of a member, and by the change feed
		name := "poll" + member
		turn, loaded := make(chan bool), make(chan bool)
		go func() {
			defer close(loaded)
			for i := range loads {
				if i%10 == 0 { // a poll begins, and goes on beside the loads that follow
					<-turn
				}
				var b fhir.Batch
				for j := range 3 {
					id, at := fmt.Sprintf("%s-%02d-%d", name, i, j), fmt.Sprintf("20%02d-01-02T03:04:05Z", 10+(i*7+j)%15)
					b.Add(&fhir.Resource{Type: fhir.Coverage, ID: id, LastUpdated: at, SourceVersion: "1", Keys: []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/p0001"}},
						JSON: fmt.Appendf(nil, `{"resourceType":"Coverage","id":%q,"meta":{"lastUpdated":%q},"status":"active"}`, id, at)})
				}
				if err := w.store.Apply(t.Context(), &b, nil); err != nil {
					t.Error(err)
				}
			}
		}()
		seen, since, polls := map[string]bool{}, "2000-01-01", 0
		for last := false; !last; polls++ {
			select {
			case turn <- true:
			case <-loaded:
				last = true // and once more
			}
			pages := walk(t, func(p string) *answer { return do(t, s, request{path: p, member: member}) }, "/fhir/Coverage?_count=20&_lastUpdated=ge"+since)
			var b struct{ Meta struct{ LastUpdated string } }
			if err := json.Unmarshal(pages[0].body, &b); err != nil {
				t.Fatal(err)
			}
			since = b.Meta.LastUpdated
			for _, r := range matches(t, pages) {
				if strings.HasPrefix(r, "Coverage/"+name+"-") {
					seen[r] = true
				}
			}
		}
		if len(seen) != 3*loads || polls < loads/10 {
			t.Errorf("as %q: %d of %d were seen with %d polls", member, len(seen), 3*loads, polls)
		}
	}
}

// TestReload proves that a load of the same again changes neither versions nor dates.
func TestReload(t *testing.T) {
	w := newWorld(t, 2)
	for _, sourceDates := range []bool{false, true} {
		s := w.serve(t, func(c *api.Config) { c.SourceDates = sourceDates })
		put(t, w, fhir.Coverage, "cp0001", `"status":"active"`, "2025-03-03T00:00:00Z")
		first := do(t, s, request{path: "/fhir/Coverage/cp0001"})
		time.Sleep(5 * time.Millisecond)
		put(t, w, fhir.Coverage, "cp0001", `"status":"active"`, "2025-03-03T00:00:00Z")
		again := do(t, s, request{path: "/fhir/Coverage/cp0001"})
		if string(again.body) != string(first.body) || again.header.Get("ETag") != first.header.Get("ETag") || again.header.Get("Last-Modified") != first.header.Get("Last-Modified") {
			t.Errorf("after a load of the same: %s, before %s", again.body, first.body)
		}
	}
}

// TestSecurity proves that the CapabilityStatement has the URLs of the authorization server that is
// configured, and none without one.
func TestSecurity(t *testing.T) {
	w := newWorld(t, 1)
	given := map[string]string{"authorize": "https://id.example/authorize", "token": "https://id.example/token", "introspect": "https://id.example/introspect", "revoke": "https://id.example/revoke",
		"manage": "https://id.example/manage"}
	s := w.serve(t, func(c *api.Config) {
		c.Authorizer = refusing{}
		c.Security = &api.Security{Authorize: given["authorize"], Token: given["token"], Introspect: given["introspect"], Revoke: given["revoke"], Manage: given["manage"]}
	})
	type statement struct {
		Instantiates []string
		Rest         []struct {
			Security struct {
				Cors    bool
				Service []struct {
					Coding []struct{ System, Code string }
				}
				Extension []struct {
					URL       string
					Extension []struct{ URL, ValueURI string }
				}
			}
		}
	}
	var c statement
	if err := json.Unmarshal(do(t, s, request{path: "/fhir/metadata", header: map[string]string{"Authorization": "Bearer junk"}}).body, &c); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	security := c.Rest[0].Security
	for _, e := range security.Extension[0].Extension {
		got[e.URL] = e.ValueURI
	}
	if len(got) != len(given) || fmt.Sprint(got) != fmt.Sprint(given) || security.Extension[0].URL != "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris" ||
		security.Service[0].Coding[0].Code != "SMART-on-FHIR" || !security.Cors {
		t.Errorf("%+v, want %v", security, given)
	}
	if !slices.Contains(c.Instantiates, "http://hl7.org/fhir/us/carin-bb/CapabilityStatement/c4bb") {
		t.Errorf("it instantiates %q", c.Instantiates)
	}
	var open statement
	if err := json.Unmarshal(do(t, w.serve(t, nil), request{path: "/fhir/metadata"}).body, &open); err != nil || len(open.Rest[0].Security.Extension)+len(open.Rest[0].Security.Service) > 0 {
		t.Errorf("without an authorization server: %+v (%v)", open, err)
	}
}
