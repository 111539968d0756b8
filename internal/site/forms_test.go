package site

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"cpcds2fhir/internal/accounts"
)

// TestForms refuses forms that other sites have sent or made.
func TestForms(t *testing.T) {
	w := newWorld(t)
	bob, ana := w.browser(), w.browser()
	bob.signIn("bob", bobPassword, "")
	ana.signIn("ana", anaPassword, "")
	request := w.ask("budget", webRedirect)
	page := bob.get("/consent?request=" + request)
	f := page.form(t, "/consent")
	f.Set("decision", "allow")
	good := f.Get("token")
	login := bob.w.browser()
	loginForm := login.get("/login").form(t, "/login")
	if other := bob.get("/consent?request="+request).form(t, "/consent").Get("token"); other == good {
		t.Error("a token is the same twice")
	}

	for name, token := range map[string]string{
		"none": "", "of another session": ana.get("/apps").form(t, "/logout").Get("token"), "of a browser": loginForm.Get("token"),
		"cut": good[:len(good)-1], "short": "x", "changed": strings.Map(func(r rune) rune {
			if r == 'a' {
				return 'b'
			}
			return r
		}, good[:16]) + "x" + good[17:], "without salt": good[16:],
	} {
		f.Set("token", token)
		bob.post("/consent", f).want(t, http.StatusForbidden, "This page was out of date")
		t.Log(name)
	}
	f.Set("token", good)
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "https://evil.example"}, {"Origin", strings.Replace(w.server.URL, "https", "http", 1)}, {"Origin", w.server.URL + "0"},
	} {
		bob.post("/consent", f, header...).want(t, http.StatusForbidden, "This page was out of date")
	}
	bob.do(http.MethodPost, "/consent", f.Encode(), "Content-Type", "application/json").want(t, http.StatusForbidden)
	bob.do(http.MethodPost, "/consent", strings.Repeat("a=b&", 20_000)).want(t, http.StatusForbidden)
	bob.do(http.MethodPost, "/consent?"+f.Encode(), "").want(t, http.StatusForbidden)
	if n := len(w.grants("bob")); n != 0 {
		t.Fatalf("%d grants by forms of others", n)
	}

	// A login form without the cookie of the browser: nobody can sign somebody in as another one.
	loginForm.Set("login", "bob")
	loginForm.Set("password", bobPassword)
	w.browser().post("/login", loginForm).want(t, http.StatusForbidden, "your browser does not keep cookies")

	// A token of before the login counts for nothing but the login, also if its cookie is still there.
	old := w.browser()
	request = w.ask("budget", webRedirect)
	before := old.get("/login?request=" + request)
	u, err := url.Parse(w.server.URL)
	w.must(err)
	kept := old.http.Jar.Cookies(u)
	old.signIn("bob", bobPassword, request)
	for _, c := range old.http.Jar.Cookies(u) {
		if c.Name == "__Host-form" {
			t.Error("the cookie of forms stays after the login")
		}
	}
	for _, c := range kept {
		c.Path, c.Secure = "/", true
	}
	old.http.Jar.SetCookies(u, kept)
	stale := old.get("/consent?request="+request).form(t, "/consent")
	stale.Set("token", before.form(t, "/login").Get("token"))
	stale.Set("decision", "allow")
	old.post("/consent", stale).want(t, http.StatusForbidden)
	old.post("/apps/revoke", stale).want(t, http.StatusForbidden)
	old.post("/logout", stale).want(t, http.StatusForbidden)
	stale.Set("decision", "deny")
	old.post("/consent", stale).goes(t, webRedirect+"&error=access_denied")

	// What browsers of today, and older ones, send.
	for _, header := range [][]string{{"Origin", w.server.URL}, {"Origin", ""}, {"Sec-Fetch-Site", ""}, {"Sec-Fetch-Site", "none"}} {
		request := w.ask("budget", webRedirect)
		f := bob.get("/consent?request="+request).form(t, "/consent")
		f.Set("decision", "allow")
		bob.post("/consent", f, header...).goes(t, "https://budget.example/")
	}
}

// TestHeaders looks at every page, those of problems too.
func TestHeaders(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request, expired := w.ask("budget", webRedirect), accounts.NewSecret()
	answers := []*answer{b.get("/login"), b.get("/login?request=" + request), b.get("/login?request=" + expired), b.get("/consent?request=" + request), b.get("/apps"), b.get("/logout"), b.get("/nothing"),
		b.do(http.MethodPut, "/login", ""), b.do(http.MethodPost, "/login", ""), b.get("/static/nothing"), b.get("/login/callback")}
	b.signIn("bob", bobPassword, "")
	answers = append(answers, b.get("/consent?request="+request), b.get("/apps"), b.get("/apps/revoke?grant=x"), b.get("/logout"), b.get("/consent"))
	page := b.get("/consent?request=" + request)
	answers = append(answers, b.share(page, "allow"), b.share(page, "allow"))
	for _, a := range answers {
		csp := a.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none';", "style-src 'self';", "img-src 'self' data:;", "form-action 'self'", "frame-ancestors 'none';", "base-uri 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("the policy %q lacks %s", csp, part)
			}
		}
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%d %s: %s is %q", a.status, a.to, name, got)
			}
		}
		for _, never := range []string{"<script", " style=", "onclick", "javascript:", "http://"} {
			if strings.Contains(a.body, never) {
				t.Errorf("a page has %s:\n%s", never, a.body)
			}
		}
		if a.status != http.StatusSeeOther {
			a.want(t, a.status, `<html lang="en">`, "<title>", `class="skip"`, "<h1")
			if n := strings.Count(a.body, "<h1"); n != 1 {
				t.Errorf("%d headings of the first level:\n%s", n, a.body)
			}
			if !strings.HasPrefix(a.header.Get("Content-Type"), "text/html; charset=utf-8") {
				t.Errorf("Content-Type %q", a.header.Get("Content-Type"))
			}
		}
		if a.status >= 500 {
			t.Errorf("status %d:\n%s", a.status, a.body)
		}
	}
	if got, want := page.header.Get("Content-Security-Policy"), "form-action 'self' https://budget.example;"; !strings.Contains(got, want) {
		t.Errorf("the policy %q lacks %q: browsers stop the redirect to the app", got, want)
	}
	if got, want := answers[1].header.Get("Content-Security-Policy"), "form-action 'self' https://budget.example;"; !strings.Contains(got, want) {
		t.Errorf("the policy of the login page is %q, so nobody can cancel", got)
	}
	if got := b.get("/apps").header.Get("Cross-Origin-Opener-Policy"); got != "same-origin" {
		t.Errorf("Cross-Origin-Opener-Policy %q", got)
	}
	if got := page.header.Get("Cross-Origin-Opener-Policy"); got != "" {
		t.Errorf("Cross-Origin-Opener-Policy %q: a window that an app has opened loses it", got)
	}
	css := b.get(w.css())
	css.want(t, http.StatusOK)
	if got := css.header.Get("Cache-Control"); !strings.Contains(got, "immutable") || !strings.HasPrefix(css.header.Get("Content-Type"), "text/css") {
		t.Errorf("the sheet: %v", css.header)
	}
	if got := b.get("/static/site.css?v=0").header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("the sheet of another version: %q", got)
	}
	if strings.Contains(css.body, "url(") || strings.Contains(css.body, "@import") {
		t.Error("the sheet loads something")
	}
}

var sheet = regexp.MustCompile(`href="(/static/site\.css\?v=[0-9a-f]+)"`)

// css is the address of the sheet.
func (w *world) css() string {
	w.t.Helper()
	m := sheet.FindStringSubmatch(w.browser().get("/login").body)
	if m == nil {
		w.t.Fatal("the page has no sheet")
	}
	return m[1]
}

// TestInjection sends what does not belong into URLs and forms.
func TestInjection(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect)
	b.signIn("bob", bobPassword, request)
	for _, path := range []string{
		"/login?request=" + request + "&next=//evil.example", "/login?next=https://evil.example", "/login?request=%0d%0aSet-Cookie:%20a=b", "/login?request=x%00", "/login?return_to=//evil.example",
		"/consent?request=//evil.example", "/logout?next=//evil.example", "/login?request=" + strings.Repeat("x", 10_000), "/apps?lang=%0d%0aX:y", "/apps?lang=../../es", "/login//evil.example", "//evil.example",
	} {
		a := b.get(path)
		if strings.HasPrefix(a.to, "//") || strings.Contains(a.to, "://") || a.header.Get("X") != "" || strings.Contains(strings.Join(a.header.Values("Set-Cookie"), ""), "a=b") || strings.Contains(a.body, "//evil.example") || a.status >= 500 {
			t.Errorf("%s: %d %v\n%s", path, a.status, a.header, a.body)
		}
	}
	// Texts of apps are texts.
	w.must(w.accounts.AddClient(t.Context(), &accounts.Client{ID: "x", Name: "<b>Bold</b>\u202e\r\nX: y <script>alert(1)</script>", Homepage: "javascript:alert(1)", Policy: "https://a.example/\"><script>", Terms: "//evil",
		Status: accounts.Active, Auth: "none", RedirectURIs: []string{"https://x.example/cb"}, Created: w.at, Changed: w.at}))
	a := b.get("/consent?request="+w.ask("x", "https://x.example/cb")).want(t, http.StatusOK, "<b>Bold</b> X: y")
	for _, never := range []string{"<b>", "<script", "javascript:", "\u202e", `"//evil"`} {
		if strings.Contains(a.body, never) {
			t.Errorf("the page has %q", never)
		}
	}
	// A login that is no text.
	out := w.browser()
	f := out.get("/login").form(t, "/login")
	f.Set("login", `"><script>alert(1)</script>`)
	f.Set("password", "x")
	if a := out.post("/login", f).want(t, http.StatusUnprocessableEntity, "do not match"); strings.Contains(a.body, "<script") {
		t.Error("the page runs what was typed")
	}
}
