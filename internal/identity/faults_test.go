package identity_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cpcds2fhir/internal/identity"
)

// TestFaults has a provider that does not work. It is a fault and no refusal, the request is kept, and the next
// login works when the provider does.
func TestFaults(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		write(w, http.StatusOK, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": "x"})
	}))
	for name, do := range map[string]func(w http.ResponseWriter, r *http.Request){
		"status 500": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "canary", http.StatusInternalServerError) },
		"no JSON":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>canary") },
		"huge":       func(w http.ResponseWriter, _ *http.Request) { huge(w) },
		"hangs up":   func(w http.ResponseWriter, _ *http.Request) { hangUp(w) },
		"slow":       func(_ http.ResponseWriter, r *http.Request) { wait(r) },
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
		"without end": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		},
		"empty answer": func(http.ResponseWriter, *http.Request) {},
	} {
		for _, path := range []string{"/.well-known/openid-configuration", "/keys", "/token", "/userinfo"} {
			t.Run(name+path, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, func(c *identity.Config) { c.HTTP, c.UserInfo = &http.Client{Timeout: 300 * time.Millisecond}, true })
				w.set(func() {
					w.instead = func(rw http.ResponseWriter, r *http.Request) bool {
						if r.URL.Path != path {
							return false
						}
						do(rw, r)
						return true
					}
				})
				got := w.signIn(t)
				if !errors.Is(got.err, identity.ErrAway) {
					t.Errorf("%v", got.err)
				}
				if path != "/.well-known/openid-configuration" && got.request != "request-1" {
					t.Errorf("request %q", got.request)
				}
				w.set(func() { w.instead = nil })
				w.clock.advance(11 * time.Second)
				if got := w.signIn(t); got.code(t) != "" {
					t.Errorf("when it works again: %v", got.err)
				}
			})
		}
	}
	t.Cleanup(func() {
		other.Close()
		if elsewhere.Load() > 0 {
			t.Error("another host was asked")
		}
	})
}

func huge(w http.ResponseWriter) {
	fmt.Fprint(w, `{"x":"`)
	block := strings.Repeat("x", 1<<16)
	for range 64 {
		if _, err := fmt.Fprint(w, block); err != nil {
			return
		}
	}
	fmt.Fprint(w, `"}`)
}

// wait waits until the client has gone, which a server sees once it has read the body.
func wait(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// TestMetadata has metadata that must not be used.
func TestMetadata(t *testing.T) {
	for name, change := range map[string]func(m map[string]any){
		"slash":       func(m map[string]any) { m["issuer"] = m["issuer"].(string) + "/" },
		"no token":    func(m map[string]any) { delete(m, "token_endpoint") },
		"plain token": func(m map[string]any) { m["token_endpoint"] = "http://login.example.gov/token" },
		"script":      func(m map[string]any) { m["authorization_endpoint"] = "javascript:alert(1)" },
		"file":        func(m map[string]any) { m["jwks_uri"] = "file:///etc/passwd" },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.discovery = change
			if got := w.signIn(t); !errors.Is(got.err, identity.ErrAway) {
				t.Errorf("%v", got.err)
			}
		})
	}
}

// TestAway starts without the provider, which comes later.
func TestAway(t *testing.T) {
	w := newWorld(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	c := w.login.Config
	c.Issuer = "http://" + address
	if w.login, err = identity.New(&c, w.accounts, w.people); err != nil {
		t.Fatal(err)
	}
	if got := w.signIn(t); !errors.Is(got.err, identity.ErrAway) || strings.Contains(got.err.Error(), "well-known") {
		t.Fatalf("%v", got.err)
	}
	asked := func() (n int) {
		for _, e := range w.events {
			if strings.HasPrefix(e, "fetched metadata") {
				n++
			}
		}
		return n
	}
	for range 20 {
		w.signIn(t)
	}
	if asked() != 1 {
		t.Errorf("the provider was asked %d times in ten seconds", asked())
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Skip("the port was taken: ", err)
	}
	w.Listener.Close()
	handler := w.Config.Handler
	w.openID.URL = "http://" + address
	w.openID.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
	w.openID.Start()
	defer w.openID.Close()
	w.clock.advance(11 * time.Second)
	if got := w.signIn(t); got.code(t) != "" {
		t.Errorf("when it is there: %v", got.err)
	}
}

// TestRotation replaces the keys of the provider while it is used.
func TestRotation(t *testing.T) {
	w := newWorld(t, nil)
	if got := w.signIn(t); got.code(t) != "" {
		t.Fatal(got.err)
	}
	w.clock.advance(11 * time.Second)
	w.rotate(t)
	if got := w.signIn(t); got.code(t) != "" {
		t.Errorf("with a new key: %v", got.err)
	}
	if n := w.fetches.Load(); n != 2 {
		t.Errorf("keys were fetched %d times", n)
	}
	// Made-up keys do not storm it.
	w.set(func() { w.sign = func(p []byte) string { return sign(rsaKeys()[1], "RS256", "made up", p) } })
	for range 20 {
		if got := w.signIn(t); got.code(t) != "token" {
			t.Fatalf("%+v", got)
		}
	}
	if n := w.fetches.Load(); n > 3 {
		t.Errorf("keys were fetched %d times", n)
	}
	// Known keys count while the provider has none to give.
	w.set(func() {
		w.sign = nil
		w.instead = func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/keys" || strings.HasPrefix(r.URL.Path, "/.well-known") {
				http.Error(rw, "", http.StatusBadGateway)
				return true
			}
			return false
		}
	})
	w.clock.advance(2 * time.Hour)
	if got := w.signIn(t); got.code(t) != "" {
		t.Errorf("with known keys: %v", got.err)
	}
}

func TestServerError(t *testing.T) {
	w := newWorld(t, nil)
	w.set(func() { answer("error", "temporarily_unavailable")(w) })
	if got := w.signIn(t); !errors.Is(got.err, identity.ErrAway) || got.request != "request-1" {
		t.Errorf("%v", got.err)
	}
}
