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
