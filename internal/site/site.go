// Package site has the pages that members see: signing in, the choice of a member for those who represent
// somebody, the consent to an app, and the apps that they have connected. Pages are HTML that works without a
// script, in English and Spanish. What is decided is kept by the authorization server and in accounts; this package
// keeps nothing itself, so several processes can serve the same members.
package site

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/rates"
	"cpcds2fhir/internal/site/frame"
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
	Phone   string // of its support, such as 1-800-555-0100; "" shows none
	TTY     string // of its support, for people who are deaf or hard of hearing, such as 711; "" shows none
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

	// Forms are those of the developers' portal: what apps promise about privacy is worded as there, and complaints are
	// asked for by its form. nil shows no promises, and takes no complaints.
	Forms *forms.Set

	// Complain files what somebody reports about an app, and returns the number under which they can ask about it: letters,
	// digits and hyphens. client is "" if the app has none that is known, user if nobody has signed in. confirmed says that the
	// writer was warned that something in it seems to be a secret or about somebody's health, and sends it all the
	// same. The error has no answer in it. nil takes no complaints.
	Complain func(ctx context.Context, client, user string, answers map[string][]string, language string, confirmed bool) (number string, err error)

	// Address is who sends a request, as far as limits go; nil is the address of the connection. Behind a proxy, that is
	// the proxy's.
	Address func(r *http.Request) string

	Directory string // link to the public list of apps; "" shows none

	Idle     time.Duration   // after so long without a page a session ends; 0 is 15 minutes
	Absolute time.Duration   // after so long it ends whatever happens; 0 is 8 hours
	GrantFor []time.Duration // how long apps may be allowed, the shortest first; nil is a day, 90 days and a year
	Access   time.Duration   // how long an access token is good for; 0 is an hour
	GrantNow time.Duration   // which of them is chosen first; 0 is the longest

	Zone   *time.Location   // in which dates are written; nil is UTC
	Assets *frame.Assets    // static files, and the look of the agency; nil is the product's own
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

// Site serves the pages. It is safe for concurrent use.
type Site struct {
	Config
	frame      *frame.Frame
	complaints *rates.Rates
}

// New makes a Site. It asks accounts for the key of its forms.
func New(c *Config) (*Site, error) {
	s := &Site{Config: *c}
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
	if s.Now == nil {
		s.Now = time.Now
	}
	s.complaints = rates.New(1/complaintEvery.Seconds(), complaintsAtOnce)
	s.complaints.Now = s.Now
	key, err := s.Accounts.Secret(context.Background(), "forms of the pages")
	if err != nil {
		return nil, fmt.Errorf("key of the forms: %w", err)
	}
	templates, err := fs.Sub(templateFiles, "templates")
	if err != nil {
		return nil, err
	}
	s.frame, err = frame.New(&frame.Config{
		Issuer: s.Issuer, Name: s.Name, Contact: s.Contact, Phone: s.Phone, TTY: s.TTY, Policy: s.Policy, Notices: s.Notices, Zone: s.Zone, Key: key, Session: "session",
		Texts: []frame.Texts{texts}, Templates: templates, Assets: s.Assets, Fault: s.Events.Fault,
		Problem: func(fv *frame.Visit, p *problemError) {
			v, err := s.visit(fv)
			if err != nil {
				v.Fault(err)
			}
			v.showProblem(p, "")
		},
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

const day = 24 * time.Hour

// Handler serves /login, /consent, /apps, /logout and what is below them, /choose-an-app, and /static/.
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
		"GET /apps/agreed":    (*visit).showAgreed,
		"GET /apps/complain":  (*visit).showComplaint,
		"POST /apps/complain": (*visit).complain,
		"GET /choose-an-app":  (*visit).showGuide,
		"GET /logout":         (*visit).showLogout,
		"POST /logout":        (*visit).logout,

		"GET /apps/complain/sent": (*visit).showComplained,

		"/": func(*visit) error { return errMissing },
	} {
		m.Handle(pattern, s.handle(f))
	}
	m.Handle("GET /static/{name}", s.frame.Static())
	return m
}

// Explain is a page for a request that an app has sent wrongly, so that the browser cannot be sent back to the app:
// authserver.Config.Explain. The code is for the support of the app.
func (s *Site) Explain(w http.ResponseWriter, r *http.Request, status int, code string) {
	p := &problemError{Status: status, Key: errApp.Key}
	switch code {
	case "unknown_client", "held_client":
		p.Key = errClient.Key
	case "redirect_mismatch":
		p.Key = errRedirect.Key
	case "server_error", "temporarily_unavailable":
		p.Key = errFault.Key
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
