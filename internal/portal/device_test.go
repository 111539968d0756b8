package portal

import (
	"context"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/database/databasetest"
)

const known = "ana@dev.example"

// failing fails to sign in until the address is locked.
func (w *world) failing(ctx context.Context) {
	w.t.Helper()
	for range accounts.LoginTries + 2 {
		if _, err := w.SignIn(ctx, known, "wrong"); err == nil {
			w.t.Fatal("a wrong password opens the account")
		}
	}
}

// TestDevice proves that others who fail with an address lock themselves out, and not the browser that its person has
// used before; and that this browser may fail no more often than others.
func TestDevice(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.signUp(known, "Ana")
		full, key, _ := w.enrolled(known)
		device, err := w.RememberDevice(ctx, full.Person)
		ok(t, err)
		mine := FromDevice(ctx, device)
		if strings.Contains(w.dump(), device) {
			t.Error("the id of the browser is in the database")
		}

		w.failing(ctx)
		_, err = w.SignIn(ctx, known, password) // the right one, in a browser that nobody knows
		wants(t, err, accounts.ErrLocked)
		_, err = w.SignIn(FromDevice(ctx, database.NewSecret()), known, password)
		wants(t, err, accounts.ErrLocked)
		_, err = w.SignIn(mine, known, password)
		ok(t, err)
		_, err = w.SignIn(ctx, known, password) // it does not let the others try again
		wants(t, err, accounts.ErrLocked)

		// Somebody who has the password, and not the device of the second factor.
		w.clock.pass(time.Hour)
		other, err := w.SignIn(ctx, known, password)
		ok(t, err)
		for range accounts.LoginTries {
			_, err = w.Factor(ctx, other.ID, "wrong1")
			wants(t, err, accounts.ErrNotFound)
		}
		_, err = w.Factor(ctx, other.ID, w.code(key))
		wants(t, err, accounts.ErrLocked)
		s, err := w.SignIn(mine, known, password)
		ok(t, err)
		s, err = w.Factor(mine, s.ID, w.code(key))
		ok(t, err)
		again, err := w.RememberDevice(mine, s.Person)
		ok(t, err)
		equal(t, again, device)

		w.failing(mine)
		_, err = w.SignIn(mine, known, password)
		wants(t, err, accounts.ErrLocked)
		w.clock.pass(time.Hour)

		// It is of one person, of one password, and of a time.
		w.signUp("ben@dev.example", "Ben")
		for who, want := range map[string]bool{known: true, s.Person: true, "ben@dev.example": false, "nobody@dev.example": false} {
			got, err := w.KnowsDevice(mine, who)
			ok(t, err)
			equal(t, got, want)
		}
		w.clock.pass(DeviceFor)
		got, err := w.KnowsDevice(mine, known)
		ok(t, err)
		equal(t, got, false)
		anew, err := w.RememberDevice(mine, full.Person) // a device that is over may be one that somebody has found
		ok(t, err)
		if anew == device {
			t.Error("an id that was over is used again")
		}
		mine = FromDevice(ctx, anew)
		ok(t, w.ForgotPassword(ctx, known))
		ok(t, w.ResetPassword(ctx, tokenIn(t, w.mailTo(known)), "a loud purple bicycle"))
		got, err = w.KnowsDevice(mine, known)
		ok(t, err)
		equal(t, got, false)

		w.clock.pass(DeviceFor)
		_, err = w.Tick(ctx)
		ok(t, err)
		if strings.Contains(w.dump(), "portal_devices") {
			t.Error("devices that are over are kept")
		}
	})
}

// TestDevices proves that a person has a limited number of them, and that people of an identity service have none.
func TestDevices(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.signUp(known, "Ana")
		full, _, _ := w.enrolled(known)
		var first, last string
		for i := range deviceMost + 3 {
			id, err := w.RememberDevice(ctx, full.Person)
			ok(t, err)
			if i == 0 {
				first = id
			}
			last = id
			w.clock.pass(time.Minute)
		}
		equal(t, strings.Count(w.dump(), "portal_devices"), deviceMost)
		for id, want := range map[string]bool{first: false, last: true} {
			got, err := w.KnowsDevice(FromDevice(ctx, id), known)
			ok(t, err)
			equal(t, got, want)
		}
		s, err := w.SignInWith(ctx, &Identified{Issuer: "https://id.example", Subject: "1", Email: "eva@dev.example", EmailVerified: true, Name: "Eva"})
		ok(t, err)
		id, err := w.RememberDevice(ctx, s.Person)
		ok(t, err)
		equal(t, id, "")
	})
}

// TestForgottenBesideSignUp proves that whoever asks for many accounts in the name of somebody does not keep back the
// mail by which they set their password anew.
func TestForgottenBesideSignUp(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.signUp(known, "Ana")
		for range tokenMost + 3 {
			ok(t, w.SignUp(ctx, &SignUp{Email: known, Name: "x", Password: password, Language: "en"}))
		}
		w.mails()
		ok(t, w.ForgotPassword(ctx, known))
		ok(t, w.ResetPassword(ctx, tokenIn(t, w.mailTo(known)), "a loud purple bicycle"))
	})
}

// TestTyped keeps one form of each session, sealed, and for a time.
func TestTyped(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		first, err := w.KeepTyped(ctx, "session-1", []byte("answer=first canary"))
		ok(t, err)
		id, err := w.KeepTyped(ctx, "session-1", []byte("answer=second canary"))
		ok(t, err)
		other, err := w.KeepTyped(ctx, "session-2", []byte("answer=third"))
		ok(t, err)
		if d := w.dump(); strings.Contains(d, "canary") || strings.Contains(d, id) || strings.Contains(d, "session-1") {
			t.Error("the form is open in the database")
		}
		_, err = w.Typed(ctx, first)
		wants(t, err, accounts.ErrNotFound)
		got, err := w.Typed(ctx, id)
		ok(t, err)
		equal(t, string(got), "answer=second canary")
		ok(t, w.DropTyped(ctx, id))
		ok(t, w.DropTyped(ctx, id))
		_, err = w.Typed(ctx, id)
		wants(t, err, accounts.ErrNotFound)
		w.clock.pass(TypedFor)
		_, err = w.Typed(ctx, other)
		wants(t, err, accounts.ErrNotFound)
		_, err = w.Tick(ctx)
		ok(t, err)
		if strings.Contains(w.dump(), "portal_typed") {
			t.Error("a form is kept longer than it is given out")
		}
	})
}
