package api_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cpcds2fhir/internal/api"
)

// TestAccept proves that every way in which apps ask for JSON gets it, with GET, HEAD and POST, and that
// 406 is for those who take nothing else.
func TestAccept(t *testing.T) {
	w := newWorld(t, 2)
	s := w.serve(t, nil)
	for accept, want := range map[string]int{
		"": 200, " ": 200, "*/*": 200, "application/fhir+json": 200, "application/json": 200, "application/json+fhir": 200, "text/json": 200, "application/*": 200,
		"application/fhir+json; fhirVersion=4.0": 200, "Application/FHIR+JSON;charset=UTF-8": 200, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": 200,
		"application/fhir+xml, application/fhir+json;q=0.1": 200, "application/json;": 200,
		"application/fhir+xml": 406, "text/html": 406, "image/png, text/turtle": 406, "application/json;q=0": 406, "*/*;q=0.0": 406, "application/pdf": 406,
	} {
		for _, path := range []string{"metadata", "openapi.json", "Patient/p0001", "Patient?_id=p0001", "Patient/p0001/_history", "Patient/p0001/_history/1", "Patient/p0001/$everything"} {
			for _, content := range []string{"", "application/json", "application/fhir+json"} {
				a := do(t, s, request{path: "/fhir/" + path, header: map[string]string{"Accept": accept, "Content-Type": content}})
				if a.status != want || a.header.Get("Content-Type") != "application/fhir+json; charset=utf-8" {
					t.Errorf("%s with %q: %d %s, want %d", path, accept, a.status, a.header.Get("Content-Type"), want)
				}
			}
		}
	}
	// Without a value, _format says nothing.
	for accept, want := range map[string]int{"application/fhir+json": 200, "application/fhir+xml": 406} {
		if a := do(t, s, request{path: "/fhir/Patient/p0001?_format=&_pretty=&_elements=", header: map[string]string{"Accept": accept}}); a.status != want {
			t.Errorf("_format without a value and %s: %d, want %d", accept, a.status, want)
		}
	}
	for format, want := range map[string]int{"json": 200, "application/json": 200, "application/fhir+json": 200, "application/fhir%2Bjson": 200, "application/json+fhir": 200, "text/json": 200,
		"application/fhir+json;charset=utf-8": 400, "application/fhir+json%3Bcharset=utf-8": 200, "xml": 406, "application/fhir+xml": 406, "html": 406} {
		for _, q := range []request{{path: "/fhir/Patient/p0001?_format=" + format}, {path: "/fhir/Patient?_format=" + format}, {method: http.MethodPost, path: "/fhir/Patient/_search", body: "_format=" + format}} {
			for _, accept := range []string{"application/fhir+xml", "application/fhir+json", "text/html"} { // counts less
				q.header = map[string]string{"Accept": accept}
				if a := do(t, s, q); a.status != want {
					t.Errorf("%s %s with _format=%s and %s: %d, want %d", q.method, q.path, format, accept, a.status, want)
				}
			}
		}
	}
}

// TestBodies proves that a body of another format is refused, and one without a format is read if it is empty.
func TestBodies(t *testing.T) {
	w := newWorld(t, 2)
	s := w.serve(t, nil)
	for content, want := range map[string]int{"application/x-www-form-urlencoded": 200, "application/x-www-form-urlencoded; charset=utf-8": 200, "Application/X-WWW-Form-Urlencoded": 200,
		"application/json": 415, "application/fhir+json": 415, "multipart/form-data; boundary=x": 415, "text/plain": 415, "": 415, "junk;;": 415} {
		for _, path := range []string{"/fhir/Patient/_search", "/fhir/Patient/p0001/$everything"} {
			if a := do(t, s, request{method: http.MethodPost, path: path, body: "_count=1", header: map[string]string{"Content-Type": content}}); a.status != want {
				t.Errorf("%s with %q: %d, want %d", path, content, a.status, want)
			}
			if a := do(t, s, request{method: http.MethodPost, path: path, header: map[string]string{"Content-Type": content}}); a.status != 200 {
				t.Errorf("%s with %q and no body: %d", path, content, a.status)
			}
		}
	}
}

// TestEncodings proves that answers which differ by headers say so, that encodings are declared and
// complete, and that HEAD and 304 have no body but the headers of the answer.
func TestEncodings(t *testing.T) {
	w := newWorld(t, 3)
	s := w.serve(t, func(c *api.Config) { c.SourceDates = true })
	for _, path := range []string{"metadata", "ExplanationOfBenefit?patient=p0001&_include=*", "ExplanationOfBenefit/ep0001-1", "Patient/nobody", "ExplanationOfBenefit?birthdate=" + strings.Repeat("1", 2000)} {
		plain := do(t, s, request{path: "/fhir/" + path, header: map[string]string{"Accept-Encoding": "identity"}})
		if plain.header.Get("Content-Encoding") != "" || plain.header.Get("Content-Length") != strconv.Itoa(len(plain.body)) {
			t.Errorf("%s, plain: %v", path, plain.header)
		}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := do(t, s, request{method: method, path: "/fhir/" + path, header: map[string]string{"Accept-Encoding": "gzip"}})
			vary := strings.Join(a.header.Values("Vary"), ", ")
			for _, name := range []string{"Accept", "Accept-Encoding", "Authorization", "Origin"} {
				if !slices.Contains(strings.Split(vary, ", "), name) {
					t.Errorf("%s %s varies by %s, not by %s", method, path, vary, name)
				}
			}
			if a.status != plain.status || a.header.Get("Cache-Control") != "private, no-cache" || a.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s %s: %d %v", method, path, a.status, a.header)
			}
			if method == http.MethodHead && (len(a.body) > 0 || a.header.Get("Content-Length") == "0") {
				t.Errorf("HEAD of %s: %d bytes, %v", path, len(a.body), a.header)
			}
			if method == http.MethodHead || a.header.Get("Content-Encoding") == "" {
				continue
			}
			r, err := gzip.NewReader(bytes.NewReader(a.body))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil || len(text) != len(plain.body) || a.header.Get("Content-Length") != strconv.Itoa(len(a.body)) {
				t.Errorf("%s with gzip: %d of %d bytes (%v), %v", path, len(text), len(plain.body), err, a.header)
			}
		}
	}
	a := do(t, s, request{path: "/fhir/ExplanationOfBenefit/ep0001-1", header: map[string]string{"Accept-Encoding": "gzip", "If-None-Match": `"0", W/"1"`}})
	if a.status != http.StatusNotModified || len(a.body) > 0 || a.header.Get("Content-Encoding") != "" || a.header.Get("Content-Type") != "" || a.header.Get("Content-Length") != "" ||
		a.header.Get("Cache-Control") != "private, no-cache" || len(a.header.Values("Vary")) != 2 {
		t.Errorf("304 has %d %v", a.status, a.header)
	}
	for _, other := range []string{`W/"2"`, `"10"`, "junk", ""} {
		if a := do(t, s, request{path: "/fhir/ExplanationOfBenefit/ep0001-1", header: map[string]string{"If-None-Match": other}}); a.status != http.StatusOK {
			t.Errorf("If-None-Match: %s is answered with %d", other, a.status)
		}
	}
}

// TestBase proves that links begin with the URL by which the server is reached, with its port, prefix and
// scheme, or with the one that is configured.
func TestBase(t *testing.T) {
	w := newWorld(t, 3)
	handler := func(change func(*api.Config)) http.Handler {
		return w.serve(t, change).Config.Handler
	}
	for _, x := range []struct {
		target, want string
		change       func(*api.Config)
	}{
		{"http://one.example:8443/fhir/", "http://one.example:8443/fhir", nil},
		{"https://one.example/fhir/", "https://one.example/fhir", nil}, // TLS ends here
		{"http://10.0.0.7:8080/a/b/", "https://api.example.org:444/deep/r4", func(c *api.Config) { c.Base, c.Path = "https://api.example.org:444/deep/r4/", "/a/b" }},
	} {
		h := handler(x.change)
		for _, path := range []string{"Coverage?_count=1", "ExplanationOfBenefit?_count=1&_include=*", "Patient/p0001/$everything?_count=1", "Coverage/cp0001/_history"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, x.target+path, http.NoBody)
			r.Header.Set("X-Forwarded-Host", "evil.example")
			r.Header.Set("X-Forwarded-Proto", "gopher")
			r.Header.Set("X-Forwarded-Prefix", "/evil")
			r.Header.Set("Forwarded", "host=evil.example;proto=gopher")
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			text := rec.Body.String()
			for _, mark := range []string{`"fullUrl":"`, `"url":"`} {
				for _, part := range strings.Split(text, mark)[1:] {
					if !strings.HasPrefix(part, x.want+"/") && !strings.HasPrefix(part, "Coverage/") { // a history has the relative URL of the request
						t.Errorf("%s%s: %s%.60s, want %s", x.target, path, mark, part, x.want)
					}
				}
			}
			if rec.Code != http.StatusOK || !strings.Contains(text, `"fullUrl":"`) || strings.Contains(text, "evil") || strings.Contains(text, "gopher") {
				t.Errorf("%s%s: %d %.200s", x.target, path, rec.Code, text)
			}
			if strings.Contains(text, `"reference":"http`) || strings.Contains(text, `"reference":"/`) {
				t.Errorf("%s%s: a reference is not relative", x.target, path)
			}
		}
	}
}

// TestSlashes proves that slashes too many are passed over where they are, with the method and the body:
// a redirect would lose them.
func TestSlashes(t *testing.T) {
	w := newWorld(t, 2)
	s := w.serve(t, nil)
	for _, path := range []string{"/fhir/Coverage/_search", "/fhir/Coverage/_search/", "//fhir/Coverage/_search", "/fhir//Coverage//_search//", "///fhir/Coverage/_search?"} {
		a := do(t, s, request{method: http.MethodPost, path: path, body: "_id=cp0001"})
		if got := a.refs(t, "match"); a.status != http.StatusOK || !slices.Equal(got, []string{"Coverage/cp0001"}) {
			t.Errorf("POST %s: %d %q", path, a.status, got)
		}
	}
	for _, path := range []string{"/fhir/Coverage/cp0001/", "//fhir//Coverage/cp0001", "/fhir/Coverage/cp0001//_history/1/"} {
		if a := do(t, s, request{path: path}); a.status != http.StatusOK {
			t.Errorf("GET %s: %d", path, a.status)
		}
	}
	for _, path := range []string{"/fhir/./Coverage", "/fhir/../fhir/Coverage", "/fhir/Coverage/../Patient", "/fhir%2FCoverage", "/FHIR/Coverage"} { // not what the client may have meant, and no redirect
		if a := do(t, s, request{path: path}); a.status != http.StatusNotFound {
			t.Errorf("GET %s: %d", path, a.status)
		}
	}
}

// TestElementsOfIncludes proves that _elements names elements of each type, and that what a resource must
// have stays, also in those that are included.
func TestElementsOfIncludes(t *testing.T) {
	s := newWorld(t, 2).serve(t, nil)
	for elements, want := range map[string]map[string]string{
		"total":                         {"ExplanationOfBenefit": "id meta patient resourceType status total", "Coverage": "beneficiary id meta payor resourceType status", "Organization": "id meta resourceType"},
		"Organization.name,Coverage.id": {"ExplanationOfBenefit": "id meta patient resourceType status", "Coverage": "beneficiary id meta payor resourceType status", "Organization": "id meta name resourceType"},
		"active":                        {"ExplanationOfBenefit": "id meta patient resourceType status", "Organization": "active id meta resourceType"},
		"Coverage.name":                 {"Organization": "id meta resourceType"},
	} {
		a := do(t, s, request{path: "/fhir/ExplanationOfBenefit?_id=ep0001-1&_include=*&_elements=" + elements})
		for _, e := range a.doc.Entry {
			var r map[string]json.RawMessage
			if err := json.Unmarshal(e.Resource, &r); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(slices.Sorted(maps.Keys(r)), " ")
			if want, ok := want[strings.Trim(string(r["resourceType"]), `"`)]; ok && got != want || !strings.Contains(string(r["meta"]), "SUBSETTED") {
				t.Errorf("_elements=%s: %s has %s, want %s", elements, r["id"], got, want)
			}
		}
	}
	for _, elements := range []string{"total,", "Observation.status", "0.5", "total.amount", ".status", "a b"} {
		if a := do(t, s, request{path: "/fhir/ExplanationOfBenefit/ep0001-1?_elements=" + strings.ReplaceAll(elements, " ", "%20")}); a.status != http.StatusBadRequest {
			t.Errorf("_elements=%s: %d", elements, a.status)
		}
	}
}
