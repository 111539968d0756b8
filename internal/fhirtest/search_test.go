package fhirtest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// follow reads all pages of a search.
func follow(t *testing.T, s *Server, path string) (ids []string, pages int) {
	t.Helper()
	for path != "" {
		r := must(t, s, 200, "GET", path, "")
		pages++
		path = ""
		list, _ := r.body["entry"].([]any)
		for _, e := range list {
			ids = append(ids, e.(map[string]any)["resource"].(map[string]any)["id"].(string))
		}
		for _, l := range r.body["link"].([]any) {
			if m := l.(map[string]any); m["relation"] == "next" {
				path = strings.TrimPrefix(m["url"].(string), s.URL)
			}
		}
	}
	return ids, pages
}

func TestSearch(t *testing.T) {
	s := Start(t, nil)
	for i := range 45 {
		s.Put(fmt.Sprintf(`{"resourceType":"Patient","id":"p%02d","active":true,"identifier":[{"system":"u","value":"%d"}]}`, i, i%9))
	}
	ids, pages := follow(t, s, "Patient")
	if len(ids) != 45 || pages != 3 || ids[44] != "p44" {
		t.Errorf("%d resources on %d pages", len(ids), pages)
	}
	if ids, pages := follow(t, s, "Patient?_count=7&_sort=-_id&identifier=u|3"); len(ids) != 5 || pages != 1 || ids[0] != "p39" {
		t.Errorf("%v on %d pages", ids, pages)
	}
	wantText(t, must(t, s, 200, "GET", "Patient?_summary=count", ""), `"total":45`)
	wantText(t, must(t, s, 200, "GET", "Patient?_id=p01,p02,none&_summary=count", ""), `"total":2`)
	wantText(t, must(t, s, 200, "GET", "Patient?identifier=3&_summary=count", ""), `"total":5`)
	wantText(t, must(t, s, 200, "GET", "Patient?_lastUpdated=gt2020-01-01&_summary=count", ""), `"total":45`)
	wantText(t, must(t, s, 200, "POST", "Patient/_search", "identifier=u%7C3&_summary=count", "Content-Type", "application/x-www-form-urlencoded"), `"total":5`)
	wantText(t, must(t, s, 400, "GET", "Patient?bogus=1", ""), "HAPI-0524")
	r := must(t, s, 200, "GET", "Patient?_count=1&_elements=identifier", "")
	wantText(t, r, "SUBSETTED", `"versionId":"1"`, `"identifier"`)
	if strings.Contains(r.text, "active") {
		t.Errorf("an element that was not asked for: %s", r.text)
	}
	wantText(t, must(t, s, 410, "GET", "?_getpages=none", ""), "HAPI-0417")
	wantStatuses(t, must(t, s, 200, "POST", "", bundleOf("batch", entryOf("GET", "Patient?identifier=u|3"))), "200")

	s.Delete("Patient/p44")
	wantText(t, must(t, s, 200, "GET", "Patient?_summary=count", ""), `"total":44`)
	s.Set(func(o *Options) { o.WrongTotal = 3 })
	wantText(t, must(t, s, 200, "GET", "Patient", ""), `"total":47`)
	s.Set(func(o *Options) { o.NoTotal = true })
	if r := must(t, s, 200, "GET", "Patient", ""); strings.Contains(r.text, `"total"`) {
		t.Error("there is a total")
	}
}

func TestSearchCache(t *testing.T) {
	now := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	s := Start(t, &Options{SearchCache: time.Minute, Now: func() time.Time { return now }})
	count := func(want int, header ...string) {
		t.Helper()
		wantText(t, must(t, s, 200, "GET", "Patient?_summary=count", "", header...), fmt.Sprintf(`"total":%d`, want))
	}
	count(0)
	must(t, s, 201, "PUT", "Patient/a", patient("a"))
	count(0)
	must(t, s, 200, "GET", "Patient/a", "") // a read is never cached
	count(1, "Cache-Control", "no-cache")
	must(t, s, 201, "PUT", "Patient/b", patient("b"))
	count(1)
	now = now.Add(2 * time.Minute)
	count(2)
}

func TestMetadata(t *testing.T) {
	s := Start(t, &Options{Software: "Blaze", Version: "1.2", Base: "/r4", Types: []string{"Patient"}})
	if !strings.HasSuffix(s.URL, "/r4") {
		t.Errorf("URL %s", s.URL)
	}
	wantText(t, must(t, s, 200, "GET", "metadata", ""), `"name":"Blaze"`, `"version":"1.2"`, `"fhirVersion":"4.0.1"`, `"code":"transaction"`, `"name":"import"`, `"type":"Patient"`)
	must(t, s, 404, "PUT", "Coverage/c", coverage("c", "a"))
	must(t, s, 404, "GET", ".well-known/smart-configuration", "")
	s.Set(func(o *Options) { o.Rewrite = func(r map[string]any) { r["language"] = "en" } })
	must(t, s, 201, "PUT", "Patient/a", patient("a"))
	wantText(t, must(t, s, 200, "GET", "Patient/a", ""), `"language":"en"`)
}

func TestCompressedRequestsAndAnswers(t *testing.T) {
	s := Start(t, nil)
	must(t, s, 201, "PUT", "Patient/a", string(packed([]byte(patient("a")))), "Content-Encoding", "gzip")
	r := must(t, s, 200, "GET", "Patient/a", "", "Accept-Encoding", "gzip")
	if r.header.Get("Content-Encoding") != "gzip" || r.body != nil {
		t.Error("the answer is not gzip")
	}
	must(t, s, 400, "PUT", "Patient/a", "not gzip", "Content-Encoding", "gzip")
}

func TestConflictsOfWriters(t *testing.T) {
	s := Start(t, &Options{WriteTime: 30 * time.Millisecond})
	write := func(header ...string) map[int]int {
		got := make(chan int, 8)
		for i := range cap(got) {
			go func() {
				r, err := ask(s, http.MethodPost, "", bundleOf("transaction", put("Organization/o", fmt.Sprintf(`{"resourceType":"Organization","id":"o","name":"%d"}`, i))), header...)
				if err != nil {
					t.Error(err)
					got <- 0
					return
				}
				got <- r.status
			}()
		}
		count := map[int]int{}
		for range cap(got) {
			count[<-got]++
		}
		return count
	}
	if c := write(); c[409] == 0 || c[200] == 0 || c[200]+c[409] != 8 {
		t.Errorf("statuses %v", c)
	}
	if c := write("X-Retry-On-Version-Conflict", "retry; max-retries=10"); c[200] != 8 {
		t.Errorf("statuses with the header %v", c)
	}
	if n := len(s.Writes()); n < 8 {
		t.Errorf("%d writes", n)
	}
}

func TestInspection(t *testing.T) {
	s := Start(t, nil)
	must(t, s, 200, "POST", "", bundleOf("batch", put("Patient/a", patient("a"), `,"ifMatch":"W/\"3\""`), put("Patient/a_b", patient("a_b"))))
	if v := s.Edit("Patient/a", func(r map[string]any) { r["active"] = false }); v != "2" {
		t.Errorf("version %s", v)
	}
	s.Delete("Patient/a")
	req := s.Requests()[0]
	if got := fmt.Sprintf("%d %s %s %v %v %d %v %v", req.N, req.Method, req.Bundle, req.Entries, req.IfMatch, req.Status, req.Told, req.Done); got != `1 POST batch [PUT Patient/a PUT Patient/a_b] [W/"3" ] 200 [201 400] [201 400]` {
		t.Errorf("request %+v", req)
	}
	w := s.Writes()
	if len(w) != 3 || w[0].Request != 1 || w[1].Request != 0 || !w[2].Deleted || w[2].Version != "3" {
		t.Errorf("writes %+v", w)
	}
	if v := s.Versions("Patient/a"); len(v) != 3 || !v[2].Deleted || v[1].JSON == "" {
		t.Errorf("versions %+v", v)
	}
	if n := s.Names(); len(n) != 1 || n[0] != "Patient/a" {
		t.Errorf("names %v", n)
	}
	s.Forget()
	must(t, s, 410, "GET", "Patient/a", "")
	if r := s.Requests(); len(r) != 1 || r[0].N != 2 || len(s.Writes()) != 0 {
		t.Errorf("after Forget: %+v", r)
	}
}
