package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// withSecret is the client with a secret, and a request for tokens with a code of its own.
func (t *trial) withSecret() (*Client, *attempt, url.Values) {
	t.Helper()
	c := t.need(t.Confidential, "confidential")
	a := t.attempt(c, c.scope())
	form := t.exchange(a, t.code(a)).form
	return c, a, form
}

// noCode is a request for tokens with a code that nobody was given: a client that authenticates gets invalid_grant.
func (t *trial) noCode(c *Client) url.Values {
	t.Helper()
	return t.exchange(t.attempt(c, c.scope()), random(32)).form
}

func (t *trial) post(form url.Values, authorization string) *answer {
	t.Helper()
	r := &call{method: http.MethodPost, url: t.metadata.Token, form: form, header: map[string]string{}}
	if authorization != "" {
		r.header["Authorization"] = authorization
	}
	return t.do(r)
}

// wantUnknown fails a check unless a client did not authenticate with HTTP Basic (RFC 6749, 5.2).
func (t *trial) wantUnknown(a *answer) {
	t.Helper()
	t.wantError(a, http.StatusUnauthorized, "invalid_client")
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic") {
		t.Errorf("%s: WWW-Authenticate is %q, not Basic", a, a.header.Get("WWW-Authenticate"))
	}
}

var clientAuthentication = []check{
	{"Basic, encoded as forms are", func(t *trial) {
		c, a, form := t.withSecret()
		t.granted(a, t.post(form, basic(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))))
	}},
	{"Basic, as it is", func(t *trial) {
		c, a, form := t.withSecret()
		t.granted(a, t.post(form, basic(c.ID, c.Secret)))
	}},
	{"Basic in small letters", func(t *trial) {
		c, a, form := t.withSecret()
		t.granted(a, t.post(form, "basic "+strings.TrimPrefix(basic(c.ID, c.Secret), "Basic ")))
	}},
	{"Basic, and the same client_id in the body", func(t *trial) {
		c, a, form := t.withSecret()
		form.Set("client_id", c.ID)
		t.granted(a, t.post(form, basic(c.ID, c.Secret)))
	}},
	{"Basic, and another client_id in the body", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		form := t.noCode(c)
		form.Set("client_id", "somebody-else")
		t.wantOAuthError(t.post(form, basic(c.ID, c.Secret)), "invalid_client", "invalid_request")
	}},
	{"post", func(t *trial) {
		c, a, form := t.withSecret()
		form.Set("client_id", c.ID)
		form.Set("client_secret", c.Secret)
		t.granted(a, t.post(form, ""))
	}},
	{"both ways at once are refused", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		form := t.noCode(c)
		form.Set("client_id", c.ID)
		form.Set("client_secret", c.Secret)
		t.wantOAuthError(t.post(form, basic(c.ID, c.Secret)), "invalid_request", "invalid_client")
	}},
	{"credentials in the query are refused", func(t *trial) {
		c, _, form := t.withSecret()
		query := url.Values{"client_id": {c.ID}, "client_secret": {c.Secret}}.Encode()
		t.wantOAuthError(t.do(&call{method: http.MethodPost, url: t.metadata.Token + "?" + query, form: form}), "invalid_client", "invalid_request")
		t.wantOAuthError(t.do(&call{method: http.MethodPost, url: t.metadata.Token + "?client_secret=" + url.QueryEscape(c.Secret),
			form: form, header: map[string]string{"Authorization": basic(c.ID, c.Secret)}}), "invalid_client", "invalid_request")
	}},
	{"a code in the query is refused", func(t *trial) {
		c, _, form := t.withSecret()
		a := t.do(&call{method: http.MethodPost, url: t.metadata.Token + "?" + form.Encode(), form: url.Values{}, header: map[string]string{"Authorization": basic(c.ID, c.Secret)}})
		t.wantOAuthError(a, "invalid_request", "unsupported_grant_type")
	}},
	{"GET is refused", func(t *trial) {
		c, _, form := t.withSecret()
		form.Set("client_id", c.ID)
		form.Set("client_secret", c.Secret)
		for _, at := range []string{t.metadata.Token, t.metadata.Token + "?" + form.Encode()} {
			a := t.get(at)
			t.wantStatus(a, http.StatusMethodNotAllowed)
			if !strings.Contains(a.header.Get("Allow"), "POST") {
				t.Errorf("%s: Allow is %q", a, a.header.Get("Allow"))
			}
		}
	}},
	{"a wrong secret is invalid_client, with 401 and WWW-Authenticate", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		for _, secret := range []string{"", "x", c.Secret + "x", c.Secret[:len(c.Secret)-1], strings.ToUpper(c.Secret) + "_", " " + c.Secret, c.Secret + "\x00", c.ID, strings.Repeat("x", 5000)} {
			t.wantUnknown(t.post(t.noCode(c), basic(c.ID, secret)))
		}
	}},
	{"a wrong secret in the body is invalid_client", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		for _, secret := range []string{"x", c.Secret + "x"} {
			form := t.noCode(c)
			form.Set("client_id", c.ID)
			form.Set("client_secret", secret)
			t.wantOAuthError(t.post(form, ""), "invalid_client")
		}
	}},
	{"an unknown client looks like a wrong secret", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		unknown, wrong := t.post(t.noCode(c), basic("nobody-"+random(6), "x")), t.post(t.noCode(c), basic(c.ID, "x"))
		t.wantUnknown(unknown)
		if string(unknown.body) != string(wrong.body) {
			t.Errorf("the answers differ, so they tell which clients exist: %s and %s", unknown, wrong)
		}
	}},
	{"no authentication at all is invalid_client", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		t.wantOAuthError(t.post(t.noCode(c), ""), "invalid_client", "invalid_request")
		form := t.noCode(c)
		form.Set("client_id", c.ID)
		t.wantOAuthError(t.post(form, ""), "invalid_client")
	}},
	{"Authorization that is no Basic is invalid_client", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		for _, h := range []string{"Basic", "Basic ", "Basic !!!", "Basic " + "eA==", "Bearer x", "Negotiate x", basic("", ""), basic("%zz", "%zz")} {
			t.wantOAuthError(t.post(t.noCode(c), h), "invalid_client", "invalid_request")
		}
	}},
	{"a public client has no secret", func(t *trial) {
		c := t.need(t.Public, "public")
		t.wantOAuthError(t.post(t.noCode(c), basic(c.ID, "guess")), "invalid_client")
		form := t.noCode(c)
		form.Set("client_secret", "guess")
		t.wantOAuthError(t.post(form, ""), "invalid_client", "invalid_request")
	}},
	{"a public client is known by its id alone", func(t *trial) {
		t.wantError(t.post(t.noCode(t.need(t.Public, "public")), ""), http.StatusBadRequest, "invalid_grant")
	}},
	{"a disabled client is invalid_client", func(t *trial) {
		c := t.need(t.Disabled, "disabled")
		t.wantOAuthError(t.do(t.exchange(t.attempt(c, c.scope()), random(32))), "invalid_client", "unauthorized_client")
	}},
	{"a client that did not authenticate does not use up its code", func(t *trial) {
		c, a, form := t.withSecret()
		t.wantUnknown(t.post(form, basic(c.ID, "wrong")))
		wrong := cloned(form)
		wrong.Set("client_id", c.ID)
		wrong.Set("client_secret", "wrong")
		t.wantOAuthError(t.post(wrong, ""), "invalid_client")
		form.Set("client_id", c.ID)
		form.Set("client_secret", c.Secret)
		t.granted(a, t.post(form, ""))
	}},
	{"a body of JSON is 400, and says what is wrong", func(t *trial) {
		c, _, form := t.withSecret()
		o := map[string]string{}
		for k := range form {
			o[k] = form.Get(k)
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		a := t.do(&call{method: http.MethodPost, url: t.metadata.Token, body: string(text),
			header: map[string]string{"Authorization": basic(c.ID, c.Secret), "Content-Type": "application/json"}})
		t.wantError(a, http.StatusBadRequest, "invalid_request")
		if !strings.Contains(a.text("error_description"), "x-www-form-urlencoded") {
			t.Errorf("the description is %q: it does not say which type to send", a.text("error_description"))
		}
	}},
	{"bodies that are no form are refused", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		for _, b := range []struct{ kind, body string }{
			{"", "grant_type=authorization_code"}, {"text/plain", "grant_type=authorization_code"}, {"application/x-www-form-urlencoded", "%"},
			{"application/x-www-form-urlencoded", "grant_type=%zz"}, {"application/x-www-form-urlencoded", ""}, {"multipart/form-data; boundary=x", "--x--"},
			{"application/xml", "<x/>"}, {"application/x-www-form-urlencoded", "a;b"}, {"application/x-www-form-urlencoded", "\x00\xff"},
		} {
			a := t.do(&call{method: http.MethodPost, url: t.metadata.Token, body: b.body, header: map[string]string{"Authorization": basic(c.ID, c.Secret), "Content-Type": b.kind}})
			if a.status != http.StatusUnsupportedMediaType {
				t.wantOAuthError(a, "invalid_request", "unsupported_grant_type", "invalid_grant")
			}
		}
	}},
	{"a body of 10 MB is refused", func(t *trial) {
		a := t.do(&call{method: http.MethodPost, url: t.metadata.Token, body: "grant_type=authorization_code&code=" + strings.Repeat("x", 10<<20),
			header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}})
		if a.err == nil && (a.status < 400 || a.status >= 500) {
			t.Errorf("got %s", a)
		}
	}},
	{"grant types that SMART does not have are refused", func(t *trial) {
		c := t.need(t.Confidential, "confidential")
		for _, g := range []string{"password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:device_code", "AUTHORIZATION_CODE", "x"} {
			form := url.Values{"grant_type": {g}, "username": {t.Members[0].Login}, "password": {t.Members[0].Password}, "scope": {"patient/*.rs"}}
			t.wantError(t.post(form, basic(c.ID, c.Secret)), http.StatusBadRequest, "unsupported_grant_type", "unauthorized_client")
		}
		t.wantError(t.post(url.Values{"code": {"x"}}, basic(c.ID, c.Secret)), http.StatusBadRequest, "invalid_request")
	}},
	{"parameters that are there twice are refused", func(t *trial) {
		c, _, form := t.withSecret()
		for name := range form {
			twice := cloned(form)
			twice.Add(name, twice.Get(name))
			t.wantError(t.post(twice, basic(c.ID, c.Secret)), http.StatusBadRequest, "invalid_request")
		}
	}},
	{"parameters that nobody knows do not disturb", func(t *trial) {
		c, a, form := t.withSecret()
		form.Set("x", "y")
		form.Set("scope", "openid")
		form.Set("state", "z")
		t.granted(a, t.post(form, basic(c.ID, c.Secret)))
	}},
	{"a charset in the type does not disturb", func(t *trial) {
		c, a, form := t.withSecret()
		t.granted(a, t.do(&call{method: http.MethodPost, url: t.metadata.Token, body: form.Encode(),
			header: map[string]string{"Authorization": basic(c.ID, c.Secret), "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}}))
	}},
}

func cloned(form url.Values) url.Values {
	c := url.Values{}
	for k, v := range form {
		c[k] = append([]string(nil), v...)
	}
	return c
}
