package authserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"cpcds2fhir/internal/accounts"
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
		err = CheckClient(c)
	}
	if err != nil {
		code := "invalid_client_metadata"
		if errors.Is(err, errRedirect) {
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

var errRedirect = errors.New("redirect_uris")

// CheckClient checks what somebody wants to register. Its errors name the field.
func CheckClient(c *accounts.Client) error {
	switch {
	case strings.TrimSpace(c.Name) == "" || len(c.Name) > 100 || strings.ContainsFunc(c.Name, hidden):
		return errors.New("client_name: say what members know the app by, in at most 100 characters")
	case c.Auth != "none" && c.Auth != "client_secret" && c.Auth != "private_key_jwt":
		return errors.New("auth: use none, client_secret or private_key_jwt")
	case c.IDTokenAlg != "" && c.IDTokenAlg != "RS256" && c.IDTokenAlg != "ES384":
		return errors.New("id_token_signed_response_alg: use RS256 or ES384")
	case c.Utah && c.Auth != "client_secret":
		return errors.New("utah: this dialect is for clients with a secret")
	case c.Auth == "private_key_jwt" && (c.JWKS == "") == (c.JWKSURI == ""):
		return errors.New("jwks: give the public keys of the client, or their URL as jwks_uri, one of both")
	case c.Auth != "private_key_jwt" && (c.JWKS != "" || c.JWKSURI != ""):
		return errors.New("jwks: only clients with private_key_jwt have keys")
	case len(c.RedirectURIs) > 50 || len(c.Contacts) > 20:
		return errors.New("there are too many redirect_uris or contacts")
	}
	for _, g := range c.Grants {
		if g != "authorization_code" && g != "refresh_token" && g != "client_credentials" {
			return errors.New("grant_types: use authorization_code, refresh_token or client_credentials")
		}
	}
	if slices.Contains(c.Grants, "client_credentials") && c.Auth != "private_key_jwt" {
		return errors.New("grant_types: client_credentials needs private_key_jwt")
	}
	if c.JWKS != "" {
		if err := CheckJWKS(c.JWKS); err != nil {
			return fmt.Errorf("jwks: %w", err)
		}
	}
	if c.JWKSURI != "" && !isWeb(c.JWKSURI, false) {
		return errors.New("jwks_uri: use a URL with https")
	}
	for name, u := range map[string]string{"client_uri": c.Homepage, "logo_uri": c.Logo, "policy_uri": c.Policy, "tos_uri": c.Terms} {
		if u != "" && !isWeb(u, true) {
			return errors.New(name + ": use a URL with https")
		}
	}
	for _, x := range c.Contacts {
		if len(x) > 200 || strings.ContainsFunc(x, hidden) {
			return errors.New("contacts: use addresses of at most 200 characters")
		}
	}
	if slices.Contains(c.Grants, "authorization_code") && len(c.RedirectURIs) == 0 {
		return redirectError("give at least one")
	}
	for _, u := range c.RedirectURIs {
		if err := CheckRedirect(u, c.Native); err != nil {
			return err
		}
	}
	return nil
}

func hidden(r rune) bool { return !unicode.IsPrint(r) }

func redirectError(text string) error { return &redirectURIError{text} }

type redirectURIError struct{ text string }

func (e *redirectURIError) Error() string        { return "redirect_uris: " + e.text }
func (e *redirectURIError) Is(target error) bool { return target == errRedirect }

// CheckRedirect checks a redirect URI that is to be registered: https, http on a loopback address, or for an app on a
// device a scheme of its own, which is named after a domain (RFC 8252, 7.1).
func CheckRedirect(uri string, native bool) error {
	u, err := url.Parse(uri)
	_, local := loopback(uri)
	switch {
	case err != nil || len(uri) > redirectMax || !u.IsAbs() || strings.ContainsFunc(uri, func(r rune) bool { return r <= ' ' || r > '~' }):
		return redirectError("use absolute URIs of printable ASCII characters")
	case strings.Contains(uri, "#"):
		return redirectError("they must not have a fragment")
	case u.User != nil || strings.Contains(uri, "*"):
		return redirectError("they must not have a user or wildcards")
	case u.Query().Has("code") || u.Query().Has("state") || u.Query().Has("error") || u.Query().Has("iss"):
		return redirectError("they must not have parameters of the answer")
	case u.Scheme == "https" && u.Host != "" || local:
		return nil
	case u.Scheme == "http":
		return redirectError("use https; http is for loopback addresses")
	case native && strings.Contains(u.Scheme, "."):
		return nil
	case native:
		return redirectError("a scheme of your own is named after your domain, such as org.example.app:/callback")
	}
	return redirectError("use https")
}

// isWeb reports whether a text is a URL of a page; http only on a loopback address, for sandboxes.
func isWeb(text string, local bool) bool {
	u, err := url.Parse(text)
	_, own := loopback(text)
	return err == nil && len(text) <= redirectMax && u.Host != "" && u.User == nil && (u.Scheme == "https" || local && own)
}
