package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// systemScope is what a client of backend services asks for.
func systemScope(c *Client) string {
	for _, s := range c.Scopes {
		if strings.HasPrefix(s, "system/") {
			return s
		}
	}
	return "system/Patient.rs"
}

// credentials asks for a token without a member (SMART App Launch, Backend Services).
func (t *trial) credentials(c *Client, scope string) *answer {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return t.do(t.authenticated(c, t.metadata.Token, form))
}

var backends = []check{
	{"a token for system scopes", func(t *trial) {
		c := t.need(t.Backend, "backend")
		a := t.credentials(c, systemScope(c))
		t.wantStatus(a, http.StatusOK)
		o := a.object()
		n, ok := o["expires_in"].(json.Number)
		if seconds, err := n.Int64(); !ok || err != nil || seconds <= 0 || seconds > 300 {
			t.Errorf("expires_in is %v, want at most 300", o["expires_in"])
		}
		if !strings.EqualFold(a.text("token_type"), "bearer") || a.text("scope") == "" || a.text("access_token") == "" {
			t.Error("token_type, scope or access_token is not as it should be")
		}
		for _, member := range []string{"refresh_token", "id_token", "patient"} {
			if o[member] != nil {
				t.Errorf("there is a %s", member)
			}
		}
		if !strings.Contains(a.header.Get("Cache-Control"), "no-store") {
			t.Errorf("Cache-Control is %q", a.header.Get("Cache-Control"))
		}
		t.wantStatus(t.fhir(a.text("access_token"), "Patient/"+t.Members[0].Patient), http.StatusOK)
	}},
	{"it opens what its scopes say, and nothing else", func(t *trial) {
		c := t.need(t.Backend, "backend")
		a := t.credentials(c, "system/Patient.rs")
		t.wantStatus(a, http.StatusOK)
		if got := a.text("scope"); got != "system/Patient.rs" {
			t.Fatalf("scope is %q", got)
		}
		t.wantStatus(t.fhir(a.text("access_token"), "Coverage?_count=1"), http.StatusForbidden)
	}},
	{"patient scopes, and others that need a member, are refused", func(t *trial) {
		c := t.need(t.Backend, "backend")
		for _, scope := range []string{"patient/*.rs", "patient/Patient.read", "user/*.rs", "launch/patient", "openid fhirUser", "offline_access", "nonsense", ""} {
			t.wantError(t.credentials(c, scope), http.StatusBadRequest, "invalid_scope", "invalid_request")
		}
	}},
	{"of system and patient scopes the patient ones are not given", func(t *trial) {
		c := t.need(t.Backend, "backend")
		a := t.credentials(c, "system/Patient.rs patient/Patient.rs offline_access")
		if a.status != http.StatusOK {
			t.wantError(a, http.StatusBadRequest, "invalid_scope")
			return
		}
		if got := strings.Fields(a.text("scope")); !slices.Equal(got, []string{"system/Patient.rs"}) {
			t.Errorf("scope is %q", got)
		}
	}},
	{"writing is not given", func(t *trial) {
		c := t.need(t.Backend, "backend")
		t.wantError(t.credentials(c, "system/Patient.cud system/*.write"), http.StatusBadRequest, "invalid_scope")
	}},
	{"no other client may", func(t *trial) {
		for _, c := range []*Client{t.Public, t.Confidential, t.Asymmetric, t.Native, t.Utah} {
			if c != nil && c != t.Backend {
				t.wantOAuthError(t.credentials(c, "system/*.rs"), "unauthorized_client", "invalid_client", "invalid_scope")
			}
		}
	}},
	{"its assertion counts for the token endpoint only once", func(t *trial) {
		c := t.need(t.Backend, "backend")
		r := t.authenticated(c, t.metadata.Token, url.Values{"grant_type": {"client_credentials"}, "scope": {systemScope(c)}})
		t.wantStatus(t.do(r), http.StatusOK)
		t.wantRejected(t.do(r))
	}},
}
