package authserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"cpcds2fhir/internal/accounts"
)

// idTokenFor is the life of an ID token: it says who signed in at that moment, and opens nothing.
const idTokenFor = time.Hour

// idToken signs an ID token (OpenID Connect Core, 2; SMART App Launch, Scopes for requesting identity data). There is
// no nbf: clocks of apps differ by seconds, and libraries refuse what is not valid yet.
func (s *Server) idToken(ctx context.Context, c *accounts.Client, g *accounts.Grant, fhirUser bool, nonce string) (string, error) {
	algorithm := c.IDTokenAlg
	if algorithm == "" {
		algorithm = "RS256"
	}
	key, err := s.signing(ctx, algorithm)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: key.Private, KeyID: key.ID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := s.Now()
	claims := map[string]any{
		"iss": s.Issuer, "sub": g.User, "aud": c.ID, "iat": now.Unix(), "exp": now.Add(idTokenFor).Unix(), "auth_time": g.AuthTime.Unix(),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	if fhirUser {
		claims["fhirUser"] = s.FHIRBase + "/Patient/" + g.Patient
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// signing is the key that signs now.
func (s *Server) signing(ctx context.Context, algorithm string) (*accounts.Key, error) {
	keys, err := s.Accounts.Keys(ctx)
	if err != nil {
		return nil, err
	}
	now := s.Now()
	var newest *accounts.Key
	for _, k := range keys {
		retired := !k.Retired.IsZero() && !k.Retired.After(now)
		if k.Algorithm == algorithm && !retired && !k.Active.After(now) && (newest == nil || k.Active.After(newest.Active)) {
			newest = k
		}
	}
	if newest == nil {
		return nil, errors.New("there is no key to sign with " + algorithm)
	}
	return newest, nil
}

// keys publishes the keys: those that sign, those that will, and those whose tokens may still be read.
func (s *Server) keys(w http.ResponseWriter, r *http.Request) {
	keys, err := s.Accounts.Keys(r.Context())
	if err != nil {
		s.fail(w, r, broken(err))
		return
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"})
	}
	public5min(w)
	reply(w, http.StatusOK, &set)
}

// public5min lets caches keep what is the same for everybody.
func public5min(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Del("Pragma")
}
