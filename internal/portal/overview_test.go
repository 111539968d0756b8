package portal

import (
	"errors"
	"testing"
	"time"

	"cpcds2fhir/internal/portal/lifecycle"
)

// TestOverview lists for staff what has happened and who there is, on each kind of database.
func TestOverview(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		a := k.approved(app)
		ok(t, k.developer.RequestProof(ctx))

		count := func(f *AuditFilter) int {
			t.Helper()
			list, err := k.reviewer.Audit(ctx, f)
			ok(t, err)
			for i := range list {
				if i > 0 && list[i].ID >= list[i-1].ID {
					t.Fatal("the newest is not first")
				}
			}
			return len(list)
		}
		all := count(&AuditFilter{})
		for name, n := range map[string]int{
			"an application": count(&AuditFilter{Application: a.ID}), "a person": count(&AuditFilter{Person: k.second.Person.ID}), "an organisation": count(&AuditFilter{Org: k.org}),
			"an app": count(&AuditFilter{App: app.ID}), "an action": count(&AuditFilter{Action: string(lifecycle.Approve)}),
		} {
			if n == 0 || n >= all {
				t.Errorf("by %s there are %d of %d", name, n, all)
			}
		}
		equal(t, count(&AuditFilter{Application: "P-NONE"}), 0)
		equal(t, count(&AuditFilter{To: k.clock.now()}), 0)
		equal(t, count(&AuditFilter{From: k.clock.now().Add(time.Hour)}), 0)
		first, err := k.reviewer.Audit(ctx, &AuditFilter{Limit: 3})
		ok(t, err)
		next, err := k.reviewer.Audit(ctx, &AuditFilter{Limit: 3, Before: first[2].ID})
		ok(t, err)
		if len(first) != 3 || len(next) != 3 || next[0].ID >= first[2].ID || first[0].ActorName == "" {
			t.Error("the next page does not go on")
		}
		actions, err := k.reviewer.Actions(ctx)
		ok(t, err)
		if len(actions) < 10 {
			t.Errorf("there are the actions %q", actions)
		}

		list, err := k.support.AllApps(ctx, "FRIEND", 0)
		ok(t, err)
		if len(list) != 1 || list[0].OrgName != "Apps" || list[0].Application != a.ID || list[0].State != lifecycle.Approved {
			t.Errorf("got %+v", list)
		}
		none, err := k.support.AllApps(ctx, "no such app", 0)
		ok(t, err)
		equal(t, len(none), 0)

		people, err := k.support.Colleagues(ctx, Reviewer)
		ok(t, err)
		equal(t, len(people), 4) // two reviewers, an administrator, and one who is an owner too
		due, err := k.reviewer.ProofsRequested(ctx)
		ok(t, err)
		if len(due) != 1 || due[0].ID != k.developer.Person.ID {
			t.Errorf("%d wait", len(due))
		}
		name, err := k.support.NameOf(ctx, k.owner.Person.ID)
		ok(t, err)
		equal(t, name, "Olga Owner")
		name, err = k.support.NameOf(ctx, "nobody")
		ok(t, err)
		equal(t, name, "")

		letters, err := k.admin.LetterTexts(ctx, "es")
		ok(t, err)
		equal(t, len(letters), len(k.letters.own)/len(letterLanguages))

		for _, a := range []*Actor{k.owner, k.stranger, k.support, k.reviewer} {
			for what, least := range map[string]struct {
				role StaffRole
				ask  func() error
			}{
				"audit":      {Reviewer, func() error { _, err := a.Audit(ctx, &AuditFilter{}); return err }},
				"actions":    {Reviewer, func() error { _, err := a.Actions(ctx); return err }},
				"colleagues": {Support, func() error { _, err := a.Colleagues(ctx, Support); return err }},
				"proofs":     {Reviewer, func() error { _, err := a.ProofsRequested(ctx); return err }},
				"apps":       {Support, func() error { _, err := a.AllApps(ctx, "", 0); return err }},
				"lookalikes": {Support, func() error { _, _, err := a.Lookalikes(ctx, "x", "", ""); return err }},
				"name":       {Support, func() error { _, err := a.NameOf(ctx, k.org); return err }},
				"letters":    {Administrator, func() error { _, err := a.LetterTexts(ctx, "en"); return err }},
			} {
				var d *DeniedError
				if got := errors.As(least.ask(), &d); got == a.isStaff(least.role) {
					t.Errorf("%s by %s: denied is %v", what, a.Person.Name, got)
				}
			}
		}
	})
}

func TestNear(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"claims", "claims", true}, {"claims", "clalms", true}, {"claims", "claim", true}, {"claims", "xclaims", true}, {"claims", "claaims", true}, {"claims", "clmais", false},
		{"claims", "budget", false}, {"abc", "abd", false}, {"abc", "abc", true}, {"claims", "claimsfriendsplus", false}, {"claimsfriend", "claimsfriendplus", true}, {"", "", true},
	} {
		if got := near(c.a, c.b); got != c.want || near(c.b, c.a) != got {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}
