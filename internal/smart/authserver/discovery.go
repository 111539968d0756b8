package authserver

import (
	"net/http"

	"cpcds2fhir/internal/smart"
)

// Metadata is what the server says about itself.
func (s *Server) Metadata() *smart.Metadata {
	m := &smart.Metadata{
		Issuer: s.Issuer, AuthorizationEndpoint: s.Issuer + AuthorizePath, TokenEndpoint: s.Issuer + TokenPath,
		IntrospectionEndpoint: s.Issuer + IntrospectPath, RevocationEndpoint: s.Issuer + RevokePath, JWKSURI: s.Issuer + KeysPath,
		ScopesSupported: scopesSupported, ResponseTypes: []string{"code"}, GrantTypes: []string{"authorization_code", "refresh_token", "client_credentials"},
		TokenAuthMethods: []string{"none", "client_secret_basic", "client_secret_post", "private_key_jwt"},
		SigningAlgs:      []string{"RS384", "ES384"}, CodeChallengeMethods: []string{"S256"},
	}
	if s.Registration {
		m.RegistrationEndpoint = s.Issuer + RegisterPath
	}
	return m
}

// scopesSupported are examples for apps that read them; what can be asked for has no end, as scopes can be narrowed.
var scopesSupported = []string{
	"openid", "fhirUser", "launch/patient", "offline_access", "patient/*.rs", "patient/*.read", "user/*.rs", "user/*.read",
	"patient/Patient.rs", "patient/Coverage.rs", "patient/ExplanationOfBenefit.rs", "patient/Organization.rs", "patient/Practitioner.rs",
	"patient/Patient.read", "patient/Coverage.read", "patient/ExplanationOfBenefit.read", "patient/Organization.read", "patient/Practitioner.read",
	"system/*.rs", "system/*.read",
}

// Capabilities are those of SMART App Launch 2.2 that the server has, each with a test that is named after it.
var Capabilities = []string{
	"launch-standalone", "client-public", "client-confidential-symmetric", "client-confidential-asymmetric", "sso-openid-connect",
	"context-standalone-patient", "permission-offline", "permission-patient", "permission-user", "permission-v1", "permission-v2", "authorize-post",
}

// Configuration is the document at .well-known/smart-configuration of the API (SMART App Launch 2.2, Conformance).
func (s *Server) Configuration() []byte {
	m := s.Metadata()
	m.Brands = s.Issuer + BrandsPath
	m.Management = s.Issuer + "/apps"
	return m.Configuration(Capabilities)
}

// discovery answers /.well-known/openid-configuration (OpenID Connect Discovery, 3; RFC 8414).
func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	public5min(w)
	reply(w, http.StatusOK, struct {
		*smart.Metadata
		ResponseModes   []string `json:"response_modes_supported"`
		Subjects        []string `json:"subject_types_supported"`
		IDTokenAlgs     []string `json:"id_token_signing_alg_values_supported"`
		Claims          []string `json:"claims_supported"`
		IssParameter    bool     `json:"authorization_response_iss_parameter_supported"`
		ClaimsParameter bool     `json:"claims_parameter_supported"`
		Request         bool     `json:"request_parameter_supported"`
		RequestURI      bool     `json:"request_uri_parameter_supported"`
	}{
		Metadata: s.Metadata(), ResponseModes: []string{"query"}, Subjects: []string{"public"}, IDTokenAlgs: []string{"RS256", "ES384"},
		Claims: []string{"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "fhirUser"}, IssParameter: true,
	})
}
