package blackbox

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// renewable is a grant with a refresh token.
func (t *trial) renewable(c *Client) *grant {
	t.Helper()
	g := t.grant(c, c.scope())
	if g.Refresh == "" {
		t.Fatal("there is no refresh token")
	}
	return g
}

// refresh gets new tokens.
func (t *trial) refresh(g *grant, scope string) *grant {
	t.Helper()
	next := t.granted(g.attempt, t.do(t.refreshing(g.client, g.Refresh, scope)))
	if next.Refresh == "" {
		next.Refresh = g.Refresh // it stays valid (RFC 6749, 6)
	}
	return next
}

// rotates skips a check unless the refresh token changed.
func (t *trial) rotates(before, after *grant) {
	t.Helper()
	if before.Refresh != after.Refresh {
		return
	}
	if before.client.Secret == "" && len(before.client.Keys) == 0 {
		t.Fatal("the refresh token of a public client is not rotated (RFC 9700, 4.14.2)")
	}
	t.Skip("the server does not rotate refresh tokens of this client")
}

var refreshes = []check{
	{"three times one after another", func(t *trial) {
		for _, c := range []*Client{t.Public, t.Confidential, t.Asymmetric} {
			if c == nil {
				continue
			}
			g := t.renewable(c)
			for range 3 {
				g = t.refresh(g, "")
				t.wantOpens(g, true, "after a refresh")
			}
		}
	}},
	{"a public client with its id", func(t *trial) { t.refresh(t.renewable(t.need(t.Public, "public")), "") }},
	{"a public client without its id", func(t *trial) {
		g := t.renewable(t.need(t.Public, "public"))
		t.granted(g.attempt, t.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.Refresh}}, ""))
	}},
	{"a public client with the id of another", func(t *trial) {
		g := t.renewable(t.need(t.Public, "public"))
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.Refresh}, "client_id": {"nobody-" + random(6)}}
		t.wantOAuthError(t.post(form, ""), "invalid_client", "invalid_grant")
		if t.Native != nil && t.Native != t.Public && t.Native.Secret == "" {
			form.Set("client_id", t.Native.ID)
			t.wantOAuthError(t.post(form, ""), "invalid_client", "invalid_grant")
		}
	}},
	{"a client with a secret needs it", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		g := t.renewable(c)
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.Refresh}}
		t.wantOAuthError(t.post(form, ""), "invalid_client", "invalid_request")
		form.Set("client_id", c.ID)
		t.wantOAuthError(t.post(form, ""), "invalid_client")
		t.wantUnknown(t.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {g.Refresh}}, basic(c.ID, "wrong")))
		t.wantOpens(t.refresh(g, ""), true, "and the refresh token was not used up")
	}},
	{"the refresh token of another client", func(t *trial) {
		one, two := t.need(t.Public, "public"), t.need(t.Confidential, "confidential")
		g := t.renewable(one)
		t.wantError(t.do(t.refreshing(two, g.Refresh, "")), http.StatusBadRequest, "invalid_grant")
		h := t.renewable(two)
		t.wantOAuthError(t.do(t.refreshing(one, h.Refresh, "")), "invalid_grant", "invalid_client")
	}},
	{"tokens that nobody was given are invalid_grant", func(t *trial) {
		c := t.app()
		for _, token := range []string{"x", random(32), strings.Repeat("x", 10_000), "\x00", "' OR 1=1 --"} {
			t.wantError(t.do(t.refreshing(c, token, "")), http.StatusBadRequest, "invalid_grant", "invalid_request")
		}
	}},
	{"no token is invalid_request", func(t *trial) {
		c := t.app()
		r := t.refreshing(c, "x", "")
		r.form.Del("refresh_token")
		t.wantError(t.do(r), http.StatusBadRequest, "invalid_request")
	}},
	{"an access token is no refresh token, nor the other way round", func(t *trial) {
		c := t.app()
		g := t.renewable(c)
		t.wantError(t.do(t.refreshing(c, g.Access, "")), http.StatusBadRequest, "invalid_grant")
		t.wantStatus(t.fhir(g.Refresh, "Patient/"+g.Patient), http.StatusUnauthorized)
	}},
	{"fewer scopes are for the access token only", func(t *trial) {
		c := t.app()
		g := t.renewable(c)
		narrow := t.refresh(g, "patient/Patient.rs")
		if strings.Contains(narrow.Scope, "Coverage") {
			t.Errorf("scope is %q, want patient/Patient.rs", narrow.Scope)
		}
		t.wantOpens(narrow, true, "with fewer scopes")
		t.wantStatus(t.fhir(narrow.Access, "Coverage?_count=1"), http.StatusForbidden)
		full := t.refresh(narrow, "")
		if !equalSets(full.Scope, g.Scope) {
			t.Errorf("then scope is %q, it was %q", full.Scope, g.Scope)
		}
		t.wantStatus(t.fhir(full.Access, "Coverage?_count=1"), http.StatusOK)
	}},
	{"more scopes are refused, and use nothing up", func(t *trial) {
		c := t.app()
		a := t.attempt(c, "launch/patient offline_access patient/Patient.rs")
		g := t.redeem(a, t.code(a))
		for _, more := range []string{"patient/Patient.rs patient/Coverage.rs", "patient/*.rs", "openid", "system/*.rs"} {
			t.wantError(t.do(t.refreshing(c, g.Refresh, more)), http.StatusBadRequest, "invalid_scope")
		}
		t.wantOpens(t.refresh(g, ""), true, "after that")
	}},
	{"the same scopes in the wording of v2 or v1 are no reason for another patient", func(t *trial) {
		c := t.app()
		a := t.attempt(c, "launch/patient offline_access patient/Patient.read")
		g := t.refresh(t.redeem(a, t.code(a)), "patient/Patient.read")
		if !strings.Contains(g.Scope, "patient/Patient.read") || g.Patient != t.Members[0].Patient {
			t.Errorf("scope is %q and patient %q", g.Scope, g.Patient)
		}
	}},
	{"a redirect in the request does not disturb", func(t *trial) {
		c := t.app()
		g := t.renewable(c)
		r := t.refreshing(c, g.Refresh, "")
		r.form.Set("redirect_uri", c.RedirectURIs[0])
		t.granted(g.attempt, t.do(r))
	}},
	{"a retry within the grace gets the same answer", func(t *trial) {
		if t.RefreshGrace < 2*time.Second {
			t.Skip("the target has no grace for a lost answer, or does not say so")
		}
		g := t.renewable(t.app())
		one, two := t.refresh(g, ""), t.refresh(g, "")
		if one.Access != two.Access || one.Refresh != two.Refresh {
			t.Error("the second answer has other tokens")
		}
		t.wantOpens(t.refresh(two, ""), true, "after a retry")
	}},
	{"used again after the grace ends everything", func(t *trial) {
		g := t.renewable(t.app())
		next := t.refresh(g, "")
		t.rotates(g, next)
		t.wait(t.RefreshGrace, "how long a lost answer of a refresh is repeated")
		t.wantError(t.do(t.refreshing(g.client, g.Refresh, "")), http.StatusBadRequest, "invalid_grant")
		t.wantOpens(next, false, "after the reuse")
		t.wantError(t.do(t.refreshing(g.client, next.Refresh, "")), http.StatusBadRequest, "invalid_grant")
	}},
	{"used again when its successor was used ends everything", func(t *trial) {
		g := t.renewable(t.app())
		next := t.refresh(g, "")
		t.rotates(g, next)
		last := t.refresh(next, "")
		t.wantError(t.do(t.refreshing(g.client, g.Refresh, "")), http.StatusBadRequest, "invalid_grant")
		t.wantOpens(last, false, "after the reuse")
		t.wantError(t.do(t.refreshing(g.client, last.Refresh, "")), http.StatusBadRequest, "invalid_grant")
	}},
	{"a reuse ends nothing of another grant", func(t *trial) {
		c := t.app()
		other := t.renewable(c)
		g := t.renewable(c)
		next := t.refresh(g, "")
		t.rotates(g, next)
		t.refresh(next, "")
		t.wantError(t.do(t.refreshing(c, g.Refresh, "")), http.StatusBadRequest, "invalid_grant")
		t.wantOpens(other, true, "after the reuse of a token of another grant")
	}},
	{"of 20 at once one makes tokens", func(t *trial) {
		g := t.renewable(t.app())
		won := t.race(20, func() *call { return t.refreshing(g.client, g.Refresh, "") })
		if len(won) == 0 {
			t.Fatal("none got tokens")
		}
		first := t.granted(g.attempt, won[0])
		if first.Refresh == "" || first.Refresh == g.Refresh {
			t.rotates(g, g)
		}
		if t.RefreshGrace == 0 && len(won) > 1 {
			t.Logf("%d answers had tokens: the server has a grace", len(won))
		}
		for _, a := range won {
			if next := t.granted(g.attempt, a); next.Refresh != first.Refresh || next.Access != first.Access {
				t.Error("two answers have different tokens")
			}
		}
		if len(won) == 20 {
			t.wantOpens(t.refresh(first, ""), true, "after the race")
		}
	}},
}
