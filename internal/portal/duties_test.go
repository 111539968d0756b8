package portal

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestAttestationsExpire follows a year: reminders on three days, once each; then members read that nothing is attested, and
// the app works on; and it is all well again when the statements are made anew.
func TestAttestationsExpire(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		a := k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
		a = k.step(k.owner, a, lifecycle.GoLive, nil)
		app = first2(k.owner.App(ctx, app.ID))
		day := func(left int) (subjects []string) {
			t.Helper()
			k.mails()
			k.clock.mu.Lock()
			k.clock.at = a.Expires.Add(-time.Duration(left) * 24 * time.Hour)
			k.clock.mu.Unlock()
			for range 2 { // and another process, and the next turn
				if _, err := k.Tick(ctx); err != nil {
					t.Fatal(err)
				}
			}
			k.box.mu.Lock()
			defer k.box.mu.Unlock()
			for _, m := range k.box.got {
				if m.To == k.owner.Person.Email {
					subjects = append(subjects, m.Subject)
				}
			}
			k.box.got = nil
			return subjects
		}
		equal(t, len(day(31)), 0)
		equal(t, len(day(30)), 1)
		equal(t, first2(k.owner.Application(ctx, a.ID)).State, lifecycle.RenewalDue)
		equal(t, len(day(8)), 0)
		equal(t, day(7), []string{"Statements about Claims Friend expire on " + a.Expires.Format(time.DateOnly)})
		equal(t, len(day(1)), 1)
		equal(t, first2(k.Accounts.Client(ctx, app.Production)).Attested.IsZero(), false)
		equal(t, day(0), []string{"Statements about Claims Friend have expired"})
		c := first2(k.Accounts.Client(ctx, app.Production))
		equal(t, []any{c.Status, c.Attested.IsZero(), len(c.Privacy)}, []any{accounts.Active, true, 0})
		equal(t, len(day(-10)), 0)
		a = first2(k.owner.Application(ctx, a.ID))
		equal(t, []any{a.State, a.Attested.IsZero()}, []any{lifecycle.RenewalDue, true})
		a = k.step(k.owner, a, lifecycle.Renew, k.signed(a))
		c = first2(k.Accounts.Client(ctx, app.Production))
		if !c.Attested.Equal(a.Attested) || len(c.Privacy) == 0 || a.State != lifecycle.Live {
			t.Error("what was attested anew is not what members read")
		}
	})
}

// TestLapse ends what nobody touches, with a mail, and forgets it after years.
func TestLapse(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		r := k.put(lifecycle.Production, lifecycle.ChangesRequested)
		k.mails()
		k.clock.pass(89 * 24 * time.Hour)
		equal(t, first2(k.lapse(ctx)), 0)
		k.clock.pass(48 * time.Hour)
		equal(t, first2(k.lapse(ctx)), 1)
		equal(t, first2(k.lapse(ctx)), 0)
		equal(t, len(k.mails()), 3)
		a := first2(k.owner.Application(ctx, r.ID))
		equal(t, a.State, lifecycle.Lapsed)
		a = k.step(k.owner, a, lifecycle.Reopen, nil)
		if len(a.Answers) == 0 {
			t.Error("the answers are lost")
		}
		k.step(k.owner, a, lifecycle.Withdraw, nil)
		k.clock.pass(731 * 24 * time.Hour)
		_, err := k.forget(ctx)
		ok(t, err)
		_, err = k.owner.Application(ctx, r.ID)
		wants(t, err, accounts.ErrNotFound)
		if n := k.count("portal_revisions"); n != 1 { // that of the sandbox
			t.Errorf("%d revisions are left", n)
		}
	})
}

// TestAutomatic proves that a complete questionnaire opens the sandbox at once where the rules say so, but not for who was cut
// off, and later if it could not be at once.
func TestAutomatic(t *testing.T) {
	each(t, func(c *Config) { c.Rules.SandboxReview = "automatic" }, func(k *team, _ string) {
		t := k.t
		k.opens()
		events := first2(k.owner.Events(ctx, first2(k.owner.Applications(ctx, k.org))[0].ID))
		last := events[len(events)-1]
		equal(t, []string{last.Actor, last.Action}, []string{"system", "approve"})
		id := first2(k.owner.Applications(ctx, k.org))[0].ID
		k.sandboxIn(id, lifecycle.Submitted)
		equal(t, first2(k.decideByItself(ctx)), 1)
		a := first2(k.reviewer.Application(ctx, id))
		k.step(k.reviewer, a, lifecycle.Suspend, &Input{Reason: "why", Criterion: "S-05"})
		k.sandboxFrom(id, lifecycle.Submitted)
		equal(t, first2(k.decideByItself(ctx)), 0)
		equal(t, first2(k.owner.Application(ctx, id)).State, lifecycle.Submitted)
	})
}

// sandboxFrom puts an application into a state, and leaves what is known of it.
func (k *team) sandboxFrom(id string, state lifecycle.State) {
	k.t.Helper()
	more := first2(k.application(ctx, k.db, id)).More
	r := k.sandboxIn(id, state)
	r.More = more
	ok(k.t, k.tx(ctx, func(ctx context.Context, tx *step) error { return k.saveApplication(ctx, tx, r) }))
}

// TestFetchesNothingOfOurs proves that an address which an app names cannot make the server reach what only it can reach.
func TestFetchesNothingOfOurs(t *testing.T) {
	reached := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached++
		_, _ = w.Write([]byte("a policy"))
	}))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	ok(t, err)
	p := &Portal{}
	for _, at := range []string{
		s.URL, "http://" + s.Listener.Addr().String(), "https://localhost:" + port + "/", "https://[::1]:" + port + "/", "https://[::ffff:127.0.0.1]:" + port + "/",
		"https://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "https://0.0.0.0:" + port + "/", "https://2130706433:" + port + "/", "file:///etc/passwd", "https://",
	} {
		if sum := p.fetchText(ctx, at); sum != "" {
			t.Errorf("%s was fetched", at)
		}
	}
	// A name that is public when it is looked at, and leads to this machine when it is dialled: what counts is the address
	// that is dialled, so a resolver that lies gains nothing.
	transport := public.Transport
	dials := &http.Client{Transport: transport, Timeout: time.Second, CheckRedirect: public.CheckRedirect}
	if resp, err := dials.Get("https://localtest.invalid:" + port + "/"); err == nil {
		resp.Body.Close()
		t.Error("a name of nobody was reached")
	}
	if reached > 0 {
		t.Error("the server was reached")
	}

	// What is reachable is read within limits.
	body, status := []byte("words"), http.StatusOK
	o := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, s.URL, http.StatusFound)
			return
		}
		if r.URL.Path == "/here" {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write(body)
	}))
	defer o.Close()
	p.Fetch = o.Client()
	p.Fetch.CheckRedirect = sameHost
	equal(t, p.fetchText(ctx, o.URL), sumOfWords([]byte("words")))
	equal(t, p.fetchText(ctx, o.URL+"/here"), sumOfWords([]byte("words")))
	equal(t, p.fetchText(ctx, o.URL+"/away"), "")
	status = http.StatusNotFound
	equal(t, p.fetchText(ctx, o.URL), "")
	status, body = http.StatusOK, bytes.Repeat([]byte("x"), textBytes+1)
	equal(t, p.fetchText(ctx, o.URL), "")
	equal(t, sumOfWords([]byte("%PDF-1 a  b")) == sumOfWords([]byte("%PDF-1 a b")), false)
}

// TestExport takes a portal to another database, with another seal: what comes out of that is the same.
func TestExport(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		a := k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
		cred, err := k.owner.Issue(ctx, app.ID, InProduction)
		ok(t, err)
		r := k.put(lifecycle.Production, lifecycle.ChangesRequested)
		d, err := k.owner.Upload(ctx, r.ID, "security_documents", "a.pdf", strings.NewReader("%PDF-1"))
		ok(t, err)
		_, err = k.owner.Say(ctx, r.ID, "Hello", false)
		ok(t, err)
		number, key, err := k.SubmitForm(ctx, k.phrAnswers("Pocket", "somebody@dev.example"), "es")
		ok(t, err)
		_, err = k.File(ctx, "support", supportAnswers(), "", "", "en", false)
		ok(t, err)
		_, err = k.owner.Invite(ctx, &Invitation{Org: k.org, Email: "new@dev.example", Family: "New", Role: Observer})
		ok(t, err)
		denied(t, k.reviewer.Export(ctx, &bytes.Buffer{}, &bytes.Buffer{}))
		var first, documents bytes.Buffer
		ok(t, k.admin.Export(ctx, &first, &documents))
		for _, secret := range []string{cred.Secret, key, "argon2"} {
			if strings.Contains(first.String(), secret) {
				t.Error("the export has a secret")
			}
		}
		wants(t, k.admin.Import(ctx, bytes.NewReader(first.Bytes()), bytes.NewReader(documents.Bytes())), accounts.ErrExists)

		other := newWorld(t, "sqlite:"+t.TempDir()+"/b.db", func(c *Config) {
			rules(c)
			a, err := accounts.Open(ctx, "sqlite:"+t.TempDir()+"/c.db", &accounts.Options{Seal: [32]byte{1}, Now: k.clock.now})
			ok(t, err)
			t.Cleanup(func() { ok(t, a.Close()) })
			c.Accounts, c.Production.Accounts, c.Sandbox.Accounts, c.Now = a, a, a, k.clock.now
		})
		operator := other.Operator("test")
		for name, text := range map[string]string{"nothing": "", "another format": `{"format":"x"}`, "another table": `{"format":"cpcds2fhir portal","version":1}` + "\n" + `{"table":"clients","row":{}}`} {
			if err := operator.Import(ctx, strings.NewReader(text), bytes.NewReader(documents.Bytes())); name != "nothing" && err == nil {
				t.Errorf("%s was imported", name)
			}
		}
		if err := operator.Import(ctx, bytes.NewReader(first.Bytes()), &bytes.Buffer{}); err == nil {
			t.Error("a document is missing, and nobody says so")
		}
		ok(t, operator.Import(ctx, bytes.NewReader(first.Bytes()), bytes.NewReader(documents.Bytes())))
		var second, same bytes.Buffer
		ok(t, operator.Export(ctx, &second, &same))
		equal(t, strings.Split(second.String(), "\n"), strings.Split(first.String(), "\n"))
		equal(t, bytes.Equal(same.Bytes(), documents.Bytes()), true)

		// It works there: what was approved has its client, people and forms are found, and documents open.
		owner := other.actorOf(k.owner.Person.ID)
		mine, err := owner.Application(ctx, a.ID)
		ok(t, err)
		equal(t, mine.State, lifecycle.Credentials)
		c, err := other.Accounts.Client(ctx, cred.Client)
		ok(t, err)
		equal(t, []any{c.Status, c.Name}, []any{accounts.Active, "Claims Friend"})
		_, _, err = other.Track(ctx, number, key)
		ok(t, err)
		_, f, err := owner.Document(ctx, r.ID, d.ID)
		ok(t, err)
		f.Close()
		list, err := other.Operator("test").Tickets(ctx, "", "", 0)
		ok(t, err)
		equal(t, len(list), 1)
	})
}

// TestReopenAfterRefusal keeps one open application, whatever was before.
func TestReopenAfterRefusal(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		a, err := k.owner.Start(ctx, lifecycle.Sandbox, k.org, "")
		ok(t, err)
		a = k.step(k.owner, a, lifecycle.Withdraw, nil)
		b, err := k.developer.Start(ctx, lifecycle.Sandbox, k.org, "")
		ok(t, err)
		_, err = k.owner.Move(ctx, a.ID, lifecycle.Reopen, &Input{Version: a.Version})
		wants(t, err, accounts.ErrExists)
		k.step(k.owner, b, lifecycle.Withdraw, nil)
		a = k.step(k.owner, a, lifecycle.Reopen, nil)
		_, err = k.developer.Start(ctx, lifecycle.Sandbox, k.org, "")
		wants(t, err, accounts.ErrExists)
		options, err := k.owner.Moves(ctx, a)
		ok(t, err)
		var list []string
		for _, o := range options {
			list = append(list, string(o.Action))
			if o.Action == lifecycle.Submit && (len(o.Lacks) != 1 || o.Lacks[0] != lifecycle.Complete) {
				t.Errorf("it lacks %v", o.Lacks)
			}
		}
		equal(t, list, []string{"submit", "withdraw"})
		a, err = k.owner.SaveDraft(ctx, a.ID, a.Version, formstest.Filled(k.Forms.Form(forms.Questionnaire)))
		ok(t, err)
		for _, o := range first2(k.owner.Moves(ctx, a)) {
			if len(o.Lacks) > 0 {
				t.Errorf("%s lacks %v", o.Action, o.Lacks)
			}
		}
		var problems *NeedError
		_, err = k.owner.SaveDraft(ctx, a.ID, a.Version, forms.Answers{"use_case": {strings.Repeat("x", 100_000)}})
		if !errors.As(err, &problems) || problems.Problems[0].Question != "use_case" {
			t.Errorf("got %v", err)
		}
	})
}
