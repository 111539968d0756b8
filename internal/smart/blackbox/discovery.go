package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// capabilityNames are those of SMART App Launch 2.2, Conformance.
var capabilityNames = []string{
	"launch-ehr", "launch-standalone", "authorize-post", "client-public", "client-confidential-symmetric",
	"client-confidential-asymmetric", "sso-openid-connect", "context-banner", "context-style", "context-ehr-patient",
	"context-ehr-encounter", "context-standalone-patient", "context-standalone-encounter", "permission-offline",
	"permission-online", "permission-patient", "permission-user", "permission-v1", "permission-v2", "smart-app-state",
}

var discovery = []check{
	{"smart-configuration has what SMART requires", func(t *trial) {
		a := t.get(t.FHIRBase + smartConfiguration)
		t.wantStatus(a, http.StatusOK)
		if a.mediaType() != "application/json" {
			t.Errorf("the type is %q", a.header.Get("Content-Type"))
		}
		o := a.object()
		for _, member := range []string{"authorization_endpoint", "token_endpoint", "grant_types_supported", "capabilities", "code_challenge_methods_supported"} {
			if o[member] == nil {
				t.Errorf("it has no %s", member)
			}
		}
		if slices.Contains(t.metadata.Capabilities, "sso-openid-connect") && (o["issuer"] == nil || o["jwks_uri"] == nil) {
			t.Error("with sso-openid-connect it must have issuer and jwks_uri")
		}
	}},
	{"it is there whatever the app accepts, and without a token", func(t *trial) {
		for _, accept := range []string{"", "*/*", "application/json", "application/fhir+json", "text/html"} {
			a := t.do(&call{url: t.FHIRBase + smartConfiguration, header: map[string]string{"Accept": accept, "Content-Type": "application/json"}})
			if a.status != http.StatusOK || a.mediaType() != "application/json" {
				t.Errorf("Accept %q: got %s as %q", accept, a, a.header.Get("Content-Type"))
			}
		}
	}},
	{"PKCE is S256 alone", func(t *trial) {
		for _, at := range []string{t.FHIRBase + smartConfiguration, t.Issuer + openidConfiguration} {
			var m metadata
			if err := json.Unmarshal(t.get(at).body, &m); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(m.Challenges, []string{"S256"}) {
				t.Errorf("%s: code_challenge_methods_supported is %v", at, m.Challenges)
			}
		}
	}},
	{"capabilities have names of SMART, and none twice", func(t *trial) {
		seen := map[string]bool{}
		for _, c := range t.metadata.Capabilities {
			if !slices.Contains(capabilityNames, c) {
				t.Errorf("%q is no capability of SMART App Launch 2.2", c)
			}
			if seen[c] {
				t.Errorf("%q is there twice", c)
			}
			seen[c] = true
		}
		if t.Capabilities == nil {
			return
		}
		got, want := slices.Sorted(slices.Values(t.metadata.Capabilities)), slices.Sorted(slices.Values(t.Capabilities))
		if !slices.Equal(got, want) {
			t.Errorf("capabilities are %v, want %v", got, want)
		}
	}},
	{"openid-configuration has what OpenID Connect requires", func(t *trial) {
		a := t.get(t.Issuer + openidConfiguration)
		t.wantStatus(a, http.StatusOK)
		if a.mediaType() != "application/json" {
			t.Errorf("the type is %q", a.header.Get("Content-Type"))
		}
		o := a.object()
		for _, member := range []string{"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported"} {
			if o[member] == nil {
				t.Errorf("it has no %s", member)
			}
		}
		if o["issuer"] != t.Issuer {
			t.Errorf("the issuer is %q, not exactly %q", o["issuer"], t.Issuer)
		}
		if !slices.Contains(t.metadata.openid(t).IDTokenAlgs, "RS256") {
			t.Error("id_token_signing_alg_values_supported has no RS256, which OpenID Connect requires")
		}
	}},
	{"both documents say the same", func(t *trial) {
		one, two := t.get(t.FHIRBase+smartConfiguration).object(), t.get(t.Issuer+openidConfiguration).object()
		for member, want := range one {
			got, ok := two[member]
			a, errA := json.Marshal(got)
			b, errB := json.Marshal(want)
			if ok && (errA != nil || errB != nil || string(a) != string(b)) {
				t.Errorf("%s is %s in one and %s in the other", member, b, a)
			}
		}
	}},
	{"endpoints are absolute, of one origin, and without a query", func(t *trial) {
		issuer, err := url.Parse(t.Issuer)
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"authorization_endpoint": t.metadata.Authorize, "token_endpoint": t.metadata.Token, "jwks_uri": t.metadata.JWKS,
			"introspection_endpoint": t.metadata.Introspect, "revocation_endpoint": t.metadata.Revoke, "registration_endpoint": t.metadata.Register,
		} {
			u, err := url.Parse(text)
			if text == "" {
				continue
			}
			if err != nil || !u.IsAbs() || strings.ContainsAny(text, "?#") || u.User != nil {
				t.Errorf("%s is %q", name, text)
				continue
			}
			if u.Host != issuer.Host || u.Scheme != issuer.Scheme {
				t.Errorf("%s is at %s, not at the issuer's %s", name, u.Host, issuer.Host)
			}
			if u.Scheme != "https" && !loopback(u.Hostname()) {
				t.Errorf("%s is not https", name)
			}
		}
	}},
	{"no flow is announced that RFC 9700 forbids", func(t *trial) {
		m := t.metadata.openid(t)
		for _, g := range slices.Concat(t.metadata.GrantTypes, m.GrantTypes) {
			if !slices.Contains([]string{"authorization_code", "refresh_token", "client_credentials"}, g) {
				t.Errorf("grant_types_supported has %q", g)
			}
		}
		for _, r := range slices.Concat(t.metadata.ResponseTypes, m.ResponseTypes) {
			if r != "code" {
				t.Errorf("response_types_supported has %q", r)
			}
		}
		for _, alg := range slices.Concat(m.IDTokenAlgs, m.AuthAlgs, t.metadata.AuthAlgs) {
			if alg == "none" || strings.HasPrefix(alg, "HS") {
				t.Errorf("an algorithm is %s", alg)
			}
		}
	}},
	{"keys are public, have a kid, and fit the algorithms", func(t *trial) {
		a := t.get(t.metadata.JWKS)
		t.wantStatus(a, http.StatusOK)
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(a.body, &set); err != nil || len(set.Keys) == 0 {
			t.Fatalf("there are no keys: %v", err)
		}
		seen := map[string]bool{}
		for _, k := range set.Keys {
			if !k.IsPublic() || !k.Valid() || k.KeyID == "" || seen[k.KeyID] {
				t.Errorf("the key %q is not public, not valid, or its kid is there twice", k.KeyID)
			}
			if k.Use != "" && k.Use != "sig" {
				t.Errorf("the use of the key %q is %q", k.KeyID, k.Use)
			}
			seen[k.KeyID] = true
		}
		for _, private := range []string{`"d":`, `"p":`, `"q":`, `"dp":`, `"dq":`, `"qi":`, `"k":`} {
			if strings.Contains(string(a.body), private) {
				t.Errorf("the keys have the private member %s", private)
			}
		}
	}},
	{"the CapabilityStatement names the same endpoints, or none", func(t *trial) {
		a := t.do(&call{url: t.FHIRBase + "/metadata", header: map[string]string{"Accept": "application/fhir+json"}})
		if a.status != http.StatusOK {
			t.Skipf("there is no CapabilityStatement without a token: %s", a)
		}
		for name, want := range map[string]string{"authorize": t.metadata.Authorize, "token": t.metadata.Token, "introspect": t.metadata.Introspect, "revoke": t.metadata.Revoke, "register": t.metadata.Register} {
			for _, got := range oauthURI(a.object(), name) {
				if got != want {
					t.Errorf("oauth-uris has %s %q, discovery %q", name, got, want)
				}
			}
		}
	}},
}

// openid are the metadata of the issuer by themselves.
func (m *metadata) openid(t *trial) (o metadata) {
	t.Helper()
	if err := json.Unmarshal(t.get(t.Issuer+openidConfiguration).body, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// oauthURI finds the URLs of the extension oauth-uris of SMART 1.0, wherever they are.
func oauthURI(v any, name string) (found []string) {
	switch v := v.(type) {
	case map[string]any:
		if u, ok := v["valueUri"].(string); ok && v["url"] == name {
			found = append(found, u)
		}
		for _, x := range v {
			found = append(found, oauthURI(x, name)...)
		}
	case []any:
		for _, x := range v {
			found = append(found, oauthURI(x, name)...)
		}
	}
	return found
}
