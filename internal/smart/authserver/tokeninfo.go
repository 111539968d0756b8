package authserver

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"cpcds2fhir/internal/accounts"
)

// caller reads a call about a token and authenticates who makes it. Public clients name themselves.
func (s *Server) caller(r *http.Request) (*accounts.Client, url.Values, error) {
	v, _, err := form(r, false)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.client(r, v)
	switch {
	case err != nil:
		return nil, nil, err
	case c == nil:
		return nil, nil, noClient("", "the client does not say who it is")
	case v.Get("token") == "":
		return nil, nil, &fault{code: "invalid_request", text: "token is missing", client: c.ID}
	}
	return c, v, take(s.limits.tokens, c.ID)
}

// revoke ends a token (RFC 7009). A refresh token ends with its whole grant. Tokens that are unknown, or another
// client's, are answered alike.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) {
	c, v, err := s.caller(r)
	if err != nil {
		s.fail(w, r, asFault(err))
		return
	}
	grant, err := s.Accounts.RevokeToken(r.Context(), c.ID, v.Get("token"))
	if err != nil && !errors.Is(err, accounts.ErrNotFound) {
		s.fail(w, r, broken(err))
		return
	}
	if grant != "" { // an unknown token has ended nothing, and is no record: anybody can send one
		if err := s.happened(&Event{Action: "revoke", Client: c.ID, Grant: grant}); err != nil {
			s.fail(w, r, broken(err))
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}

// introspect says what a token is (RFC 7662; SMART App Launch, Token introspection), to the client that it was given
// to. Others learn that it is not active.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request) {
	c, v, err := s.caller(r)
	if err != nil {
		s.fail(w, r, asFault(err))
		return
	}
	answer, err := s.describe(r, c, v.Get("token"))
	if err != nil {
		s.fail(w, r, broken(err))
		return
	}
	reply(w, http.StatusOK, answer)
}

func (s *Server) describe(r *http.Request, c *accounts.Client, token string) (map[string]any, error) {
	inactive := map[string]any{"active": false}
	if strings.HasPrefix(token, refreshPrefix) {
		g, used, err := s.Accounts.FindRefresh(r.Context(), token)
		if errors.Is(err, accounts.ErrNotFound) || err == nil && (used || g.Client != c.ID) {
			return inactive, nil
		}
		if err != nil {
			return nil, err
		}
		return map[string]any{"active": true, "client_id": g.Client, "scope": strings.Join(g.Scopes, " "), "exp": g.Expires.Unix(), "iss": s.Issuer, "sub": g.User,
			"patient": g.Patient}, nil
	}
	a, err := s.Accounts.Access(r.Context(), token)
	if errors.Is(err, accounts.ErrNotFound) || err == nil && a.Client != c.ID {
		return inactive, nil
	}
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"active": true, "token_type": "Bearer", "client_id": a.Client, "scope": strings.Join(a.Scopes, " "), "iat": a.Issued.Unix(),
		"exp": a.Expires.Unix(), "iss": s.Issuer, "aud": s.FHIRBase, "sub": a.User}
	if a.User == "" {
		answer["sub"] = a.Client
	}
	if a.Patient != "" {
		answer["patient"] = a.Patient
		if slices.Contains(a.Scopes, "fhirUser") {
			answer["fhirUser"] = s.FHIRBase + "/Patient/" + a.Patient
		}
	}
	return answer, nil
}
