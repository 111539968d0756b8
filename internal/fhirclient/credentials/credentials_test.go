package credentials

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"nothing":      {Config{}, ""},
		"smart":        {Config{Type: "smart-backend", ClientID: "a", Key: "f", KeyID: "k", Alg: "ES384", TokenURL: "https://x/t", Scopes: []string{"s"}, Audience: "y"}, ""},
		"secret":       {Config{Type: "client-secret", ClientID: "a", Secret: "file:x"}, ""},
		"bearer":       {Config{Type: "bearer", Token: "env:X"}, ""},
		"basic":        {Config{Type: "basic", Username: "env:U", Password: "env:P"}, ""},
		"clouds":       {Config{Type: "aws", Region: "us-east-1"}, ""},
		"audience":     {Config{Type: "azure", Audience: "https://x"}, ""},
		"both":         {Config{Type: "azure", Audience: "https://x", Scopes: []string{"s"}}, "audience"},
		"type":         {Config{Type: "oauth"}, "type"},
		"no key":       {Config{Type: "smart-backend", ClientID: "a"}, "key"},
		"no client":    {Config{Type: "client-secret", Secret: "env:X"}, "client_id"},
		"no password":  {Config{Type: "basic", Username: "env:U"}, "password"},
		"of no use":    {Config{Type: "bearer", Token: "env:X", Region: "r"}, "region"},
		"without type": {Config{Token: "env:X"}, "token"},
		"inline":       {Config{Type: "bearer", Token: "hunter2"}, "token"},
		"half a name":  {Config{Type: "bearer", Token: "env:"}, "token"},
		"algorithm":    {Config{Type: "smart-backend", ClientID: "a", Key: "f", Alg: "HS256"}, "algorithm"},
		"plain http":   {Config{Type: "client-secret", ClientID: "a", Secret: "env:X", TokenURL: "http://example.org/t"}, "token_url"},
		"local http":   {Config{Type: "client-secret", ClientID: "a", Secret: "env:X", TokenURL: "http://127.0.0.1/t"}, ""},
		"not a url":    {Config{Type: "client-secret", ClientID: "a", Secret: "env:X", TokenURL: "t"}, "token_url"},
	} {
		err := c.config.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Setting != c.want || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func header(t *testing.T, s Source) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.org/fhir", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Authorize(t.Context(), r, nil)
	return r.Header.Get("Authorization"), err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Secrets are read for each attempt, and are never part of an error.
func TestSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "one\n")
	s, err := New(t.Context(), &Config{Type: "bearer", Token: Secret("file:" + path)}, &Options{})
	if err != nil {
		t.Fatal(err)
	}
	if h, err := header(t, s); h != "Bearer one" || err != nil {
		t.Errorf("%q %v", h, err)
	}
	if s.Renew("Bearer one") {
		t.Error("there is no other token")
	}
	write(t, path, "two")
	if !s.Renew("Bearer one") {
		t.Error("there is another token")
	}
	if h, err := header(t, s); h != "Bearer two" || err != nil {
		t.Errorf("%q %v", h, err)
	}
	for _, text := range []string{"", "\n"} {
		write(t, path, text)
		if _, err := header(t, s); err == nil {
			t.Error("an empty file")
		}
	}
	for _, text := range []string{"hunter2\nhunter3\n", "hunter2\r\n\r\nhunter3", "hunter2\x00"} {
		write(t, path, text)
		_, err := header(t, s)
		if e, ok := errors.AsType[*SettingError](err); !ok || e.Setting != "token" || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%q: %v", text, err)
		}
		source := &Options{Environment: func(string) string { return text }}
		if _, err := New(t.Context(), &Config{Type: "bearer", Token: "env:T"}, source); err == nil || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%q in the environment: %v", text, err)
		}
	}
	os.Remove(path)
	_, err = header(t, s)
	if e, ok := errors.AsType[*SettingError](err); !ok || e.Setting != "token" || strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}

	env := map[string]string{"U": "user", "P": "pä:ss"}
	s, err = New(t.Context(), &Config{Type: "basic", Username: "env:U", Password: "env:P"}, &Options{Environment: func(n string) string { return env[n] }})
	if err != nil {
		t.Fatal(err)
	}
	h, err := header(t, s)
	r := http.Request{Header: http.Header{"Authorization": {h}}}
	if u, p, ok := r.BasicAuth(); !ok || u != "user" || p != "pä:ss" || err != nil {
		t.Errorf("%q %v", h, err)
	}
	delete(env, "P")
	if _, err = header(t, s); err == nil || !strings.Contains(err.Error(), "P, which is not set") {
		t.Errorf("%v", err)
	}
	if s, err = New(t.Context(), &Config{}, &Options{}); err != nil {
		t.Fatal(err)
	}
	if h, err = header(t, s); h != "" || err != nil || s.Renew("") {
		t.Errorf("none: %q %v", h, err)
	}
}

// desktop is a server with a token endpoint that a test chooses the answers of.
func desktop(t *testing.T, configuration string, token http.HandlerFunc) *Options {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/token", token)
	mux.HandleFunc("/fhir/.well-known/smart-configuration", func(w http.ResponseWriter, r *http.Request) {
		if configuration == "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		io.WriteString(w, strings.ReplaceAll(configuration, "HOST", "http://"+r.Host))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL + "/fhir")
	if err != nil {
		t.Fatal(err)
	}
	return &Options{Server: u, Environment: func(string) string { return "s3cret" }}
}

const discovered = `{"token_endpoint":"HOST/token"}`

func secretConfig() *Config { return &Config{Type: "client-secret", ClientID: "us", Secret: "env:S"} }

func TestTokenAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		body    string
		want    string        // a part of the error; "" is none
		life    time.Duration // of the token
		refused bool
	}{
		"a number":       {200, `{"access_token":"t","token_type":"bearer","expires_in":60}`, "", time.Minute, false},
		"a string":       {200, `{"access_token":"t","token_type":"Bearer","expires_in":"90"}`, "", 90 * time.Second, false},
		"no end":         {200, `{"access_token":"t"}`, "", unknownLife, false},
		"null":           {200, `{"access_token":"t","expires_in":null}`, "", unknownLife, false},
		"nonsense":       {200, `{"access_token":"t","expires_in":"soon"}`, "", unknownLife, false},
		"no token":       {200, `{"expires_in":60}`, "without an access token", 0, false},
		"no JSON":        {200, `<html>s3cret`, "without an access token", 0, false},
		"another type":   {200, `{"access_token":"t","token_type":"mac"}`, "no bearer token", 0, true},
		"refused":        {400, `{"error":"invalid_client","error_description":"s3cret is wrong"}`, "400 (invalid_client)", 0, true},
		"refused, mute":  {401, ``, "401", 0, true},
		"not a code":     {400, `{"error":"S3CRET s3cret"}`, "400", 0, true},
		"not now":        {503, ``, "503", 0, false},
		"too many":       {429, ``, "429", 0, false},
		"sent elsewhere": {302, ``, "302", 0, true},
	} {
		o := desktop(t, discovered, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(c.status)
			io.WriteString(w, c.body)
		})
		s := &secret{config: secretConfig(), options: o, desk: desk{options: o}}
		got, err := s.fetch(t.Context())
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrRefused) != c.refused || strings.Contains(strings.ToLower(err.Error()), "s3cret") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if got.until.IsZero() {
			got.until = time.Now().Add(unknownLife)
		}
		if life := time.Until(got.until); err != nil || got.text != "t" || life > c.life || life < c.life-5*time.Second {
			t.Errorf("%s: %+v for %v, %v", name, got, life, err)
		}
	}
}

// Some servers read a secret from the header only, some from the form only, and some say which.
func TestClientSecret(t *testing.T) {
	for name, c := range map[string]struct {
		configuration string
		post          bool
		requests      int32
	}{
		"header":            {discovered, false, 1},
		"form, found out":   {discovered, true, 2},
		"form, as they say": {`{"token_endpoint":"HOST/token","token_endpoint_auth_methods_supported":["client_secret_post"]}`, true, 1},
	} {
		var n atomic.Int32
		o := desktop(t, c.configuration, func(w http.ResponseWriter, r *http.Request) {
			n.Add(1)
			id, text, ok := r.BasicAuth()
			if c.post {
				id, text, ok = r.PostFormValue("client_id"), r.PostFormValue("client_secret"), !ok
			}
			if !ok || id != "us" || text != "s3cret" || r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("scope") != "system/*.*" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			io.WriteString(w, `{"access_token":"t"}`)
		})
		s := &secret{config: secretConfig(), options: o, desk: desk{options: o}}
		for i := range 2 {
			if got, err := s.fetch(t.Context()); err != nil || got.text != "t" {
				t.Errorf("%s, %d: %+v %v", name, i, got, err)
			}
		}
		if n.Load() != c.requests+1 {
			t.Errorf("%s: %d requests", name, n.Load())
		}
	}
}

func TestDiscovery(t *testing.T) {
	for name, configuration := range map[string]string{"none": "", "no endpoint": "{}", "no JSON": "<html>", "not https": `{"token_endpoint":"http://example.org/token"}`} {
		o := desktop(t, configuration, http.NotFound)
		s := &secret{config: secretConfig(), options: o, desk: desk{options: o}}
		_, err := s.fetch(t.Context())
		if e, ok := errors.AsType[*SettingError](err); !ok || e.Setting != "token_url" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, says := range map[string]string{
		"system/*.*":     `{}`,
		"system/*.cruds": `{"capabilities":["permission-v2"]}`,
	} {
		var c configuration
		if err := json.Unmarshal([]byte(says), &c); err != nil {
			t.Fatal(err)
		}
		if got := (&Config{}).scope(&c); got != want {
			t.Errorf("%s: %s", says, got)
		}
	}
	if got := (&Config{Scopes: []string{"a", "b"}}).scope(nil); got != "a b" {
		t.Errorf("%s", got)
	}
}

// V12, V38: one fetch for all who wait; early; and a token that still works outlives a fault.
func TestTokens(t *testing.T) {
	var n atomic.Int32
	now := time.Unix(1000, 0)
	fault := errors.New("down")
	var fail atomic.Bool
	s := newTokens(func(context.Context) (token, error) {
		time.Sleep(10 * time.Millisecond)
		if fail.Load() {
			return token{}, fault
		}
		return token{text: fmt.Sprint(n.Add(1)), until: now.Add(100 * time.Second)}, nil
	})
	s.clock = func() time.Time { return now }
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if got, err := s.get(t.Context()); got != "1" || err != nil {
				t.Errorf("%s %v", got, err)
			}
		})
	}
	group.Wait()
	at := func(d time.Duration, want string) {
		t.Helper()
		now = time.Unix(1000, 0).Add(d)
		if got, err := s.get(t.Context()); got != want || err != nil {
			t.Errorf("after %v: %q, %v; want %q", d, got, err, want)
		}
	}
	at(79*time.Second, "1")
	fail.Store(true)
	at(81*time.Second, "1") // early, and in vain
	fail.Store(false)
	at(82*time.Second, "2")

	s.Renew("Bearer 1") // somebody is late
	at(82*time.Second, "2")
	s.Renew("Bearer 2")
	at(82*time.Second, "3")

	fail.Store(true)
	now = now.Add(time.Hour)
	if _, err := s.get(t.Context()); err != fault {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.turn <- struct{}{}
	if _, err := s.get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
