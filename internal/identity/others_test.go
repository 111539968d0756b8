package identity_test

import (
	"bufio"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/identity"
)

// TestOIDCProvider signs in at a provider that others wrote: npm oidc-provider, with upstream.mjs of .ci/issuer.
// OIDC_PROVIDER is a copy of that folder where npm install was run.
func TestOIDCProvider(t *testing.T) {
	dir := os.Getenv("OIDC_PROVIDER")
	if dir == "" {
		t.Skip("OIDC_PROVIDER does not name a folder with oidc-provider")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	listener.Close()
	w := newWorld(t, func(c *identity.Config) {
		c.Issuer, c.ClientID, c.UserInfo = "http://127.0.0.1:"+port, "members", true
		c.Secret, c.Scopes = func() (string, error) { return "a secret:+%", nil }, []string{"openid", "member"}
	})
	p := exec.CommandContext(t.Context(), "node", filepath.Join(dir, "upstream.mjs"), port, w.site.URL+"/login/callback")
	p.Dir = dir
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.Contains(lines.Text(), "listening"); {
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()

	if n, err := w.login.Check(t.Context()); err != nil || n != 2 {
		t.Fatalf("%d keys, %v", n, err)
	}
	got := w.visit(t, w.browser(t), "M-1", false)
	if got.code(t) != "" || got.request != "request-1" || got.level != levelTwo || w.links(t, got.user.ID) != "p1 self rule" {
		t.Fatalf("%+v", got)
	}
	if got := w.visit(t, w.browser(t), "M-404", false); got.code(t) != "none" {
		t.Errorf("an unknown member: %+v", got)
	}
	if got := w.visit(t, w.browser(t), "low-M-1", false); got.code(t) != "level" {
		t.Errorf("a low level: %+v", got)
	}
	if got := w.visit(t, w.browser(t), "M-1", true); got.code(t) != "denied" || got.request != "request-1" {
		t.Errorf("cancelled: %+v", got)
	}
}

var (
	formAction  = regexp.MustCompile(`<form[^>]*action="([^"]+)"`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)"`)
	abortLink   = regexp.MustCompile(`href="([^"]+/abort)"`)
)

// visit signs in with the pages of the provider, or cancels there.
func (w *world) visit(t *testing.T, b *http.Client, login string, cancel bool) outcome {
	t.Helper()
	at, form := w.site.URL+"/login?request=request-1", url.Values(nil)
	for range 20 {
		if strings.HasPrefix(at, w.site.URL+"/login/callback?") {
			return w.finish(t, b, at)
		}
		method, body := http.MethodGet, io.Reader(http.NoBody)
		if form != nil {
			method, body = http.MethodPost, strings.NewReader(form.Encode())
		}
		r, err := http.NewRequestWithContext(t.Context(), method, at, body)
		if err != nil {
			t.Fatal(err)
		}
		if form != nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		resp, err := b.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode >= 400 {
			t.Fatalf("the provider says %d %.3000s, %v", resp.StatusCode, page, err)
		}
		base, _ := url.Parse(at)
		form = nil
		if to := resp.Header.Get("Location"); to != "" {
			next, err := base.Parse(to)
			if err != nil {
				t.Fatal(err)
			}
			at = next.String()
			continue
		}
		next := formAction.FindSubmatch(page)
		if cancel {
			next = abortLink.FindSubmatch(page)
		}
		if next == nil {
			t.Fatalf("a page without a way on: %.2000s", page)
		}
		u, err := base.Parse(html.UnescapeString(string(next[1])))
		if err != nil {
			t.Fatal(err)
		}
		if at = u.String(); cancel {
			continue
		}
		form = url.Values{"login": {login}, "password": {"x"}}
		for _, f := range hiddenField.FindAllSubmatch(page, -1) {
			form.Set(html.UnescapeString(string(f[1])), html.UnescapeString(string(f[2])))
		}
	}
	t.Fatal("too many redirects")
	return outcome{}
}

// TestAfter has a provider that keeps a session of its own: it must authenticate the person again if that is wanted,
// and a provider that does not is refused, so that nobody goes in circles.
func TestAfter(t *testing.T) {
	w := newWorld(t, func(c *identity.Config) { c.Prompt, c.MaxAge = "select_account", time.Hour })
	begun := w.clock.now().Add(-10 * time.Minute).Truncate(time.Second)
	w.set(func() { w.since = begun })
	got := w.signIn(t)
	if got.code(t) != "" || !got.at.Equal(begun) || w.asked.Get("prompt") != "select_account" || w.asked.Get("max_age") != "3600" {
		t.Errorf("by the session of the provider: %+v, asked %v", got, w.asked)
	}
	w.after = w.clock.now()
	got = w.signIn(t)
	if got.code(t) != "" || got.at.Before(w.after.Truncate(time.Millisecond)) || got.at.After(w.clock.now()) || w.asked.Get("prompt") != "login" || w.asked.Get("max_age") != "0" {
		t.Errorf("after %s: %+v, asked %v", w.after, got, w.asked)
	}
	w.set(func() { w.since, w.stale = begun, true })
	if got = w.signIn(t); got.code(t) != "age" || got.request != "request-1" {
		t.Errorf("a provider that does not ask again: %+v", got)
	}
	w.set(func() { w.since = w.after.Add(-30 * time.Second) }) // clocks differ
	if got = w.signIn(t); got.code(t) != "" || !got.at.Equal(w.after.Truncate(time.Millisecond)) {
		t.Errorf("within the leeway: %+v", got)
	}

	none := newWorld(t, nil) // that says nothing of when
	none.after = none.clock.now()
	if got := none.signIn(t); got.code(t) != "" || got.at.Before(none.after.Truncate(time.Millisecond)) {
		t.Errorf("without auth_time: %+v", got)
	}
}
