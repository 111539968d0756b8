package portal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pquerna/otp/hotp"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
)

// noteMost is the most that somebody may write about a decision.
const noteMost = 2000

// People lists people for reviewers, newest first; query is part of a name or address.
func (a *Actor) People(ctx context.Context, query string, limit int) ([]*Person, error) {
	if err := a.needStaff(Reviewer); err != nil {
		return nil, err
	}
	return database.List(ctx, a.db, readPerson, personQuery+` WHERE LOWER(p.name) LIKE $1 ESCAPE '!' OR p.email LIKE $1 ESCAPE '!'
		ORDER BY p.created DESC, p.id LIMIT $2`, contains(query), most(limit))
}

// contains is a pattern of LIKE, with ! as escape, for what has a text in it, in lower case.
func contains(text string) string {
	return "%" + strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(strings.ToLower(strings.TrimSpace(text))) + "%"
}

// PersonOf finds a person for staff.
func (a *Actor) PersonOf(ctx context.Context, id string) (*Person, error) {
	if err := a.needStaff(Support); err != nil {
		return nil, err
	}
	return person(ctx, a.db, byID, id)
}

// SetStaff gives or takes a role of staff. Administrators do, and nobody changes their own.
func (a *Actor) SetStaff(ctx context.Context, person string, role StaffRole) error {
	if err := a.needStaff(Administrator); err != nil {
		return err
	}
	if !slices.Contains(staffRoles, role) {
		return &InputError{"role", codeWrong}
	}
	if person == a.id() {
		return &DeniedError{"nobody changes their own role"}
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		var before StaffRole
		who, err := a.changePerson(ctx, tx, person, func(who *Person) error {
			if role != NoStaff && who.Status != registered {
				return &DeniedError{"the account is not in use"}
			}
			before, who.Staff = who.Staff, role
			return nil
		})
		if err != nil || before == role {
			return err
		}
		if err := a.keep(ctx, tx, &Event{Actor: a.id(), Action: didSetStaff, Subject: person, Note: string(role)}); err != nil {
			return err
		}
		return a.mail(ctx, tx, "staff_role", who.Email, who.Language, map[string]string{"Role": string(role), "Link": a.link(pageAccount)})
	})
}

// SuspendPerson ends all sessions of a person, who cannot sign in any more; or lets them in again. Administrators do,
// and nobody to themselves.
func (a *Actor) SuspendPerson(ctx context.Context, person, reason string, suspend bool) error {
	if err := a.needStaff(Administrator); err != nil {
		return err
	}
	if person == a.id() {
		return &DeniedError{"nobody suspends themselves"}
	}
	reason, err := reasonOf("reason", reason, noteMost)
	if err != nil {
		return err
	}
	did, letter := didSuspend, "person_suspended"
	if !suspend {
		did, letter = didReadmit, "person_readmitted"
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		who, err := a.changePerson(ctx, tx, person, func(who *Person) error {
			switch {
			case suspend == (who.Status == suspended):
				return accounts.ErrUsed
			case suspend:
				who.Status = suspended
			case who.Verified.IsZero():
				who.Status = unverified
			default:
				who.Status = registered
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := endSessions(ctx, tx, person, ""); err != nil {
			return err
		}
		if _, err := database.Change(ctx, tx.Tx, `UPDATE portal_tokens SET kind = 'none' WHERE person = $1`, person); err != nil {
			return err
		}
		if err := a.keep(ctx, tx, &Event{Actor: a.id(), Action: did, Subject: person, Reason: reason}); err != nil {
			return err
		}
		return a.mail(ctx, tx, letter, who.Email, who.Language, map[string]string{"Reason": reason})
	})
}

// EndSessionsOf ends all sessions of a person, who can sign in again: a device was lost, or left open. Administrators do.
func (a *Actor) EndSessionsOf(ctx context.Context, person string) error {
	if err := a.needStaff(Administrator); err != nil {
		return err
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		if _, err := a.changePerson(ctx, tx, person, func(*Person) error { return nil }); err != nil {
			return err
		}
		if err := endSessions(ctx, tx, person, ""); err != nil {
			return err
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didEndSessions, Subject: person})
	})
}

// DecideProof is a reviewer's word that the identity is proofed, or not: with the issuer of the evidence and its
// date, and a note that the person reads. Nobody decides about themselves.
func (a *Actor) DecideProof(ctx context.Context, person string, passed bool, level, issuer string, at time.Time, note string) error {
	if err := a.needStaff(Reviewer); err != nil {
		return err
	}
	if a.Rules.Proof != "review" && a.Rules.Proof != "either" {
		return &DeniedError{"the agency does not proof identities by itself"}
	}
	if person == a.id() {
		return &DeniedError{"nobody decides about themselves"}
	}
	var err error
	if note != "" || !passed {
		if note, err = reasonOf("note", note, noteMost); err != nil {
			return err
		}
	}
	if passed {
		if level, err = nameOf("level", level); err != nil {
			return err
		}
		if issuer, err = nameOf("issuer", issuer); err != nil {
			return err
		}
		if at.IsZero() || at.After(a.Now()) {
			return &InputError{"at", codeWrong}
		}
	}
	return a.tx(ctx, func(ctx context.Context, tx *step) error {
		who, err := a.changePerson(ctx, tx, person, func(who *Person) error {
			who.Proof = Proof{State: ProofPassed, Method: "review", Level: level, Issuer: issuer, At: at.UTC(), By: a.id(), Note: note}
			if !passed {
				who.Proof = Proof{State: ProofFailed, Method: "review", At: a.Now().UTC(), By: a.id(), Note: note}
			}
			return nil
		})
		if err != nil {
			return err
		}
		did, letter := didProof, "proof_passed"
		if !passed {
			did, letter = didRefuseProof, "proof_failed"
		}
		if err := a.keep(ctx, tx, &Event{Actor: a.id(), Action: did, Subject: person, Reason: note}); err != nil {
			return err
		}
		return a.mail(ctx, tx, letter, who.Email, who.Language, map[string]string{"Note": note, "Link": a.link(pageAccount)})
	})
}

// AddPerson makes an account without sign-up, for the command line: verified, with a password and, if secret is not "", this
// TOTP key in base32. It fails with accounts.ErrExists if there is one with this address: its role and what opens it stay what
// they are. Administrators do.
func (a *Actor) AddPerson(ctx context.Context, p *Person, password, secret string) (*Person, error) {
	return a.putPerson(ctx, p, password, secret, false)
}

// PutPerson is AddPerson, but an account that is there is changed: its name, language and role, and what else is given. It is for
// accounts that are made anew each time, as those of the sandbox. Nobody changes their own role.
func (a *Actor) PutPerson(ctx context.Context, p *Person, password, secret string) (*Person, error) {
	return a.putPerson(ctx, p, password, secret, true)
}

func (a *Actor) putPerson(ctx context.Context, p *Person, password, secret string, replace bool) (*Person, error) {
	if err := a.needStaff(Administrator); err != nil {
		return nil, err
	}
	email, err := addressOf("email", p.Email)
	if err != nil {
		return nil, err
	}
	name, err := nameOf("name", p.Name)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(staffRoles, p.Staff) {
		return nil, &InputError{"role", codeWrong}
	}
	kept := ""
	if password != "" {
		if password, err = passwordOf(password, email, a.Agency); err != nil {
			return nil, err
		}
		if kept, err = accounts.HashPassword(ctx, password); err != nil {
			return nil, err
		}
	}
	if secret != "" {
		if _, err := hotp.GenerateCode(secret, 0); err != nil {
			return nil, &InputError{"secret", codeWrong}
		}
	}
	now := a.Now().UTC()
	var who *Person
	err = a.tx(ctx, func(ctx context.Context, tx *step) error {
		is, err := person(ctx, tx, byEmail, email)
		if errors.Is(err, accounts.ErrNotFound) {
			is = &Person{ID: database.Random(), Email: email, Verified: now, Name: name, Status: registered, Created: now, Seen: now}
			var added bool
			if added, err = a.writePerson(ctx, tx, is); err == nil && !added {
				err = accounts.ErrExists // at the same time
			}
		} else if err == nil && !replace {
			err = accounts.ErrExists
		}
		if err != nil {
			return err
		}
		who, err = a.changePerson(ctx, tx, is.ID, func(is *Person) error {
			if is.ID == a.id() && is.Staff != p.Staff {
				return &DeniedError{"nobody changes their own role"}
			}
			if is.Issuer != "" && (kept != "" || secret != "") {
				return &DeniedError{"the person signs in with the identity service"}
			}
			is.Name, is.Staff, is.Language = name, p.Staff, languageOf(p.Language)
			if p.Phone != "" {
				is.Phone = p.Phone
			}
			if p.Country != "" {
				is.Country = p.Country
			}
			return nil
		})
		if err != nil {
			return err
		}
		if kept != "" {
			if err := a.setPassword(ctx, tx, who.ID, kept); err != nil {
				return err
			}
		}
		if secret != "" {
			if err := a.setFactor(ctx, tx, who.ID, secret, 0); err != nil {
				return err
			}
			who.Factor = true
		}
		if kept != "" || secret != "" {
			if err := endSessions(ctx, tx, who.ID, ""); err != nil {
				return err
			}
		}
		return a.keep(ctx, tx, &Event{Actor: a.id(), Action: didAddPerson, Subject: who.ID, Note: string(p.Staff)})
	})
	if err != nil {
		return nil, err
	}
	return who, nil
}
