package authserver

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/smart/clientrules"
)

// registration is the metadata of a client (RFC 7591, 2).
type registration struct {
	ClientID      string          `json:"client_id,omitempty"`
	ClientSecret  string          `json:"client_secret,omitempty"`
	SecretExpires *int64          `json:"client_secret_expires_at,omitempty"`
	IssuedAt      int64           `json:"client_id_issued_at,omitempty"`
	RedirectURIs  []string        `json:"redirect_uris"`
	AuthMethod    string          `json:"token_endpoint_auth_method"`
	GrantTypes    []string        `json:"grant_types"`
	ResponseTypes []string        `json:"response_types"`
	Name          string          `json:"client_name"`
	Kind          string          `json:"application_type,omitempty"` // web or native
	Homepage      string          `json:"client_uri,omitempty"`
	Logo          string          `json:"logo_uri,omitempty"`
	Policy        string          `json:"policy_uri,omitempty"`
	Terms         string          `json:"tos_uri,omitempty"`
	Scope         string          `json:"scope,omitempty"`
	Contacts      []string        `json:"contacts,omitempty"`
	JWKSURI       string          `json:"jwks_uri,omitempty"`
	JWKS          json.RawMessage `json:"jwks,omitempty"`
	IDTokenAlg    string          `json:"id_token_signed_response_alg,omitempty"`
}

// register keeps a client that registers itself (RFC 7591). It is held: it can do nothing until somebody of the
// agency has approved it.
func (s *Server) register(w http.ResponseWriter, r *http.Request) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var in registration
	switch d := json.NewDecoder(r.Body); {
	case err != nil || kind != "application/json":
		s.fail(w, r, invalid("invalid_client_metadata", "send the metadata as application/json"))
		return
	case d.Decode(&in) != nil || d.More():
		s.fail(w, r, invalid("invalid_client_metadata", "the metadata cannot be read"))
		return
	}
	if err := take(s.limits.register, ""); err != nil {
		s.fail(w, r, asFault(err))
		return
	}
	c, err := in.client(s.Now())
	if err == nil {
		err = clientrules.Check(c)
	}
	if err != nil {
		code := "invalid_client_metadata"
		if errors.Is(err, clientrules.ErrRedirect) {
			code = "invalid_redirect_uri"
		}
		s.fail(w, r, invalid(code, err.Error()))
		return
	}
	if err := s.happened(&Event{Action: "register", Client: c.ID}); err != nil {
		s.fail(w, r, broken(err))
		return
	}
	if err := s.Accounts.AddClient(r.Context(), c); err != nil {
		s.fail(w, r, broken(err))
		return
	}
	out := in
	out.ClientID, out.IssuedAt, out.GrantTypes, out.ResponseTypes, out.AuthMethod = c.ID, c.Created.Unix(), c.Grants, []string{"code"}, in.method()
	if c.Auth == "client_secret" {
		out.ClientSecret, out.SecretExpires = accounts.NewSecret(), new(int64)
		if err := s.Accounts.AddSecret(r.Context(), c.ID, out.ClientSecret, time.Time{}); err != nil {
			s.fail(w, r, broken(err))
			return
		}
	}
	if s.Events.Registered != nil {
		s.Events.Registered(c.ID)
	}
	reply(w, http.StatusCreated, &out)
}

// method is how the client authenticates itself, by default as RFC 7591 has it.
func (in *registration) method() string {
	if in.AuthMethod == "" {
		return "client_secret_basic"
	}
	return in.AuthMethod
}

func (in *registration) client(now time.Time) (*accounts.Client, error) {
	c := &accounts.Client{
		ID: NewClientID(), Name: in.Name, Status: accounts.Held, Native: in.Kind == "native", Grants: in.GrantTypes, RedirectURIs: in.RedirectURIs,
		JWKSURI: in.JWKSURI, IDTokenAlg: in.IDTokenAlg, Homepage: in.Homepage, Policy: in.Policy, Terms: in.Terms, Logo: in.Logo,
		Contacts: in.Contacts, Owner: "registration", Created: now, Changed: now,
	}
	if len(in.JWKS) > 0 {
		c.JWKS = string(in.JWKS)
	}
	if in.Scope != "" {
		scopes, err := parseScopes(in.Scope)
		if err != nil {
			return nil, errors.New("scope cannot be read")
		}
		c.Scopes = scopes
	}
	if c.Grants == nil {
		c.Grants = []string{"authorization_code", "refresh_token"}
	}
	switch in.method() {
	case "none":
		c.Auth = "none"
	case "client_secret_basic", "client_secret_post":
		c.Auth = "client_secret"
	case "private_key_jwt":
		c.Auth = "private_key_jwt"
	default:
		return nil, errors.New("token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or private_key_jwt")
	}
	for _, x := range in.ResponseTypes {
		if x != "code" {
			return nil, errors.New("response_types can only have code")
		}
	}
	if slices.Contains(c.Grants, "client_credentials") {
		return nil, errors.New("services are registered by the agency: grant_types must not have client_credentials")
	}
	return c, nil
}

// NewClientID makes an id for a client.
func NewClientID() string { return "app-" + strings.ToLower(accounts.NewSecret()[:16]) }
