package portal

import (
	"errors"
	"testing"

	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// asksForSandbox submits a questionnaire of an organisation, and gives the state that follows.
func (k *team) asksForSandbox(who *Actor, org string) *Application {
	k.t.Helper()
	who.Person.Terms, who.Person.Proof = k.Rules.TermsVersion, Proof{State: "passed", Method: "claim"}
	a, err := who.Start(ctx, lifecycle.Sandbox, org, "")
	ok(k.t, err)
	a, err = who.SaveDraft(ctx, a.ID, a.Version, formstest.Filled(k.Forms.Form(forms.Questionnaire)))
	ok(k.t, err)
	return k.step(who, a, lifecycle.Submit, nil)
}

// TestAutomaticAfterTrouble proves that the portal lets nobody in by itself who was cut off before: not with a new
// application, not with another organisation, and not with one that somebody of theirs belongs to.
func TestAutomaticAfterTrouble(t *testing.T) {
	each(t, func(c *Config) { c.Rules.SandboxReview = "automatic" }, func(k *team, _ string) {
		t := k.t
		ground := &Input{Reason: "abuse", Criterion: k.Criteria()[0]}
		k.opens() // by itself

		// Another organisation of the same people is let in as long as there is nothing against them.
		o, owner := k.organisation(k.owner, "Second Try")
		equal(t, k.asksForSandbox(owner, o.ID).State, lifecycle.Approved)

		first := first2(k.owner.Applications(ctx, k.org))[0]
		first = k.step(k.reviewer, first, lifecycle.Suspend, &Input{Reason: ground.Reason, Criterion: ground.Criterion})
		k.step(k.admin, first, lifecycle.Revoke, ground)
		a := k.asksForSandbox(k.owner, k.org)
		equal(t, a.State, lifecycle.Submitted)
		_, err := k.Tick(ctx)
		ok(t, err)
		equal(t, first2(k.owner.Application(ctx, a.ID)).State, lifecycle.Submitted)

		o, owner = k.organisation(k.actorOf(k.owner.Person.ID), "Third Try")
		equal(t, k.asksForSandbox(owner, o.ID).State, lifecycle.Submitted)

		// Who leaves takes it along: as the founder, by what events say.
		o, partner := k.organisation(k.actor("Pat Partner", NoStaff), "Partners")
		k.join(o.ID, owner, Developer)
		equal(t, k.asksForSandbox(partner, o.ID).State, lifecycle.Submitted)
		ok(t, k.actorOf(k.twin.Person.ID).SetOrgRole(ctx, k.org, k.owner.Person.ID, Observer))
		ok(t, k.actorOf(k.owner.Person.ID).RemoveMember(ctx, k.org, k.owner.Person.ID))
		o, partner = k.organisation(k.actorOf(partner.Person.ID), "More Partners")
		left := k.actorOf(k.owner.Person.ID)
		k.join(o.ID, left, Developer)
		equal(t, k.asksForSandbox(k.actorOf(partner.Person.ID), o.ID).State, lifecycle.Submitted)

		// Strangers are let in as before.
		o, stranger := k.organisation(k.actor("Nina New", NoStaff), "Newcomers")
		equal(t, k.asksForSandbox(stranger, o.ID).State, lifecycle.Approved)
	})
}

// TestWhoHasLeft proves that nobody decides about an organisation after leaving it, whether an event says that they belonged to
// it or only that they acted for it.
func TestWhoHasLeft(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		// The twin has joined without an event, and submits; another reviewer was invited, and does nothing.
		ok(t, k.twin.AcceptTerms(ctx, k.Rules.TermsVersion))
		k.twin.Person.Terms, k.twin.Person.Proof = k.Rules.TermsVersion, Proof{State: "passed", Method: "claim"}
		app := k.tested("Claims Friend")
		a, err := k.twin.Start(ctx, lifecycle.Production, k.org, app.ID)
		ok(t, err)
		a, err = k.twin.SaveDraft(ctx, a.ID, a.Version, formstest.Filled(k.Forms.Form(forms.Production)))
		ok(t, err)
		a = k.step(k.twin, a, lifecycle.Submit, k.signed(a))
		_, err = k.db.Change(ctx, `DELETE FROM portal_members WHERE person = $1`, k.twin.Person.ID)
		ok(t, err)

		guest := k.actor("Gil Guest", Reviewer)
		k.mails()
		_, err = k.owner.Invite(ctx, &Invitation{Org: k.org, Email: guest.Person.Email, Family: "Guest", Role: Observer})
		ok(t, err)
		_, err = guest.AcceptInvitation(ctx, tokenIn(t, k.mailTo(guest.Person.Email)))
		ok(t, err)
		ok(t, k.owner.RemoveMember(ctx, k.org, guest.Person.ID))

		for _, who := range []*Actor{k.actorOf(k.twin.Person.ID), k.actorOf(guest.Person.ID)} {
			_, err := who.Move(ctx, a.ID, lifecycle.Take, &Input{Version: a.Version})
			var need *NeedError
			if !errors.As(err, &need) || need.Need != lifecycle.Unrelated {
				t.Errorf("%s: got %v", who.Person.Name, err)
			}
			for _, o := range first2(who.Moves(ctx, a)) {
				equal(t, o.Lacks, []lifecycle.Need{lifecycle.Unrelated})
			}
			_, err = who.Assign(ctx, a.ID, a.Version, "")
			denied(t, err)
			_, err = k.reviewer.Assign(ctx, a.ID, a.Version, who.Person.ID)
			input(t, err, "assignee", "related")
		}
		k.step(k.reviewer, a, lifecycle.Take, nil)
	})
}
