package fhirtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// tokenPath is where tokens are given.
const tokenPath = "auth/token"

// Auth says whom a server knows. Everything but metadata, the SMART configuration and tokens needs one of these.
type Auth struct {
	Keys          map[string][]byte // SMART backend services: the JWK set of each client
	Secrets       map[string]string // client credentials: the secret of each client
	Users         map[string]string // basic: the password of each user
	Tokens        []string          // bearer tokens that are not given here
	Life          time.Duration     // of tokens; 0 is 300 s
	TextExpiresIn bool              // expires_in is a string
}

// TokenURL is where a client gets tokens.
func (s *Server) TokenURL() string { return s.URL + "/" + tokenPath }

// ExpireTokens revokes all tokens that the server has given.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// authorized says why a request is not let in.
func (s *Server) authorized(r *http.Request) *failure {
	a := s.o.Auth
	if a == nil {
		return nil
	}
	refused := &failure{status: http.StatusUnauthorized, code: "login", diagnostics: "Not authorized"}
	if user, password, ok := r.BasicAuth(); ok {
		if want, known := a.Users[user]; known && want == password {
			return nil
		}
		return refused
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return refused
	}
	if until, given := s.tokens[token]; slices.Contains(a.Tokens, token) || given && s.o.Now().Before(until) {
		return nil
	}
	return refused
}

func (x *exchange) smartConfiguration() *answer {
	if x.s.o.Auth == nil {
		return x.failure(fail(http.StatusNotFound, "HAPI-0302: Unknown resource type '.well-known'"))
	}
	a := x.resource(http.StatusOK, map[string]any{
		"token_endpoint": x.s.TokenURL(), "token_endpoint_auth_methods_supported": []string{"private_key_jwt", "client_secret_basic", "client_secret_post"},
		"token_endpoint_auth_signing_alg_values_supported": []string{"RS384", "ES384"}, "grant_types_supported": []string{"client_credentials"},
		"scopes_supported": []string{"system/*.*", "system/*.cruds"}, "capabilities": []string{"client-confidential-asymmetric", "permission-v1", "permission-v2"}})
	a.header.Set("Content-Type", "application/json")
	return a
}

// token gives a token to a client that proves who it is.
func (x *exchange) token() *answer {
	refuse := func(status int, code, why string) *answer {
		a := x.resource(status, map[string]any{"error": code, "error_description": why})
		a.header.Set("Content-Type", "application/json")
		a.told = []int{status}
		return a
	}
	s := x.s
	form, err := url.ParseQuery(string(x.body))
	switch {
	case s.o.Auth == nil:
		return x.failure(fail(http.StatusNotFound, "HAPI-0302: Unknown resource type 'auth'"))
	case x.r.Method != http.MethodPost || err != nil || !strings.HasPrefix(x.r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		return refuse(http.StatusBadRequest, "invalid_request", "a form is expected")
	case form.Get("grant_type") != "client_credentials":
		return refuse(http.StatusBadRequest, "unsupported_grant_type", "client_credentials is expected")
	}
	if err := x.client(form); err != nil {
		return refuse(http.StatusUnauthorized, "invalid_client", err.Error())
	}
	life := s.o.Auth.Life
	if life == 0 {
		life = 300 * time.Second
	}
	token := "token-" + s.newID()
	s.tokens[token] = s.o.Now().Add(life)
	var seconds any = int(life / time.Second)
	if s.o.Auth.TextExpiresIn {
		seconds = fmt.Sprint(seconds)
	}
	a := x.resource(http.StatusOK, map[string]any{"access_token": token, "token_type": "bearer", "expires_in": seconds, "scope": form.Get("scope")})
	a.header.Set("Content-Type", "application/json")
	a.header.Set("Cache-Control", "no-store")
	a.told = []int{http.StatusOK}
	return a
}

// client checks who asks for a token.
func (x *exchange) client(form url.Values) error {
	a := x.s.o.Auth
	if assertion := form.Get("client_assertion"); assertion != "" {
		if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			return errors.New("wrong client_assertion_type")
		}
		if form.Get("scope") == "" {
			return errors.New("a scope is expected")
		}
		return x.s.assertion(assertion)
	}
	id, secret, ok := x.r.BasicAuth()
	if !ok {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	if want, known := a.Secrets[id]; !known || want != secret {
		return errors.New("unknown client or wrong secret")
	}
	return nil
}

type claims struct {
	Iss, Sub, Jti string
	Aud           any
	Exp           int64
}

// assertion checks a signed statement of a client, as SMART App Launch 2.2 (Asymmetric Authentication) says.
func (s *Server) assertion(text string) error {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return errors.New("the assertion is no JWT")
	}
	var header struct{ Alg, Kid, Typ string }
	var c claims
	if err := errors.Join(part(parts[0], &header), part(parts[1], &c)); err != nil {
		return err
	}
	now := s.o.Now()
	exp := time.Unix(c.Exp, 0)
	aud, _ := c.Aud.(string)
	if list, ok := c.Aud.([]any); ok && len(list) == 1 {
		aud, _ = list[0].(string)
	}
	switch {
	case c.Iss == "" || c.Iss != c.Sub:
		return errors.New("iss and sub must be the client's id")
	case aud != s.TokenURL():
		return errors.New("aud must be the URL of the token endpoint")
	case c.Jti == "" || s.used[c.Jti]:
		return errors.New("jti must be new")
	case !now.Before(exp) || exp.After(now.Add(5*time.Minute+time.Second)):
		return errors.New("exp must be at most five minutes from now")
	case s.o.Auth.Keys[c.Iss] == nil:
		return errors.New("unknown client")
	case header.Typ != "JWT":
		return errors.New("typ must be JWT")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return errors.New("the signature is not base64url")
	}
	if err := verify(s.o.Auth.Keys[c.Iss], header.Kid, header.Alg, parts[0]+"."+parts[1], signature); err != nil {
		return err
	}
	s.used[c.Jti] = true
	return nil
}

func part(text string, to any) error {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		return errors.New("the assertion cannot be read")
	}
	return nil
}

// verify checks a signature with a key of a JWK set.
func verify(set []byte, kid, alg, signed string, signature []byte) error {
	var jwks struct {
		Keys []struct{ Kty, Kid, N, E, Crv, X, Y string }
	}
	if err := json.Unmarshal(set, &jwks); err != nil {
		return fmt.Errorf("the JWK set of the client cannot be read: %w", err)
	}
	sum := sha512.Sum384([]byte(signed))
	for _, k := range jwks.Keys {
		if k.Kid != kid {
			continue
		}
		ok := false
		switch {
		case alg == "RS384" && k.Kty == "RSA":
			key := &rsa.PublicKey{N: number(k.N), E: int(number(k.E).Int64())}
			ok = rsa.VerifyPKCS1v15(key, crypto.SHA384, sum[:], signature) == nil
		case alg == "ES384" && k.Kty == "EC" && k.Crv == "P-384" && len(signature) == 96:
			key := &ecdsa.PublicKey{Curve: elliptic.P384(), X: number(k.X), Y: number(k.Y)}
			ok = ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(signature[:48]), new(big.Int).SetBytes(signature[48:]))
		}
		if ok {
			return nil
		}
	}
	return errors.New("no key of the client fits the signature")
}

func number(text string) *big.Int {
	b, _ := base64.RawURLEncoding.DecodeString(text)
	return new(big.Int).SetBytes(b)
}
