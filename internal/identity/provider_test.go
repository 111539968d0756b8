package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// openID is an OpenID provider that checks what a client must do, and misbehaves as it is told. Whoever comes to it
// is signed in, with the claims that it has.
type openID struct {
	*httptest.Server
	clock *clock

	mu     sync.Mutex
	key    crypto.Signer
	alg    jose.SignatureAlgorithm
	kid    string
	codes  map[string]*grant
	claims map[string]any // of whoever signs in
	asked  url.Values     // the last authentication request
	posted url.Values     // the last token request
	basic  [2]string      // its credentials

	// What it does otherwise; nil is as it should.
	discovery func(map[string]any)
	token     func(claims map[string]any)
	sign      func(payload []byte) string
	answer    func(url.Values)
	more      func(claims map[string]any) // of userinfo
	instead   func(w http.ResponseWriter, r *http.Request) bool

	since time.Time // of the session that the person has at the provider; zero is none, and no auth_time
	stale bool      // the session counts whatever the request says

	fetches atomic.Int64 // of keys
	clients crypto.PublicKey
}

type grant struct{ challenge, nonce, redirect string }

// clock is a clock that tests move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

const (
	clientID     = "cpcds 2fhir"
	clientSecret = "s3cret+of %the: client"
	levelTwo     = "urn:example:ial:2"
)

var rsaKeys = sync.OnceValue(func() (list [2]*rsa.PrivateKey) {
	for i := range list {
		list[i], _ = rsa.GenerateKey(rand.Reader, 2048)
	}
	return list
})

func newOpenID(t *testing.T) *openID {
	t.Helper()
	o := &openID{clock: new(clock), codes: map[string]*grant{}, key: rsaKeys()[0], alg: jose.RS256, kid: "one"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", o.configuration)
	mux.HandleFunc("GET /authorize", o.authorize)
	mux.HandleFunc("POST /token", o.redeem)
	mux.HandleFunc("GET /userinfo", o.userInfo)
	mux.HandleFunc("GET /keys", o.keys)
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		instead := o.instead
		o.mu.Unlock()
		if instead == nil || !instead(w, r) {
			mux.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *openID) configuration(w http.ResponseWriter, _ *http.Request) {
	m := map[string]any{"issuer": o.URL, "authorization_endpoint": o.URL + "/authorize", "token_endpoint": o.URL + "/token", "userinfo_endpoint": o.URL + "/userinfo",
		"jwks_uri": o.URL + "/keys", "authorization_response_iss_parameter_supported": true, "token_endpoint_auth_methods_supported": []string{"client_secret_basic", "private_key_jwt"}}
	if o.discovery != nil {
		o.discovery(m)
	}
	write(w, http.StatusOK, m)
}

func (o *openID) keys(w http.ResponseWriter, _ *http.Request) {
	o.fetches.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	own := jose.JSONWebKey{Key: o.key.Public(), KeyID: o.kid, Use: "sig"}
	write(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{"kty": "of the future", "kid": "x"}, own}})
}

// authorize is what happens while the person is at the provider.
func (o *openID) authorize(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	q := r.URL.Query()
	o.asked = q
	if q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" ||
		q.Get("response_mode") != "query" || q.Get("state") == "" || q.Get("nonce") == "" {
		http.Error(w, "the request is not as it should be", http.StatusBadRequest)
		return
	}
	if !o.since.IsZero() && !o.stale && (q.Get("prompt") == "login" || q.Get("max_age") == "0") {
		o.since = o.clock.now()
	}
	code := "code-" + strconv.Itoa(len(o.codes))
	o.codes[code] = &grant{challenge: q.Get("code_challenge"), nonce: q.Get("nonce"), redirect: q.Get("redirect_uri")}
	a := url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {o.URL}}
	if o.answer != nil {
		o.answer(a)
	}
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+a.Encode(), http.StatusSeeOther)
}

func (o *openID) redeem(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_ = r.ParseForm()
	o.posted = r.PostForm
	fault := func(code string) {
		write(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": "canary of the provider"})
	}
	id, secret, ok := r.BasicAuth()
	if ok {
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
		o.basic = [2]string{id, secret}
		ok = id == clientID && secret == clientSecret
	} else {
		ok = r.PostForm.Get("client_secret") == clientSecret || o.assertion(r.PostForm.Get("client_assertion"))
	}
	if !ok {
		fault("invalid_client")
		return
	}
	g := o.codes[r.PostForm.Get("code")]
	delete(o.codes, r.PostForm.Get("code"))
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	if g == nil || base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge || r.PostForm.Get("redirect_uri") != g.redirect {
		fault("invalid_grant")
		return
	}
	now := o.clock.now().Unix()
	sum256, sum384 := sha256.Sum256([]byte("an access token")), sha512.Sum384([]byte("an access token"))
	hash := sum256[:16]
	if o.alg == jose.ES384 {
		hash = sum384[:24]
	}
	c := map[string]any{"iss": o.URL, "aud": clientID, "exp": now + 300, "iat": now, "nonce": g.nonce, "acr": levelTwo, "at_hash": base64.RawURLEncoding.EncodeToString(hash)}
	if !o.since.IsZero() {
		c["auth_time"] = o.since.Unix()
	}
	maps.Copy(c, o.claims)
	if o.token != nil {
		o.token(c)
	}
	payload, _ := json.Marshal(c)
	var text string
	if o.sign != nil {
		text = o.sign(payload)
	} else {
		text = sign(o.key, o.alg, o.kid, payload)
	}
	a := map[string]any{"access_token": "an access token", "token_type": "Bearer", "expires_in": 300}
	if text != "" {
		a["id_token"] = text
	}
	write(w, http.StatusOK, a)
}

// assertion checks the client's token for private_key_jwt.
func (o *openID) assertion(text string) bool {
	if o.clients == nil {
		return false
	}
	jws, err := jose.ParseSignedCompact(text, []jose.SignatureAlgorithm{jose.RS256, jose.ES384})
	if err != nil {
		return false
	}
	payload, err := jws.Verify(o.clients)
	var c struct{ Iss, Sub, Aud, JTI string }
	return err == nil && json.Unmarshal(payload, &c) == nil && c.Iss == clientID && c.Sub == clientID && c.Aud == o.URL+"/token" && c.JTI != "" && jws.Signatures[0].Header.KeyID == "k1"
}

func (o *openID) userInfo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer an access token" {
		http.Error(w, "", http.StatusUnauthorized)
		return
	}
	c := map[string]any{"sub": o.claims["sub"], "acr": "urn:example:ial:9", "member_id": "M-1"}
	if o.more != nil {
		o.more(c)
	}
	write(w, http.StatusOK, c)
}

func write(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func sign(key any, alg jose.SignatureAlgorithm, kid string, payload []byte) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
	if err != nil {
		panic(err)
	}
	jws, err := s.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

// rotate gives the provider another key, of another kind.
func (o *openID) rotate(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.key, o.alg, o.kid = key, jose.ES384, "two"
}

// set changes what the provider does.
func (o *openID) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

// values lists what must never be seen: claims of people, codes, secrets.
func (o *openID) values() (list []string) {
	for name, v := range o.claims {
		if text, ok := v.(string); ok && len(text) >= 4 && name != "acr" {
			list = append(list, text)
		}
	}
	slices.Sort(list)
	return append(list, "code-", clientSecret, "an access token", "canary")
}
