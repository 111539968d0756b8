package fhirclient

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var quiet = log.New(io.Discard, "", 0)

// authorized is a FHIR server with a token endpoint, whose tokens live for a while.
func authorized(t *testing.T, life time.Duration, expires string) (base string, given *atomic.Int32, revoke func()) {
	t.Helper()
	var mu sync.Mutex
	valid := map[string]time.Time{}
	given = &atomic.Int32{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if id, secret, ok := r.BasicAuth(); !ok || id != "us" || secret != "s3cret" {
			refuse(w, 401)
			io.WriteString(w, `{"error":"invalid_client"}`)
			return
		}
		text := fmt.Sprintf("token-%d", given.Add(1))
		mu.Lock()
		valid["Bearer "+text] = time.Now().Add(life)
		mu.Unlock()
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer"%s}`, text, expires)
	})
	fhir := func(f http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			until := valid[r.Header.Get("Authorization")]
			mu.Unlock()
			if time.Now().After(until) {
				refuse(w, 401)
				return
			}
			f(w, r)
		}
	}
	mux.HandleFunc("GET /fhir/metadata", fhir(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, statementText, newVersion) }))
	mux.HandleFunc("POST /fhir", fhir(func(w http.ResponseWriter, _ *http.Request) { respond(w, "201") }))
	mux.HandleFunc("GET /fhir/.well-known/smart-configuration", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"token_endpoint":"http://%s/token"}`, r.Host)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL + "/fhir", given, func() {
		mu.Lock()
		clear(valid)
		mu.Unlock()
	}
}

func clientSecret(secret string) (*Config, *Options) {
	return &Config{Auth: Auth{Type: "client-secret", ClientID: "us", Secret: "env:SECRET"}}, &Options{Environment: func(string) string { return secret }}
}

// V38: tokens of two seconds, for longer than two seconds, by many at once.
func TestShortTokens(t *testing.T) {
	base, given, _ := authorized(t, 2*time.Second, `,"expires_in":"2"`)
	conf, o := clientSecret("s3cret")
	c, _, err := connect(t.Context(), base, conf, o)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	end := time.Now().Add(3 * time.Second)
	for range 4 {
		group.Go(func() {
			for time.Now().Before(end) {
				if _, err := c.Send(t.Context(), "", patients(1)); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	group.Wait()
	if n := given.Load(); n < 2 || n > 4 {
		t.Errorf("%d tokens in three seconds", n)
	}
}

func TestOneMoreTokenAfter401(t *testing.T) {
	base, given, revoke := authorized(t, time.Hour, "")
	conf, o := clientSecret("s3cret")
	c, _, err := connect(t.Context(), base, conf, o)
	if err != nil {
		t.Fatal(err)
	}
	revoke()
	if _, err := c.Send(t.Context(), "", patients(1)); err != nil || given.Load() != 2 {
		t.Errorf("%v, %d tokens", err, given.Load())
	}
}

func TestNoSecondChance(t *testing.T) {
	base, given, _ := authorized(t, -time.Hour, "") // it gives tokens that it does not accept
	conf, o := clientSecret("s3cret")
	_, _, err := Connect(t.Context(), base, conf, o)
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 401 || !errors.Is(err, ErrAuthentication) || given.Load() != 2 {
		t.Errorf("%v, %d tokens", err, given.Load())
	}
	conf, o = clientSecret("wrong")
	_, _, err = Connect(t.Context(), base, conf, o)
	if e, ok := errors.AsType[*Error](err); !ok || e.Status != 0 || !errors.Is(err, ErrAuthentication) || e.Unknown {
		t.Errorf("%v", err)
	}
	conf, o = clientSecret("")
	_, _, err = Connect(t.Context(), base, conf, o)
	if e, ok := errors.AsType[*ConfigError](err); !ok || e.Setting != "auth.secret" {
		t.Errorf("%v", err)
	}
}

// What nobody may write is the fault of the credentials, not of a resource.
func TestForbidden(t *testing.T) {
	s := script(t, sameVersion, func(w http.ResponseWriter, _ *http.Request, _ int) { refuse(w, 403) })
	_, err := open(t, s, nil).Send(t.Context(), "", patients(1))
	if !errors.Is(err, ErrAuthentication) || len(s.requests()) != 1 {
		t.Errorf("%v", err)
	}
}
