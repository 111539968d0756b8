// Package site has the pages that members see: signing in, the choice of a member for those who represent
// somebody, the consent to an app, and the apps that they have connected. Pages are HTML that works without a
// script, in English and Spanish. What is decided is kept by the authorization server and in accounts; this package
// keeps nothing itself, so several processes can serve the same members.
package site

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/smart/authserver"
)

// Config says what the pages show, and whom they ask. Zero values mean defaults where a field says so.
type Config struct {
	Accounts *accounts.Accounts
	Pages    authserver.Pages

	// Issuer is the origin of the server, as browsers reach it. With https, cookies have the prefix __Host- and are
	// Secure. http is refused but for loopback addresses.
	Issuer string

	Name    string // of the agency, as members read it
	Contact string // its support: a URL or an e-mail address; "" shows none
	Policy  string // URL of its privacy policy; "" shows none
	Notices string // URL of its notices on language help and nondiscrimination; "" shows none

	// Passwords offers embedded logins. They are for sandboxes; Demo shows some on the login page.
	Passwords bool
	Demo      []Login

	// Upstream, unless it is nil, signs members in by the identity provider of the state.
	Upstream Upstream

	// Member reads who a member is, for the people who may see that: through the API, with their rights. born is a
	// FHIR date.
	Member func(ctx context.Context, patient string) (name, born string, err error)

	// Read says what an app has read of a member by what a user has allowed: when last, and how often resources of each
	// type were read. nil shows nothing.
	Read func(ctx context.Context, user, client, patient string) (last time.Time, counts map[string]int, err error)

	Idle     time.Duration   // after so long without a page a session ends; 0 is 15 minutes
	Absolute time.Duration   // after so long it ends whatever happens; 0 is 8 hours
	GrantFor []time.Duration // how long apps may be allowed, the shortest first; nil is a day, 90 days and a year
	Access   time.Duration   // how long an access token is good for; 0 is an hour
	GrantNow time.Duration   // which of them is chosen first; 0 is the longest

	Zone   *time.Location   // in which dates are written; nil is UTC
	Now    func() time.Time // nil is time.Now
	Events Events
}

// Login is an embedded login that a sandbox shows to everybody.
type Login struct{ Login, Password, Note string }

// Upstream signs people in elsewhere. Its methods are safe for concurrent use.
type Upstream interface {
	// Begin sends the browser to the provider. request is the authorization request that waits for the login, or
	// "". after is when the person must have signed in at the earliest, so that a session of the provider does not
	// do; zero is any time. If it fails it has written nothing.
	Begin(w http.ResponseWriter, r *http.Request, request string, after time.Time) error

	// Finish reads the provider's answer, and writes nothing but cookies. It returns who has signed in, the level of
	// their identity (acr), when they did (not before Begin's after), and the request of Begin: that one also if it fails, as far as it is
	// known. An error that has a method Reason() string is a refusal; the reason is one of Refusals or another word
	// without a value of a member. It may have a method Reference() string too: an id of the person here, by which the
	// help desk finds them, "" if it is not known. Other errors are faults.
	Finish(w http.ResponseWriter, r *http.Request) (user *accounts.User, level string, authTime time.Time, request string, err error)
}

// Refusals are the reasons that the pages explain to members in words of their own.
var Refusals = []string{"cancelled", "expired", "level", "none", "ambiguous", "unavailable"}

// Events report what happens. Every field may be nil. They have ids, and no secret and no value of a member.
type Events struct {
	SignedIn  func(user, level string)
	SignedOut func(user string)
	Refused   func(reason string) // a login: password, locked, csrf, or what Upstream says
	Consented func(user, client, patient string, scopes []string, until time.Time)
	Denied    func(user, client string) // user is "" before anybody has signed in
	Revoked   func(user, client, patient, grant string)
	Fault     func(path string, err error) // what the member could not help
}

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static/site.css static/mark.svg
var staticFiles embed.FS

// Site serves the pages. It is safe for concurrent use.
type Site struct {
	Config
	secure    bool
	key       []byte // of the tokens in forms
	templates map[string]*template.Template
	versions  map[string]string // of static files: parts of their sums
}

// New makes a Site. It asks accounts for the key of its forms.
func New(c *Config) (*Site, error) {
	s := &Site{Config: *c, templates: map[string]*template.Template{}, versions: map[string]string{}}
	u, err := url.Parse(s.Issuer)
	switch {
	case err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("%q is not the origin of a server, such as https://api.example.gov", s.Issuer)
	case u.Scheme == "https":
		s.secure = true
	case u.Scheme != "http" || !loopback(u.Hostname()):
		return nil, fmt.Errorf("members sign in at %s: that must be https, but for loopback addresses", s.Issuer)
	}
	switch {
	case s.Accounts == nil || s.Pages == nil || s.Member == nil:
		return nil, errors.New("the pages need Accounts, Pages and Member")
	case !s.Passwords && s.Upstream == nil:
		return nil, errors.New("nobody can sign in: there are neither embedded logins nor an identity provider")
	case !s.Passwords && len(s.Demo) > 0:
		return nil, errors.New("logins are shown, but embedded logins are off")
	}
	if s.Idle == 0 {
		s.Idle = 15 * time.Minute
	}
	if s.Absolute == 0 {
		s.Absolute = 8 * time.Hour
	}
	if s.GrantFor == nil {
		s.GrantFor = []time.Duration{day, 90 * day, 365 * day}
	}
	if s.Access == 0 {
		s.Access = time.Hour
	}
	if s.GrantNow == 0 {
		s.GrantNow = s.GrantFor[len(s.GrantFor)-1]
	}
	for _, d := range s.GrantFor {
		if d <= 0 || d%day != 0 {
			return nil, fmt.Errorf("apps are allowed for whole days, not for %s", d)
		}
	}
	if s.Zone == nil {
		s.Zone = time.UTC
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.key, err = s.Accounts.Secret(context.Background(), "forms of the pages"); err != nil {
		return nil, fmt.Errorf("key of the forms: %w", err)
	}
	for _, name := range []string{"login", "choose", "consent", "continue", "apps", "revoke", "logout", "problem"} {
		t, err := template.ParseFS(templateFiles, "templates/layout.html", "templates/"+name+".html")
		if err != nil {
			return nil, err
		}
		s.templates[name] = t
	}
	for _, name := range []string{"site.css", "mark.svg"} {
		b, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		s.versions[name] = hex.EncodeToString(sum[:6])
	}
	return s, nil
}

const day = 24 * time.Hour

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Handler serves /login, /consent, /apps, /logout and what is below them, and /static/.
func (s *Site) Handler() http.Handler {
	m := http.NewServeMux()
	for pattern, f := range map[string]func(*visit) error{
		"GET /login":          (*visit).showLogin,
		"POST /login":         (*visit).login,
		"GET /login/start":    (*visit).startUpstream,
		"GET /login/callback": (*visit).finishUpstream,
		"GET /consent":        (*visit).showConsent,
		"POST /consent":       (*visit).decide,
		"GET /apps":           (*visit).showApps,
		"GET /apps/revoke":    (*visit).showRevoke,
		"POST /apps/revoke":   (*visit).revoke,
		"GET /logout":         (*visit).showLogout,
		"POST /logout":        (*visit).logout,
		"/":                   func(*visit) error { return errMissing },
	} {
		m.Handle(pattern, s.handle(f))
	}
	m.HandleFunc("GET /static/{name}", s.static)
	return m
}

// Explain is a page for a request that an app has sent wrongly, so that the browser cannot be sent back to the app:
// authserver.Config.Explain. The code is for the support of the app.
func (s *Site) Explain(w http.ResponseWriter, r *http.Request, status int, code string) {
	p := &problemError{status: status, key: errApp.key}
	switch code {
	case "unknown_client", "held_client":
		p.key = errClient.key
	case "redirect_mismatch":
		p.key = errRedirect.key
	case "server_error", "temporarily_unavailable":
		p.key = errFault.key
	}
	s.handle(func(v *visit) error {
		v.request = ""
		q := r.URL.Query()
		q.Del("lang")
		v.self = r.URL.Path + "?" + q.Encode()
		if r.Method != http.MethodGet {
			v.self = "/login" // the form is gone; the language that is chosen stays
		}
		v.showProblem(p, code)
		return nil
	}).ServeHTTP(w, r)
}

// static serves the few files that pages load. A name with its version never changes.
func (s *Site) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	version, ok := s.versions[name]
	if !ok {
		s.handle(func(*visit) error { return errMissing }).ServeHTTP(w, r)
		return
	}
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	if r.URL.RawQuery == "v="+version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeFileFS(w, r, staticFiles, "static/"+name)
}

// plain is a text of somebody else as a page may show it: on one line, without characters that change how the text
// around them reads (CVE-2021-42574), and not longer than most.
func plain(text string, longest int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029:
			return ' '
		case r == 0x200e || r == 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff || r == 0x200b || r == 0xfffd:
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > longest {
		text = string(runes[:longest]) + "…"
	}
	return text
}

// webLink is a URL that a page may link to: http or https, and no other scheme, since links of other schemes run
// scripts or open programs. "" is no link.
func webLink(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}
