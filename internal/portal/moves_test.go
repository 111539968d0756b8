package portal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/database/databasetest"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// actions are all that the table knows.
func actions() (list []lifecycle.Action) {
	for _, m := range lifecycle.Moves {
		if !slices.Contains(list, m.Action) {
			list = append(list, m.Action)
		}
	}
	return list
}

// put makes an application that stands in a state, with all that any move from there needs.
func (k *team) put(kind lifecycle.Kind, state lifecycle.State) *record {
	k.t.Helper()
	r := &record{Application: Application{Kind: kind, Source: sourcePortal, Org: k.org, State: state, Form: forms.Questionnaire}}
	now := k.clock.now()
	var app *App
	if kind == lifecycle.Production {
		k.openAgain(r)
	}
	ok(k.t, k.tx(ctx, func(ctx context.Context, tx *step) (err error) {
		r.ID, r.Version = "", 0
		if kind == lifecycle.Production {
			if app, err = k.owner.insertApp(ctx, tx, k.org, appSettings("App "+database.Random())); err != nil {
				return err
			}
			app.Sandbox, app.Approved = newClientID(InSandbox), app.Settings.clone()
			switch state {
			case lifecycle.Credentials, lifecycle.Live, lifecycle.ChangePending, lifecycle.RenewalDue, lifecycle.Suspended:
				app.Production = newClientID(InProduction)
			}
			if state == lifecycle.ChangePending {
				app.Asked = app.Settings.clone()
				app.Asked.RedirectURIs = []string{"https://www.apps.example/asked"}
			}
			if err := k.saveApp(ctx, tx, app); err != nil {
				return err
			}
			r.App, r.AppName, r.Form = app.ID, app.Settings.Name, forms.Production
			r.Attested, r.Expires = now, now.AddDate(1, 0, 0)
		}
		r.Answers = formstest.Filled(k.Forms.Form(r.Form))
		r.Reviews = map[string]Signature{"security": {By: k.reviewer.id(), At: now}, "privacy": {By: k.reviewer.id(), At: now}}
		r.Proposal = &Proposal{Approve: true, By: k.second.id(), At: now}
		if state == lifecycle.Unconfirmed {
			r.Org, r.App = "", ""
		}
		if err := k.addApplication(ctx, tx, r); err != nil {
			return err
		}
		m := &move{Portal: k.Portal, Move: &lifecycle.Move{}, r: r, app: app, at: now, seen: &outside{}, in: &Input{}, form: k.Forms.Form(r.Form), answers: r.Answers}
		if err := m.freeze(ctx, tx); err != nil {
			return err
		}
		r.Approved = r.Revision
		if state == lifecycle.Unconfirmed {
			sealed, err := k.seal("visitor "+r.ID, &visitor{Email: "visitor@dev.example", Language: "es"})
			if err != nil {
				return err
			}
			if _, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_visitors (application, key_sum, token_sum, expires, client, address_mac, sealed, created)
				VALUES ($1, '', '', 0, '', '', $2, 0)`, r.ID, sealed); err != nil {
				return err
			}
		}
		if err := k.saveApplication(ctx, tx, r); err != nil {
			return err
		}
		if app == nil || app.Production == "" {
			return nil
		}
		status := accounts.Active
		if state == lifecycle.Suspended {
			status = accounts.Disabled
		}
		return k.putProduction(ctx, tx, app, &r.Application, status)
	}))
	if app != nil {
		at := k.clock.now()
		ok(k.t, k.tx(ctx, func(ctx context.Context, tx *step) error { return k.putSandbox(ctx, tx, app, true) }))
		ok(k.t, k.Accounts.LogRequests(ctx, []accounts.ClientRequest{
			{Client: app.Sandbox, At: at, Method: "POST", Route: CodeRoute, Status: 200},
			{Client: app.Sandbox, At: at.Add(time.Second), Method: "GET", Route: "GET /Patient/{id}", Status: 200},
		}))
	}
	return r
}

// given is an input that has all that a move needs.
func (k *team) given(r *record, action lifecycle.Action) *Input {
	in := &Input{Version: r.Version, Reason: "because", Criterion: "S-02", Note: "for staff", Conditions: "none"}
	s := k.signed(&r.Application)
	in.Attest, in.Name, in.Title, in.Bind = s.Attest, s.Name, s.Title, s.Bind
	if action == lifecycle.Change {
		in.Settings = appSettings(r.AppName)
		in.Settings.RedirectURIs = []string{"https://www.apps.example/changed"}
	}
	return in
}

// mark is all that a move could change of an application.
func (k *team) mark(r *record) string {
	k.t.Helper()
	var b strings.Builder
	for _, q := range []string{
		`SELECT COUNT(*) || ' ' FROM portal_events`, `SELECT COUNT(*) || ' ' FROM portal_outbox`, `SELECT COUNT(*) || ' ' FROM portal_revisions`,
		`SELECT COUNT(*) || ' ' FROM portal_apps`, `SELECT COUNT(*) || ' ' FROM clients`, `SELECT COUNT(*) || ' ' FROM portal_names`,
		`SELECT COALESCE(SUM(version), 0) || ' ' FROM portal_apps`, `SELECT COALESCE(SUM(version), 0) || ' ' FROM portal_applications`,
		`SELECT COALESCE(SUM(changed), 0) || ' ' FROM clients`, `SELECT COUNT(*) || ' ' FROM clients WHERE status = 'active'`,
	} {
		list, err := database.Column(ctx, k.db, q)
		ok(k.t, err)
		b.WriteString(list[0])
	}
	list, err := database.Column(ctx, k.db, `SELECT state || about FROM portal_applications WHERE id = $1`, r.ID)
	ok(k.t, err)
	return b.String() + strings.Join(list, "")
}

// TestEveryMove tries every action in every state as everybody. What the table does not have changes nothing; what it has
// leads where it says, with one event, and with mails if it notifies anybody.
func TestEveryMove(t *testing.T) {
	if testing.Short() {
		t.Skip("many steps of one goroutine")
	}
	databasetest.Each(t, func(t *testing.T, address string) {
		k := newTeam(t, newWorld(t, address, func(c *Config) {
			rules(c)
			c.Mail = nil
		}))
		k.opens()
		open := first2(k.owner.Applications(ctx, k.org))[0]
		everybody := []struct {
			name  string
			actor *Actor
			roles []lifecycle.Role
			sees  bool
		}{
			{"owner", k.owner, []lifecycle.Role{lifecycle.Owner}, true},
			{"developer", k.developer, []lifecycle.Role{lifecycle.Developer}, true},
			{"observer", k.observer, nil, true},
			{"stranger", k.stranger, nil, false},
			{"support", k.support, nil, true},
			{"reviewer", k.reviewer, []lifecycle.Role{lifecycle.Reviewer}, true},
			{"administrator", k.admin, []lifecycle.Role{lifecycle.Reviewer, lifecycle.Administrator}, true},
			{"operator", k.Operator("test"), []lifecycle.Role{lifecycle.Reviewer, lifecycle.Administrator}, true},
			{"twin", k.twin, []lifecycle.Role{lifecycle.Owner, lifecycle.Reviewer, lifecycle.Administrator}, true},
			{"nobody", &Actor{Portal: k.Portal, Person: &Person{ID: "nobody"}}, nil, false},
		}
		made := 0
		for _, kind := range []lifecycle.Kind{lifecycle.Sandbox, lifecycle.Production} {
			for _, state := range lifecycle.States(kind) {
				place := func() *record {
					if kind == lifecycle.Sandbox { // an organisation has one that is open
						return k.sandboxIn(open.ID, state)
					}
					return k.put(kind, state)
				}
				type trial struct {
					name  string
					actor *Actor
					move  *lifecycle.Move
				}
				var legal []trial
				still := place() // what the table does not have leaves it as it is
				for _, by := range everybody {
					r := still
					sees := by.sees && (r.Org != "" || by.actor.isStaff(Support))
					roles := by.roles
					if r.Org == "" && by.actor == k.owner || r.Org == "" && by.actor == k.developer {
						roles = nil
					} else if r.Org == "" && by.actor == k.twin {
						roles = roles[1:]
					}
					before := k.mark(r)
					for _, action := range actions() {
						m, err := lifecycle.Find(kind, state, action, roles)
						if sees && err == nil && action != lifecycle.Claim {
							continue // below
						}
						_, got := by.actor.Move(ctx, r.ID, action, &Input{Version: r.Version})
						var illegal *lifecycle.IllegalError
						var role *lifecycle.RoleError
						var input *InputError
						switch {
						case !sees && errors.Is(got, accounts.ErrNotFound):
						case sees && m != nil && errors.As(got, &input):
						case sees && errors.As(err, &illegal) && errors.As(got, &illegal):
						case sees && errors.As(err, &role) && errors.As(got, &role):
						default:
							t.Fatalf("%s %s, %s by %s: %v, want %v", kind, state, action, by.name, got, err)
						}
					}
					if k.mark(r) != before {
						t.Fatalf("%s %s: %s has changed something", kind, state, by.name)
					}
					for _, action := range actions() {
						m, err := lifecycle.Find(kind, state, action, roles)
						if err != nil || !sees || action == lifecycle.Claim {
							continue
						}
						legal = append(legal, trial{by.name, by.actor, m})
					}
				}
				for _, x := range legal {
					k.legal(x.name, x.actor, place(), x.move)
					made++
				}
			}
		}
		if made < 150 {
			t.Errorf("only %d moves were made", made)
		}
	})
}

func first2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sandboxIn puts the application for the sandbox into a state.
func (k *team) sandboxIn(id string, state lifecycle.State) *record {
	k.t.Helper()
	r, err := k.application(ctx, k.db, id)
	ok(k.t, err)
	r.State, r.More = state, false
	r.Answers = formstest.Filled(k.Forms.Form(forms.Questionnaire))
	ok(k.t, k.tx(ctx, func(ctx context.Context, tx *step) error { return k.saveApplication(ctx, tx, r) }))
	return r
}

// legal makes a move that the table has.
func (k *team) legal(name string, a *Actor, r *record, m *lifecycle.Move) {
	k.t.Helper()
	if m.Kind == lifecycle.Production && r.Org != "" {
		// The sandbox must be open for what needs it, whatever state is tried.
		k.openAgain(r)
	}
	if slices.Contains(m.Needs, lifecycle.ForDenial) {
		r.Proposal.Approve = false
		ok(k.t, k.tx(ctx, func(ctx context.Context, tx *step) error { return k.saveApplication(ctx, tx, r) }))
	}
	before := k.mark(r)
	events, mails := k.count("portal_events"), k.count("portal_outbox")
	after, err := a.Move(ctx, r.ID, m.Action, k.given(r, m.Action))
	what := fmt.Sprintf("%s %s, %s by %s", m.Kind, r.State, m.Action, name)
	var need *NeedError
	var input *InputError
	twin := a == k.twin && slices.Contains(m.Needs, lifecycle.Unrelated)
	unclaimed := r.Org == "" && errors.As(err, &input) && input.Code == "unclaimed"
	if twin || unclaimed {
		if twin && (!errors.As(err, &need) || need.Need != lifecycle.Unrelated) {
			k.t.Fatalf("%s: %v: staff decide about themselves", what, err)
		}
		if k.mark(r) != before {
			k.t.Fatalf("%s has changed something", what)
		}
		return
	}
	if err != nil {
		if errors.As(err, &need) && (need.Need == lifecycle.Terms || need.Need == lifecycle.Identity) && a == k.twin {
			return // who has not accepted the terms
		}
		k.t.Fatalf("%s: %v", what, err)
	}
	if after.State != m.To || after.Version <= r.Version {
		k.t.Fatalf("%s leads to %s, version %d", what, after.State, after.Version)
	}
	if got := k.count("portal_events") - events; got != 1 {
		k.t.Fatalf("%s keeps %d events", what, got)
	}
	notifies := slices.ContainsFunc(m.Effects, func(e lifecycle.Effect) bool { return strings.HasPrefix(string(e), "notify") })
	if got := k.count("portal_outbox") - mails; (got > 0) != notifies {
		k.t.Fatalf("%s writes %d mails", what, got)
	}
	if r.App == "" {
		return
	}
	app, err := k.app(ctx, k.db, r.App)
	ok(k.t, err)
	if app.Production == "" {
		return
	}
	c, err := k.Accounts.Client(ctx, app.Production)
	ok(k.t, err)
	if (c.Status == accounts.Active) != lifecycle.Usable(m.To) {
		k.t.Fatalf("%s: the client is %s", what, c.Status)
	}
	if !slices.Equal(c.RedirectURIs, app.Approved.RedirectURIs) {
		k.t.Fatalf("%s: the client is not what was approved", what)
	}
}

func (k *team) openAgain(r *record) {
	list := first2(database.Column(ctx, k.db, `SELECT id FROM portal_applications WHERE kind = 'sandbox' AND org = $1`, r.Org))
	k.sandboxIn(list[0], lifecycle.Approved)
}

func (k *team) count(table string) int {
	k.t.Helper()
	list, err := database.List(ctx, k.db, func(row database.Row) (n int, err error) { return n, row.Scan(&n) }, `SELECT COUNT(*) FROM `+table)
	ok(k.t, err)
	return list[0]
}

// TestNeeds takes from each move one need after the other. It fails with that need, and changes nothing.
func TestNeeds(t *testing.T) {
	each(t, func(c *Config) { c.Mail, c.Rules.Demo, c.Rules.SandboxReview = nil, true, "automatic" }, func(k *team, _ string) {
		k.opens()
		sandbox := first2(k.owner.Applications(ctx, k.org))[0].ID
		tried := map[lifecycle.Need]int{}
		for i := range lifecycle.Moves {
			m := &lifecycle.Moves[i]
			for _, need := range m.Needs {
				if need == lifecycle.Automatic || m.Action == lifecycle.Claim {
					continue // these have tests of their own
				}
				var r *record
				if m.Kind == lifecycle.Sandbox {
					r = k.sandboxIn(sandbox, m.From[0])
				} else {
					r = k.put(m.Kind, m.From[0])
					k.openAgain(r)
				}
				r.Demo = k.clock.now()
				in := k.given(r, m.Action)
				if r.Proposal != nil {
					r.Proposal.Approve = !slices.Contains(m.Needs, lifecycle.ForDenial)
				}
				a := k.lacking(r, m, need, in)
				ok(k.t, k.tx(ctx, func(ctx context.Context, tx *step) error { return k.saveApplication(ctx, tx, r) }))
				in.Version = r.Version
				before := k.mark(r)
				_, err := a.Move(ctx, r.ID, m.Action, in)
				var got *NeedError
				if !errors.As(err, &got) || got.Need != need {
					k.t.Fatalf("%s %s without %s: %v", m.Kind, m.Action, need, err)
				}
				if k.mark(r) != before {
					k.t.Fatalf("%s %s without %s has changed something", m.Kind, m.Action, need)
				}
				if need == lifecycle.Complete && len(got.Problems) == 0 || (need == lifecycle.Evidence || need == lifecycle.Attested) && len(got.Missing) == 0 {
					k.t.Errorf("%s %s without %s does not say what is missing", m.Kind, m.Action, need)
				}
				tried[need]++
			}
		}
		if len(tried) < 14 {
			k.t.Errorf("only these needs were tried: %v", tried)
		}
	})
}

// lacking takes a need from a move, and gives the actor who makes it.
func (k *team) lacking(r *record, m *lifecycle.Move, need lifecycle.Need, in *Input) *Actor {
	k.t.Helper()
	a := k.owner
	if slices.Contains(m.By, lifecycle.Reviewer) {
		a = k.reviewer
	} else if slices.Contains(m.By, lifecycle.Administrator) {
		a = k.admin
	}
	other := func(change func(p *Person)) {
		p := *a.Person
		change(&p)
		b := *a
		b.Person = &p
		a = &b
	}
	switch need {
	case lifecycle.Complete:
		r.Answers = forms.Answers{}
		in.Attest = k.attestsOf(r.Answers)
	case lifecycle.Terms:
		other(func(p *Person) { p.Terms = "2020" })
	case lifecycle.Identity:
		other(func(p *Person) { p.Proof = Proof{State: "failed"} })
	case lifecycle.Evidence:
		app := first2(k.app(ctx, k.db, r.App))
		app.Sandbox = "test-never-used"
		ok(k.t, k.tx(ctx, func(ctx context.Context, tx *step) error { return k.saveApp(ctx, tx, app) }))
	case lifecycle.Attested:
		in.Bind = false
	case lifecycle.SandboxAccess:
		k.sandboxIn(first2(database.Column(ctx, k.db, `SELECT id FROM portal_applications WHERE kind = 'sandbox' AND org = $1`, k.org))[0], lifecycle.Suspended)
	case lifecycle.Reason:
		in.Reason = " \n"
	case lifecycle.Criterion:
		in.Criterion = "P-01" // privacy is no ground
	case lifecycle.Unrelated:
		a = k.twin
	case lifecycle.OtherPerson:
		r.Proposal.By = a.id()
	case lifecycle.Signed:
		delete(r.Reviews, "privacy")
	case lifecycle.ForApproval:
		r.Proposal.Approve = false
	case lifecycle.ForDenial:
		r.Proposal.Approve = true
	case lifecycle.Undecided:
		ok(k.t, k.tx(ctx, func(ctx context.Context, tx *step) error {
			return k.keep(ctx, tx, &Event{Actor: a.id(), Action: string(lifecycle.Deny), Application: r.ID})
		}))
	}
	return a
}

// TestChangesThatAreNone refuses changes before anybody looks at them.
func TestChangesThatAreNone(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		k.opens()
		ok(k.t, k.Accounts.AddClient(ctx, &accounts.Client{ID: "op", Name: "Operators App", Status: accounts.Active}))
		other := newTeamOf(k, "Others")
		_, err := other.AddApp(ctx, other.Members[0].Org, appSettings("Taken"))
		ok(k.t, err)
		r := k.put(lifecycle.Production, lifecycle.Live)
		for name, c := range map[string]struct {
			change      func(s *Settings)
			field, code string
		}{
			"nothing":                 {func(*Settings) {}, "settings", "same"},
			"what needs no review":    {func(s *Settings) { s.About, s.Platforms = nil, nil }, "settings", "same"},
			"keys that nobody proved": {func(s *Settings) { s.Auth, s.JWKS = "private_key_jwt", "{}" }, "jwks", "proof"},
			"the operator's name":     {func(s *Settings) { s.Name = "operators app" }, "name", "taken"},
			"somebody's name":         {func(s *Settings) { s.Name = "T\u0430ken" }, "name", "taken"},
			"this machine":            {func(s *Settings) { s.RedirectURIs = []string{"http://localhost/"} }, "redirect_uris", "loopback"},
		} {
			in := k.given(r, lifecycle.Change)
			in.Settings = first2(k.owner.App(ctx, r.App)).Approved.clone()
			c.change(in.Settings)
			before := k.mark(r)
			_, err := k.owner.Move(ctx, r.ID, lifecycle.Change, in)
			input(k.t, err, c.field, c.code)
			if k.mark(r) != before {
				k.t.Errorf("%s has changed something", name)
			}
		}
	})
}

// TestTwoAtOnce proves that of two who decide at the same time one is told that somebody was first.
func TestTwoAtOnce(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		k.opens()
		for _, action := range []lifecycle.Action{lifecycle.Ask, lifecycle.StartReview} {
			r := k.put(lifecycle.Production, lifecycle.Triage)
			var wait sync.WaitGroup
			errs := make([]error, 2)
			for i, a := range []*Actor{k.reviewer, k.second} {
				wait.Go(func() { _, errs[i] = a.Move(ctx, r.ID, action, k.given(r, action)) })
			}
			wait.Wait()
			slices.SortFunc(errs, func(a, b error) int { return len(fmt.Sprint(a)) - len(fmt.Sprint(b)) })
			if errs[0] != nil || !errors.Is(errs[1], ErrStale) {
				k.t.Fatalf("got %v", errs)
			}
		}
	})
}
