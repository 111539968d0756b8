package fhirtest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// staging offers files, and counts how often each is fetched.
func staging(t *testing.T, files map[string]string, format string) (base string, fetched map[string]int) {
	t.Helper()
	fetched = map[string]int{}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fetched[r.URL.Path]++
		w.Header().Set("Content-Type", format)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(h.Close)
	return h.URL, fetched
}

func kickOff(urls ...string) string {
	var inputs []string
	for _, u := range urls {
		inputs = append(inputs, fmt.Sprintf(`{"name":"input","part":[{"name":"type","valueCode":"Patient"},{"name":"url","valueUri":%q}]}`, u))
	}
	return `{"resourceType":"Parameters","parameter":[{"name":"inputFormat","valueCode":"application/fhir+ndjson"},{"name":"inputSource","valueUri":"http://x/"},{"name":"storageDetail","part":[{"name":"type","valueCode":"https"}]},` + strings.Join(inputs, ",") + `]}`
}

// imported starts a job and waits for its end.
func imported(t *testing.T, s *Server, urls ...string) (final *reply, polls int) {
	t.Helper()
	r := must(t, s, 202, "POST", "$import", kickOff(urls...), "Prefer", "respond-async")
	path := strings.TrimPrefix(r.header.Get("Content-Location"), s.URL+"/")
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); polls++ {
		r, err := ask(s, "GET", path, "")
		if err != nil {
			t.Fatal(err)
		}
		if r.status != 202 {
			return r, polls
		}
		if r.header.Get("Retry-After") != "120" || r.header.Get("X-Progress") == "" {
			t.Errorf("headers of a poll: %v", r.header)
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the job does not end")
	return nil, 0
}

func TestImport(t *testing.T) {
	base, fetched := staging(t, map[string]string{
		"/ok": patient("a") + "\n" + patient("b") + "\n", "/refused": patient("c") + "\n" + patient("a_b"), "/bad": patient("d") + "\n" + patient("e", `,"birthDate":"x"`),
		"/later": patient("f") + "\n" + patient("g") + "\n" + patient("h") + "\nnothing",
	}, "application/ndjson")
	s := Start(t, &Options{Import: Import{Polls: 2}})
	r, polls := imported(t, s, base+"/ok")
	if r.status != 200 || polls < 2 || fetched["/ok"] != 2 {
		t.Errorf("%d after %d polls, fetched %d times", r.status, polls, fetched["/ok"])
	}
	wantText(t, r, `Bulk Import Report`, `Source: `+base+`/ok`, `* SUCCESSFUL_UPDATE_AS_CREATE: 2`)
	r, _ = imported(t, s, base+"/ok", base+"/refused")
	if r.status != 500 {
		t.Errorf("status %d", r.status)
	}
	wantText(t, r, "Job completed with at least one failure", "SUCCESSFUL_UPDATE_NO_CHANGE: 2", "FAILURE: 1", `Errors:\\n    * HAPI-0521`, "HAPI-2673", `Storage Actions : 4`)
	r, _ = imported(t, s, base+"/bad")
	if r.status != 500 || strings.Contains(r.text, "Report") {
		t.Errorf("status %d: %s", r.status, r.text)
	}
	wantText(t, r, "HAPI-2674")
	s.Set(func(o *Options) { o.Import.Chunk = 2 })
	if r, _ = imported(t, s, base+"/later"); r.status != 500 {
		t.Errorf("status %d", r.status)
	}
	have := s.Resources()
	for id, want := range map[string]bool{"a": true, "b": true, "c": true, "d": false, "f": true, "g": true, "h": false} {
		if _, got := have["Patient/"+id]; got != want {
			t.Errorf("Patient/%s is there: %t, want %t", id, got, want)
		}
	}
	r, _ = imported(t, s, base+"/none")
	wantText(t, r, "HAPI-2056")
	r, _ = imported(t, s, "http://127.0.0.1:1/none")
	wantText(t, r, "Too many errors: 4", "HAPI-2054")
}

func TestImportRefusesKickOffs(t *testing.T) {
	s := Start(t, nil)
	wantText(t, must(t, s, 400, "POST", "$import", kickOff("http://127.0.0.1:1/a")), "HAPI-0513")
	async := []string{"Prefer", "respond-async"}
	wantText(t, must(t, s, 400, "POST", "$import", `{"resourceType":"Parameters"}`, async...), "HAPI-2048")
	must(t, s, 400, "POST", "$import", kickOff(), async...)
	must(t, s, 400, "POST", "$import", patient("a"), async...)
	must(t, s, 404, "GET", "$import-poll-status?_jobId=none", "")
	base, _ := staging(t, map[string]string{"/a": patient("a")}, "text/html")
	r, _ := imported(t, s, base+"/a")
	if r.status != 500 || len(s.Resources()) != 0 {
		t.Errorf("a file of HTML: %d", r.status)
	}
	s.Set(func(o *Options) { o.Import.Off = true })
	must(t, s, 400, "POST", "$import", kickOff("http://127.0.0.1:1/a"), async...)
}

func TestLostKickOff(t *testing.T) {
	base, _ := staging(t, map[string]string{"/a": patient("a")}, "application/fhir+ndjson")
	s := Start(t, nil)
	s.Inject(Nth(1, Path("$import")), LoseAnswer())
	if _, err := ask(s, "POST", "$import", kickOff(base+"/a"), "Prefer", "respond-async"); err == nil {
		t.Fatal("there is an answer")
	}
	for deadline := time.Now().Add(5 * time.Second); len(s.Resources()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the job has not run")
		}
	}
}
