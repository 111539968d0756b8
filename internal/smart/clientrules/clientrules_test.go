package clientrules

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"cpcds2fhir/internal/accounts"
)

func TestCheck(t *testing.T) {
	right := func() *accounts.Client {
		return &accounts.Client{Name: "App", Auth: "client_secret", Grants: []string{"authorization_code"}, RedirectURIs: []string{"https://app.example/"}}
	}
	if err := Check(right()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *accounts.Client){
		"name": func(c *accounts.Client) { c.Name = "" }, "auth": func(c *accounts.Client) { c.Auth = "password" },
		"grant": func(c *accounts.Client) { c.Grants = []string{"password"} }, "service": func(c *accounts.Client) { c.Grants = []string{"client_credentials"} },
		"keys": func(c *accounts.Client) { c.Auth = "private_key_jwt" }, "utah": func(c *accounts.Client) { c.Utah, c.Auth = true, "none" },
		"page": func(c *accounts.Client) { c.Policy = "ftp://app.example/" }, "keys without use": func(c *accounts.Client) { c.JWKS = "{}" },
	} {
		c := right()
		change(c)
		if Check(c) == nil {
			t.Errorf("%s is taken", name)
		}
	}
	c := right()
	c.RedirectURIs = []string{"http://app.example/"}
	if err := Check(c); !errors.Is(err, ErrRedirect) {
		t.Errorf("got %v", err)
	}
}

func TestLoopback(t *testing.T) {
	for uri, want := range map[string]string{
		"http://127.0.0.1:8080/back": "127.0.0.1/back", "http://[::1]/": "::1/", "http://localhost": "localhost",
		"https://127.0.0.1/": "", "http://127.0.0.1.example/": "", "http://127.0.0.1:99999/": "", "http://u@localhost/": "",
	} {
		if got, is := Loopback(uri); got != want || is != (want != "") {
			t.Errorf("%s: %q, %t", uri, got, is)
		}
	}
}

// TestProves proves that a key is registered by who has its private half, for one client and one issuer, and for a while.
func TestProves(t *testing.T) {
	now := time.Now()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // it must be refused
	if err == nil {
		if _, err := ReadKeys(set(t, small.Public())); err == nil {
			t.Error("a small key is taken")
		}
	}
	if _, err := ReadKeys(set(t, key)); err == nil {
		t.Error("a private key is taken")
	}
	jwks := string(set(t, key.Public()))
	if err := CheckJWKS(jwks); err != nil {
		t.Fatal(err)
	}
	thumbs, err := Thumbprints(jwks)
	if err != nil || len(thumbs) != 1 || len(thumbs[0]) != 43 {
		t.Fatalf("got %v, %v", thumbs, err)
	}
	sign := func(c jwt.Claims) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES384, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(s).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	claims := func() jwt.Claims {
		return jwt.Claims{Subject: "app", Audience: jwt.Audience{"https://issuer.example"}, Expiry: jwt.NewNumericDate(now.Add(time.Minute))}
	}
	if err := Proves(jwks, sign(claims()), "app", "https://issuer.example", now); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(c *jwt.Claims){
		"client": func(c *jwt.Claims) { c.Subject = "other" }, "issuer": func(c *jwt.Claims) { c.Audience = nil },
		"no end": func(c *jwt.Claims) { c.Expiry = nil }, "over": func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(now.Add(-time.Hour)) },
		"too long": func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(now.Add(48 * time.Hour)) },
		"later":    func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(now.Add(30 * time.Minute)) },
	} {
		c := claims()
		change(&c)
		if Proves(jwks, sign(c), "app", "https://issuer.example", now) == nil {
			t.Errorf("%s proves", name)
		}
	}
}

func set(t *testing.T, key any) []byte {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "k"}}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
