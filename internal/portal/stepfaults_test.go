package portal

import (
	"fmt"
	"strings"
	"testing"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/portal/lifecycle"
)

// TestMoveFaults makes every statement of moves fail, one after the other: nothing is half done.
func TestMoveFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("many steps of one goroutine")
	}
	each(t, func(c *Config) { c.Mail = nil }, func(k *team, address string) {
		k.opens()
		f := k.faulty(address)
		for _, c := range []struct {
			state  lifecycle.State
			action lifecycle.Action
			by     *Actor
		}{
			{lifecycle.Draft, lifecycle.Submit, k.owner},
			{lifecycle.Approved, lifecycle.Issue, k.owner},
			{lifecycle.Live, lifecycle.Change, k.owner},
			{lifecycle.ChangePending, lifecycle.AcceptChange, k.reviewer},
			{lifecycle.Live, lifecycle.Suspend, k.reviewer},
			{lifecycle.Suspended, lifecycle.Reinstate, k.admin},
			{lifecycle.Proposed, lifecycle.Approve, k.reviewer},
		} {
			r := k.put(lifecycle.Production, c.state)
			state := func() string { return dumpOf(k.t, k.db) + k.clients() }
			n := f.EachFails(k.t, string(c.action), state, func() error {
				_, err := c.by.Move(ctx, r.ID, c.action, k.given(r, c.action))
				return err
			})
			if n < 6 {
				k.t.Errorf("%s has %d statements to fail", c.action, n)
			}
		}
	})
}

// TestOtherFaults makes every statement of the other steps fail.
func TestOtherFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("many steps of one goroutine")
	}
	each(t, func(c *Config) { c.Mail = nil }, func(k *team, address string) {
		k.opens()
		app := k.tested("Claims Friend")
		r := k.put(lifecycle.Production, lifecycle.ChangesRequested)
		number, key, err := k.SubmitForm(ctx, k.phrAnswers("Pocket", k.owner.Person.Email), "en")
		ok(k.t, err)
		form := first2(k.application(ctx, k.db, number))
		_, err = k.move(ctx, nil, form, lifecycle.Confirm, &Input{Version: form.Version})
		ok(k.t, err)
		x := first2(k.owner.App(ctx, app.ID))
		f := k.faulty(address)
		state := func() string { return dumpOf(k.t, k.db) + k.clients() + fmt.Sprint(files(k.t, k.Uploads)) }
		for name, call := range map[string]func() error{
			"upload": func() error {
				_, err := k.owner.Upload(ctx, r.ID, "security_documents", "a.pdf", strings.NewReader("%PDF-1"))
				return err
			},
			"update an app": func() error {
				_, err := k.owner.UpdateApp(ctx, x.ID, x.Version, appSettings("Claims Companion"))
				return err
			},
			"claim": func() error { _, err := k.owner.ClaimForm(ctx, number, key, k.org); return err },
			"submit a form": func() error {
				_, _, err := k.SubmitForm(ctx, k.phrAnswers("Another", "another@dev.example"), "en")
				return err
			},
			"say": func() error { _, err := k.owner.Say(ctx, r.ID, "hello", false); return err },
			"start": func() error {
				_, err := k.owner.Start(ctx, lifecycle.Production, k.org, app.ID)
				return err
			},
		} {
			f.EachFails(k.t, name, state, call)
		}
	})
}

// clients is what there is of clients, as text.
func (k *team) clients() string {
	k.t.Helper()
	list, err := database.Column(ctx, k.db, `SELECT id || ' ' || status || ' ' || about FROM clients ORDER BY id`)
	ok(k.t, err)
	return strings.Join(list, "\n")
}
