package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/schemas/fhir"
)

// TestStatus holds what is refused to its status, and demands an OperationOutcome that names the
// parameter and no value.
func TestStatus(t *testing.T) {
	w := newWorld(t, 3)
	var b fhir.Batch
	b.Delete(fhir.ExplanationOfBenefit, "ep0001-0", "2025-02-02T00:00:00Z", "1")
	if err := w.store.Apply(t.Context(), &b, nil); err != nil {
		t.Fatal(err)
	}
	s := w.serve(t, nil)
	const secret = "S3CR3T"
	for _, x := range []struct {
		request
		status int
		code   string // of the issue
		names  string // what the diagnostics name
	}{
		{request{path: "/fhir/Patient/p0001"}, 200, "", ""},
		{request{path: "/fhir/Patient/p0001/"}, 200, "", ""},
		{request{path: "//fhir//Patient//p0001"}, 200, "", ""},
		{request{path: "/ProviderClient/metadata"}, 200, "", ""},
		{request{path: "/fhir/Patient/nobody"}, 404, "not-found", ""},
		{request{path: "/fhir/Patient/" + strings.Repeat("a", 65)}, 404, "not-found", ""},
		{request{path: "/fhir/Patient/a%00b"}, 404, "not-found", ""},
		{request{path: "/fhir/ExplanationOfBenefit/ep0001-0"}, 410, "deleted", ""},
		{request{path: "/fhir/ExplanationOfBenefit/ep0001-0/_history/2"}, 410, "deleted", ""},
		{request{path: "/fhir/ExplanationOfBenefit/ep0001-0/_history/1"}, 200, "", ""},
		{request{path: "/fhir/ExplanationOfBenefit/ep0001-0/_history/99999999999"}, 404, "not-found", ""},
		{request{path: "/fhir/ExplanationOfBenefit/ep0001-0", member: "p0001"}, 410, "deleted", ""},
		{request{path: "/fhir/ExplanationOfBenefit/ep0001-0", member: "p0002"}, 404, "not-found", ""},
		{request{path: "/fhir/Observation"}, 404, "not-supported", "/metadata"},
		{request{path: "/fhir"}, 404, "not-supported", "/metadata"},
		{request{path: "/elsewhere"}, 404, "not-found", "/fhir"},
		{request{path: "/fhirpath"}, 404, "not-found", "/fhir"},
		{request{path: "/fhir/Patient/p0001/$match"}, 404, "not-supported", ""},
		{request{path: "/fhir/Patient?" + secret + "=1"}, 400, "not-supported", "no such parameter"},
		{request{path: "/fhir/Patient?birthdate=" + secret}, 400, "not-supported", "birthdate"},
		{request{path: "/fhir/Patient?birthdate=1", header: map[string]string{"Prefer": "handling=lenient"}}, 200, "", ""},
		{request{path: "/fhir/Patient?_id:exact=" + secret}, 400, "not-supported", "_id:exact"},
		{request{path: "/fhir/ExplanationOfBenefit?patient.name=" + secret}, 400, "not-supported", "patient.name"},
		{request{path: "/fhir/ExplanationOfBenefit?service-date=" + secret}, 400, "value", "service-date"},
		{request{path: "/fhir/ExplanationOfBenefit?service-date=zz2024"}, 400, "value", "service-date"},
		{request{path: "/fhir/ExplanationOfBenefit?service-date=2024-13-45"}, 400, "value", "service-date"},
		{request{path: "/fhir/ExplanationOfBenefit?patient=p0001&service-date=2024-01-01T14:30Z"}, 200, "", ""},
		{request{path: "/fhir/ExplanationOfBenefit?patient=p0001&service-date=ge2024-01-01T00:00:00+05:30"}, 200, "", ""},
		{request{path: "/fhir/ExplanationOfBenefit?type="}, 200, "", ""},
		{request{path: "/fhir/ExplanationOfBenefit?type=a,"}, 400, "value", "type"},
		{request{path: "/fhir/ExplanationOfBenefit?identifier=a;b"}, 400, "invalid", "semicolon"},
		{request{path: "/fhir/ExplanationOfBenefit?type=%zz"}, 400, "invalid", "type"},
		{request{path: "/fhir/Patient?_count=-1"}, 400, "invalid", "_count"},
		{request{path: "/fhir/Patient?_count=x"}, 400, "invalid", "_count"},
		{request{path: "/fhir/Patient?_count=9999"}, 200, "", ""},
		{request{path: "/fhir/Patient?_count=0"}, 200, "", ""},
		{request{path: "/fhir/Patient?_count=1&_count=2"}, 400, "invalid", "_count"},
		{request{path: "/fhir/ExplanationOfBenefit?patient=p0001&_sort=name"}, 400, "not-supported", "_sort"},
		{request{path: "/fhir/ExplanationOfBenefit?_sort=service-date"}, 403, "too-costly", "_sort"},
		{request{path: "/fhir/Patient?_summary=" + secret}, 400, "invalid", "_summary"},
		{request{path: "/fhir/Patient?_total=all"}, 400, "invalid", "_total"},
		{request{path: "/fhir/Patient?_include=Patient:link"}, 400, "not-supported", "_include"},
		{request{path: "/fhir/ExplanationOfBenefit?_include=Coverage:payor"}, 400, "not-supported", "_include"},
		{request{path: "/fhir/Patient?_revinclude=Observation:patient"}, 400, "not-supported", "_revinclude"},
		{request{path: "/fhir/Patient?_cursor=" + secret}, 400, "invalid", "_cursor"},
		{request{path: "/fhir/Patient?_format=xml"}, 406, "not-supported", "_format"},
		{request{path: "/fhir/Patient?_format=json", header: map[string]string{"Accept": "text/html"}}, 200, "", ""},
		{request{path: "/fhir/Patient?_format=application/fhir+json"}, 200, "", ""},
		{request{path: "/fhir/Patient", header: map[string]string{"Accept": "application/fhir+xml"}}, 406, "not-supported", "Accept"},
		{request{path: "/fhir/Patient", header: map[string]string{"Accept": "application/xml, application/json+fhir"}}, 200, "", ""},
		{request{path: "/fhir/Patient", header: map[string]string{"Accept": "application/json;q=0, text/html"}}, 406, "not-supported", "Accept"},
		{request{path: "/fhir/Patient", header: map[string]string{"Content-Type": "application/json"}}, 200, "", ""},
		{request{method: "DELETE", path: "/fhir/Patient/p0001"}, 405, "not-supported", ""},
		{request{method: "PUT", path: "/fhir/Patient/p0001", body: "{}"}, 405, "not-supported", ""},
		{request{method: "POST", path: "/fhir/Patient", body: "{}"}, 405, "not-supported", ""},
		{request{method: "POST", path: "/fhir/Patient/_search", body: "{}", header: map[string]string{"Content-Type": "application/json"}}, 415, "not-supported", "Content-Type"},
		{request{method: "POST", path: "/fhir/Patient/_search", body: strings.Repeat("a", 70_000)}, 413, "too-long", ""},
		{request{method: "POST", path: "/fhir/Patient/_search"}, 200, "", ""},
		{request{path: "/fhir/Patient?identifier=" + strings.Repeat("a", 9000)}, 414, "too-long", "_search"},
		{request{path: "/fhir/Organization", member: "p0001"}, 403, "too-costly", "_id"},
		{request{path: "/fhir/Coverage?patient=p0001&patient=p0002"}, 200, "", ""},
	} {
		a := do(t, s, x.request)
		name := x.method + " " + x.path[:min(len(x.path), 80)]
		if a.status != x.status {
			t.Errorf("%s: %d, want %d: %.200s", name, a.status, x.status, a.body)
			continue
		}
		if a.header.Get("Content-Type") != "application/fhir+json; charset=utf-8" {
			t.Errorf("%s: the type is %s", name, a.header.Get("Content-Type"))
		}
		if x.status < 400 {
			continue
		}
		if a.doc.ResourceType != "OperationOutcome" || len(a.doc.Issue) != 1 || a.doc.Issue[0].Code != x.code || !strings.Contains(a.doc.Issue[0].Diagnostics, x.names) {
			t.Errorf("%s: want an issue %s about %q: %s", name, x.code, x.names, a.body)
		}
		if bytes.Contains(a.body, []byte(secret)) {
			t.Errorf("%s: the answer has the value: %s", name, a.body)
		}
		if a.status == http.StatusMethodNotAllowed && a.header.Get("Allow") == "" {
			t.Errorf("%s: no Allow", name)
		}
	}
}

// TestEmptyParameters: FHIR says that they are no error, and ignored. The self link shows what was used.
func TestEmptyParameters(t *testing.T) {
	s := newWorld(t, 3).serve(t, nil)
	all := do(t, s, request{path: "/fhir/ExplanationOfBenefit?patient=p0001&_count=7"})
	for _, empty := range []string{"&type=", "&_sort=", "&patient=", "&unknown=", "&service-date"} {
		a := do(t, s, request{path: "/fhir/ExplanationOfBenefit?patient=p0001&_count=7" + empty})
		if a.status != http.StatusOK || len(a.doc.Entry) == 0 || len(a.doc.Entry) != len(all.doc.Entry) {
			t.Errorf("%s: %d, %d resources and %d without it", empty, a.status, len(a.doc.Entry), len(all.doc.Entry))
		}
		if link := a.link("self"); link != all.link("self") {
			t.Errorf("%s: the self link is %s", empty, link)
		}
	}
	if a := do(t, s, request{path: "/fhir/ExplanationOfBenefit?patient=", member: "p0001"}); len(a.doc.Entry) != len(all.doc.Entry) {
		t.Errorf("a member sees %d claims, not the %d that are theirs", len(a.doc.Entry), len(all.doc.Entry))
	}
}

// TestSameNotFound proves that what belongs to somebody else answers like what does not exist.
func TestSameNotFound(t *testing.T) {
	s := newWorld(t, 3).serve(t, nil)
	want := do(t, s, request{path: "/fhir/Coverage/none", member: "p0001"})
	for _, path := range []string{"/fhir/Coverage/cp0002", "/fhir/Coverage/cp0002/_history", "/fhir/Coverage/cp0002/_history/1", "/fhir/Coverage/cp0002/_history/7",
		"/fhir/Patient/p0002", "/fhir/Patient/p0002/$everything", "/fhir/Patient/%20"} {
		if a := do(t, s, request{path: path, member: "p0001"}); a.status != want.status || !bytes.Equal(a.body, want.body) {
			t.Errorf("%s: %d %s, want %s", path, a.status, a.body, want.body)
		}
	}
}

// TestLinksAreOurs proves that headers of proxies do not change links, and that a configured URL does.
func TestLinksAreOurs(t *testing.T) {
	w := newWorld(t, 3)
	forged := map[string]string{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example"}
	for _, base := range []string{"", "https://api.example.org/r4"} {
		s := w.serve(t, func(c *api.Config) { c.Base = base })
		a := do(t, s, request{path: "/fhir/Coverage?_count=1", header: forged})
		want := base
		if base == "" {
			want = s.URL + "/fhir"
		}
		if !strings.HasPrefix(a.link("next"), want+"/Coverage?") || !strings.HasPrefix(a.doc.Entry[0].FullURL, want+"/Coverage/") || bytes.Contains(a.body, []byte("evil")) {
			t.Errorf("with base %q: %.400s", base, a.body)
		}
	}
}

// TestConditional proves that a client which has a version need not get it again.
func TestConditional(t *testing.T) {
	w := newWorld(t, 2)
	s := w.serve(t, func(c *api.Config) { c.SourceDates = true })
	path := "/fhir/Coverage/cp0001"
	a := do(t, s, request{path: path})
	etag, changed := a.header.Get("ETag"), a.header.Get("Last-Modified")
	if etag != `W/"1"` || changed == "" {
		t.Fatalf("ETag %s, Last-Modified %s", etag, changed)
	}
	for name, value := range map[string]string{"If-None-Match": etag, "If-Modified-Since": changed} {
		a := do(t, s, request{path: path, header: map[string]string{name: value}})
		if a.status != http.StatusNotModified || len(a.body) > 0 || a.header.Get("ETag") != etag {
			t.Errorf("%s: %d with %d bytes", name, a.status, len(a.body))
		}
	}
	put(t, w, fhir.Coverage, "cp0001", `"status":"cancelled","beneficiary":{"reference":"Patient/p0001"}`, "2025-03-03T00:00:00Z")
	for name, value := range map[string]string{"If-None-Match": etag, "If-Modified-Since": changed} {
		if a := do(t, s, request{path: path, header: map[string]string{name: value}}); a.status != http.StatusOK || a.header.Get("ETag") != `W/"2"` {
			t.Errorf("%s after a change: %d %s", name, a.status, a.header.Get("ETag"))
		}
	}
	for _, x := range []struct {
		name, value string
		status      int
	}{
		{"If-Match", etag, 412}, {"If-Match", `"x", W/"2"`, 200}, {"If-Match", `"2"`, 200}, {"If-Match", "*", 200},
		{"If-Unmodified-Since", changed, 412}, {"If-Unmodified-Since", "Mon, 03 Mar 2025 00:00:00 GMT", 200}, {"If-Unmodified-Since", "never", 200},
	} {
		a := do(t, s, request{path: path, header: map[string]string{x.name: x.value}})
		if a.status != x.status || x.status == 412 && (!strings.Contains(string(a.body), x.name) || a.header.Get("ETag") != "") {
			t.Errorf("%s: %s: %d %s", x.name, x.value, a.status, a.body)
		}
	}
	head := do(t, s, request{method: http.MethodHead, path: path})
	if get := do(t, s, request{path: path}); len(head.body) > 0 || head.header.Get("Content-Length") != fmt.Sprint(len(get.body)) || head.header.Get("ETag") != get.header.Get("ETag") {
		t.Errorf("HEAD has %d bytes, and says %s of %d", len(head.body), head.header.Get("Content-Length"), len(get.body))
	}
}

func put(t testing.TB, w *world, typ fhir.Type, id, rest, at string) {
	t.Helper()
	var b fhir.Batch
	b.Add(&fhir.Resource{Type: typ, ID: id, LastUpdated: at, SourceVersion: "2", Keys: []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/p0001"}},
		JSON: fmt.Appendf(nil, `{"resourceType":%q,"id":%q,"meta":{"lastUpdated":%q},%s}`, typ, id, at, rest)})
	if err := w.store.Apply(context.Background(), &b, nil); err != nil {
		t.Fatal(err)
	}
}

// TestCompressed proves that a compressed answer is the same answer.
func TestCompressed(t *testing.T) {
	s := newWorld(t, 3).serve(t, nil)
	path := "/fhir/ExplanationOfBenefit?patient=p0001&_include=*"
	plain := do(t, s, request{path: path, header: map[string]string{"Accept-Encoding": "identity"}})
	for encoding, read := range map[string]func(io.Reader) (io.Reader, error){
		"gzip": func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		"zstd": func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	} {
		a := do(t, s, request{path: path, header: map[string]string{"Accept-Encoding": "br, " + encoding + ";q=0.5"}})
		if a.header.Get("Content-Encoding") != encoding || len(a.body) >= len(plain.body) {
			t.Errorf("%s: encoding %q, %d bytes of %d", encoding, a.header.Get("Content-Encoding"), len(a.body), len(plain.body))
			continue
		}
		r, err := read(bytes.NewReader(a.body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(withoutTime(text), withoutTime(plain.body)) {
			t.Errorf("%s: the answer is another one (%v)", encoding, err)
		}
	}
	if a := do(t, s, request{path: path, header: map[string]string{"Accept-Encoding": "gzip;q=0"}}); a.header.Get("Content-Encoding") != "" {
		t.Error("compressed although the client refuses it")
	}
}

// withoutTime takes the time of the answer from a Bundle.
func withoutTime(bundle []byte) []byte {
	i := bytes.Index(bundle, []byte(`"type"`))
	return bundle[i:]
}

// TestShapes proves that subsets are tagged, keep what must be there, and change no value.
func TestShapes(t *testing.T) {
	s := newWorld(t, 2).serve(t, func(c *api.Config) { c.SourceDates = true })
	for path, want := range map[string]string{
		"_elements=billablePeriod": `{"resourceType":"ExplanationOfBenefit","id":"ep0001-0","meta":{…},"status":"active","patient":{"reference":"Patient/p0001"},"billablePeriod":{"start":"2024-01-02"}}`,
		"_summary=true":            `{"resourceType":"ExplanationOfBenefit","id":"ep0001-0","meta":{…},"status":"active","patient":{"reference":"Patient/p0001"},"total":[{"amount":{"value":19.00}}],"billablePeriod":{"start":"2024-01-02"}}`,
		"_summary=text":            `{"resourceType":"ExplanationOfBenefit","id":"ep0001-0","meta":{…},"status":"active","patient":{"reference":"Patient/p0001"}}`,
	} {
		a := do(t, s, request{path: "/fhir/ExplanationOfBenefit/ep0001-0?" + path})
		meta := `"meta":{"versionId":"1","lastUpdated":"2025-01-02T03:04:05Z","profile":["http://example.org/p"],` +
			`"tag":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}]}`
		if got := strings.Replace(string(a.body), meta, `"meta":{…}`, 1); got != want {
			t.Errorf("%s: %s\nwant %s", path, got, want)
		}
	}
}

// TestCORS proves that an app in a browser may call each route and read each answer.
func TestCORS(t *testing.T) {
	s := newWorld(t, 2).serve(t, nil)
	for _, path := range []string{"/fhir/metadata", "/fhir/Patient", "/fhir/Patient/_search", "/fhir/Patient/p0001", "/fhir/Patient/p0001/_history", "/fhir/Patient/p0001/$everything"} {
		a := do(t, s, request{method: http.MethodOptions, path: path, header: map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}})
		if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("preflight of %s: %d %v", path, a.status, a.header)
		}
	}
	for _, path := range []string{"/fhir/Patient/p0001", "/fhir/Patient/nobody", "/fhir/Patient?x=y", "/elsewhere"} {
		a := do(t, s, request{path: path, header: map[string]string{"Origin": "https://app.example"}})
		if a.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "ETag") {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
}

// refusing refuses everybody.
type refusing struct{}

func (refusing) Authorize(*http.Request) (*api.Access, error) {
	return nil, &api.Error{Status: http.StatusUnauthorized, Code: "login", Text: "the token is missing", Header: map[string]string{"WWW-Authenticate": "Bearer"}}
}

// TestUnauthorized proves that only what describes the server is open to all.
func TestUnauthorized(t *testing.T) {
	s := newWorld(t, 2).serve(t, func(c *api.Config) { c.Authorizer = refusing{} })
	for path, status := range map[string]int{"metadata": 200, "openapi.json": 200, "Patient": 401, "Patient/p0001": 401, "Patient/p0001/$everything": 401, "Patient/nobody": 401,
		"Patient/p0001/_history/1": 401} {
		a := do(t, s, request{path: "/fhir/" + path})
		if a.status != status || status == 401 && a.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
	}
}

// TestHistory proves that a history has all versions of a member's resource, newest first, and no others.
func TestHistory(t *testing.T) {
	w := newWorld(t, 2)
	s := w.serve(t, func(c *api.Config) { c.SourceDates = true })
	put(t, w, fhir.Coverage, "cp0001", `"status":"cancelled","beneficiary":{"reference":"Patient/p0001"}`, "2025-03-03T00:00:00Z")
	put(t, w, fhir.Coverage, "cp0001", `"status":"draft","beneficiary":{"reference":"Patient/p0001"}`, "2025-04-03T00:00:00Z")
	var b struct {
		Type  string
		Total int
		Entry []struct {
			Request  struct{ Method, URL string }
			Response struct{ Status, ETag string }
			Resource struct{ Status string }
		}
	}
	a := do(t, s, request{path: "/fhir/Coverage/cp0001/_history", member: "p0001"})
	if err := json.Unmarshal(a.body, &b); err != nil || b.Type != "history" || b.Total != 3 || len(b.Entry) != 3 || b.Entry[0].Resource.Status != "draft" ||
		b.Entry[0].Response.ETag != `W/"3"` || b.Entry[2].Response.Status != "201" {
		t.Errorf("the history is %s (%v)", a.body, err)
	}
	if a := do(t, s, request{path: "/fhir/Coverage/cp0001/_history", member: "p0000"}); a.status != http.StatusNotFound {
		t.Errorf("another member's history: %d", a.status)
	}
	var got []string
	for next := "/fhir/Coverage/cp0001/_history?_count=1"; next != ""; {
		a := do(t, s, request{path: next})
		got = append(got, a.refs(t, "")...)
		next = a.link("next")
	}
	if len(got) != 3 {
		t.Errorf("page by page it has %d versions", len(got))
	}
	if a := do(t, s, request{path: "/fhir/Coverage/cp0001/_history?_since=2025-03-15"}); len(a.refs(t, "")) != 1 {
		t.Errorf("since March 15: %s", a.body)
	}
}

// TestLastUpdated proves that a resource which was loaded late is found by whoever asks what has changed
// since the answer before, and that the source's dates are served to those who want them.
func TestLastUpdated(t *testing.T) {
	w := newWorld(t, 2)
	s, literal := w.serve(t, nil), w.serve(t, func(c *api.Config) { c.SourceDates = true })
	first := do(t, s, request{path: "/fhir/Coverage", member: "p0001"})
	var b struct{ Meta struct{ LastUpdated string } }
	if err := json.Unmarshal(first.body, &b); err != nil {
		t.Fatal(err)
	}
	since := "/fhir/Coverage?_lastUpdated=ge" + b.Meta.LastUpdated
	if a := do(t, s, request{path: since, member: "p0001"}); len(a.doc.Entry) != 0 {
		t.Errorf("nothing has changed since, but %s", a.body)
	}
	// The source's date is years ago.
	put(t, w, fhir.Coverage, "late", `"status":"active","beneficiary":{"reference":"Patient/p0001"}`, "2019-03-03T00:00:00Z")
	for _, member := range []string{"p0001", ""} { // a member's index, and the change feed
		a := do(t, s, request{path: since, member: member})
		if got := a.refs(t, "match"); len(got) != 1 || got[0] != "Coverage/late" {
			t.Errorf("since then %q has changed", got)
		}
		var own struct{ Meta struct{ LastUpdated string } }
		if err := json.Unmarshal(a.doc.Entry[0].Resource, &own); err != nil || own.Meta.LastUpdated < b.Meta.LastUpdated {
			t.Errorf("the resource says %s, the answer before %s", own.Meta.LastUpdated, b.Meta.LastUpdated)
		}
		if a := do(t, s, request{path: "/fhir/Coverage?_id=late&_lastUpdated=" + own.Meta.LastUpdated, member: member}); len(a.doc.Entry) != 1 {
			t.Error("a resource is not found by its own date")
		}
	}
	if a := do(t, literal, request{path: "/fhir/Coverage?_lastUpdated=2019-03-03", member: "p0001"}); len(a.doc.Entry) != 1 ||
		!bytes.Contains(a.body, []byte(`"lastUpdated":"2019-03-03T00:00:00Z"`)) {
		t.Errorf("with the source's dates: %s", a.body)
	}
	if a := do(t, literal, request{path: since, member: "p0001"}); len(a.doc.Entry) != 0 {
		t.Errorf("with the source's dates, since then: %s", a.body)
	}
}
