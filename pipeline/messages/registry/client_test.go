package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// server is a registry with fixed answers by method and path. It counts requests.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]answer
	calls   map[string]int
	last    *http.Request
	body    string
}

type answer struct {
	status int
	body   string
}

func newServer(t *testing.T, answers map[string]answer) *server {
	s := &server{answers: answers, calls: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.Method + " " + r.URL.EscapedPath()
	s.calls[key]++
	body, _ := io.ReadAll(r.Body)
	s.last, s.body = r, string(body)
	a, ok := s.answers[key]
	if !ok {
		a = answer{404, `{"error_code":404,"message":"HTTP 404 Not Found"}`}
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}

func (s *server) set(key string, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[key] = a
}

func (s *server) count(key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[key]
}

func client(t *testing.T, c Config) *Client {
	t.Helper()
	x, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestSchema(t *testing.T) {
	s := newServer(t, map[string]answer{
		"GET /api/schemas/ids/1":             {200, `{"schema":"\"string\""}`},
		"GET /api/schemas/ids/2":             {200, `{"schema":"text","schemaType":"PROTOBUF","references":[{"name":"a.proto","subject":"a/b","version":3},{"name":"c.proto","subject":"c","version":1}]}`},
		"GET /api/subjects/a%2Fb/versions/3": {200, `{"id":7,"version":3,"schema":"A","schemaType":"PROTOBUF","references":[{"name":"c2.proto","subject":"c","version":1}]}`},
		"GET /api/subjects/c/versions/1":     {200, `{"id":8,"version":1,"schema":"C","schemaType":"PROTOBUF"}`},
	})
	c := client(t, Config{URL: s.URL + "/api/"})
	for range 3 {
		got, err := c.Schema(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&Schema{ID: 1, Type: Avro, Text: `"string"`}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		got, err = c.Schema(t.Context(), 2)
		if err != nil {
			t.Fatal(err)
		}
		shared := &Schema{ID: 8, Type: Protobuf, Text: "C"}
		want := &Schema{ID: 2, Type: Protobuf, Text: "text", References: []Reference{
			{"a.proto", "a/b", 3, &Schema{ID: 7, Type: Protobuf, Text: "A", References: []Reference{{"c2.proto", "c", 1, shared}}}},
			{"c.proto", "c", 1, shared},
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for key, n := range s.calls {
		if n != 1 {
			t.Errorf("%s was called %d times", key, n)
		}
	}
}

func TestFailures(t *testing.T) {
	s := newServer(t, map[string]answer{})
	c := client(t, Config{URL: s.URL, MaxBytes: 1000})
	const key = "GET /schemas/ids/5"
	for i, x := range []struct {
		answer
		code  int
		final bool
	}{
		{answer{404, `{"error_code":404,"message":"HTTP 404 Not Found"}`}, 404, false},
		{answer{404, `<html>SECRET</html>`}, 0, false},
		{answer{404, `{"error_code":40401}`}, 40401, false}, // about a subject: not what was asked for
		{answer{401, `{"error_code":401}`}, 401, false},
		{answer{403, `{"error_code":40301,"message":"SECRET"}`}, 40301, false},
		{answer{429, ``}, 0, false},
		{answer{500, `{"error_code":50001}`}, 50001, false},
		{answer{500, `{"error_code":40403}`}, 40403, false},
		{answer{503, `SECRET`}, 0, false},
		{answer{302, ``}, 0, false},
		{answer{200, `SECRET`}, 0, false},
		{answer{200, `{}`}, 0, false},
		{answer{200, `{"schema":"` + strings.Repeat("x", 1000) + `"}`}, 0, false},
		{answer{200, `{"schema":"x","references":[{"name":"r","subject":"gone","version":1}]}`}, 404, false},
		{answer{404, `{"error_code":40403,"message":"Schema not found"}`}, 40403, true},
	} {
		s.set(key, x.answer)
		_, err := c.Schema(t.Context(), 5)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%d: %v", i, err)
			continue
		}
		if e.Code != x.code || e.Retriable() == x.final || IsUnknown(err) != x.final || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%d: %v, code %d, retriable %v", i, err, e.Code, e.Retriable())
		}
		if got := s.count(key); got != i+1 {
			t.Fatalf("%d: %d calls", i, got)
		}
	}
	// An unknown reference of a schema that exists may appear later.
	s.set("GET /schemas/ids/6", answer{200, `{"schema":"x","references":[{"name":"r","subject":"gone","version":1}]}`})
	s.set("GET /subjects/gone/versions/1", answer{404, `{"error_code":40401}`})
	if _, err := c.Schema(t.Context(), 6); err == nil || IsUnknown(err) {
		t.Error(err)
	}
	s.set("GET /subjects/gone/versions/1", answer{200, `{"schema":"y","references":[{"name":"r","subject":"gone","version":1}]}`})
	if _, err := c.Schema(t.Context(), 6); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Error(err)
	}
	s.Close()
	_, err := c.Schema(t.Context(), 7)
	var e *Error
	if !errors.As(err, &e) || !e.Retriable() || e.Status != 0 {
		t.Errorf("without a server: %v", err)
	}
}

// TestManyReferences refuses a schema that refers to ever more schemas.
func TestManyReferences(t *testing.T) {
	var calls atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"schema":"x","references":[{"name":"r","subject":"s%d","version":1}]}`, calls.Add(1))
	}))
	defer s.Close()
	if _, err := client(t, Config{URL: s.URL}).Schema(t.Context(), 1); err == nil || calls.Load() > maxReferences+1 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestTimeout(t *testing.T) {
	stop := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-stop }))
	defer s.Close()
	defer close(stop)
	c := client(t, Config{URL: s.URL, Timeout: 20 * time.Millisecond})
	_, err := c.Schema(t.Context(), 1)
	var e *Error
	if !errors.As(err, &e) || !e.Retriable() {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Schema(ctx, 2); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
	if _, err := c.Register(ctx, "s", Schema{}); err != context.Canceled {
		t.Errorf("canceled: %v", err)
	}
}

func TestUnknownTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cache
		c.init(30 * time.Second)
		calls := 0
		var answer error = &Error{Unknown: true}
		get := func() error {
			_, err := c.get(t.Context(), 1, func(context.Context) (*Schema, error) {
				calls++
				if answer != nil {
					return nil, answer
				}
				return &Schema{}, nil
			})
			return err
		}
		check := func(want int, unknown bool) {
			t.Helper()
			if err := get(); IsUnknown(err) != unknown || calls != want {
				t.Errorf("%v after %d calls instead of %d", err, calls, want)
			}
		}
		check(1, true)
		time.Sleep(29 * time.Second)
		check(1, true)
		time.Sleep(2 * time.Second)
		check(2, true)
		time.Sleep(31 * time.Second)
		answer = &Error{Status: 500}
		check(3, false)
		check(4, false) // not remembered
		answer = nil
		check(5, false) // the schema was registered late
		check(5, false)
		for id := range int32(3 * maxUnknown) {
			c.get(t.Context(), id+10, func(context.Context) (*Schema, error) { return nil, &Error{Unknown: true} })
		}
		if len(c.unknown) > maxUnknown {
			t.Errorf("%d unknown ids are remembered", len(c.unknown))
		}
	})
}

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cache
		c.init(time.Second)
		var calls atomic.Int64
		ask := func(ctx context.Context) (*Schema, error) {
			calls.Add(1)
			select {
			case <-time.After(time.Minute):
				return &Schema{Text: "x"}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := c.get(hasty, 1, ask); err != context.DeadlineExceeded {
				t.Errorf("the hasty one got %v", err)
			}
		})
		for range 50 {
			wg.Go(func() {
				if s, err := c.get(t.Context(), 1, ask); err != nil || s.Text != "x" {
					t.Errorf("%v", err)
				}
			})
		}
		wg.Wait()
		if calls.Load() != 1 {
			t.Errorf("%d calls", calls.Load())
		}

		// When all have given up, the request ends, and the next caller makes its own.
		hasty, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c.get(hasty, 2, ask)
		begin := time.Now()
		if s, err := c.get(t.Context(), 2, ask); err != nil || s.Text != "x" || time.Since(begin) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestRegister(t *testing.T) {
	s := newServer(t, map[string]answer{
		"POST /subjects/claims%2Fvalue/versions":       {200, `{"id":12}`},
		"POST /subjects/old/versions":                  {409, `{"error_code":409,"message":"incompatible: SECRET"}`},
		"POST /subjects/bad/versions":                  {422, `{"error_code":42201,"message":"SECRET"}`},
		"POST /subjects/down/versions":                 {500, `{"error_code":50001}`},
		"POST /subjects/odd/versions":                  {200, `{}`},
		"GET /subjects/claims%2Fvalue/versions/latest": {200, `{"subject":"claims/value","id":12,"version":4,"schema":"text","schemaType":"JSON"}`},
		"GET /subjects/none/versions/latest":           {404, `{"error_code":40401}`},
	})
	c := client(t, Config{URL: s.URL, Basic: func() (string, error) { return "user:secret", nil }})
	schema := Schema{Type: Protobuf, Text: "text", References: []Reference{{Name: "a.proto", Subject: "a", Version: 2}}}
	id, err := c.Register(t.Context(), "claims/value", schema)
	if err != nil || id != 12 {
		t.Errorf("%d, %v", id, err)
	}
	var body any
	if err := json.Unmarshal([]byte(s.body), &body); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"schema": "text", "schemaType": "PROTOBUF", "references": []any{map[string]any{"name": "a.proto", "subject": "a", "version": 2.0}}}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if user, password, ok := s.last.BasicAuth(); !ok || user != "user" || password != "secret" {
		t.Error("the request has no password")
	}
	if got := s.last.Header.Get("Content-Type"); got != contentType {
		t.Errorf("content type %q", got)
	}
	c.Register(t.Context(), "claims/value", Schema{Type: Avro, Text: "x"})
	if s.body != `{"schema":"x"}` {
		t.Errorf("Avro is registered with %s", s.body)
	}
	for subject, retriable := range map[string]bool{"old": false, "bad": false, "down": true, "odd": true} {
		_, err := c.Register(t.Context(), subject, schema)
		var e *Error
		if !errors.As(err, &e) || e.Retriable() != retriable || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", subject, err)
		}
	}
	latest, version, err := c.Latest(t.Context(), "claims/value")
	if err != nil || version != 4 || latest.ID != 12 || latest.Type != JSON {
		t.Errorf("%v, %d, %v", latest, version, err)
	}
	if _, _, err := c.Latest(t.Context(), "none"); !IsUnknown(err) {
		t.Error(err)
	}
}

func TestSecrets(t *testing.T) {
	s := newServer(t, map[string]answer{"GET /subjects/s/versions/latest": {200, `{"schema":"x"}`}})
	token := "one"
	var fail error
	c := client(t, Config{URL: s.URL, Bearer: func() (string, error) { return token, fail }})
	for _, token = range []string{"one", "two"} {
		if _, _, err := c.Latest(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		if got := s.last.Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("authorization %q", got)
		}
	}
	fail = errors.New("no file")
	_, _, err := c.Latest(t.Context(), "s")
	var e *Error
	if !errors.As(err, &e) || !e.Retriable() || !errors.Is(err, fail) {
		t.Error(err)
	}
	token, fail = "SECRET\n", nil
	if _, _, err := c.Latest(t.Context(), "s"); err == nil || strings.Contains(err.Error(), "SECRET") {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	secret := func() (string, error) { return "", nil }
	for _, c := range []Config{
		{}, {URL: "registry:8081"}, {URL: "ftp://registry"}, {URL: "http://"}, {URL: "http://user:SECRET@registry"},
		{URL: "http://registry/?token=SECRET"}, {URL: "http://user:SECRET@%zz"}, {URL: "http://registry", Basic: secret, Bearer: secret},
	} {
		if _, err := New(c); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", c.URL, err)
		}
	}
}

// TestRedirect does not follow a redirect, which could take the password elsewhere.
func TestRedirect(t *testing.T) {
	var calls atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		io.WriteString(w, `{"schema":"x"}`)
	}))
	defer other.Close()
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer s.Close()
	_, err := client(t, Config{URL: s.URL}).Schema(t.Context(), 1)
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusFound || !e.Retriable() || calls.Load() != 0 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"schema":"x"}`) }))
	defer s.Close()
	trusting := client(t, Config{URL: s.URL, TLS: s.Client().Transport.(*http.Transport).TLSClientConfig})
	if _, err := trusting.Schema(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if _, err := client(t, Config{URL: s.URL}).Schema(t.Context(), 1); err == nil {
		t.Error("an unknown certificate is trusted")
	}
}
