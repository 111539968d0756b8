package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// world is a store with members, each with coverages, claims and a payee, and organizations and
// practitioners that they share.
type world struct {
	store   *store.Store
	members int
}

func member(i int) string { return fmt.Sprintf("p%04d", i) }

const (
	claimsOfEach = 5
	payers       = 3
	persons      = 7
)

func newWorld(t testing.TB, members int) *world {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{s, members}
	var b fhir.Batch
	add := func(typ fhir.Type, id, rest string, keys ...fhir.Key) {
		text := fmt.Sprintf(`{"resourceType":%q,"id":%q,"meta":{"lastUpdated":"2025-01-02T03:04:05Z","profile":["http://example.org/p"]},%s}`, typ, id, rest)
		b.Add(&fhir.Resource{Type: typ, ID: id, LastUpdated: "2025-01-02T03:04:05Z", SourceVersion: "1", JSON: []byte(text), Keys: keys})
	}
	for i := range payers {
		id := fmt.Sprintf("o%d", i)
		add(fhir.Organization, id, `"active":true,"name":"Payer"`, fhir.Key{Param: fhir.ParamIdentifier, Value: "urn:payers|" + id})
	}
	for i := range persons {
		add(fhir.Practitioner, fmt.Sprintf("r%d", i), `"active":true`, fhir.Key{Param: fhir.ParamIdentifier, Value: fmt.Sprintf("urn:npi|%d", i)})
	}
	for i := range members {
		id := member(i)
		own := fhir.Key{Param: fhir.ParamPatient, Value: "Patient/" + id}
		add(fhir.Patient, id, `"active":true,"birthDate":"1970-01-01"`, fhir.Key{Param: fhir.ParamIdentifier, Value: "urn:members|" + id})
		add(fhir.RelatedPerson, "x"+id, `"active":true,"patient":{"reference":"Patient/`+id+`"}`, own)
		payer := fmt.Sprintf("Organization/o%d", i%payers)
		add(fhir.Coverage, "c"+id, `"status":"active","beneficiary":{"reference":"Patient/`+id+`"},"payor":[{"reference":"`+payer+`"}]`, own,
			fhir.Key{Param: fhir.ParamPayor, Value: payer}, fhir.Key{Param: fhir.ParamIdentifier, Value: "urn:coverages|c" + id})
		for j := range claimsOfEach {
			day := fmt.Sprintf("2024-%02d-%02d", 1+j, 1+i%28)
			eob := fmt.Sprintf("e%s-%d", id, j)
			add(fhir.ExplanationOfBenefit, eob, `"status":"active","patient":{"reference":"Patient/`+id+`"},"total":[{"amount":{"value":19.00}}],"billablePeriod":{"start":"`+day+`"}`,
				own, fhir.Key{Param: fhir.ParamIdentifier, Value: "urn:claims|" + eob},
				fhir.Key{Param: fhir.ParamType, Value: "http://terminology.hl7.org/CodeSystem/claim-type|pharmacy"},
				fhir.Key{Param: fhir.ParamBillablePeriodStart, Value: day}, fhir.Key{Param: fhir.ParamServiceStartDate, Value: day},
				fhir.Key{Param: fhir.ParamServiceDate, Value: day + "/" + day},
				fhir.Key{Param: fhir.ParamProvider, Value: fmt.Sprintf("Organization/o%d", j%payers)},
				fhir.Key{Param: fhir.ParamCareTeam, Value: fmt.Sprintf("Practitioner/r%d", (i+j)%persons)},
				fhir.Key{Param: fhir.ParamCoverage, Value: "Coverage/c" + id}, fhir.Key{Param: fhir.ParamInsurer, Value: payer},
				fhir.Key{Param: fhir.ParamPayee, Value: "RelatedPerson/x" + id})
		}
	}
	if err := s.Apply(context.Background(), &b, nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// byHeader takes the access from headers of the request.
type byHeader struct{}

func (byHeader) Authorize(r *http.Request) (*api.Access, error) {
	a := &api.Access{Patient: r.Header.Get("Member"), Client: r.Header.Get("Client")}
	if s := r.Header.Get("Scopes"); s != "" {
		a.Scopes = api.ParseScopes(s)
	}
	return a, nil
}

func (w *world) serve(t testing.TB, change func(*api.Config)) *httptest.Server {
	t.Helper()
	c := &api.Config{Store: w.store, Authorizer: byHeader{}, CursorKey: bytes.Repeat([]byte("k"), 32), Aliases: []string{"/ProviderClient"},
		Events: api.Events{Failed: func(_ string, err error) { t.Error(err) }}}
	if change != nil {
		change(c)
	}
	h, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   []byte
	doc    struct {
		ResourceType string
		Total        json.RawMessage // a number, of a Bundle
		Link         []struct{ Relation, URL string }
		Entry        []struct {
			FullURL  string
			Resource json.RawMessage
			Search   struct{ Mode string }
		}
		Issue []struct{ Severity, Code, Diagnostics string }
	}
}

type request struct {
	method, path, member, scopes, body string
	header                             map[string]string
}

func do(t testing.TB, s *httptest.Server, q request) *answer {
	t.Helper()
	target := q.path
	if strings.HasPrefix(target, "/") {
		target = s.URL + target
	}
	method := q.method
	if method == "" {
		method = http.MethodGet
	}
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(q.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Member", q.member)
	r.Header.Set("Scopes", q.scopes)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for n, v := range q.header {
		r.Header.Set(n, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	a := &answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if len(a.body) > 0 && resp.Header.Get("Content-Encoding") == "" {
		if err := json.Unmarshal(a.body, &a.doc); err != nil {
			t.Fatalf("%s: the answer is no JSON: %v: %.200s", q.path, err, a.body)
		}
	}
	return a
}

// refs are the resources of a Bundle, by mode.
func (a *answer) refs(t testing.TB, mode string) (list []string) {
	t.Helper()
	for _, e := range a.doc.Entry {
		var r struct{ ResourceType, ID string }
		if err := json.Unmarshal(e.Resource, &r); err != nil {
			t.Fatal(err)
		}
		if e.Search.Mode == mode || mode == "" {
			list = append(list, r.ResourceType+"/"+r.ID)
		}
	}
	return list
}

func (a *answer) link(relation string) string {
	for _, l := range a.doc.Link {
		if l.Relation == relation {
			return l.URL
		}
	}
	return ""
}

// TestIsolation tries every endpoint, parameter and foreign id as a member, and counts what is of others.
func TestIsolation(t *testing.T) {
	members := 1000
	if testing.Short() {
		members = 30
	}
	w := newWorld(t, members)
	s := w.serve(t, nil)
	tried := 0
	for i := 0; i < members; i++ {
		own, other := member(i), member((i+1)%members)
		// A cursor of the other member.
		page := do(t, s, request{path: "/fhir/ExplanationOfBenefit?_count=2", member: other})
		foreign := page.link("next")
		cursor := foreign[strings.Index(foreign, "_cursor=")+len("_cursor="):]
		paths := []string{
			"Patient/" + other, "Coverage/c" + other, "RelatedPerson/x" + other, "ExplanationOfBenefit/e" + other + "-1",
			"Patient/" + other + "/_history", "ExplanationOfBenefit/e" + other + "-1/_history", "ExplanationOfBenefit/e" + other + "-1/_history/1",
			"Patient/" + other + "/$everything", "Patient/" + other + "/$everything?_type=Coverage",
			"Patient?_id=" + other, "Patient?_id=" + own + "," + other, "Patient?identifier=urn:members|" + other, "Patient?identifier=" + other,
			"Patient?_id=" + other + "&_revinclude=ExplanationOfBenefit:patient", "Patient", "Patient?_lastUpdated=gt2000",
			"Patient?_revinclude=ExplanationOfBenefit:patient&_revinclude=Coverage:beneficiary",
			"Coverage?_id=c" + other, "Coverage?patient=" + other, "Coverage?beneficiary=Patient/" + other, "Coverage?identifier=c" + other, "Coverage",
			"Coverage?payor=Organization/o0", "Coverage?_include=Coverage:payor&_include=Coverage:beneficiary",
			"RelatedPerson", "RelatedPerson?patient=" + other, "RelatedPerson?_id=x" + other,
			"ExplanationOfBenefit", "ExplanationOfBenefit?_include=*", "ExplanationOfBenefit?_include=*&_include:iterate=Coverage:payor",
			"ExplanationOfBenefit?_include=ExplanationOfBenefit:payee:RelatedPerson",
			"ExplanationOfBenefit?patient=" + other, "ExplanationOfBenefit?patient=" + own + "," + other, "ExplanationOfBenefit?patient=" + own + "&patient=" + other,
			"ExplanationOfBenefit?patient=" + other + "&patient=" + own, "ExplanationOfBenefit?patient:Patient=" + other,
			"ExplanationOfBenefit?patient=Patient%2F" + other, "ExplanationOfBenefit?patient=" + s.URL + "/fhir/Patient/" + other, "ExplanationOfBenefit?patient.identifier=" + other,
			"ExplanationOfBenefit?p%61tient=" + other, "ExplanationOfBenefit?_id=e" + other + "-0,e" + own + "-0",
			"ExplanationOfBenefit?identifier=e" + other + "-0", "ExplanationOfBenefit?identifier=urn:claims|", "ExplanationOfBenefit?type=pharmacy",
			"ExplanationOfBenefit?coverage=c" + other, "ExplanationOfBenefit?payee=RelatedPerson/x" + other, "ExplanationOfBenefit?_sort=-service-date",
			"ExplanationOfBenefit?service-date=ge2000", "ExplanationOfBenefit?_summary=true&_id=e" + other + "-0", "ExplanationOfBenefit?_elements=patient",
			"ExplanationOfBenefit?_count=2&_cursor=" + cursor, "Organization/o0", "Practitioner?_id=r1", "Organization", "Practitioner?identifier=1", "Organization?_lastUpdated=gt2000",
			"ExplanationOfBenefit/..%2F..%2FPatient%2F" + other, "ExplanationOfBenefit/e" + other + "-1%00", "Patient/" + other + "/", "//Patient//" + other,
		}
		if i >= 30 && !testing.Short() {
			paths = []string{paths[i%len(paths)], paths[(7*i+3)%len(paths)], paths[(11*i+5)%len(paths)]}
		}
		for _, p := range paths {
			for _, q := range forms(p, own) {
				tried++
				a := do(t, s, q)
				if found := leak(a.body, own, members); found {
					t.Fatalf("%s %s %s, as %s: an answer with what is of somebody else: %.300s", q.method, q.path, q.body, own, a.body)
				}
				if a.status >= 500 {
					t.Fatalf("%s: %d", q.path, a.status)
				}
			}
		}
	}
	// The count of a member is the member's.
	a := do(t, s, request{path: "/fhir/ExplanationOfBenefit?_summary=count", member: member(0)})
	if string(a.doc.Total) != strconv.Itoa(claimsOfEach) {
		t.Errorf("the total of a member is %s", a.body)
	}
	t.Logf("%d requests of %d members", tried, members)
}

// forms are the ways to make a request: GET, and POST if it is a search.
func forms(path, own string) []request {
	list := []request{{path: "/fhir/" + path, member: own}}
	typ, query, search := strings.Cut(path, "?")
	if search && !strings.Contains(typ, "/") {
		list = append(list, request{method: http.MethodPost, path: "/fhir/" + typ + "/_search", body: query, member: own})
		first, rest, _ := strings.Cut(query, "&")
		list = append(list, request{method: http.MethodPost, path: "/fhir/" + typ + "/_search?" + first, body: rest, member: own})
	}
	return list
}

// leak reports whether an answer has a resource of another member: the names of all resources that are
// somebody's have the member's name.
func leak(body []byte, own string, members int) bool {
	var b struct {
		ResourceType, ID string
		Total            json.RawMessage
		Entry            []struct{ Resource json.RawMessage }
	}
	if json.Unmarshal(body, &b) != nil {
		return true
	}
	if b.ResourceType == "OperationOutcome" {
		return false
	}
	foreign := func(text []byte) bool {
		var r struct{ ResourceType, ID string }
		if json.Unmarshal(text, &r) != nil {
			return true
		}
		if r.ResourceType == "Organization" || r.ResourceType == "Practitioner" {
			return false
		}
		return !strings.Contains(r.ID, own) || bytes.Count(text, []byte(`"Patient/`)) != bytes.Count(text, []byte(`"Patient/`+own+`"`))
	}
	if b.ResourceType != "Bundle" {
		return foreign(body)
	}
	n, err := strconv.Atoi(string(b.Total))
	return err == nil && n > claimsOfEach+20 || slices.ContainsFunc(b.Entry, func(e struct{ Resource json.RawMessage }) bool { return foreign(e.Resource) })
}

// TestScopes proves that scopes of both versions hold for each type and interaction.
func TestScopes(t *testing.T) {
	w := newWorld(t, 3)
	s := w.serve(t, nil)
	own := member(1)
	for _, x := range []struct {
		scopes, path string
		status       int
		included     []string
	}{
		{"patient/ExplanationOfBenefit.read", "ExplanationOfBenefit?patient=" + own, 200, nil},
		{"patient/ExplanationOfBenefit.read", "Coverage/c" + own, 403, nil},
		{"patient/ExplanationOfBenefit.read", "Coverage?patient=" + own, 403, nil},
		{"patient/*.read", "Coverage/c" + own, 200, nil},
		{"patient/*.rs", "Coverage/c" + own, 200, nil},
		{"patient/*.s", "Coverage/c" + own, 403, nil},
		{"patient/*.r", "Coverage?patient=" + own, 403, nil},
		{"patient/*.c patient/Patient.u", "Coverage/c" + own, 403, nil},
		{"openid fhirUser launch/patient", "Patient/" + own, 403, nil},
		{"patient/Patient.read", "Patient/" + own + "/$everything", 200, []string{"Patient/" + own}},
		{"patient/ExplanationOfBenefit.rs?service-date=ge2024-03-01", "ExplanationOfBenefit/e" + own + "-0", 404, nil},
		{"patient/ExplanationOfBenefit.rs?service-date=ge2024-03-01", "ExplanationOfBenefit/e" + own + "-4", 200, nil},
		{"patient/ExplanationOfBenefit.rs?service-date=ge2024-03-01", "ExplanationOfBenefit/e" + own + "-4/_history", 404, nil},
		{"patient/ExplanationOfBenefit.rs?service-date=ge2024-05-01", "ExplanationOfBenefit", 200, []string{"ExplanationOfBenefit/e" + own + "-4"}},
		{"patient/ExplanationOfBenefit.rs?unknown=1", "ExplanationOfBenefit", 403, nil},
		{"patient/ExplanationOfBenefit.rs", "ExplanationOfBenefit?_id=e" + own + "-1&_include=*", 200, []string{"ExplanationOfBenefit/e" + own + "-1"}},
		{"patient/ExplanationOfBenefit.rs patient/Organization.r", "ExplanationOfBenefit?_id=e" + own + "-1&_include=*", 200,
			[]string{"ExplanationOfBenefit/e" + own + "-1", "Organization/o1"}},
	} {
		a := do(t, s, request{path: "/fhir/" + x.path, member: own, scopes: x.scopes})
		if a.status != x.status {
			t.Errorf("%s with %s: %d, want %d: %.200s", x.path, x.scopes, a.status, x.status, a.body)
		}
		if got := a.refs(t, ""); x.included != nil && !slices.Equal(got, x.included) {
			t.Errorf("%s with %s: %q, want %q", x.path, x.scopes, got, x.included)
		}
	}
}

// TestEveryClaimOfTheCapabilities tries each type, interaction, parameter, include and sort that the
// CapabilityStatement has, and proves that what it does not have is refused.
func TestEveryClaimOfTheCapabilities(t *testing.T) {
	w := newWorld(t, 4)
	s := w.serve(t, nil)
	var c struct {
		Instantiates []string
		Rest         []struct {
			Resource []struct {
				Type                            string
				Interaction                     []struct{ Code string }
				SearchParam                     []struct{ Name, Type string }
				SearchInclude, SearchRevInclude []string
				Operation                       []struct{ Name string }
			}
		}
	}
	if err := json.Unmarshal(do(t, s, request{path: "/fhir/metadata"}).body, &c); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(c.Instantiates, "http://hl7.org/fhir/us/carin-bb/CapabilityStatement/c4bb") {
		t.Error("it does not instantiate the guide's")
	}
	own := member(2)
	examples := map[string]string{"Patient": own, "Coverage": "c" + own, "RelatedPerson": "x" + own, "Organization": "o1", "Practitioner": "r1", "ExplanationOfBenefit": "e" + own + "-1"}
	claimed := map[string]bool{}
	ok := func(path string) {
		t.Helper()
		a := do(t, s, request{path: "/fhir/" + path})
		if a.status != http.StatusOK {
			t.Errorf("%s: %d %.300s", path, a.status, a.body)
		}
	}
	for _, r := range c.Rest[0].Resource {
		id := examples[r.Type]
		for _, i := range r.Interaction {
			switch i.Code {
			case "read":
				ok(r.Type + "/" + id)
			case "vread":
				ok(r.Type + "/" + id + "/_history/1")
			case "history-instance":
				ok(r.Type + "/" + id + "/_history")
			case "search-type":
				ok(r.Type)
			default:
				t.Errorf("%s: interaction %s is not tried", r.Type, i.Code)
			}
		}
		for _, p := range r.SearchParam {
			claimed[r.Type+"?"+p.Name] = true
			value := map[string]string{"token": "x", "date": "2024", "reference": "Patient/" + own}[p.Type]
			ok(r.Type + "?" + p.Name + "=" + value)
			if p.Type == "date" {
				for _, prefix := range []string{"eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"} {
					ok(r.Type + "?" + p.Name + "=" + prefix + "2024-02")
				}
			}
		}
		for _, in := range r.SearchInclude {
			name := "_include"
			if !strings.HasPrefix(in, r.Type) && in != "*" {
				name = "_include:iterate"
			}
			a := do(t, s, request{path: "/fhir/" + r.Type + "?_id=" + id + "&_include=*&" + name + "=" + in})
			if a.status != http.StatusOK || len(a.refs(t, "include")) == 0 {
				t.Errorf("%s with %s=%s includes nothing: %d", r.Type, name, in, a.status)
			}
		}
		for _, in := range r.SearchRevInclude {
			a := do(t, s, request{path: "/fhir/" + r.Type + "?_id=" + id + "&_revinclude=" + in})
			if a.status != http.StatusOK || len(a.refs(t, "include")) == 0 {
				t.Errorf("%s with _revinclude=%s includes nothing: %d", r.Type, in, a.status)
			}
		}
		for _, o := range r.Operation {
			ok(r.Type + "/" + id + "/$" + o.Name)
		}
	}
	// Each parameter of any type, on each type that does not claim it.
	for typ, id := range examples {
		for p := range fhir.NumParams {
			if name := p.String(); !claimed[typ+"?"+name] {
				if a := do(t, s, request{path: "/fhir/" + typ + "?_id=" + id + "&" + name + "=x"}); a.status != http.StatusBadRequest {
					t.Errorf("%s?%s works and is not claimed: %d", typ, name, a.status)
				}
			}
		}
	}
	var d struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Parameters []struct{ Name, In string }
		}
	}
	if err := json.Unmarshal(do(t, s, request{path: "/fhir/openapi.json"}).body, &d); err != nil {
		t.Fatal(err)
	}
	for key := range claimed {
		typ, name, _ := strings.Cut(key, "?")
		params := d.Paths["/"+typ]["get"].Parameters
		if !slices.ContainsFunc(params, func(p struct{ Name, In string }) bool { return p.Name == name && p.In == "query" }) {
			t.Errorf("the OpenAPI description lacks %s", key)
		}
	}
}

// TestPages walks searches page by page: what was there all along comes exactly once, also while
// claims are added, and the links keep all parameters.
func TestPages(t *testing.T) {
	w := newWorld(t, 12)
	s := w.serve(t, nil)
	own := member(3)
	for _, query := range []string{
		"ExplanationOfBenefit?patient=" + own + "&_count=2", "ExplanationOfBenefit?patient=" + own + "&_count=2&_sort=-service-date",
		"ExplanationOfBenefit?patient=" + own + "&_count=1&_sort=billable-period-start,_lastUpdated", "ExplanationOfBenefit?_count=7", "ExplanationOfBenefit?_count=7&type=pharmacy",
		"Patient?_count=5&_lastUpdated=ge2020", "ExplanationOfBenefit?_count=7&_lastUpdated=ge2020", "ExplanationOfBenefit?patient=" + own + "&_count=5", "Patient/" + own + "/$everything?_count=3",
		"ExplanationOfBenefit?patient=" + own + "," + member(4) + "&_count=3&service-date=ge2024-02-01&_sort=service-date",
	} {
		all := do(t, s, request{path: "/fhir/" + replaceCount(query, "500")}).refs(t, "match")
		var got []string
		pages := 0
		for next := "/fhir/" + query; next != ""; pages++ {
			a := do(t, s, request{path: next})
			if a.status != http.StatusOK {
				t.Fatalf("%s: %d %s", next, a.status, a.body)
			}
			got = append(got, a.refs(t, "match")...)
			next = a.link("next")
			if len(next) > 2000 {
				t.Errorf("a link has %d bytes", len(next))
			}
			if pages >= 8 {
				continue // else a page of one would never be the last
			}
			// A claim comes meanwhile. Its id is between those that are there.
			var b fhir.Batch
			b.Add(&fhir.Resource{Type: fhir.ExplanationOfBenefit, ID: fmt.Sprintf("e%s-new%d", own, pages), LastUpdated: "2025-01-02T03:04:05Z",
				JSON: fmt.Appendf(nil, `{"resourceType":"ExplanationOfBenefit","id":"e%s-new%d","meta":{"lastUpdated":"2025-01-02T03:04:05Z"},"status":"active"}`, own, pages),
				Keys: []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/" + own}, {Param: fhir.ParamServiceDate, Value: "2024-03-03/2024-03-03"}}})
			if err := w.store.Apply(t.Context(), &b, nil); err != nil {
				t.Fatal(err)
			}
		}
		seen := map[string]int{}
		for _, r := range got {
			seen[r]++
			if seen[r] > 1 {
				t.Errorf("%s: %s comes twice", query, r)
			}
		}
		for _, r := range all {
			if seen[r] == 0 {
				t.Errorf("%s: %s does not come", query, r)
			}
		}
		if pages < 2 && len(all) > 5 {
			t.Errorf("%s has one page", query)
		}
	}
}

func replaceCount(query, count string) string {
	u, _ := url.Parse("/" + query)
	v := u.Query()
	v.Set("_count", count)
	return strings.TrimPrefix(u.EscapedPath(), "/") + "?" + v.Encode()
}
