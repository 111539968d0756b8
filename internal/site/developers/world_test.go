package developers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp/hotp"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/lifecycle"
	"cpcds2fhir/internal/rates"
	"cpcds2fhir/internal/site/desk"
	"cpcds2fhir/internal/site/frame"
)

// world is a server with the pages, over a portal with a database of its own.
type world struct {
	t      testing.TB
	portal *portal.Portal
	site   *Site
	server *httptest.Server

	mu    sync.Mutex
	at    time.Time
	mails []*portal.Mail
	notes []string
	pages map[string]bool // kinds of pages that were seen, by path pattern
}

const (
	goodPassword = "a quiet yellow tractor"
	staffKey     = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
)

func newWorld(t testing.TB, edit func(*portal.Config, *Config)) *world {
	t.Helper()
	w := &world{t: t, at: time.Now().Truncate(time.Second), pages: map[string]bool{}}
	ctx := t.Context()
	a, err := accounts.Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "accounts.db"), &accounts.Options{Seal: [32]byte{1, 2, 3}, Now: w.now})
	w.must(err)
	t.Cleanup(func() { _ = a.Close() })
	set, err := forms.Load("")
	w.must(err)
	w.server = httptest.NewUnstartedServer(nil)
	origin := "https://" + w.server.Listener.Addr().String()
	pc := &portal.Config{
		Accounts: a, Production: portal.Environment{Accounts: a, FHIRBase: "https://api.example.gov/fhir", Issuer: "https://api.example.gov"},
		Sandbox: portal.Environment{Accounts: a, FHIRBase: origin + "/sandbox/fhir", Issuer: origin + "/sandbox"},
		Forms:   set, Uploads: filepath.Join(t.TempDir(), "uploads"), Agency: "Example State Medicaid", URL: origin, Mail: w, Now: w.now,
		Rules:       portal.Rules{SandboxReview: "automatic", TermsVersion: "2027-01", Directory: true, FourEyes: true},
		TXT:         func(context.Context, string) ([]string, error) { return nil, errors.New("there is no such name") },
		Fetch:       &http.Client{Transport: elsewhere{}},
		TestMembers: []portal.TestMember{{Login: "ana", Password: "made-up-1", Name: "Ana Canaria", Patient: "pat-ana", Note: "A mother with two children"}},
	}
	pc.Events.Fault = func(what string, err error) { w.note("fault of the portal", what, err) }
	c := &Config{
		Frame: frame.Config{Issuer: origin, Name: "Example State Medicaid", Contact: "help@medicaid.example", Key: bytes.Repeat([]byte{7}, 32),
			Fault: func(path string, err error) { w.note("fault", path, err) }},
		Now: w.now, Passwords: true, PerMinute: 600, Console: "console",
		Documentation: []frame.Link{{Text: "Docs", URL: "/docs"}},
		Guides:        map[string]string{"start": "/docs/start", "production": "/docs/production", "scopes": "/docs/smart#scopes", "terms": "/docs/terms"},
		Status: func(context.Context) []Service {
			return []Service{{Key: "api", Up: true, Since: w.now()}, {Key: "sandbox", Detail: "It starts again at noon."}}
		},
		Support: Support{Community: "https://community.example", Contact: "help@medicaid.example", Phone: "1-800-555-0100", TTY: "https://relay.example", Postal: "1 Example Street\nExample City"},
		Limits:  &desk.Limits{desk.Forms: rates.New(1000, 100000)},
	}
	if edit != nil {
		edit(pc, c)
	}
	w.portal, err = portal.Open(ctx, pc)
	w.must(err)
	c.Portal = w.portal
	w.site, err = New(c)
	w.must(err)
	m := http.NewServeMux()
	for _, p := range w.site.Paths() {
		m.Handle(p, w.site.Handler())
	}
	m.Handle("/", w.site.desk.Missing())
	m.Handle("/static/", w.site.desk.Static())
	w.server.Config.Handler = m
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if strings.HasPrefix(c.Frame.Issuer, "https:") {
		w.server.StartTLS()
	} else {
		w.server.Start()
	}
	t.Cleanup(w.server.Close)
	t.Cleanup(w.faultless)
	return w
}

// elsewhere is the web: every page is there, and says the same.
type elsewhere struct{}

func (elsewhere) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/html"}}, Body: io.NopCloser(strings.NewReader("<p>Our policy of " + r.URL.Path)), Request: r}, nil
}

// Send keeps a mail.
func (w *world) Send(_ context.Context, m *portal.Mail) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mails = append(w.mails, m)
	return nil
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
	w.notes = append(w.notes, fmt.Sprintln(what...))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// faultless fails the test if anything was reported.
func (w *world) faultless() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.notes {
		w.t.Error(n)
	}
}

var linkForm = regexp.MustCompile(`https://\S+`)

// mailed sends what waits, and returns the path of the link in the last mail to an address.
func (w *world) mailed(to string) string {
	w.t.Helper()
	_, err := w.portal.Tick(w.t.Context())
	w.must(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range slices.Backward(w.mails) {
		if m.To == to {
			u, err := url.Parse(linkForm.FindString(m.Text))
			if err != nil {
				w.t.Fatal(err)
			}
			return u.RequestURI()
		}
	}
	w.t.Fatalf("there is no mail for this address; %d in all", len(w.mails))
	return ""
}

// person makes an account of somebody who can sign in at once.
func (w *world) person(email, name string, staff portal.StaffRole) *portal.Person {
	w.t.Helper()
	op := w.portal.Operator("test")
	p, err := op.AddPerson(w.t.Context(), &portal.Person{Email: email, Name: name, Language: "en", Staff: staff}, goodPassword, staffKey)
	w.must(err)
	return p
}

// code is what a device with a key shows now.
func (w *world) code(key string) string {
	w.t.Helper()
	code, err := hotp.GenerateCode(strings.ReplaceAll(key, " ", ""), uint64(w.now().Unix()/30)) //nolint:gosec // after 1970
	w.must(err)
	return code
}

// answer is an answer to a question of a form that goes with the others.
func answer(q *forms.Question) []string {
	switch q.Kind {
	case forms.Choice, forms.Choices:
		for _, o := range q.Options {
			if o.Value == preferred[q.ID] {
				return []string{o.Value}
			}
		}
		return []string{q.Options[0].Value}
	case forms.YesNo:
		if v := preferred[q.ID]; v != "" {
			return []string{v}
		}
		return []string{"yes"}
	case forms.Attest:
		return []string{"yes"}
	case forms.URL:
		return []string{"https://budget.example/" + q.ID}
	case forms.Email:
		return []string{"help@budget.example"}
	case forms.Phone:
		return []string{"+1 801 555 0100"}
	case forms.Date:
		return []string{"2026-01-15"}
	case forms.Number:
		n := "10"
		if q.Limits.From != nil && *q.Limits.From > 10 {
			n = fmt.Sprint(*q.Limits.From)
		}
		return []string{n}
	case forms.Document:
		return nil
	}
	return []string{"Canary answer to " + strings.ReplaceAll(q.ID, "_", " ")}
}

// preferred answers keep the forms free of contradictions.
var preferred = map[string]string{"onward_api": "no", "key_shared": "no", "monetise": "no", "service": "no", "client_kind": "confidential", "access_length": "once", "stores_data": "all", "findings_open": "no"}

// fillSection answers what a page of a form asks.
func (w *world) fillSection(f *form, of *forms.Form) *form {
	for name := range f.kinds {
		if q := of.Question(name); q != nil && f.kinds[name] != "file" {
			if v := answer(q); v != nil {
				f.values[name] = v
			}
		}
	}
	return f
}

// fillAll answers all sections of an application's draft, page by page, and comes to the page that shows all of it.
func (b *browser) fillAll(id string, of *forms.Form) *doc {
	b.w.t.Helper()
	d := b.get("/developers/applications/" + id + "/edit")
	for range 60 {
		if strings.HasSuffix(d.path, "/submit") {
			return d
		}
		if d.status != 200 {
			b.w.t.Fatalf("%s: %d %s", d.path, d.status, d.words())
		}
		f := b.w.fillSection(d.form("/developers/applications/"+id+"/edit"), of)
		d = b.send(f.set("_do", "next"))
	}
	b.w.t.Fatalf("the form does not end: %s", d.words())
	return nil
}

// approve moves an application to a state by those who may, as the pages of staff would.
func (w *world) staff(email string) *portal.Actor {
	w.t.Helper()
	s, err := w.portal.SignIn(w.t.Context(), email, goodPassword)
	w.must(err)
	w.pass(31 * time.Second)
	s, err = w.portal.Factor(w.t.Context(), s.ID, w.code(staffKey))
	w.must(err)
	a, err := w.portal.Actor(w.t.Context(), s.ID)
	w.must(err)
	return a
}

func (w *world) act(a *portal.Actor, id string, action lifecycle.Action, in *portal.Input) *portal.Application {
	w.t.Helper()
	app, err := a.Application(w.t.Context(), id)
	w.must(err)
	if in == nil {
		in = &portal.Input{}
	}
	in.Version = app.Version
	app, err = a.Move(w.t.Context(), id, action, in)
	if err != nil {
		w.t.Fatalf("%s: %v", action, err)
	}
	return app
}
