package blackbox

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// wantTokenResponse fails a check unless a token response has what SMART and RFC 6749, 5.1 demand.
func (t *trial) wantTokenResponse(g *grant) {
	t.Helper()
	a := g.answer
	if a.mediaType() != "application/json" {
		t.Errorf("the type is %q", a.header.Get("Content-Type"))
	}
	if !strings.Contains(a.header.Get("Cache-Control"), "no-store") || a.header.Get("Pragma") != "no-cache" {
		t.Errorf("Cache-Control is %q and Pragma %q, not no-store and no-cache", a.header.Get("Cache-Control"), a.header.Get("Pragma"))
	}
	if !strings.EqualFold(g.Type, "bearer") {
		t.Errorf("token_type is %q", g.Type)
	}
	n, ok := a.object()["expires_in"].(json.Number)
	if seconds, err := n.Int64(); !ok || err != nil || seconds <= 0 {
		t.Errorf("expires_in is %v, not a number of seconds", a.object()["expires_in"])
	}
	if g.Scope == "" {
		t.Error("scope is missing")
	}
	if strings.Contains(g.Patient, "/") || g.Patient == "" {
		t.Errorf("patient is %q, not an id", g.Patient)
	}
	if len(g.Access) < 22 {
		t.Errorf("the token has %d characters: it can be guessed", len(g.Access))
	}
	if strings.ContainsAny(g.Access+g.Refresh, " \t\r\n\"\\") {
		t.Error("a token has characters that do not go into a header")
	}
}

var tokenResponses = []check{
	{"members and headers of the response", func(t *trial) {
		for _, c := range t.clientsWithRedirects() {
			if c == t.Utah {
				continue
			}
			g := t.grant(c, c.scope())
			t.wantTokenResponse(g)
			if g.Patient != t.Members[0].Patient {
				t.Errorf("patient is %q, want %q", g.Patient, t.Members[0].Patient)
			}
			if strings.Contains(c.scope(), "openid") && g.ID == "" {
				t.Error("id_token is missing")
			}
			if strings.Contains(c.scope(), "offline_access") && g.Refresh == "" {
				t.Error("refresh_token is missing")
			}
		}
	}},
	{"members and headers of the response to a refresh", func(t *trial) {
		c := t.app()
		g := t.grant(c, c.scope())
		again := t.granted(g.attempt, t.do(t.refreshing(c, g.Refresh, "")))
		t.wantTokenResponse(again)
		if again.Patient != g.Patient || again.Scope != g.Scope {
			t.Errorf("patient and scope are %q and %q, they were %q and %q", again.Patient, again.Scope, g.Patient, g.Scope)
		}
		if again.Access == g.Access {
			t.Error("the token is the same")
		}
	}},
	{"no openid, no ID token", func(t *trial) {
		if g := t.grant(t.app(), "launch/patient patient/Patient.rs"); g.ID != "" {
			t.Error("there is an id_token")
		}
	}},
	{"no offline_access, no refresh token", func(t *trial) {
		if g := t.grant(t.app(), "launch/patient openid patient/Patient.rs"); g.Refresh != "" {
			t.Error("there is a refresh_token")
		}
	}},
	{"an access token expires", func(t *trial) {
		c := t.app()
		g := t.grant(c, c.scope())
		t.wantOpens(g, true, "at once")
		t.wait(t.AccessLife, "how long an access token lives")
		t.wantOpens(g, false, "after it has expired")
	}},
}

var codes = []check{
	{"a code that is used again ends what it gave", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		code := t.code(a)
		g := t.redeem(a, code)
		t.wantOpens(g, true, "before")
		t.wantError(t.do(t.exchange(a, code)), http.StatusBadRequest, "invalid_grant")
		t.wantOpens(g, false, "after the code was used again")
		if g.Refresh != "" {
			t.wantError(t.do(t.refreshing(c, g.Refresh, "")), http.StatusBadRequest, "invalid_grant")
		}
	}},
	{"a code expires", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		code := t.code(a)
		t.wait(t.CodeLife, "how long a code lives")
		t.wantError(t.do(t.exchange(a, code)), http.StatusBadRequest, "invalid_grant")
	}},
	{"codes that nobody was given are invalid_grant", func(t *trial) {
		c := t.app()
		for _, code := range []string{"x", random(32), strings.Repeat("x", 10_000), "'; DROP TABLE codes; --", "\x00", "ü"} {
			t.wantError(t.do(t.exchange(t.attempt(c, c.scope()), code)), http.StatusBadRequest, "invalid_grant", "invalid_request")
		}
	}},
	{"no code is invalid_request", func(t *trial) {
		c := t.app()
		r := t.exchange(t.attempt(c, c.scope()), "")
		r.form.Del("code")
		t.wantError(t.do(r), http.StatusBadRequest, "invalid_request")
	}},
	{"a wrong verifier is invalid_grant", func(t *trial) {
		c := t.app()
		for _, verifier := range []func(a *attempt) string{
			func(*attempt) string { return random(32) },
			func(a *attempt) string { return challenge(a.verifier) }, // what plain would compare
			func(a *attempt) string { return a.verifier + "a" },
			func(a *attempt) string { return a.verifier[:42] },
			func(a *attempt) string { return strings.ToUpper(a.verifier) + "_" },
			func(*attempt) string { return strings.Repeat("a", 5000) },
		} {
			a := t.attempt(c, c.scope())
			r := t.exchange(a, t.code(a))
			r.form.Set("code_verifier", verifier(a))
			t.wantError(t.do(r), http.StatusBadRequest, "invalid_grant", "invalid_request")
		}
	}},
	{"no verifier is refused", func(t *trial) {
		for _, c := range []*Client{t.Public, t.Confidential} {
			if c == nil {
				continue
			}
			for _, empty := range []bool{true, false} {
				a := t.attempt(c, c.scope())
				r := t.exchange(a, t.code(a))
				r.form.Set("code_verifier", "")
				if !empty {
					r.form.Del("code_verifier")
				}
				t.wantError(t.do(r), http.StatusBadRequest, "invalid_grant", "invalid_request")
			}
		}
	}},
	{"a verifier as long as it may be", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		a.verifier = strings.Repeat("aZ9-._~", 18) + "ab"
		t.redeem(a.set("code_challenge", challenge(a.verifier)), t.code(a))
	}},
	{"a code of another client is invalid_grant", func(t *trial) {
		one, two := t.need(t.Public, "public"), t.need(t.Confidential, "confidential")
		for _, pair := range [][2]*Client{{one, two}, {two, one}} {
			a := t.attempt(pair[0], pair[0].scope())
			code := t.code(a)
			r := t.exchange(a, code)
			r = t.authenticated(pair[1], r.url, withoutClient(r.form))
			t.wantError(t.do(r), http.StatusBadRequest, "invalid_grant")
		}
	}},
	{"no redirect is refused where there was one", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		r := t.exchange(a, t.code(a))
		r.form.Del("redirect_uri")
		t.wantError(t.do(r), http.StatusBadRequest, "invalid_grant", "invalid_request")
	}},
	{"a code is no token", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		code := t.code(a)
		t.wantStatus(t.fhir(code, "Patient/"+t.Members[0].Patient), http.StatusUnauthorized)
		t.wantOAuthError(t.do(t.refreshing(c, code, "")), "invalid_grant")
	}},
	{"of 2 at once one is redeemed", func(t *trial) { t.raceCode(2) }},
	{"of 50 at once one is redeemed", func(t *trial) { t.raceCode(50) }},
}

// raceCode redeems one code many times at once.
func (t *trial) raceCode(n int) {
	t.Helper()
	c := t.app()
	a := t.attempt(c, c.scope())
	code := t.code(a)
	answers := t.race(n, func() *call { return t.exchange(a, code) })
	if won := len(answers); won != 1 {
		t.Errorf("%d of %d got tokens", won, n)
	}
}

// race sends requests at the same time, and returns the answers with tokens. The others must be invalid_grant.
func (t *trial) race(n int, request func() *call) (won []*answer) {
	t.Helper()
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = request()
	}
	var mu sync.Mutex
	atOnce(n, func(i int) {
		a := t.do(calls[i])
		mu.Lock()
		defer mu.Unlock()
		switch {
		case a.status == http.StatusOK && a.text("access_token") != "":
			won = append(won, a)
		case a.status != http.StatusBadRequest || a.text("error") != "invalid_grant":
			t.Errorf("got %s, want 400 invalid_grant", a)
		}
	})
	return won
}

func withoutClient(form map[string][]string) map[string][]string {
	for _, name := range []string{"client_id", "client_secret", "client_assertion", "client_assertion_type"} {
		delete(form, name)
	}
	return form
}

// equalSets reports whether two lists of scopes are the same.
func equalSets(a, b string) bool {
	return slices.Equal(slices.Sorted(slices.Values(strings.Fields(a))), slices.Sorted(slices.Values(strings.Fields(b))))
}
