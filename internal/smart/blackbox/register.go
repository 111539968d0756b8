package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

// register sends the metadata of a client (RFC 7591, 3.1).
func (t *trial) register(edit func(m map[string]any)) *answer {
	t.Helper()
	if t.metadata.Register == "" {
		t.Skip("the server announces no registration")
	}
	m := map[string]any{
		"client_name": "Black-box app", "redirect_uris": []string{"https://app.example.org/callback"}, "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "scope": defaultScopes,
		"client_uri": "https://app.example.org/", "policy_uri": "https://app.example.org/privacy", "contacts": []string{"dev@example.org"},
	}
	if edit != nil {
		edit(m)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return t.do(&call{method: http.MethodPost, url: t.metadata.Register, body: string(text), header: map[string]string{"Content-Type": "application/json"}})
}

var registrations = []check{
	{"a client is registered, and can do nothing before it is approved", func(t *trial) {
		a := t.register(nil)
		t.wantStatus(a, http.StatusCreated)
		c := &Client{ID: a.text("client_id"), RedirectURIs: []string{"https://app.example.org/callback"}}
		if c.ID == "" || a.object()["client_secret"] != nil {
			t.Fatal("there is no client_id, or a secret for a public client")
		}
		t.wantPage(t.ask(t.browser(), t.attempt(c, defaultScopes)))
		t.wantOAuthError(t.do(t.exchange(t.attempt(c, defaultScopes), random(32))), "invalid_client", "unauthorized_client")
	}},
	{"the answer has what was registered", func(t *trial) {
		a := t.register(func(m map[string]any) { m["token_endpoint_auth_method"] = "client_secret_basic" })
		t.wantStatus(a, http.StatusCreated)
		o := a.object()
		if a.text("client_secret") == "" || o["client_secret_expires_at"] == nil {
			t.Error("client_secret or client_secret_expires_at is missing (RFC 7591, 3.2.1)")
		}
		if list, _ := o["redirect_uris"].([]any); !slices.Contains(list, any("https://app.example.org/callback")) {
			t.Errorf("redirect_uris is %v", o["redirect_uris"])
		}
		c := &Client{ID: a.text("client_id"), Secret: a.text("client_secret"), RedirectURIs: []string{"https://app.example.org/callback"}}
		t.wantOAuthError(t.do(t.exchange(t.attempt(c, defaultScopes), random(32))), "invalid_client", "unauthorized_client")
	}},
	{"redirects that are dangerous are refused", func(t *trial) {
		for _, uri := range []string{"javascript:alert(1)", "data:text/html,x", "http://app.example.org/callback", "https://app.example.org/#x", "/callback", "", "https://*.example.org/", "file:///etc/passwd"} {
			a := t.register(func(m map[string]any) { m["redirect_uris"] = []string{uri} })
			if a.status != http.StatusBadRequest {
				t.Errorf("%q: got %s, want 400", uri, a)
			} else if e := a.text("error"); e != "invalid_redirect_uri" && e != "invalid_client_metadata" {
				t.Errorf("%q: the error is %q", uri, e)
			}
		}
	}},
	{"metadata that cannot be are refused", func(t *trial) {
		for name, value := range map[string]any{
			"token_endpoint_auth_method": "magic", "grant_types": []string{"password"}, "response_types": []string{"token"}, "redirect_uris": "x",
			"client_name": 1, "jwks": "x", "jwks_uri": "http://169.254.169.254/latest/meta-data", "policy_uri": "javascript:alert(1)", "logo_uri": "javascript:alert(1)",
		} {
			if a := t.register(func(m map[string]any) { m[name] = value }); a.status != http.StatusBadRequest {
				t.Errorf("%s: got %s, want 400", name, a)
			}
		}
	}},
	{"bodies that are no metadata are refused", func(t *trial) {
		t.register(nil)
		for _, body := range []string{"", "{", "[]", "null", "x=1", "\x00"} {
			a := t.do(&call{method: http.MethodPost, url: t.metadata.Register, body: body, header: map[string]string{"Content-Type": "application/json"}})
			t.wantStatus(a, http.StatusBadRequest)
		}
		a := t.do(&call{method: http.MethodPost, url: t.metadata.Register, form: url.Values{"client_name": {"x"}}})
		t.wantStatus(a, http.StatusBadRequest, http.StatusUnsupportedMediaType)
		t.wantStatus(t.get(t.metadata.Register), http.StatusMethodNotAllowed)
	}},
}
