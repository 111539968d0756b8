package credentials

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

func ecKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func inPEM(t *testing.T, kind string, key any) string {
	t.Helper()
	var der []byte
	var err error
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		if kind == "EC PRIVATE KEY" {
			der, err = x509.MarshalECPrivateKey(k)
			break
		}
		der, err = x509.MarshalPKCS8PrivateKey(k)
	case *rsa.PrivateKey:
		if kind == "RSA PRIVATE KEY" {
			der = x509.MarshalPKCS1PrivateKey(k)
			break
		}
		der, err = x509.MarshalPKCS8PrivateKey(k)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestKeys(t *testing.T) {
	ec, other, r := ecKey(t, elliptic.P384()), ecKey(t, elliptic.P384()), rsaKey(t)
	thumb := func(k any) string {
		sum, err := (&jose.JSONWebKey{Key: k}).Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return encoded(sum)
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: ec.Public(), KeyID: "public"}, {Key: ec, KeyID: "one"}, {Key: r, KeyID: "two"}}}
	path := filepath.Join(t.TempDir(), "key")
	for name, c := range map[string]struct {
		text, id, alg string
		kid           string
		wantAlg       string
		fault         string
	}{
		"a JWK":             {text(t, jose.JSONWebKey{Key: ec, KeyID: "one"}), "", "", "one", "ES384", ""},
		"a set":             {text(t, set), "", "", "one", "ES384", ""},
		"another of it":     {text(t, set), "two", "RS384", "two", "RS384", ""},
		"not in it":         {text(t, set), "three", "", "", "", "key_id"},
		"PKCS 8":            {inPEM(t, "PRIVATE KEY", other), "", "", thumb(other), "ES384", ""},
		"PKCS 8 with an id": {inPEM(t, "PRIVATE KEY", r), "mine", "", "mine", "RS384", ""},
		"SEC 1":             {inPEM(t, "EC PRIVATE KEY", ec), "", "", thumb(ec), "ES384", ""},
		"PKCS 1":            {"text before\n" + inPEM(t, "RSA PRIVATE KEY", r), "", "", thumb(r), "RS384", ""},
		"another curve":     {inPEM(t, "PRIVATE KEY", ecKey(t, elliptic.P256())), "", "", "", "", "key"},
		"another algorithm": {inPEM(t, "PRIVATE KEY", ec), "", "RS384", "", "", "algorithm"},
		"public":            {text(t, jose.JSONWebKey{Key: ec.Public(), KeyID: "x"}), "", "", "", "", "key"},
		"symmetric":         {text(t, jose.JSONWebKey{Key: []byte("0123456789abcdef"), KeyID: "x"}), "", "", "", "", "key"},
		"empty":             {"", "", "", "", "", "key"},
		"no key":            {"{}", "", "", "", "", "key"},
		"broken":            {"{", "", "", "", "", "key"},
	} {
		write(t, path, c.text)
		b := &backend{config: &Config{Key: path, KeyID: c.id, Alg: c.alg}}
		key, err := b.key()
		if c.fault != "" {
			if e, ok := errors.AsType[*SettingError](err); !ok || e.Setting != c.fault {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || key.KeyID != c.kid {
			t.Errorf("%s: %+v, %v", name, key, err)
			continue
		}
		if alg, err := b.algorithm(key); string(alg) != c.wantAlg || err != nil {
			t.Errorf("%s: %s, %v", name, alg, err)
		}
	}
}

// The whole of SMART Backend Services, with a key that is rotated while the program runs.
func TestSmartBackend(t *testing.T) {
	first, second := ecKey(t, elliptic.P384()), rsaKey(t)
	path := filepath.Join(t.TempDir(), "keys.json")
	public := map[string]any{"first": first.Public(), "second": second.Public()}
	seen := map[string]bool{}
	var used []string
	o := desktop(t, `{"token_endpoint":"HOST/token","capabilities":["permission-v2"]}`, func(w http.ResponseWriter, r *http.Request) {
		fault := func(what string) {
			t.Error(what)
			w.WriteHeader(http.StatusBadRequest)
		}
		if r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("scope") != "system/*.cruds" ||
			r.PostFormValue("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || r.Header.Get("Authorization") != "" || r.PostFormValue("client_id") != "" {
			fault("another form")
			return
		}
		tok, err := jwt.ParseSigned(r.PostFormValue("client_assertion"), []jose.SignatureAlgorithm{jose.RS384, jose.ES384})
		if err != nil {
			fault(err.Error())
			return
		}
		h := tok.Headers[0]
		var c jwt.Claims
		if err := tok.Claims(public[h.KeyID], &c); err != nil || h.ExtraHeaders["typ"] != "JWT" {
			fault("the signature is not that of the key")
			return
		}
		life := time.Until(c.Expiry.Time())
		if c.Issuer != "us" || c.Subject != "us" || len(c.Audience) != 1 || c.Audience[0] != "http://"+r.Host+"/token" || life > 5*time.Minute || life < time.Minute || c.ID == "" || seen[c.ID] {
			fault("other claims")
			return
		}
		seen[c.ID] = true
		used = append(used, h.KeyID+" "+h.Algorithm)
		io.WriteString(w, `{"access_token":"t","expires_in":300}`)
	})
	write(t, path, text(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: first, KeyID: "first"}}}))
	s, err := New(t.Context(), &Config{Type: "smart-backend", ClientID: "us", Key: path}, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range [][]jose.JSONWebKey{{{Key: first, KeyID: "first"}}, {{Key: second, KeyID: "second"}, {Key: first, KeyID: "first"}}} {
		write(t, path, text(t, jose.JSONWebKeySet{Keys: keys}))
		for range 2 {
			if h, err := header(t, s); h != "Bearer t" || err != nil {
				t.Fatalf("%q %v", h, err)
			}
		}
		s.Renew("Bearer t")
	}
	if got := strings.Join(used, ", "); got != "first ES384, second RS384" {
		t.Errorf("%s", got)
	}
	if _, err := New(t.Context(), &Config{Type: "smart-backend", ClientID: "us", Key: path + "x"}, o); err == nil {
		t.Error("a key that is not there shows only later")
	}
}
