package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"cpcds2fhir/internal/accounts"
)

const (
	assertionType   = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	assertionLife   = 5 * time.Minute // SMART App Launch, Asymmetric client authentication: the most that exp may be ahead
	assertionLeeway = time.Minute     // clocks differ
)

// client authenticates who calls (SMART App Launch, Client authentication): by HTTP Basic or a secret in the form, by
// an assertion that it has signed, or, for public clients, by their name alone. It returns nil if the call names no
// client at all. It uses nothing up but the jti of an assertion, so that a call may be repeated with the right
// credentials.
func (s *Server) client(r *http.Request, v url.Values) (*accounts.Client, error) {
	header, inForm, assertion := r.Header.Values("Authorization"), v.Has("client_secret"), v.Has("client_assertion") || v.Has("client_assertion_type")
	ways := 0
	for _, used := range []bool{len(header) > 0, inForm, assertion} {
		if used {
			ways++
		}
	}
	if ways > 1 || len(header) > 1 {
		return nil, invalid("invalid_request", "the client is authenticated in more than one way; use one")
	}
	switch {
	case len(header) == 1:
		return s.basic(r.Context(), header[0], v)
	case assertion:
		return s.asserted(r.Context(), v)
	case inForm:
		return s.secret(r.Context(), v.Get("client_id"), []string{v.Get("client_secret")})
	case v.Get("client_id") == "":
		return nil, nil
	}
	c, err := s.active(r.Context(), v.Get("client_id"))
	if err != nil {
		return nil, err
	}
	if c.Auth != "none" {
		return nil, noClient(c.ID, "the client must authenticate itself")
	}
	return c, nil
}

// active finds a client that may do something. Why another may not is said to nobody who has not proved to be it.
func (s *Server) active(ctx context.Context, id string) (*accounts.Client, error) {
	c, err := s.known(ctx, id)
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		return nil, noClient("", "the client is unknown, or its credentials are wrong")
	case err != nil:
		return nil, broken(err)
	case c.Status != accounts.Active:
		return nil, noClient(id, "the client is unknown, or its credentials are wrong")
	}
	return c, nil
}

// basic reads HTTP Basic. RFC 6749, 2.3.1, wants id and secret encoded as in a form, which half of all clients do
// not: both readings are tried. The secrets that are issued here are the same in both.
func (s *Server) basic(ctx context.Context, header string, v url.Values) (*accounts.Client, error) {
	r := http.Request{Header: http.Header{"Authorization": {header}}}
	id, secret, ok := r.BasicAuth()
	if !ok {
		return nil, noClient("", "the header Authorization is not of the form Basic CREDENTIALS")
	}
	secrets := []string{secret}
	if decoded, err := url.QueryUnescape(secret); err == nil && decoded != secret {
		secrets = []string{decoded, secret}
	}
	if decoded, err := url.QueryUnescape(id); err == nil {
		id = decoded
	}
	if named := v.Get("client_id"); named != "" && named != id {
		return nil, invalid("invalid_request", "client_id is not that of the header Authorization")
	}
	return s.secret(ctx, id, secrets)
}

// secret authenticates a client by its secret, of which there may be two readings.
func (s *Server) secret(ctx context.Context, id string, secrets []string) (*accounts.Client, error) {
	c, err := s.active(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, x := range secrets {
		ok, err := s.Accounts.CheckSecret(ctx, id, x)
		if err != nil && !errors.Is(err, accounts.ErrNotFound) {
			return nil, broken(err)
		}
		if ok && x != "" && c.Auth == "client_secret" {
			return c, nil
		}
	}
	return nil, noClient(id, "the client is unknown, or its credentials are wrong")
}

// asserted authenticates a client by a JWT that it has signed (RFC 7523; SMART App Launch, Asymmetric client
// authentication).
func (s *Server) asserted(ctx context.Context, v url.Values) (*accounts.Client, error) {
	if v.Get("client_assertion_type") != assertionType {
		return nil, invalid("invalid_request", "client_assertion_type must be "+assertionType)
	}
	token, err := jwt.ParseSigned(v.Get("client_assertion"), []jose.SignatureAlgorithm{jose.RS384, jose.ES384})
	if err != nil || len(token.Headers) != 1 {
		return nil, noClient("", "client_assertion is not a JWT that is signed with RS384 or ES384")
	}
	var unchecked jwt.Claims
	if token.UnsafeClaimsWithoutVerification(&unchecked) != nil {
		return nil, noClient("", "the claims of client_assertion cannot be read")
	}
	c, err := s.active(ctx, unchecked.Issuer)
	if err != nil {
		return nil, err
	}
	refused := func(text string) error { return noClient(c.ID, text) }
	if c.Auth != "private_key_jwt" {
		return nil, refused("the client is not registered with keys")
	}
	if named := v.Get("client_id"); named != "" && named != c.ID {
		return nil, invalid("invalid_request", "client_id is not the issuer of client_assertion")
	}
	h := token.Headers[0]
	if url, there := h.ExtraHeaders["jku"]; there && url != c.JWKSURI {
		return nil, refused("the jku of client_assertion is not the URL that is registered for the client")
	}
	if h.KeyID == "" {
		return nil, refused("client_assertion has no kid")
	}
	keys, err := s.keySets.of(ctx, c, h.KeyID)
	if err != nil {
		return nil, refused("the keys of the client cannot be read")
	}
	var claims jwt.Claims
	if !slices.ContainsFunc(keys, func(k jose.JSONWebKey) bool {
		return k.IsPublic() && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || k.Algorithm == h.Algorithm) && token.Claims(k.Key, &claims) == nil
	}) {
		return nil, refused("no key of the client has signed client_assertion")
	}
	now := s.Now()
	switch {
	case claims.Subject != c.ID:
		return nil, refused("iss and sub of client_assertion must be the client_id")
	case !claims.Audience.Contains(s.Issuer+TokenPath) && !claims.Audience.Contains(s.Issuer):
		return nil, refused("aud of client_assertion must be the URL of the token endpoint")
	case claims.Expiry == nil:
		return nil, refused("client_assertion has no exp")
	case !now.Before(claims.Expiry.Time().Add(assertionLeeway)):
		return nil, refused("client_assertion has expired")
	case claims.Expiry.Time().After(now.Add(assertionLife + assertionLeeway)):
		return nil, refused("exp of client_assertion is more than five minutes ahead")
	case claims.NotBefore != nil && claims.NotBefore.Time().After(now.Add(assertionLeeway)):
		return nil, refused("client_assertion is not valid yet")
	case claims.ID == "" || len(claims.ID) > 512:
		return nil, refused("client_assertion has no jti, or one that is too long")
	}
	switch err := s.Accounts.UseAssertion(ctx, c.ID, claims.ID, claims.Expiry.Time().Add(assertionLeeway)); {
	case errors.Is(err, accounts.ErrUsed):
		return nil, refused("client_assertion was used before")
	case err != nil:
		return nil, broken(err)
	}
	return c, nil
}

// known finds a client. To a server in production, clients of the developers' sandbox do not exist.
func (s *Server) known(ctx context.Context, id string) (*accounts.Client, error) {
	c, err := s.Accounts.Client(ctx, id)
	if err == nil && s.Production && c.Environment == "sandbox" {
		return nil, accounts.ErrNotFound
	}
	return c, err
}
