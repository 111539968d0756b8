package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"cpcds2fhir/internal/api"
)

// FuzzSearch makes requests of arbitrary queries, as a member: no answer is a fault of the server, none has
// what is of others, and each is JSON.
func FuzzSearch(f *testing.F) {
	w := newWorld(f, 3)
	s := w.serve(f, nil)
	for _, q := range []string{"_id=p0001", "patient=Patient/p0001,p0002&_sort=-service-date", "service-date=ge2024&service-date=lt2024-03-01T00:00:00+01:00", "_include=*&_count=0",
		"identifier=a|b\\,c,|d", "_cursor=AQBw", "type:not=x", "_elements=a,b&_summary=true", "%zz", "a;b", "_lastUpdated=ap2024", "_revinclude=ExplanationOfBenefit:patient"} {
		f.Add(uint8(0), q)
		f.Add(uint8(3), q)
	}
	types := []string{"ExplanationOfBenefit/_search", "Coverage/_search", "Patient/_search", "Organization/_search", "RelatedPerson/_search", "Patient/p0001/$everything"}
	f.Fuzz(func(t *testing.T, kind uint8, query string) {
		a := do(t, s, request{method: http.MethodPost, path: "/fhir/" + types[int(kind)%len(types)], body: query, member: member(1)})
		if a.status >= 500 || leak(a.body, member(1), 3) {
			t.Errorf("%d %.300s", a.status, a.body)
		}
	})
}

// raw is a request in its parts, as a client could send them.
type raw struct{ method, target, header, body string }

// send makes a request of the server without a network, if net/http would hand it on, and says what is wrong with
// the answer: a fault of the server, an error that is no OperationOutcome, or something of another member.
func (q *raw) send(h http.Handler, own string, members int) (status int, err error) {
	u, parseErr := url.ParseRequestURI(q.target)
	if parseErr != nil || !token(q.method) {
		return 0, nil //nolint:nilerr // net/http refuses it before the server sees it
	}
	r := &http.Request{Method: q.method, URL: u, RequestURI: q.target, Host: "api.example", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody}
	if q.body != "" {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(q.body)), int64(len(q.body))
	}
	for line := range strings.SplitSeq(q.header, "\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && token(name) {
			r.Header.Add(name, strings.TrimSpace(value))
		}
	}
	r.Header.Set("Member", own)
	r.Header.Del("Accept-Encoding")
	r.Header.Del("Scopes")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	status = rec.Code
	var doc struct{ ResourceType string }
	switch text := rec.Body.Bytes(); {
	case status >= 500:
		return status, fmt.Errorf("a fault of the server: %d %s", status, text)
	case len(text) == 0 && (q.method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified):
		return status, nil
	case json.Unmarshal(text, &doc) != nil || rec.Header().Get("Content-Type") != "application/fhir+json; charset=utf-8":
		return status, fmt.Errorf("%d without JSON: %.200s", status, text)
	case status >= 400 && doc.ResourceType != "OperationOutcome":
		return status, fmt.Errorf("%d with a %s", status, doc.ResourceType)
	case doc.ResourceType != "" && doc.ResourceType != "CapabilityStatement" && leak(text, own, members):
		return status, fmt.Errorf("what is of another member: %.300s", text)
	}
	return status, nil
}

// token reports whether a text can be a method or the name of a header.
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) })
}

// requests are those that the server answers, one of each kind.
var requests = []raw{
	{"GET", "/fhir/metadata?_format=json", "Accept: application/fhir+json", ""},
	{"GET", "/fhir/openapi.json", "Authorization: Bearer a.b.c", ""},
	{"GET", "/ProviderClient/metadata", "", ""},
	{"HEAD", "/fhir/Patient/p0001?_pretty=true", "If-None-Match: W/\"1\"", ""},
	{"GET", "/fhir/ExplanationOfBenefit/ep0001-1?_elements=total,ExplanationOfBenefit.status&_summary=false", "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT", ""},
	{"GET", "/fhir/Coverage/cp0001/_history?_count=2&_since=2020-01-01T00:00:00%2B01:00", "Prefer: handling=lenient", ""},
	{"GET", "/fhir/Coverage/cp0001/_history/1?_summary=true", "Origin: https://app.example", ""},
	{"GET", "/fhir/Patient/p0001/$everything?_type=Coverage,Patient&_since=2020&start=2024-01-01&end=2025&_count=3", "", ""},
	{"POST", "/fhir/Patient/p0001/$everything?_count=2", "Content-Type: application/x-www-form-urlencoded", "_type=ExplanationOfBenefit&start=2024-02"},
	{"POST", "/fhir/ExplanationOfBenefit/_search?patient=Patient/p0001,p0002", "Content-Type: application/x-www-form-urlencoded\nPrefer: handling=strict", "service-date=ge2024-01-01T10:00+05:30&_count=2&_include=*&_sort=-service-date"},
	{"GET", "/fhir/ExplanationOfBenefit?_lastUpdated=gt2020&identifier=urn:claims%7C,a\\,b%7Cc&type=|pharmacy&_include:iterate=Coverage:payor&_total=accurate", "Accept: */*;q=0.1, application/json+fhir", ""},
	{"GET", "/fhir/ExplanationOfBenefit?patient:Patient=http://api.example/fhir/Patient/p0001&billable-period-start=ap2024-03&_cursor=AQAx&_summary=count", "X-Request-Id: abc-1", ""},
	{"GET", "/fhir/Patient?_id=p0001&_revinclude=ExplanationOfBenefit:patient&_count=0", "X-Forwarded-Host: evil.example", ""},
	{"GET", "/fhir/Organization?_id=o0,o1&_elements=name&_pretty=true", "", ""},
	{"OPTIONS", "/fhir/Coverage", "Origin: https://app.example\nAccess-Control-Request-Method: GET", ""},
}

// FuzzRequests makes requests of arbitrary parts, as a member.
func FuzzRequests(f *testing.F) {
	h := newWorld(f, 3).serve(f, nil).Config.Handler
	for _, q := range requests {
		f.Add(q.method, q.target, q.header, q.body)
	}
	f.Fuzz(func(t *testing.T, method, target, header, body string) {
		q := &raw{method, target, header, body}
		if _, err := q.send(h, member(1), 3); err != nil {
			t.Errorf("%q: %v", q, err)
		}
	})
}

// spoiled is a text after some random changes: bytes, cuts, repetitions, and pieces that have caused trouble elsewhere.
func spoiled(dice *rand.Rand, s string) string {
	pieces := []string{"%", "%00", "%zz", "%2F", "%C0%AF", "\x00", "\xff", "\r\n", ";", "&&", "==", "=", "?", "#", "//", "/../", "|", "\\", ",", ",,,", ":", ":exact", ":iterate", "..", "-", "+", " ", "$", "_",
		"_cursor=", "_count=-9223372036854775809", "0x7fffffff", "9999-99-99", "0000", "ge", "2024-02-30T24:61:61Z", "*", "é", "\u202e", "Patient/p0002", "p0002", "'", "\"", "<script>", "{}", "null", strings.Repeat("a", 300), strings.Repeat("a,", 600), strings.Repeat("_id=p0001&", 120), strings.Repeat("a", 9000)}
	for range 1 + dice.IntN(3) {
		at := dice.IntN(len(s) + 1)
		end := min(len(s), at+dice.IntN(12))
		switch dice.IntN(5) {
		case 0:
			s = s[:at] + pieces[dice.IntN(len(pieces))] + s[at:]
		case 1:
			s = s[:at] + pieces[dice.IntN(len(pieces))] + s[end:]
		case 2:
			s = s[:at] + s[end:]
		case 3:
			s = s[:end] + s[at:]
		case 4:
			s = s[:at] + string([]byte{byte(dice.IntN(256))}) + s[end:]
		}
	}
	return s
}

// TestSpoiledRequests sends ten thousand requests that were spoiled at random, the same ones each time.
func TestSpoiledRequests(t *testing.T) {
	faults := 0
	w := newWorld(t, 3)
	h := w.serve(t, func(c *api.Config) { c.Events.Failed = func(string, error) { faults++ } }).Config.Handler
	for i := range requests {
		if status, err := requests[i].send(h, member(1), 3); err != nil || status == 0 || status == 404 {
			t.Errorf("%q, as it was: %d %v", requests[i], status, err)
		}
	}
	dice := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // for tests
	statuses := map[int]int{}
	enough := 10_000
	if testing.Short() {
		enough = 2500 // one after the other
	}
	for sent := 0; sent < enough; {
		q := requests[dice.IntN(len(requests))]
		path, query, _ := strings.Cut(q.target, "?")
		for _, part := range []struct {
			text  *string
			every int
		}{{&q.method, 20}, {&path, 8}, {&query, 1}, {&q.header, 6}, {&q.body, 3}} {
			if dice.IntN(part.every) == 0 {
				*part.text = spoiled(dice, *part.text)
			}
		}
		q.target = path + "?" + query
		status, err := q.send(h, member(1), 3)
		if err != nil {
			t.Errorf("%q: %v", q, err)
		}
		if status != 0 {
			sent++
		}
		statuses[status]++
	}
	if faults > 0 {
		t.Errorf("%d faults", faults)
	}
	for _, status := range []int{200, 400, 404, 405, 406, 414, 415} {
		if statuses[status] == 0 {
			t.Errorf("none is answered with %d: %v", status, statuses)
		}
	}
	t.Logf("%v; 0 is what net/http refuses itself", statuses)
}
