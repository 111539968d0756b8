package portal

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/database/databasetest"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// attestsOf are the attestations of an application.
func (w *world) attestsOf(answers forms.Answers) []string {
	m := &move{form: w.Forms.Form(forms.Production), answers: answers}
	return m.attestations()
}

// signed is an input with all attestations.
func (w *world) signed(a *Application) *Input {
	return &Input{Version: a.Version, Attest: w.attestsOf(a.Answers), Name: "Olga Owner", Title: "owner", Bind: true}
}

func appSettings(name string) *Settings {
	return &Settings{
		Name: name, Kind: "web", Auth: "client_secret", RedirectURIs: []string{"https://www.apps.example/back"},
		Scopes: []Scope{{"launch/patient", "the member"}, {"patient/*.read", "claims"}}, Offline: true, Category: "months_13",
		Homepage: "https://www.apps.example/", Policy: "https://www.apps.example/policy", Terms: "https://www.apps.example/terms",
		Support: "help@apps.example", About: map[string]string{"en": "Shows claims.", "es": "Muestra reclamaciones."}, Platforms: []string{"web"}, Audience: "adults",
	}
}

// team is an organisation with people, and staff.
type team struct {
	*world
	org                                    string
	owner, developer, observer             *Actor
	stranger                               *Actor
	support, reviewer, second, admin, twin *Actor // twin is a reviewer who belongs to the organisation
}

func newTeam(t testing.TB, w *world) *team {
	t.Helper()
	k := &team{world: w}
	o, owner := w.organisation(w.actor("Olga Owner", NoStaff), "Apps")
	k.org, k.owner = o.ID, owner
	k.developer = w.join(o.ID, w.actor("Dan Developer", NoStaff), Developer)
	k.observer = w.join(o.ID, w.actor("Obi Observer", NoStaff), Observer)
	_, k.stranger = w.organisation(w.actor("Sam Stranger", NoStaff), "Elsewhere")
	k.support = w.actor("Sue Support", Support)
	k.reviewer = w.actor("Rita Reviewer", Reviewer)
	k.second = w.actor("Rob Reviewer", Reviewer)
	k.admin = w.actor("Ada Admin", Administrator)
	k.twin = w.join(o.ID, w.actor("Tom Twin", Administrator), Owner)
	for _, a := range []*Actor{k.owner, k.developer} {
		ok(t, a.AcceptTerms(ctx, w.Rules.TermsVersion))
		a.Person.Terms = w.Rules.TermsVersion
		a.Person.Proof = Proof{State: "passed", Method: "claim"}
	}
	w.mails()
	return k
}

// step makes a move that must succeed.
func (k *team) step(a *Actor, app *Application, action lifecycle.Action, in *Input) *Application {
	k.t.Helper()
	if in == nil {
		in = &Input{}
	}
	in.Version = app.Version
	next, err := a.Move(ctx, app.ID, action, in)
	if err != nil {
		k.t.Fatalf("%s: %v", action, err)
	}
	return next
}

// opens gets access to the sandbox for the organisation.
func (k *team) opens() {
	k.t.Helper()
	app, err := k.owner.Start(ctx, lifecycle.Sandbox, k.org, "")
	ok(k.t, err)
	app, err = k.owner.SaveDraft(ctx, app.ID, app.Version, formstest.Filled(k.Forms.Form(forms.Questionnaire)))
	ok(k.t, err)
	app = k.step(k.owner, app, lifecycle.Submit, nil)
	if app.State == lifecycle.Submitted {
		app = k.step(k.reviewer, app, lifecycle.Take, nil)
		app = k.step(k.reviewer, app, lifecycle.Approve, nil)
	}
	equal(k.t, app.State, lifecycle.Approved)
}

// tested makes an app whose sandbox client has shown what the rules want.
func (k *team) tested(name string) *App {
	k.t.Helper()
	app, err := k.developer.AddApp(ctx, k.org, appSettings(name))
	ok(k.t, err)
	c, err := k.developer.Issue(ctx, app.ID, InSandbox)
	ok(k.t, err)
	at := k.clock.now()
	ok(k.t, k.sandboxAccounts().LogRequests(ctx, []accounts.ClientRequest{
		{Client: c.Client, At: at, Method: "POST", Route: CodeRoute, Status: 200},
		{Client: c.Client, At: at.Add(time.Second), Method: "GET", Route: "GET /Patient/{id}", Status: 200},
	}))
	app, err = k.developer.App(ctx, app.ID)
	ok(k.t, err)
	return app
}

// approved brings an app to where its owner can have credentials.
func (k *team) approved(app *App) *Application {
	k.t.Helper()
	a, err := k.owner.Start(ctx, lifecycle.Production, k.org, app.ID)
	ok(k.t, err)
	a, err = k.owner.SaveDraft(ctx, a.ID, a.Version, formstest.Filled(k.Forms.Form(forms.Production)))
	ok(k.t, err)
	a = k.step(k.owner, a, lifecycle.Submit, k.signed(a))
	for _, x := range []lifecycle.Action{lifecycle.Take, lifecycle.StartReview, lifecycle.SignSecurity, lifecycle.SignPrivacy, lifecycle.Propose} {
		a = k.step(k.reviewer, a, x, &Input{Reason: "it is in order"})
	}
	return k.step(k.second, a, lifecycle.Approve, &Input{Reason: "welcome", Conditions: "none"})
}

func rules(c *Config) {
	c.Rules = Rules{
		FourEyes: true, Proof: "either", Evidence: []string{"authorize", "read"}, TermsVersion: "2026-01", Directory: true, Holidays: []string{"2026-03-05"},
	}
	c.Fetch = pagesOf(map[string]string{"/policy": "<p>We share nothing.</p>", "/terms": "<p>Be kind.</p>"})
}

// each runs a test for a team, on each kind of database.
func each(t *testing.T, change func(c *Config), test func(k *team, address string)) {
	t.Helper()
	databasetest.Each(t, func(t *testing.T, address string) {
		test(newTeam(t, newWorld(t, address, func(c *Config) {
			rules(c)
			if change != nil {
				change(c)
			}
		})), address)
	})
}

// TestJourney goes from an account to production, and through all that can happen to an app there.
func TestJourney(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		_, err := k.developer.AddApp(ctx, k.org, appSettings("Claims Friend"))
		var need *NeedError
		if !errors.As(err, &need) || need.Need != lifecycle.SandboxAccess {
			t.Fatalf("got %v", err)
		}
		k.opens()
		app := k.tested("Claims Friend")
		if !strings.HasPrefix(app.Sandbox, "test-") {
			t.Fatalf("got %s", app.Sandbox)
		}
		box, err := k.Accounts.Client(ctx, app.Sandbox)
		ok(t, err)
		equal(t, []any{box.Environment, box.Status, box.App, box.Owner, box.Publisher}, []any{"sandbox", accounts.Active, app.ID, k.org, "Apps"})
		a := k.approved(app)
		equal(t, a.State, lifecycle.Approved)
		_, err = k.owner.Issue(ctx, app.ID, InProduction)
		wants(t, err, accounts.ErrNotFound)
		a = k.step(k.owner, a, lifecycle.Issue, nil)
		app = k.snapshotHolds(app.ID)

		cred, err := k.owner.Issue(ctx, app.ID, InProduction)
		ok(t, err)
		if !strings.HasPrefix(cred.Secret, "cfh_live_") || !strings.HasPrefix(cred.Client, "live-") || len(cred.Secrets) != 1 {
			t.Fatal("the credentials are not those of production")
		}
		good, err := k.Accounts.CheckSecret(ctx, cred.Client, cred.Secret)
		ok(t, err)
		equal(t, good, true)
		again, err := k.owner.Issue(ctx, app.ID, InProduction)
		ok(t, err)
		equal(t, again.Secret, "") // it is shown once
		_, err = k.developer.Issue(ctx, app.ID, InProduction)
		denied(t, err)
		if strings.Contains(k.dump(), cred.Secret) {
			t.Fatal("the secret is kept")
		}

		// It goes live when it is used.
		_, err = k.Tick(ctx)
		ok(t, err)
		a, err = k.owner.Application(ctx, a.ID)
		ok(t, err)
		equal(t, a.State, lifecycle.Live)

		// A change is looked at while the old settings work on.
		s := app.Approved.clone()
		s.Name, s.RedirectURIs = "Claims Companion", []string{"https://www.apps.example/new"}
		in := k.signed(a)
		in.Settings = s
		a = k.step(k.owner, a, lifecycle.Change, in)
		equal(t, k.snapshotHolds(app.ID).Approved.Name, "Claims Friend")
		a = k.step(k.reviewer, a, lifecycle.ProposeChange, nil)
		a = k.step(k.second, a, lifecycle.AcceptChange, nil)
		equal(t, k.snapshotHolds(app.ID).Approved.RedirectURIs, s.RedirectURIs)

		// What needs no review holds at once, and nothing else does.
		app, err = k.owner.App(ctx, app.ID)
		ok(t, err)
		own := app.Settings.clone()
		own.About["en"], own.Platforms = "Shows all claims.", []string{"web", "ios"}
		own.Support, own.Homepage = "https://www.evil.example/help", "https://www.apps.example/home"
		app, err = k.developer.UpdateApp(ctx, app.ID, app.Version, own)
		ok(t, err)
		app = k.snapshotHolds(app.ID)
		equal(t, []string{app.Approved.About["en"], app.Approved.Homepage, app.Approved.Support}, []string{"Shows all claims.", "https://www.apps.example/", "help@apps.example"})

		list, err := k.Directory(ctx, "es")
		ok(t, err)
		if len(list) != 1 || list[0].Name != "Claims Companion" || list[0].About != "Muestra reclamaciones." || list[0].Attested.IsZero() {
			t.Fatalf("got %+v", list)
		}

		a = k.step(k.reviewer, a, lifecycle.Suspend, &Input{Reason: "keys in public", Criterion: "S-02"})
		k.status(app.Production, accounts.Disabled)
		list, err = k.Directory(ctx, "en")
		ok(t, err)
		equal(t, len(list), 0)
		a = k.step(k.admin, a, lifecycle.Reinstate, &Input{Reason: "new keys"})
		k.status(app.Production, accounts.Active)
		a = k.step(k.owner, a, lifecycle.Retire, nil)
		k.status(app.Production, accounts.Disabled)
		equal(t, a.State, lifecycle.Retired)

		events, err := k.reviewer.Events(ctx, a.ID)
		ok(t, err)
		for _, e := range events {
			if e.Actor == "" || e.At.IsZero() || e.Action == "" {
				t.Errorf("%+v lacks something", e)
			}
		}
		if _, err := k.stranger.Events(ctx, a.ID); !errors.Is(err, accounts.ErrNotFound) {
			t.Errorf("got %v", err)
		}
	})
}

func (k *team) status(client string, want accounts.Status) {
	k.t.Helper()
	c, err := k.Accounts.Client(ctx, client)
	ok(k.t, err)
	equal(k.t, c.Status, want)
}

// snapshotHolds compares the production client of an app with what was approved, field by field.
func (k *team) snapshotHolds(id string) *App {
	k.t.Helper()
	app, err := k.owner.App(ctx, id)
	ok(k.t, err)
	got, err := k.Accounts.Client(ctx, app.Production)
	ok(k.t, err)
	list, err := database.List(ctx, k.db, readApplication, applicationQuery+`WHERE a.app = $1 AND a.kind = 'production'`, id)
	ok(k.t, err)
	r := list[0]
	approved, err := k.revision(ctx, k.db, r.ID, r.Approved)
	ok(k.t, err)
	s := app.Approved
	frozen := approved.Settings.clone()
	frozen.unreviewed(s)
	equal(k.t, s, frozen)
	scopes := []string{}
	for _, x := range s.Scopes {
		scopes = append(scopes, x.Scope)
	}
	want := &accounts.Client{
		ID: app.Production, Name: s.Name, Status: accounts.Active, Auth: s.Auth, Grants: []string{"authorization_code", "refresh_token"},
		RedirectURIs: s.RedirectURIs, Scopes: append(scopes, "offline_access"), Homepage: s.Homepage, Policy: s.Policy, Terms: s.Terms,
		Owner: k.org, Publisher: "Apps", About: s.About, Support: s.Support, Attested: got.Attested,
		Privacy: k.Forms.Form(forms.Production).Disclosures(approved.Answers), Listed: true, App: app.ID, Created: got.Created, Changed: got.Changed,
	}
	equal(k.t, got, want)
	if got.Attested.IsZero() || len(got.Privacy) < 10 || got.Privacy["P-01"] != "attested" {
		k.t.Fatal("members read nothing of what was attested")
	}
	return app
}
