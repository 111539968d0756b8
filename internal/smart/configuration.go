package smart

import (
	"encoding/json"
	"slices"
)

// Configuration is the document at .well-known/smart-configuration of the API (SMART App Launch 2.2,
// Conformance) for an authorization server that is not ours. It claims what the metadata of the server says and
// what the API itself enforces; capabilities, unless there are none, are what to claim instead.
func (m *Metadata) Configuration(capabilities []string) []byte {
	if len(capabilities) == 0 {
		capabilities = m.capabilities()
	}
	c := struct {
		Issuer                string   `json:"issuer,omitempty"`
		JWKSURI               string   `json:"jwks_uri,omitempty"`
		AuthorizationEndpoint string   `json:"authorization_endpoint"`
		TokenEndpoint         string   `json:"token_endpoint"`
		IntrospectionEndpoint string   `json:"introspection_endpoint,omitempty"`
		RevocationEndpoint    string   `json:"revocation_endpoint,omitempty"`
		RegistrationEndpoint  string   `json:"registration_endpoint,omitempty"`
		TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported,omitempty"`
		SigningAlgs           []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
		GrantTypes            []string `json:"grant_types_supported"`
		ScopesSupported       []string `json:"scopes_supported,omitempty"`
		ResponseTypes         []string `json:"response_types_supported,omitempty"`
		CodeChallengeMethods  []string `json:"code_challenge_methods_supported"`
		Capabilities          []string `json:"capabilities"`
		Management            string   `json:"management_endpoint,omitempty"`
		Brands                string   `json:"user_access_brand_bundle,omitempty"`
	}{
		m.Issuer, m.JWKSURI, m.AuthorizationEndpoint, m.TokenEndpoint, m.IntrospectionEndpoint, m.RevocationEndpoint, m.RegistrationEndpoint,
		m.TokenAuthMethods, m.SigningAlgs, m.GrantTypes, m.ScopesSupported, m.ResponseTypes, []string{}, capabilities, m.Management, m.Brands,
	}
	if c.GrantTypes == nil { // the default of RFC 8414 without those that SMART does not have
		c.GrantTypes = []string{"authorization_code"}
	}
	if m.PKCE() {
		c.CodeChallengeMethods = []string{"S256"} // plain is never announced
	}
	text, err := json.Marshal(&c)
	if err != nil {
		panic(err) // texts always marshal
	}
	return text
}

// PKCE reports whether the server says that it takes PKCE with S256, which SMART requires.
func (m *Metadata) PKCE() bool { return slices.Contains(m.CodeChallengeMethods, "S256") }

// capabilities are those that follow from the metadata.
func (m *Metadata) capabilities() []string {
	has := func(list []string, these ...string) bool {
		return slices.ContainsFunc(these, func(x string) bool { return slices.Contains(list, x) })
	}
	list := []string{"launch-standalone", "context-standalone-patient", "permission-patient", "permission-v1", "permission-v2"}
	for _, x := range []struct {
		name string
		is   bool
	}{
		{"client-public", has(m.TokenAuthMethods, "none")},
		{"client-confidential-symmetric", m.TokenAuthMethods == nil || has(m.TokenAuthMethods, "client_secret_basic", "client_secret_post")},
		{"client-confidential-asymmetric", has(m.TokenAuthMethods, "private_key_jwt")},
		{"sso-openid-connect", has(m.ScopesSupported, "openid") && m.JWKSURI != ""},
		{"permission-offline", has(m.ScopesSupported, "offline_access")},
		{"permission-user", has(m.ScopesSupported, "user/*.read", "user/*.rs", "user/Patient.read", "user/Patient.rs")},
	} {
		if x.is {
			list = append(list, x.name)
		}
	}
	return list
}
