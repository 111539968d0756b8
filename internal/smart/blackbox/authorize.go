package blackbox

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// refusedWith is a check that a request with one parameter changed is refused, with an answer that goes to the app.
func refusedWith(name, parameter, value string, errors ...string) check {
	return check{name, func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope()).set(parameter, value)
		t.wantRefused(a, t.ask(t.browser(), a), errors...)
	}}
}

// refusedOf is refusedWith for a value that depends on the target.
func refusedOf(name, parameter string, value func(t *trial, a *attempt) string, errors ...string) check {
	return check{name, func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		a.set(parameter, value(t, a))
		t.wantRefused(a, t.ask(t.browser(), a), errors...)
	}}
}

var authorization = []check{
	{"GET gives a code", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		t.redeem(a, t.code(a))
	}},
	{"POST gives a code", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		browser := t.browser()
		first := t.do(&call{method: http.MethodPost, url: t.metadata.Authorize, form: a.query, client: browser})
		if at := first.location(); at != nil && (first.status == http.StatusTemporaryRedirect || first.status == http.StatusPermanentRedirect) {
			t.Errorf("%s would repeat the POST", first)
		}
		back := t.decideAt(browser, first, t.member())
		t.redeem(a, back.Query().Get("code"))
	}},
	{"POST from a page of the app gives a code", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope())
		browser := t.browser()
		first := t.do(&call{method: http.MethodPost, url: t.metadata.Authorize, form: a.query, client: browser,
			header: map[string]string{"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}})
		t.redeem(a, t.decideAt(browser, first, t.member()).Query().Get("code"))
	}},
	{"PUT and DELETE are not allowed", func(t *trial) {
		for _, m := range []string{http.MethodPut, http.MethodDelete} {
			t.wantStatus(t.do(&call{method: m, url: t.metadata.Authorize}), http.StatusMethodNotAllowed)
		}
	}},
	refusedWith("without a response type", "response_type", "", "invalid_request", "unsupported_response_type"),
	refusedWith("response type token", "response_type", "token", "unsupported_response_type", "invalid_request", "unauthorized_client"),
	refusedWith("response type code token", "response_type", "code token", "unsupported_response_type", "invalid_request", "unauthorized_client"),
	refusedWith("response type id_token", "response_type", "id_token", "unsupported_response_type", "invalid_request", "unauthorized_client"),
	refusedWith("response type CODE", "response_type", "CODE", "unsupported_response_type", "invalid_request"),
	refusedWith("response mode fragment", "response_mode", "fragment", "invalid_request", "unsupported_response_mode"),

	// PKCE (RFC 7636; RFC 9700, 2.1.1).
	{"a public client without PKCE", func(t *trial) {
		c := t.need(t.Public, "public")
		a := t.attempt(c, c.scope()).set("code_challenge", "").set("code_challenge_method", "")
		t.wantRefused(a, t.ask(t.browser(), a), "invalid_request")
	}},
	{"a confidential client without PKCE is refused, or its code takes no verifier (RFC 9700, 4.8.2)", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		a := t.attempt(c, c.scope()).set("code_challenge", "").set("code_challenge_method", "")
		if response := t.ask(t.browser(), a); response.location() != nil && isAnswer(response.location()) {
			t.wantRefused(a, response, "invalid_request")
			return
		}
		t.wantError(t.do(t.exchange(a, t.code(a))), http.StatusBadRequest, "invalid_grant", "invalid_request")
		r := t.exchange(a, t.code(a))
		r.form.Del("code_verifier")
		t.granted(a, t.do(r))
	}},
	refusedWith("PKCE plain", "code_challenge_method", "plain", "invalid_request"),
	refusedWith("a challenge without a method, which means plain", "code_challenge_method", "", "invalid_request"),
	refusedWith("a method that does not exist", "code_challenge_method", "S512", "invalid_request"),
	refusedWith("the method in small letters", "code_challenge_method", "s256", "invalid_request"),
	refusedWith("a method without a challenge", "code_challenge", "", "invalid_request"),
	refusedWith("a challenge that is too short", "code_challenge", strings.Repeat("a", 42), "invalid_request"),
	refusedWith("a challenge that is too long", "code_challenge", strings.Repeat("a", 129), "invalid_request"),
	refusedWith("a challenge with other characters", "code_challenge", strings.Repeat("a", 42)+"+", "invalid_request"),
	refusedWith("a challenge with padding", "code_challenge", strings.Repeat("a", 43)+"=", "invalid_request"),

	// aud (SMART App Launch, Obtain authorization code): a token must not go to a server that pretends.
	{"aud with a slash at its end", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope()).set("aud", strings.TrimRight(t.FHIRBase, "/")+"/")
		t.redeem(a, t.code(a))
	}},
	{"aud without a slash at its end", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope()).set("aud", strings.TrimRight(t.FHIRBase, "/"))
		t.redeem(a, t.code(a))
	}},
	{"without aud", func(t *trial) {
		if t.AudienceOptional {
			t.Skip("the target takes requests without aud")
		}
		c := t.app()
		a := t.attempt(c, c.scope()).set("aud", "")
		t.wantRefused(a, t.ask(t.browser(), a), "invalid_request", "invalid_target")
	}},
	refusedWith("a foreign aud", "aud", "https://fhir.example.org/r4", "invalid_request", "invalid_target", "access_denied"),
	refusedOf("an aud that begins like ours", "aud", func(t *trial, _ *attempt) string { return t.FHIRBase + ".example.org" }, "invalid_request", "invalid_target", "access_denied"),
	refusedOf("an aud below ours", "aud", func(t *trial, _ *attempt) string { return t.FHIRBase + "/../other" }, "invalid_request", "invalid_target", "access_denied"),
	refusedOf("an aud with our name as its user", "aud", func(t *trial, _ *attempt) string {
		return strings.Replace(t.FHIRBase, "://", "://example.org@", 1)
	}, "invalid_request", "invalid_target", "access_denied"),

	// Clients. There is nowhere to send the browser, so a person must be told (RFC 6749, 4.1.2.1).
	{"an unknown client gets a page", func(t *trial) {
		a := t.attempt(t.app(), "openid").set("client_id", "nobody-"+random(8))
		t.wantPage(t.ask(t.browser(), a))
	}},
	{"no client gets a page", func(t *trial) {
		t.wantPage(t.ask(t.browser(), t.attempt(t.app(), "openid").set("client_id", "")))
		t.wantPage(t.get(t.metadata.Authorize))
	}},
	{"a disabled client gets a page", func(t *trial) {
		t.wantPage(t.ask(t.browser(), t.attempt(t.need(t.Disabled, "disabled"), "openid")))
	}},
	{"a client of backend services gets a page", func(t *trial) {
		c := t.need(t.Backend, "backend")
		a := t.attempt(c, "patient/*.rs").set("redirect_uri", t.app().RedirectURIs[0])
		t.wantPage(t.ask(t.browser(), a))
	}},
	{"what a request says is not part of the page's markup", func(t *trial) {
		const probe = `"><script>alert(1)</script>`
		for _, name := range []string{"client_id", "redirect_uri"} {
			a := t.ask(t.browser(), t.attempt(t.app(), "openid").set(name, "x"+probe))
			t.wantPage(a)
			if strings.Contains(string(a.body), "<script>alert") {
				t.Errorf("%s stands in the page as it came", name)
			}
		}
	}},

	// A parameter must not be there twice (RFC 6749, 3.1): which one counts would depend on the reader.
	{"parameters that are there twice", func(t *trial) {
		c := t.app()
		for _, name := range []string{"scope", "state", "response_type", "aud", "code_challenge", "code_challenge_method", "nonce"} {
			a := t.attempt(c, c.scope())
			a.query.Add(name, a.query.Get(name))
			response := t.ask(t.browser(), a)
			if to := response.location(); to != nil && isAnswer(to) {
				if to.Query().Has("code") || to.Query().Get("error") != "invalid_request" {
					t.Errorf("%s twice: got %s, want invalid_request", name, response)
				}
			} else if response.status != http.StatusBadRequest {
				t.Errorf("%s twice: got %s, want invalid_request", name, response)
			}
		}
		for _, name := range []string{"client_id", "redirect_uri"} {
			a := t.attempt(c, c.scope())
			a.query.Add(name, a.query.Get(name))
			if response := t.ask(t.browser(), a); response.status != http.StatusBadRequest || response.location() != nil {
				t.Errorf("%s twice: got %s, want a page", name, response)
			}
		}
	}},

	// Request objects (OpenID Connect Core, 6) would bring parameters in that nobody checks.
	refusedWith("a request object", "request", "eyJhbGciOiJub25lIn0.e30.", "request_not_supported", "invalid_request"),
	refusedWith("a request object elsewhere", "request_uri", "https://example.org/request", "request_uri_not_supported", "invalid_request"),

	// What an app asks about the sign-in (OpenID Connect Core, 3.1.2.1).
	refusedWith("prompt none where nobody has signed in", "prompt", "none", "login_required", "interaction_required", "consent_required"),
	refusedWith("prompt none with another", "prompt", "none login"),
	{"prompt login asks for the password again", func(t *trial) { t.wantLogin("prompt", "login") }},
	{"max_age 0 asks for the password again", func(t *trial) { t.wantLogin("max_age", "0") }},
	{"a max_age that is no number is refused or does not count", func(t *trial) {
		c := t.app()
		for _, age := range []string{"soon", "-1", "1e9", "99999999999999999999"} {
			a := t.attempt(c, c.scope()).set("max_age", age)
			if response := t.ask(t.browser(), a); response.location() != nil && isAnswer(response.location()) {
				t.wantRefused(a, response, "invalid_request")
			} else {
				t.wantStatus(response, http.StatusOK, http.StatusFound, http.StatusSeeOther)
			}
		}
	}},
	{"prompt consent and a long max_age do not disturb", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope()).set("prompt", "consent").set("max_age", "86400").set("login_hint", "x").set("ui_locales", "es").set("display", "page")
		t.redeem(a, t.code(a))
	}},
	{"parameters that nobody knows do not disturb", func(t *trial) {
		c := t.app()
		a := t.attempt(c, c.scope()).set("utm_source", "x").set("launch_type", "y")
		t.redeem(a, t.code(a))
	}},

	// What is long or not text.
	{"6 KB of scopes", func(t *trial) {
		c := t.app()
		var list []string
		for i := 0; len(strings.Join(list, " ")) < 6<<10; i++ {
			list = append(list, fmt.Sprintf("patient/Observation.rs?category=c%d", i))
		}
		a := t.attempt(c, strings.Join(list, " "))
		if response := t.ask(t.browser(), a); response.status != http.StatusBadRequest && response.status != http.StatusRequestURITooLong {
			t.wantRefused(a, response, "invalid_scope", "invalid_request")
		}
	}},
	{"100 KB of anything", func(t *trial) {
		c := t.app()
		for _, name := range []string{"scope", "state", "nonce", "client_id", "redirect_uri", "aud", "x"} {
			a := t.attempt(c, "openid").set(name, strings.Repeat("a", 100<<10))
			if response := t.do(&call{method: http.MethodPost, url: t.metadata.Authorize, form: a.query}); response.err != nil || response.status >= 500 {
				t.Errorf("%s: got %s", name, response)
			}
		}
	}},
	{"what is no query", func(t *trial) {
		c := t.app()
		good := t.attempt(c, "openid").query.Encode()
		for _, q := range []string{"%", "%zz=1", "a=%ff%fe", ";", "&&&", "client_id=%00", good + "&scope=%", good + ";x=1", good + "&state=%ff%00"} {
			if response := t.get(withQuery(t.metadata.Authorize, q)); response.err != nil || response.status >= 500 {
				t.Errorf("%q: got %s", q, response)
			}
		}
	}},
}

// wantLogin fails a check unless somebody who has signed in is asked for the password again.
func (t *trial) wantLogin(parameter, value string) {
	t.Helper()
	if t.SignIn != nil {
		t.Skip("the target's pages are not known")
	}
	c, browser := t.app(), t.browser()
	t.decideWith(browser, t.attempt(c, c.scope()), t.member())
	page := func(a *attempt) *page {
		first := t.ask(browser, a)
		p, back, err := visit(t.Context(), browser, urlOr(first.location(), first.url))
		if err != nil || back != nil {
			t.Fatalf("there is no page: %v", err)
		}
		return p
	}
	if f := page(t.attempt(c, c.scope())).form(false); f == nil || f.login != "" {
		t.Fatal("the password is asked for although nothing says so: this check would see nothing")
	}
	if f := page(t.attempt(c, c.scope()).set(parameter, value)).form(false); f == nil || f.login == "" {
		t.Errorf("%s=%s does not ask for the password", parameter, value)
	}
}

func urlOr(u, otherwise *url.URL) *url.URL {
	if u == nil {
		return otherwise
	}
	return u
}
