package portal

import (
	"fmt"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestLostRegistrations proves that a client that has registered itself comes into the queue although the portal was not told of
// it, or could not take it then; and that nothing else does.
func TestLostRegistrations(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		register := func(id, email, owner string) {
			t.Helper()
			c := &accounts.Client{
				ID: id, Name: "Reg " + id, Status: accounts.Held, Auth: "none", Grants: []string{"authorization_code"},
				RedirectURIs: []string{"https://x.example/back"}, Owner: owner,
			}
			if email != "" {
				c.Contacts = []string{email}
			}
			ok(t, k.Accounts.AddClient(ctx, c))
		}
		tick := func(want int) {
			t.Helper()
			_, err := k.Tick(ctx)
			ok(t, err)
			equal(t, k.count("portal_applications"), want)
		}
		for i := range formsMost + 2 {
			register(fmt.Sprint("app-", i), "v@x.example", ownerRegistration)
		}
		register("app-mute", "", ownerRegistration)
		register("app-op", "op@x.example", "operator")
		tick(0) // it is told of them right now
		k.clock.pass(2 * time.Minute)
		tick(formsMost + 1)
		tick(formsMost + 1)
		queue, err := k.reviewer.Queue(ctx, &Filter{Open: true})
		ok(t, err)
		equal(t, len(queue), 1)
		equal(t, []any{queue[0].AppName, queue[0].State}, []any{"Reg app-mute", lifecycle.Submitted})

		// Those that there was no room for come when there is.
		k.clock.pass(8 * 24 * time.Hour)
		tick(formsMost + 1) // it lapses what waits
		tick(formsMost + 3)
		tick(formsMost + 3)
		equal(t, k.errs == nil, true)

		// One that was kept, and whose process died before it went to staff.
		register("app-dead", "", ownerRegistration)
		r := &record{Application: Application{Source: sourceRegistration}}
		_, err = k.addVisit(ctx, r, "", "en", "app-dead", actorVisitor, didRegister)
		ok(t, err)
		tick(formsMost + 4)
		after, err := k.application(ctx, k.db, r.ID)
		ok(t, err)
		equal(t, after.State, lifecycle.Submitted)
	})
}
