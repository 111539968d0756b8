package portal

import (
	"errors"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/forms/formstest"
	"cpcds2fhir/internal/portal/lifecycle"
)

// phrAnswers are those of the public form of an app.
func (w *world) phrAnswers(name, email string) forms.Answers {
	a := formstest.Filled(w.Forms.Form(forms.PHR))
	a["name"], a["contact_email"], a["redirect_uri"] = []string{name}, []string{email}, []string{"https://www.apps.example/back"}
	a["support_email"] = []string{"help@apps.example"}
	return a
}

// TestPublicForm goes from the form without an account to an application for production, without typing anything twice.
func TestPublicForm(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		_, _, err := k.SubmitForm(ctx, forms.Answers{}, "es")
		var need *NeedError
		if !errors.As(err, &need) || need.Need != lifecycle.Complete || len(need.Problems) == 0 {
			t.Fatalf("got %v", err)
		}
		number, key, err := k.SubmitForm(ctx, k.phrAnswers("Pocket Record", "olga@dev.example"), "es")
		ok(t, err)
		m := k.mailTo("olga@dev.example")
		if !strings.Contains(m.Subject, "Confirme") {
			t.Errorf("the mail is in another language: %s", m.Subject)
		}
		app, events, err := k.Track(ctx, " "+strings.ToLower(number)+" ", key)
		ok(t, err)
		equal(t, []any{app.State, len(app.Answers), len(events)}, []any{lifecycle.Unconfirmed, 0, 1})
		_, _, err = k.Track(ctx, number, "wrong")
		wants(t, err, accounts.ErrNotFound)
		_, _, err = k.Track(ctx, "P-2222-2222", key)
		wants(t, err, accounts.ErrNotFound)
		if strings.Contains(k.dump(), key) {
			t.Fatal("the key is kept")
		}
		_, err = k.ConfirmForm(ctx, "wrong")
		wants(t, err, accounts.ErrNotFound)
		token := tokenIn(t, m)
		_, err = k.ConfirmForm(ctx, token)
		ok(t, err)
		_, err = k.ConfirmForm(ctx, token)
		wants(t, err, accounts.ErrNotFound)
		k.mails()

		queue, err := k.reviewer.Queue(ctx, &Filter{Open: true})
		ok(t, err)
		if len(queue) != 1 || queue[0].ID != number || queue[0].Answers["name"][0] != "Pocket Record" || queue[0].Due.IsZero() {
			t.Fatalf("got %+v", queue)
		}
		a := k.step(k.reviewer, queue[0], lifecycle.Take, nil)
		a = k.step(k.reviewer, a, lifecycle.StartReview, nil)
		a = k.step(k.reviewer, a, lifecycle.SignPrivacy, nil)
		a = k.step(k.reviewer, a, lifecycle.SignSecurity, nil)
		_, err = k.reviewer.Move(ctx, a.ID, lifecycle.Propose, &Input{Version: a.Version})
		input(t, err, "org", "unclaimed")
		k.step(k.reviewer, a, lifecycle.Ask, &Input{Reason: "Claim it with an account."})
		k.mailTo("olga@dev.example")

		_, err = k.owner.ClaimForm(ctx, number, key, k.org)
		if !errors.As(err, &need) || need.Need != lifecycle.SandboxAccess {
			t.Fatalf("got %v", err)
		}
		k.opens()
		b, key2, err := k.SubmitForm(ctx, k.phrAnswers("Pocket Record", "olga@dev.example"), "en")
		ok(t, err)
		k.mails()
		for name, try := range map[string]func() error{
			"another address": func() error { _, err := k.twin.ClaimForm(ctx, number, key, k.org); return err },
			"another key":     func() error { _, err := k.owner.ClaimForm(ctx, number, key2, k.org); return err },
			"another number":  func() error { _, err := k.owner.ClaimForm(ctx, b, key, k.org); return err },
			"another org":     func() error { _, err := k.owner.ClaimForm(ctx, number, key, "nowhere"); return err },
		} {
			if err := try(); !errors.Is(err, accounts.ErrNotFound) {
				t.Errorf("%s: %v", name, err)
			}
		}
		claimed, err := k.owner.ClaimForm(ctx, number, key, k.org) // which answers the question
		ok(t, err)
		equal(t, []any{claimed.State, claimed.Org, claimed.Form}, []any{lifecycle.ChangesRequested, k.org, forms.Production})
		app2, err := k.owner.App(ctx, claimed.App)
		ok(t, err)
		equal(t, []string{app2.Settings.Name, app2.Settings.RedirectURIs[0], app2.Settings.Support}, []string{"Pocket Record", "https://www.apps.example/back", "help@apps.example"})
		if claimed.Answers["policy_url"][0] != "https://www.apps.example/policy_url" {
			t.Errorf("the address of the policy must be typed again: %v", claimed.Answers["policy_url"])
		}
		_, err = k.owner.ClaimForm(ctx, number, key, k.org)
		wants(t, err, accounts.ErrNotFound)
	})
}

// TestFormsOfOneAddress proves that nobody can fill somebody's mailbox, or the queue.
func TestFormsOfOneAddress(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		for range formsMost {
			_, _, err := k.SubmitForm(ctx, k.phrAnswers("App", "somebody@dev.example"), "en")
			ok(k.t, err)
		}
		_, _, err := k.SubmitForm(ctx, k.phrAnswers("App", "somebody@dev.example"), "en")
		wants(k.t, err, accounts.ErrLocked)
		_, _, err = k.SubmitForm(ctx, k.phrAnswers("App", "another@dev.example"), "en")
		ok(k.t, err)
		equal(k.t, len(k.mails()), formsMost+1)
		k.clock.pass(8 * 24 * time.Hour)
		n, err := k.lapse(ctx)
		ok(k.t, err)
		equal(k.t, n, formsMost+1)
		equal(k.t, len(k.mails()), 0) // who has the address may know nothing of it
		queue, err := k.reviewer.Queue(ctx, &Filter{Open: true})
		ok(k.t, err)
		equal(k.t, len(queue), 0)
	})
}

// TestRegistered follows a client that has registered itself to where it works.
func TestRegistered(t *testing.T) {
	each(t, nil, func(k *team, _ string) {
		t := k.t
		k.opens()
		c := &accounts.Client{
			ID: "app-self", Name: "Self Made", Status: accounts.Held, Auth: "client_secret", Grants: []string{"authorization_code"},
			RedirectURIs: []string{"https://www.apps.example/self"}, Homepage: "https://www.apps.example/", Policy: "https://www.apps.example/policy",
			Terms: "https://www.apps.example/terms", Contacts: []string{"nonsense", "olga@dev.example"}, Owner: "registration",
		}
		ok(t, k.Accounts.AddClient(ctx, c))
		ok(t, k.Accounts.AddSecret(ctx, c.ID, "its own secret", time.Time{}))
		k.mails()
		ok(t, k.Registered(ctx, c.ID))
		ok(t, k.Registered(ctx, c.ID)) // once is enough
		wants(t, k.Registered(ctx, "nobody"), accounts.ErrNotFound)
		m := k.mailTo("olga@dev.example")
		a, err := k.ConfirmForm(ctx, tokenIn(t, m))
		ok(t, err)
		a, err = k.owner.ClaimForm(ctx, a.ID, "", k.org)
		ok(t, err)
		k.status(c.ID, accounts.Held)
		app, err := k.owner.App(ctx, a.App)
		ok(t, err)
		s := app.Settings.clone()
		for i := range s.Scopes {
			s.Scopes[i].Reason = "to show claims"
		}
		app, err = k.owner.UpdateApp(ctx, app.ID, app.Version, s)
		ok(t, err)
		box, err := k.owner.Issue(ctx, app.ID, InSandbox)
		ok(t, err)
		ok(t, k.Accounts.LogRequests(ctx, []accounts.ClientRequest{{Client: box.Client, Route: CodeRoute, Status: 200}, {Client: box.Client, Route: "GET /Patient/{id}", Status: 200}}))
		a, err = k.owner.SaveDraft(ctx, a.ID, a.Version, formstest.Filled(k.Forms.Form(forms.Production)))
		ok(t, err)
		a = k.step(k.owner, a, lifecycle.Resubmit, k.signed(a))
		for _, x := range []lifecycle.Action{lifecycle.StartReview, lifecycle.SignSecurity, lifecycle.SignPrivacy, lifecycle.Propose} {
			a = k.step(k.reviewer, a, x, nil)
		}
		a = k.step(k.second, a, lifecycle.Approve, nil)
		k.status(c.ID, accounts.Held)
		k.step(k.owner, a, lifecycle.Issue, nil)
		got, err := k.Accounts.Client(ctx, c.ID)
		ok(t, err)
		equal(t, []any{got.Status, got.App, got.Owner, got.Publisher}, []any{accounts.Active, app.ID, k.org, "Apps"})

		// Whoever registered it cannot use it: the owner gets a secret of their own.
		equal(t, first2(k.Accounts.CheckSecret(ctx, c.ID, "its own secret")), false)
		cred, err := k.owner.Issue(ctx, app.ID, InProduction)
		ok(t, err)
		equal(t, len(cred.Secrets), 1)
		equal(t, first2(k.Accounts.CheckSecret(ctx, c.ID, cred.Secret)), true)

		// One that says no address is looked at all the same.
		ok(t, k.Accounts.AddClient(ctx, &accounts.Client{ID: "app-mute", Name: "Mute", Status: accounts.Held, Auth: "none"}))
		ok(t, k.Registered(ctx, "app-mute"))
		queue, err := k.reviewer.Queue(ctx, &Filter{Query: "mut"})
		ok(t, err)
		if len(queue) != 1 || queue[0].State != lifecycle.Submitted || queue[0].Source != sourceRegistration {
			t.Fatalf("got %+v", queue)
		}
	})
}
