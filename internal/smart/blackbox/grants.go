package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// asks is the client that introspects: it has credentials.
func (t *trial) asks() *Client {
	t.Helper()
	if t.metadata.Introspect == "" {
		t.Skip("the server announces no introspection")
	}
	if t.Confidential != nil {
		return t.Confidential
	}
	return t.need(t.Asymmetric, "confidential or asymmetric")
}

func (t *trial) introspect(c *Client, token string) *answer {
	t.Helper()
	return t.do(t.authenticated(c, t.metadata.Introspect, url.Values{"token": {token}}))
}

// wantActive fails a check unless a token is found active or not. What is not active tells nothing else.
func (t *trial) wantActive(a *answer, want bool) {
	t.Helper()
	t.wantStatus(a, http.StatusOK)
	o := a.object()
	if got, ok := o["active"].(bool); !ok || got != want {
		t.Errorf("active is %v, want %t", o["active"], want)
	}
	if !want && len(o) != 1 {
		t.Errorf("it tells %d things of a token that is not active", len(o)-1)
	}
	if a.mediaType() != "application/json" || !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
		t.Errorf("the type is %q and Cache-Control %q", a.header.Get("Content-Type"), a.header.Get("Cache-Control"))
	}
}

var introspections = []check{
	{"a token that is valid", func(t *trial) {
		c := t.asks()
		g := t.grant(c, c.scope())
		a := t.introspect(c, g.Access)
		t.wantActive(a, true)
		o := a.object()
		n, ok := o["exp"].(json.Number)
		if exp, err := n.Int64(); !ok || err != nil || exp <= time.Now().Unix() {
			t.Errorf("exp is %v", o["exp"])
		}
		if o["client_id"] != c.ID || o["iss"] != t.Issuer || o["patient"] != g.Patient {
			t.Errorf("client_id is %v, iss %v, patient %v", o["client_id"], o["iss"], o["patient"])
		}
		if s, _ := o["sub"].(string); s == "" {
			t.Errorf("sub is %v", o["sub"])
		}
		if s, _ := o["scope"].(string); s != g.Scope {
			t.Errorf("scope is %q, the token response had %q", s, g.Scope)
		}
	}},
	{"one with the wording of v1", func(t *trial) {
		c := t.asks()
		g := t.grant(c, "launch/patient patient/Patient.read")
		if s := t.introspect(c, g.Access).text("scope"); s != g.Scope || !strings.Contains(s, "patient/Patient.read") {
			t.Errorf("scope is %q, the token response had %q", s, g.Scope)
		}
	}},
	{"tokens that nobody was given are not active, and no error", func(t *trial) {
		c := t.asks()
		for _, token := range []string{"x", random(32), "a.b.c", strings.Repeat("x", 10_000), "\x00"} {
			t.wantActive(t.introspect(c, token), false)
		}
	}},
	{"a token that was revoked is not active", func(t *trial) {
		c := t.asks()
		g := t.grant(c, c.scope())
		t.revoke(c, g.Access)
		t.wantActive(t.introspect(c, g.Access), false)
	}},
	{"a wrong hint does not disturb", func(t *trial) {
		c := t.asks()
		g := t.grant(c, c.scope())
		r := t.authenticated(c, t.metadata.Introspect, url.Values{"token": {g.Access}, "token_type_hint": {"refresh_token"}})
		t.wantActive(t.do(r), true)
	}},
	{"nobody asks without credentials", func(t *trial) {
		c := t.asks()
		g := t.grant(c, c.scope())
		t.wantStatus(t.do(&call{method: http.MethodPost, url: t.metadata.Introspect, form: url.Values{"token": {g.Access}}}), http.StatusUnauthorized, http.StatusBadRequest)
		t.wantStatus(t.do(&call{method: http.MethodPost, url: t.metadata.Introspect, form: url.Values{"token": {g.Access}},
			header: map[string]string{"Authorization": basic(c.ID, "wrong")}}), http.StatusUnauthorized)
	}},
	{"GET is refused", func(t *trial) {
		t.asks()
		t.wantStatus(t.get(t.metadata.Introspect+"?token=x"), http.StatusMethodNotAllowed)
	}},
	{"no token is invalid_request", func(t *trial) {
		c := t.asks()
		t.wantError(t.do(t.authenticated(c, t.metadata.Introspect, url.Values{})), http.StatusBadRequest, "invalid_request")
	}},
	{"a token of somebody else's app is not told to a public client", func(t *trial) {
		t.asks()
		c := t.need(t.Public, "public")
		owner := t.need(t.Confidential, "confidential")
		g := t.grant(owner, owner.scope())
		if a := t.introspect(c, g.Access); a.object()["active"] == true {
			t.Error("a client without credentials learns of the token of another")
		}
	}},
}

// revoke ends a token, and demands that this succeeds.
func (t *trial) revoke(c *Client, token string) {
	t.Helper()
	if t.metadata.Revoke == "" {
		t.Skip("the server announces no revocation")
	}
	t.wantStatus(t.do(t.authenticated(c, t.metadata.Revoke, url.Values{"token": {token}})), http.StatusOK)
}

var revocations = []check{
	{"an access token, at once", func(t *trial) {
		c := t.app()
		g := t.grant(c, c.scope())
		t.wantOpens(g, true, "before")
		t.revoke(c, g.Access)
		t.wantOpens(g, false, "after the revocation")
		t.revoke(c, g.Access)
	}},
	{"a refresh token, and with it the access token", func(t *trial) {
		c := t.app()
		g := t.renewable(c)
		t.wantOpens(g, true, "before")
		t.revoke(c, g.Refresh)
		t.wantOpens(g, false, "after the revocation of the refresh token")
		t.wantError(t.do(t.refreshing(c, g.Refresh, "")), http.StatusBadRequest, "invalid_grant")
		t.revoke(c, g.Refresh)
	}},
	{"a refresh token that was rotated ends what came of it", func(t *trial) {
		c := t.app()
		g := t.renewable(c)
		next := t.refresh(g, "")
		t.revoke(c, next.Refresh)
		t.wantOpens(g, false, "the first access token")
		t.wantOpens(next, false, "the second access token")
	}},
	{"an unknown token is no error", func(t *trial) {
		for _, token := range []string{"x", random(32), strings.Repeat("x", 10_000), "\x00"} {
			t.revoke(t.app(), token)
		}
	}},
	{"a wrong hint does not disturb", func(t *trial) {
		c := t.app()
		g := t.renewable(c)
		if t.metadata.Revoke == "" {
			t.Skip("the server announces no revocation")
		}
		for _, hint := range []string{"access_token", "nonsense"} {
			a := t.do(t.authenticated(c, t.metadata.Revoke, url.Values{"token": {g.Refresh}, "token_type_hint": {hint}}))
			if hint == "nonsense" && a.status == http.StatusBadRequest && a.text("error") == "unsupported_token_type" {
				continue // RFC 7009, 2.2.1
			}
			t.wantStatus(a, http.StatusOK)
		}
		t.wantOpens(g, false, "after the revocation with a wrong hint")
	}},
	{"each kind of client", func(t *trial) {
		for _, c := range []*Client{t.Public, t.Confidential, t.Asymmetric} {
			if c == nil {
				continue
			}
			g := t.grant(c, c.scope())
			t.revoke(c, g.Access)
			t.wantOpens(g, false, "after the revocation")
		}
	}},
	{"the token of another client stays", func(t *trial) {
		one, two := t.need(t.Public, "public"), t.need(t.Confidential, "confidential")
		for _, pair := range [][2]*Client{{one, two}, {two, one}} {
			g := t.renewable(pair[0])
			for _, token := range []string{g.Access, g.Refresh} {
				a := t.do(t.authenticated(pair[1], t.metadata.Revoke, url.Values{"token": {token}}))
				if a.status != http.StatusOK && a.status != http.StatusBadRequest {
					t.Errorf("got %s, want 200 or 400", a)
				}
			}
			t.wantOpens(g, true, "after another client tried to revoke it")
			t.refresh(g, "")
		}
	}},
	{"nobody revokes without authentication", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		g := t.grant(c, c.scope())
		if t.metadata.Revoke == "" {
			t.Skip("the server announces no revocation")
		}
		for _, form := range []url.Values{{"token": {g.Access}}, {"token": {g.Access}, "client_id": {c.ID}}} {
			t.wantOAuthError(t.do(&call{method: http.MethodPost, url: t.metadata.Revoke, form: form}), "invalid_client", "invalid_request")
		}
		t.wantUnknown(t.do(&call{method: http.MethodPost, url: t.metadata.Revoke, form: url.Values{"token": {g.Access}}, header: map[string]string{"Authorization": basic(c.ID, "wrong")}}))
		t.wantOpens(g, true, "after that")
	}},
	{"GET is refused", func(t *trial) {
		if t.metadata.Revoke == "" {
			t.Skip("the server announces no revocation")
		}
		t.wantStatus(t.get(t.metadata.Revoke+"?token=x"), http.StatusMethodNotAllowed)
	}},
	{"no token is invalid_request", func(t *trial) {
		if t.metadata.Revoke == "" {
			t.Skip("the server announces no revocation")
		}
		t.wantError(t.do(t.authenticated(t.app(), t.metadata.Revoke, url.Values{})), http.StatusBadRequest, "invalid_request")
	}},
	{"other grants of the app stay", func(t *trial) {
		c := t.app()
		other := t.grantOf(c, c.scope(), &Decision{Member: t.second()})
		g := t.renewable(c)
		t.revoke(c, g.Refresh)
		t.wantOpens(other, true, "the grant of another member")
	}},
}
