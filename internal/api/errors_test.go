package api_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// broken is a store that fails in a way of its own when it is read.
type broken struct {
	store.Handle
	fail func(ctx context.Context) error
}

func (b *broken) Search(ctx context.Context, _ *store.Query) iter.Seq2[*store.Entry, error] {
	return func(yield func(*store.Entry, error) bool) { yield(nil, b.fail(ctx)) }
}

func (b *broken) Get(ctx context.Context, _ fhir.Type, _ string) (*store.Entry, error) {
	return nil, b.fail(ctx)
}

func (b *broken) GetVersion(ctx context.Context, _ fhir.Type, _ string, _ uint32) (*store.Entry, error) {
	return nil, b.fail(ctx)
}

func (b *broken) History(ctx context.Context, _ fhir.Type, _ string) iter.Seq2[*store.Entry, error] {
	return func(yield func(*store.Entry, error) bool) { yield(nil, b.fail(ctx)) }
}

// routes are requests of each route that reads the store.
var routes = []string{"Patient", "Patient?_id=p0001", "ExplanationOfBenefit?patient=p0001&_sort=service-date", "Patient/p0001", "Patient/p0001/_history", "Patient/p0001/_history/1", "Patient/p0001/$everything"}

// TestFaults proves that a fault of the server is answered with an OperationOutcome which says nothing of
// the fault, which a browser's app may read, and which does not end the server.
func TestFaults(t *testing.T) {
	const secret = "S3CR3T"
	w := newWorld(t, 2)
	for name, x := range map[string]struct {
		fail   func(ctx context.Context) error
		status int
	}{
		"a panic":               {func(context.Context) error { panic(secret) }, 500},
		"a panic with an error": {func(context.Context) error { panic(errors.New(secret)) }, 500},
		"an error":              {func(context.Context) error { return errors.New(secret) }, 500},
		"too much time":         {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 503},
		"what is not there":     {func(context.Context) error { return store.ErrNotFound }, 404},
	} {
		failed := 0
		s := w.serve(t, func(c *api.Config) {
			c.Store, c.Limits.Time = &broken{w.store, x.fail}, 50*time.Millisecond
			c.Events.Failed = func(string, error) { failed++ }
		})
		for _, path := range routes {
			a := do(t, s, request{path: "/fhir/" + path, header: map[string]string{"Origin": "https://app.example"}})
			if a.status != x.status || a.doc.ResourceType != "OperationOutcome" || a.header.Get("Content-Type") != "application/fhir+json; charset=utf-8" || bytes.Contains(a.body, []byte(secret)) {
				t.Errorf("%s, %s: %d %s %s", name, path, a.status, a.header.Get("Content-Type"), a.body)
			}
			if a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("ETag") != "" {
				t.Errorf("%s, %s: %v", name, path, a.header)
			}
			if x.status == 503 && a.header.Get("Retry-After") == "" {
				t.Errorf("%s, %s: no Retry-After", name, path)
			}
		}
		if x.status >= 500 && failed != len(routes) {
			t.Errorf("%s: %d of %d faults are reported", name, failed, len(routes))
		}
		if a := do(t, s, request{path: "/fhir/metadata"}); a.status != 200 {
			t.Errorf("after %s, /metadata has %d", name, a.status)
		}
	}
}

// TestBusy proves that a request too many is told when to come back, also in a browser, that a preflight
// is answered meanwhile, and that the server recovers.
func TestBusy(t *testing.T) {
	w := newWorld(t, 2)
	entered, left := make(chan bool, 1), make(chan bool)
	leave := sync.OnceFunc(func() { close(left) })
	s := w.serve(t, func(c *api.Config) {
		c.Limits.Parallel = 1
		c.Store = &broken{w.store, func(context.Context) error { entered <- true; <-left; return store.ErrNotFound }}
	})
	t.Cleanup(leave) // before the server is closed, which waits for its requests
	done := make(chan int, 1)
	go func() { done <- do(t, s, request{path: "/fhir/Patient/p0001"}).status }()
	<-entered
	app := map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
	for range 20 {
		a := do(t, s, request{path: "/fhir/Patient/p0001", header: app})
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || a.doc.Issue[0].Code != "throttled" || a.header.Get("Access-Control-Allow-Origin") != "*" ||
			!strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Retry-After") {
			t.Fatalf("a request too many: %d %v", a.status, a.header)
		}
	}
	if a := do(t, s, request{method: http.MethodOptions, path: "/fhir/Patient/p0001", header: app}); a.status != http.StatusNoContent {
		t.Errorf("a preflight: %d", a.status)
	}
	leave()
	if status := <-done; status != 404 {
		t.Errorf("the first request: %d", status)
	}
	if a := do(t, s, request{path: "/fhir/metadata"}); a.status != 200 {
		t.Errorf("afterwards: %d", a.status)
	}
}

// TestPreflight proves that a browser is allowed to make each request, also to what is not there, before
// any token is checked: otherwise the app cannot read why it failed.
func TestPreflight(t *testing.T) {
	s := newWorld(t, 2).serve(t, func(c *api.Config) { c.Authorizer = refusing{} })
	for _, path := range append([]string{"", "/", "metadata", "openapi.json", "Patient/_search", "Observation", "Patient/p0001/$nothing", "a/b/c/d/e", "%00"}, routes...) {
		for _, method := range []string{"GET", "POST"} {
			a := do(t, s, request{method: http.MethodOptions, path: "/fhir/" + path, header: map[string]string{"Origin": "https://app.example", "Access-Control-Request-Method": method,
				"Access-Control-Request-Headers": "authorization,prefer,content-type,if-none-match"}})
			if a.status != http.StatusNoContent || len(a.body) > 0 || a.header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), method) {
				t.Errorf("%s %s: %d %v", path, method, a.status, a.header)
			}
			for _, name := range []string{"Authorization", "Prefer", "Content-Type", "Accept", "If-None-Match", "If-Modified-Since"} {
				if !slices.Contains(strings.Split(a.header.Get("Access-Control-Allow-Headers"), ", "), name) {
					t.Errorf("%s: %s is not allowed", path, name)
				}
			}
		}
	}
	// Without a browser, OPTIONS is about the resource.
	if a := do(t, s, request{method: http.MethodOptions, path: "/fhir/Patient/p0001"}); a.status != http.StatusNoContent || a.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("OPTIONS: %d %v", a.status, a.header)
	}
	if a := do(t, s, request{method: http.MethodOptions, path: "/fhir/Observation"}); a.status != http.StatusNotFound || a.doc.ResourceType != "OperationOutcome" {
		t.Errorf("OPTIONS of nothing: %d", a.status)
	}
}

// TestErrorsInBrowsers proves that an app in a browser can read each kind of error and the headers that tell
// it what to do, and that no cookie plays a part.
func TestErrorsInBrowsers(t *testing.T) {
	w := newWorld(t, 2)
	s, refused := w.serve(t, nil), w.serve(t, func(c *api.Config) { c.Authorizer = refusing{} })
	for path, want := range map[string]int{"Patient?x=y": 400, "Patient/nobody": 404, "Observation": 404, "ExplanationOfBenefit?_sort=service-date": 403, "Patient?_format=xml": 406, "Patient/p0001": 401} {
		server := s
		if want == 401 {
			server = refused
		}
		a := do(t, server, request{path: "/fhir/" + path, header: map[string]string{"Origin": "https://app.example", "Cookie": "session=1"}})
		exposed := strings.Split(a.header.Get("Access-Control-Expose-Headers"), ", ")
		for _, name := range []string{"ETag", "Last-Modified", "Retry-After", "WWW-Authenticate", "X-Request-Id"} {
			if !slices.Contains(exposed, name) {
				t.Errorf("%s: %s is not exposed", path, name)
			}
		}
		if a.status != want || a.header.Get("Access-Control-Allow-Origin") != "*" || a.doc.ResourceType != "OperationOutcome" || want == 401 && a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %v", path, a.status, a.header)
		}
		if a.header.Get("Access-Control-Allow-Credentials") != "" || a.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: cookies play a part: %v", path, a.header)
		}
	}
}

// TestScopeBeforeData proves that a token without the scope learns nothing: the refusal is the same for a
// member with data, for one without, and for what does not exist.
func TestScopeBeforeData(t *testing.T) {
	s := newWorld(t, 3).serve(t, nil)
	for _, scopes := range []string{"openid", "patient/Patient.read", "patient/ExplanationOfBenefit.c"} {
		for _, form := range []string{"ExplanationOfBenefit/eMEMBER-1", "ExplanationOfBenefit/eMEMBER-1/_history", "ExplanationOfBenefit/eMEMBER-1/_history/1", "ExplanationOfBenefit?_id=eMEMBER-1",
			"ExplanationOfBenefit?patient=MEMBER", "ExplanationOfBenefit?_summary=count", "ExplanationOfBenefit?identifier=eMEMBER-1&_sort=service-date", "ExplanationOfBenefit?_lastUpdated=ge2020"} {
			var first *answer
			for _, own := range []string{member(1), "empty"} {
				for _, asked := range []string{member(1), member(2), "empty", "nobody"} {
					a := do(t, s, request{path: "/fhir/" + strings.ReplaceAll(form, "MEMBER", asked), member: own, scopes: scopes})
					if first == nil {
						first = a
					}
					if a.status != http.StatusForbidden || !bytes.Equal(a.body, first.body) {
						t.Errorf("%s of %s with %s, as %s: %d %s", form, asked, scopes, own, a.status, a.body)
					}
				}
			}
		}
	}
}

// TestAuthorizationHeaders proves that a header which is no token makes nothing fail, and that the
// description of the server needs none.
func TestAuthorizationHeaders(t *testing.T) {
	w := newWorld(t, 2)
	open, refused := w.serve(t, func(c *api.Config) { c.Authorizer = api.Open{} }), w.serve(t, func(c *api.Config) { c.Authorizer = refusing{} })
	for _, h := range []string{"x", "Bearer", "bearer t", "Bearer ", "Bearer a.b.c", "Bearer a b", "Basic !!!", "Basic Og==", "Digest x=\"", "Bearer " + strings.Repeat("a", 8000), ",", "\xff\xfe", "BEARER ééé", "Negotiate"} {
		for _, path := range append([]string{"metadata", "openapi.json"}, routes...) {
			public := path == "metadata" || path == "openapi.json"
			header := map[string]string{"Authorization": h}
			if a := do(t, open, request{path: "/fhir/" + path, header: header}); a.status != 200 {
				t.Errorf("%s with %.20q, open: %d", path, h, a.status)
			}
			if a := do(t, refused, request{path: "/fhir/" + path, header: header}); a.status != 200 && public || a.status != 401 && !public {
				t.Errorf("%s with %.20q: %d", path, h, a.status)
			}
		}
	}
}
