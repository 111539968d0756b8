// Package developers has the pages of the developers' portal: signing up and in, organisations, applications, apps with
// their credentials, a console, and the pages for visitors with a form. All of them but the console and the page that
// tries requests work without a script. What may be done, and by whom, is decided by internal/portal; this package keeps nothing itself, so several
// processes can serve the same people.
package developers

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// Config says what the pages show, and whom they ask. Zero values mean defaults where a field says so.
type Config struct {
	Portal *portal.Portal

	// Frame has the issuer, the agency, the key and the fault reporter. Its Assets must have the files of Static.
	Frame frame.Config

	Limits    *desk.Limits                // nil makes new ones
	Forwarded bool                        // a proxy sets X-Forwarded-For
	Refused   func(reason, person string) // see desk.Config; nil reports nothing
	Now       func() time.Time            // nil is time.Now

	Passwords bool     // embedded accounts: people sign up and in here
	Upstream  Upstream // the agency's identity service; nil if there is none
	Demo      []Demo   // logins that the sign-in page shows; none in production

	Documentation []frame.Link      // pages of the documentation, for the menu and for apps; the first one is its beginning
	Guides        map[string]string // pages by subject: start, production, credentials, errors, redirects, scopes, terms. Missing ones are not linked

	// Scopes are those that apps may ask for; nil is DefaultScopes.
	Scopes []string
	// Console is the id of the public client of the sandbox by which the console signs in test members: see ConsolePath.
	// "" is no console.
	Console string

	// PerMinute is how many requests an app may send in a minute, 0 if there is no limit.
	PerMinute int

	Status func(ctx context.Context) []Service // nil: the page of the status says so. Its answer is kept for StatusFor

	Support Support
}

// Upstream signs people in at the agency's identity service.
type Upstream interface {
	// Begin sends the browser to the service. next is given back by Finish. again says that the person must prove anew
	// who they are, whatever session they have at the service.
	Begin(w http.ResponseWriter, r *http.Request, next string, again bool) error
	// Finish takes the service's answer. An error with a method Reason() string says why somebody cannot be signed
	// in: cancelled, expired, level or provider; others are faults.
	Finish(w http.ResponseWriter, r *http.Request) (who *portal.Identified, next string, err error)
}

// Demo is a login of a made-up person.
type Demo struct {
	Email, Password, Note string
	Code                  func() string // of the second factor, now; nil if there is none
}

// Service is a part of the server, on the page of the status.
type Service struct {
	Key    string // api, sandbox, sign_in, portal or mail
	Up     bool
	Since  time.Time // when that began; zero if unknown
	Detail string    // plain words of the operator, "" for none
}

// Support says how people get help. Empty fields are left out.
type Support struct {
	Community string // URL of a forum
	Desk      string // name of the technical desk
	Contact   string // URL or e-mail address for general questions
	Phone     string
	TTY       string // number or URL of the relay
	Postal    string // address, in lines
}

// StatusFor is how long an answer of Config.Status is shown.
const StatusFor = 30 * time.Second

// DefaultScopes are scopes of an app for members, and of a service.
var DefaultScopes = []string{
	"launch/patient", "openid", "fhirUser", "patient/Patient.rs", "patient/Coverage.rs", "patient/ExplanationOfBenefit.rs", "patient/Organization.rs",
	"patient/Practitioner.rs", "patient/RelatedPerson.rs",
}

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// Static are the static files of these pages, for frame.NewAssets.
func Static() fs.FS {
	f, err := fs.Sub(staticFiles, "static")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return f
}

const consoleScript = "console.js"

// Site serves the pages. It is safe for concurrent use.
type Site struct {
	Config
	desk   *desk.Desk
	status status
}

// New makes a Site. It fails if the configuration is wrong.
func New(c *Config) (*Site, error) {
	s := &Site{Config: *c}
	switch {
	case s.Portal == nil:
		return nil, errors.New("the developers' pages need a portal")
	case !s.Passwords && s.Upstream == nil:
		return nil, errors.New("no developer can sign in: there are neither embedded accounts nor an identity service")
	case !s.Passwords && len(s.Demo) > 0:
		return nil, errors.New("logins of developers are shown, but embedded accounts are off")
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Scopes == nil {
		s.Scopes = DefaultScopes
	}
	f := s.Frame
	if f.Assets == nil {
		a, err := frame.NewAssets(nil, Static())
		if err != nil {
			return nil, err
		}
		f.Assets = a
	}
	if f.Assets.URL(consoleScript) == "" {
		return nil, errors.New("the static files lack those of the developers' pages")
	}
	pages, err := fs.Sub(templateFiles, "templates")
	if err != nil {
		return nil, err
	}
	f.Templates = pages
	f.Texts = append(slices.Clone(f.Texts), texts...)
	if f.Zone == nil {
		f.Zone = s.Portal.Zone
	}
	s.desk, err = desk.New(&desk.Config{Portal: s.Portal, Frame: f, Menu: s.menu, Limits: s.Limits, Forwarded: s.Forwarded, Refused: s.Refused, Now: s.Now})
	if err != nil {
		return nil, fmt.Errorf("developers' pages: %w", err)
	}
	s.status.now = s.Now
	return s, nil
}

// menu is the menu at the top.
func (s *Site) menu(v *desk.Visit) []frame.Link {
	list := s.publicLinks(func(key string) string { return v.Text(key) })
	if v.Actor == nil {
		return append(list, frame.Link{Text: v.Text("menu.signin"), URL: "/developers/sign-in", Button: true})
	}
	if v.Actor.Person.Staff != portal.NoStaff {
		list = append(list, frame.Link{Text: v.Text("menu.staff"), URL: "/staff"})
	}
	return append(list, frame.Link{Text: v.Text("menu.dashboard"), URL: "/developers", Button: true})
}

// page is one page of the table of routes.
type page struct {
	path  string
	guard desk.Guard
	show  func(*desk.Visit) error // on GET; nil if there is nothing to show
	take  func(*desk.Visit) error // on POST; nil if nothing is sent
	files int64                   // bytes of a form with documents
}

const (
	uploadMost = 12 << 20 // a document of 10 MB, with the form around it
	logoMost   = 2 << 20
)

// pages are all of them.
func (s *Site) pages() []page {
	anybody, person, proved := desk.Anybody, desk.Person, desk.Proved
	list := []page{
		{path: "/developers", guard: person, show: s.dashboard},
		{path: "/developers/sign-out", guard: anybody, show: s.askSignOut, take: s.signOut},
		{path: "/developers/sign-in", guard: anybody, show: s.showSignIn, take: s.signIn},
		{path: "/developers/reauth", guard: person, show: s.showReauth, take: s.reauth},
		{path: "/developers/terms", guard: person, show: s.showTerms, take: s.acceptTerms},

		{path: "/developers/profile", guard: person, show: s.showProfile, take: s.saveProfile},
		{path: "/developers/profile/proof", guard: person, take: s.requestProof},
		{path: "/developers/profile/sessions", guard: proved, take: s.endSessions},
		{path: "/developers/profile/delete", guard: proved, show: s.askDelete, take: s.deleteAccount},

		{path: "/developers/organisations/new", guard: person, show: s.newOrganisation, take: s.addOrganisation},
		{path: "/developers/organisations/{org}", guard: person, show: s.organisation},
		{path: "/developers/organisations/{org}/edit", guard: person, show: s.editOrganisation, take: s.saveOrganisation},
		{path: "/developers/organisations/{org}/contacts", guard: person, show: s.editContacts, take: s.saveContacts},
		{path: "/developers/organisations/{org}/domain", guard: person, show: s.showDomain, take: s.checkDomain},
		{path: "/developers/organisations/{org}/people", guard: person, show: s.people, take: s.invite},
		{path: "/developers/organisations/{org}/people/role", guard: person, take: s.setRole},
		{path: "/developers/organisations/{org}/people/remove", guard: person, show: s.askRemove, take: s.remove},
		{path: "/developers/organisations/{org}/people/cancel", guard: person, take: s.cancelInvitation},
		{path: "/developers/organisations/{org}/history", guard: person, show: s.history},
		{path: "/developers/organisations/{org}/sandbox", guard: person, take: s.startSandbox},
		{path: "/developers/organisations/{org}/claim", guard: person, show: s.showClaim, take: s.claim},
		{path: "/developers/organisations/{org}/apps/new", guard: person, show: s.newApp, take: s.addApp},
		{path: "/developers/invitation", guard: person, show: s.showInvitation, take: s.acceptInvitation},

		{path: "/developers/applications/{id}", guard: person, show: s.application},
		{path: "/developers/applications/{id}/edit", guard: person, show: s.editSection, take: s.saveSection, files: 4 * uploadMost},
		{path: "/developers/applications/{id}/submit", guard: person, show: s.showSubmit, take: s.submit},
		{path: "/developers/applications/{id}/move/{action}", guard: person, show: s.askMove, take: s.move},
		{path: "/developers/applications/{id}/messages", guard: person, take: s.say},
		{path: "/developers/applications/{id}/documents/{document}", guard: person, show: s.document},
		{path: "/developers/applications/{id}/documents/{document}/remove", guard: person, show: s.askRemoveDocument, take: s.removeDocument},
		{path: "/developers/applications/{id}/revisions/{number}", guard: person, show: s.revision},

		{path: "/developers/apps/{app}", guard: person, show: s.app},
		{path: "/developers/apps/{app}/edit", guard: person, show: s.editApp, take: s.saveApp},
		{path: "/developers/apps/{app}/logo", guard: person, show: s.showLogo, take: s.saveLogo, files: logoMost},
		{path: "/developers/apps/{app}/logo.png", guard: person, show: s.logoPNG},
		{path: "/developers/apps/{app}/members", guard: person, show: s.testMembers},
		{path: "/developers/apps/{app}/requests", guard: person, show: s.requests},
		{path: "/developers/apps/{app}/console", guard: person, show: s.console},
		{path: ConsolePath, guard: anybody, show: s.consoleBack},
		{path: TryPath, guard: anybody, show: s.try},
		{path: "/developers/apps/{app}/production", guard: person, take: s.startProduction},
		{path: "/developers/apps/{app}/{where}/credentials", guard: person, show: s.credentials},
		{path: "/developers/apps/{app}/{where}/issue", guard: proved, show: s.toCredentials, take: s.issue},
		{path: "/developers/apps/{app}/{where}/rotate", guard: proved, show: s.askRotate, take: s.rotate},
		{path: "/developers/apps/{app}/{where}/end", guard: proved, show: s.askEnd, take: s.end},
		{path: "/developers/apps/{app}/keys", guard: person, show: s.showKeys, take: s.saveKeys},

		{path: "/developers/logo/{logo}", guard: anybody, show: s.publicLogo},

		{path: "/phr", guard: anybody, show: s.showPHR, take: s.takePHR},
		{path: "/phr/confirm", guard: anybody, show: s.askConfirmPHR, take: s.confirmPHR},
		{path: "/phr/status", guard: anybody, show: s.showTrack, take: s.track},
		{path: "/support", guard: anybody, show: s.support},
		{path: "/support/request", guard: anybody, show: s.showTicket("support"), take: s.fileTicket("support")},
		{path: "/support/contact", guard: anybody, show: s.showTicket("contact"), take: s.fileTicket("contact")},
		{path: "/status", guard: anybody, show: s.showStatus},
	}
	if s.Passwords {
		list = append(list,
			page{path: "/developers/sign-up", guard: anybody, show: s.showSignUp, take: s.signUp},
			page{path: "/developers/confirm", guard: anybody, show: s.askConfirm, take: s.confirm},
			page{path: "/developers/forgot", guard: anybody, show: s.showForgot, take: s.forgot},
			page{path: "/developers/reset", guard: anybody, show: s.showReset, take: s.reset},
			page{path: "/developers/factor", guard: anybody, show: s.showFactor, take: s.factor},
			page{path: "/developers/enrol", guard: anybody, show: s.showEnrol, take: s.enrol},
			page{path: "/developers/profile/password", guard: proved, show: s.showPassword, take: s.changePassword},
			page{path: "/developers/profile/factor", guard: proved, show: s.showEnrol, take: s.enrol},
		)
	}
	if s.Upstream != nil {
		list = append(list, page{path: "/developers/login/start", guard: anybody, show: s.startUpstream}, page{path: "/developers/login/callback", guard: anybody, show: s.finishUpstream})
	}
	if s.Portal.Rules.Directory {
		list = append(list, page{path: "/apps-directory", guard: anybody, show: s.directory})
	}
	return list
}

// Paths are what Handler serves: patterns of http.ServeMux, without methods.
func (s *Site) Paths() []string {
	return []string{"/developers", "/developers/", "/apps-directory", "/apps-directory/", "/phr", "/phr/", "/support", "/support/", "/status", TryPath}
}

// Handler serves the pages. Static files are served by a frame's handler.
func (s *Site) Handler() http.Handler {
	m := http.NewServeMux()
	for _, p := range s.pages() {
		handle := func(method string, f func(*desk.Visit) error) {
			if f == nil {
				return
			}
			show, take := f, f
			if method == http.MethodGet {
				take = nil
			} else {
				show = nil
			}
			h := s.desk.FormUpload(p.guard, cmp.Or(p.files, formMost), show, take)
			m.Handle(method+" "+p.path, h)
		}
		if p.show == nil {
			p.show = up
		}
		handle(http.MethodGet, p.show)
		handle(http.MethodPost, p.take)
	}
	m.Handle("/", s.desk.Missing())
	return m
}

// up leads from the address of a form to the page above it: there somebody comes who had to sign in again.
func up(v *desk.Visit) error { return v.See(path.Dir(v.R.URL.Path)) }

// formMost is the most bytes of a form without documents.
const formMost = 512 << 10

// guide is a page of the documentation about a subject, with the id of an app's client filled in; "" for none.
func (s *Site) guide(subject, client string) string {
	u := s.Guides[subject]
	if u == "" || client == "" {
		return u
	}
	to, fragment, _ := strings.Cut(u, "#")
	sep := "?"
	if strings.Contains(to, "?") {
		sep = "&"
	}
	to += sep + "client_id=" + url.QueryEscape(client)
	if fragment != "" {
		to += "#" + fragment
	}
	return to
}

// notice is what a page says at its top after something was done: the key in the query, if the page knows it.
func notice(v *desk.Visit, known ...string) string {
	if key := v.R.URL.Query().Get("done"); slices.Contains(known, key) {
		return v.Text("done." + key)
	}
	return ""
}
