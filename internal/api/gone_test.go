package api_test

import (
	"context"
	"iter"
	"net/http"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// endless is a store whose searches find no end, until their context does.
type endless struct {
	store.Handle
	began, ended chan struct{}
}

func (e endless) Search(ctx context.Context, q *store.Query) iter.Seq2[*store.Entry, error] {
	return func(yield func(*store.Entry, error) bool) {
		e.began <- struct{}{}
		<-ctx.Done()
		e.ended <- struct{}{}
		yield(nil, ctx.Err())
	}
}

// TestGoneClient proves that a search ends when its client goes, and when its time is over, which is 503.
func TestGoneClient(t *testing.T) {
	w := newWorld(t, 1)
	store := endless{w.store, make(chan struct{}), make(chan struct{})}
	s := w.serve(t, func(c *api.Config) {
		c.Store, c.Events.Failed = store, nil
		c.Limits.Time = time.Minute
	})
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/fhir/ExplanationOfBenefit?patient=p0000", http.NoBody)
		if err == nil {
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(r); err == nil {
				err = resp.Body.Close()
			}
		}
		done <- err
	}()
	<-store.began
	leave()
	select {
	case <-store.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the search goes on without its client")
	}
	if err := <-done; err == nil {
		t.Error("the client has an answer")
	}
	hasty := w.serve(t, func(c *api.Config) {
		c.Store, c.Events.Failed = store, nil
		c.Limits.Time = 50 * time.Millisecond
	})
	go func() { <-store.began; <-store.ended }()
	if a := do(t, hasty, request{path: "/fhir/" + fhir.ExplanationOfBenefit.String() + "?patient=p0000"}); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" ||
		!strings.Contains(string(a.body), "took too long") {
		t.Errorf("a search that takes too long: %d %s", a.status, a.body)
	}
}
