package portal

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/database/databasetest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestSuspensionIsAtOnce proves that what a member has allowed an app opens nothing from the moment in which it is suspended, and
// opens it again when it is reinstated.
func TestSuspensionIsAtOnce(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		a := k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
		app = first2(k.owner.App(ctx, app.ID))
		user, err := k.Accounts.EnsureUser(ctx, "", "member")
		ok(t, err)
		now := k.clock.now()
		request := database.NewSecret()
		ok(t, k.Accounts.AddRequest(ctx, &accounts.Request{ID: request, Client: app.Production, Expires: now.Add(time.Hour)}))
		grant := &accounts.Grant{ID: "g", Client: app.Production, User: user.ID, Patient: "p1", Scopes: []string{"patient/*.read"}, Created: now, Expires: now.Add(24 * time.Hour)}
		code := &accounts.Code{Secret: database.NewSecret(), Grant: "g", Client: app.Production, Expires: now.Add(time.Minute)}
		ok(t, k.Accounts.Approve(ctx, request, grant, code))
		tokens := newTokens(now)
		ok(t, k.Accounts.Redeem(ctx, code.Secret, tokens))
		opens := func() bool {
			_, err := k.Accounts.Access(ctx, tokens.Access)
			if err != nil && !errors.Is(err, accounts.ErrNotFound) {
				t.Fatal(err)
			}
			return err == nil
		}
		equal(t, opens(), true)
		a = k.step(k.reviewer, a, lifecycle.Suspend, &Input{Reason: "keys in public", Criterion: "S-02"})
		equal(t, opens(), false)
		_, err = k.Accounts.Rotate(ctx, tokens.Refresh, newTokens(now), time.Minute)
		wants(t, err, accounts.ErrNotFound)
		a = k.step(k.admin, a, lifecycle.Reinstate, &Input{Reason: "new keys"})
		equal(t, opens(), true)

		// What the operator has disabled stays so, whatever the owner does.
		ok(t, k.Accounts.SetStatus(ctx, app.Production, accounts.Disabled))
		in := k.signed(a)
		in.Settings = app.Approved.clone()
		in.Settings.Homepage = "https://www.apps.example/other"
		a = k.step(k.owner, a, lifecycle.Change, in)
		a = k.step(k.reviewer, a, lifecycle.ProposeChange, nil)
		k.step(k.second, a, lifecycle.AcceptChange, nil)
		k.status(app.Production, accounts.Disabled)
		equal(t, first2(k.Accounts.Client(ctx, app.Production)).Homepage, "https://www.apps.example/other")
	})
}

func newTokens(now time.Time) *accounts.Tokens {
	return &accounts.Tokens{
		Access: database.NewSecret(), AccessScopes: []string{"patient/*.read"}, AccessExpires: now.Add(time.Hour),
		Refresh: database.NewSecret(), RefreshExpires: now.Add(24 * time.Hour),
	}
}

// TestPublisher proves that members read of a domain what is proofed now.
func TestPublisher(t *testing.T) {
	token := ""
	each(t, func(c *Config) {
		c.TXT = func(context.Context, string) ([]string, error) { return []string{token}, nil }
	}, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
		app = first2(k.owner.App(ctx, app.ID))
		domains := func() []string {
			return []string{first2(k.Accounts.Client(ctx, app.Production)).Domain, first2(k.Accounts.Client(ctx, app.Sandbox)).Domain}
		}
		equal(t, domains(), []string{"", ""})
		o := first2(k.owner.Organisation(ctx, k.org))
		k.TXT = func(context.Context, string) ([]string, error) { return []string{o.Domain.Token}, nil }
		o, err := k.owner.CheckDomain(ctx, k.org)
		ok(t, err)
		equal(t, domains(), []string{o.Domain.Name, o.Domain.Name})
		o.Website = "https://elsewhere.example/"
		ok(t, k.owner.UpdateOrganisation(ctx, o))
		equal(t, domains(), []string{"", ""})
	})
}

// TestAtOnce proves that of two who take the same at the same time one gets it.
func TestAtOnce(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		other := newTeamOf(k, "Others")
		app := k.tested("Claims Friend")
		both := func(what string, want error, one, two func() error) {
			t.Helper()
			var wait sync.WaitGroup
			errs := make([]error, 2)
			wait.Go(func() { errs[0] = one() })
			wait.Go(func() { errs[1] = two() })
			wait.Wait()
			if errs[0] != nil {
				errs[0], errs[1] = errs[1], errs[0]
			}
			var got, in *InputError
			same := errors.Is(errs[1], want) || errors.As(want, &in) && errors.As(errs[1], &got) && *got == *in
			if errs[0] != nil || !same {
				t.Errorf("%s: %v", what, errs)
			}
		}
		start := func() error { _, err := k.owner.Start(ctx, lifecycle.Production, k.org, app.ID); return err }
		both("start", accounts.ErrExists, start, start)
		both("name", &InputError{"name", "taken"},
			func() error { _, err := k.owner.AddApp(ctx, k.org, appSettings("Twins")); return err },
			func() error { _, err := other.AddApp(ctx, other.Members[0].Org, appSettings("TWINS")); return err })
		rotate := func() error { _, err := k.owner.Rotate(ctx, app.ID, InSandbox, time.Hour); return err }
		both("secrets", accounts.ErrExists, rotate, rotate)
		update := func() error {
			_, err := k.owner.UpdateApp(ctx, app.ID, app.Version, appSettings("Claims Friend"))
			return err
		}
		both("settings", ErrStale, update, update)
	})
}

// TestSessionsOfAPersonEnd has an administrator end what somebody has left open.
func TestSessionsOfAPersonEnd(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		who := w.signUp("ana@dev.example", "Ana")
		full, key, _ := w.enrolled("ana@dev.example")
		half, err := w.SignIn(ctx, "ana@dev.example", password)
		ok(t, err)
		admin := w.actor("Ada Admin", Administrator)
		denied(t, w.actor("Ray Reviewer", Reviewer).EndSessionsOf(ctx, who.ID))
		_, err = w.Actor(ctx, full.ID)
		ok(t, err)
		ok(t, admin.EndSessionsOf(ctx, who.ID))
		for _, id := range []string{full.ID, half.ID} {
			_, err = w.Session(ctx, id)
			wants(t, err, ErrSession)
		}
		_, err = w.Actor(ctx, admin.Session.ID) // of somebody else
		ok(t, err)
		list, err := admin.Audit(ctx, &AuditFilter{Person: who.ID, Limit: 1})
		ok(t, err)
		equal(t, []string{list[0].Action, list[0].Actor}, []string{didEndSessions, admin.Person.ID})
		s, err := w.SignIn(ctx, "ana@dev.example", password) // they may come back
		ok(t, err)
		w.clock.pass(factorStep * time.Second)
		_, err = w.Factor(ctx, s.ID, w.code(key))
		ok(t, err)
	})
}
