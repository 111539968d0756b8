package site

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/identity"
)

// TestFixation gives nobody a session whose id somebody else knows.
func TestFixation(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	planted := accounts.NewSecret()
	u, err := url.Parse(w.server.URL)
	w.must(err)
	b.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-session", Value: planted, Path: "/", Secure: true}})
	b.signIn("bob", bobPassword, "")
	first := b.session()
	if first == planted || first == "" {
		t.Fatalf("the session is the planted one")
	}
	if _, err := w.accounts.Session(t.Context(), planted, time.Hour); !errors.Is(err, accounts.ErrNotFound) {
		t.Errorf("the planted session: %v", err)
	}

	// Another user in the same browser: a new session, and the one before has ended.
	thief := w.browser() // holds a copy of the first cookie
	thief.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-session", Value: first, Path: "/", Secure: true}})
	thief.get("/apps").want(t, http.StatusOK)
	other := w.browser()
	f := other.get("/login").form(t, "/login") // a login form of before
	other.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-session", Value: first, Path: "/", Secure: true}})
	f.Set("login", "ana")
	f.Set("password", anaPassword)
	other.post("/login", f).goes(t, "/apps")
	if other.session() == first {
		t.Error("another user goes on in the same session")
	}
	thief.get("/apps").goes(t, "/login")
}

// TestSignOut ends a session on the server: a copy of the cookie is worth nothing.
func TestSignOut(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("bob", bobPassword, "")
	id := b.session()
	page := b.get("/apps").want(t, http.StatusOK)
	b.get("/logout").want(t, http.StatusOK, "Sign out?")
	b.post("/logout", page.form(t, "/logout")).goes(t, "/logout")
	b.get("/logout").want(t, http.StatusOK, "You are signed out")
	// A session that has ended by itself: the page that was open signs out all the same.
	b.signIn("bob", bobPassword, "")
	page = b.get("/apps")
	w.pass(16 * time.Minute)
	b.post("/logout", page.form(t, "/logout")).goes(t, "/logout")
	if b.session() != "" {
		t.Error("the cookie stays")
	}
	copied := w.browser()
	u, err := url.Parse(w.server.URL)
	w.must(err)
	copied.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-session", Value: id, Path: "/", Secure: true}})
	copied.get("/apps").goes(t, "/login")
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("bob", bobPassword, "")
	w.pass(14 * time.Minute)
	b.get("/apps").want(t, http.StatusOK)
	w.pass(14 * time.Minute)
	b.get("/apps").want(t, http.StatusOK)
	w.pass(15*time.Minute + time.Second)
	request := w.ask("budget", webRedirect)
	page := b.get("/consent?request="+request).goes(t, "/login?request="+request)
	if page.status == http.StatusOK || b.session() != "" {
		t.Error("the cookie of the session stays")
	}

	// The absolute limit, whatever happens.
	b.signIn("bob", bobPassword, "")
	for range 47 {
		w.pass(10 * time.Minute)
		b.get("/apps").want(t, http.StatusOK)
	}
	w.pass(10*time.Minute + time.Second)
	b.get("/apps").goes(t, "/login")
}

// TestLapsed tells somebody whose session has ended while the page was read, and the request goes on.
func TestLapsed(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	w.site.Idle = 5 * time.Minute
	request := w.ask("budget", webRedirect)
	b.signIn("bob", bobPassword, request)
	page := b.get("/consent?request=" + request)
	w.pass(6 * time.Minute)
	f := page.form(t, "/consent")
	f.Set("decision", "allow")
	b.post("/consent", f).goes(t, "/login?request="+request)
	if n := len(w.grants("bob")); n != 0 {
		t.Fatalf("%d grants without a session", n)
	}
	b.signIn("bob", bobPassword, request).goes(t, "/consent?request="+request)
	b.share(b.get("/consent?request="+request), "allow").goes(t, "https://budget.example/")

	u, err := url.Parse(w.server.URL)
	w.must(err)
	stale := w.browser()
	stale.http.Jar.SetCookies(u, []*http.Cookie{{Name: "__Host-session", Value: accounts.NewSecret(), Path: "/", Secure: true}})
	stale.get("/login").want(t, http.StatusOK, "You were signed out because there was no activity")
}

// TestOnceMore has an app that wants a login of now (prompt=login): also in a page that was open before.
func TestOnceMore(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.signIn("bob", bobPassword, "")
	first := b.session()
	w.pass(time.Minute)
	id := accounts.NewSecret()
	w.must(w.accounts.AddRequest(t.Context(), &accounts.Request{ID: id, Client: "budget", RedirectURI: webRedirect, Scopes: []string{"patient/*.read"}, Challenge: "c", AuthAfter: w.now(),
		Created: w.now(), Expires: w.now().Add(10 * time.Minute)}))
	b.get("/consent?request="+id).goes(t, "/login?request="+id)
	page := b.get("/login?request="+id).want(t, http.StatusOK, "The app asks you to sign in again")
	f := page.form(t, "/consent")
	f.Set("decision", "allow")
	b.post("/consent", f).goes(t, "/login?request="+id)
	w.pass(time.Second)
	b.signIn("bob", bobPassword, id).goes(t, "/consent?request="+id)
	if b.session() == first {
		t.Error("the session is the one of before")
	}
	b.share(b.get("/consent?request="+id), "allow").goes(t, webRedirect+"&code=")
	if g := w.grants("bob"); len(g) != 1 || !g[0].AuthTime.Equal(w.now()) {
		t.Errorf("the grants are %+v", g)
	}
}

func TestCookies(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	page := b.get("/login?lang=es")
	f := page.form(t, "/login")
	f.Set("login", "bob")
	f.Set("password", bobPassword)
	a := b.post("/login", f)
	cookies := append(page.header.Values("Set-Cookie"), a.header.Values("Set-Cookie")...)
	if len(cookies) != 4 { // the language, one for forms and its end, and the session
		t.Fatalf("cookies %q", cookies)
	}
	for _, c := range cookies {
		if !strings.HasPrefix(c, "__Host-") || !strings.Contains(c, "; Path=/;") || !strings.Contains(c, "; HttpOnly; Secure; SameSite=Lax") || strings.Contains(c, "Domain") {
			t.Errorf("cookie %q", c)
		}
	}

	plain := newWorld(t, func(c *Config) { c.Issuer = strings.Replace(c.Issuer, "https", "http", 1) })
	b = plain.browser()
	b.signIn("bob", bobPassword, "")
	b.get("/apps").want(t, http.StatusOK)
	for _, c := range b.get("/login?lang=en").header.Values("Set-Cookie") {
		if !strings.HasPrefix(c, "cpcds2fhir_") || strings.Contains(c, "Secure") || !strings.Contains(c, "HttpOnly; SameSite=Lax") {
			t.Errorf("cookie %q", c)
		}
	}
}

// TestPasswords refuses wrong passwords with a form that says so, and locks after too many.
func TestPasswords(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	f := b.get("/login").form(t, "/login")
	f.Set("login", "bob")
	b.post("/login", f).want(t, http.StatusUnprocessableEntity, "<title>Error: Sign in", "Enter your password.", `aria-invalid="true" aria-describedby="password-error"`, `value="bob"`)
	f.Set("password", "wrong-canary")
	for range accounts.LoginTries {
		a := b.post("/login", f)
		if strings.Contains(a.body, "wrong-canary") {
			t.Error("the page has the password")
		}
	}
	f.Set("password", bobPassword)
	b.post("/login", f).want(t, http.StatusTooManyRequests, "too many tries")
	if b.session() != "" {
		t.Error("somebody is signed in")
	}
	w.pass(2 * accounts.LockFor)
	b.post("/login", f).goes(t, "/apps")
	if !slices.Contains(w.events, "refused password\n") || !slices.Contains(w.events, "refused locked\n") {
		t.Errorf("events %q", w.events)
	}
	none := newWorld(t, func(c *Config) { c.Passwords, c.Upstream = false, &provider{} })
	none.browser().post("/login", f).want(t, http.StatusNotFound)
}

// TestCanaries looks for secrets and values of members where they do not belong.
func TestCanaries(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	request := w.ask("budget", webRedirect)
	b.signIn("ana", anaPassword, request)
	key := memberKey(t, b.get("/consent?request="+request), "Ana Canaria López")
	a := b.share(b.get("/consent?request="+request+"&member="+key), "allow").goes(t, "https://budget.example/")
	page := b.get("/apps").want(t, http.StatusOK)
	b.post("/apps/revoke", b.get("/apps/revoke?grant="+w.grants("ana")[0].ID).form(t, "/apps/revoke")).goes(t, "/apps")
	b.share(b.get("/consent?request="+w.ask("budget", webRedirect)+"&member="+key), "deny")
	session := b.session()
	b.post("/logout", page.form(t, "/logout"))
	w.must(w.accounts.Close()) // faults from now on
	fault := b.get("/login?request="+accounts.NewSecret()).want(t, http.StatusServiceUnavailable, "This does not work right now")
	to, err := url.Parse(a.to)
	w.must(err)
	for _, secret := range []string{anaPassword, "Canaria", "1984", session, to.Query().Get("code"), request, key, page.form(t, "/logout").Get("token")} {
		if secret == "" {
			t.Fatal("a canary is missing")
		}
		if strings.Contains(strings.Join(w.events, ""), secret) {
			t.Errorf("the events have a secret: %q", w.events)
		}
		if strings.Contains(fault.body, secret) {
			t.Errorf("the page of a fault has a secret")
		}
	}
	if strings.Contains(fault.body, "sql") || strings.Contains(fault.body, "database") {
		t.Errorf("the page of a fault speaks of the inside:\n%s", fault.body)
	}
	for _, part := range []string{"signed in", "consented", "denied", "revoked", "signed out", "fault"} {
		if !strings.Contains(strings.Join(w.events, ""), part) {
			t.Errorf("no event %s: %q", part, w.events)
		}
	}
}

// TestSpanish keeps the language that was chosen, through the login and on pages of problems.
func TestSpanish(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	b.lang = "es-MX,es;q=0.9,en;q=0.5"
	request := w.ask("budget", webRedirect)
	b.get("/login?request="+request).want(t, http.StatusOK, `<html lang="es">`, "Iniciar sesión", `hreflang="en"`, "/login?request="+request+"&lang=en")
	b.signIn("ana", anaPassword, request)
	page := b.get("/consent?request="+request).want(t, http.StatusOK, "¿De quién es la información que quiere compartir?", "Fecha de nacimiento: 17 de mayo de 1984")
	key := memberKey(t, page, "Mia Canaria López")
	b.get("/consent?request="+request+"&member="+key).want(t, http.StatusOK, "¿Compartir la información del plan de salud de Mia Canaria López con Health Budget?", "Reclamaciones y costos", "1 año", "member="+key)
	b.get("/consent?request="+accounts.NewSecret()).want(t, http.StatusGone, "Esta solicitud venció")
	b.get("/consent?lang=en&member="+key+"&request="+request).want(t, http.StatusOK, `<html lang="en">`, "Share the health plan information of Mia")
	b.get("/apps").want(t, http.StatusOK, "Connected apps") // the choice stays
}

// The logins by OpenID Connect are an Upstream; their own tests go through these pages' calls.
var _ Upstream = (*identity.Login)(nil)

// provider is an identity provider that answers at once.
type provider struct {
	user    *accounts.User
	level   string
	at      time.Time
	request string
	after   time.Time
	err     error
}

func (p *provider) Begin(w http.ResponseWriter, r *http.Request, request string, after time.Time) error {
	if p.err != nil {
		return p.err
	}
	p.request, p.after = request, after
	http.Redirect(w, r, "https://login.state.example/authorize?state=s", http.StatusSeeOther)
	return nil
}

func (p *provider) Finish(http.ResponseWriter, *http.Request) (*accounts.User, string, time.Time, string, error) {
	return p.user, p.level, p.at, p.request, p.err
}

type refusal string

func (r refusal) Error() string  { return "refused with a canary of a member: 123-45-6789" }
func (r refusal) Reason() string { return string(r) }
func (r refusal) Reference() string {
	if r == "none" {
		return "user-of-the-help-desk"
	}
	return ""
}

func TestUpstream(t *testing.T) {
	p := &provider{}
	w := newWorld(t, func(c *Config) { c.Upstream, c.Passwords = p, false })
	u, err := w.accounts.EnsureUser(context.Background(), "https://login.state.example", "subject-1")
	w.must(err)
	w.must(w.accounts.AddLink(t.Context(), &accounts.Link{User: u.ID, Patient: "pat-bob", Role: "self", Source: "rule", Created: w.at}))
	p.user, p.level, p.at = u, "http://idmanagement.gov/ns/assurance/ial/2", w.at.Add(-time.Minute)
	request := w.ask("budget", webRedirect)
	b := w.browser()
	page := b.get("/login?request="+request).want(t, http.StatusOK, "Sign in with your state account", "/login/start?request="+request)
	if strings.Contains(page.body, `type="password"`) {
		t.Error("the page asks for a password")
	}
	b.get("/login/start?request="+request).goes(t, "https://login.state.example/")
	b.get("/login/callback?code=x&state=s").goes(t, "/consent?request="+request)
	consent := b.get("/consent?request="+request).want(t, http.StatusOK, "You are signed in.", "Bob Kanarie")
	if strings.Contains(consent.body, "subject-1") {
		t.Error("the page shows the subject of the identity provider")
	}
	b.share(consent, "allow").goes(t, "https://budget.example/")
	list, err := w.accounts.Grants(t.Context(), accounts.GrantFilter{User: u.ID})
	w.must(err)
	if len(list) != 1 || !list[0].AuthTime.Equal(p.at) {
		t.Errorf("the grants are %+v", list)
	}
	id := b.session()
	b.get("/login/callback?code=x&state=s")
	if b.session() != id {
		t.Error("a second tab of the same user ends the session of the first")
	}

	// An app that wants a login of now has it told to the provider, and goes on afterwards.
	w.pass(time.Minute)
	once := accounts.NewSecret()
	w.must(w.accounts.AddRequest(t.Context(), &accounts.Request{ID: once, Client: "budget", RedirectURI: webRedirect, Scopes: []string{"patient/*.read"}, Challenge: "c", AuthAfter: w.now(),
		Created: w.now(), Expires: w.now().Add(10 * time.Minute)}))
	b.get("/consent?request="+once).goes(t, "/login?request="+once)
	if b.get("/login/start?request="+once).goes(t, "https://login.state.example/"); !p.after.Equal(w.now()) {
		t.Errorf("the provider may use a session of %s", p.after)
	}
	p.at = p.after
	b.get("/login/callback?code=x&state=s").goes(t, "/consent?request="+once)
	b.get("/consent?request="+once).want(t, http.StatusOK, "Bob Kanarie")
	p.level = "higher"
	b.get("/login/callback?code=x&state=s")
	if b.session() == id {
		t.Error("a login of another level goes on in the same session")
	}

	for reason, want := range map[string]string{
		"cancelled": "You did not sign in", "expired": "Signing in took too long", "level": "Your account is not verified enough", "none": "We cannot find your membership", "ambiguous": "We cannot find your membership",
		"unavailable": "Signing in does not work right now", "nonce": "We could not sign you in",
	} {
		p.err, p.request = refusal(reason), w.ask("budget", webRedirect)
		out := w.browser()
		a := out.get("/login/callback?error=x")
		if a.status >= 500 && reason != "unavailable" {
			t.Errorf("%s is %d", reason, a.status)
		}
		a.want(t, a.status, want, "Nothing was shared", p.request)
		if strings.Contains(a.body, "123-45") || out.session() != "" {
			t.Errorf("%s: the page shows the error, or somebody is signed in", reason)
		}
	}
	// The help desk can find whom to link, and whoever has another account can use it.
	p.err, p.request = refusal("none"), w.ask("budget", webRedirect)
	out := w.browser()
	out.get("/login/callback?error=x").want(t, http.StatusForbidden, "Reference for our support: user-of-the-help-desk", "/login/start?request="+p.request+"&switch=1")
	p.err = nil
	if out.get("/login/start?request="+p.request+"&switch=1").goes(t, "https://login.state.example/"); !p.after.Equal(w.now()) {
		t.Errorf("the provider may use a session of %s", p.after)
	}
	request = w.ask("budget", webRedirect)
	b.post("/logout", b.get("/consent?request="+request).form(t, "/logout")).goes(t, "/login?request="+request+"&switch=1")
	b.get("/login?request="+request+"&switch=1").want(t, http.StatusOK, "/login/start?request="+request+"&switch=1")
	p.err = errors.New("connection refused")
	w.browser().get("/login/start").want(t, http.StatusServiceUnavailable, "Signing in does not work right now")
	if all := strings.Join(w.events, ""); !strings.Contains(all, "refused ambiguous") || strings.Contains(all, "123-45") {
		t.Errorf("events %q", all)
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	for name, edit := range map[string]func(*Config){
		"http":      func(c *Config) { c.Issuer = "http://api.example.gov" },
		"path":      func(c *Config) { c.Issuer = "https://api.example.gov/x" },
		"slash":     func(c *Config) { c.Issuer = "https://api.example.gov/" },
		"none":      func(c *Config) { c.Issuer = "" },
		"no login":  func(c *Config) { c.Passwords = false },
		"demo":      func(c *Config) { c.Passwords, c.Upstream, c.Demo = false, &provider{}, []Login{{"a", "b", ""}} },
		"half days": func(c *Config) { c.GrantFor = []time.Duration{12 * time.Hour} },
		"members":   func(c *Config) { c.Member = nil },
	} {
		c := w.site.Config
		edit(&c)
		if _, err := New(&c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
