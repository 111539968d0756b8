package blackbox

import (
	"net/http"
	"net/url"
	"strings"
)

// appOrigin is where the first client's pages are: SMART wants CORS for registered apps.
func (t *trial) appOrigin() string {
	t.Helper()
	for _, c := range t.clientsWithRedirects() {
		for _, uri := range c.RedirectURIs {
			if u, err := url.Parse(uri); err == nil && u.Host != "" {
				return u.Scheme + "://" + u.Host
			}
		}
	}
	t.Skip("the target has no client with pages")
	return ""
}

const foreignOrigin = "https://evil.example"

// wantReadable fails a check unless scripts of an origin may read an answer.
func (t *trial) wantReadable(a *answer, origin string) {
	t.Helper()
	if a.err != nil {
		t.Fatalf("%s", a)
	}
	if got := a.header.Values("Access-Control-Allow-Origin"); len(got) != 1 || got[0] != "*" && got[0] != origin {
		t.Errorf("%s: Access-Control-Allow-Origin is %q for %s", a, got, origin)
	}
	if len(a.header.Values("Access-Control-Allow-Origin")) == 1 && a.header.Get("Access-Control-Allow-Origin") == origin && !strings.Contains(a.header.Get("Vary"), "Origin") {
		t.Errorf("%s: the answer depends on Origin, and Vary is %q", a, a.header.Get("Vary"))
	}
	t.wantNoCredentials(a, origin)
}

// wantNoCredentials fails a check if scripts of a foreign origin may read an answer with the cookies of the server.
func (t *trial) wantNoCredentials(a *answer, origin string) {
	t.Helper()
	if a.err == nil && origin == foreignOrigin && a.header.Get("Access-Control-Allow-Credentials") == "true" {
		t.Errorf("%s: scripts of %s may use the cookies of a person", a, origin)
	}
}

// preflight asks whether scripts of an origin may send a request (Fetch, CORS-preflight).
func (t *trial) preflight(at, method, origin, headers string) *answer {
	t.Helper()
	return t.do(&call{method: http.MethodOptions, url: at, header: map[string]string{
		"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}})
}

// scriptable are the endpoints that scripts of apps use.
func (t *trial) scriptable() map[string]string {
	m := map[string]string{
		t.FHIRBase + smartConfiguration: http.MethodGet, t.Issuer + openidConfiguration: http.MethodGet, t.metadata.JWKS: http.MethodGet,
		t.metadata.Token: http.MethodPost, t.FHIRBase + "/Patient/" + t.Members[0].Patient: http.MethodGet, t.FHIRBase + "/metadata": http.MethodGet,
		t.metadata.Revoke: http.MethodPost, t.metadata.Introspect: http.MethodPost,
	}
	delete(m, "")
	return m
}

var crossOrigin = []check{
	{"preflights are answered before anything else", func(t *trial) {
		origin := t.appOrigin()
		for at, method := range t.scriptable() {
			a := t.preflight(at, method, origin, "authorization,content-type")
			t.wantReadable(a, origin)
			if a.status != http.StatusNoContent && a.status != http.StatusOK {
				t.Errorf("got %s, want 204", a)
			}
			if m := a.header.Get("Access-Control-Allow-Methods"); m != "*" && !strings.Contains(m, method) {
				t.Errorf("%s: Access-Control-Allow-Methods is %q, without %s", a, m, method)
			}
			if h := strings.ToLower(a.header.Get("Access-Control-Allow-Headers")); !strings.Contains(h, "authorization") || !strings.Contains(h, "content-type") {
				t.Errorf("%s: Access-Control-Allow-Headers is %q", a, h)
			}
		}
	}},
	{"discovery and keys are for any origin", func(t *trial) {
		for _, at := range []string{t.FHIRBase + smartConfiguration, t.Issuer + openidConfiguration, t.metadata.JWKS} {
			a := t.do(&call{url: at, header: map[string]string{"Origin": foreignOrigin}})
			t.wantStatus(a, http.StatusOK)
			t.wantReadable(a, foreignOrigin)
		}
	}},
	{"tokens can be read by scripts of the app", func(t *trial) {
		c, origin := t.app(), t.appOrigin()
		a := t.attempt(c, c.scope())
		r := t.exchange(a, t.code(a))
		r.header["Origin"] = origin
		g := t.granted(a, t.do(r))
		t.wantReadable(g.answer, origin)
		t.wantNoCredentials(g.answer, foreignOrigin)
	}},
	{"errors can be read by scripts of the app", func(t *trial) {
		c, origin := t.app(), t.appOrigin()
		r := t.exchange(t.attempt(c, c.scope()), random(32))
		r.header["Origin"] = origin
		t.wantReadable(t.do(r), origin)
		for at, method := range t.scriptable() {
			for _, body := range []string{"", "%"} {
				t.wantReadable(t.do(&call{method: method, url: at, body: body, header: map[string]string{"Origin": origin, "Authorization": "Bearer x"}}), origin)
			}
		}
		t.wantReadable(t.do(&call{url: t.metadata.Token, header: map[string]string{"Origin": origin}}), origin) // 405
	}},
	{"resources can be read by scripts of the app, with ETag", func(t *trial) {
		c, origin := t.app(), t.appOrigin()
		g := t.grant(c, c.scope())
		a := t.do(&call{url: t.FHIRBase + "/Patient/" + g.Patient, header: map[string]string{"Origin": origin, "Authorization": "Bearer " + g.Access}})
		t.wantStatus(a, http.StatusOK)
		t.wantReadable(a, origin)
		if h := a.header.Get("Access-Control-Expose-Headers"); a.header.Get("ETag") != "" && h != "*" && !strings.Contains(strings.ToLower(h), "etag") {
			t.Errorf("Access-Control-Expose-Headers is %q, without ETag", h)
		}
	}},
	{"a foreign origin never gets credentials", func(t *trial) {
		for _, origin := range []string{foreignOrigin, "null"} {
			for at, method := range t.scriptable() {
				for _, a := range []*answer{t.preflight(at, method, origin, "authorization"), t.do(&call{method: method, url: at, header: map[string]string{"Origin": origin}})} {
					if a.header.Get("Access-Control-Allow-Credentials") == "true" {
						t.Errorf("%s: Access-Control-Allow-Credentials is true for %s", a, origin)
					}
				}
			}
		}
	}},
	{"pages that act for a person are not for scripts of others", func(t *trial) {
		for _, a := range []*answer{
			t.do(&call{url: t.metadata.Authorize, header: map[string]string{"Origin": foreignOrigin}}),
			t.preflight(t.metadata.Authorize, http.MethodPost, foreignOrigin, "content-type"),
		} {
			if a.header.Get("Access-Control-Allow-Credentials") == "true" {
				t.Errorf("%s: scripts of %s may use the cookies of a person", a, foreignOrigin)
			}
		}
	}},
}
