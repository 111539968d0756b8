package portal

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database/databasetest"
)

func TestSecondFactor(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.signUp("ana@dev.example", "Ana")
		first, err := w.SignIn(ctx, "ana@dev.example", password)
		ok(t, err)
		_, err = w.Actor(ctx, first.ID) // it opens nothing yet
		wants(t, err, ErrSession)
		_, err = w.Factor(ctx, first.ID, "123456")
		wants(t, err, ErrSession)
		_, _, err = w.EnrolFactor(ctx, first.ID, "123456") // there is no key yet
		wants(t, err, accounts.ErrNotFound)
		address, key, png, err := w.NewFactor(ctx, first.ID)
		ok(t, err)
		if !strings.HasPrefix(address, "otpauth://totp/Agency%20of%20Health:ana@dev.example?") || !strings.Contains(address, key) || !strings.HasPrefix(string(png), "\x89PNG") {
			t.Error("the key cannot be given to a device")
		}
		other, err := w.SignIn(ctx, "ana@dev.example", password) // somebody else who has the password
		ok(t, err)
		wrong := "000000"
		if w.code(key) == wrong {
			wrong = "111111"
		}
		_, _, err = w.EnrolFactor(ctx, first.ID, wrong)
		wants(t, err, accounts.ErrNotFound)
		full, codes, err := w.EnrolFactor(ctx, first.ID, " "+w.code(key)[:3]+" "+w.code(key)[3:])
		ok(t, err)
		equal(t, []any{full.Kind, full.Fresh, len(codes)}, []any{Full, w.clock.now(), recoveries})
		equal(t, len(strings.ReplaceAll(codes[0], "-", "")), 24) // 120 bits
		for _, old := range []string{first.ID, other.ID} {
			_, err = w.Session(ctx, old)
			wants(t, err, ErrSession)
			_, _, _, err = w.NewFactor(ctx, old)
			wants(t, err, ErrSession)
		}
		if m := w.mailTo("ana@dev.example"); !strings.Contains(m.Subject, "second factor") {
			t.Errorf("got %q", m.Subject)
		}

		half := func() *Session {
			s, err := w.SignIn(ctx, "ana@dev.example", password)
			ok(t, err)
			equal(t, s.Kind, Half)
			return s
		}
		s := half()
		_, err = w.Actor(ctx, s.ID)
		wants(t, err, ErrSession)
		_, _, _, err = w.NewFactor(ctx, s.ID) // who has the password alone sets up no other device
		wants(t, err, ErrSession)
		_, err = w.Factor(ctx, s.ID, w.code(key)) // it was used to set it up
		wants(t, err, accounts.ErrNotFound)
		w.clock.pass(factorStep * time.Second)
		code := w.code(key)
		full, err = w.Factor(ctx, s.ID, code)
		ok(t, err)
		_, err = w.Factor(ctx, s.ID, code)
		wants(t, err, ErrSession)
		_, err = w.Factor(ctx, half().ID, code)
		wants(t, err, accounts.ErrNotFound)
		w.clock.pass(2 * factorStep * time.Second)
		next := w.code(key)
		w.clock.pass(-factorStep * time.Second) // the clock of the device is ahead
		_, err = w.Factor(ctx, half().ID, next)
		ok(t, err)
		_, err = w.Factor(ctx, half().ID, w.code(key)) // older than the last one
		wants(t, err, accounts.ErrNotFound)
		w.clock.pass(10 * factorStep * time.Second)
		late := w.code(key)
		w.clock.pass(2 * factorStep * time.Second)
		_, err = w.Factor(ctx, half().ID, late)
		wants(t, err, accounts.ErrNotFound)

		_, err = w.Factor(ctx, half().ID, strings.ToLower(codes[3]))
		ok(t, err)
		if m := w.mailTo("ana@dev.example"); !strings.Contains(m.Text, "You have 9 left") {
			t.Errorf("got %q", m.Text)
		}
		_, err = w.Factor(ctx, half().ID, codes[3])
		wants(t, err, accounts.ErrNotFound)
		_, err = w.Factor(ctx, half().ID, strings.ReplaceAll(codes[4], "-", ""))
		ok(t, err)
		w.mails()

		// Another device replaces this one, its codes too.
		_, key2, _, err := w.NewFactor(ctx, full.ID)
		ok(t, err)
		_, err = w.Factor(ctx, half().ID, w.code(key2)) // not in use yet
		wants(t, err, accounts.ErrNotFound)
		full2, codes2, err := w.EnrolFactor(ctx, full.ID, w.code(key2))
		ok(t, err)
		_, err = w.Session(ctx, full.ID)
		wants(t, err, ErrSession)
		equal(t, full2.Expires, full.Expires)
		for _, gone := range []string{codes[5], w.code(key)} {
			_, err = w.Factor(ctx, half().ID, gone)
			wants(t, err, accounts.ErrNotFound)
		}
		_, err = w.Factor(ctx, half().ID, codes2[0])
		ok(t, err)
		w.clock.pass(freshFor)
		_, _, _, err = w.NewFactor(ctx, full2.ID)
		wants(t, err, ErrFresh)
	})
}

func TestFactorIsLocked(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.signUp("ana@dev.example", "Ana")
		_, key, codes := w.enrolled("ana@dev.example")
		w.clock.pass(factorStep * time.Second)
		s, err := w.SignIn(ctx, "ana@dev.example", password)
		ok(t, err)
		for range accounts.LoginTries {
			_, err := w.Factor(ctx, s.ID, "wrong1")
			wants(t, err, accounts.ErrNotFound)
		}
		for _, code := range []string{w.code(key), codes[0]} {
			_, err = w.Factor(ctx, s.ID, code)
			wants(t, err, accounts.ErrLocked)
		}
		s2, err := w.SignIn(ctx, "ana@dev.example", password) // another try does not begin anew
		ok(t, err)
		_, err = w.Factor(ctx, s2.ID, w.code(key))
		wants(t, err, accounts.ErrLocked)
		w.clock.pass(accounts.LockFor)
		_, err = w.Factor(ctx, s.ID, w.code(key))
		ok(t, err)
		equal(t, w.refusals[len(w.refusals)-1], "sign_in locked")
	})
}

// TestCodeIsTakenOnce is a code that comes several times at once.
func TestCodeIsTakenOnce(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		who := w.signUp("ana@dev.example", "Ana")
		_, key, codes := w.enrolled("ana@dev.example")
		w.clock.pass(factorStep * time.Second)
		for _, code := range []string{w.code(key), codes[0]} {
			const tries = 4
			errs := make([]error, tries)
			var all sync.WaitGroup
			for i := range tries {
				s, err := w.SignIn(ctx, "ana@dev.example", password)
				ok(t, err)
				all.Go(func() { _, errs[i] = w.Factor(ctx, s.ID, code) })
			}
			all.Wait()
			taken := 0
			for _, err := range errs {
				if err == nil {
					taken++
				} else if !errors.Is(err, accounts.ErrNotFound) {
					t.Error(err)
				}
			}
			equal(t, taken, 1)
			ok(t, w.Accounts.ForgetFailures(ctx, triesFactor, who.ID))
		}
	})
}

func TestSessions(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.signUp("ana@dev.example", "Ana")
		full, key, _ := w.enrolled("ana@dev.example")
		for range 3 { // in use
			w.clock.pass(sessionIdle - time.Minute)
			_, err := w.Actor(ctx, full.ID)
			ok(t, err)
		}
		w.clock.pass(sessionIdle + time.Second)
		_, err := w.Actor(ctx, full.ID)
		wants(t, err, ErrSession)

		enter := func() *Session {
			s, err := w.SignIn(ctx, "ana@dev.example", password)
			ok(t, err)
			w.clock.pass(factorStep * time.Second)
			s, err = w.Factor(ctx, s.ID, w.code(key))
			ok(t, err)
			return s
		}
		s := enter()
		for w.clock.now().Before(s.Expires.Add(-sessionIdle)) {
			w.clock.pass(sessionIdle - time.Second)
			_, err = w.Session(ctx, s.ID)
			ok(t, err)
		}
		w.clock.pass(s.Expires.Sub(w.clock.now()))
		_, err = w.Session(ctx, s.ID)
		wants(t, err, ErrSession) // whatever happens

		half, err := w.SignIn(ctx, "ana@dev.example", password)
		ok(t, err)
		w.clock.pass(halfFor)
		_, err = w.Factor(ctx, half.ID, w.code(key))
		wants(t, err, ErrSession)

		a, b, c := enter(), enter(), enter()
		ok(t, w.SignOut(ctx, a.ID))
		ok(t, w.SignOut(ctx, a.ID))
		_, err = w.Session(ctx, a.ID)
		wants(t, err, ErrSession)
		actor, err := w.Actor(ctx, b.ID)
		ok(t, err)
		seen := func(a *Actor) (list []bool) {
			open, err := a.OpenSessions(ctx)
			ok(t, err)
			for _, o := range open {
				list = append(list, o.Current)
			}
			return list
		}
		equal(t, seen(actor), []bool{false, true}) // those that are over are not shown, and neither are halves
		ok(t, actor.EndSessions(ctx))
		equal(t, seen(actor), []bool{true})
		_, err = w.Session(ctx, c.ID)
		wants(t, err, ErrSession)
		_, err = w.Session(ctx, b.ID)
		ok(t, err)

		// Whoever shows again who they are gets another session, which ends when the first would have.
		w.clock.pass(freshFor)
		actor, err = w.Actor(ctx, b.ID)
		ok(t, err)
		wants(t, actor.needFresh(), ErrFresh)
		for _, try := range []struct{ password, code string }{{"wrong wrong wrong", w.code(key)}, {password, "000000"}} {
			_, err = w.Reauthenticate(ctx, b.ID, try.password, try.code)
			wants(t, err, accounts.ErrNotFound)
		}
		again, err := w.Reauthenticate(ctx, b.ID, password, w.code(key))
		ok(t, err)
		equal(t, []any{again.Kind, again.Fresh, again.Expires, again.ID != b.ID}, []any{Full, w.clock.now(), b.Expires, true})
		_, err = w.Session(ctx, b.ID)
		wants(t, err, ErrSession)
		actor, err = w.Actor(ctx, again.ID)
		ok(t, err)
		ok(t, actor.needFresh())
		for _, s := range []string{half.ID, "", "nonsense"} {
			_, err = w.Reauthenticate(ctx, s, password, w.code(key))
			wants(t, err, ErrSession)
		}
		w.clock.pass(24 * time.Hour)
		_, err = w.Tick(ctx)
		ok(t, err)
		if d := w.dump(); strings.Contains(d, "portal_sessions") {
			t.Error("sessions that are over stay")
		}
	})
}

func identified(subject, email string) *Identified {
	return &Identified{Issuer: "https://idp.example", Subject: subject, Email: email, EmailVerified: true, Name: "Ivy Identified"}
}

func TestSignInWithService(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.signUp("ana@dev.example", "Ana")
		who := identified("1", "Ivy@dev.example")
		who.AuthTime = w.clock.now().Add(-time.Minute)
		s, err := w.SignInWith(ctx, who)
		ok(t, err)
		equal(t, []any{s.Kind, s.Fresh}, []any{Full, who.AuthTime})
		a, err := w.Actor(ctx, s.ID)
		ok(t, err)
		equal(t, []any{a.Person.Email, a.Person.Name, a.Person.Proof.State, a.Person.Issuer}, []any{"ivy@dev.example", "Ivy Identified", "", "https://idp.example"})
		denied(t, a.ChangePassword(ctx, password))
		_, err = w.Reauthenticate(ctx, s.ID, password, "123456")
		denied(t, err)
		_, _, _, err = w.NewFactor(ctx, s.ID)
		denied(t, err)

		// The same person again, now proofed, and by another address: the account stays the same.
		who.Email, who.Level, who.Reference, who.Name = "other@dev.example", "IAL2", "ref-7", "Ivy I. Identified"
		s, err = w.SignInWith(ctx, who)
		ok(t, err)
		b, err := w.Actor(ctx, s.ID)
		ok(t, err)
		equal(t, b.Person.ID, a.Person.ID)
		equal(t, b.Person.Email, "ivy@dev.example")
		equal(t, b.Person.Proof, Proof{State: ProofPassed, Method: "claim", Level: "IAL2", Issuer: "https://idp.example", Reference: "ref-7", At: who.AuthTime})
		input(t, b.UpdateProfile(ctx, "Somebody Else", "", "", "en"), "name", "proofed")
		ok(t, b.UpdateProfile(ctx, "Ivy I. Identified", "+1 801 555 0100", "us", "es"))
		who.Level, who.AuthTime = "", time.Time{} // a proof stays, and it is not known when they have shown who they are
		s, err = w.SignInWith(ctx, who)
		ok(t, err)
		b, err = w.Actor(ctx, s.ID)
		ok(t, err)
		equal(t, []any{b.Person.Proof.State, b.Person.Phone, b.Person.Country, b.Person.Language, s.Fresh.IsZero()}, []any{ProofPassed, "+1 801 555 0100", "US", "es", true})
		wants(t, b.needFresh(), ErrFresh)
		equal(t, w.did(), []string{didSignUp, didSignUp, didProof})

		// A level that does not count proofs nothing.
		low := identified("2", "lou@dev.example")
		low.Level = "IAL1"
		s, err = w.SignInWith(ctx, low)
		ok(t, err)
		b, err = w.Actor(ctx, s.ID)
		ok(t, err)
		equal(t, b.Person.Proof, Proof{})

		// Nobody takes an account over.
		for _, i := range []*Identified{
			identified("3", "ana@dev.example"), identified("4", "ivy@dev.example"), identified("5", ""), identified("", "new@dev.example"),
			{Issuer: "https://another.example", Subject: "1", Email: "ivy@dev.example", EmailVerified: true, Name: "I"},
		} {
			_, err = w.SignInWith(ctx, i)
			denied(t, err)
		}
		ok(t, w.SignUp(ctx, &SignUp{Email: "ivy@dev.example", Name: "I", Password: password}))
		if m := w.mailTo("ivy@dev.example"); strings.Contains(m.Text, "token=") {
			t.Error("an account of the service can be signed up for")
		}
		ok(t, w.ForgotPassword(ctx, "ivy@dev.example"))
		if m := w.mailTo("ivy@dev.example"); strings.Contains(m.Text, "token=") || !strings.Contains(m.Text, "servicio de identidad") {
			t.Errorf("got %q", m.Text)
		}
		_, err = w.SignIn(ctx, "ivy@dev.example", password)
		wants(t, err, accounts.ErrNotFound)

		ok(t, w.Operator("test").SuspendPerson(ctx, a.Person.ID, "a reason", true))
		_, err = w.Actor(ctx, s.ID)
		ok(t, err) // of somebody else
		_, err = w.SignInWith(ctx, who)
		denied(t, err)
	})
}

func TestServiceThatHasNotCheckedTheAddress(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		who := identified("1", "ivy@dev.example")
		who.EmailVerified = false
		_, err := w.SignInWith(ctx, who)
		denied(t, err)
		token := tokenIn(t, w.mailTo("ivy@dev.example"))
		_, err = w.SignInWith(ctx, who)
		denied(t, err)
		second := tokenIn(t, w.mailTo("ivy@dev.example"))
		is, err := w.ConfirmEmail(ctx, token)
		ok(t, err)
		equal(t, is.Status, registered)
		_, err = w.ConfirmEmail(ctx, second)
		wants(t, err, accounts.ErrNotFound)
		_, err = w.SignInWith(ctx, who)
		ok(t, err)

		// Whoever is first to show that the address is theirs has it.
		late := identified("2", "lou@dev.example")
		late.EmailVerified = false
		_, err = w.SignInWith(ctx, late)
		denied(t, err)
		token = tokenIn(t, w.mailTo("lou@dev.example"))
		w.signUp("lou@dev.example", "Lou")
		_, err = w.ConfirmEmail(ctx, token)
		wants(t, err, accounts.ErrNotFound)
		_, err = w.SignInWith(ctx, late)
		denied(t, err)
		w.mails()
		late.EmailVerified = true
		_, err = w.SignInWith(ctx, late)
		denied(t, err)
		equal(t, len(w.mails()), 0)
	})
}

func TestSuspendedPerson(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		who := w.signUp("ana@dev.example", "Ana")
		full, key, _ := w.enrolled("ana@dev.example")
		ok(t, w.ForgotPassword(ctx, "ana@dev.example"))
		token := tokenIn(t, w.mailTo("ana@dev.example"))
		half, err := w.SignIn(ctx, "ana@dev.example", password)
		ok(t, err)
		admin := w.actor("Ada Admin", Administrator)
		input(t, admin.SuspendPerson(ctx, who.ID, " ", true), "reason", codeMissing)
		ok(t, admin.SuspendPerson(ctx, who.ID, "It was misused.", true))
		if m := w.mailTo("ana@dev.example"); !strings.Contains(m.Text, "It was misused.") {
			t.Errorf("got %q", m.Text)
		}
		wants(t, admin.SuspendPerson(ctx, who.ID, "It was misused.", true), accounts.ErrUsed)
		_, err = w.Actor(ctx, full.ID)
		wants(t, err, ErrSession)
		w.clock.pass(factorStep * time.Second)
		_, err = w.Factor(ctx, half.ID, w.code(key))
		wants(t, err, ErrSession)
		wants(t, w.ResetPassword(ctx, token, password), accounts.ErrNotFound)
		_, err = w.SignIn(ctx, "ana@dev.example", password)
		wants(t, err, accounts.ErrNotFound)
		ok(t, admin.SuspendPerson(ctx, who.ID, "It was cleared up.", false))
		_, err = w.SignIn(ctx, "ana@dev.example", password)
		ok(t, err)
	})
}

// TestActorOfASessionThatGoesOn is somebody whose rights are taken while they are signed in: the next request knows.
func TestActorOfASessionThatGoesOn(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	admin := w.actor("Ada Admin", Administrator)
	rev := w.actor("Ray Reviewer", Reviewer)
	_, err := rev.People(ctx, "", 0)
	ok(t, err)
	ok(t, admin.SetStaff(ctx, rev.Person.ID, NoStaff))
	rev, err = w.Actor(ctx, rev.Session.ID)
	ok(t, err)
	_, err = rev.People(ctx, "", 0)
	denied(t, err)
	denied(t, admin.SetStaff(ctx, admin.Person.ID, NoStaff))
	denied(t, admin.SuspendPerson(ctx, admin.Person.ID, "x", true))
	_, err = admin.PutPerson(ctx, &Person{Email: admin.Person.Email, Name: "Ada", Staff: Support}, "", "")
	denied(t, err)
	input(t, admin.SetStaff(ctx, rev.Person.ID, "king"), "role", codeWrong)
	wants(t, admin.SetStaff(ctx, "nobody", Support), accounts.ErrNotFound)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := admin.SetStaff(ended, rev.Person.ID, Support); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAddPerson(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		op := w.Operator("root")
		const key = "JBSWY3DPEHPK3PXP"
		who, err := op.AddPerson(ctx, &Person{Email: "Dev@dev.example", Name: "Dev", Staff: Reviewer, Language: "es"}, password, key)
		ok(t, err)
		equal(t, []any{who.Staff, who.Language, who.Factor, who.Status}, []any{Reviewer, "es", true, registered})
		s, err := w.SignIn(ctx, "dev@dev.example", password)
		ok(t, err)
		full, err := w.Factor(ctx, s.ID, w.code(key))
		ok(t, err)
		// One that is there stays what it is, unless that is what is wanted.
		before := w.stateOf()
		_, err = op.AddPerson(ctx, &Person{Email: "dev@dev.example", Name: "Devi", Staff: Administrator}, "another long phrase", key)
		wants(t, err, accounts.ErrExists)
		equal(t, w.stateOf() == before, true)
		again, err := op.PutPerson(ctx, &Person{Email: "dev@dev.example", Name: "Devi"}, "", "")
		ok(t, err)
		equal(t, []any{again.ID, again.Name, again.Staff, again.Factor}, []any{who.ID, "Devi", NoStaff, true})
		_, err = w.Actor(ctx, full.ID)
		ok(t, err)
		_, err = op.PutPerson(ctx, &Person{Email: "dev@dev.example", Name: "Devi"}, "another long phrase", "")
		ok(t, err)
		_, err = w.Actor(ctx, full.ID)
		wants(t, err, ErrSession)
		for _, c := range []struct {
			p        Person
			password string
			secret   string
			field    string
		}{
			{Person{Email: "x", Name: "X"}, "", "", "email"},
			{Person{Email: "x@dev.example"}, "", "", "name"},
			{Person{Email: "x@dev.example", Name: "X", Staff: "king"}, "", "", "role"},
			{Person{Email: "x@dev.example", Name: "X"}, "short", "", "password"},
			{Person{Email: "x@dev.example", Name: "X"}, "", "not base32!", "secret"},
		} {
			_, err = op.AddPerson(ctx, &c.p, c.password, c.secret)
			var i *InputError
			if !errors.As(err, &i) || i.Field != c.field {
				t.Errorf("got %v, not %s", err, c.field)
			}
		}
		_, err = w.SignInWith(ctx, identified("1", "ivy@dev.example"))
		ok(t, err)
		_, err = op.PutPerson(ctx, &Person{Email: "ivy@dev.example", Name: "Ivy"}, password, "")
		denied(t, err)
		_, err = op.PutPerson(ctx, &Person{Email: "ivy@dev.example", Name: "Ivy", Staff: Administrator}, "", "")
		ok(t, err)
	})
}
