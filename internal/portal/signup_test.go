package portal

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database/databasetest"
)

func TestSignUp(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		ok(t, w.SignUp(ctx, &SignUp{Email: " Ana@Dev.example ", Name: "Ana  Díaz", Password: password, Language: "es"}))
		_, err := w.SignIn(ctx, "ana@dev.example", password)
		wants(t, err, accounts.ErrNotFound) // not before the address is confirmed
		m := w.mailTo("ana@dev.example")
		if m.Language != "es" || !strings.HasPrefix(m.Subject, "Confirme") || strings.Contains(m.Text, "Díaz") {
			t.Errorf("got %q", m.Subject)
		}
		token := tokenIn(t, m)
		_, err = w.ConfirmEmail(ctx, token+"x")
		wants(t, err, accounts.ErrNotFound)
		who, err := w.ConfirmEmail(ctx, token)
		ok(t, err)
		equal(t, []any{who.Email, who.Name, who.Status, who.Language, who.Staff, who.Factor}, []any{"ana@dev.example", "Ana Díaz", registered, "es", NoStaff, false})
		_, err = w.ConfirmEmail(ctx, token)
		wants(t, err, accounts.ErrNotFound)
		s, err := w.SignIn(ctx, "ANA@dev.example", password)
		ok(t, err)
		equal(t, s.Kind, Enrol)
		equal(t, w.did(), []string{didSignUp})

		for _, c := range []struct{ email, name, password, field, code string }{
			{"", "Ana", password, "email", codeMissing},
			{"ana", "Ana", password, "email", codeWrong},
			{"ana@localhost", "Ana", password, "email", codeWrong},
			{"ana@dev.example\r\nBcc: x@y.example", "Ana", password, "email", codeWrong},
			{"аna@dev.example", "Ana", password, "email", codeWrong}, // a Cyrillic letter
			{"ana@dev.example", " ", password, "name", codeMissing},
			{"ana@dev.example", "see https://evil.example", password, "name", codeWrong},
			{"ana@dev.example", strings.Repeat("a", 101), password, "name", codeLong},
			{"ana@dev.example", "Ana", "short", "password", "short"},
		} {
			input(t, w.SignUp(ctx, &SignUp{Email: c.email, Name: c.name, Password: c.password}), c.field, c.code)
		}
		equal(t, len(w.mails()), 0)
	})
}

// TestAccountOfWhoConfirms is somebody who asks for an account with an address of another, who asks for one too.
func TestAccountOfWhoConfirms(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		ok(t, w.SignUp(ctx, &SignUp{Email: "ana@dev.example", Name: "Ana", Password: password}))
		own := tokenIn(t, w.mailTo("ana@dev.example"))
		ok(t, w.SignUp(ctx, &SignUp{Email: "ana@dev.example", Name: "Eve", Password: "a password of Eve's own"}))
		other := tokenIn(t, w.mailTo("ana@dev.example"))
		who, err := w.ConfirmEmail(ctx, own)
		ok(t, err)
		equal(t, who.Name, "Ana")
		_, err = w.ConfirmEmail(ctx, other)
		wants(t, err, accounts.ErrNotFound)
		_, err = w.SignIn(ctx, "ana@dev.example", "a password of Eve's own")
		wants(t, err, accounts.ErrNotFound)
		_, err = w.SignIn(ctx, "ana@dev.example", password)
		ok(t, err)
	})
}

func TestTokensExpire(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	ok(t, w.SignUp(ctx, &SignUp{Email: "ana@dev.example", Name: "Ana", Password: password}))
	token := tokenIn(t, w.mailTo("ana@dev.example"))
	w.clock.pass(confirmFor)
	_, err := w.ConfirmEmail(ctx, token)
	wants(t, err, accounts.ErrNotFound)
	w.signUp("ana@dev.example", "Ana")
	ok(t, w.ForgotPassword(ctx, "ana@dev.example"))
	token = tokenIn(t, w.mailTo("ana@dev.example"))
	wants(t, w.ResetPassword(ctx, token+"x", password), accounts.ErrNotFound)
	_, err = w.ConfirmEmail(ctx, token) // it is of another kind
	wants(t, err, accounts.ErrNotFound)
	w.clock.pass(resetFor)
	wants(t, w.ResetPassword(ctx, token, password), accounts.ErrNotFound)
}

func TestConfirmTogether(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		var tokens []string
		for range 2 {
			ok(t, w.SignUp(ctx, &SignUp{Email: "ana@dev.example", Name: "Ana", Password: password}))
			token := tokenIn(t, w.mailTo("ana@dev.example"))
			tokens = append(tokens, token, token, token)
		}
		errs := make([]error, len(tokens))
		var all sync.WaitGroup
		for i, token := range tokens {
			all.Go(func() { _, errs[i] = w.ConfirmEmail(ctx, token) })
		}
		all.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
			} else {
				wants(t, err, accounts.ErrNotFound)
			}
		}
		equal(t, made, 1)
		people, err := w.Operator("test").People(ctx, "", 0)
		ok(t, err)
		equal(t, len(people), 1)
	})
}

func TestResetPassword(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		who := w.signUp("ana@dev.example", "Ana")
		full, key, _ := w.enrolled("ana@dev.example")
		for range accounts.LoginTries { // somebody has locked her out
			_, err := w.SignIn(ctx, "ana@dev.example", "wrong wrong wrong")
			wants(t, err, accounts.ErrNotFound)
		}
		_, err := w.SignIn(ctx, "ana@dev.example", password)
		wants(t, err, accounts.ErrLocked)

		ok(t, w.ForgotPassword(ctx, "Ana@dev.example"))
		token := tokenIn(t, w.mailTo("ana@dev.example"))
		ok(t, w.ForgotPassword(ctx, "ana@dev.example"))
		second := tokenIn(t, w.mailTo("ana@dev.example"))
		input(t, w.ResetPassword(ctx, token, "short"), "password", "short") // the token stays good
		const other = "a loud purple bicycle"
		ok(t, w.ResetPassword(ctx, token, other))
		if m := w.mailTo("ana@dev.example"); !strings.Contains(m.Subject, "was changed") {
			t.Errorf("got %q", m.Subject)
		}
		wants(t, w.ResetPassword(ctx, token, other), accounts.ErrNotFound)
		wants(t, w.ResetPassword(ctx, second, other), accounts.ErrNotFound)
		_, err = w.Actor(ctx, full.ID)
		wants(t, err, ErrSession)
		_, err = w.SignIn(ctx, "ana@dev.example", password)
		wants(t, err, accounts.ErrNotFound)
		s, err := w.SignIn(ctx, "ana@dev.example", other)
		ok(t, err)
		equal(t, s.Kind, Half) // the second factor stays
		w.clock.pass(factorStep * time.Second)
		full, err = w.Factor(ctx, s.ID, w.code(key))
		ok(t, err)

		a, err := w.Actor(ctx, full.ID)
		ok(t, err)
		old := w.actorOf(who.ID)
		ok(t, a.ChangePassword(ctx, password))
		w.mailTo("ana@dev.example")
		_, err = w.Actor(ctx, old.Session.ID)
		wants(t, err, ErrSession)
		_, err = w.Actor(ctx, full.ID) // this one goes on
		ok(t, err)
		w.clock.pass(freshFor)
		wants(t, a.ChangePassword(ctx, other), ErrFresh)
		_, err = w.SignIn(ctx, "ana@dev.example", password)
		ok(t, err)
	})
}

// TestNobodyLearnsWhoHasAnAccount asks for accounts and passwords with addresses that are known and that are not: only
// who reads the mail can tell.
func TestNobodyLearnsWhoHasAnAccount(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		w.signUp("ana@dev.example", "Ana")
		gone := w.signUp("bob@dev.example", "Bob")
		ok(t, w.Operator("test").SuspendPerson(ctx, gone.ID, "a reason", true))
		w.mailTo("bob@dev.example")
		f := w.faulty(address)
		count := func(call func() error) int64 { // statements
			before := f.Calls.Load()
			ok(t, call())
			return f.Calls.Load() - before
		}
		up := func(email string) func() error {
			return func() error { return w.SignUp(ctx, &SignUp{Email: email, Name: "X", Password: password}) }
		}
		forgot := func(email string) func() error { return func() error { return w.ForgotPassword(ctx, email) } }

		known, unknown := count(up("ana@dev.example")), count(up("cyd@dev.example"))
		equal(t, known, unknown)
		got := w.mails()
		equal(t, len(got), 2)
		if got[0].Subject == got[1].Subject || strings.Contains(got[0].Text, "token=") || !strings.Contains(got[1].Text, "token=") {
			t.Errorf("got %q and %q", got[0].Subject, got[1].Subject)
		}
		for _, email := range []string{"nobody@dev.example", "bob@dev.example"} {
			equal(t, count(forgot(email)), count(forgot("ana@dev.example")))
			w.mailTo("ana@dev.example")
		}

		// A login takes as long: it hashes as often.
		a, b := time.Hour, time.Hour // the shortest: whatever else the machine does makes both longer
		for range 3 {
			for email, shortest := range map[string]*time.Duration{"ana@dev.example": &a, "nobody@dev.example": &b} {
				begun := time.Now()
				_, err := w.SignIn(ctx, email, "not the password at all")
				*shortest = min(*shortest, time.Since(begun))
				wants(t, err, accounts.ErrNotFound)
			}
		}
		if a > 4*b || b > 4*a {
			t.Errorf("a login that exists takes %v, another %v", a, b)
		}
		for range 2 {
			_, err := w.SignIn(ctx, "nobody@dev.example", password)
			wants(t, err, accounts.ErrNotFound)
		}
		_, err := w.SignIn(ctx, "nobody@dev.example", password) // it is locked alike
		wants(t, err, accounts.ErrLocked)
	})
}

func TestFewMailsToOneAddress(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	for range tokenMost + 3 {
		ok(t, w.SignUp(ctx, &SignUp{Email: "ana@dev.example", Name: "Ana", Password: password}))
	}
	equal(t, len(w.mails()), tokenMost)
	w.clock.pass(tokenWindow)
	w.signUp("ana@dev.example", "Ana")
	for range tokenMost + 3 {
		ok(t, w.ForgotPassword(ctx, "ana@dev.example"))
	}
	equal(t, len(w.mails()), tokenMost) // the one that was confirmed is gone
}

func TestPasswords(t *testing.T) {
	for _, c := range []struct{ password, code string }{
		{"elevenchars", "short"},
		{"ééééééééééé", "short"}, // eleven characters, of more bytes
		{strings.Repeat("long words ", 100), codeLong},
		{"bad \xff utf-8 here", codeLong},
		{"password1234", "common"},
		{"P@ssw0rd!2026", "common"},
		{"Password12345!", "common"},
		{"qwertyuiop12", "common"},
		{"iloveyou1234!", "common"},
		{"correct horse battery staple", "common"},
		{"Contraseña1234", "common"},
		{"aaaaaaaaaaaaaa", "common"},
		{"abcabcabcabcabc", "common"},
		{"123456789012345", "common"},
		{"abcdefghijklmno", "common"},
		{"zyxwvutsrqponm", "common"},
		{"ana.diaz@dev", "personal"},
		{"ana.diaz1234", "personal"},
		{"AgencyOfHealth1", "personal"},
		{"twelve chars", ""},
		{"a quiet yellow tractor", ""},
		{"Tr0ub4dor&3xyz", ""},
		{"纸船漂过十二座小桥回到故乡去", ""},
		{"ana.diaz likes green boats", ""},
		{"            x", ""}, // no rule says what characters it must have
	} {
		_, err := passwordOf(c.password, "ana.diaz@dev.example", "Agency of Health")
		if c.code == "" {
			if err != nil {
				t.Errorf("%q: %v", c.password, err)
			}
			continue
		}
		var i *InputError
		if !errors.As(err, &i) || i.Code != c.code || i.Field != "password" {
			t.Errorf("%q: got %v, not %s", c.password, err, c.code)
		}
	}
	a, err := passwordOf("caf\u00e9 y doce letras") // one keyboard
	ok(t, err)
	b, err := passwordOf("cafe\u0301 y doce letras") // another
	ok(t, err)
	equal(t, a, b)
}
