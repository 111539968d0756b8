package portal

import (
	"errors"
	"testing"

	"cpcds2fhir/internal/portal/lifecycle"
)

// asksFor brings an app into production, and asks for another redirect URI.
func (k *team) asksFor(app *App, uri string) *Application {
	k.t.Helper()
	a := k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
	app = first2(k.owner.App(ctx, app.ID))
	in := k.signed(a)
	in.Settings = app.Approved.clone()
	in.Settings.RedirectURIs = []string{uri}
	return k.step(k.owner, a, lifecycle.Change, in)
}

// TestFourEyesOfChanges proves that with four eyes nobody brings other settings into production alone, and that without them
// one person may, in two steps.
func TestFourEyesOfChanges(t *testing.T) {
	const asked = "https://www.apps.example/asked"
	lacks := func(t testing.TB, err error, want lifecycle.Need) {
		t.Helper()
		var need *NeedError
		if !errors.As(err, &need) || need.Need != want {
			t.Fatalf("got %v, want the need %s", err, want)
		}
	}
	accept := func(k *team, by *Actor, a *Application) error {
		_, err := by.Move(ctx, a.ID, lifecycle.AcceptChange, &Input{Version: a.Version})
		return err
	}
	each(t, func(c *Config) { c.Rules.FourEyes = true }, func(k *team, _ string) {
		k.opens()
		app := k.tested("Claims Friend")
		a := k.asksFor(app, asked)
		// The proposal to approve the app is none to accept a change of it, whoever made it.
		lacks(k.t, accept(k, k.reviewer, a), lifecycle.ForApproval)
		lacks(k.t, accept(k, k.second, a), lifecycle.ForApproval)
		a = k.step(k.reviewer, a, lifecycle.ProposeChange, &Input{Note: "fine"})
		lacks(k.t, accept(k, k.reviewer, a), lifecycle.OtherPerson)
		equal(k.t, k.snapshotHolds(app.ID).Approved.RedirectURIs, app.Settings.RedirectURIs)

		// What was proposed is void with what it was about.
		mine := first2(k.owner.Application(ctx, a.ID))
		if mine.Proposal != nil {
			k.t.Error("the applicant sees who has proposed what")
		}
		a = k.step(k.owner, mine, lifecycle.WithdrawChange, nil)
		in := k.signed(a)
		in.Settings = app.Settings.clone()
		in.Settings.RedirectURIs = []string{asked}
		a = k.step(k.owner, a, lifecycle.Change, in)
		lacks(k.t, accept(k, k.second, a), lifecycle.ForApproval)

		a = k.step(k.second, a, lifecycle.ProposeChange, nil)
		lacks(k.t, accept(k, k.second, a), lifecycle.OtherPerson)
		a = k.step(k.reviewer, a, lifecycle.AcceptChange, nil)
		equal(k.t, a.State, lifecycle.Live)
		equal(k.t, k.snapshotHolds(app.ID).Approved.RedirectURIs, []string{asked})
	})
	each(t, func(c *Config) { c.Rules.FourEyes = false }, func(k *team, _ string) {
		k.opens()
		app := k.tested("Claims Friend")
		a := k.asksFor(app, asked)
		a = k.step(k.reviewer, a, lifecycle.ProposeChange, nil)
		k.step(k.reviewer, a, lifecycle.AcceptChange, nil)
		equal(k.t, k.snapshotHolds(app.ID).Approved.RedirectURIs, []string{asked})
	})
}
