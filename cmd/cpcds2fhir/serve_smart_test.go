package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"cpcds2fhir/internal/sandbox"
	"cpcds2fhir/internal/smart/authserver"
	"cpcds2fhir/internal/smart/blackbox"
)

// smartBench is a server with an authorization server, clients of each kind, and two members who can sign in.
type smartBench struct {
	*streamBench
	config string
	store  string
	served *served
	target *blackbox.Target
}

// newSMART loads a sandbox's extract and serves it. more is added to the configuration.
func newSMART(t *testing.T, more string) *smartBench {
	t.Helper()
	s := &smartBench{streamBench: newStreamBench(t)}
	dir := t.TempDir()
	extract, store := filepath.Join(dir, "extract"), filepath.Join(dir, "store")
	if err := sandbox.Extract(extract, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.run(t, "load", "--quiet", "--to", "store:"+store, extract)
	s.config, s.store = filepath.Join(dir, "serve.yaml"), store
	text := "store: " + store + "\nlisten: 127.0.0.1:0\nlog: json\nlimits: {client: 0, member: 0}\nauthorization_server:\n  enabled: true\n  registration: true\n  login: {passwords: true}\n" +
		"  life: {code: 3s, grace: 2s, access: 8s}\n" + more
	if os.Getenv("ACCOUNTS_POSTGRES") != "" { // an empty database
		s.env = append(s.env, "ACCOUNTS_SEAL="+strings.Repeat("5e", 32))
		text += "  accounts: {database: env:ACCOUNTS_POSTGRES, seal: env:ACCOUNTS_SEAL}\n"
	}
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.target = &blackbox.Target{CodeLife: 3 * time.Second, RefreshGrace: 2 * time.Second, AccessLife: 8 * time.Second, Capabilities: authserver.Capabilities}
	for _, l := range sandbox.Logins()[:2] {
		var p struct{ ID string }
		if err := json.Unmarshal([]byte(s.run(t, "store", "search", "--store", store, "Patient?identifier="+l.Member)), &p); err != nil {
			t.Fatal(err)
		}
		if _, errs, code := s.doWith(t, l.Password+"\n", "member", "link", p.ID, "--config", s.config, "--login", l.Login, "--password"); code != 0 {
			t.Fatal(errs)
		}
		s.target.Members = append(s.target.Members, blackbox.Member{Login: l.Login, Password: l.Password, Patient: p.ID})
	}
	const loopback = "http://127.0.0.1/callback"
	s.target.Public = s.client(t, nil, "Public", "--auth", "none", "--redirect", "https://app.example.org/callback", "--redirect", "https://app.example.org/other?a=b")
	s.target.Confidential = s.client(t, nil, "Confidential", "--redirect", "https://server.example.org/callback")
	s.target.Native = s.client(t, nil, "Native", "--auth", "none", "--native", "--redirect", loopback)
	s.target.Native.AnyPort = true
	s.target.Utah = s.client(t, nil, "Utah", "--utah", "--redirect", "https://utah.example.org/callback")
	s.target.Disabled = s.client(t, nil, "Disabled", "--redirect", "https://gone.example.org/callback")
	s.run(t, "client", "disable", s.target.Disabled.ID, "--config", s.config)
	keys := clientKeys(t)
	s.target.Asymmetric = s.client(t, keys, "Asymmetric", "--auth", "private_key_jwt", "--redirect", "https://keys.example.org/callback", "--id-token-alg", "ES384")
	s.target.Asymmetric.IDTokenAlg = "ES384"
	s.target.Backend = s.client(t, keys, "Backend", "--auth", "private_key_jwt", "--scopes", "system/*.rs system/*.read")
	s.target.Backend.Scopes = []string{"system/*.rs", "system/*.read"}
	s.served = s.serveConfigured(t, s.config)
	s.target.FHIRBase, s.target.Issuer = s.served.base, strings.TrimSuffix(s.served.base, "/fhir")
	return s
}

// client registers a client by the command for it.
func (s *smartBench) client(t *testing.T, keys []jose.JSONWebKey, name string, args ...string) *blackbox.Client {
	t.Helper()
	args = append([]string{"client", "add", name, "--config", s.config, "--output", "json"}, args...)
	if keys != nil {
		set := jose.JSONWebKeySet{}
		for _, k := range keys {
			set.Keys = append(set.Keys, k.Public())
		}
		text, err := json.Marshal(&set)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--jwks", path)
	}
	var c clientOutput
	if err := json.Unmarshal([]byte(s.run(t, args...)), &c); err != nil {
		t.Fatal(err)
	}
	return &blackbox.Client{ID: c.ID, Secret: c.Secret, RedirectURIs: c.RedirectURIs, Keys: keys}
}

func clientKeys(t *testing.T) []jose.JSONWebKey {
	t.Helper()
	a, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return []jose.JSONWebKey{{Key: a, KeyID: "one", Algorithm: "RS384", Use: "sig"}, {Key: b, KeyID: "two", Algorithm: "ES384", Use: "sig"}}
}

// TestServeSMART runs the black-box suite against 'serve' with its authorization server, and looks for secrets in its
// log.
func TestServeSMART(t *testing.T) {
	if testing.Short() {
		t.Skip("the server is a process of its own, which the race detector does not see")
	}
	s := newSMART(t, "")
	t.Run("blackbox", func(t *testing.T) { blackbox.Run(t, s.target) })
	log := s.served.text()
	for _, m := range s.target.Members {
		if strings.Contains(log, m.Password) {
			t.Error("the log has a password")
		}
	}
	for _, c := range []*blackbox.Client{s.target.Confidential, s.target.Utah} {
		if strings.Contains(log, c.Secret) {
			t.Error("the log has the secret of a client")
		}
	}
	if strings.Contains(log, authserver.AccessPrefix) || strings.Contains(log, "code=") {
		t.Error("the log has a token or a code")
	}
	metrics := string(s.served.get(s.served.admin + "/metrics"))
	for _, event := range []string{"authorize", "deny", "token", "refresh", "reuse", "revoke", "service", "login"} {
		if !strings.Contains(metrics, `cpcds2fhir_authorization_events_total{code="",event="`+event+`"}`) {
			t.Errorf("no event %s is counted", event)
		}
	}
	records := s.run(t, "audit", "list", "--store", s.store, "--output", "json")
	for _, want := range []string{`"action":"authorize"`, `"action":"reuse"`, `"note":"utah"`, `"action":"client-disable"`, `"action":"member-link"`} {
		if !strings.Contains(records, want) {
			t.Errorf("the audit has no %s", want)
		}
	}
	s.run(t, "audit", "verify", "--store", s.store)
	for _, text := range []string{metrics, records} {
		if strings.Contains(text, authserver.AccessPrefix) || strings.Contains(text, s.target.Confidential.Secret) || strings.Contains(text, s.target.Members[0].Password) {
			t.Error("a metric or a record has a secret")
		}
	}
}
