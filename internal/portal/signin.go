package portal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// SignIn checks a password, and begins a session of the kind Half, or Enrol if there is no second factor yet. It
// fails with accounts.ErrNotFound after the same time whatever is wrong, or accounts.ErrLocked.
func (p *Portal) SignIn(ctx context.Context, email, password string) (*Session, error) {
	who, err := p.checkPassword(ctx, email, password)
	if err != nil {
		return nil, err
	}
	kind := Half
	if !who.Factor {
		kind = Enrol
	}
	var s *Session
	err = p.tx(ctx, func(ctx context.Context, tx *step) error {
		s, err = p.addSession(ctx, tx, who.ID, kind, time.Time{}, time.Time{})
		return err
	})
	return s, err
}

// checkPassword finds the person of a password. A try is counted as a failure before anybody knows whether it is one.
func (p *Portal) checkPassword(ctx context.Context, email, password string) (*Person, error) {
	email = strings.ToLower(strings.TrimSpace(email))
	kept := accounts.NoPassword
	who, err := person(ctx, p.db, byEmail+` AND p.issuer = ''`, email)
	known := err == nil
	if err != nil && !errors.Is(err, accounts.ErrNotFound) {
		return nil, err
	}
	// The same is asked whether there is an account or not.
	list, err := database.Column(ctx, p.db, `SELECT w.password FROM portal_passwords w JOIN portal_people p ON p.id = w.person
		WHERE `+byEmail+` AND p.issuer = ''`, email)
	if err != nil {
		return nil, err
	}
	if known && len(list) > 0 {
		kept = list[0]
	}
	tries, err := p.triesOf(ctx, email)
	if err != nil {
		return nil, err
	}
	if err := p.Accounts.CountFailure(ctx, triesPassword, tries, known); err != nil {
		if errors.Is(err, accounts.ErrLocked) {
			p.refused("sign_in", "locked")
		}
		return nil, err
	}
	same, err := accounts.SamePassword(ctx, passwordForm(password), kept)
	if err != nil {
		return nil, err
	}
	if !known || !same || who.Status != registered {
		p.refused("sign_in", "password")
		return nil, accounts.ErrNotFound
	}
	return who, p.Accounts.ForgetFailures(ctx, triesPassword, tries)
}

// SignInWith signs in whoever the identity service has identified; an account is made if there is none. An existing
// account with the same address is not taken over: *DeniedError. So is somebody whose address the service has not
// checked: they get a mail first. With a level among Rules.Levels the identity is proofed by claim.
func (p *Portal) SignInWith(ctx context.Context, who *Identified) (*Session, error) {
	if who.Issuer == "" || who.Subject == "" {
		return nil, &DeniedError{"the identity service has not said who it is"}
	}
	var s *Session
	err := p.tx(ctx, func(ctx context.Context, tx *step) error {
		known, err := person(ctx, tx, bySubject, who.Issuer, who.Subject)
		if errors.Is(err, accounts.ErrNotFound) {
			known, err = p.makeIdentified(ctx, tx, who)
		}
		if err != nil {
			return err
		}
		if known.Status == suspended {
			return &DeniedError{"the account is suspended"}
		}
		if known, err = p.changePerson(ctx, tx, known.ID, func(is *Person) error { return p.takeOver(ctx, tx, is, who) }); err != nil {
			return err
		}
		if known.Status == unverified {
			return p.askToConfirm(ctx, tx, known)
		}
		s, err = p.addSession(ctx, tx, known.ID, Full, who.AuthTime, time.Time{})
		return err
	})
	var denied *DeniedError
	if errors.As(err, &denied) {
		p.refused("sign_in", "service")
	}
	if err != nil {
		return nil, err
	}
	if p.Events.SignedIn != nil {
		p.Events.SignedIn(s.Person)
	}
	return s, nil
}

// makeIdentified makes the account of somebody who comes from the identity service for the first time.
func (p *Portal) makeIdentified(ctx context.Context, tx *step, who *Identified) (*Person, error) {
	email, err := addressOf("email", who.Email)
	if err != nil {
		return nil, &DeniedError{"the identity service has given no e-mail address that can be used"}
	}
	if _, err := person(ctx, tx, byEmail, email); !errors.Is(err, accounts.ErrNotFound) {
		if err == nil {
			err = &DeniedError{"there is an account with this address, which signs in another way"}
		}
		return nil, err
	}
	name, err := nameOf("name", who.Name)
	if err != nil {
		name, _, _ = strings.Cut(email, "@")
	}
	now := p.Now().UTC()
	is := &Person{
		ID: database.Random(), Email: email, Name: name, Status: unverified, Language: letterLanguages[0],
		Issuer: who.Issuer, Subject: who.Subject, Created: now, Seen: now,
	}
	if who.EmailVerified {
		is.Status, is.Verified = registered, now
	}
	added, err := p.writePerson(ctx, tx, is)
	if err != nil {
		return nil, err
	}
	if !added { // the same person at the same time, or somebody with the same address
		return nil, &DeniedError{"the account has just been made: sign in once more"}
	}
	if who.EmailVerified {
		err = p.keep(ctx, tx, &Event{Actor: is.ID, Action: didSignUp, Subject: is.ID})
	}
	return is, err
}

// takeOver brings a person in line with what the identity service says now. Names are its own; the one of who is proofed
// comes with the proof.
func (p *Portal) takeOver(ctx context.Context, tx *step, is *Person, who *Identified) error {
	now := p.Now().UTC()
	is.Seen = now
	if is.Status == unverified && who.EmailVerified && strings.EqualFold(who.Email, is.Email) {
		if _, err := person(ctx, tx, byEmail, is.Email); !errors.Is(err, accounts.ErrNotFound) {
			if err == nil {
				err = &DeniedError{"there is an account with this address, which signs in another way"}
			}
			return err
		}
		is.Status, is.Verified = registered, now
		if err := p.keep(ctx, tx, &Event{Actor: is.ID, Action: didSignUp, Subject: is.ID}); err != nil {
			return err
		}
	}
	if p.Rules.Proof == "review" || who.Level == "" || !slices.Contains(p.Rules.Levels, who.Level) {
		return nil
	}
	at := who.AuthTime
	if at.IsZero() {
		at = now
	}
	if name, err := nameOf("name", who.Name); err == nil {
		is.Name = name
	}
	passed := is.Proof.State == ProofPassed && is.Proof.Method == "claim" && is.Proof.Level == who.Level && is.Proof.Issuer == who.Issuer
	is.Proof = Proof{State: ProofPassed, Method: "claim", Level: who.Level, Issuer: who.Issuer, Reference: who.Reference, At: at.UTC()}
	if passed {
		return nil
	}
	return p.keep(ctx, tx, &Event{Actor: actorSystem, Action: didProof, Subject: is.ID})
}

// askToConfirm sends a mail to somebody whose address is not confirmed. What it returns keeps it.
func (p *Portal) askToConfirm(ctx context.Context, tx *step, who *Person) error {
	token := database.NewSecret()
	many, err := p.addToken(ctx, tx, token, tokenConfirm, who.ID, forAccount, who.Email, &asked{Email: who.Email})
	if err != nil {
		return err
	}
	if !many {
		if err := p.mail(ctx, tx, mailConfirm, who.Email, who.Language, map[string]string{"Link": p.link(pageConfirm, "token", token)}); err != nil {
			return err
		}
	}
	return database.OutcomeError{Err: &DeniedError{"the address must be confirmed first: a mail was sent to it"}}
}

// Reauthenticate notes that the person has just proved again who they are, with password and factor. The session that it returns
// replaces the one that it was given. People of the identity service are sent there again, and come by SignInWith. It
// fails as SignIn and Factor do.
func (p *Portal) Reauthenticate(ctx context.Context, session, password, code string) (*Session, error) {
	s, err := p.Session(ctx, session)
	if err != nil {
		return nil, err
	}
	if s.Kind != Full {
		return nil, ErrSession
	}
	who, err := person(ctx, p.db, byID, s.Person)
	if err != nil {
		return nil, err
	}
	if who.Issuer != "" {
		return nil, &DeniedError{"the person signs in with the identity service"}
	}
	if _, err := p.checkPassword(ctx, who.Email, password); err != nil {
		return nil, err
	}
	return p.passFactor(ctx, s, who, code)
}

// addSession begins a session. With an end of zero it lasts as long as sessions of its kind do.
func (p *Portal) addSession(ctx context.Context, tx *step, person string, kind SessionKind, fresh, end time.Time) (*Session, error) {
	now := p.Now().UTC()
	if end.IsZero() {
		end = now.Add(sessionFor)
		if kind != Full {
			end = now.Add(halfFor)
		}
	}
	s := &Session{ID: database.NewSecret(), Person: person, Kind: kind, Fresh: fresh.UTC(), Created: now, Expires: end}
	if fresh.IsZero() {
		s.Fresh = time.Time{}
	}
	_, err := database.Change(ctx, tx.Tx, `INSERT INTO portal_sessions (id_sum, person, kind, fresh, seen, created, expires) VALUES ($1, $2, $3, $4, $5, $5, $6)`,
		database.Sum(s.ID), person, string(kind), database.Millis(fresh), database.Millis(now), database.Millis(end))
	return s, err
}

// endSessions ends all sessions of a person, but the one with an id.
func endSessions(ctx context.Context, tx *step, person, but string) error {
	_, err := database.Change(ctx, tx.Tx, `DELETE FROM portal_sessions WHERE person = $1 AND id_sum <> $2`, person, database.Sum(but))
	return err
}

// takeSession ends a session so that another replaces it. It fails with ErrSession if that has happened before.
func (p *Portal) takeSession(ctx context.Context, tx *step, s *Session) error {
	err := database.ChangeOne(ctx, tx.Tx, `DELETE FROM portal_sessions WHERE id_sum = $1 AND kind = $2 AND expires > $3`,
		database.Sum(s.ID), string(s.Kind), database.Millis(p.Now()))
	if errors.Is(err, accounts.ErrNotFound) {
		return ErrSession
	}
	return err
}

// Session finds a session that was seen within 30 minutes. It fails with ErrSession.
func (p *Portal) Session(ctx context.Context, id string) (*Session, error) {
	s := &Session{ID: id}
	var kind string
	var fresh, seen, created, expires int64
	err := database.Fault(p.db.QueryRowContext(ctx, `SELECT person, kind, fresh, seen, created, expires FROM portal_sessions WHERE id_sum = $1`, database.Sum(id)).
		Scan(&s.Person, &kind, &fresh, &seen, &created, &expires))
	if errors.Is(err, accounts.ErrNotFound) {
		return nil, ErrSession
	}
	if err != nil {
		return nil, err
	}
	now := database.Millis(p.Now())
	if expires <= now || now-seen > sessionIdle.Milliseconds() {
		return nil, ErrSession
	}
	if now-seen >= time.Minute.Milliseconds() {
		// If it was ended meanwhile this changes nothing, and nobody is signed in.
		n, err := p.db.Change(ctx, `UPDATE portal_sessions SET seen = $1 WHERE id_sum = $2 AND expires > $1`, now, database.Sum(id))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, ErrSession
		}
	}
	s.Kind = SessionKind(kind)
	s.Fresh, s.Created, s.Expires = database.Instant(fresh), database.Instant(created), database.Instant(expires)
	return s, nil
}

// SignOut ends a session; an unknown one is no error.
func (p *Portal) SignOut(ctx context.Context, session string) error {
	_, err := p.db.Change(ctx, `DELETE FROM portal_sessions WHERE id_sum = $1`, database.Sum(session))
	return err
}

// EndSessions ends all other sessions of the person.
func (a *Actor) EndSessions(ctx context.Context) error {
	if a.Person == nil {
		return &DeniedError{"an operator has no account here"}
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error { return endSessions(ctx, tx, a.Person.ID, a.Session.ID) })
}

// OpenSession is a browser in which a person has signed in.
type OpenSession struct {
	Current     bool // the one of the actor
	Begun, Seen time.Time
}

// OpenSessions lists the sessions of the actor that are not over, the newest first.
func (a *Actor) OpenSessions(ctx context.Context) ([]OpenSession, error) {
	if a.Person == nil {
		return nil, &DeniedError{"an operator has no account here"}
	}
	own, now := database.Sum(a.Session.ID), a.Now()
	return database.List(ctx, a.db, func(row database.Row) (s OpenSession, err error) {
		var id string
		var begun, seen int64
		err = row.Scan(&id, &begun, &seen)
		s.Current, s.Begun, s.Seen = id == own, database.Instant(begun), database.Instant(seen)
		return s, err
	}, `SELECT id_sum, created, seen FROM portal_sessions WHERE person = $1 AND kind = 'full' AND expires > $2 AND seen >= $3 ORDER BY created DESC, id_sum`,
		a.Person.ID, database.Millis(now), database.Millis(now.Add(-sessionIdle)))
}

// Actor finds who acts. Session must be Full; it fails with ErrSession.
func (p *Portal) Actor(ctx context.Context, session string) (*Actor, error) {
	s, err := p.Session(ctx, session)
	if err != nil {
		return nil, err
	}
	if s.Kind != Full {
		return nil, ErrSession
	}
	who, err := person(ctx, p.db, byID, s.Person)
	if err != nil && !errors.Is(err, accounts.ErrNotFound) {
		return nil, err
	}
	if err != nil || who.Status != registered {
		return nil, ErrSession
	}
	members, err := database.List(ctx, p.db, readMembership, membershipQuery+` WHERE m.person = $1 ORDER BY o.name, o.id`, who.ID)
	if err != nil {
		return nil, err
	}
	return &Actor{Portal: p, Person: who, Session: s, Members: members}, nil
}

// Operator acts for somebody at the command line, with all rights of an administrator. name is that of their account
// on the machine: the notes of events, which staff read, have it.
func (p *Portal) Operator(name string) *Actor { return &Actor{Portal: p, operator: name} }
