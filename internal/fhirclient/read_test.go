package fhirclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func patient(id string) string {
	return fmt.Sprintf(`{"resourceType":"Patient","id":%q,"meta":{"versionId":"3"}}`, id)
}

// readable answers GETs and batches of them; answer decides about a batch.
func readable(t *testing.T, software string, batch func(w http.ResponseWriter, urls []string)) *scripted {
	t.Helper()
	var s *scripted
	s = script(t, software, func(w http.ResponseWriter, r *http.Request, n int) {
		if r.Method == http.MethodPost {
			batch(w, ids(t, s.requests()[n-1].body))
			return
		}
		id := strings.TrimPrefix(r.URL.Path, "/fhir/Patient/")
		switch id {
		case "none":
			refuse(w, 404)
		case "gone":
			refuse(w, 410)
		default:
			w.Header().Set("ETag", `W/"3"`)
			w.Header().Set("Content-Type", "application/fhir+json")
			io.WriteString(w, patient(id))
		}
	})
	return s
}

func TestRead(t *testing.T) {
	entry := func(url string) string {
		switch id := strings.TrimPrefix(url, "Patient/"); id {
		case "none":
			return `{"response":{"status":"404 Not Found"}}`
		case "gone":
			return `{"response":{"status":"410"}}`
		default:
			return fmt.Sprintf(`{"resource":%s,"response":{"status":"200 OK","etag":"W/\"3\""}}`, patient(id))
		}
	}
	all := func(w http.ResponseWriter, urls []string, from int) {
		var list []string
		for _, u := range urls[from:] {
			list = append(list, entry(u))
		}
		fmt.Fprintf(w, `{"resourceType":"Bundle","type":"batch-response","entry":[%s]}`, strings.Join(list, ","))
	}
	for name, batch := range map[string]func(w http.ResponseWriter, urls []string){
		"batches":             func(w http.ResponseWriter, urls []string) { all(w, urls, 0) },
		"no batches":          func(w http.ResponseWriter, _ []string) { refuse(w, 405) },
		"short answers":       func(w http.ResponseWriter, urls []string) { all(w, urls, len(urls)) },
		"answers out of step": func(w http.ResponseWriter, urls []string) { all(w, urls, 1) },
		"entries put off": func(w http.ResponseWriter, urls []string) {
			respond(w, slices.Repeat([]string{"429"}, len(urls))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			refs := []Reference{{"Patient", "a"}, {"Patient", "none"}, {"Patient", "gone"}, {"Patient", "b"}, {"Patient", "c"}}
			c := open(t, readable(t, newVersion, batch), &Config{Entries: 2})
			got, err := c.Read(t.Context(), refs)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []int{200, 404, 410, 200, 200} {
				a := got[i]
				if a.Status != want || want == 200 && (a.Version != "3" || a.Location != refs[i] || string(a.JSON) != patient(refs[i].ID)) || want != 200 && a.Meaning != Absent {
					t.Errorf("%s: %+v", refs[i], a)
				}
			}
		})
	}
}

// What a server cannot have is an answer, and no reason to read all else alone.
func TestReadWhatTheServerCannotHave(t *testing.T) {
	for _, status := range []int{400, 405} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := script(t, newVersion, func(w http.ResponseWriter, r *http.Request, _ int) {
				switch {
				case r.Method == http.MethodPost:
					respond(w, fmt.Sprint(status), fmt.Sprint(status))
				case strings.HasPrefix(r.URL.Path, "/fhir/Patient/"):
					io.WriteString(w, patient(strings.TrimPrefix(r.URL.Path, "/fhir/Patient/")))
				default:
					refuse(w, status)
				}
			})
			c := open(t, s, &Config{Entries: 2})
			got, err := c.Read(t.Context(), []Reference{{"RelatedPerson", "a"}, {"Patient", "b"}})
			if err != nil || got[0].Status != status || got[0].Stored() || got[0].Meaning != Refused || got[1].Status != 200 {
				t.Errorf("%+v %v", got, err)
			}
			if c.noBatchReads.Load() {
				t.Error("the batch was answered, and counts as refused")
			}
			if one, err := c.Read(t.Context(), []Reference{{"RelatedPerson", "a"}}); err != nil || one[0].Status != status {
				t.Errorf("%+v %v", one, err)
			}
		})
	}
}

// A batch that is put off, or is too large, says nothing of batches.
func TestBatchReadsGoOn(t *testing.T) {
	refs := []Reference{{"Patient", "a"}, {"Patient", "b"}}
	for status, reads := range map[int]bool{429: false, 413: true} {
		s := readable(t, newVersion, func(w http.ResponseWriter, _ []string) { refuse(w, status) })
		c := open(t, s, &Config{Patience: 20 * time.Millisecond})
		got, err := c.Read(t.Context(), refs)
		if e, ok := errors.AsType[*Error](err); reads && (err != nil || got[1].Status != 200) || !reads && (!ok || !e.Retriable) {
			t.Errorf("%d: %+v %v", status, got, err)
		}
		if c.noBatchReads.Load() {
			t.Errorf("%d: batches of reads are given up", status)
		}
	}
	// Once one was answered, a refusal is that of what is in it.
	n := 0
	s := readable(t, newVersion, func(w http.ResponseWriter, urls []string) {
		if n++; n == 2 {
			refuse(w, 400)
			return
		}
		respond(w, slices.Repeat([]string{"404"}, len(urls))...)
	})
	c := open(t, s, nil)
	for i, want := range []int{404, 200, 404} {
		got, err := c.Read(t.Context(), refs)
		if err != nil || got[0].Status != want {
			t.Errorf("%d: %+v %v", i, got, err)
		}
	}
}

func TestReadFails(t *testing.T) {
	s := script(t, newVersion, func(w http.ResponseWriter, r *http.Request, _ int) {
		if r.Method == http.MethodPost {
			refuse(w, 400)
			return
		}
		io.WriteString(w, patient("another"))
	})
	_, err := open(t, s, nil).Read(t.Context(), []Reference{{"Patient", "a"}, {"Patient", "b"}})
	if !errors.Is(err, errOtherResource) {
		t.Errorf("%v", err)
	}
}

func TestEach(t *testing.T) {
	page := func(next string, ids ...string) string {
		var entries []string
		for _, id := range ids {
			entries = append(entries, `{"resource":`+patient(id)+`,"search":{"mode":"match"}}`)
		}
		entries = append(entries, `{"resource":{"resourceType":"OperationOutcome"},"search":{"mode":"outcome"}}`, `{"resource":{"resourceType":"Organization","id":"o"},"search":{"mode":"include"}}`)
		link := ""
		if next != "" {
			link = fmt.Sprintf(`"link":[{"relation":"self","url":"x"},{"relation":"next","url":%q}],`, next)
		}
		return fmt.Sprintf(`{"resourceType":"Bundle","type":"searchset",%s"entry":[%s]}`, link, strings.Join(entries, ","))
	}
	list := func(t *testing.T, answer func(base string, w http.ResponseWriter, r *http.Request, n int)) (ids []string, asked []asked, err error) {
		t.Helper()
		var s *scripted
		s = script(t, newVersion, func(w http.ResponseWriter, r *http.Request, n int) { answer(s.URL, w, r, n) })
		err = open(t, s, nil).Each(t.Context(), "Patient", []string{"identifier"}, func(id, version string, resource json.RawMessage) error {
			ids = append(ids, id)
			if version != "3" || string(resource) != patient(id) {
				t.Errorf("%s %s %s", id, version, resource)
			}
			return nil
		})
		return ids, s.requests(), err
	}
	t.Run("pages", func(t *testing.T) {
		got, asked, err := list(t, func(base string, w http.ResponseWriter, r *http.Request, n int) {
			switch r.URL.Query().Get("page") {
			case "":
				io.WriteString(w, page("Patient?page=2", "a", "b"))
			case "2":
				io.WriteString(w, page(base+"/fhir?page=3", "b", "c")) // V39: pages overlap when something is written meanwhile
			default:
				io.WriteString(w, page("", "d", "a"))
			}
		})
		if err != nil || !slices.Equal(got, []string{"a", "b", "c", "d"}) || len(asked) != 3 {
			t.Errorf("%v %v after %d requests", got, err, len(asked))
		}
		if q := asked[0].query; !strings.Contains(q, "_count=200") || !strings.Contains(q, "_total=none") || !strings.Contains(q, "_elements=id%2Cmeta%2Cidentifier") {
			t.Errorf("asked %s", q)
		}
	})
	t.Run("the server forgets its pages", func(t *testing.T) {
		got, _, err := list(t, func(_ string, w http.ResponseWriter, r *http.Request, n int) {
			switch {
			case n == 2:
				refuse(w, 410)
			case r.URL.Query().Get("page") == "":
				io.WriteString(w, page("?page=2", "a", "b"))
			default:
				io.WriteString(w, page("", "c"))
			}
		})
		if err != nil || !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("%v %v", got, err)
		}
	})
	t.Run("it forgets them always", func(t *testing.T) {
		_, asked, err := list(t, func(_ string, w http.ResponseWriter, r *http.Request, n int) {
			if r.URL.Query().Get("page") != "" {
				refuse(w, 404)
				return
			}
			io.WriteString(w, page("?page=2", "a"))
		})
		if err == nil || len(asked) != 8 {
			t.Errorf("%v after %d requests", err, len(asked))
		}
	})
	for name, next := range map[string]string{"another host": "https://elsewhere.example/fhir?page=2", "another base": "/admin?page=2", "a circle": "?page=1"} {
		t.Run(name, func(t *testing.T) {
			_, asked, err := list(t, func(_ string, w http.ResponseWriter, r *http.Request, n int) { io.WriteString(w, page(next, "a")) })
			if err == nil || len(asked) > 2 {
				t.Errorf("%v after %d requests", err, len(asked))
			}
		})
	}
	t.Run("f ends it", func(t *testing.T) {
		s := script(t, newVersion, func(w http.ResponseWriter, _ *http.Request, _ int) { io.WriteString(w, page("?page=2", "a")) })
		stop := errors.New("enough")
		if err := open(t, s, nil).Each(t.Context(), "Patient", nil, func(string, string, json.RawMessage) error { return stop }); err != stop {
			t.Errorf("%v", err)
		}
	})
}

func TestCount(t *testing.T) {
	s := script(t, newVersion, func(w http.ResponseWriter, r *http.Request, _ int) {
		total := ""
		switch {
		case r.URL.Path == "/fhir/Patient" && r.URL.RawQuery == "_summary=count", r.URL.Path == "/fhir/Coverage" && strings.Contains(r.URL.RawQuery, "_total=accurate"):
			total = `,"total":7`
		}
		fmt.Fprintf(w, `{"resourceType":"Bundle","type":"searchset"%s}`, total)
	})
	c := open(t, s, nil)
	for _, typ := range []string{"Patient", "Coverage"} {
		if n, err := c.Count(t.Context(), typ); n != 7 || err != nil {
			t.Errorf("%s: %d, %v", typ, n, err)
		}
	}
	// V39: an unknown number is not zero.
	if _, err := c.Count(t.Context(), "Organization"); !errors.Is(err, errNoTotal) {
		t.Errorf("%v", err)
	}
}

func TestFind(t *testing.T) {
	s := script(t, newVersion, func(w http.ResponseWriter, _ *http.Request, _ int) {
		fmt.Fprintf(w, `{"resourceType":"Bundle","type":"searchset","entry":[{"resource":%s},{"resource":{"resourceType":"OperationOutcome"},"search":{"mode":"outcome"}}]}`, patient("a"))
	})
	got, err := open(t, s, nil).Find(t.Context(), "Patient", "identifier=urn:x|1")
	if err != nil || len(got) != 1 || got[0].Location != (Reference{"Patient", "a"}) || got[0].Version != "3" {
		t.Errorf("%+v, %v", got, err)
	}
	if q := s.requests()[0].query; q != "identifier=urn:x%7C1" {
		t.Errorf("asked %s", q)
	}
}
