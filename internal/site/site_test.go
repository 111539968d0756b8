package site

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/smart/authserver"
)

// world is a site over a database of its own, with members and apps.
type world struct {
	t        testing.TB
	accounts *accounts.Accounts
	site     *Site
	server   *httptest.Server

	mu     sync.Mutex
	at     time.Time
	events []string
}

// The members. Names and passwords are canaries: they may be on pages, and nowhere else.
var (
	names  = map[string]string{"pat-ana": "Ana Canaria López", "pat-leo": "Leo Canario López", "pat-mia": "Mia Canaria López", "pat-bob": "Bob Kanarie"}
	births = map[string]string{"pat-ana": "1984-05-17", "pat-leo": "2015-02-03", "pat-mia": "2018-11-30", "pat-bob": "1951-07-04"}
)

const (
	anaPassword    = "kanarienvogel-ana-7"
	bobPassword    = "kanarienvogel-bob-7"
	nobodysWord    = "kanarienvogel-nobody-7"
	webRedirect    = "https://budget.example/callback?keep=1"
	schemeRedirect = "org.example.chart:/callback"
)

func newWorld(t testing.TB, edit ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, at: time.Now().Truncate(time.Second)}
	ctx := t.Context()
	var err error
	w.accounts, err = accounts.Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "accounts.db"), &accounts.Options{Seal: sha256.Sum256([]byte("seal")), Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.accounts.Close() })
	w.seed()
	w.server = httptest.NewUnstartedServer(nil)
	c := &Config{
		Accounts: w.accounts, Name: "Example State Medicaid",
		Contact: "help@medicaid.example", Policy: "https://medicaid.example/privacy", Notices: "https://medicaid.example/rights", Passwords: true,
		Member: func(_ context.Context, patient string) (string, string, error) {
			if names[patient] == "" {
				return "", "", errors.New("there is no such Patient")
			}
			return names[patient], births[patient], nil
		},
		Now: w.now,
	}
	c.Issuer = "https://" + w.server.Listener.Addr().String()
	for _, f := range edit {
		f(c)
	}
	c.Events = Events{
		SignedIn:  func(user, level string) { w.note("signed in", user, level) },
		SignedOut: func(user string) { w.note("signed out", user) },
		Refused:   func(reason string) { w.note("refused", reason) },
		Consented: func(user, client, patient string, scopes []string, until time.Time) {
			w.note("consented", user, client, patient, scopes, until)
		},
		Denied:  func(user, client string) { w.note("denied", user, client) },
		Revoked: func(user, client, patient, grant string) { w.note("revoked", user, client, patient, grant) },
		Fault:   func(path string, err error) { w.note("fault", path, err) },
	}
	server, err := authserver.New(&authserver.Config{Accounts: w.accounts, Issuer: c.Issuer, FHIRBase: c.Issuer + "/fhir", Now: w.now,
		Explain: func(rw http.ResponseWriter, r *http.Request, status int, code string) {
			w.site.Explain(rw, r, status, code)
		}})
	w.must(err)
	c.Pages = server
	if w.site, err = New(c); err != nil {
		t.Fatal(err)
	}
	m := http.NewServeMux()
	m.Handle("/", w.site.Handler())
	m.Handle("/oauth2/", server)
	m.Handle("/sso/oauth2/", server)
	w.server.Config.Handler = m
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that clients close early
	if strings.HasPrefix(c.Issuer, "https:") {
		w.server.StartTLS()
	} else {
		w.server.Start()
	}
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func (w *world) note(what ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintln(what...))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// user is the id of an embedded login.
func (w *world) user(login string) string {
	w.t.Helper()
	u, err := w.accounts.EnsureUser(w.t.Context(), "", login)
	w.must(err)
	return u.ID
}

func (w *world) seed() {
	ctx := w.t.Context()
	for login, password := range map[string]string{"ana": anaPassword, "bob": bobPassword, "nobody": nobodysWord} {
		_, err := w.accounts.SetPassword(ctx, login, password)
		w.must(err)
	}
	for _, l := range []*accounts.Link{
		{User: w.user("ana"), Patient: "pat-ana", Role: "self"}, {User: w.user("ana"), Patient: "pat-leo", Role: "representative"},
		{User: w.user("ana"), Patient: "pat-mia", Role: "representative"}, {User: w.user("bob"), Patient: "pat-bob", Role: "self"},
	} {
		l.Source, l.Created = "sandbox", w.at
		w.must(w.accounts.AddLink(ctx, l))
	}
	for _, c := range []*accounts.Client{
		{ID: "budget", Name: "Health Budget", RedirectURIs: []string{webRedirect}, Homepage: "https://budget.example/", Policy: "https://budget.example/privacy", Terms: "https://budget.example/terms"},
		{ID: "chart", Name: "My Chart Pocket", RedirectURIs: []string{schemeRedirect}, Native: true},
	} {
		c.Status, c.Auth, c.Grants, c.Owner, c.Created, c.Changed = accounts.Active, "none", []string{"authorization_code", "refresh_token"}, "sandbox", w.at, w.at
		w.must(w.accounts.AddClient(ctx, c))
	}
}

// ask is a request of an app, as the authorization server keeps it.
func (w *world) ask(client, redirect string, scopes ...string) string {
	w.t.Helper()
	if len(scopes) == 0 {
		scopes = []string{"openid", "fhirUser", "launch/patient", "patient/*.read", "offline_access"}
	}
	id := accounts.NewSecret()
	w.must(w.accounts.AddRequest(w.t.Context(), &accounts.Request{ID: id, Client: client, RedirectURI: redirect, Scopes: scopes, State: "st%2B+te", Challenge: "c", Audience: "a",
		Created: w.now(), Expires: w.now().Add(10 * time.Minute)}))
	return id
}

// browser keeps cookies, and does not follow redirects.
type browser struct {
	w    *world
	http *http.Client
	lang string
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	w.must(err)
	c := *w.server.Client()
	c.Jar = jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{w: w, http: &c}
}

// answer is a page.
type answer struct {
	status int
	header http.Header
	body   string
	to     string // Location
}

func (b *browser) do(method, path, body string, header ...string) *answer {
	b.w.t.Helper()
	r, err := http.NewRequestWithContext(b.w.t.Context(), method, b.w.server.URL+path, strings.NewReader(body))
	b.w.must(err)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "null") // as browsers do for pages with the policy no-referrer
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if b.lang != "" {
		r.Header.Set("Accept-Language", b.lang)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Del(header[i])
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	res, err := b.http.Do(r)
	b.w.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	b.w.must(err)
	return &answer{res.StatusCode, res.Header, string(text), res.Header.Get("Location")}
}

func (b *browser) get(path string) *answer {
	b.w.t.Helper()
	return b.do(http.MethodGet, path, "")
}

func (b *browser) post(path string, v url.Values, header ...string) *answer {
	b.w.t.Helper()
	return b.do(http.MethodPost, path, v.Encode(), header...)
}

var (
	formTag  = regexp.MustCompile(`(?s)<form [^>]*action="([^"]*)".*?</form>`)
	inputTag = regexp.MustCompile(`(?s)<input ([^>]*)>`)
	attr     = regexp.MustCompile(`([a-z]+)(?:="([^"]*)")?`)
)

// form is what a browser would send for the last form of a page with this action.
func (a *answer) form(t testing.TB, action string) url.Values {
	t.Helper()
	var v url.Values
	for _, f := range formTag.FindAllStringSubmatch(a.body, -1) {
		if f[1] != action {
			continue
		}
		v = url.Values{}
		for _, in := range inputTag.FindAllStringSubmatch(f[0], -1) {
			at := map[string]string{}
			for _, m := range attr.FindAllStringSubmatch(in[1], -1) {
				if _, ok := at[m[1]]; !ok {
					at[m[1]] = html.UnescapeString(m[2])
				}
			}
			_, checked := at["checked"]
			if (at["type"] == "checkbox" || at["type"] == "radio") && !checked {
				continue
			}
			v.Add(at["name"], at["value"])
		}
	}
	if v == nil {
		t.Fatalf("the page has no form for %s:\n%s", action, a.body)
	}
	return v
}

// want fails if a page is not as it should be.
func (a *answer) want(t testing.TB, status int, texts ...string) *answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d:\n%s", a.status, status, a.body)
	}
	for _, x := range texts {
		if !strings.Contains(html.UnescapeString(a.body), x) {
			t.Errorf("the page lacks %q:\n%s", x, a.body)
		}
	}
	return a
}

func (a *answer) goes(t testing.TB, prefix string) *answer {
	t.Helper()
	a.want(t, http.StatusSeeOther)
	if !strings.HasPrefix(a.to, prefix) {
		t.Fatalf("it goes to %q, want %q", a.to, prefix)
	}
	return a
}

// signIn signs an embedded login in.
func (b *browser) signIn(login, password, request string) *answer {
	b.w.t.Helper()
	path := "/login"
	if request != "" {
		path += "?request=" + request
	}
	f := b.get(path).want(b.w.t, http.StatusOK).form(b.w.t, "/login")
	f.Set("login", login)
	f.Set("password", password)
	return b.post("/login", f).goes(b.w.t, "/")
}

// share answers a consent page.
func (b *browser) share(page *answer, decision string) *answer {
	b.w.t.Helper()
	f := page.form(b.w.t, "/consent")
	f.Set("decision", decision)
	return b.post("/consent", f)
}

// session is the value of the session's cookie.
func (b *browser) session() string {
	u, err := url.Parse(b.w.server.URL)
	b.w.must(err)
	for _, c := range b.http.Jar.Cookies(u) {
		if c.Name == b.w.site.frame.CookieName("session") {
			return c.Value
		}
	}
	return ""
}

// token redeems the code of a redirect.
func (w *world) token(redirect string) string {
	w.t.Helper()
	u, err := url.Parse(redirect)
	w.must(err)
	sum := sha256.Sum256([]byte(redirect))
	token := base64.RawURLEncoding.EncodeToString(sum[:])
	_, g, err := w.accounts.FindCode(w.t.Context(), u.Query().Get("code"))
	w.must(err)
	w.must(w.accounts.Redeem(w.t.Context(), u.Query().Get("code"), &accounts.Tokens{Access: token, AccessScopes: g.Scopes, AccessExpires: w.now().Add(time.Hour)}))
	return token
}

func (w *world) grants(login string) []*accounts.Grant {
	w.t.Helper()
	list, err := w.accounts.Grants(w.t.Context(), accounts.GrantFilter{User: w.user(login)})
	w.must(err)
	return list
}
