package api_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/schemas/fhir"
)

// walk follows the next links of a search.
func walk(t testing.TB, get func(path string) *answer, path string) (pages []*answer) {
	t.Helper()
	for next := path; next != ""; {
		a := get(next)
		if a.status != http.StatusOK || len(pages) > 1000 {
			t.Fatalf("page %d of %s: %d %.300s", len(pages), path, a.status, a.body)
		}
		pages = append(pages, a)
		next = a.link("next")
	}
	return pages
}

// matches are those of some pages, in their order.
func matches(t testing.TB, pages []*answer) (refs []string) {
	t.Helper()
	for _, a := range pages {
		refs = append(refs, a.refs(t, "match")...)
	}
	return refs
}

// TestTies sorts claims of equal dates, of which no page may repeat or skip any.
func TestTies(t *testing.T) {
	w := newWorld(t, 1)
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("ExplanationOfBenefit/tie%02d", i))
		w.claim(t, fmt.Sprintf("tie%02d", (i*7)%30), "tied", fhir.Key{Param: fhir.ParamServiceDate, Value: "2024-03-03/2024-03-03"}, fhir.Key{Param: fhir.ParamBillablePeriodStart, Value: "2024-03-03"})
	}
	s := w.serve(t, nil)
	for _, sort := range []string{"", "&_sort=service-date", "&_sort=-service-date", "&_sort=billable-period-start,-service-date"} {
		pages := walk(t, func(p string) *answer { return do(t, s, request{path: p}) }, "/fhir/ExplanationOfBenefit?patient=tied&_count=7"+sort)
		if got := matches(t, pages); !slices.Equal(got, want) || len(pages) != 5 {
			t.Errorf("%q: %d pages with %q", sort, len(pages), got)
		}
	}
}

// TestFilteredPages proves that each page has all filters of the first.
func TestFilteredPages(t *testing.T) {
	w := newWorld(t, 12)
	s := w.serve(t, nil)
	all := member(1) + "," + member(2) + "," + member(3)
	for _, query := range []string{
		"ExplanationOfBenefit?patient=" + all + "&service-date=ge2024-02&service-date=lt2024-05", "ExplanationOfBenefit?patient=" + all + "&care-team=r1,r2&type=pharmacy",
		"ExplanationOfBenefit?service-date=ge2024-04&insurer=o1", "ExplanationOfBenefit?_lastUpdated=ge2020&care-team=r3", "ExplanationOfBenefit?_lastUpdated=ge2020&_lastUpdated=lt2020-02",
		"ExplanationOfBenefit?patient=" + all + "&provider=o1&_sort=-service-date&_elements=patient", `ExplanationOfBenefit?identifier=urn:claims\|,e` + member(1) + "-1,e" + member(2) + "-1",
		"Patient/" + member(1) + "/$everything?_type=ExplanationOfBenefit,Coverage&start=2024-03",
	} {
		get := func(p string) *answer { return do(t, s, request{path: p}) }
		want, got := matches(t, walk(t, get, "/fhir/"+query+"&_count=500")), matches(t, walk(t, get, "/fhir/"+query+"&_count=2"))
		if !slices.Equal(got, want) || len(want) == 0 && !strings.Contains(query, "lt2020") {
			t.Errorf("%s: page by page %q, on one page %q", query, got, want)
		}
	}
}

// TestEnd proves that pages end exactly, also if the last one is full, and that totals do not depend on
// pages or includes.
func TestEnd(t *testing.T) {
	w := newWorld(t, 3)
	s := w.serve(t, nil)
	own := member(1)
	get := func(p string) *answer { return do(t, s, request{path: p, member: own}) }
	for _, sort := range []string{"", "&_sort=service-date", "&_include=*", "&_lastUpdated=ge2020"} {
		for count, pages := range map[int]int{claimsOfEach + 1: 1, claimsOfEach: 1, claimsOfEach - 1: 2, 1: claimsOfEach} {
			list := walk(t, get, fmt.Sprintf("/fhir/ExplanationOfBenefit?_count=%d%s", count, sort))
			if len(list) != pages || len(matches(t, list)) != claimsOfEach {
				t.Errorf("%q, %d on a page: %d pages with %d", sort, count, len(list), len(matches(t, list)))
			}
			for i, a := range list {
				if string(a.doc.Total) != fmt.Sprint(claimsOfEach) {
					t.Errorf("%q, %d on a page: the total on page %d is %s", sort, count, i, a.doc.Total)
				}
				if n := len(a.refs(t, "match")); n > count || n == 0 {
					t.Errorf("%q: a page of %d has %d", sort, count, n)
				}
			}
		}
	}
	for query, want := range map[string]string{"_count=0": "5", "_summary=count": "5", "_count=0&type=vision": "0", "type=vision": "0"} {
		a := get("/fhir/ExplanationOfBenefit?" + query)
		if string(a.doc.Total) != want || bytes.Contains(a.body, []byte(`"entry"`)) || a.link("next") != "" {
			t.Errorf("%s: %s", query, a.body)
		}
	}
}

// TestCount proves that a page has as many resources as _count says, 500 at most, and 50 if it says nothing.
func TestCount(t *testing.T) {
	w := newWorld(t, 1)
	for i := range 520 {
		w.claim(t, fmt.Sprintf("many%03d", i), "many")
	}
	s := w.serve(t, nil)
	for count, want := range map[string]int{"": 50, "&_count=50": 50, "&_count=51": 51, "&_count=500": 500, "&_count=9999": 500, "&_count=2147483647": 500} {
		a := do(t, s, request{path: "/fhir/ExplanationOfBenefit?patient=many" + count})
		if n := len(a.refs(t, "match")); n != want || a.link("next") == "" {
			t.Errorf("%q: %d on a page, want %d", count, n, want)
		}
	}
	for _, count := range []string{"-1", "x", "1.5", "99999999999999999999", "1e2"} {
		for _, path := range []string{"ExplanationOfBenefit?patient=many&_count=", "Patient/p0000/$everything?_count=", "Patient/p0000/_history?_count="} {
			if a := do(t, s, request{path: "/fhir/" + path + count}); a.status != http.StatusBadRequest {
				t.Errorf("%s%s: %d", path, count, a.status)
			}
		}
	}
}

// TestCursors proves that a link goes on after a restart and with another token of the member, that it is
// short, and that it is worth nothing to others, with another key, or with another search.
func TestCursors(t *testing.T) {
	w := newWorld(t, 3)
	s, restarted := w.serve(t, nil), w.serve(t, nil)
	stranger := w.serve(t, func(c *api.Config) { c.CursorKey = bytes.Repeat([]byte("x"), 32) })
	own := member(1)
	for _, query := range []string{"ExplanationOfBenefit?_count=2", "ExplanationOfBenefit?_count=2&_sort=-service-date", "Patient/" + own + "/$everything?_count=2", "Patient/" + own + "/_history?_count=1"} {
		if strings.Contains(query, "_history") {
			put(t, w, fhir.Patient, own, `"active":false`, "2025-03-03T00:00:00Z")
		}
		a := do(t, s, request{path: "/fhir/" + query, member: own, scopes: "patient/*.read"})
		next := strings.TrimPrefix(a.link("next"), s.URL)
		if next == "" || len(next) > 300 {
			t.Fatalf("%s: the link is %q", query, next)
		}
		want := do(t, s, request{path: next, member: own}).refs(t, "")
		for name, a := range map[string]*answer{"a restart": do(t, restarted, request{path: next, member: own}), "another token": do(t, s, request{path: next, member: own, scopes: "patient/*.rs openid"})} {
			if got := a.refs(t, ""); a.status != http.StatusOK || !slices.Equal(got, want) || len(got) == 0 {
				t.Errorf("%s after %s: %d %q, want %q", query, name, a.status, got, want)
			}
		}
		at := len(next) - 10 // in the signature
		changed := next[:at] + map[bool]string{true: "B", false: "A"}[next[at] == 'A'] + next[at+1:]
		for name, a := range map[string]*answer{"another key": do(t, stranger, request{path: next, member: own}), "a change": do(t, s, request{path: changed, member: own}),
			"half of it": do(t, s, request{path: next[:len(next)-10], member: own}), "another member": do(t, s, request{path: next, member: member(2)}),
			"another filter": do(t, s, request{path: next + "&_since=2020&type=x", member: own})} {
			if a.status != http.StatusBadRequest && a.status != http.StatusNotFound {
				t.Errorf("%s with %s: %d", query, name, a.status)
			}
		}
	}
}

// TestLongSearch proves that a search by POST which is longer than a URL is answered on one page, or
// refused: its next link could not be followed.
func TestLongSearch(t *testing.T) {
	w := newWorld(t, 2)
	s := w.serve(t, nil)
	ids := "_id=ep0001-0,ep0001-1,ep0001-2"
	for i := range 400 {
		ids += fmt.Sprintf(",%025d", i)
	}
	for count, want := range map[string]int{"&_count=3": 200, "": 200, "&_count=2": 403} {
		a := do(t, s, request{method: http.MethodPost, path: "/fhir/ExplanationOfBenefit/_search", body: ids + count})
		if a.status != want || want == 200 && len(a.doc.Entry) != 3 {
			t.Errorf("%q: %d, want %d: %.300s", count, a.status, want, a.body)
		}
	}
	if a := do(t, s, request{path: "/fhir/ExplanationOfBenefit?" + ids}); a.status != http.StatusRequestURITooLong {
		t.Errorf("by GET: %d", a.status)
	}
}

// TestIncludesOfAPage proves that what several claims refer to comes once on a page, marked, and besides
// what _count allows; and that nothing is included that the member may not see.
func TestIncludesOfAPage(t *testing.T) {
	w := newWorld(t, 3)
	own, other := member(1), member(2)
	// A claim that refers to what is another member's, by mistake.
	w.claim(t, "astray", own, fhir.Key{Param: fhir.ParamCoverage, Value: "Coverage/c" + other}, fhir.Key{Param: fhir.ParamPayee, Value: "RelatedPerson/x" + other},
		fhir.Key{Param: fhir.ParamInsurer, Value: "Organization/o0"}, fhir.Key{Param: fhir.ParamProvider, Value: "Organization/missing"})
	s := w.serve(t, nil)
	for _, include := range []string{"_include=*", "_include=ExplanationOfBenefit:*", "_include=*&_include:iterate=Coverage:payor&_include:iterate=RelatedPerson:patient"} {
		shared := map[string]int{}
		for _, a := range walk(t, func(p string) *answer { return do(t, s, request{path: p, member: own}) }, "/fhir/ExplanationOfBenefit?_count=3&"+include) {
			if n := len(a.refs(t, "match")); n != 3 {
				t.Errorf("%s: %d on a page of 3", include, n)
			}
			seen := map[string]bool{}
			for _, r := range a.refs(t, "") {
				if seen[r] {
					t.Errorf("%s: %s comes twice on a page", include, r)
				}
				seen[r] = true
			}
			for _, r := range a.refs(t, "include") {
				shared[r]++
				if strings.Contains(r, other) || strings.HasPrefix(r, "ExplanationOfBenefit/") {
					t.Errorf("%s includes %s", include, r)
				}
			}
			if n := len(a.refs(t, "match")) + len(a.refs(t, "include")); n != len(a.doc.Entry) {
				t.Errorf("%s: %d of %d entries have a mode", include, n, len(a.doc.Entry))
			}
			if string(a.doc.Total) != fmt.Sprint(claimsOfEach+1) {
				t.Errorf("%s: the total is %s", include, a.doc.Total)
			}
		}
		if shared["Organization/o1"] != 2 || shared["Coverage/c"+own] != 2 || shared["Patient/"+own] != 2 {
			t.Errorf("%s: of two pages with it, some lack what their claims refer to: %v", include, shared)
		}
	}
	// An operator sees both.
	a := do(t, s, request{path: "/fhir/ExplanationOfBenefit?_id=astray&_include=*"})
	if got, want := a.refs(t, "include"), []string{"Coverage/c" + other, "Organization/o0", "Patient/" + own, "RelatedPerson/x" + other}; !slices.Equal(sorted(got), want) {
		t.Errorf("an operator gets %q, want %q", got, want)
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }
