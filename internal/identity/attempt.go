package identity

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"

	"golang.org/x/oauth2"
)

// attempt is a login that has begun in a browser. It is kept, sealed, in a cookie of the browser by the name of its
// state: so logins in two tabs do not disturb each other, and nobody can make a browser finish a login that it has
// not begun.
type attempt struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"` // of PKCE
	Request  string `json:"r"` // the authorization request that it is for
	Began    int64  `json:"b"` // Unix time
	After    int64  `json:"a"` // when the person must have authenticated at the earliest, in Unix milliseconds; 0 is any time
}

// attemptsMax is how many logins a browser may have under way.
const attemptsMax = 8

// Begin redirects the browser to the provider, and remembers in the browser which authorization request the login
// is for; "" is none. after is when the person must have authenticated at the earliest; zero is any time. With it the
// provider is asked to authenticate the person again, although it may have a session of its own (OpenID Connect Core
// 1.0, 3.1.2.1: prompt=login, max_age=0). If Begin fails, as with ErrAway, it has written nothing. The redirect leaves
// this origin, so a page whose form leads here must allow the provider in form-action.
func (l *Login) Begin(w http.ResponseWriter, r *http.Request, request string, after time.Time) error {
	m, err := l.provider.discover(r.Context())
	if err != nil {
		return err
	}
	at := &attempt{State: accounts.NewSecret(), Nonce: accounts.NewSecret(), Verifier: oauth2.GenerateVerifier(), Request: request, Began: l.Now().Unix()}
	if !after.IsZero() {
		at.After = after.UnixMilli()
	}
	if err := l.remember(w, r, at); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, l.authorize(m, at), http.StatusSeeOther)
	return nil
}

// authorize is the URL of an authentication request (OpenID Connect Core 1.0, 3.1.2.1).
func (l *Login) authorize(m *metadata, at *attempt) string {
	options := []oauth2.AuthCodeOption{
		oauth2.S256ChallengeOption(at.Verifier),
		oauth2.SetAuthURLParam("nonce", at.Nonce),
		// The answer comes by GET: a POST from the provider's site would come without the cookie.
		oauth2.SetAuthURLParam("response_mode", "query"),
	}
	set := func(name, value string) {
		if value != "" {
			options = append(options, oauth2.SetAuthURLParam(name, value))
		}
	}
	switch {
	case at.After != 0:
		set("prompt", "login")
		set("max_age", "0")
	case l.MaxAge > 0:
		set("prompt", l.Prompt)
		set("max_age", strconv.Itoa(int(l.MaxAge/time.Second)))
	default:
		set("prompt", l.Prompt)
	}
	if l.LevelClaim == "acr" {
		set("acr_values", strings.Join(l.Levels, " "))
	}
	for name, value := range l.Extra {
		set(name, value)
	}
	return l.oauth(m, "", oauth2.AuthStyleInParams).AuthCodeURL(at.State, options...)
}

func (l *Login) oauth(m *metadata, secret string, style oauth2.AuthStyle) *oauth2.Config {
	return &oauth2.Config{ClientID: l.ClientID, ClientSecret: secret, RedirectURL: l.RedirectURL, Scopes: l.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: m.Authorize, TokenURL: m.Token, AuthStyle: style}}
}

// remember sets the cookie of an attempt, and forgets the oldest one if there are many.
func (l *Login) remember(w http.ResponseWriter, r *http.Request, at *attempt) error {
	aead, err := l.sealer(r.Context())
	if err != nil {
		return err
	}
	text, err := json.Marshal(at)
	if err != nil {
		return fmt.Errorf("write a login: %w", err)
	}
	oldest, began, n := "", int64(0), 0
	for _, c := range r.Cookies() {
		if !strings.HasPrefix(c.Name, l.cookie) {
			continue
		}
		n++
		old, err := open(aead, c)
		if err != nil || old.Began <= l.Now().Add(-loginFor).Unix() {
			l.forget(w, c.Name)
			n--
			continue
		}
		if oldest == "" || old.Began < began {
			oldest, began = c.Name, old.Began
		}
	}
	if n >= attemptsMax {
		l.forget(w, oldest)
	}
	name, nonce := l.cookieName(at.State), make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	sealed := aead.Seal(nonce, nonce, text, []byte(name))
	http.SetCookie(w, l.newCookie(name, base64.RawURLEncoding.EncodeToString(sealed), int(loginFor/time.Second)))
	return nil
}

// recall returns the attempt of a state if this browser has begun it, and forgets it.
func (l *Login) recall(w http.ResponseWriter, r *http.Request, state string) (*attempt, error) {
	aead, err := l.sealer(r.Context())
	if err != nil {
		return nil, err
	}
	name := l.cookieName(state)
	c, err := r.Cookie(name)
	if err != nil {
		return nil, &RefusedError{Code: CodeState}
	}
	l.forget(w, name)
	now := l.Now()
	at, err := open(aead, c)
	if err != nil || at.State != state || at.Began < now.Add(-loginFor).Unix() {
		return nil, &RefusedError{Code: CodeState}
	}
	// The cookie was taken back, but a browser may have kept it.
	switch err := l.accounts.UseAssertion(r.Context(), "login cookies", state, now.Add(loginFor)); {
	case errors.Is(err, accounts.ErrUsed):
		return nil, &RefusedError{Code: CodeState}
	case err != nil:
		return nil, fmt.Errorf("note that a login is finished: %w", err)
	}
	return at, nil
}

func (l *Login) cookieName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return l.cookie + base64.RawURLEncoding.EncodeToString(sum[:12])
}

func (l *Login) newCookie(name, value string, age int) *http.Cookie {
	// Lax: the browser comes back by a link of another site.
	return &http.Cookie{Name: name, Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: l.secure, SameSite: http.SameSiteLaxMode}
}

func (l *Login) forget(w http.ResponseWriter, name string) {
	http.SetCookie(w, l.newCookie(name, "", -1))
}

func open(aead cipher.AEAD, c *http.Cookie) (*attempt, error) {
	sealed, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(sealed) < aead.NonceSize() {
		return nil, &RefusedError{Code: CodeState}
	}
	n := aead.NonceSize()
	text, err := aead.Open(nil, sealed[:n], sealed[n:], []byte(c.Name))
	if err != nil {
		return nil, &RefusedError{Code: CodeState}
	}
	at := new(attempt)
	return at, json.Unmarshal(text, at)
}

// sealer seals cookies with a key that all processes share.
func (l *Login) sealer(ctx context.Context) (cipher.AEAD, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.aead != nil {
		return l.aead, nil
	}
	key, err := l.accounts.Secret(ctx, "login cookies")
	if err != nil {
		return nil, fmt.Errorf("read the key of login cookies: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("use the key of login cookies: %w", err)
	}
	if l.aead, err = cipher.NewGCM(block); err != nil {
		return nil, fmt.Errorf("use the key of login cookies: %w", err)
	}
	return l.aead, nil
}

// single returns the value of a parameter that is there once at most.
func single(q url.Values, name string) (string, bool) {
	if len(q[name]) > 1 {
		return "", false
	}
	return q.Get(name), true
}
