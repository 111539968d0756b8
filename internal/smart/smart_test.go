package smart

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"cpcds2fhir/internal/api"
)

// idp is an authorization server with keys of its own.
type idp struct {
	*httptest.Server
	mu      sync.Mutex
	keys    map[string]crypto.Signer // by key id
	fetches atomic.Int64             // of keys
	asked   atomic.Int64             // introspections
	down    atomic.Bool
	slow    chan struct{} // keys are answered when it is closed; nil is at once
	answers map[string]map[string]any
}

var (
	rsaKey   = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherKey = sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
)

func must[K any](k K, err error) K {
	if err != nil {
		panic(err)
	}
	return k
}

func newIDP(t testing.TB) *idp {
	t.Helper()
	p := &idp{keys: map[string]crypto.Signer{"r1": rsaKey(), "e1": ecKey()}, answers: map[string]map[string]any{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"introspection_endpoint":%q,"authorization_endpoint":"https://idp/authorize","token_endpoint":"https://idp/token"}`, p.URL, p.URL+"/keys", p.URL+"/introspect")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		if p.slow != nil {
			<-p.slow
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		var list []any
		for id, k := range p.keys {
			list = append(list, jose.JSONWebKey{Key: k.Public(), KeyID: id, Use: "sig"})
		}
		list = append(list, map[string]any{"kty": "unknown", "kid": "odd"}) // one that nobody understands
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": list})
	})
	mux.HandleFunc("POST /introspect", func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if id, secret, ok := r.BasicAuth(); !ok || id != "api" || secret != "s%3Acret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer := p.answers[r.FormValue("token")]
		if answer == nil {
			answer = map[string]any{"active": false}
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

const base = "https://api.example.org/fhir"

// claimed are the claims of a good token, changed by pairs of names and values; nil removes one.
func (p *idp) claimed(changes ...any) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": p.URL, "aud": base, "exp": now + 300, "iat": now, "sub": "user", "client_id": "app", "patient": "p1", "scope": "openid patient/*.read"}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(c, changes[i].(string))
		} else {
			c[changes[i].(string)] = changes[i+1]
		}
	}
	return c
}

// sign makes a token.
func sign(t testing.TB, alg jose.SignatureAlgorithm, id string, key any, c map[string]any) string {
	t.Helper()
	o := new(jose.SignerOptions).WithType("at+jwt")
	if id != "" {
		o = o.WithHeader("kid", id)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(s).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (p *idp) token(t testing.TB, changes ...any) string {
	t.Helper()
	return sign(t, jose.RS256, "r1", rsaKey(), p.claimed(changes...))
}

func (p *idp) authorizer(t testing.TB, change func(*Config)) *Authorizer {
	t.Helper()
	c := &Config{Issuer: p.URL, Audience: []string{base}}
	if change != nil {
		change(c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/fhir/Patient/p1", http.NoBody)
	for _, h := range header {
		r.Header.Add("Authorization", h)
	}
	return r
}

// try authorizes, and returns the status of the error, 0 if there is none.
func try(t testing.TB, a *Authorizer, header ...string) (*api.Access, int, *api.Error) {
	t.Helper()
	access, err := a.Authorize(request(header...))
	if err == nil {
		return access, 0, nil
	}
	e, ok := errors.AsType[*api.Error](err)
	if !ok || access != nil {
		t.Fatalf("%+v, %v", access, err)
	}
	return nil, e.Status, e
}

// TestTokens tries what a token can be, right and wrong.
func TestTokens(t *testing.T) {
	p := newIDP(t)
	now := time.Now().Unix()
	parts := strings.Split(p.token(t), ".")
	hmac := sign(t, jose.HS256, "r1", []byte(strings.Repeat("public", 10)), p.claimed())
	for name, x := range map[string]struct {
		token  string
		status int
	}{
		"good":              {p.token(t), 0},
		"EC":                {sign(t, jose.ES384, "e1", ecKey(), p.claimed()), 0},
		"no key id":         {sign(t, jose.RS256, "", rsaKey(), p.claimed()), 0},
		"PS256":             {sign(t, jose.PS256, "r1", rsaKey(), p.claimed()), 0},
		"several audiences": {p.token(t, "aud", []string{"other", base + "/"}), 0},
		"scp":               {p.token(t, "scope", nil, "scp", []string{"patient/*.rs"}), 0},
		"a little late":     {p.token(t, "exp", now-30), 0},
		"a little early":    {p.token(t, "nbf", now+30, "iat", now+30), 0},
		"another audience":  {p.token(t, "aud", "https://other.example.org"), 401},
		"no audience":       {p.token(t, "aud", nil), 401},
		"a prefix of it":    {p.token(t, "aud", base+"/x"), 401},
		"another issuer":    {p.token(t, "iss", p.URL+"/"), 401},
		"expired":           {p.token(t, "exp", now-90), 401},
		"no expiry":         {p.token(t, "exp", nil), 401},
		"expiry as text":    {p.token(t, "exp", "tomorrow"), 401},
		"not yet":           {p.token(t, "nbf", now+90), 401},
		"from the future":   {p.token(t, "iat", now+90), 401},
		"another key":       {sign(t, jose.RS256, "r1", otherKey(), p.claimed()), 401},
		"another key's id":  {sign(t, jose.RS256, "e1", rsaKey(), p.claimed()), 401},
		"unknown key id":    {sign(t, jose.RS256, "x", rsaKey(), p.claimed()), 401},
		"HMAC":              {hmac, 401},
		"none":              {"eyJhbGciOiJub25lIn0." + parts[1] + ".", 401},
		"no signature":      {parts[0] + "." + parts[1] + ".", 401},
		"other claims":      {parts[0] + "." + strings.Split(p.token(t, "patient", "p2"), ".")[1] + "." + parts[2], 401},
		"junk":              {"junk", 401},
		"too long":          {strings.Repeat("a", tokenMax+1), 401},
		"no member":         {p.token(t, "patient", nil), 403},
		"a foreign member":  {p.token(t, "patient", "Practitioner/1"), 401},
		"an odd member":     {p.token(t, "patient", "p1?x=1"), 401},
		"fhirUser":          {p.token(t, "patient", nil, "fhirUser", base+"/Patient/p1"), 0},
		"a representative":  {p.token(t, "fhirUser", base+"/RelatedPerson/x"), 0},
		"a practitioner":    {p.token(t, "patient", nil, "fhirUser", base+"/Practitioner/x"), 403},
		"a service":         {p.token(t, "patient", nil, "scope", "system/*.rs"), 403}, // unless it is allowed
	} {
		t.Run(name, func(t *testing.T) {
			a := p.authorizer(t, nil)
			access, status, e := try(t, a, "Bearer "+x.token)
			if status != x.status {
				t.Fatalf("status %d (%v), want %d", status, e, x.status)
			}
			if status == 0 && (access.Patient != "p1" || access.Client != "app" || access.User != "user" || len(access.Scopes) != 1) {
				t.Errorf("%+v", access)
			}
			if status == 401 && (!strings.Contains(e.Header["WWW-Authenticate"], `error="invalid_token"`) || strings.Contains(e.Text, "p2")) {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestHeaders tries how a token can be sent.
func TestHeaders(t *testing.T) {
	p := newIDP(t)
	a := p.authorizer(t, nil)
	token := p.token(t)
	for _, x := range []struct {
		header []string
		status int
	}{
		{[]string{"Bearer " + token}, 0}, {[]string{"bearer " + token}, 0}, {[]string{"BEARER  " + token + " "}, 0},
		{nil, 401}, {[]string{""}, 401}, {[]string{"Bearer"}, 401}, {[]string{"Bearer "}, 401}, {[]string{token}, 401}, {[]string{"Basic " + token}, 401},
		{[]string{"Bearer " + token, "Bearer " + token}, 401}, {[]string{"Bearer " + token + ", Bearer x"}, 401}, {[]string{"Bearer a b"}, 401},
	} {
		if _, status, e := try(t, a, x.header...); status != x.status {
			t.Errorf("%.40q: %d %v", x.header, status, e)
		}
	}
	_, _, e := try(t, a)
	if got := e.Header["WWW-Authenticate"]; got != `Bearer realm="fhir"` { // no error: nothing was sent
		t.Errorf("without a token: %s", got)
	}
}

// TestScopes proves that a member's token opens nothing of a service's scopes, and the reverse.
func TestScopes(t *testing.T) {
	p := newIDP(t)
	a := p.authorizer(t, func(c *Config) { c.Operators = true })
	for _, x := range []struct {
		scope, patient string
		status, scopes int
	}{
		{"patient/Coverage.rs system/*.rs user/Patient.r", "p1", 0, 2},
		{"system/*.rs openid", "", 0, 1},
		{"system/*.rs patient/*.rs", "", 403, 0},
		{"patient/*.rs", "", 403, 0},
		{"openid", "", 403, 0},
		{"openid", "p1", 0, 0},
	} {
		changes := []any{"scope", x.scope, "patient", nil}
		if x.patient != "" {
			changes[3] = x.patient
		}
		access, status, _ := try(t, a, "Bearer "+p.token(t, changes...))
		if status != x.status || status == 0 && (access.Patient != x.patient || access.Scopes == nil || len(access.Scopes) != x.scopes) {
			t.Errorf("%s, member %q: %d %+v", x.scope, x.patient, status, access)
		}
	}
}

// TestRotation changes the keys of the server while it is used: new tokens count at once, and made-up key ids do
// not lead to a storm.
func TestRotation(t *testing.T) {
	p := newIDP(t)
	a := p.authorizer(t, nil)
	clock := time.Now()
	a.now = func() time.Time { return clock }
	if _, status, _ := try(t, a, "Bearer "+p.token(t)); status != 0 {
		t.Fatal(status)
	}
	clock = clock.Add(keysAgain + time.Second)
	p.mu.Lock()
	p.keys["r2"] = otherKey()
	p.mu.Unlock()
	if _, status, e := try(t, a, "Bearer "+sign(t, jose.RS256, "r2", otherKey(), p.claimed())); status != 0 {
		t.Errorf("a token of the new key: %v", e)
	}
	before := p.fetches.Load()
	for i := range 1000 {
		if _, status, _ := try(t, a, "Bearer "+sign(t, jose.ES384, fmt.Sprint("x", i), ecKey(), p.claimed())); status != 401 {
			t.Fatal(status)
		}
	}
	if n := p.fetches.Load() - before; n > 1 {
		t.Errorf("1000 made-up keys led to %d fetches", n)
	}
	if _, status, _ := try(t, a, "Bearer "+p.token(t, "jti", "1")); status != 0 {
		t.Error("the old key does not count any more")
	}
	// The server is away: what was fetched before goes on to count.
	p.down.Store(true)
	clock = clock.Add(time.Hour)
	if _, status, e := try(t, a, "Bearer "+p.token(t, "jti", "2", "exp", clock.Unix()+60, "iat", clock.Unix())); status != 0 {
		t.Errorf("while the server is away: %v", e)
	}
	fresh := p.authorizer(t, nil)
	if _, status, e := try(t, fresh, "Bearer "+p.token(t)); status != http.StatusServiceUnavailable || e.Retry == 0 {
		t.Errorf("without any key: %d %v", status, e)
	}
}

// TestSlowKeys proves that whoever has a key does not wait for a fetch that hangs.
func TestSlowKeys(t *testing.T) {
	p := newIDP(t)
	a := p.authorizer(t, nil)
	var offset atomic.Int64
	a.now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	if _, status, _ := try(t, a, "Bearer "+p.token(t)); status != 0 {
		t.Fatal(status)
	}
	p.slow = make(chan struct{})
	defer close(p.slow)
	offset.Store(int64(keysFresh + time.Second)) // the keys are stale, and are fetched again
	began := time.Now()
	for i := range 20 {
		exp := a.now().Unix() + 60
		if _, status, e := try(t, a, "Bearer "+p.token(t, "jti", fmt.Sprint(i), "exp", exp)); status != 0 {
			t.Fatal(e)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := request("Bearer " + sign(t, jose.RS256, "new", otherKey(), p.claimed("exp", a.now().Unix()+60))).WithContext(ctx)
	if _, err := a.Authorize(r); err == nil {
		t.Error("a token of an unknown key counts")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestIntrospection asks the server about tokens, and remembers its answers for a while.
func TestIntrospection(t *testing.T) {
	p := newIDP(t)
	now := time.Now().Unix()
	p.answers["good"] = map[string]any{"active": true, "aud": base, "scope": "patient/*.read", "client_id": "app", "sub": "user", "patient": "p1", "exp": now + 300}
	p.answers["bare"] = map[string]any{"active": true, "scope": "patient/*.read", "client_id": "app", "patient": "p1"}
	p.answers["foreign"] = map[string]any{"active": true, "aud": "x", "scope": "patient/*.read", "patient": "p1"}
	p.answers["expired"] = map[string]any{"active": true, "aud": base, "scope": "patient/*.read", "patient": "p1", "exp": now - 300}
	p.answers["text"] = map[string]any{"active": "true", "aud": base, "patient": "p1"}
	p.answers["refresh"] = map[string]any{"active": true, "aud": base, "scope": "patient/*.read", "patient": "p1", "typ": "Refresh"}
	p.answers["refresh2"] = map[string]any{"active": true, "aud": base, "scope": "patient/*.read", "patient": "p1", "token_type": "refresh_token"}
	how := Introspection{Client: "api", Secret: func() (string, error) { return "s:cret", nil }, CacheFor: time.Minute}
	a := p.authorizer(t, func(c *Config) { c.Introspection = &how })
	clock := time.Now()
	a.now = func() time.Time { return clock }
	for token, want := range map[string]int{"good": 0, "bare": 401, "foreign": 401, "expired": 401, "text": 401, "unknown": 401, "refresh": 401, "refresh2": 401} {
		if access, status, e := try(t, a, "Bearer "+token); status != want || status == 0 && access.Patient != "p1" {
			t.Errorf("%s: %d %v", token, status, e)
		}
	}
	asked := p.asked.Load()
	for range 100 {
		if _, status, _ := try(t, a, "Bearer good"); status != 0 {
			t.Fatal(status)
		}
		if _, status, _ := try(t, a, "Bearer unknown"); status != 401 {
			t.Fatal(status)
		}
	}
	if n := p.asked.Load() - asked; n > 0 {
		t.Errorf("the server was asked %d times more", n)
	}
	p.answers["good"] = nil // it is revoked
	clock = clock.Add(time.Minute + time.Second)
	if _, status, _ := try(t, a, "Bearer good"); status != 401 {
		t.Error("a token that was revoked counts after its answer was to be forgotten")
	}
	lax := how
	lax.AssumeAudience = true
	if _, status, e := try(t, p.authorizer(t, func(c *Config) { c.Introspection = &lax }), "Bearer bare"); status != 0 {
		t.Errorf("without aud, which is assumed: %v", e)
	}
	wrong := how
	wrong.Secret = func() (string, error) { return "x", nil }
	if _, status, e := try(t, p.authorizer(t, func(c *Config) { c.Introspection = &wrong }), "Bearer good"); status != 503 || strings.Contains(e.Text, "x") {
		t.Errorf("with a wrong secret: %d %v", status, e)
	}
}

// TestMetadata holds the issuer to the name that the configuration has.
func TestMetadata(t *testing.T) {
	p := newIDP(t)
	m, err := p.authorizer(t, nil).Metadata(t.Context())
	if err != nil || m.TokenEndpoint != "https://idp/token" {
		t.Errorf("%+v %v", m, err)
	}
	a := p.authorizer(t, func(c *Config) { c.Issuer += "/" })
	if _, err := a.Metadata(t.Context()); err == nil || !strings.Contains(err.Error(), "another issuer") {
		t.Errorf("with a slash more: %v", err)
	}
	for _, c := range []*Config{{}, {Issuer: "x"}, {Issuer: "x", Audience: []string{""}}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}

// TestParallel has many requests with few tokens at once, for the race detector.
func TestParallel(t *testing.T) {
	p := newIDP(t)
	a := p.authorizer(t, nil)
	tokens := []string{p.token(t), p.token(t, "patient", "p2"), "junk"}
	var wait sync.WaitGroup
	for i := range 50 {
		wait.Go(func() {
			for range 20 {
				access, err := a.Authorize(request("Bearer " + tokens[i%3]))
				if (i%3 == 2) != (err != nil) || err == nil && access.Patient != fmt.Sprint("p", i%3+1) {
					t.Errorf("%d: %+v %v", i, access, err)
				}
			}
		})
	}
	wait.Wait()
}
