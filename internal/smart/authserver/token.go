package authserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
)

// tokens is the answer of the token endpoint (RFC 6749, 5.1; SMART App Launch, Access token response).
type tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"` // seconds
	Scope        string `json:"scope"`
	Patient      string `json:"patient,omitempty"` // the bare id
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
}

// AccessPrefix begins each access token, so that they are told from those of other servers, and found by scanners
// when somebody publishes one by mistake.
const AccessPrefix = "c2fa_"

const refreshPrefix = "c2fr_"

// token answers the token endpoint (RFC 6749, 3.2).
func (s *Server) token(alias bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := s.redeem(r, alias)
		if err != nil {
			s.fail(w, r, asFault(err))
			return
		}
		reply(w, http.StatusOK, answer)
	}
}

func (s *Server) redeem(r *http.Request, alias bool) (*tokens, error) {
	v, asJSON, err := form(r, true)
	if err != nil {
		return nil, err
	}
	c, err := s.client(r, v)
	if err != nil {
		return nil, err
	}
	if (asJSON || alias) && (c == nil || !dialect(c)) {
		return nil, invalid("invalid_request", "send the parameters as application/x-www-form-urlencoded to "+TokenPath)
	}
	grant := v.Get("grant_type")
	if grant == "" && c != nil && dialect(c) && v.Has("code") {
		grant = "authorization_code"
	}
	switch grant {
	case "authorization_code", "client_credentials":
		if c == nil {
			return nil, noClient("", "the client does not say who it is")
		}
		if !slices.Contains(c.Grants, grant) {
			return nil, &fault{code: "unauthorized_client", text: "the client is not registered for this grant_type", client: c.ID}
		}
		if grant == "client_credentials" {
			return s.service(r.Context(), c, v)
		}
		return s.byCode(r.Context(), c, v)
	case "refresh_token":
		return s.byRefresh(r.Context(), c, v)
	case "":
		return nil, invalid("invalid_request", "grant_type is missing")
	}
	return nil, invalid("unsupported_grant_type", "grant_type must be authorization_code, refresh_token or client_credentials")
}

// byCode redeems a code. What can be wrong with the request is checked before the code is used, so that an app that
// has made a mistake can try again; whoever redeems a code a second time ends what it gave.
func (s *Server) byCode(ctx context.Context, c *accounts.Client, v url.Values) (*tokens, error) {
	refused := func(code, text string) error { return &fault{code: code, text: text, client: c.ID} }
	secret := v.Get("code")
	if secret == "" {
		return nil, refused("invalid_request", "code is missing")
	}
	code, g, err := s.Accounts.FindCode(ctx, secret)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		return nil, refused("invalid_grant", "the code is unknown or has expired")
	case err != nil:
		return nil, broken(err)
	case code.Client != c.ID:
		return nil, refused("invalid_grant", "the code is unknown or has expired")
	}
	to, there := v["redirect_uri"]
	if code.Utah && !there {
		to = v["redirect_url"]
	}
	verifier := v.Get("code_verifier")
	switch {
	case len(to) != 1 || to[0] != code.RedirectURI:
		return nil, refused("invalid_grant", "redirect_uri is not that of the authorization request")
	case code.Challenge == "" && verifier != "":
		return nil, refused("invalid_grant", "the authorization request had no code_challenge")
	case code.Challenge != "" && verifier == "":
		return nil, refused("invalid_request", "code_verifier is missing")
	case code.Challenge != "" && !verifies(verifier, code.Challenge):
		return nil, refused("invalid_grant", "code_verifier does not fit code_challenge")
	}
	// All that may fail comes before the code is used, so that the app can try again.
	t := s.make(g, g.Scopes)
	answer, err := s.answer(ctx, c, g, t, code.Nonce)
	if err == nil {
		err = s.happened(&Event{Action: "token", Client: c.ID, User: g.User, Patient: g.Patient, Grant: g.ID, Scopes: g.Scopes, Utah: code.Utah})
	}
	if err != nil {
		return nil, asFault(err)
	}
	switch err := s.Accounts.Redeem(ctx, secret, t); {
	case errors.Is(err, accounts.ErrReused):
		return nil, s.reused(c, g, "the code was used before; what it had opened is revoked")
	case errors.Is(err, accounts.ErrNotFound):
		return nil, refused("invalid_grant", "the code is unknown or has expired")
	case err != nil:
		return nil, broken(err)
	}
	return answer, nil
}

// verifies reports whether a verifier is that of a challenge (RFC 7636, 4.6).
func verifies(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	return isVerifier(verifier, 43, 128) && subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// reused tells of a code or refresh token that came again: the grant has ended, as somebody else may have it.
func (s *Server) reused(c *accounts.Client, g *accounts.Grant, text string) error {
	f := &fault{code: "invalid_grant", text: text, client: c.ID}
	if err := s.happened(&Event{Action: "reuse", Client: c.ID, User: g.User, Patient: g.Patient, Grant: g.ID}); err != nil {
		return broken(err)
	}
	return f
}

// make makes the tokens of a grant, which are not kept yet.
func (s *Server) make(g *accounts.Grant, scopes []string) *accounts.Tokens {
	t := &accounts.Tokens{Access: AccessPrefix + accounts.NewSecret(), AccessScopes: scopes, AccessExpires: sooner(s.Now().Add(s.AccessFor), g.Expires)}
	if g.Offline {
		t.Refresh, t.RefreshExpires = refreshPrefix+accounts.NewSecret(), g.Expires
	}
	return t
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// byRefresh gives new tokens for a refresh token (RFC 6749, 6). A public client need not name itself: its token says
// whose it is. Fewer scopes count for the access token alone.
func (s *Server) byRefresh(ctx context.Context, c *accounts.Client, v url.Values) (*tokens, error) {
	secret := v.Get("refresh_token")
	if secret == "" {
		return nil, invalid("invalid_request", "refresh_token is missing")
	}
	gone := func(client string) error {
		return &fault{code: "invalid_grant", text: "the refresh token is unknown, has expired, or was revoked", client: client}
	}
	g, _, err := s.Accounts.FindRefresh(ctx, secret)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		if c == nil {
			return nil, gone("")
		}
		return nil, gone(c.ID)
	case err != nil:
		return nil, broken(err)
	}
	if c == nil {
		if c, err = s.active(ctx, g.Client); err != nil {
			return nil, err
		}
		if c.Auth != "none" {
			return nil, noClient(c.ID, "the client must authenticate itself")
		}
	}
	if c.ID != g.Client {
		return nil, gone(c.ID)
	}
	scopes := g.Scopes
	if v.Get("scope") != "" {
		asked, err := parseScopes(v.Get("scope"))
		if err != nil {
			return nil, err
		}
		if !within(g.Scopes, asked) {
			return nil, &fault{code: "invalid_scope", text: "a refresh can only ask for scopes that were granted", client: c.ID}
		}
		scopes = asked
	}
	if err := take(s.limits.refreshes, g.ID); err != nil {
		return nil, err
	}
	made := s.make(g, scopes)
	answer, err := s.answer(ctx, c, g, made, "")
	if err == nil {
		err = s.happened(&Event{Action: "refresh", Client: c.ID, User: g.User, Patient: g.Patient, Grant: g.ID, Scopes: scopes})
	}
	if err != nil {
		return nil, asFault(err)
	}
	t, err := s.Accounts.Rotate(ctx, secret, made, s.Grace)
	switch {
	case errors.Is(err, accounts.ErrReused):
		return nil, s.reused(c, g, "the refresh token was used before; what it had opened is revoked")
	case errors.Is(err, accounts.ErrNotFound), errors.Is(err, accounts.ErrUsed):
		return nil, gone(c.ID)
	case err != nil:
		return nil, broken(err)
	}
	if t.Access == made.Access {
		return answer, nil
	}
	return s.answer(ctx, c, g, t, "") // of a call before this one, whose answer was lost
}

// answer is what the client gets. The scopes are written as it asked for them.
func (s *Server) answer(ctx context.Context, c *accounts.Client, g *accounts.Grant, t *accounts.Tokens, nonce string) (*tokens, error) {
	a := &tokens{
		AccessToken: t.Access, TokenType: "Bearer", ExpiresIn: s.life(t.AccessExpires), Scope: strings.Join(t.AccessScopes, " "),
		Patient: g.Patient, RefreshToken: t.Refresh,
	}
	if slices.Contains(t.AccessScopes, "openid") {
		var err error
		if a.IDToken, err = s.idToken(ctx, c, g, slices.Contains(t.AccessScopes, "fhirUser"), nonce); err != nil {
			return nil, broken(err)
		}
	}
	return a, nil
}

// service gives a token to a client that acts for itself (SMART Backend Services). It must have signed an
// assertion, and be registered with the scopes: what is given to no member by default is given to no service either.
func (s *Server) service(ctx context.Context, c *accounts.Client, v url.Values) (*tokens, error) {
	refused := func(code, text string) error { return &fault{code: code, text: text, client: c.ID} }
	if c.Auth != "private_key_jwt" {
		return nil, refused("unauthorized_client", "client_credentials are for clients that are registered with keys")
	}
	asked, err := parseScopes(v.Get("scope"))
	if err != nil {
		return nil, err
	}
	scopes := known(c, asked, true)
	if len(scopes) == 0 {
		return nil, refused("invalid_scope", "none of the scopes can be granted; a service asks for system/ scopes that it is registered with")
	}
	now := s.Now()
	g := &accounts.Grant{ID: accounts.NewSecret(), Client: c.ID, Scopes: scopes, Created: now, Expires: now.Add(s.ServiceFor)}
	t := &accounts.Tokens{Access: AccessPrefix + accounts.NewSecret(), AccessScopes: scopes, AccessExpires: g.Expires}
	if err := s.happened(&Event{Action: "service", Client: c.ID, Grant: g.ID, Scopes: scopes}); err != nil {
		return nil, broken(err)
	}
	if err := s.Accounts.AddAccess(ctx, g, t); err != nil {
		return nil, broken(err)
	}
	return &tokens{AccessToken: t.Access, TokenType: "Bearer", ExpiresIn: s.life(t.AccessExpires), Scope: strings.Join(scopes, " ")}, nil
}
