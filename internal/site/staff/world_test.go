package staff

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

const (
	origin   = "https://portal.example"
	password = "a quiet yellow tractor"
	key      = "JBSWY3DPEHPK3PXP" // of second factors
)

var ctx = context.Background()

// mailbox is a Mailer that keeps what it is given.
type mailbox struct {
	mu  sync.Mutex
	got []*portal.Mail
}

func (m *mailbox) Send(_ context.Context, what *portal.Mail) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, what)
	return nil
}

// world is a portal with its pages of staff, people of the agency, and an organisation that has an app.
type world struct {
	*portal.Portal
	t      testing.TB
	site   *Site
	server http.Handler
	box    *mailbox
	folder string

	mu     sync.Mutex
	at     time.Time
	faults []string

	people                       map[string]*portal.Person
	owner, stranger              *portal.Actor
	org, other                   string
	support, rita, rob, ada, eve *browser // support, two reviewers, two administrators
	dan                          *browser // a developer
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// pass lets time go by.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = w.at.Add(d)
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var allForms = sync.OnceValues(func() (*forms.Set, error) { return forms.Load("") })

// answering is a transport that answers by path: the policies of apps.
type answering map[string]string

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	text, ok := a[r.URL.Path]
	if !ok {
		return nil, errors.New("there is no such page")
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func newWorld(t testing.TB, edit func(c *portal.Config)) *world {
	t.Helper()
	w := &world{t: t, at: time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC), box: &mailbox{}, people: map[string]*portal.Person{}, folder: t.TempDir()}
	a, err := accounts.Open(ctx, "sqlite:"+filepath.Join(w.folder, "portal.db"), &accounts.Options{Seal: [32]byte{7, 8, 9}, Now: w.now})
	ok(t, err)
	t.Cleanup(func() { ok(t, a.Close()) })
	set, err := allForms()
	ok(t, err)
	c := &portal.Config{
		Accounts: a, Production: portal.Environment{Accounts: a}, Sandbox: portal.Environment{Accounts: a}, Forms: set, Uploads: filepath.Join(w.folder, "uploads"),
		Agency: "Example State Medicaid", URL: origin, Mail: w.box, Now: w.now, Fetch: &http.Client{Transport: answering{"/policy": "<p>We share nothing.</p>", "/terms": "<p>Be kind.</p>"}},
		Rules: portal.Rules{FourEyes: true, Proof: "either", Evidence: []string{"authorize", "read"}, TermsVersion: "2026-01"},
		TXT:   func(context.Context, string) ([]string, error) { return nil, errors.New("there is no such name") },
		Events: portal.Events{Fault: func(what string, err error) {
			if err != nil {
				w.fault(what, err)
			}
		}},
	}
	if edit != nil {
		edit(c)
	}
	w.Portal, err = portal.Open(ctx, c)
	ok(t, err)
	w.site, err = New(&Config{Portal: w.Portal, Now: w.now, Limits: &desk.Limits{},
		Frame: frame.Config{Issuer: origin, Name: "Example State Medicaid", Contact: "help@medicaid.example", Key: bytes.Repeat([]byte{7}, 32), Fault: w.fault}})
	ok(t, err)
	w.server = w.site.Handler()
	t.Cleanup(func() {
		if len(w.faults) > 0 {
			t.Errorf("faults: %q", w.faults)
		}
	})
	for _, p := range []struct {
		name string
		role portal.StaffRole
		at   **browser
	}{
		{"Sue Support", portal.Support, &w.support}, {"Rita Reviewer", portal.Reviewer, &w.rita}, {"Rob Reviewer", portal.Reviewer, &w.rob},
		{"Ada Admin", portal.Administrator, &w.ada}, {"Eve Admin", portal.Administrator, &w.eve}, {"Dan Developer", portal.NoStaff, &w.dan},
	} {
		*p.at = w.signIn(p.name, p.role)
	}
	w.owner = w.actor("Olga Owner")
	o, err := w.owner.AddOrganisation(ctx, &portal.Organisation{Name: "Apps", Legal: "Apps Inc.", Type: "company", Website: "https://www.apps.example/about", Address: "1 Main Street",
		Contacts: []portal.Contact{{Kind: "security", Name: "Sid Secure", Email: "security@apps.example", Phone: "+1 555 010 0111"}}})
	ok(t, err)
	w.org = o.ID
	w.owner = w.again(w.owner)
	ok(t, w.owner.AcceptTerms(ctx, "2026-01"))
	ok(t, w.owner.RequestProof(ctx))
	ok(t, w.Operator("test").DecideProof(ctx, w.owner.Person.ID, true, "IAL2", "State ID Service", w.now().Add(-time.Hour), ""))
	w.owner = w.again(w.owner)
	w.stranger = w.actor("Sam Stranger")
	e, err := w.stranger.AddOrganisation(ctx, &portal.Organisation{Name: "Elsewhere", Legal: "Elsewhere LLC", Type: "company", Website: "https://elsewhere.example/"})
	ok(t, err)
	w.other = e.ID
	w.stranger = w.again(w.stranger)
	return w
}

func (w *world) fault(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, what+": "+err.Error())
}

// withPassword is who has an embedded account; others sign in at an identity service, which costs no work.
const withPassword = "Ada Admin"

// session signs somebody in.
func (w *world) session(name string, role portal.StaffRole) *portal.Session {
	w.t.Helper()
	email := strings.ToLower(strings.Fields(name)[0]) + "@people.example"
	op := w.Operator("test")
	if name == withPassword {
		who, err := op.AddPerson(ctx, &portal.Person{Email: email, Name: name, Staff: role, Language: "en"}, password, key)
		ok(w.t, err)
		w.people[name] = who
		half, err := w.SignIn(ctx, email, password)
		ok(w.t, err)
		full, err := w.Factor(ctx, half.ID, w.code())
		ok(w.t, err)
		return full
	}
	s, err := w.SignInWith(ctx, &portal.Identified{Issuer: "https://id.example", Subject: email, Email: email, EmailVerified: true, Name: name, AuthTime: w.now()})
	ok(w.t, err)
	if role != portal.NoStaff {
		ok(w.t, op.SetStaff(ctx, s.Person, role))
	}
	who, err := op.PersonOf(ctx, s.Person)
	ok(w.t, err)
	w.people[name] = who
	return s
}

func (w *world) actor(name string) *portal.Actor {
	w.t.Helper()
	a, err := w.Portal.Actor(ctx, w.session(name, portal.NoStaff).ID)
	ok(w.t, err)
	return a
}

// again is the same actor with what they belong to now.
func (w *world) again(a *portal.Actor) *portal.Actor {
	w.t.Helper()
	b, err := w.Portal.Actor(ctx, a.Session.ID)
	ok(w.t, err)
	return b
}

// signed is an input with all attestations of an application.
func (w *world) signed(a *portal.Application) *portal.Input {
	form := w.Forms.Form(forms.Production)
	in := &portal.Input{Version: a.Version, Name: "Olga Owner", Title: "owner", Bind: true}
	for _, q := range form.Visible(a.Answers) {
		if q.Kind == forms.Attest && q.Required && q.ID != "signer_authority" {
			in.Attest = append(in.Attest, q.ID)
		}
	}
	return in
}

func settings(name string) *portal.Settings {
	return &portal.Settings{
		Name: name, Kind: "web", Auth: "client_secret", RedirectURIs: []string{"https://www.apps.example/back"},
		Scopes: []portal.Scope{{Scope: "launch/patient", Reason: "the member"}, {Scope: "patient/*.read", Reason: "claims"}}, Offline: true, Category: "months_13",
		Homepage: "https://www.apps.example/", Policy: "https://www.apps.example/policy", Terms: "https://www.apps.example/terms",
		Support: "help@apps.example", About: map[string]string{"en": "Shows claims.", "es": "Muestra reclamaciones."}, Platforms: []string{"web"}, Audience: "adults",
	}
}

// step makes a move of the applicant.
func (w *world) step(id string, action lifecycle.Action, in *portal.Input) *portal.Application {
	w.t.Helper()
	a, err := w.owner.Application(ctx, id)
	ok(w.t, err)
	if in == nil {
		in = &portal.Input{}
	}
	in.Version = a.Version
	next, err := w.owner.Move(ctx, id, action, in)
	if err != nil {
		w.t.Fatalf("%s: %v", action, err)
	}
	return next
}

// questionnaire sends one.
func (w *world) questionnaire() *portal.Application {
	w.t.Helper()
	a, err := w.owner.Start(ctx, lifecycle.Sandbox, w.org, "")
	ok(w.t, err)
	_, err = w.owner.SaveDraft(ctx, a.ID, a.Version, formstest.Filled(w.Forms.Form(forms.Questionnaire)))
	ok(w.t, err)
	return w.step(a.ID, lifecycle.Submit, nil)
}

// opens gets access to the sandbox, without pages.
func (w *world) opens() {
	w.t.Helper()
	a := w.questionnaire()
	op := w.Operator("test")
	for _, x := range []lifecycle.Action{lifecycle.Take, lifecycle.Approve} {
		var err error
		a, err = op.Move(ctx, a.ID, x, &portal.Input{Version: a.Version})
		ok(w.t, err)
	}
}

// app makes an app whose sandbox client has shown what the rules want, and gives its secret.
func (w *world) app(name string) (*portal.App, string) {
	w.t.Helper()
	app, err := w.owner.AddApp(ctx, w.org, settings(name))
	ok(w.t, err)
	c, err := w.owner.Issue(ctx, app.ID, portal.InSandbox)
	ok(w.t, err)
	ok(w.t, w.Accounts.LogRequests(ctx, []accounts.ClientRequest{
		{Client: c.Client, At: w.now(), Method: "POST", Route: portal.CodeRoute, Status: 200},
		{Client: c.Client, At: w.now().Add(time.Second), Method: "GET", Route: "GET /Patient/{id}", Status: 200, Request: "r-1"},
	}))
	app, err = w.owner.App(ctx, app.ID)
	ok(w.t, err)
	return app, c.Secret
}

// applies sends an application for production of an app, with a document.
func (w *world) applies(app *portal.App) *portal.Application {
	w.t.Helper()
	a, err := w.owner.Start(ctx, lifecycle.Production, w.org, app.ID)
	ok(w.t, err)
	answers := formstest.Filled(w.Forms.Form(forms.Production))
	a, err = w.owner.SaveDraft(ctx, a.ID, a.Version, answers)
	ok(w.t, err)
	for _, q := range w.Forms.Form(forms.Production).Visible(answers) {
		if q.Kind == forms.Document {
			_, err = w.owner.Upload(ctx, a.ID, q.ID, "pen test; \"2026\" ñ.pdf", strings.NewReader("%PDF-1.7 a report"))
			ok(w.t, err)
			break
		}
	}
	a, err = w.owner.Application(ctx, a.ID)
	ok(w.t, err)
	return w.step(a.ID, lifecycle.Submit, w.signed(a))
}

// does makes a move by its page: the button of the application, then the confirmation, if there is one.
func (b *browser) does(id string, action lifecycle.Action, pairs ...string) *reply {
	b.w.t.Helper()
	path := at(id, "move", string(action))
	page := b.see(at(id))
	if plain(&lifecycle.Move{Action: action}) {
		return page.form(path).send().follow("It is done.")
	}
	if !slices.Contains(page.links(), path) {
		b.w.t.Fatalf("%s cannot %s: %s", b.name, action, page.words())
	}
	return b.see(path).form(path).fill(pairs...).send().follow("It is done.")
}

func (w *world) state(id string) lifecycle.State {
	w.t.Helper()
	a, err := w.Operator("test").Application(ctx, id)
	ok(w.t, err)
	return a.State
}

// in wants an application to be in a state.
func (w *world) in(id string, want lifecycle.State) {
	w.t.Helper()
	if got := w.state(id); got != want {
		w.t.Fatalf("it is in the state %s, not %s", got, want)
	}
}

// mailed are mails that were sent since the last time, as one text.
func (w *world) mailed() string {
	w.t.Helper()
	_, err := w.Tick(ctx)
	ok(w.t, err)
	w.box.mu.Lock()
	defer w.box.mu.Unlock()
	var b strings.Builder
	for _, m := range w.box.got {
		b.WriteString(m.To + "\n" + m.Subject + "\n" + m.Text + "\n")
	}
	w.box.got = nil
	return b.String()
}

// code is what everybody's device shows.
func (w *world) code() string {
	w.t.Helper()
	code, err := totp.GenerateCode(key, w.now())
	ok(w.t, err)
	return code
}

func itoa(n int) string { return strconv.Itoa(n) }
