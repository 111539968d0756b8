package fhirclient

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Each fault happens twice, then the server works. What may have been done is only sent again to a server
// that makes no new version of it.
func TestFaults(t *testing.T) {
	const header = "HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: 500\r\n\r\n"
	for name, c := range map[string]struct {
		fault   func(w http.ResponseWriter)
		unknown bool
	}{
		"429":                  {func(w http.ResponseWriter) { refuse(w, 429) }, false},
		"429 with Retry-After": {func(w http.ResponseWriter) { w.Header().Set("Retry-After", "0.01"); refuse(w, 429) }, false},
		"503":                  {func(w http.ResponseWriter) { refuse(w, 503) }, false},
		"502":                  {func(w http.ResponseWriter) { refuse(w, 502) }, true},
		"504":                  {func(w http.ResponseWriter) { refuse(w, 504) }, true},
		"500":                  {func(w http.ResponseWriter) { refuse(w, 500) }, true},
		"408":                  {func(w http.ResponseWriter) { refuse(w, 408) }, true},
		"lost answer":          {func(w http.ResponseWriter) { hangUp(t, w, "") }, true},
		"reset in the body":    {func(w http.ResponseWriter) { hangUp(t, w, header+`{"resourceType":"Bundle"`) }, true},
		"no FHIR":              {func(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/html"); io.WriteString(w, "<html>") }, true},
		"200 and an outcome":   {func(w http.ResponseWriter) { io.WriteString(w, `{"resourceType":"OperationOutcome"}`) }, true},
		"empty":                {func(http.ResponseWriter) {}, true},
		"Bundle of another type": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, `{"resourceType":"Bundle"}`)
		}, true},
		"slow loris": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/fhir+json")
			for range 40 {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, software := range []string{sameVersion, newVersion} {
				s := script(t, software, func(w http.ResponseWriter, _ *http.Request, n int) {
					if n <= 2 {
						c.fault(w)
						return
					}
					respond(w, "201 Created", "201")
				})
				client := open(t, s, nil)
				client.settings.Timeout = 150 * time.Millisecond
				got, err := client.Send(t.Context(), "batch", patients(2))
				asked := s.requests()
				for _, a := range asked {
					if a.body != asked[0].body || len(a.body) == 0 {
						t.Errorf("another body: %q", a.body)
					}
				}
				if c.unknown && software == newVersion {
					e, ok := errors.AsType[*Error](err)
					if !ok || !e.Unknown || len(asked) != 1 {
						t.Errorf("to a server that makes versions: %+v after %d requests", err, len(asked))
					}
					continue
				}
				if err != nil || len(asked) != 3 || !got[0].Stored() || !got[1].Stored() || got[1].Version != "1" {
					t.Errorf("%s: %+v, %v after %d requests", software, got, err, len(asked))
				}
			}
		})
	}
}

func TestRefusedAsAWhole(t *testing.T) {
	s := script(t, newVersion, func(w http.ResponseWriter, _ *http.Request, _ int) {
		refuse(w, 422)
		io.WriteString(w, `{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"invalid","diagnostics":"Jane Doe"}]}`)
	})
	_, err := open(t, s, nil).Send(t.Context(), "", patients(3))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status != 422 || e.Meaning != Refused || e.Unknown || e.Retriable || e.Outcome.Text != "Jane Doe" || len(s.requests()) != 1 || s.requests()[0].path != "/fhir" {
		t.Fatalf("%+v", err)
	}
	if want := "POST batch: the server answers 422 (invalid)"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestPatienceEnds(t *testing.T) {
	s := script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, _ int) { refuse(w, 503) })
	c := open(t, s, nil)
	c.settings.Patience = 50 * time.Millisecond
	_, err := c.Send(t.Context(), "", patients(1))
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 503 || !e.Retriable || e.Unknown {
		t.Errorf("%+v", err)
	}
	if n := len(s.requests()); n < 3 {
		t.Errorf("%d requests", n)
	}
	if c.limiter.now() != 1 {
		t.Errorf("%d requests at once after many 503", c.limiter.now())
	}
}

// A poisonous entry makes a server fail: that is no reason to wait as for one that is down.
func TestPoison(t *testing.T) {
	s := script(t, sameVersion, func(w http.ResponseWriter, r *http.Request, _ int) {
		if r.Method == http.MethodGet {
			refuse(w, 404)
			return
		}
		refuse(w, 500)
	})
	_, err := open(t, s, nil).Send(t.Context(), "", patients(2))
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 500 || e.Meaning != Split || e.Retriable || len(s.requests()) != 5 {
		t.Errorf("%+v after %d requests", err, len(s.requests()))
	}
}

// V12: a server that has lost its database answers 500 to everything, for a while.
func TestServerFailsForAWhile(t *testing.T) {
	s := script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n < 20 {
			refuse(w, 500)
			return
		}
		respond(w, "200", "201")
	})
	c := open(t, s, nil)
	c.backoff = 100 * time.Microsecond
	got, err := c.Send(t.Context(), "", patients(2))
	if err != nil || !got[1].Stored() {
		t.Errorf("%+v %v after %d requests", got, err, len(s.requests()))
	}
}

// V24: a gateway that gives up once says nothing of the size of what has failed for other reasons before.
func TestOtherFailuresBefore504(t *testing.T) {
	failures := []int{502, 503, 503, 504, 503, 504}
	s := script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n <= len(failures) {
			refuse(w, failures[n-1])
			return
		}
		respond(w, "200", "201")
	})
	c := open(t, s, nil)
	c.backoff = 100 * time.Microsecond
	got, err := c.Send(t.Context(), "", patients(2))
	if err != nil || !got[1].Stored() || len(s.requests()) != len(failures)+1 {
		t.Errorf("%+v %v after %d requests", got, err, len(s.requests()))
	}
}

func TestServerIsDown(t *testing.T) {
	s := script(t, newVersion, nil)
	c := open(t, s, nil)
	c.settings.Patience = 20 * time.Millisecond
	s.Close()
	c.http.CloseIdleConnections() // one that is used again may have carried the request
	_, err := c.Send(t.Context(), "", patients(1))
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 0 || !e.Retriable || e.Unknown {
		t.Errorf("%+v", err)
	}
	if _, _, err = Connect(t.Context(), "http://127.0.0.1:1/fhir?x=1", &Config{}, nil); err == nil {
		t.Error("an address with a query")
	}
}

func TestRetryAfterIsKept(t *testing.T) {
	for name, value := range map[string]func(h http.Header){
		"seconds": func(h http.Header) { h.Set("Retry-After", "0.3") },
		"a date": func(h http.Header) {
			now := time.Now().UTC().Truncate(time.Second)
			h.Set("Date", now.Add(-time.Hour).Format(http.TimeFormat)) // its clock is wrong
			h.Set("Retry-After", now.Add(-time.Hour+time.Second).Format(http.TimeFormat))
		},
		"milliseconds": func(h http.Header) { h.Set("x-ms-retry-after-ms", "300") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			software := sameVersion
			if name == "milliseconds" {
				software = "Azure Healthcare APIs"
			}
			var first, second time.Time
			s := script(t, software, func(w http.ResponseWriter, _ *http.Request, n int) {
				if n == 1 {
					first = time.Now()
					value(w.Header())
					refuse(w, 429)
					return
				}
				second = time.Now()
				respond(w, "200")
			})
			if _, err := open(t, s, nil).Send(t.Context(), "", patients(1)); err != nil {
				t.Fatal(err)
			}
			if d := second.Sub(first); d < 290*time.Millisecond || d > 3*time.Second {
				t.Errorf("sent again after %v", d)
			}
		})
	}
}

// What one request is told holds for all: the limits are the server's.
func TestAllWaitForRetryAfter(t *testing.T) {
	var begun time.Time
	s := script(t, sameVersion, func(w http.ResponseWriter, r *http.Request, n int) {
		if n == 1 {
			begun = time.Now()
			w.Header().Set("Retry-After", "0.3")
			refuse(w, 429)
			return
		}
		if d := time.Since(begun); d < 290*time.Millisecond {
			t.Errorf("request %d after %v", n, d)
		}
		respond(w, "200")
	})
	c := open(t, s, nil)
	done := make(chan error, 2)
	go func() { _, err := c.Send(t.Context(), "", patients(1)); done <- err }()
	for len(s.requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	go func() { _, err := c.Send(t.Context(), "", patients(1)); done <- err }()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestCancelled(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request, n int){
		"while it waits for an answer": func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() },
		"while it backs off": func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Retry-After", "60")
			refuse(w, 503)
		},
		"between entries put off": func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Retry-After", "60")
			respond(w, "429")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := script(t, sameVersion, answer)
			c := open(t, s, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := c.Send(ctx, "", patients(1))
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 2*time.Second {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			if c.limiter.under != 0 {
				t.Errorf("%d places are lost", c.limiter.under)
			}
		})
	}
}

func TestWritesAreNotRedirected(t *testing.T) {
	other := script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, _ int) { respond(w, "200") })
	s := script(t, sameVersion, func(w http.ResponseWriter, r *http.Request, _ int) {
		http.Redirect(w, r, other.URL+"/fhir", http.StatusPermanentRedirect)
	})
	_, err := open(t, s, nil).Send(t.Context(), "", patients(1))
	if !errors.Is(err, errRedirect) || len(other.requests()) != 0 {
		t.Errorf("%v, %d requests elsewhere", err, len(other.requests()))
	}
}

// V38: nobody else learns who the client is.
func TestRedirectedReadsCarryNoSecrets(t *testing.T) {
	other := script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, _ int) {
		io.WriteString(w, `{"resourceType":"Patient","id":"a"}`)
	})
	s := script(t, sameVersion, func(w http.ResponseWriter, r *http.Request, _ int) {
		http.Redirect(w, r, other.URL+"/fhir/Patient/a", http.StatusFound)
	})
	c, _, err := connect(t.Context(), s.URL+"/fhir", &Config{
		Headers: map[string]string{"X-Api-Key": "k"}, Auth: Auth{Type: "bearer", Token: "env:TOKEN"},
	}, &Options{Environment: func(string) string { return "tttt" }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(t.Context(), []Reference{{"Patient", "a"}}); err != nil {
		t.Fatal(err)
	}
	if h := s.requests()[0].header; h.Get("Authorization") != "Bearer tttt" || h.Get("X-Api-Key") != "k" || h.Get("Cache-Control") != "no-cache" {
		t.Errorf("the server itself gets %v", h)
	}
	if h := other.requests()[0].header; h.Get("Authorization") != "" || h.Get("X-Api-Key") != "" {
		t.Errorf("another host gets %v", h)
	}
}

// V12: a key that stands in a header changes while the program runs, as any secret.
func TestHeadersThatAreSecrets(t *testing.T) {
	s := script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, _ int) {
		io.WriteString(w, `{"resourceType":"Patient","id":"a"}`)
	})
	path := filepath.Join(t.TempDir(), "key")
	keep := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	conf := &Config{Headers: map[string]string{"x-api-key": "file:" + path, "X-Tenant": "env:TENANT", "X-Plain": "environment"}}
	o := &Options{Environment: func(name string) string { return map[string]string{"TENANT": "t1"}[name] }}
	read := func(c *Client) error {
		_, err := c.Read(t.Context(), []Reference{{"Patient", "a"}})
		return err
	}
	keep("first\n")
	c, _, err := connect(t.Context(), s.URL+"/fhir", conf, o)
	if err != nil {
		t.Fatal(err)
	}
	for n, key := range []string{"first", "second"} {
		keep(key)
		if err := read(c); err != nil {
			t.Fatal(err)
		}
		if h := s.requests()[n].header; h.Get("X-Api-Key") != key || h.Get("X-Tenant") != "t1" || h.Get("X-Plain") != "environment" {
			t.Errorf("%v", h)
		}
	}
	for _, text := range []string{"", "hunter2\nhunter3"} {
		keep(text)
		for what, err := range map[string]error{"a read": read(c), "connect": func() error { _, _, err := connect(t.Context(), s.URL+"/fhir", conf, o); return err }()} {
			if e, ok := errors.AsType[*ConfigError](err); !ok || e.Setting != "headers.X-Api-Key" || strings.Contains(err.Error(), "hunter") {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	if n := len(s.requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// V18: what starts a job is not sent again if it may have been started.
func TestDoStartsNothingTwice(t *testing.T) {
	for name, fault := range map[string]func(w http.ResponseWriter){
		"502":         func(w http.ResponseWriter) { refuse(w, 502) },
		"lost answer": func(w http.ResponseWriter) { hangUp(t, w, "") },
	} {
		s := script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, _ int) { fault(w) })
		_, err := open(t, s, nil).Do(t.Context(), http.MethodPost, "$import", nil, []byte("{}")) //nolint:bodyclose // there is none
		if e, ok := errors.AsType[*Error](err); !ok || !e.Unknown || len(s.requests()) != 1 {
			t.Errorf("%s: %v after %d requests", name, err, len(s.requests()))
		}
	}
}

func TestDo(t *testing.T) {
	other := script(t, "", func(w http.ResponseWriter, _ *http.Request, _ int) { io.WriteString(w, "file") })
	s := script(t, newVersion, func(w http.ResponseWriter, r *http.Request, n int) {
		switch {
		case r.URL.Path == "/fhir/$import" && n < 3:
			refuse(w, 429)
		case r.URL.Path == "/fhir/$import":
			w.Header().Set("Content-Location", "job")
			refuse(w, 202)
		case r.URL.Path == "/fhir/fails":
			refuse(w, 502)
		default:
			refuse(w, 404)
			io.WriteString(w, "not there")
		}
	})
	c, _, err := connect(t.Context(), s.URL+"/fhir", &Config{Auth: Auth{Type: "bearer", Token: "env:T"}}, &Options{Environment: func(string) string { return "t" }})
	if err != nil {
		t.Fatal(err)
	}
	c.backoff = time.Millisecond
	res, err := c.Do(t.Context(), http.MethodPost, "$import", http.Header{"Prefer": {"respond-async"}}, []byte(`{"a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	asked := s.requests()
	if res.StatusCode != http.StatusAccepted || res.Header.Get("Content-Location") != "job" || len(asked) != 3 || asked[2].body != `{"a":1}` || asked[2].header.Get("Prefer") != "respond-async" {
		t.Errorf("%+v, %+v", res, asked)
	}
	if res, err = c.Do(t.Context(), http.MethodGet, "nothing?q=1", nil, nil); err != nil || res.StatusCode != http.StatusNotFound {
		t.Fatal(res, err)
	}
	text, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(text) != "not there" || s.requests()[3].query != "q=1" {
		t.Errorf("%q %+v", text, s.requests()[3])
	}
	// A POST that may have been done is not sent again.
	_, err = c.Do(t.Context(), http.MethodPost, "fails", nil, nil) //nolint:bodyclose // there is none
	if e, ok := errors.AsType[*Error](err); !ok || !e.Unknown || e.Status != 502 || len(s.requests()) != 5 {
		t.Errorf("%v, %d requests", err, len(s.requests()))
	}
	if res, err = c.Do(t.Context(), http.MethodGet, other.URL+"/result", nil, nil); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if other.requests()[0].header.Get("Authorization") != "" {
		t.Error("another host gets the token")
	}
	if c.limiter.under != 0 {
		t.Errorf("%d places are lost", c.limiter.under)
	}
}

// A body that stops arriving ends; one that keeps arriving may take longer than a request.
func TestDoWatchesTheBody(t *testing.T) {
	s := script(t, newVersion, func(w http.ResponseWriter, r *http.Request, _ int) {
		for range 6 {
			io.WriteString(w, "x")
			w.(http.Flusher).Flush()
			time.Sleep(40 * time.Millisecond)
		}
		if strings.HasSuffix(r.URL.Path, "stops") {
			<-r.Context().Done()
		}
	})
	c := open(t, s, nil)
	c.settings.Timeout = 120 * time.Millisecond
	for path, want := range map[string]bool{"goes": true, "stops": false} {
		res, err := c.Do(t.Context(), http.MethodGet, path, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if string(text) != "xxxxxx" || (err == nil) != want {
			t.Errorf("%s: %q, %v", path, text, err)
		}
	}
}

func TestLabelsHaveNoIDs(t *testing.T) {
	c := open(t, script(t, newVersion, nil), nil)
	for path, want := range map[string]string{
		"Patient/jane-doe":                        "Patient/…",
		"Patient?identifier=x|123":                "Patient",
		"$import":                                 "$import",
		"ExplanationOfBenefit/123/_history/4":     "ExplanationOfBenefit/…/_history/…",
		"https://example.org/v1/operations/99?a=": "…/operations/…",
	} {
		u, err := c.resolve(path)
		if err != nil || c.label(u) != want {
			t.Errorf("%s: %q, %v", path, c.label(u), err)
		}
	}
	for _, path := range []string{"file:///etc/passwd", "%zz"} {
		if _, err := c.resolve(path); err == nil {
			t.Errorf("%s is accepted", path)
		}
	}
}

func TestCompressed(t *testing.T) {
	c := open(t, script(t, sameVersion, nil), nil)
	if c.gzip {
		t.Error("requests within this machine are compressed")
	}
	var got http.Header
	var length int
	s := script(t, sameVersion, func(w http.ResponseWriter, r *http.Request, _ int) { respond(w, "200") })
	c = open(t, s, nil)
	c.gzip = true
	if _, err := c.Send(t.Context(), "", patients(60)); err != nil {
		t.Fatal(err)
	}
	got, length = s.requests()[0].header, len(s.requests()[0].body)
	if got.Get("Content-Encoding") != "gzip" || length > 3000 || s.requests()[0].body[:2] != "\x1f\x8b" {
		t.Errorf("%v, %d bytes", got, length)
	}
}
