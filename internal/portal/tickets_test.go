package portal

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database/databasetest"
	"cpcds2fhir/internal/portal/lifecycle"
)

func TestTicket(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		staff := w.actor("Sam Support", Support)
		filed, err := w.File(ctx, "support", supportAnswers(), "", "", "es", false)
		ok(t, err)
		if !regexp.MustCompile(`^S-[2-9B-Z]{4}-[2-9B-Z]{4}$`).MatchString(filed.ID) {
			t.Errorf("its number is %s", filed.ID)
		}
		if m := w.mailTo("ana@dev.example"); !strings.Contains(m.Text, filed.ID) || m.Language != "es" || strings.Contains(m.Text, "claims") {
			t.Errorf("got %q", m.Text)
		}
		got, err := staff.Ticket(ctx, filed.ID)
		ok(t, err)
		equal(t, got, filed)
		if d := w.dump(); strings.Contains(d, "page of claims") || strings.Contains(d, "ana@") {
			t.Error("what somebody has written is in the open")
		}
		input(t, staff.Reply(ctx, filed.ID, 1, " ", false), "text", codeMissing)
		wants(t, staff.Reply(ctx, filed.ID, 2, "An answer.", false), ErrStale)
		ok(t, staff.Reply(ctx, filed.ID, 1, "An answer.\nIn two lines.", false))
		if m := w.mailTo("ana@dev.example"); !strings.Contains(m.Text, "An answer.\nIn two lines.") || !strings.Contains(m.Subject, filed.ID) || m.Language != "es" {
			t.Errorf("got %q", m.Text)
		}
		got, err = staff.Ticket(ctx, filed.ID)
		ok(t, err)
		equal(t, []any{got.State, got.Version, len(got.Replies), got.Replies[0].Text, got.Replies[0].Name}, []any{ticketAnswered, 2, 1, "An answer.\nIn two lines.", "Sam Support"})
		ok(t, staff.Reply(ctx, filed.ID, 2, "", true))
		equal(t, len(w.mails()), 0)
		wants(t, staff.Reply(ctx, filed.ID, 3, "More.", false), accounts.ErrUsed)
		list, err := staff.Tickets(ctx, "support", ticketClosed, 0)
		ok(t, err)
		equal(t, len(list), 1)
		for _, c := range [][2]string{{"complaint", ""}, {"", ticketOpen}} {
			list, err = staff.Tickets(ctx, c[0], c[1], 0)
			ok(t, err)
			equal(t, len(list), 0)
		}
		w.clock.pass(731 * 24 * time.Hour)
		_, err = w.Tick(ctx)
		ok(t, err)
		wants(t, staff.Reply(ctx, filed.ID, 3, "More.", false), accounts.ErrNotFound)
	})
}

func TestTicketOfWhoHasSignedIn(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		ana, eve, staff := w.actor("Ana Asks", NoStaff), w.actor("Eve Else", NoStaff), w.actor("Sam Support", Support)
		answers := supportAnswers()
		delete(answers, "email")
		filed, err := w.File(ctx, "support", answers, ana.Person.ID, "", "en", false)
		ok(t, err)
		equal(t, filed.Email, "")
		w.mailTo("ana@dev.example")
		ok(t, staff.Reply(ctx, filed.ID, 1, "An answer.", true))
		w.mailTo("ana@dev.example")
		got, err := ana.Ticket(ctx, filed.ID)
		ok(t, err)
		equal(t, []any{got.Replies[0].Text, got.Replies[0].Name, got.Replies[0].Staff}, []any{"An answer.", "", true})
		_, err = eve.Ticket(ctx, filed.ID)
		wants(t, err, accounts.ErrNotFound)
		wants(t, func() error { _, err := eve.Ticket(ctx, ""); return err }(), accounts.ErrNotFound)
		visitor, err := w.File(ctx, "support", supportAnswers(), "", "", "en", false)
		ok(t, err)
		_, err = eve.Ticket(ctx, visitor.ID) // one of nobody is not everybody's
		wants(t, err, accounts.ErrNotFound)
	})
}

func TestTicketThatIsNotAsItShould(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	ok(t, w.Accounts.AddClient(ctx, &accounts.Client{ID: "live-1", Status: accounts.Active, App: "app-1"}))
	with := func(id, value string) (*Ticket, error) {
		a := supportAnswers()
		a[id] = []string{value}
		return w.File(ctx, "support", a, "", "", "en", false)
	}
	for _, c := range []struct{ id, value, code string }{
		{"message", "my secret is cfh_test_abcdefghijklmnop", "warn_secret"},
		{"subject", "SSN 123-45-6789", "warn_health"},
	} {
		_, err := with(c.id, c.value)
		input(t, err, c.id, c.code)
		if strings.Contains(err.Error(), c.value) {
			t.Error("the error has the value")
		}
		a := supportAnswers()
		a[c.id] = []string{c.value}
		filed, err := w.File(ctx, "support", a, "", "", "en", true)
		ok(t, err)
		equal(t, filed.Warned, []string{c.code})
	}
	incomplete := supportAnswers()
	delete(incomplete, "message")
	_, err := w.File(ctx, "support", incomplete, "", "", "en", false)
	var need *NeedError
	if !errors.As(err, &need) || need.Need != lifecycle.Complete || len(need.Problems) == 0 {
		t.Errorf("got %v", err)
	}
	_, err = w.File(ctx, "phr", supportAnswers(), "", "", "en", false)
	input(t, err, "kind", codeWrong)
	_, err = w.File(ctx, "support", supportAnswers(), "", "nobody", "en", false)
	input(t, err, "client", codeWrong)
	filed, err := w.File(ctx, "support", supportAnswers(), "", "live-1", "en", false)
	ok(t, err)
	equal(t, filed.App, "app-1")
	w.mails()

	// Anybody can name any address.
	for range tokenMost + 2 {
		_, err = with("email", "victim@dev.example")
		ok(t, err)
	}
	equal(t, len(w.mails()), tokenMost)
}
