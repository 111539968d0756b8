package fhirtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signer is a client's key.
type signer struct {
	alg string
	jwk map[string]any
	key crypto.Signer
}

func newSigners(t *testing.T) map[string]*signer {
	t.Helper()
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := e.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*signer{
		"rsa": {"RS384", map[string]any{"kty": "RSA", "kid": "r", "n": b64(r.N.Bytes()), "e": b64(big.NewInt(int64(r.E)).Bytes())}, r},
		"ec":  {"ES384", map[string]any{"kty": "EC", "kid": "e", "crv": "P-384", "x": b64(point[1:49]), "y": b64(point[49:])}, e},
	}
}

func (k *signer) sign(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	text := b64(h) + "." + b64(c)
	sum := sha512.Sum384([]byte(text))
	if e, ok := k.key.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, e, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + b64(append(r.FillBytes(make([]byte, 48)), s.FillBytes(make([]byte, 48))...))
	}
	signature, err := k.key.Sign(rand.Reader, sum[:], crypto.SHA384)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(signature)
}

const formType = "application/x-www-form-urlencoded"

func TestBackendServices(t *testing.T) {
	keys := newSigners(t)
	set, _ := json.Marshal(map[string]any{"keys": []any{keys["rsa"].jwk, keys["ec"].jwk}})
	now := time.Now()
	s := Start(t, &Options{Auth: &Auth{Keys: map[string][]byte{"loader": set}, Life: 2 * time.Second}, Now: func() time.Time { return now }})
	must(t, s, 200, "GET", "metadata", "")
	wantText(t, must(t, s, 200, "GET", ".well-known/smart-configuration", ""), s.TokenURL(), "ES384")
	must(t, s, 401, "GET", "Patient/a", "")
	n := 0
	ask := func(k *signer, edit func(h, c map[string]any, f url.Values)) *reply {
		t.Helper()
		n++
		h := map[string]any{"alg": k.alg, "kid": k.jwk["kid"], "typ": "JWT"}
		c := map[string]any{"iss": "loader", "sub": "loader", "aud": s.TokenURL(), "jti": fmt.Sprint(n), "exp": now.Add(4 * time.Minute).Unix()}
		f := url.Values{"grant_type": {"client_credentials"}, "scope": {"system/*.cruds"}, "client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
		if edit != nil {
			edit(h, c, f)
		}
		f.Set("client_assertion", k.sign(t, h, c))
		r, err := ask(s, "POST", tokenPath, f.Encode(), "Content-Type", formType)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, k := range keys {
		r := ask(k, nil)
		if r.status != 200 || r.body["expires_in"] != 2.0 {
			t.Fatalf("%s: %d %s", name, r.status, r.text)
		}
		bearer := "Bearer " + r.body["access_token"].(string)
		must(t, s, 404, "GET", "Patient/a", "", "Authorization", bearer)
		now = now.Add(3 * time.Second)
		must(t, s, 401, "GET", "Patient/a", "", "Authorization", bearer)
	}
	for name, edit := range map[string]func(h, c map[string]any, f url.Values){
		"other audience":  func(_, c map[string]any, _ url.Values) { c["aud"] = "https://other.example" },
		"jti again":       func(_, c map[string]any, _ url.Values) { c["jti"] = "1" },
		"expired":         func(_, c map[string]any, _ url.Values) { c["exp"] = now.Add(-time.Second).Unix() },
		"too long":        func(_, c map[string]any, _ url.Values) { c["exp"] = now.Add(time.Hour).Unix() },
		"other subject":   func(_, c map[string]any, _ url.Values) { c["sub"] = "x" },
		"unknown client":  func(_, c map[string]any, _ url.Values) { c["sub"], c["iss"] = "x", "x" },
		"unknown key":     func(h, _ map[string]any, _ url.Values) { h["kid"] = "x" },
		"other algorithm": func(h, _ map[string]any, _ url.Values) { h["alg"] = "RS256" },
		"no typ":          func(h, _ map[string]any, _ url.Values) { delete(h, "typ") },
		"no scope":        func(_, _ map[string]any, f url.Values) { f.Del("scope") },
		"wrong type":      func(_, _ map[string]any, f url.Values) { f.Set("client_assertion_type", "x") },
	} {
		if r := ask(keys["rsa"], edit); r.status != 401 {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
	}
	// A key that was taken away is not accepted any longer.
	left, _ := json.Marshal(map[string]any{"keys": []any{keys["ec"].jwk}})
	s.Set(func(o *Options) { o.Auth.Keys["loader"] = left })
	if r := ask(keys["rsa"], nil); r.status != 401 {
		t.Errorf("a key that was taken away: %d", r.status)
	}
}

func TestOtherCredentials(t *testing.T) {
	s := Start(t, &Options{Auth: &Auth{Secrets: map[string]string{"c": "s"}, Users: map[string]string{"u": "p"}, Tokens: []string{"fixed"}, TextExpiresIn: true}})
	basic := func(user, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	}
	must(t, s, 404, "GET", "Patient/a", "", "Authorization", "Bearer fixed")
	must(t, s, 404, "GET", "Patient/a", "", "Authorization", basic("u", "p"))
	must(t, s, 401, "GET", "Patient/a", "", "Authorization", basic("u", "x"))
	must(t, s, 401, "GET", "Patient/a", "", "Authorization", "Bearer x")
	must(t, s, 401, "POST", tokenPath, "grant_type=client_credentials", "Content-Type", formType, "Authorization", basic("c", "x"))
	must(t, s, 400, "POST", tokenPath, "grant_type=password", "Content-Type", formType, "Authorization", basic("c", "s"))
	must(t, s, 400, "POST", tokenPath, "grant_type=client_credentials", "Authorization", basic("c", "s"))
	must(t, s, 200, "POST", tokenPath, "grant_type=client_credentials&client_id=c&client_secret=s", "Content-Type", formType)
	r := must(t, s, 200, "POST", tokenPath, "grant_type=client_credentials", "Content-Type", formType, "Authorization", basic("c", "s"))
	if r.body["expires_in"] != "300" {
		t.Errorf("expires_in is %v", r.body["expires_in"])
	}
	bearer := "Bearer " + r.body["access_token"].(string)
	must(t, s, 404, "GET", "Patient/a", "", "Authorization", bearer)
	s.Inject(Nth(1, Reads), ExpireTokens())
	must(t, s, 401, "GET", "Patient/a", "", "Authorization", bearer)
	must(t, s, 401, "GET", "Patient/a", "", "Authorization", bearer)
}
