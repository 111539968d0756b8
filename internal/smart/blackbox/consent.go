package blackbox

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// stateValues come back as they went, or an app thinks that somebody forged the answer.
var stateValues = []string{
	"a+b", "a b", "a%20b", "a%2Bb", "%", "%%", "a=b&c=d", "~._-", "a#b", "/?:@", `"'<>`, "ünïcödé", "日本語", "😀", "\\", "a;b", "[x]{y}|",
	"eyJhbGciOiJIUzI1NiJ9.e30.x-_", "+/=", " lead and trail ", strings.Repeat("long-state.", 180),
}

var states = []check{
	{"a state comes back with an error as it went", func(t *trial) {
		c := t.app()
		for _, state := range stateValues {
			a := t.attempt(c, c.scope()).set("state", state).set("response_type", "token")
			t.wantRefused(a, t.ask(t.browser(), a))
		}
	}},
	{"a state comes back with a code as it went", func(t *trial) {
		c := t.app()
		var all strings.Builder
		for _, state := range stateValues[:len(stateValues)-1] {
			all.WriteString(state)
		}
		for _, state := range []string{all.String(), stateValues[len(stateValues)-1]} {
			a := t.attempt(c, c.scope()).set("state", state)
			t.redeem(a, t.code(a))
		}
	}},
	{"no state comes back where none went", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope()).set("state", "").set("response_type", "token")
		response := t.ask(t.browser(), a)
		if to := response.location(); to != nil && to.Query().Has("state") {
			t.Errorf("got %s with a state", response)
		}
	}},
	{"an answer says whose it is, if the server announces that", func(t *trial) {
		if t.get(t.Issuer + openidConfiguration).object()["authorization_response_iss_parameter_supported"] != true {
			t.Skip("the server does not announce it (RFC 9207)")
		}
		c := t.app()
		a := t.attempt(c, c.scope())
		if got := t.decide(a, t.member()).Query().Get("iss"); got != t.Issuer {
			t.Errorf("iss is %q with a code", got)
		}
		d := t.member()
		d.Deny = true
		if got := t.decide(a, d).Query().Get("iss"); got != t.Issuer {
			t.Errorf("iss is %q with an error", got)
		}
	}},
}

// wider and narrower are scopes of which a member allows some only.
const (
	widerScopes    = "launch/patient patient/Patient.rs patient/Coverage.rs patient/ExplanationOfBenefit.rs"
	narrowerScopes = "launch/patient patient/Patient.rs patient/ExplanationOfBenefit.rs"
)

var consents = []check{
	{"denied is access_denied and the state", func(t *trial) {
		c := t.app()
		a, d := t.attempt(c, c.scope()), t.member()
		d.Deny = true
		t.wantRefusal(a, t.decide(a, d), "access_denied")
	}},
	{"denied leaves an earlier grant", func(t *trial) {
		c := t.app()
		g := t.grant(c, c.scope())
		a, d := t.attempt(c, c.scope()), t.member()
		d.Deny = true
		t.decide(a, d)
		t.wantOpens(g, true, "after a denial of a later request")
	}},
	{"a member allows less than was asked for", func(t *trial) {
		c, d := t.app(), t.member()
		d.Scopes = strings.Fields(narrowerScopes)
		g := t.grantOf(c, widerScopes, d)
		got := strings.Fields(g.Scope)
		if slices.Contains(got, "patient/Coverage.rs") || !slices.Contains(got, "patient/Patient.rs") || !slices.Contains(got, "patient/ExplanationOfBenefit.rs") {
			t.Fatalf("scope is %q, want it without Coverage", g.Scope)
		}
		t.wantStatus(t.fhir(g.Access, "ExplanationOfBenefit?_count=1"), http.StatusOK)
		t.wantStatus(t.fhir(g.Access, "Coverage?_count=1"), http.StatusForbidden, http.StatusUnauthorized)
	}},
	{"to allow less later ends what was allowed before", func(t *trial) {
		c, d := t.app(), t.member()
		wide := t.grant(c, widerScopes+" offline_access")
		d.Scopes = strings.Fields(narrowerScopes)
		narrow := t.grantOf(c, widerScopes, d)
		a := t.fhir(wide.Access, "Coverage?_count=1")
		t.wantStatus(a, http.StatusUnauthorized, http.StatusForbidden)
		if wide.Refresh != "" {
			t.wantOAuthError(t.do(t.refreshing(c, wide.Refresh, "")), "invalid_grant")
		}
		t.wantOpens(narrow, true, "the later grant")
	}},
	{"two requests of one browser do not disturb one another", func(t *trial) {
		c := t.app()
		browser := t.browser()
		t.decideWith(browser, t.attempt(c, c.scope()), t.member()) // signs in
		one, two := t.attempt(c, c.scope()), t.attempt(c, c.scope())
		first, second := t.ask(browser, one), t.ask(browser, two)
		backTwo, backOne := t.decideAt(browser, second, t.member()), t.decideAt(browser, first, t.member())
		if backOne.Query().Get("state") != one.query.Get("state") || backTwo.Query().Get("state") != two.query.Get("state") {
			t.Fatal("the answers were mixed up")
		}
		t.redeem(one, backOne.Query().Get("code"))
		t.redeem(two, backTwo.Query().Get("code"))
	}},
	{"a request is decided once", func(t *trial) {
		p, f, browser := t.consentPage()
		f.decide(p, t.member())
		_, first, err := f.submit(t.Context(), browser, p.url)
		if err != nil || first == nil || !first.Query().Has("code") {
			t.Fatalf("there was no code: %v", err)
		}
		again, second, err := f.submit(t.Context(), browser, p.url)
		if err != nil {
			t.Fatal(err)
		}
		if second != nil && second.Query().Get("code") != "" && second.Query().Get("code") != first.Query().Get("code") {
			t.Error("the second click made a second code")
		}
		if second == nil && (again.status >= 500 || again.words() == "") {
			t.Errorf("the second click got %d and no words", again.status)
		}
	}},
	{"a decision is of the browser that was asked", func(t *trial) {
		p, f, _ := t.consentPage()
		f.decide(p, t.member())
		_, back, err := f.submit(t.Context(), t.browser(), p.url)
		if err != nil {
			t.Fatal(err)
		}
		if back != nil && back.Query().Has("code") {
			t.Error("another browser could decide")
		}
	}},
	{"a decision without what the page hides in it is none", func(t *trial) {
		p, f, browser := t.consentPage()
		f.decide(p, t.member())
		forged := *f
		forged.fields = cloned(f.fields)
		for name := range forged.fields {
			if slices.Contains([]string{"token", "csrf", "csrf_token", "_csrf", "xsrf", "authenticity_token"}, strings.ToLower(name)) {
				forged.fields.Del(name)
			}
		}
		evil := &url.URL{Scheme: "https", Host: "evil.example"}
		_, back, err := forged.submit(t.Context(), browser, evil)
		if err != nil {
			t.Fatal(err)
		}
		if back != nil && back.Query().Has("code") {
			t.Fatal("a page of somebody else could decide (CSRF)")
		}
		_, back, err = f.submit(t.Context(), browser, p.url)
		if err != nil || back == nil || !back.Query().Has("code") {
			t.Errorf("after that the page itself could not decide: %v", err)
		}
	}},
}

// consentPage is where a member who has signed in decides.
func (t *trial) consentPage() (*page, *form, *http.Client) {
	t.Helper()
	if t.SignIn != nil {
		t.Skip("the target's pages are not known")
	}
	c, browser := t.app(), t.browser()
	t.decideWith(browser, t.attempt(c, c.scope()), t.member())
	first := t.ask(browser, t.attempt(c, c.scope()))
	p, back, err := visit(t.Context(), browser, urlOr(first.location(), first.url))
	if err != nil || back != nil {
		t.Fatalf("there is no page to decide on: %v", err)
	}
	f := p.form(false)
	if f == nil || f.login != "" {
		t.Fatalf("there is no form to decide with: %s", p.words())
	}
	return p, f, browser
}

// loginPage is what somebody sees first who has not signed in.
func (t *trial) loginPage() (*page, *form, *http.Client) {
	t.Helper()
	if t.SignIn != nil {
		t.Skip("the target's pages are not known")
	}
	c, browser := t.app(), t.browser()
	first := t.ask(browser, t.attempt(c, c.scope()))
	p, back, err := visit(t.Context(), browser, urlOr(first.location(), first.url))
	if err != nil || back != nil {
		t.Fatalf("there is no page to sign in: %v", err)
	}
	f := p.form(false)
	if f == nil || f.login == "" {
		t.Fatalf("there is no form to sign in: %s", p.words())
	}
	return p, f, browser
}

var pages = []check{
	{"pages cannot be framed, are not kept, and tell nobody their URL", func(t *trial) {
		login, _, _ := t.loginPage()
		consent, _, _ := t.consentPage()
		for name, p := range map[string]*page{"login": login, "consent": consent} {
			policy := p.header.Get("Content-Security-Policy")
			if !strings.Contains(policy, "frame-ancestors 'none'") && !strings.EqualFold(p.header.Get("X-Frame-Options"), "DENY") {
				t.Errorf("%s can be framed: Content-Security-Policy is %q", name, policy)
			}
			if !strings.Contains(p.header.Get("Cache-Control"), "no-store") {
				t.Errorf("%s: Cache-Control is %q", name, p.header.Get("Cache-Control"))
			}
			if r := p.header.Get("Referrer-Policy"); r != "no-referrer" && r != "same-origin" && r != "strict-origin" && r != "origin" {
				t.Errorf("%s: Referrer-Policy is %q", name, r)
			}
			if p.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: X-Content-Type-Options is %q", name, p.header.Get("X-Content-Type-Options"))
			}
		}
	}},
	{"a wrong password gives no code", func(t *trial) {
		p, f, browser := t.loginPage()
		f.fields.Set(f.login, t.Members[0].Login)
		f.fields.Set(f.secret, "not-"+random(8))
		after, back, err := f.submit(t.Context(), browser, p.url)
		if err != nil || back != nil {
			t.Fatalf("a wrong password went on: %v", err)
		}
		if g := after.form(false); g == nil || g.login == "" {
			t.Errorf("after a wrong password the page has no form to try again: %s", after.words())
		}
	}},
	{"an unknown login looks like a wrong password", func(t *trial) {
		texts := map[string]string{}
		for _, login := range []string{t.Members[len(t.Members)-1].Login, "nobody-" + random(6)} {
			p, f, browser := t.loginPage()
			f.fields.Set(f.login, login)
			f.fields.Set(f.secret, "not-"+random(8))
			after, back, err := f.submit(t.Context(), browser, p.url)
			if err != nil || back != nil {
				t.Fatalf("a wrong password went on: %v", err)
			}
			texts[login] = strings.ReplaceAll(after.words(), login, "")
		}
		if len(texts) == 2 && len(slices.Compact(slices.Sorted(maps.Values(texts)))) != 1 {
			t.Error("the page tells which logins exist")
		}
	}},
	{"somebody else's cookies sign nobody in", func(t *trial) {
		p, f, browser := t.loginPage()
		before := browser.Jar.Cookies(p.url)
		f.fields.Set(f.login, t.Members[0].Login)
		f.fields.Set(f.secret, t.Members[0].Password)
		if _, _, err := f.submit(t.Context(), browser, p.url); err != nil {
			t.Fatal(err)
		}
		thief := t.browser()
		thief.Jar.SetCookies(p.url, before)
		c := t.app()
		first := t.ask(thief, t.attempt(c, c.scope()))
		q, back, err := visit(t.Context(), thief, urlOr(first.location(), first.url))
		if err != nil || back != nil {
			t.Fatalf("there is no page: %v", err)
		}
		if g := q.form(false); g == nil || g.login == "" {
			t.Error("cookies from before the sign-in are signed in after it (session fixation)")
		}
	}},
}
