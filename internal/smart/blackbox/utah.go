package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
)

// Aliases of the endpoints, as Utah's documentation of its API has them.
const (
	utahAuthorize = "/sso/oauth2/authorize"
	utahToken     = "/sso/oauth2/access_token"
)

// origin is where the aliases are.
func (t *trial) origin() string {
	t.Helper()
	u, err := url.Parse(t.metadata.Token)
	if err != nil {
		t.Fatal(err)
	}
	return u.Scheme + "://" + u.Host
}

// threeParameters is all that an app of Utah's sends.
func (t *trial) threeParameters(c *Client) *attempt {
	t.Helper()
	return &attempt{client: c, query: url.Values{"client_id": {c.ID}, "redirect_uri": {c.RedirectURIs[0]}, "response_type": {"code"}}}
}

// askAt sends a request to an endpoint.
func (t *trial) askAt(browser *http.Client, endpoint string, a *attempt) *answer {
	t.Helper()
	return t.do(&call{url: endpoint + "?" + a.query.Encode(), client: browser})
}

// utahCode gets a code as an app of Utah's does.
func (t *trial) utahCode(c *Client, endpoint string) (*attempt, string) {
	t.Helper()
	a, browser := t.threeParameters(c), t.browser()
	back := t.decideAt(browser, t.askAt(browser, endpoint, a), t.member())
	if back.Query().Get("code") == "" {
		t.Fatalf("there is no code, but %q (%s)", back.Query().Get("error"), back.Query().Get("error_description"))
	}
	if back.Query().Has("state") {
		t.Error("there is a state, and none went")
	}
	return a, back.Query().Get("code")
}

// utahToken asks for tokens as an app of Utah's does: the type is JSON, whatever the body is.
func (t *trial) utahToken(c *Client, endpoint string, fields map[string]string, asForm bool) *answer {
	t.Helper()
	form := url.Values{}
	for k, v := range fields {
		form.Set(k, v)
	}
	body := form.Encode()
	if !asForm {
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		body = string(text)
	}
	return t.do(&call{method: http.MethodPost, url: endpoint, body: body, header: map[string]string{
		"Content-Type": "application/json", "Accept": "application/json", "Authorization": basic(c.ID, c.Secret)}})
}

func utahFields(c *Client, code string) map[string]string {
	return map[string]string{"code": code, "grant_type": "authorization_code", "redirect_url": c.RedirectURIs[0]}
}

var dialect = []check{
	{"three parameters, Basic, a body of JSON with redirect_url, and the aliases", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		a, code := t.utahCode(c, t.origin()+utahAuthorize)
		g := t.granted(a, t.utahToken(c, t.origin()+utahToken, utahFields(c, code), false))
		t.wantTokenResponse(g)
		if g.Patient != t.Members[0].Patient {
			t.Errorf("patient is %q, want %q", g.Patient, t.Members[0].Patient)
		}
		t.wantOpens(g, true, "a token of Utah's dialect")
	}},
	{"the same at the endpoints that discovery names", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		a, code := t.utahCode(c, t.metadata.Authorize)
		t.granted(a, t.utahToken(c, t.metadata.Token, utahFields(c, code), false))
	}},
	{"a form that is announced as JSON", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		a, code := t.utahCode(c, t.origin()+utahAuthorize)
		t.granted(a, t.utahToken(c, t.origin()+utahToken, utahFields(c, code), true))
	}},
	{"a form with redirect_url", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		a, code := t.utahCode(c, t.origin()+utahAuthorize)
		form := url.Values{"code": {code}, "grant_type": {"authorization_code"}, "redirect_url": {c.RedirectURIs[0]}}
		t.granted(a, t.do(&call{method: http.MethodPost, url: t.origin() + utahToken, form: form, header: map[string]string{"Authorization": basic(c.ID, c.Secret)}}))
	}},
	{"resources with content-type application/json on GET", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		a, code := t.utahCode(c, t.origin()+utahAuthorize)
		g := t.granted(a, t.utahToken(c, t.origin()+utahToken, utahFields(c, code), false))
		for _, path := range []string{"Patient/" + g.Patient, "ExplanationOfBenefit?_count=1", "Coverage?_count=1"} {
			r := t.do(&call{url: t.FHIRBase + "/" + path, header: map[string]string{
				"Content-Type": "application/json", "Accept": "application/json", "Authorization": "Bearer " + g.Access}})
			t.wantStatus(r, http.StatusOK)
		}
	}},
	{"such a client may also do as SMART says", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		t.wantTokenResponse(t.grant(c, "launch/patient openid fhirUser patient/Patient.rs"))
	}},
	{"its PKCE counts if it sends one", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		a := t.attempt(c, "launch/patient patient/Patient.rs")
		r := t.exchange(a, t.code(a))
		r.form.Set("code_verifier", random(32))
		t.wantError(t.do(r), http.StatusBadRequest, "invalid_grant", "invalid_request")
	}},
	{"its secret counts", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		_, code := t.utahCode(c, t.origin()+utahAuthorize)
		wrong := *c
		wrong.Secret = "wrong"
		t.wantUnknown(t.utahToken(&wrong, t.origin()+utahToken, utahFields(c, code), false))
		form := url.Values{"code": {code}, "grant_type": {"authorization_code"}, "redirect_url": {c.RedirectURIs[0]}, "client_id": {c.ID}}
		t.wantOAuthError(t.do(&call{method: http.MethodPost, url: t.origin() + utahToken, form: form}), "invalid_client")
	}},
	{"its redirect counts, under either name, and under both only if they agree", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		for _, edit := range []func(map[string]string){
			func(f map[string]string) { f["redirect_url"] = "https://evil.example/" },
			func(f map[string]string) { f["redirect_uri"] = "https://evil.example/" },
			func(f map[string]string) { delete(f, "redirect_url") },
		} {
			_, code := t.utahCode(c, t.origin()+utahAuthorize)
			fields := utahFields(c, code)
			edit(fields)
			t.wantError(t.utahToken(c, t.origin()+utahToken, fields, false), http.StatusBadRequest, "invalid_grant", "invalid_request")
		}
		for _, v := range variants(c.RedirectURIs[0])[:6] {
			a := t.threeParameters(c).set("redirect_uri", v.uri)
			if response := t.askAt(t.browser(), t.origin()+utahAuthorize, a); response.location() != nil || response.status < 400 || response.status > 499 {
				t.Errorf("%s: got %s, want a page", v.name, response)
			}
		}
	}},
	{"a code is used once here too", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		a, code := t.utahCode(c, t.origin()+utahAuthorize)
		g := t.granted(a, t.utahToken(c, t.origin()+utahToken, utahFields(c, code), false))
		t.wantError(t.utahToken(c, t.origin()+utahToken, utahFields(c, code), false), http.StatusBadRequest, "invalid_grant")
		t.wantOpens(g, false, "after the code was used again")
	}},
	{"denied is access_denied", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		a, browser, d := t.threeParameters(c), t.browser(), t.member()
		d.Deny = true
		t.wantRefusal(a, t.decideAt(browser, t.askAt(browser, t.origin()+utahAuthorize, a), d), "access_denied")
	}},
	{"bodies of JSON that are not fields with text are refused", func(t *trial) {
		c := t.need(t.Utah, "Utah")
		for _, body := range []string{"", "{", "[]", "null", `"x"`, `{"grant_type":1}`, `{"grant_type":{"a":1}}`, `{"grant_type":"authorization_code","code":["x"]}`,
			`{"grant_type":"authorization_code","grant_type":"client_credentials"}`, `{"grant_type":"authorization_code"} {}`} {
			a := t.do(&call{method: http.MethodPost, url: t.origin() + utahToken, body: body, header: map[string]string{"Content-Type": "application/json", "Authorization": basic(c.ID, c.Secret)}})
			t.wantError(a, http.StatusBadRequest)
		}
	}},
	{"no other client may leave out what SMART demands", func(t *trial) {
		for _, c := range []*Client{t.Public, t.Confidential, t.Asymmetric, t.Native} {
			if c == nil {
				continue
			}
			for _, endpoint := range []string{t.metadata.Authorize, t.origin() + utahAuthorize} {
				a := t.threeParameters(c)
				response := t.askAt(t.browser(), endpoint, a)
				if to := response.location(); to != nil && isAnswer(to) {
					t.wantRefusal(a, to, "invalid_request", "invalid_scope", "unauthorized_client")
				} else if response.status < 400 || response.status > 499 {
					t.Errorf("%s: got %s, want a refusal", c.ID, response)
				}
			}
		}
	}},
	{"no other client may send JSON or redirect_url", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		for _, endpoint := range []string{t.metadata.Token, t.origin() + utahToken} {
			a := t.attempt(c, c.scope())
			code := t.code(a)
			fields := utahFields(c, code)
			fields["code_verifier"] = a.verifier
			for _, asForm := range []bool{true, false} {
				if got := t.utahToken(c, endpoint, fields, asForm); got.status < 400 || got.status > 499 || got.text("access_token") != "" {
					t.Errorf("got %s, want a refusal", got)
				}
			}
			form := url.Values{"code": {code}, "grant_type": {"authorization_code"}, "redirect_url": {c.RedirectURIs[0]}, "code_verifier": {a.verifier}}
			got := t.do(&call{method: http.MethodPost, url: endpoint, form: form, header: map[string]string{"Authorization": basic(c.ID, c.Secret)}})
			if got.status < 400 || got.status > 499 || got.text("access_token") != "" {
				t.Errorf("a form with redirect_url: got %s, want a refusal", got)
			}
		}
	}},
}
