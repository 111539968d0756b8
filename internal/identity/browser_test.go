package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/identity"
)

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decoded(text string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

// TestStates is about whose login is finished.
func TestStates(t *testing.T) {
	w := newWorld(t, nil)
	ada, eve := w.browser(t), w.browser(t)

	// Eve cannot make Ada's browser finish Eve's login, nor finish Ada's.
	if got := w.finish(t, ada, w.answered(t, eve, "of-eve")); got.code(t) != "state" || got.request != "" {
		t.Errorf("a login of another browser: %+v", got)
	}
	back := w.answered(t, ada, "of-ada")
	if got := w.finish(t, eve, back); got.code(t) != "state" {
		t.Errorf("the login of another browser: %+v", got)
	}
	if got := w.finish(t, ada, back); got.code(t) != "" || got.request != "of-ada" {
		t.Errorf("the own login: %+v", got)
	}
	if got := w.finish(t, ada, back); got.code(t) != "state" {
		t.Errorf("the own login, again: %+v", got)
	}
}

// TestReplay keeps the cookie of a login that is finished, and opens its URL again.
func TestReplay(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser(t)
	back := w.answered(t, b, "request-1")
	site, _ := url.Parse(w.site.URL)
	kept := b.Jar.Cookies(site)
	if got := w.finish(t, b, back); got.code(t) != "" {
		t.Fatal(got.err)
	}
	if n := len(b.Jar.Cookies(site)); n != 0 {
		t.Errorf("%d cookies are left", n)
	}
	b.Jar.SetCookies(site, kept)
	if got := w.finish(t, b, back); got.code(t) != "state" {
		t.Errorf("a replayed login: %+v", got)
	}
	// A cookie under another name, or changed, opens nothing.
	back = w.answered(t, b, "request-2")
	c := b.Jar.Cookies(site)
	for i := range c {
		c[i].Value = "A" + c[i].Value[1:]
	}
	b.Jar.SetCookies(site, c)
	if got := w.finish(t, b, back); got.code(t) != "state" {
		t.Errorf("a changed cookie: %+v", got)
	}
}

func TestTabs(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser(t)
	one, two := w.answered(t, b, "tab-1"), w.answered(t, b, "tab-2")
	if got := w.finish(t, b, two); got.code(t) != "" || got.request != "tab-2" {
		t.Errorf("the second tab: %+v", got)
	}
	if got := w.finish(t, b, one); got.code(t) != "" || got.request != "tab-1" {
		t.Errorf("the first tab: %+v", got)
	}

	// A browser keeps a few logins, and forgets the oldest.
	var backs []string
	for range 10 {
		backs = append(backs, w.answered(t, b, "many"))
		w.clock.advance(time.Second)
	}
	site, _ := url.Parse(w.site.URL)
	if n := len(b.Jar.Cookies(site)); n > 8 {
		t.Errorf("%d cookies", n)
	}
	if got := w.finish(t, b, backs[0]); got.code(t) != "state" {
		t.Errorf("the oldest: %+v", got)
	}
	if got := w.finish(t, b, backs[9]); got.code(t) != "" {
		t.Errorf("the newest: %+v", got)
	}
}

// TestSlowPerson takes minutes at the provider, as proofs of identity do.
func TestSlowPerson(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser(t)
	back := w.answered(t, b, "request-1")
	w.clock.advance(25 * time.Minute)
	if got := w.finish(t, b, back); got.code(t) != "" {
		t.Errorf("after 25 minutes: %v", got.err)
	}
	back = w.answered(t, b, "request-1")
	w.clock.advance(31 * time.Minute)
	if got := w.finish(t, b, back); got.code(t) != "state" || got.err.(interface{ Reason() string }).Reason() != "expired" {
		t.Errorf("after 31 minutes: %v", got.err)
	}
}

// TestCookie looks at the attributes of the cookie of a login.
func TestCookie(t *testing.T) {
	w := newWorld(t, nil)
	for _, x := range []struct{ redirect, prefix string }{{"https://api.example.gov/login/callback", "__Host-login_"}, {w.site.URL + "/login/callback", "login_"}} {
		c := &identity.Config{Issuer: w.URL, ClientID: clientID, RedirectURL: x.redirect, Levels: []string{"2"}, Rules: byID}
		l, err := identity.New(c, w.accounts, w.people)
		if err != nil {
			t.Fatal(err)
		}
		rw := httptest.NewRecorder()
		if err := l.Begin(rw, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/login", http.NoBody), "request-canary", time.Time{}); err != nil {
			t.Fatal(err)
		}
		set := rw.Result().Cookies()
		if len(set) != 1 {
			t.Fatalf("%d cookies", len(set))
		}
		got := set[0]
		if !strings.HasPrefix(got.Name, x.prefix) || got.Path != "/" || got.Domain != "" || !got.HttpOnly || got.Secure != (x.prefix != "login_") || got.SameSite != http.SameSiteLaxMode || got.MaxAge != 1800 {
			t.Errorf("%+v", got)
		}
		if strings.Contains(string(decoded(got.Value)), "canary") || rw.Code != http.StatusSeeOther || rw.Header().Get("Cache-Control") != "no-store" {
			t.Error("the cookie is readable, or the answer can be stored")
		}
	}
}

func TestMethods(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser(t)
	back := w.answered(t, b, "request-1")
	u, _ := url.Parse(back)
	resp, err := b.PostForm(w.site.URL+"/login/callback", u.Query())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if w.last.code(t) != "state" {
		t.Errorf("by POST: %+v", w.last)
	}
	if got := w.finish(t, b, back+"&state=x"); got.code(t) != "state" {
		t.Errorf("two states: %+v", got)
	}
	if got := w.finish(t, b, back+"&code=x"); got.code(t) != "provider" {
		t.Errorf("two codes: %+v", got)
	}
}

// TestCredentials has the ways in which the server proves to the provider who it is.
func TestCredentials(t *testing.T) {
	t.Run("post", func(t *testing.T) {
		w := newWorld(t, nil)
		w.discovery = func(m map[string]any) { m["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"} }
		if got := w.signIn(t); got.code(t) != "" || w.basic[0] != "" || w.posted.Get("client_secret") != clientSecret {
			t.Errorf("%+v", got)
		}
	})
	t.Run("key", func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, func(c *identity.Config) {
			c.Secret, c.KeyID = nil, "k1"
			c.Key = func() ([]byte, error) { return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil }
		})
		w.clients = key.Public()
		if got := w.signIn(t); got.code(t) != "" || w.posted.Get("client_secret") != "" {
			t.Errorf("%+v", got)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		w := newWorld(t, func(c *identity.Config) { c.Secret = func() (string, error) { return "another", nil } })
		got := w.signIn(t)
		if !errors.Is(got.err, identity.ErrAway) || got.request != "request-1" {
			t.Errorf("%v", got.err)
		}
		if len(w.posted["code"]) != 1 || w.posted.Get("client_secret") != "" {
			t.Error("it tried another way with the same code")
		}
	})
}

func TestUserInfo(t *testing.T) {
	w := newWorld(t, func(c *identity.Config) { c.UserInfo = true })
	delete(w.claims, "member_id")
	got := w.signIn(t)
	if got.code(t) != "" || got.level != levelTwo { // acr of the ID token counts
		t.Fatalf("%+v", got)
	}
	w.more = func(c map[string]any) { c["sub"] = "somebody else" }
	if got := w.signIn(t); got.code(t) != "token" {
		t.Errorf("claims of another: %+v", got)
	}
}

func TestMaxAge(t *testing.T) {
	w := newWorld(t, func(c *identity.Config) {
		c.MaxAge, c.Prompt, c.Extra = time.Hour, "login", map[string]string{"kc_idp_hint": "state"}
	})
	if got := w.signIn(t); got.code(t) != "age" {
		t.Errorf("without auth_time: %+v", got)
	}
	if w.asked.Get("max_age") != "3600" || w.asked.Get("prompt") != "login" || w.asked.Get("kc_idp_hint") != "state" {
		t.Errorf("asked %v", w.asked)
	}
	at := w.clock.now().Add(-30 * time.Minute).Unix()
	w.set(func() { token("auth_time", at)(w) })
	if got := w.signIn(t); got.code(t) != "" || got.at.Unix() != at {
		t.Errorf("half an hour ago: %+v", got)
	}
	w.set(func() { token("auth_time", w.clock.now().Add(-2*time.Hour).Unix())(w) })
	if got := w.signIn(t); got.code(t) != "age" {
		t.Errorf("two hours ago: %+v", got)
	}
}

func TestConfig(t *testing.T) {
	fine := identity.Config{Issuer: "https://login.example.gov", ClientID: "c", RedirectURL: "https://api.example.gov/login/callback", Levels: []string{"2"}}
	if _, err := identity.New(&fine, nil, nil); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(c *identity.Config){
		"issuer":       func(c *identity.Config) { c.Issuer = "http://login.example.gov" },
		"redirect URL": func(c *identity.Config) { c.RedirectURL = "http://api.example.gov/login/callback" },
		"client":       func(c *identity.Config) { c.ClientID = "" },
		"levels":       func(c *identity.Config) { c.Levels = nil },
		"max age":      func(c *identity.Config) { c.MaxAge = -1 },
		"extra":        func(c *identity.Config) { c.Extra = map[string]string{"redirect_uri": "x"} },
		`rule "x"`:     func(c *identity.Config) { c.Rules = []identity.Rule{{Name: "x"}} },
	} {
		c := fine
		change(&c)
		if _, err := identity.New(&c, nil, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if !slices.Equal(fine.Levels, []string{"2"}) {
		t.Error("New changed its configuration")
	}
}
