package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ids are those of the resources of one type in a Bundle.
func ids(a *answer, kind string) (list []string) {
	var bundle struct {
		Entry []struct {
			Resource struct {
				Type string `json:"resourceType"`
				ID   string `json:"id"`
			} `json:"resource"`
		} `json:"entry"`
	}
	if json.Unmarshal(a.body, &bundle) != nil {
		return nil
	}
	for _, e := range bundle.Entry {
		if e.Resource.Type == kind {
			list = append(list, e.Resource.ID)
		}
	}
	return list
}

// wantUnauthorized fails a check unless the API asks for a valid token (RFC 6750, 3).
func (t *trial) wantUnauthorized(a *answer) {
	t.Helper()
	t.wantStatus(a, http.StatusUnauthorized)
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("%s: WWW-Authenticate is %q, not Bearer", a, a.header.Get("WWW-Authenticate"))
	}
}

var resources = []check{
	{"a token opens its member's data", func(t *trial) {
		c := t.app()
		g := t.grant(c, c.scope())
		a := t.fhir(g.Access, "Patient/"+g.Patient)
		t.wantStatus(a, http.StatusOK)
		if a.text("id") != g.Patient || a.text("resourceType") != "Patient" {
			t.Errorf("got %s/%s", a.text("resourceType"), a.text("id"))
		}
		for _, path := range []string{"ExplanationOfBenefit?_count=5", "ExplanationOfBenefit?patient=" + g.Patient, "Coverage?beneficiary=Patient/" + g.Patient} {
			t.wantStatus(t.fhir(g.Access, path), http.StatusOK)
		}
	}},
	{"and nobody else's", func(t *trial) {
		other, c := t.second(), t.app()
		theirs := t.grantOf(c, c.scope(), &Decision{Member: other})
		if theirs.Patient != other.Patient {
			t.Fatalf("patient is %q, want %q", theirs.Patient, other.Patient)
		}
		g := t.grant(c, c.scope())
		t.wantStatus(t.fhir(g.Access, "Patient/"+other.Patient), http.StatusNotFound, http.StatusForbidden)
		for _, path := range []string{"ExplanationOfBenefit?patient=" + other.Patient, "ExplanationOfBenefit?patient=Patient/" + other.Patient, "Coverage?beneficiary=" + other.Patient, "Patient?_id=" + other.Patient} {
			a := t.fhir(g.Access, path)
			t.wantStatus(a, http.StatusOK, http.StatusForbidden, http.StatusNotFound, http.StatusBadRequest)
			if strings.Contains(string(a.body), "Patient/"+other.Patient) && len(ids(a, "ExplanationOfBenefit"))+len(ids(a, "Coverage"))+len(ids(a, "Patient")) > 0 {
				t.Errorf("%s has what is another member's", path)
			}
		}
		for _, id := range ids(t.fhir(theirs.Access, "ExplanationOfBenefit?_count=3"), "ExplanationOfBenefit") {
			t.wantStatus(t.fhir(g.Access, "ExplanationOfBenefit/"+id), http.StatusNotFound, http.StatusForbidden)
		}
		if got := ids(t.fhir(g.Access, "Patient"), "Patient"); slices.Contains(got, other.Patient) {
			t.Error("a search for all patients finds another member")
		}
	}},
	{"no token, or one that is none, is 401", func(t *trial) {
		at := t.FHIRBase + "/Patient/" + t.Members[0].Patient
		t.wantUnauthorized(t.get(at))
		for _, h := range []string{"Bearer", "Bearer ", "Bearer x", "Bearer " + random(32), "Bearer a.b.c", "Basic eDp5", "x", "Bearer a b", "Bearer " + strings.Repeat("x", 20_000)} {
			a := t.do(&call{url: at, header: map[string]string{"Authorization": h}})
			if a.status != http.StatusUnauthorized && a.status != http.StatusBadRequest && a.status != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("%.20s: got %s, want 401", h, a)
			}
		}
	}},
	{"Bearer in small letters is Bearer", func(t *trial) {
		c := t.app()
		g := t.grant(c, c.scope())
		t.wantStatus(t.do(&call{url: t.FHIRBase + "/Patient/" + g.Patient, header: map[string]string{"Authorization": "bearer " + g.Access}}), http.StatusOK)
	}},
	{"a token in the query or in a form opens nothing", func(t *trial) {
		c := t.app()
		g := t.grant(c, c.scope())
		a := t.get(t.FHIRBase + "/Patient/" + g.Patient + "?access_token=" + url.QueryEscape(g.Access))
		t.wantStatus(a, http.StatusUnauthorized, http.StatusBadRequest)
		a = t.do(&call{method: http.MethodPost, url: t.FHIRBase + "/Patient/_search", form: url.Values{"_id": {g.Patient}, "access_token": {g.Access}}})
		t.wantStatus(a, http.StatusUnauthorized, http.StatusBadRequest)
	}},
	{"a token is not in any URL", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		back := t.decide(a, t.member())
		for name := range back.Query() {
			if !slices.Contains([]string{"code", "state", "iss", "session_state"}, name) {
				t.Errorf("the answer has %s in its query", name)
			}
		}
		if back.Fragment != "" {
			t.Error("the answer has a fragment")
		}
	}},
	{"a token of one member stays that member's when another one signs in", func(t *trial) {
		c, other := t.app(), t.second()
		g := t.grant(c, c.scope())
		theirs := t.grantOf(c, c.scope(), &Decision{Member: other})
		t.wantStatus(t.fhir(g.Access, "Patient/"+other.Patient), http.StatusNotFound, http.StatusForbidden)
		t.wantStatus(t.fhir(theirs.Access, "Patient/"+g.Patient), http.StatusNotFound, http.StatusForbidden)
		t.wantOpens(g, true, "the first one's token")
		t.wantOpens(theirs, true, "the second one's token")
	}},
	{"a member cannot choose somebody else's patient", func(t *trial) {
		other := t.second().Patient
		for _, edit := range []func(f *form){
			func(f *form) { f.fields.Set("patient", other) },
			func(f *form) { f.fields.Set("member", other) },
			func(f *form) { f.fields.Add("member", other) },
			func(f *form) { f.fields.Add("patient", "Patient/"+other) },
		} {
			p, f, browser := t.consentPage()
			f.decide(p, t.member())
			edit(f)
			_, back, err := f.submit(t.Context(), browser, p.url)
			if err != nil {
				t.Fatal(err)
			}
			if back == nil || !back.Query().Has("code") {
				continue // refused
			}
			if g := t.redeem(t.asked, back.Query().Get("code")); g.Patient != t.Members[0].Patient {
				t.Errorf("patient is %q", g.Patient)
			}
		}
	}},
}
