package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// TestServeTokens serves a store to whoever has a token of another program's authorization server: a member
// sees the own data, everybody else nothing, and the log has no token.
func TestServeTokens(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var idp *httptest.Server
	idp = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/realms/state/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":"%[1]s/realms/state","jwks_uri":"%[1]s/keys","authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token",`+
				`"code_challenge_methods_supported":["plain","S256"],"scopes_supported":["openid","offline_access"]}`, idp.URL)
		case "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1"}}})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer idp.Close()
	b := newStreamBench(t, "--claims", "200", "--seed", "8")
	store := filepath.Join(t.TempDir(), "store")
	b.run(t, "load", "--quiet", "--to", "store:"+store, b.extract)
	var members []string
	for line := range strings.Lines(b.run(t, "store", "search", "--store", store, "Patient?_count=2")) {
		var p struct{ ID string }
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		members = append(members, p.ID)
	}
	config := filepath.Join(t.TempDir(), "serve.yaml")
	text := fmt.Sprintf("store: %s\nlisten: 127.0.0.1:0\nbase: https://api.example.org/fhir\nlog: json\nauthorization: {issuer: %s/realms/state}\n", store, idp.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := b.run(t, "serve", "check", "--config", config)
	for _, want := range []string{"200 claims", "does not exist; serve will create it", "none, on a loopback address", "/realms/state: 1 key"} {
		if !strings.Contains(out, want) {
			t.Errorf("the check does not say %q:\n%s", want, out)
		}
	}
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte(strings.Replace(text, "/realms/state", "/realms/other", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, code := b.do(t, "serve", "check", "--config", wrong); code != 3 || !strings.Contains(out, "tokens    FAILED: read the metadata") {
		t.Errorf("the check of a wrong issuer: exit code %d\n%s", code, out)
	}
	s := b.serveConfigured(t, config)
	token := func(member, scope string, lifetime time.Duration) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := jwt.Signed(signer).Claims(map[string]any{"iss": idp.URL + "/realms/state", "aud": "https://api.example.org/fhir", "exp": time.Now().Add(lifetime).Unix(),
			"sub": "u", "azp": "app-7", "patient": member, "scope": scope}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	good := token(members[0], "patient/*.read openid", time.Hour)
	for _, x := range []struct {
		path, token string
		status      int
	}{
		{"/metadata", "", 200}, {"/.well-known/smart-configuration", "", 200},
		{"/Patient/" + members[0], "", 401}, {"/Patient/" + members[0], "x", 401}, {"/Patient/" + members[0], token(members[0], "patient/*.read", -time.Hour), 401},
		{"/Patient/" + members[0], good, 200}, {"/Patient/" + members[1], good, 404}, {"/ExplanationOfBenefit?patient=" + members[0], good, 200},
		{"/Patient/" + members[0], token(members[0], "patient/Coverage.rs", time.Hour), 403}, {"/Patient/" + members[0], token("", "system/*.rs", time.Hour), 403},
	} {
		r, err := http.NewRequest(http.MethodGet, s.base+x.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if x.token != "" {
			r.Header.Set("Authorization", "Bearer "+x.token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != x.status || x.status == 401 && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d, want %d", x.path, resp.StatusCode, x.status)
		}
	}
	var about struct {
		Issuer, AuthorizationEndpoint string
		Methods                       []string `json:"code_challenge_methods_supported"`
		Capabilities                  []string
	}
	if err := json.Unmarshal(s.get("/.well-known/smart-configuration"), &about); err != nil || about.Issuer != idp.URL+"/realms/state" ||
		fmt.Sprint(about.Methods) != "[S256]" || !strings.Contains(fmt.Sprint(about.Capabilities), "sso-openid-connect permission-offline") {
		t.Errorf("%+v %v", about, err)
	}
	if text := string(s.get("/metadata")); !strings.Contains(text, idp.URL+"/authorize") || !strings.Contains(text, "oauth-uris") {
		t.Errorf("the CapabilityStatement does not name the authorization server: %.300s", text)
	}
	s.stop()
	if log := s.text(); strings.Contains(log, good[len(good)-20:]) || !strings.Contains(log, `"client":"app-7"`) || !strings.Contains(log, "it has expired") {
		t.Errorf("the log has a token, or does not say who came:\n%s", log)
	}
	out = b.run(t, "audit", "list", "--store", store, "--client", "app-7", "--member", members[0])
	if n := strings.Count(out, "\n"); n != 4 { // two answers, and two refusals of what is another's or out of scope
		t.Errorf("the audit has %d records of the app:\n%s", n, out)
	}
}

// TestServeAuthorizationRefuses proves that a configuration that would let the wrong people in is refused.
func TestServeAuthorizationRefuses(t *testing.T) {
	for _, x := range []struct{ config, names string }{
		{"authorization: {issuer: https://idp.example.org}", "authorization.audience"},
		{"open: true\nbase: https://api.example.org/fhir\nauthorization: {issuer: https://idp.example.org}", "exclude each other"},
		{"base: https://api.example.org/fhir\nauthorization: {issuer: http://idp.example.org}", "authorization.issuer"},
		{"base: https://api.example.org/fhir\nauthorization: {issuer: https://idp.example.org, member_claims: []}", "member_claims"},
		{"base: https://api.example.org/fhir\nauthorization: {issuer: https://idp.example.org, introspection: {enabled: true, client: api}}", "introspection.secret"},
		{"base: https://api.example.org/fhir\nauthorization: {issuer: https://idp.example.org, introspection: {enabled: true, client: api, secret: hunter2}}", "env:NAME or file:PATH"},
		{"base: https://api.example.org/fhir\nauthorization: {issuers: x}", "issuers"},
	} {
		config := filepath.Join(t.TempDir(), "serve.yaml")
		if err := os.WriteFile(config, []byte(x.config), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readServe(config)
		if err == nil {
			err = c.check()
		}
		if err == nil || exitCode(err) != 2 || !strings.Contains(err.Error(), x.names) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", x.config, err)
		}
	}
}
