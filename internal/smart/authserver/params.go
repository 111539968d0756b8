package authserver

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
)

// single are the parameters of OAuth and OpenID Connect that may come once at most (RFC 6749, 3.1 and 3.2).
var single = []string{
	"client_id", "client_secret", "response_type", "redirect_uri", "redirect_url", "scope", "state", "nonce", "aud", "code", "code_challenge",
	"code_challenge_method", "code_verifier", "grant_type", "refresh_token", "client_assertion", "client_assertion_type", "token", "token_type_hint",
	"prompt", "max_age", "response_mode", "request", "request_uri", "launch",
}

// repeated is the first of the parameters that came more than once, "" if none did.
func repeated(v url.Values) string {
	for _, name := range single {
		if len(v[name]) > 1 {
			return name
		}
	}
	return ""
}

// members reads the texts of a JSON object, each as often as it comes.
func members(text []byte) (url.Values, error) {
	wrong := invalid("invalid_request", "the body is no JSON object")
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, wrong
	}
	v := url.Values{}
	for d.More() {
		name, err := d.Token()
		var x any
		if err != nil || d.Decode(&x) != nil {
			return nil, wrong
		}
		if s, ok := x.(string); ok {
			v.Add(name.(string), s)
		}
	}
	return v, nil
}

// secretParams are what must not stand in a URL, which is kept in logs and histories (RFC 6749, 2.3.1).
var secretParams = []string{"client_id", "client_secret", "client_assertion", "code", "code_verifier", "refresh_token", "token", "access_token", "grant_type", "username", "password"}

// form reads the parameters of a call. dialect lets them come as JSON, as the pages of Utah's API show it; whether
// the client may use that is decided when it is known.
func form(r *http.Request, dialect bool) (v url.Values, asJSON bool, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, false, invalid("invalid_request", "the query of the URL cannot be read")
	}
	for name := range query {
		if slices.Contains(secretParams, name) {
			return nil, false, invalid("invalid_request", "send the parameters in the body of the request; they must not be in the URL")
		}
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	asJSON = err == nil && kind == "application/json"
	if err != nil || kind != "application/x-www-form-urlencoded" && !(asJSON && dialect) {
		return nil, false, invalid("invalid_request", "send the parameters as application/x-www-form-urlencoded")
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, false, &fault{status: http.StatusRequestEntityTooLarge, code: "invalid_request", text: "the body is too long"}
	}
	// Utah's pages show curl with a JSON content type and a form as its body, and with JSON: both are read.
	if asJSON && json.Valid(text) {
		if v, err = members(text); err != nil {
			return nil, false, err
		}
	} else if v, err = url.ParseQuery(string(text)); err != nil {
		return nil, false, invalid("invalid_request", "the body cannot be read as a form")
	}
	if name := repeated(v); name != "" {
		return nil, false, invalid("invalid_request", "the parameter "+name+" comes more than once")
	}
	return v, asJSON, nil
}
