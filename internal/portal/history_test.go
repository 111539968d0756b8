package portal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// submitted brings an app to where staff begin.
func (k *team) submitted(app *App) *Application {
	k.t.Helper()
	a, err := k.owner.Start(ctx, lifecycle.Production, k.org, app.ID)
	ok(k.t, err)
	a, err = k.owner.SaveDraft(ctx, a.ID, a.Version, formstest.Filled(k.Forms.Form("production")))
	ok(k.t, err)
	return k.step(k.owner, a, lifecycle.Submit, k.signed(a))
}

// TestHistoryOfApplicants proves that nobody of the applicant reads what staff have not decided, or who of the staff did what:
// neither of the application nor of the organisation, and not those either who are staff besides.
func TestHistoryOfApplicants(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		a := k.submitted(k.tested("Claims Friend"))
		a = first2(k.reviewer.Assign(ctx, a.ID, a.Version, k.second.Person.ID))
		secret := &Input{Reason: "SECRET ground", Note: "SECRET note", Criterion: k.Criteria()[0]}
		for _, x := range []lifecycle.Action{lifecycle.Take, lifecycle.StartReview, lifecycle.SignSecurity, lifecycle.ProposeDeny, lifecycle.Return} {
			in := *secret
			a = k.step(k.reviewer, a, x, &in)
		}
		a = k.step(k.reviewer, a, lifecycle.ProposeDeny, secret)
		k.step(k.second, a, lifecycle.Deny, &Input{Reason: "open ground", Criterion: k.Criteria()[1]})

		staff := []string{k.reviewer.Person.ID, k.second.Person.ID, k.reviewer.Person.Name, k.second.Person.Name}
		for _, who := range []*Actor{k.owner, k.observer, k.twin} {
			history, err := who.History(ctx, k.org, time.Time{}, 0)
			ok(t, err)
			events, err := who.Events(ctx, a.ID)
			ok(t, err)
			denied := 0
			for _, e := range append(history, events...) {
				text := fmt.Sprintf("%+v", *e)
				for _, s := range append(staff, "SECRET", string(lifecycle.ProposeDeny)) {
					if strings.Contains(text, s) {
						t.Errorf("%s reads %q in %s", who.Person.Name, s, text)
					}
				}
				if e.Action == string(lifecycle.Deny) {
					denied++
					equal(t, []string{e.Reason, e.Criterion, e.Actor}, []string{"open ground", k.Criteria()[1], actorOther})
				}
			}
			equal(t, denied, 2)
			mine := first2(who.Application(ctx, a.ID))
			equal(t, []string{mine.Decision.Reason, mine.Decision.By}, []string{"open ground", ""})
		}
		// Staff see all of it.
		for _, e := range first2(k.reviewer.History(ctx, k.org, time.Time{}, 0)) {
			if e.Action == string(lifecycle.ProposeDeny) && (e.Reason != secret.Reason || e.ActorName != k.reviewer.Person.Name || e.Criterion == "") {
				t.Errorf("staff see %+v", *e)
			}
		}
	})
}
