package blackbox

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// attempt is an authorization request of an app, with what the app keeps for itself.
type attempt struct {
	client   *Client
	query    url.Values
	verifier string
}

// attempt makes a request that a server must accept.
func (s *suite) attempt(c *Client, scope string) *attempt {
	a := &attempt{client: c, verifier: random(32)}
	a.query = url.Values{
		"response_type": {"code"}, "client_id": {c.ID}, "scope": {scope}, "state": {random(16)}, "aud": {s.FHIRBase},
		"code_challenge": {challenge(a.verifier)}, "code_challenge_method": {"S256"}, "nonce": {random(16)},
	}
	if len(c.RedirectURIs) > 0 {
		a.query.Set("redirect_uri", c.RedirectURIs[0])
	}
	return a
}

// set changes a parameter of a request; "" leaves it out.
func (a *attempt) set(name, value string) *attempt {
	a.query.Set(name, value)
	if value == "" {
		a.query.Del(name)
	}
	return a
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // it never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// withQuery is an endpoint with a query.
func withQuery(endpoint string, query string) string {
	if strings.Contains(endpoint, "?") {
		return endpoint + "&" + query
	}
	return endpoint + "?" + query
}

// ask sends the request of an app with a browser.
func (s *suite) ask(browser *http.Client, a *attempt) *answer {
	return s.do(&call{url: withQuery(s.metadata.Authorize, a.query.Encode()), client: browser})
}

// member is the one that most checks use, allowing what is asked for.
func (s *suite) member() *Decision { return &Decision{Member: s.Members[0]} }

// decide makes a request, has somebody decide, and returns where the browser is sent with the answer.
func (t *trial) decide(a *attempt, d *Decision) *url.URL {
	t.Helper()
	browser := t.browsers[d.Login]
	if browser == nil {
		browser = t.browser()
		t.browsers[d.Login] = browser
	}
	return t.decideWith(browser, a, d)
}

// decideWith is decide with a certain browser.
func (t *trial) decideWith(browser *http.Client, a *attempt, d *Decision) *url.URL {
	t.Helper()
	return t.decideAt(browser, t.ask(browser, a), d)
}

// decideAt is decide after the authorization endpoint has answered.
func (t *trial) decideAt(browser *http.Client, first *answer, d *Decision) *url.URL {
	t.Helper()
	if first.err != nil || first.status >= 400 {
		t.Fatalf("the request was refused: %s", first)
	}
	at := first.location()
	switch {
	case at == nil:
		at = first.url
	case isAnswer(at):
		return at
	}
	signIn := t.SignIn
	if signIn == nil {
		signIn = Forms
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	back, err := signIn(ctx, browser, at, d)
	if err != nil {
		t.Fatalf("nobody could decide: %v", err)
	}
	return back
}

// code lets a member allow a request, and returns the code.
func (t *trial) code(a *attempt) string {
	t.Helper()
	return t.codeOf(a, t.member())
}

func (t *trial) codeOf(a *attempt, d *Decision) string {
	t.Helper()
	back := t.decide(a, d)
	q := back.Query()
	if q.Get("code") == "" {
		t.Fatalf("there is no code, but %q (%s)", q.Get("error"), q.Get("error_description"))
	}
	if got, want := withoutQuery(back), a.query.Get("redirect_uri"); got != want && !strings.Contains(want, "?") {
		t.Fatalf("the code went to %s, not to %s", got, want)
	}
	if q.Get("state") != a.query.Get("state") {
		t.Fatalf("the state came back as %q, not %q", q.Get("state"), a.query.Get("state"))
	}
	return q.Get("code")
}

func withoutQuery(u *url.URL) string {
	v := *u
	v.RawQuery = ""
	return v.String()
}

// exchange is the request for tokens for a code.
func (s *suite) exchange(a *attempt, code string) *call {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "code_verifier": {a.verifier}}
	if r := a.query.Get("redirect_uri"); r != "" {
		form.Set("redirect_uri", r)
	}
	return s.authenticated(a.client, s.metadata.Token, form)
}

// authenticated is a request that a client makes for itself, at the token endpoint or another.
func (s *suite) authenticated(c *Client, endpoint string, form url.Values) *call {
	r := &call{method: http.MethodPost, url: endpoint, form: form, header: map[string]string{}}
	switch {
	case c.Secret != "":
		r.header["Authorization"] = basic(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	case len(c.Keys) > 0:
		form.Set("client_assertion_type", assertionType)
		form.Set("client_assertion", s.assertion(c, nil))
	default:
		form.Set("client_id", c.ID)
	}
	return r
}

// basic is HTTP Basic of what is given, whatever was done to it before (RFC 6749, 2.3.1).
func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// grant is what a token response gave.
type grant struct {
	*attempt
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
	Scope   string `json:"scope"`
	Patient string `json:"patient"`
	Type    string `json:"token_type"`
	Expires any    `json:"expires_in"`

	answer *answer
}

// redeem exchanges a code for tokens.
func (t *trial) redeem(a *attempt, code string) *grant {
	t.Helper()
	return t.granted(a, t.do(t.exchange(a, code)))
}

// granted reads a token response.
func (t *trial) granted(a *attempt, response *answer) *grant {
	t.Helper()
	t.wantStatus(response, http.StatusOK)
	g := &grant{attempt: a, answer: response}
	if err := json.Unmarshal(response.body, g); err != nil {
		t.Fatalf("%s: the token response is not as it should be: %v", response.request, err)
	}
	if g.Access == "" {
		t.Fatalf("%s: the token response has no access_token", response.request)
	}
	return g
}

// grant takes a member through the whole flow, and returns the tokens.
func (t *trial) grant(c *Client, scope string) *grant {
	t.Helper()
	return t.grantOf(c, scope, t.member())
}

func (t *trial) grantOf(c *Client, scope string, d *Decision) *grant {
	t.Helper()
	a := t.attempt(c, scope)
	return t.redeem(a, t.codeOf(a, d))
}

// refreshing is the request for new tokens; scope "" is all.
func (s *suite) refreshing(c *Client, token, scope string) *call {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return s.authenticated(c, s.metadata.Token, form)
}

// fhir reads something of the API with a token.
func (s *suite) fhir(token, path string) *answer {
	return s.do(&call{url: s.FHIRBase + "/" + path, header: map[string]string{"Authorization": "Bearer " + token, "Accept": "application/fhir+json"}})
}

// opens reports whether a token opens its member's Patient.
func (t *trial) opens(g *grant) bool {
	t.Helper()
	a := t.fhir(g.Access, "Patient/"+g.Patient)
	t.wantStatus(a, http.StatusOK, http.StatusUnauthorized)
	return a.status == http.StatusOK
}

func (t *trial) wantOpens(g *grant, want bool, why string) {
	t.Helper()
	if got := t.opens(g); got != want {
		t.Errorf("%s: the token opens the API: %t, want %t", why, got, want)
	}
}

// wantRefused fails a check unless the request of an app is refused with an answer that goes to the app: the
// registered redirect, an error, the state, and no code (RFC 6749, 4.1.2.1). No error is any.
func (t *trial) wantRefused(a *attempt, response *answer, errors ...string) {
	t.Helper()
	to := response.location()
	if to == nil || !isAnswer(to) {
		t.Fatalf("got %s, want an error that goes to the app", response)
	}
	t.wantRefusal(a, to, errors...)
}

func (t *trial) wantRefusal(a *attempt, to *url.URL, errors ...string) {
	t.Helper()
	q := to.Query()
	if got, want := withoutQuery(to), a.query.Get("redirect_uri"); got != want && !strings.Contains(want, "?") {
		t.Errorf("the error went to %s, not to %s", got, want)
	}
	if q.Has("code") {
		t.Error("the refusal has a code")
	}
	if q.Get("state") != a.query.Get("state") || len(q["state"]) > 1 {
		t.Errorf("the state came back as %q, not %q", q["state"], a.query.Get("state"))
	}
	if e := q.Get("error"); e == "" || len(errors) > 0 && !slices.Contains(errors, e) {
		t.Errorf("the error is %q (%s), want one of %v", e, q.Get("error_description"), errors)
	}
}

// wantPage fails a check unless the answer is a page that tells a person what is wrong, and no redirect.
func (t *trial) wantPage(response *answer) {
	t.Helper()
	if response.err != nil || response.status < 400 || response.status > 499 || response.header.Get("Location") != "" {
		t.Fatalf("got %s, want a page with a status of 4xx and no redirect", response)
	}
	if response.mediaType() != "text/html" {
		t.Errorf("%s: the type is %q: a person cannot read that", response, response.header.Get("Content-Type"))
	}
	if !strings.Contains(string(response.body), "<h1") {
		t.Errorf("%s: the page has no heading", response)
	}
}
