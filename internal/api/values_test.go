package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/schemas/fhir"
)

// TestReferences searches by each form of a reference, with GET and POST: all find the same, and what
// is on another server finds nothing.
func TestReferences(t *testing.T) {
	w := newWorld(t, 3)
	const base = "https://api.example.org:8443/r4"
	s := w.serve(t, func(c *api.Config) { c.Base = base })
	own := member(1)
	search := func(q request) *answer { return do(t, s, q) }
	for _, x := range []struct {
		name, typ, id string
	}{{"patient", "Patient", own}, {"insurer", "Organization", "o1"}, {"coverage", "Coverage", "c" + own}, {"payee", "RelatedPerson", "x" + own}, {"care-team", "Practitioner", "r3"}} {
		want := find(t, search, request{path: "/fhir/ExplanationOfBenefit?" + x.name + "=" + x.id, member: own})
		if len(want) == 0 {
			t.Errorf("%s finds nothing", x.name)
		}
		ref := x.typ + "/" + x.id
		for query, want := range map[string][]string{
			x.name + "=" + ref: want, x.name + "=" + base + "/" + ref: want, x.name + ":" + x.typ + "=" + x.id: want, x.name + ":" + x.typ + "=" + ref: want,
			x.name + ":" + x.typ + "=" + base + "/" + ref: want, x.name + "=nobody," + ref: want, x.name + "=" + strings.ReplaceAll(ref, "/", "%2F"): want,
			x.name + "=https://elsewhere.example/r4/" + ref: nil, x.name + "=" + base + "x/" + ref: nil, x.name + "=Observation/" + x.id: nil, x.name + "=" + strings.ToLower(x.typ) + "/" + x.id: nil,
		} {
			for _, q := range forms("ExplanationOfBenefit?"+query, own) {
				if got := find(t, search, q); !slices.Equal(got, want) {
					t.Errorf("%s %s %s: %q, want %q", q.method, q.path, q.body, got, want)
				}
			}
		}
	}
}

// TestTokens searches by each form of a token, with separators in systems and codes.
func TestTokens(t *testing.T) {
	w := newWorld(t, 2)
	const own = "coded"
	number := func(v string) fhir.Key { return fhir.Key{Param: fhir.ParamIdentifier, Value: v} }
	kind := func(v string) fhir.Key { return fhir.Key{Param: fhir.ParamType, Value: v} }
	w.claim(t, "a", own, number("urn:a|1"), kind("urn:kinds|oral"))
	w.claim(t, "b", own, number("urn:b|1"), kind("urn:kinds|vision"))
	w.claim(t, "none", own, number("|1"), kind("|oral"))
	w.claim(t, "odd", own, number(`urn:x,y$z|a,b|c$d\e`), kind("urn:others|oral"))
	s := w.serve(t, nil)
	for query, want := range map[string]string{
		"identifier=1": "a b none", "identifier=urn:a|1": "a", "identifier=urn:a%7C1": "a", "identifier=|1": "none", "identifier=%7C1": "none", "identifier=urn:b|": "b",
		"identifier=urn:a|1,urn:b|1": "a b", "identifier=urn:a|1&identifier=urn:b|1": "", "identifier=1&identifier=urn:b|": "b", "identifier=urn:a": "",
		`identifier=urn:x\,y\$z|a\,b\|c\$d\\e`: "odd", `identifier=a\,b\|c\$d\\e`: "odd", `identifier=urn:x\,y\$z|`: "odd", `identifier=urn:x\,y\$z|a\,b\|c\$d\\e,1`: "a b none odd",
		`identifier=a,b|c$d\e`: "", `identifier=urn:a\|1`: "",
		"type=oral": "a none odd", "type=urn:kinds|oral": "a", "type=urn:kinds%7Coral": "a", "type=|oral": "none", "type=urn:kinds|": "a b", "type=urn:kinds|vision,urn:others|": "b odd",
		"type=Oral": "", "_id=a,b": "a b", "_id=b&type=vision": "b", "type=vision&_id=b": "b", "type=vision&_id=a": "", "type=oral&_id=%61": "a", "_id=a%2Cb": "a b",
		"_id=a&_id=b": "", "_id=": "a b none odd", "type=,": "400", "identifier=": "a b none odd",
	} {
		for _, q := range forms("ExplanationOfBenefit?patient="+own+"&"+query, own) {
			if want == "400" {
				if a := do(t, s, q); a.status != http.StatusBadRequest {
					t.Errorf("%s: %d", query, a.status)
				}
				continue
			}
			if got := find(t, func(q request) *answer { return do(t, s, q) }, q); !slices.Equal(got, strings.Fields(want)) {
				t.Errorf("%s %s %s: %q, want %s", q.method, q.path, q.body, got, want)
			}
		}
	}
}

// TestAlone searches by each parameter alone, as an app with a member's token does: it finds what is the
// member's, and needs no patient for that.
func TestAlone(t *testing.T) {
	w := newWorld(t, 3)
	s := w.serve(t, nil)
	own := member(1)
	for query, n := range map[string]int{
		"ExplanationOfBenefit": claimsOfEach, "ExplanationOfBenefit?_lastUpdated=ge2020": claimsOfEach, "ExplanationOfBenefit?type=pharmacy": claimsOfEach,
		"ExplanationOfBenefit?identifier=e" + own + "-2": 1, "ExplanationOfBenefit?_id=e" + own + "-2": 1, "ExplanationOfBenefit?service-date=2024-02": 1,
		"ExplanationOfBenefit?service-start-date=2024-02": 1, "ExplanationOfBenefit?billable-period-start=2024-02": 1, "ExplanationOfBenefit?insurer=o1": claimsOfEach,
		"ExplanationOfBenefit?provider=o0": 2, "ExplanationOfBenefit?care-team=r1": 1, "ExplanationOfBenefit?coverage=c" + own: claimsOfEach, "ExplanationOfBenefit?payee=x" + own: claimsOfEach,
		"ExplanationOfBenefit?patient=" + own: claimsOfEach, "ExplanationOfBenefit?patient=" + own + "," + member(2): claimsOfEach, "ExplanationOfBenefit?patient=" + member(2): 0,
		"Coverage": 1, "Coverage?_id=c" + own: 1, "Coverage?_id=c" + member(2): 0, "Coverage?_lastUpdated=ge2020": 1, "Coverage?payor=o1": 1, "Patient": 1, "Patient?_id=" + own: 1,
		"Patient?_id=" + member(2): 0, "Patient?_id=" + own[:3]: 0, "Patient?_lastUpdated=ge2020&_id=" + member(2): 0, "Patient?_lastUpdated=ge2020": 1, "RelatedPerson": 1, "Organization?_id=o1": 1, "Practitioner?_id=r1": 1,
		"ExplanationOfBenefit?identifier=e" + member(2) + "-2": 0,
	} {
		for _, q := range forms(query, own) {
			a := do(t, s, q)
			if a.status != 200 || len(a.refs(t, "match")) != n {
				t.Errorf("%s %s: %d, %d of %d: %.200s", q.method, query, a.status, len(a.refs(t, "match")), n, a.body)
			}
			if n == 0 && strings.Contains(string(a.body), `"entry"`) {
				t.Errorf("%s: an empty Bundle has an entry: %s", query, a.body)
			}
		}
	}
}

// TestStray proves that what is unknown is refused, and left out if the client asks for that: then the self
// link does not have it. What would change the meaning of a known parameter is refused in any case.
func TestStray(t *testing.T) {
	w := newWorld(t, 3)
	s := w.serve(t, nil)
	own := member(1)
	for query, lenient := range map[string]int{
		"_includes=*": 200, "patient=" + own: 200, "birthdate=1970": 200, "name.given=x": 200, "_has:Coverage:beneficiary:type=x": 200, "_sort=name": 200, "_include=Patient:link": 200,
		"_id:exact=" + own: 400, "_lastUpdated=xx2024": 400, "_count=x": 400, "_cursor=x": 400, "_id:missing=true": 400, "_summary=all": 400,
	} {
		path := "/fhir/Patient?" + query + "&_id=" + own
		for prefer, want := range map[string]int{"": 400, "handling=strict": 400, "return=minimal": 400, "handling=lenient": lenient, "respond-async, handling=Lenient": lenient} {
			a := do(t, s, request{path: path, member: own, header: map[string]string{"Prefer": prefer}})
			if a.status != want {
				t.Errorf("%s, %q: %d, want %d", query, prefer, a.status, want)
			}
			if a.status != 200 {
				continue
			}
			if got, want := a.link("self"), s.URL+"/fhir/Patient?_id="+own; got != want {
				t.Errorf("%s: the self link is %s, want %s", query, got, want)
			}
			if got := a.refs(t, ""); !slices.Equal(got, []string{"Patient/" + own}) {
				t.Errorf("%s: %q", query, got)
			}
		}
	}
}

// TestPost proves that parameters of the URL and of the body count alike, and that the next page of a
// search by POST is a plain GET.
func TestPost(t *testing.T) {
	w := newWorld(t, 3)
	s := w.serve(t, nil)
	own := member(1)
	want := find(t, func(q request) *answer { return do(t, s, q) }, request{path: "/fhir/ExplanationOfBenefit?patient=" + own + "&service-date=ge2024-02&_sort=service-date"})
	a := do(t, s, request{method: http.MethodPost, path: "/fhir/ExplanationOfBenefit/_search?patient=" + own + "&_count=3", body: "service-date=ge2024-02&_sort=service-date"})
	got := a.refs(t, "match")
	for next := a.link("next"); next != ""; {
		a = do(t, s, request{path: next})
		got = append(got, a.refs(t, "match")...)
		next = a.link("next")
	}
	for i := range got {
		_, got[i], _ = strings.Cut(got[i], "/")
	}
	if slices.Sort(got); !slices.Equal(got, want) || len(want) != claimsOfEach-1 {
		t.Errorf("%q, want %q", got, want)
	}
	a = do(t, s, request{method: http.MethodPost, path: "/fhir/Patient/" + own + "/$everything?_type=Coverage", body: "_count=10"})
	if got := a.refs(t, ""); !slices.Equal(got, []string{"Coverage/c" + own}) {
		t.Errorf("$everything by POST: %d %q", a.status, got)
	}
}

// TestNumbers proves that amounts leave with the digits that they have, whatever is made of the resource.
func TestNumbers(t *testing.T) {
	w := newWorld(t, 1)
	amounts := []string{"19.00", "120", "0.10", "1.2E+2", "-0.00", "12345678901234567890.123456789"}
	w.add(t, fhir.ExplanationOfBenefit, "sums", `"status":"active","patient":{"reference":"Patient/rich"},"total":[{"amount":{"value":`+strings.Join(amounts, `}},{"amount":{"value":`)+`}}]`,
		fhir.Key{Param: fhir.ParamPatient, Value: "Patient/rich"})
	w.add(t, fhir.Patient, "rich", `"active":true`)
	s := w.serve(t, nil)
	for _, path := range []string{"ExplanationOfBenefit/sums", "ExplanationOfBenefit/sums?_pretty=true", "ExplanationOfBenefit/sums?_elements=total", "ExplanationOfBenefit/sums?_summary=data",
		"ExplanationOfBenefit?_id=sums", "ExplanationOfBenefit?patient=rich&_sort=-service-date&_pretty=true", "ExplanationOfBenefit/sums/_history", "ExplanationOfBenefit/sums/_history/1",
		"Patient/rich/$everything", "Patient?_id=rich&_revinclude=ExplanationOfBenefit:patient"} {
		var got []string
		d := json.NewDecoder(strings.NewReader(string(do(t, s, request{path: "/fhir/" + path}).body)))
		d.UseNumber()
		var previous json.Token
		for token, err := d.Token(); err == nil; token, err = d.Token() {
			if n, ok := token.(json.Number); ok && previous == "value" {
				got = append(got, n.String())
			}
			previous = token
		}
		if !slices.Equal(got, amounts) {
			t.Errorf("%s: the amounts are %q", path, got)
		}
	}
}
