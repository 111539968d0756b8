package portal

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/portal/lifecycle"
)

// site answers for www.apps.example, whatever is asked of the network.
type site struct{ pages map[string]string }

func (s *site) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	if text, is := s.pages[r.URL.Path]; is && r.URL.Host == "www.apps.example" {
		_, _ = io.WriteString(w, text)
	} else {
		w.WriteHeader(http.StatusNotFound)
	}
	return w.Result(), nil
}

func pagesOf(pages map[string]string) *http.Client { return &http.Client{Transport: &site{pages}} }

// TestTextsThatChange proves that a policy which is not the one that was confirmed is noticed, asked about once, and
// confirmed by renewing.
func TestTextsThatChange(t *testing.T) {
	pages := map[string]string{"/policy": "<p>We share <b>nothing</b>.</p>", "/terms": "Be kind."}
	each(t, func(c *Config) { c.Fetch = pagesOf(pages) }, func(k *team, _ string) {
		t := k.t
		pages := k.Fetch.Transport.(*site)
		pages.pages = map[string]string{"/policy": "<p>We share <b>nothing</b>.</p>", "/terms": "Be kind."}
		k.opens()
		app := k.tested("Claims Friend")
		a := k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
		a = k.step(k.owner, a, lifecycle.GoLive, nil)

		pages.pages["/policy"] = "<html><head><title>x</title></head><script>x=1</script><h1>We</h1> share\n no<span class='x'>thing</span>.</html>"
		k.clock.pass(31 * 24 * time.Hour)
		n, err := k.checkTexts(ctx)
		ok(t, err)
		equal(t, n, 2)
		changed, err := k.owner.TextChanged(ctx, app.ID)
		ok(t, err)
		equal(t, len(changed), 0) // the same words in other clothes

		pages.pages["/policy"] = "We share everything."
		k.mails()
		k.clock.pass(31 * 24 * time.Hour)
		_, err = k.checkTexts(ctx)
		ok(t, err)
		a, err = k.owner.Application(ctx, a.ID)
		ok(t, err)
		equal(t, a.State, lifecycle.RenewalDue)
		if changed, err = k.owner.TextChanged(ctx, app.ID); err != nil || strings.Join(changed, " ") != "policy" {
			t.Fatalf("got %v, %v", changed, err)
		}
		app, err = k.owner.App(ctx, app.ID)
		ok(t, err)
		k.status(app.Production, "active") // privacy is no ground to cut an app off
		a = k.step(k.owner, a, lifecycle.Renew, k.signed(a))
		if changed, err = k.owner.TextChanged(ctx, app.ID); err != nil || len(changed) > 0 || a.State != lifecycle.Live {
			t.Fatalf("got %v, %v", changed, err)
		}
	})
}
