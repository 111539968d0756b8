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

// gated is a store whose searches wait for a sign.
type gated struct {
	store.Handle
	began, sign chan struct{}
}

func (g gated) Search(ctx context.Context, q *store.Query) iter.Seq2[*store.Entry, error] {
	return func(yield func(*store.Entry, error) bool) {
		g.began <- struct{}{}
		<-g.sign
		for e, err := range g.Handle.Search(ctx, q) {
			if !yield(e, err) {
				return
			}
		}
	}
}

// TestRoomForAnswers proves that large answers wait for each other, that small ones do not wait for them, and that
// one which waits too long is 503.
func TestRoomForAnswers(t *testing.T) {
	w := newWorld(t, 1)
	g := gated{w.store, make(chan struct{}), make(chan struct{})}
	s := w.serve(t, func(c *api.Config) {
		c.Store, c.Events.Failed = g, nil
		c.Limits.Memory, c.Limits.Time = 1<<20, 2*time.Second
	})
	answers := make(chan int, 4)
	ask := func(count string) {
		answers <- do(t, s, request{path: "/fhir/ExplanationOfBenefit?patient=p0000&_total=none&_count=" + count}).status
	}
	go ask("100") // all of the room
	<-g.began
	go ask("100")
	go ask("5")
	<-g.began // the small one: the large one has not begun
	select {
	case <-g.began:
		t.Fatal("two large answers are made at a time")
	case <-time.After(100 * time.Millisecond):
	}
	g.sign <- struct{}{}
	g.sign <- struct{}{}
	<-g.began // now the second
	go ask("100")
	select {
	case status := <-answers: // the first two
		if status2 := <-answers; status != 200 || status2 != 200 {
			t.Errorf("%d and %d", status, status2)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is answered")
	}
	if status := <-answers; status != http.StatusServiceUnavailable { // the third has waited for two seconds
		t.Errorf("the one that waits too long: %d", status)
	}
	g.sign <- struct{}{}
	<-answers
}
