package portal

import (
	"context"
	"errors"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// Purposes for which failures are counted.
const (
	triesPassword = "portal password" // by address
	triesFactor   = "portal factor"   // by person
)

// Kinds of tokens.
const (
	tokenNone    = "none" // it opens nothing
	tokenConfirm = "confirm"
	tokenReset   = "reset"
)

// asked is what somebody has asked for whose address is not confirmed yet. It belongs to the token, not to an account:
// whoever confirms an address gets the password that came with that very mail, and not one of somebody else who knew
// the address.
type asked struct{ Email, Name, Password, Language string }

// What mails are counted for, by address: whoever asks for accounts in the name of somebody does not keep their mails
// about a forgotten password back.
const (
	forAccount  = "address"
	forPassword = "reset"
)

// addToken keeps the token of a mail, and reports whether as many were asked for with this address as are sent.
func (p *Portal) addToken(ctx context.Context, tx *step, token, kind, person, purpose, email string, about *asked) (many bool, err error) {
	now := p.Now()
	mac := p.mac(purpose, email)
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM portal_tokens WHERE address_mac = $1 AND created > $2`, mac,
		database.Millis(now.Add(-tokenWindow))).Scan(&n); err != nil {
		return false, err
	}
	expires := now.Add(confirmFor)
	if kind == tokenReset {
		expires = now.Add(resetFor)
	}
	if kind == tokenNone {
		about = &asked{}
	}
	if n >= tokenMost {
		return true, nil
	}
	sum := database.Sum(token)
	sealed, err := p.seal("token "+sum, about)
	if err != nil {
		return false, err
	}
	_, err = database.Change(ctx, tx.Tx, `INSERT INTO portal_tokens (token_sum, kind, person, address_mac, sealed, created, expires)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, sum, kind, person, mac, sealed, database.Millis(now), database.Millis(expires))
	return false, err
}

// token finds a token that is still good. It fails with ErrNotFound.
func (p *Portal) token(ctx context.Context, q database.Queryer, token, kind string) (person string, about *asked, err error) {
	sum := database.Sum(token)
	about = &asked{}
	found, err := database.List(ctx, q, func(row database.Row) (sealed string, err error) { return sealed, row.Scan(&person, &sealed) },
		`SELECT person, sealed FROM portal_tokens WHERE token_sum = $1 AND kind = $2 AND expires > $3`, sum, kind, database.Millis(p.Now()))
	if err != nil {
		return "", nil, err
	}
	if len(found) == 0 {
		return "", nil, accounts.ErrNotFound
	}
	return person, about, p.unseal("token "+sum, found[0], about)
}

// SignUp asks for an account. Whoever has the address gets a mail: with a link that confirms it, or, if there is an
// account already, that says so. The answer and its time are the same. It fails with *InputError. At most five mails an
// hour are sent to one address.
func (p *Portal) SignUp(ctx context.Context, s *SignUp) error {
	email, err := addressOf("email", s.Email)
	if err != nil {
		return err
	}
	about := &asked{Email: email, Language: languageOf(s.Language)}
	if about.Name, err = nameOf("name", s.Name); err != nil {
		return err
	}
	password, err := passwordOf(s.Password, email, p.Agency)
	if err != nil {
		return err
	}
	if about.Password, err = accounts.HashPassword(ctx, password); err != nil {
		return err
	}
	return p.tx(ctx, func(ctx context.Context, tx *step) error {
		// The same statements, whether there is an account or not.
		token := database.NewSecret()
		kind, letter, language := tokenConfirm, mailConfirm, about.Language
		data := map[string]string{"Link": p.link(pageConfirm, "token", token)}
		who, err := person(ctx, tx, byEmail, email)
		switch {
		case err == nil:
			kind, letter, language = tokenNone, "known", who.Language
			data = map[string]string{"Link": p.link(pageSignIn), "Forgot": p.link(pageForgot)}
		case !errors.Is(err, accounts.ErrNotFound):
			return err
		}
		many, err := p.addToken(ctx, tx, token, kind, "", forAccount, email, about)
		if err != nil {
			return err
		}
		if many {
			letter = mailNone
		}
		return p.mail(ctx, tx, letter, email, language, data)
	})
}

// ConfirmEmail takes the token of a mail, and makes the account usable. The token is good once, for 48 hours. It
// fails with accounts.ErrNotFound. The page that a mail links to asks first: programs that read mails follow links.
func (p *Portal) ConfirmEmail(ctx context.Context, token string) (*Person, error) {
	var who *Person
	err := p.tx(ctx, func(ctx context.Context, tx *step) error {
		id, about, err := p.token(ctx, tx, token, tokenConfirm)
		if err != nil {
			return err
		}
		if err := database.ChangeOne(ctx, tx.Tx, `DELETE FROM portal_tokens WHERE token_sum = $1 AND kind = 'confirm'`, database.Sum(token)); err != nil {
			return err
		}
		if id == "" {
			who, err = p.makeAccount(ctx, tx, about)
		} else {
			who, err = p.confirm(ctx, tx, id, about.Email)
		}
		if err != nil {
			return err
		}
		// What others have asked for with this address is void.
		if _, err := database.Change(ctx, tx.Tx, `UPDATE portal_tokens SET kind = 'none' WHERE address_mac = $1 AND kind = 'confirm'`,
			p.mac(forAccount, about.Email)); err != nil {
			return err
		}
		return p.keep(ctx, tx, &Event{Actor: who.ID, Action: didSignUp, Subject: who.ID})
	})
	if err != nil {
		return nil, err
	}
	return who, nil
}

// makeAccount makes the account that was asked for.
func (p *Portal) makeAccount(ctx context.Context, tx *step, about *asked) (*Person, error) {
	now := p.Now().UTC()
	who := &Person{ID: database.Random(), Email: about.Email, Verified: now, Name: about.Name, Language: about.Language, Status: registered, Created: now, Seen: now}
	added, err := p.writePerson(ctx, tx, who)
	if err != nil {
		return nil, err
	}
	if !added { // somebody else was first
		return nil, accounts.ErrNotFound
	}
	return who, p.setPassword(ctx, tx, who.ID, about.Password)
}

// confirm notes that a person whom an identity service has named has the address that it gave.
func (p *Portal) confirm(ctx context.Context, tx *step, id, email string) (*Person, error) {
	if _, err := person(ctx, tx, byEmail, email); !errors.Is(err, accounts.ErrNotFound) {
		if err == nil { // somebody else was first
			err = accounts.ErrNotFound
		}
		return nil, err
	}
	return p.changePerson(ctx, tx, id, func(who *Person) error {
		if who.Status != unverified || who.Email != email {
			return accounts.ErrNotFound
		}
		who.Status, who.Verified = registered, p.Now().UTC()
		return nil
	})
}

// setPassword keeps what accounts.HashPassword made of a password.
func (p *Portal) setPassword(ctx context.Context, tx *step, person, kept string) error {
	_, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_passwords (person, password) VALUES ($1, $2)
		ON CONFLICT (person) DO UPDATE SET password = excluded.password`, person, kept)
	return err
}

// ForgotPassword sends a link by which the password can be set anew, if there is an account; the answer is the same
// if there is none. At most five mails an hour are sent to one address.
func (p *Portal) ForgotPassword(ctx context.Context, email string) error {
	email, err := addressOf("email", email)
	if err != nil {
		return err
	}
	return p.tx(ctx, func(ctx context.Context, tx *step) error {
		// The same statements, whether there is an account or not.
		token := database.NewSecret()
		kind, letter, id, language := tokenNone, mailNone, "", letterLanguages[0]
		data := map[string]string{"Link": p.link(pageReset, "token", token)}
		who, err := person(ctx, tx, byEmail, email)
		switch {
		case errors.Is(err, accounts.ErrNotFound):
		case err != nil:
			return err
		case who.Status != registered:
		case who.Issuer != "":
			letter, language = "reset_elsewhere", who.Language
			data["Link"] = p.link(pageSignIn)
		default:
			kind, letter, id, language = tokenReset, mailReset, who.ID, who.Language
		}
		many, err := p.addToken(ctx, tx, token, kind, id, forPassword, email, &asked{})
		if err != nil {
			return err
		}
		if many {
			letter = mailNone
		}
		return p.mail(ctx, tx, letter, email, language, data)
	})
}

// ResetPassword takes the token of such a mail. All sessions of the person end. The second factor stays. It fails with
// accounts.ErrNotFound, or *InputError, which leaves the token good.
func (p *Portal) ResetPassword(ctx context.Context, token, password string) error {
	id, _, err := p.token(ctx, p.db, token, tokenReset)
	if err != nil {
		return err
	}
	who, err := person(ctx, p.db, byID, id)
	if err != nil {
		return err
	}
	if password, err = passwordOf(password, who.Email, p.Agency); err != nil {
		return err
	}
	kept, err := accounts.HashPassword(ctx, password)
	if err != nil {
		return err
	}
	if err := p.tx(ctx, func(ctx context.Context, tx *step) error {
		if err := database.ChangeOne(ctx, tx.Tx, `DELETE FROM portal_tokens WHERE token_sum = $1 AND kind = 'reset' AND expires > $2`,
			database.Sum(token), database.Millis(p.Now())); err != nil {
			return err
		}
		if _, err := p.changePerson(ctx, tx, id, func(who *Person) error {
			if who.Status != registered {
				return accounts.ErrNotFound
			}
			return nil
		}); err != nil {
			return err
		}
		return p.replacePassword(ctx, tx, who, kept, didResetPassword, "")
	}); err != nil {
		return err
	}
	return p.Accounts.ForgetFailures(ctx, triesPassword, who.Email)
}

// replacePassword sets a password anew: sessions but one end, links of mails are void, and the person is told.
func (p *Portal) replacePassword(ctx context.Context, tx *step, who *Person, kept, did, but string) error {
	if err := p.setPassword(ctx, tx, who.ID, kept); err != nil {
		return err
	}
	if _, err := database.Change(ctx, tx.Tx, `UPDATE portal_tokens SET kind = 'none' WHERE person = $1 AND kind = 'reset'`, who.ID); err != nil {
		return err
	}
	if err := endSessions(ctx, tx, who.ID, but); err != nil {
		return err
	}
	if err := p.keep(ctx, tx, &Event{Actor: who.ID, Action: did, Subject: who.ID}); err != nil {
		return err
	}
	return p.mail(ctx, tx, "password_changed", who.Email, who.Language, map[string]string{"Link": p.link(pageForgot)})
}

// ChangePassword needs a fresh session; other sessions of the person end.
func (a *Actor) ChangePassword(ctx context.Context, password string) error {
	if a.Person == nil || a.Person.Issuer != "" {
		return &DeniedError{"the account has no password here"}
	}
	if err := a.needFresh(); err != nil {
		return err
	}
	password, err := passwordOf(password, a.Person.Email, a.Agency)
	if err != nil {
		return err
	}
	kept, err := accounts.HashPassword(ctx, password)
	if err != nil {
		return err
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		return a.replacePassword(ctx, tx, a.Person, kept, didChangePassword, a.Session.ID)
	})
}
