package portal

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pquerna/otp/hotp"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/forms"
)

// clock is one that stands still until it is told to go.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// mailbox is a Mailer that keeps what it is given, or fails.
type mailbox struct {
	mu   sync.Mutex
	got  []*Mail
	fail error
}

func (m *mailbox) Send(_ context.Context, what *Mail) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.got = append(m.got, what)
	return nil
}

// world is a portal with a clock and a mailbox.
type world struct {
	*Portal
	t     testing.TB
	clock *clock
	box   *mailbox

	mu       sync.Mutex
	happened []*Event
	refusals []string
	errs     []error
}

var ctx = context.Background()

var testSeal = [32]byte{7, 8, 9}

var allForms = sync.OnceValues(func() (*forms.Set, error) { return forms.Load("") })

func newWorld(t testing.TB, address string, change func(c *Config)) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{at: time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)}, box: &mailbox{}}
	a, err := accounts.Open(ctx, address, &accounts.Options{Seal: testSeal, Now: w.clock.now})
	ok(t, err)
	t.Cleanup(func() { ok(t, a.Close()) })
	set, err := allForms()
	ok(t, err)
	c := &Config{
		Accounts: a, Production: Environment{Accounts: a}, Sandbox: Environment{Accounts: a}, Forms: set, Uploads: t.TempDir(),
		Agency: "Agency of Health", URL: "https://portal.example", Mail: w.box, Now: w.clock.now,
		Rules: Rules{Proof: "either", Levels: []string{"IAL2"}, TermsVersion: "2026-01"},
		TXT:   func(context.Context, string) ([]string, error) { return nil, errors.New("there is no such name") },
	}
	c.Events = Events{
		Happened: func(e *Event) { w.mu.Lock(); defer w.mu.Unlock(); w.happened = append(w.happened, e) },
		Refused: func(what, why string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.refusals = append(w.refusals, what+" "+why)
		},
		Fault: func(_ string, err error) { w.mu.Lock(); defer w.mu.Unlock(); w.errs = append(w.errs, err) },
	}
	if change != nil {
		change(c)
	}
	w.Portal, err = Open(ctx, c)
	ok(t, err)
	return w
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, not %v", err, want)
	}
}

func equal(t testing.TB, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
}

// denied wants a *DeniedError.
func denied(t testing.TB, err error) {
	t.Helper()
	var d *DeniedError
	if !errors.As(err, &d) {
		t.Fatalf("got %v, not a *DeniedError", err)
	}
}

// input wants an *InputError.
func input(t testing.TB, err error, field, code string) {
	t.Helper()
	var i *InputError
	if !errors.As(err, &i) || i.Field != field || i.Code != code {
		t.Fatalf("got %v, not %s: %s", err, field, code)
	}
}

// mails sends what is due, and gives what was sent since the last time.
func (w *world) mails() []*Mail {
	w.t.Helper()
	_, err := w.sendMails(ctx)
	ok(w.t, err)
	w.box.mu.Lock()
	defer w.box.mu.Unlock()
	got := w.box.got
	w.box.got = nil
	return got
}

// mailTo gives the only mail that was sent since the last time.
func (w *world) mailTo(address string) *Mail {
	w.t.Helper()
	got := w.mails()
	if len(got) != 1 || got[0].To != address {
		w.t.Fatalf("got %d mails", len(got))
	}
	return got[0]
}

var links = regexp.MustCompile(`https://portal\.example\S*`)

// tokenIn is the token in the first link of a mail.
func tokenIn(t testing.TB, m *Mail) string {
	t.Helper()
	u, err := url.Parse(links.FindString(m.Text))
	if err != nil || u.Query().Get("token") == "" {
		t.Fatalf("there is no token in %q", m.Subject)
	}
	return u.Query().Get("token")
}

const password = "a quiet yellow tractor"

// signUp makes an account as a developer does.
func (w *world) signUp(email, name string) *Person {
	w.t.Helper()
	ok(w.t, w.SignUp(ctx, &SignUp{Email: email, Name: name, Password: password, Language: "en"}))
	who, err := w.ConfirmEmail(ctx, tokenIn(w.t, w.mailTo(email)))
	ok(w.t, err)
	return who
}

// code is what the device of a person shows.
func (w *world) code(key string) string {
	w.t.Helper()
	code, err := hotp.GenerateCode(key, uint64(w.clock.now().Unix()/factorStep))
	ok(w.t, err)
	return code
}

// enrolled signs somebody in for the first time.
func (w *world) enrolled(email string) (full *Session, key string, codes []string) {
	w.t.Helper()
	s, err := w.SignIn(ctx, email, password)
	ok(w.t, err)
	equal(w.t, s.Kind, Enrol)
	_, key, _, err = w.NewFactor(ctx, s.ID)
	ok(w.t, err)
	full, codes, err = w.EnrolFactor(ctx, s.ID, w.code(key))
	ok(w.t, err)
	w.mailTo(email)
	return full, key, codes
}

// actor makes somebody who has signed in, without all the steps.
func (w *world) actor(name string, staff StaffRole) *Actor {
	w.t.Helper()
	email := strings.ToLower(strings.Fields(name)[0]) + "@dev.example"
	who, err := w.Operator("test").AddPerson(ctx, &Person{Email: email, Name: name, Staff: staff, Language: "en"}, "", "")
	ok(w.t, err)
	return w.actorOf(who.ID)
}

func (w *world) actorOf(person string) *Actor {
	w.t.Helper()
	var s *Session
	ok(w.t, w.tx(ctx, func(ctx context.Context, tx *step) (err error) {
		s, err = w.addSession(ctx, tx, person, Full, w.clock.now(), time.Time{})
		return err
	}))
	a, err := w.Actor(ctx, s.ID)
	ok(w.t, err)
	return a
}

// organisation makes one, and gives its owner anew.
func (w *world) organisation(owner *Actor, name string) (*Organisation, *Actor) {
	w.t.Helper()
	o, err := owner.AddOrganisation(ctx, &Organisation{Name: name, Legal: name + " Inc.", Type: "company", Website: "https://www.apps.example/about"})
	ok(w.t, err)
	return o, w.actorOf(owner.Person.ID)
}

// join makes somebody a member.
func (w *world) join(org string, a *Actor, role OrgRole) *Actor {
	w.t.Helper()
	ok(w.t, w.tx(ctx, func(ctx context.Context, tx *step) error { return w.addMember(ctx, tx, org, a.Person.ID, role) }))
	return w.actorOf(a.Person.ID)
}

// did lists the actions of events that were reported.
func (w *world) did() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, e := range w.happened {
		list = append(list, e.Action)
	}
	return list
}

// dump is the whole database as text, but for the logs of clients.
func (w *world) dump() string { return dumpOf(w.t, w.db) }

func dumpOf(t testing.TB, db *database.DB) string {
	t.Helper()
	query := `SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1`
	if db.SQLite() {
		query = `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1`
	}
	tables, err := database.Column(ctx, db, query)
	ok(t, err)
	var b strings.Builder
	for _, table := range tables {
		if !strings.HasPrefix(table, "portal_") && table != "login_failures" {
			continue
		}
		rows, err := db.QueryContext(ctx, `SELECT * FROM `+table)
		ok(t, err)
		names, err := rows.Columns()
		ok(t, err)
		var all []string
		for rows.Next() {
			values, into := make([]any, len(names)), make([]any, len(names))
			for i := range values {
				into[i] = &values[i]
			}
			ok(t, rows.Scan(into...))
			all = append(all, fmt.Sprintln(table, values))
		}
		ok(t, rows.Err())
		rows.Close()
		slices.Sort(all)
		b.WriteString(strings.Join(all, ""))
	}
	return b.String()
}

// withoutFailures is a dump without the counts of failures.
func withoutFailures(dump string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		if !strings.HasPrefix(line, "login_failures") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// supportAnswers are those of a request that is complete.
func supportAnswers() forms.Answers {
	return forms.Answers{
		"topic": {"other"}, "urgency": {"question"}, "subject": {"A question"}, "message": {"How do I read a page of claims?"}, "email": {"ana@dev.example"},
	}
}
