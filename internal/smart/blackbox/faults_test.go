package blackbox_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"cpcds2fhir/internal/smart/blackbox"
)

// fault is something that a server does wrong. Either func may be nil.
type fault struct {
	seen  []string // checks that must see it: group/name
	ask   func(f *faulty, x *exchange)
	reply func(f *faulty, x *exchange)
}

// exchange is a request with its form, and its answer. A status that ask sets is the answer: the server is not asked.
type exchange struct {
	path   string // of the endpoint, without the server
	method string
	query  url.Values
	form   url.Values
	header http.Header

	status int
	reply  http.Header
	body   string
}

// faulty is a server with a fault.
type faulty struct {
	fault  *fault
	target *blackbox.Target
	next   http.RoundTripper

	mu   sync.Mutex
	seen map[string]exchange // answers by code or refresh token
}

func (f *faulty) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte{}
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	x := &exchange{path: r.URL.Path, method: r.Method, query: r.URL.Query(), header: r.Header.Clone()}
	before := ""
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		x.form, _ = url.ParseQuery(string(body))
		before = x.form.Encode()
	}
	query := x.query.Encode()
	if f.fault.ask != nil {
		f.fault.ask(f, x)
	}
	if x.status == 0 {
		q := r.Clone(r.Context())
		q.Method, q.Header = x.method, x.header
		if x.query.Encode() != query {
			q.URL.RawQuery = x.query.Encode()
		}
		if x.form != nil && x.form.Encode() != before {
			body = []byte(x.form.Encode())
		}
		q.Body, q.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		resp, err := f.next.RoundTrip(q)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		x.status, x.reply, x.body = resp.StatusCode, resp.Header, string(text)
		if f.fault.reply != nil {
			f.fault.reply(f, x)
		}
	}
	return &http.Response{StatusCode: x.status, Header: x.reply, Body: io.NopCloser(strings.NewReader(x.body)), Request: r, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(x.body))}, nil
}

func (x *exchange) is(suffix string) bool { return strings.HasSuffix(x.path, suffix) }

// answer makes an answer instead of the server's.
func (x *exchange) answer(status int, body string, header ...string) {
	x.status, x.body, x.reply = status, body, http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Pragma": {"no-cache"}}
	for i := 0; i+1 < len(header); i += 2 {
		x.reply.Set(header[i], header[i+1])
	}
}

// again repeats the answer for a value that was there before.
func again(key string) (ask, reply func(*faulty, *exchange)) {
	return func(f *faulty, x *exchange) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if old, ok := f.seen[x.form.Get(key)]; ok && x.is("/token") {
				x.status, x.reply, x.body = old.status, old.reply, old.body
			}
		}, func(f *faulty, x *exchange) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.seen == nil {
				f.seen = map[string]exchange{}
			}
			if k := x.form.Get(key); k != "" && x.status == http.StatusOK {
				f.seen[k] = *x
			}
		}
}

func repeating(key string, seen ...string) *fault {
	f := &fault{seen: seen}
	f.ask, f.reply = again(key)
	return f
}

// asking and replying are faults on the way to an endpoint, and from it.
func asking(suffix string, edit func(f *faulty, x *exchange), seen ...string) *fault {
	return &fault{seen: seen, ask: func(f *faulty, x *exchange) {
		if x.is(suffix) {
			edit(f, x)
		}
	}}
}

func replying(suffix string, edit func(f *faulty, x *exchange), seen ...string) *fault {
	return &fault{seen: seen, reply: func(f *faulty, x *exchange) {
		if x.is(suffix) {
			edit(f, x)
		}
	}}
}

// parameters are those of a request for authorization, wherever they are.
func (x *exchange) parameters() url.Values {
	if x.form != nil {
		return x.form
	}
	return x.query
}

var faults = map[string]*fault{
	"takes PKCE plain": asking("/authorize", func(_ *faulty, x *exchange) {
		if p := x.parameters(); p.Get("code_challenge") != "" {
			p.Set("code_challenge_method", "S256")
		}
	}, "authorize/PKCE plain", "authorize/a challenge without a method, which means plain"),
	"does not look at aud": asking("/authorize", func(f *faulty, x *exchange) { x.parameters().Set("aud", f.target.FHIRBase) },
		"authorize/without aud", "authorize/a foreign aud", "authorize/an aud that begins like ours"),
	"takes the first of two values": asking("/authorize", func(_ *faulty, x *exchange) {
		for k, v := range x.parameters() {
			x.parameters()[k] = v[:1]
		}
	}, "authorize/parameters that are there twice", "redirect/two redirects get a page"),
	"does not see request objects": asking("/authorize", func(_ *faulty, x *exchange) { x.parameters().Del("request") }, "authorize/a request object"),
	"sends errors to any redirect": replying("/authorize", func(_ *faulty, x *exchange) {
		if to := x.parameters().Get("redirect_uri"); x.status == http.StatusBadRequest && to != "" {
			x.answer(http.StatusFound, "", "Location", to+"?error=invalid_request")
		}
	}, "redirect/what looks like a registered redirect gets nothing", "authorize/an unknown client gets a page"),
	"reads state once too often": replying("", func(_ *faulty, x *exchange) {
		u, err := url.Parse(x.reply.Get("Location"))
		if err != nil || !u.Query().Has("state") {
			return
		}
		q := u.Query()
		q.Set("state", strings.ReplaceAll(q.Get("state"), "+", " "))
		u.RawQuery = q.Encode()
		x.reply.Set("Location", u.String())
	}, "state/a state comes back with an error as it went", "state/a state comes back with a code as it went"),
	"allows what was denied": asking("/consent", func(_ *faulty, x *exchange) {
		if x.form.Get("decision") == "deny" {
			x.form.Set("decision", "allow")
		}
	}, "consent/denied is access_denied and the state"),
	"can be framed": replying("", func(_ *faulty, x *exchange) {
		x.reply.Del("Content-Security-Policy")
		x.reply.Del("X-Frame-Options")
	}, "page/pages cannot be framed, are not kept, and tell nobody their URL"),
	"takes any secret": asking("/token", func(f *faulty, x *exchange) {
		if c := f.target.Confidential; strings.HasPrefix(x.header.Get("Authorization"), "Basic ") && c != nil {
			x.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.ID+":"+c.Secret)))
		}
	}, "client/a wrong secret is invalid_client, with 401 and WWW-Authenticate", "client/a public client has no secret"),
	"takes credentials from the query": asking("/token", func(_ *faulty, x *exchange) {
		for k, v := range x.query {
			if x.form != nil {
				x.form[k] = v
			}
		}
		clear(x.query)
	}, "client/credentials in the query are refused"),
	"answers 400 without WWW-Authenticate": replying("/token", func(_ *faulty, x *exchange) {
		if x.status == http.StatusUnauthorized {
			x.status = http.StatusBadRequest
			x.reply.Del("WWW-Authenticate")
		}
	}, "client/a wrong secret is invalid_client, with 401 and WWW-Authenticate"),
	"takes any assertion": replying("/token", func(_ *faulty, x *exchange) {
		if x.form.Has("client_assertion") && x.status == http.StatusUnauthorized {
			x.answer(http.StatusBadRequest, `{"error":"invalid_grant"}`)
		}
	}, "assertion/alg none", "assertion/expired", "assertion/a jti that was used", "assertion/for another server", "assertion/of 20 at once with one jti one is accepted"),
	"lets tokens be kept": replying("/token", func(_ *faulty, x *exchange) { x.reply.Del("Cache-Control") }, "token/members and headers of the response"),
	"counts seconds in a text": replying("/token", func(_ *faulty, x *exchange) {
		x.body = strings.Replace(x.body, `"expires_in":`, `"expires_in":"1","x":`, 1)
	}, "token/members and headers of the response"),
	"redeems codes again": repeating("code", "code/a code that is used again ends what it gave"),
	"does not look at codes and verifiers": replying("/token", func(_ *faulty, x *exchange) {
		if x.form.Has("code") && x.status == http.StatusBadRequest {
			x.answer(http.StatusOK, `{"access_token":"x","token_type":"bearer"}`)
		}
	}, "code/a wrong verifier is invalid_grant", "code/of 2 at once one is redeemed", "code/of 50 at once one is redeemed", "code/a code of another client is invalid_grant"),
	"refreshes again":     repeating("refresh_token", "refresh/used again when its successor was used ends everything"),
	"widens at a refresh": asking("/token", func(_ *faulty, x *exchange) { x.form.Del("scope") }, "refresh/more scopes are refused, and use nothing up", "refresh/fewer scopes are for the access token only"),
	"forgets to revoke": asking("/revoke", func(_ *faulty, x *exchange) { x.answer(http.StatusOK, "{}") }, "revoke/an access token, at once", "revoke/a refresh token, and with it the access token",
		"introspect/a token that was revoked is not active"),
	"finds every token active": replying("/introspect", func(_ *faulty, x *exchange) { x.body = strings.Replace(x.body, `"active":false`, `"active":true`, 1) },
		"introspect/tokens that nobody was given are not active, and no error"),
	"signs with another key": replying("/jwks", func(_ *faulty, x *exchange) { x.body = strings.ReplaceAll(x.body, `"kid":"`, `"kid":"other-`) },
		"openid/signed by a published key, with the claims of OpenID Connect"),
	"opens everybody's data": asking("", func(f *faulty, x *exchange) {
		if i := strings.LastIndex(x.path, "/Patient/"); i > 0 && x.path[i+9:] != f.target.Members[0].Patient {
			x.answer(http.StatusOK, `{"resourceType":"Patient"}`)
		}
	}, "resource/and nobody else's"),
	"lends its cookies": replying("", func(_ *faulty, x *exchange) { x.reply.Set("Access-Control-Allow-Credentials", "true") }, "cors/a foreign origin never gets credentials"),
	"has no CORS on errors": replying("", func(_ *faulty, x *exchange) {
		if x.status >= 400 {
			x.reply.Del("Access-Control-Allow-Origin")
		}
	}, "cors/errors can be read by scripts of the app"),
	"speaks Utah's dialect with everybody": replying("", func(_ *faulty, x *exchange) {
		if strings.HasPrefix(x.header.Get("Content-Type"), "application/json") && x.status == http.StatusBadRequest {
			x.answer(http.StatusOK, `{"access_token":"x","token_type":"bearer"}`)
		}
	}, "utah/no other client may send JSON or redirect_url", "client/a body of JSON is 400, and says what is wrong"),
	"gives backend tokens for patients' scopes": replying("/token", func(_ *faulty, x *exchange) {
		if x.form.Get("grant_type") == "client_credentials" {
			x.answer(http.StatusOK, `{"access_token":"x","token_type":"bearer","expires_in":300,"scope":"patient/*.rs"}`)
		}
	}, "backend/patient scopes, and others that need a member, are refused", "backend/no other client may"),
	"announces what it has not": replying("/smart-configuration", func(_ *faulty, x *exchange) {
		x.body = strings.Replace(x.body, `"capabilities":[`, `"capabilities":["launch-ehr",`, 1)
	},
		"capability/each that is announced is tested above"),
	"announces plain": replying("-configuration", func(_ *faulty, x *exchange) { x.body = strings.Replace(x.body, `["S256"]`, `["S256","plain"]`, 1) }, "discovery/PKCE is S256 alone"),
	"names another issuer": replying("-configuration", func(_ *faulty, x *exchange) {
		x.body = strings.Replace(x.body, `"issuer":"`, `"issuer":"https://x.`, 1)
	},
		"discovery/openid-configuration has what OpenID Connect requires"),
	"tells of its database": replying("/token", func(_ *faulty, x *exchange) {
		if x.status == http.StatusBadRequest {
			x.body = `{"error":"invalid_grant","error_description":"sql: no rows in result set"}`
		}
	}, "errors/no answer of all these tests tells how the server is made, or is 5xx"),
}
