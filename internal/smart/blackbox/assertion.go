package blackbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// statement is an assertion of a client before it is signed (RFC 7523; SMART App Launch, Asymmetric Authentication).
type statement struct {
	claims map[string]any
	key    jose.JSONWebKey
	alg    jose.SignatureAlgorithm
	kid    string
}

// assertion makes an assertion that a server must accept, unless edit changes it.
func (s *suite) assertion(c *Client, edit func(*statement)) string {
	key := c.Keys[0]
	st := &statement{key: key, alg: algorithm(key), kid: key.KeyID, claims: map[string]any{
		"iss": c.ID, "sub": c.ID, "aud": s.metadata.Token, "jti": random(24),
		"iat": time.Now().Unix(), "exp": time.Now().Add(4 * time.Minute).Unix(),
	}}
	if edit != nil {
		edit(st)
	}
	return st.sign()
}

// algorithm is that of SMART for a kind of key.
func algorithm(key jose.JSONWebKey) jose.SignatureAlgorithm {
	if _, ok := key.Key.(*ecdsa.PrivateKey); ok {
		return jose.ES384
	}
	return jose.RS384
}

func (st *statement) sign() string {
	text, err := json.Marshal(st.claims)
	if err != nil {
		panic(err) // texts and numbers always marshal
	}
	if st.alg == "none" {
		header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT","kid":"` + st.kid + `"}`))
		return header + "." + base64.RawURLEncoding.EncodeToString(text) + "."
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", st.kid)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: st.alg, Key: st.key.Key}, options)
	if err != nil {
		panic("the target's key cannot sign: " + err.Error())
	}
	signed, err := signer.Sign(text)
	if err != nil {
		panic("the target's key cannot sign: " + err.Error())
	}
	compact, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return compact
}

// stranger makes a key of the same kind that nobody has registered.
func stranger(like jose.JSONWebKey) (any, error) {
	if k, ok := like.Key.(*ecdsa.PrivateKey); ok {
		return ecdsa.GenerateKey(k.Curve, rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}

// signs is the client whose assertions are tested.
func (t *trial) signs() *Client {
	t.Helper()
	for _, c := range []*Client{t.Asymmetric, t.Backend} {
		if c != nil && len(c.Keys) > 0 {
			return c
		}
	}
	t.Skip("the target has no client that signs assertions")
	return nil
}

// claim asks for tokens with an assertion. The code is none, so that an assertion that is right ends in
// invalid_grant, and one that is wrong in invalid_client before that.
func (t *trial) claim(c *Client, assertion string, edit func(url.Values)) *answer {
	t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {random(32)}, "code_verifier": {random(32)},
		"client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	if len(c.RedirectURIs) > 0 {
		form.Set("redirect_uri", c.RedirectURIs[0])
	}
	if len(c.RedirectURIs) == 0 {
		form = url.Values{"grant_type": {"client_credentials"}, "scope": {systemScope(c)},
			"client_assertion_type": {assertionType}, "client_assertion": {assertion}}
	}
	if edit != nil {
		edit(form)
	}
	return t.do(&call{method: http.MethodPost, url: t.metadata.Token, form: form})
}

// wantAccepted fails a check unless an assertion was found to be right.
func (t *trial) wantAccepted(c *Client, a *answer) {
	t.Helper()
	if len(c.RedirectURIs) == 0 {
		t.wantStatus(a, http.StatusOK)
		return
	}
	t.wantError(a, http.StatusBadRequest, "invalid_grant")
}

func (t *trial) wantRejected(a *answer) {
	t.Helper()
	t.wantOAuthError(a, "invalid_client")
	if a.status != http.StatusBadRequest && a.status != http.StatusUnauthorized {
		t.Errorf("got %s, want 400 or 401", a)
	}
}

// wrong is a check that an assertion is refused which is wrong in one way.
func wrong(name string, edit func(t *trial, st *statement)) check {
	return check{name, func(t *trial) {
		c := t.signs()
		t.wantRejected(t.claim(c, t.assertion(c, func(st *statement) { edit(t, st) }), nil))
	}}
}

var assertions = []check{
	{"each registered key authenticates, RS384 and ES384", func(t *trial) {
		c := t.signs()
		for i, key := range c.Keys {
			one := *c
			one.Keys = c.Keys[i : i+1]
			a := t.claim(&one, t.assertion(&one, nil), nil)
			t.Logf("%s: %d", algorithm(key), a.status)
			t.wantAccepted(c, a)
		}
	}},
	{"aud may be a list of the token endpoint", func(t *trial) {
		c := t.signs()
		t.wantAccepted(c, t.claim(c, t.assertion(c, func(st *statement) { st.claims["aud"] = []string{t.metadata.Token} }), nil))
	}},
	{"the same client_id in the body does not disturb", func(t *trial) {
		c := t.signs()
		t.wantAccepted(c, t.claim(c, t.assertion(c, nil), func(f url.Values) { f.Set("client_id", c.ID) }))
	}},
	wrong("alg none", func(_ *trial, st *statement) { st.alg = "none" }),
	wrong("HS256 with the public key as the secret", func(t *trial, st *statement) {
		public := st.key.Public()
		text, err := public.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		st.key, st.alg = jose.JSONWebKey{Key: text}, jose.HS256
	}),
	wrong("a key that is not registered, under the kid of one that is", func(t *trial, st *statement) {
		key, err := stranger(st.key)
		if err != nil {
			t.Fatal(err)
		}
		st.key.Key = key
	}),
	wrong("a kid that nobody knows", func(t *trial, st *statement) {
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		st.kid, st.alg, st.key = random(8), jose.ES384, jose.JSONWebKey{Key: key}
	}),
	wrong("for another server", func(_ *trial, st *statement) { st.claims["aud"] = "https://example.org/oauth2/token" }),
	wrong("without aud", func(_ *trial, st *statement) { delete(st.claims, "aud") }),
	wrong("iss is another client", func(_ *trial, st *statement) { st.claims["iss"] = "somebody-else" }),
	wrong("sub is another client", func(_ *trial, st *statement) { st.claims["sub"] = "somebody-else" }),
	wrong("expired", func(_ *trial, st *statement) {
		st.claims["iat"], st.claims["exp"] = time.Now().Add(-20*time.Minute).Unix(), time.Now().Add(-15*time.Minute).Unix()
	}),
	wrong("without exp", func(_ *trial, st *statement) { delete(st.claims, "exp") }),
	wrong("valid for more than five minutes", func(_ *trial, st *statement) { st.claims["exp"] = time.Now().Add(10 * time.Minute).Unix() }),
	wrong("without jti", func(_ *trial, st *statement) { delete(st.claims, "jti") }),
	wrong("jti is empty", func(_ *trial, st *statement) { st.claims["jti"] = "" }),
	wrong("not valid yet", func(_ *trial, st *statement) { st.claims["nbf"] = time.Now().Add(10 * time.Minute).Unix() }),
	{"a jti that was used", func(t *trial) {
		c := t.signs()
		assertion := t.assertion(c, nil)
		t.wantAccepted(c, t.claim(c, assertion, nil))
		t.wantRejected(t.claim(c, assertion, nil))
	}},
	{"a jti that was used, in another assertion", func(t *trial) {
		c, jti := t.signs(), random(24)
		t.wantAccepted(c, t.claim(c, t.assertion(c, func(st *statement) { st.claims["jti"] = jti }), nil))
		t.wantRejected(t.claim(c, t.assertion(c, func(st *statement) {
			st.claims["jti"], st.claims["exp"] = jti, time.Now().Add(3*time.Minute).Unix()
		}), nil))
	}},
	{"of 20 at once with one jti one is accepted", func(t *trial) {
		c := t.signs()
		assertion := t.assertion(c, nil)
		var mu sync.Mutex
		accepted := 0
		atOnce(20, func(int) {
			a := t.claim(c, assertion, nil)
			mu.Lock()
			defer mu.Unlock()
			if a.status == http.StatusOK || a.text("error") == "invalid_grant" {
				accepted++
			}
		})
		if accepted != 1 {
			t.Errorf("%d were accepted", accepted)
		}
	}},
	{"a JWT whose payload was changed", func(t *trial) {
		c := t.signs()
		parts := strings.Split(t.assertion(c, nil), ".")
		other := strings.Split(t.assertion(c, nil), ".")
		t.wantRejected(t.claim(c, parts[0]+"."+other[1]+"."+parts[2], nil))
	}},
	{"no JWT", func(t *trial) {
		c := t.signs()
		for _, text := range []string{"", "x", "a.b.c", "e30.e30.e30", strings.Repeat("A", 100_000), "{}", "\x00"} {
			if a := t.claim(c, text, nil); a.status != http.StatusBadRequest && a.status != http.StatusUnauthorized && a.status != http.StatusRequestEntityTooLarge {
				t.Errorf("got %s, want 400, 401 or 413", a)
			}
		}
	}},
	{"another assertion type", func(t *trial) {
		c := t.signs()
		a := t.claim(c, t.assertion(c, nil), func(f url.Values) {
			f.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer")
		})
		t.wantOAuthError(a, "invalid_client", "invalid_request")
	}},
	{"another client_id in the body", func(t *trial) {
		c := t.signs()
		a := t.claim(c, t.assertion(c, nil), func(f url.Values) { f.Set("client_id", "somebody-else") })
		t.wantOAuthError(a, "invalid_client", "invalid_request")
	}},
	{"a client of assertions has no secret", func(t *trial) {
		c := t.signs()
		for _, secret := range []string{"", "secret", c.ID} {
			r := t.exchange(t.attempt(c, c.scope()), random(32))
			r.form.Del("client_assertion")
			r.form.Del("client_assertion_type")
			r.header = map[string]string{"Authorization": basic(c.ID, secret)}
			t.wantOAuthError(t.do(r), "invalid_client")
		}
	}},
	{"its id alone does not authenticate a client of assertions", func(t *trial) {
		c := t.signs()
		r := t.exchange(t.attempt(c, c.scope()), random(32))
		r.form.Del("client_assertion")
		r.form.Del("client_assertion_type")
		r.form.Set("client_id", c.ID)
		t.wantOAuthError(t.do(r), "invalid_client")
	}},
}

// atOnce does something n times at the same time.
func atOnce(n int, do func(i int)) {
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-begin
			do(i)
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
}
