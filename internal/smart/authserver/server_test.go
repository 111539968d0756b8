package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/outbound"
)

// bench is a server with a public client, and a user who may speak for two members.
type bench struct {
	*Server
	client  *accounts.Client
	user    string
	failed  error  // what Events.Happened returns
	onEvent func() // called by Events.Happened
	events  []Event
}

var errFull = errors.New("the disk is full")

func newBench(t *testing.T) *bench {
	t.Helper()
	a, err := accounts.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "accounts.db"), &accounts.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	b := &bench{}
	b.Server, err = New(&Config{Accounts: a, Issuer: "https://api.example.gov", FHIRBase: "https://api.example.gov/fhir", Events: Events{
		Happened: func(e *Event) error {
			b.events = append(b.events, *e)
			if b.onEvent != nil {
				b.onEvent()
			}
			return b.failed
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.client = &accounts.Client{ID: "app", Name: "App", Status: accounts.Active, Auth: "none", Grants: []string{"authorization_code", "refresh_token"},
		RedirectURIs: []string{"https://app.example.org/callback"}}
	u, err := a.EnsureUser(t.Context(), "", "ada")
	if err := errors.Join(err, a.EnsureKeys(t.Context()), a.AddClient(t.Context(), b.client),
		a.AddLink(t.Context(), &accounts.Link{User: u.ID, Patient: "own", Role: "self", Source: "operator"}),
		a.AddLink(t.Context(), &accounts.Link{User: u.ID, Patient: "child", Role: "representative", Source: "operator"})); err != nil {
		t.Fatal(err)
	}
	b.user = u.ID
	return b
}

const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // of RFC 7636, appendix B
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// ask makes an authorization request and returns the id that the pages go by.
func (b *bench) ask(t *testing.T, scope string, more ...string) string {
	t.Helper()
	v := url.Values{"client_id": {"app"}, "redirect_uri": {b.client.RedirectURIs[0]}, "response_type": {"code"}, "scope": {scope}, "aud": {b.FHIRBase},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "state": {"s"}}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, AuthorizePath+"?"+v.Encode(), http.NoBody))
	_, id, ok := strings.Cut(w.Header().Get("Location"), "/consent?request=")
	if !ok {
		t.Fatalf("%d to %s", w.Code, w.Header().Get("Location"))
	}
	return id
}

func (b *bench) decision(patient, scopes string) *Decision {
	return &Decision{User: b.user, Patient: patient, Scopes: strings.Fields(scopes), AuthTime: b.Now(), Until: b.Now().Add(24 * time.Hour)}
}

func (b *bench) call(path string, v url.Values) (int, map[string]any) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	var answer map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &answer)
	return w.Code, answer
}

// redeem allows a request and redeems its code.
func (b *bench) redeem(t *testing.T, patient, scopes string) map[string]any {
	t.Helper()
	to, err := b.Allow(t.Context(), b.ask(t, scopes), b.decision(patient, scopes))
	if err != nil {
		t.Fatal(err)
	}
	status, answer := b.call(TokenPath, url.Values{"grant_type": {"authorization_code"}, "client_id": {"app"}, "code": {codeIn(t, to)},
		"redirect_uri": {b.client.RedirectURIs[0]}, "code_verifier": {verifier}})
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	return answer
}

func codeIn(t *testing.T, to string) string {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil || u.Query().Get("code") == "" {
		t.Fatalf("no code in the redirect: %v", err)
	}
	return u.Query().Get("code")
}

// TestAllowHoldsByItself proves that a page that is wrong, or is made to send what it should not, can give away nothing.
func TestAllowHoldsByItself(t *testing.T) {
	b := newBench(t)
	for name, spoil := range map[string]func(d *Decision){
		"a member whom the user does not speak for": func(d *Decision) { d.Patient = "stranger" },
		"no member":          func(d *Decision) { d.Patient = "" },
		"nobody":             func(d *Decision) { d.User = "" },
		"another user":       func(d *Decision) { d.User = "somebody" },
		"more scopes":        func(d *Decision) { d.Scopes = []string{"patient/*.rs"} },
		"another context":    func(d *Decision) { d.Scopes = []string{"user/Patient.rs"} },
		"a service's":        func(d *Decision) { d.Scopes = []string{"system/Patient.rs"} },
		"offline access":     func(d *Decision) { d.Scopes = []string{"offline_access"} },
		"an end in the past": func(d *Decision) { d.Until = time.Now() },
	} {
		id := b.ask(t, "launch/patient patient/Patient.rs")
		d := b.decision("own", "launch/patient patient/Patient.rs")
		spoil(d)
		if to, err := b.Allow(t.Context(), id, d); err == nil {
			t.Errorf("%s: allowed, %s", name, to)
		}
		if _, err := b.Pending(t.Context(), id); err != nil {
			t.Errorf("%s: the request is gone: %v", name, err)
		}
	}
	if grants, err := b.Accounts.Grants(t.Context(), accounts.GrantFilter{Ended: true}); err != nil || len(grants) > 0 {
		t.Errorf("there are %d grants, %v", len(grants), err)
	}
	id := b.ask(t, "patient/*.rs", "prompt", "login")
	d := b.decision("own", "patient/*.rs")
	d.AuthTime = b.Now().Add(-time.Hour)
	if _, err := b.Allow(t.Context(), id, d); err == nil {
		t.Error("an old login was enough for prompt=login")
	}
}

// TestAudited proves that what cannot be recorded does not count.
func TestAudited(t *testing.T) {
	b := newBench(t)
	b.failed = errors.New("the disk is full")
	if _, err := b.Allow(t.Context(), b.ask(t, "patient/*.rs"), b.decision("own", "patient/*.rs")); err == nil {
		t.Fatal("a code was given")
	}
	if grants, err := b.Accounts.Grants(t.Context(), accounts.GrantFilter{}); err != nil || len(grants) > 0 {
		t.Errorf("%d grants count, %v", len(grants), err)
	}
	b.failed = nil
	to, err := b.Allow(t.Context(), b.ask(t, "patient/*.rs"), b.decision("own", "patient/*.rs"))
	if err != nil {
		t.Fatal(err)
	}
	b.failed = errors.New("the disk is full")
	status, answer := b.call(TokenPath, url.Values{"grant_type": {"authorization_code"}, "client_id": {"app"}, "code": {codeIn(t, to)},
		"redirect_uri": {b.client.RedirectURIs[0]}, "code_verifier": {verifier}})
	if status != http.StatusServiceUnavailable || answer["access_token"] != nil {
		t.Errorf("%d %v", status, answer["error"])
	}
	var actions []string
	for _, e := range b.events {
		actions = append(actions, e.Action)
	}
	if want := []string{"authorize", "authorize", "token"}; !slices.Equal(actions, want) {
		t.Errorf("events %v, want %v", actions, want)
	}
}

// TestFHIRUser proves that fhirUser is the member, readable with the token, and that a representative, for whom there is
// no resource, gets none.
func TestFHIRUser(t *testing.T) {
	b := newBench(t)
	for patient, want := range map[string]any{"own": "https://api.example.gov/fhir/Patient/own", "child": nil} {
		answer := b.redeem(t, patient, "openid fhirUser launch/patient patient/*.rs")
		claims := b.idClaims(t, answer["id_token"])
		if claims["fhirUser"] != want || answer["patient"] != patient || strings.Contains(answer["scope"].(string), "fhirUser") != (want != nil) {
			t.Errorf("%s: fhirUser %v, patient %v, scope %v", patient, claims["fhirUser"], answer["patient"], answer["scope"])
		}
	}
}

// idClaims checks an ID token by the keys that are published now.
func (b *bench) idClaims(t *testing.T, token any) map[string]any {
	t.Helper()
	claims, err := b.verifyID(token)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func (b *bench) verifyID(token any) (map[string]any, error) {
	text, _ := token.(string)
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256, jose.ES384})
	if err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, KeysPath, http.NoBody))
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		return nil, err
	}
	keys := set.Key(parsed.Headers[0].KeyID)
	if len(keys) != 1 || !keys[0].IsPublic() {
		return nil, errors.New("the key is not published, or not public")
	}
	claims := map[string]any{}
	return claims, parsed.Claims(keys[0].Key, &claims)
}

// TestKeysRotate proves that no ID token is refused while keys are rotated under load, also one that was signed
// before.
func TestKeysRotate(t *testing.T) {
	b := newBench(t)
	var tokens sync.Map
	var n atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var w sync.WaitGroup
	for range 4 {
		w.Go(func() {
			for ctx.Err() == nil {
				token, err := b.idToken(context.WithoutCancel(ctx), b.client, &accounts.Grant{User: b.user, Patient: "own"}, true, "n")
				if err == nil {
					_, err = b.verifyID(token)
				}
				if err != nil {
					t.Error(err)
					return
				}
				tokens.Store(n.Add(1), token)
			}
		})
	}
	kids := map[string]bool{}
	for range 5 {
		keys, err := b.Accounts.RotateKeys(t.Context(), 20*time.Millisecond, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			kids[k.ID] = true
		}
		time.Sleep(30 * time.Millisecond)
	}
	cancel()
	w.Wait()
	used := map[string]bool{}
	tokens.Range(func(_, token any) bool {
		if _, err := b.verifyID(token); err != nil {
			t.Error(err)
			return false
		}
		parsed, _ := jwt.ParseSigned(token.(string), []jose.SignatureAlgorithm{jose.RS256})
		used[parsed.Headers[0].KeyID] = true
		return true
	})
	if n.Load() < 10 || len(used) < 3 || len(kids) != 10 {
		t.Errorf("%d tokens by %d keys of %d", n.Load(), len(used), len(kids))
	}
}

// TestScopes proves which scopes are kept: those that are known and registered, as they are written.
func TestScopes(t *testing.T) {
	all := &accounts.Client{Grants: []string{"refresh_token"}}
	few := &accounts.Client{Scopes: []string{"openid", "launch/patient", "patient/Coverage.rs", "patient/ExplanationOfBenefit.rs?type=pharmacy"}}
	service := &accounts.Client{Scopes: []string{"system/Patient.r", "system/Coverage.*"}}
	for _, x := range []struct {
		client      *accounts.Client
		asked, want string
		service     bool
	}{
		{all, "openid fhirUser profile email launch launch/patient offline_access online_access", "openid fhirUser launch/patient offline_access", false},
		{all, "fhirUser patient/*.read", "patient/*.read", false}, // a claim of a token that was not asked for
		{all, "patient/*.rs patient/Patient.read user/*.read system/*.rs", "patient/*.rs patient/Patient.read user/*.read", false},
		{all, "patient/*.write patient/*.cud patient/Observation.rs patient/Patient.rs?birthdate=2000 practitioner/*.rs patient/*", "", false},
		{all, "patient/Coverage.sr patient/Coverage.rr patient/Coverage.s patient/Coverage.RS", "patient/Coverage.s", false},
		{all, "patient/Coverage.cruds user/*.* patient/Coverage.rs patient/Patient.cr?_id=1", "patient/Coverage.rs user/*.read", false}, // nothing is written
		{all, "patient/ExplanationOfBenefit.rs?type=pharmacy", "patient/ExplanationOfBenefit.rs?type=pharmacy", false},
		{few, "openid fhirUser offline_access patient/*.rs patient/Coverage.r patient/Patient.rs", "openid patient/Coverage.r", false},
		{few, "patient/ExplanationOfBenefit.rs patient/ExplanationOfBenefit.rs?type=pharmacy patient/ExplanationOfBenefit.rs?type=oral", "patient/ExplanationOfBenefit.rs?type=pharmacy", false},
		{service, "system/*.rs system/Patient.rs system/Patient.r system/Coverage.rs patient/*.rs openid", "system/Patient.r system/Coverage.rs", true},
		{all, "system/*.rs", "", true},
	} {
		asked, err := parseScopes(x.asked)
		if err != nil {
			t.Fatal(err)
		}
		if got := known(x.client, asked, x.service); strings.Join(got, " ") != x.want {
			t.Errorf("%q for %v: %q, want %q", x.asked, x.client.Scopes, strings.Join(got, " "), x.want)
		}
	}
}

// TestPublic proves that a jwks_uri reaches no address that only this server can reach.
func TestPublic(t *testing.T) {
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "127.0.0.1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.1.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "::1": false, "::": false, "fe80::1": false, "fd00::1": false,
		"::ffff:127.0.0.1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "198.18.0.1": false,
	} {
		if got := outbound.Public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	served := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	defer s.Close()
	for _, at := range []string{s.URL, "http://" + s.Listener.Addr().String(), "https://localhost:1/", "file:///etc/passwd"} {
		if _, err := newKeySets(outbound.PublicOnly(), time.Now).fetch(t.Context(), at); err == nil {
			t.Errorf("%s was fetched", at)
		}
	}
	if served > 0 {
		t.Error("the server was reached")
	}
}

// TestKeySets proves that keys are fetched again when a client has new ones, that made-up key ids fetch nothing, and that
// what is wrong at the URL is refused.
func TestKeySets(t *testing.T) {
	now, fetched, body := time.Now(), 0, `{"keys":[]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched++
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	defer s.Close()
	client := s.Client()
	client.CheckRedirect = outbound.PublicOnly().CheckRedirect
	k := newKeySets(client, func() time.Time { return now })
	c := &accounts.Client{ID: "c", JWKSURI: s.URL}
	b := newBench(t)
	keys, err := b.Accounts.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set := func(id string) string {
		for _, x := range keys {
			if x.Algorithm == "ES384" {
				text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: x.Private.Public(), KeyID: id}}})
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
		}
		t.Fatal("no key")
		return ""
	}
	body = set("one")
	for range 3 {
		if found, err := k.of(t.Context(), c, "one"); err != nil || len(found) != 1 {
			t.Fatalf("%d keys, %v", len(found), err)
		}
	}
	for range 100 {
		if found, err := k.of(t.Context(), c, "made-up"); err != nil || len(found) != 0 {
			t.Fatalf("%d keys, %v", len(found), err)
		}
	}
	if fetched != 1 {
		t.Errorf("fetched %d times", fetched)
	}
	body, now = set("two"), now.Add(time.Minute)
	if found, err := k.of(t.Context(), c, "two"); err != nil || len(found) != 1 || fetched != 2 {
		t.Errorf("%d keys, %v, fetched %d times", len(found), err, fetched)
	}
	s.CloseClientConnections()
	for path, text := range map[string]string{"/away": body, "/empty": `{"keys":[]}`, "/junk": "<html>", "/huge": strings.Repeat(" ", keySetMax+1) + body} {
		body = text
		if _, err := k.fetch(t.Context(), s.URL+path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

// TestAuthorizer proves what a token opens at the API, and that it opens nothing from the moment it is revoked.
func TestAuthorizer(t *testing.T) {
	b := newBench(t)
	answer := b.redeem(t, "own", "launch/patient patient/Coverage.rs user/Patient.read offline_access")
	a := &Authorizer{Accounts: b.Accounts}
	ask := func(token string) (*api.Access, error) {
		r := httptest.NewRequest(http.MethodGet, "/fhir/Patient", http.NoBody)
		r.Header.Set("Authorization", "bearer "+token)
		return a.Authorize(r)
	}
	token := answer["access_token"].(string)
	got, err := ask(token)
	if err != nil || got.Patient != "own" || got.Client != "app" || got.User != b.user || len(got.Scopes) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := ask(answer["refresh_token"].(string)); err == nil {
		t.Error("a refresh token opens the API")
	}
	if status, _ := b.call(RevokePath, url.Values{"token": {answer["refresh_token"].(string)}, "client_id": {"app"}}); status != http.StatusOK {
		t.Errorf("revoke: %d", status)
	}
	refused, ok := errors.AsType[*api.Error](second(ask(token)))
	if !ok || refused.Status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %v", refused)
	}
	if err := b.Accounts.SetStatus(t.Context(), "app", accounts.Active); err != nil {
		t.Fatal(err)
	}
	answer = b.redeem(t, "own", "patient/*.rs")
	if err := b.Accounts.SetStatus(t.Context(), "app", accounts.Disabled); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(answer["access_token"].(string)); err == nil {
		t.Error("a token of a disabled client opens the API")
	}
}

func second[A any](_ A, err error) error { return err }
