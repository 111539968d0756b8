package portal

import (
	"fmt"
	"path/filepath"
	"testing"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestOrganisationWithoutPeople is one whose last person leaves: its sandbox clients open nothing any more, wherever they
// are kept, and staff have nothing to decide.
func TestOrganisationWithoutPeople(t *testing.T) {
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprint("apart ", apart), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db"), func(c *Config) {
				rules(c)
				if apart {
					box, err := accounts.Open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "box.db"), &accounts.Options{Now: c.Now})
					ok(t, err)
					t.Cleanup(func() { ok(t, box.Close()) })
					c.Sandbox.Accounts = box
				}
			})
			k := newTeam(t, w)
			k.opens()
			app := k.tested("Steps")
			draft, err := k.owner.Start(ctx, lifecycle.Production, k.org, app.ID)
			ok(t, err)
			client, err := k.sandboxAccounts().Client(ctx, app.Sandbox)
			ok(t, err)
			equal(t, client.Status, accounts.Active)
			for _, a := range []*Actor{k.developer, k.observer, k.twin} {
				ok(t, k.owner.RemoveMember(ctx, k.org, a.Person.ID))
			}
			ok(t, k.owner.DeleteAccount(ctx))
			client, err = k.sandboxAccounts().Client(ctx, app.Sandbox)
			ok(t, err)
			equal(t, client.Status, accounts.Disabled)
			got, err := k.admin.Application(ctx, draft.ID)
			ok(t, err)
			equal(t, got.State, lifecycle.Withdrawn)
			_, err = w.Tick(ctx)
			ok(t, err)
			client, err = k.sandboxAccounts().Client(ctx, app.Sandbox)
			ok(t, err)
			equal(t, client.Status, accounts.Disabled) // it stays so
		})
	}
}

// TestClosingAfterRevocation proves that an app keeps its owner as long as it is in production, and no longer: not after it was
// revoked, which nobody can take back.
func TestClosingAfterRevocation(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		app := k.tested("Claims Friend")
		a := k.step(k.owner, k.approved(app), lifecycle.Issue, nil)
		for _, who := range []*Actor{k.developer, k.observer, k.twin} {
			ok(t, k.owner.RemoveMember(ctx, k.org, who.Person.ID))
		}
		rename := func() error {
			o := first2(k.owner.Organisation(ctx, k.org))
			o.Name = "Another Name"
			return k.owner.UpdateOrganisation(ctx, o)
		}
		denied(t, k.owner.DeleteAccount(ctx))
		denied(t, rename())
		a = k.step(k.reviewer, a, lifecycle.Suspend, &Input{Reason: "keys", Criterion: "S-02"})
		denied(t, k.owner.DeleteAccount(ctx)) // it may be reinstated
		k.step(k.admin, a, lifecycle.Revoke, &Input{Reason: "keys", Criterion: "S-02"})
		ok(t, rename())
		ok(t, k.owner.DeleteAccount(ctx))
	})
}
