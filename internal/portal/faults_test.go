package portal

import (
	"context"
	"testing"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/database/databasetest"
)

// faulty opens the database of the portal once more, so that its statements are counted, and can fail.
func (w *world) faulty(address string) *databasetest.Faults {
	w.t.Helper()
	f := &databasetest.Faults{}
	db, err := database.Open(address, &database.Options{Seal: testSeal, Wrap: f.Wrap})
	ok(w.t, err)
	w.t.Cleanup(func() { ok(w.t, db.Close()) })
	w.db = db
	return f
}

// TestEachStatementFails makes every statement of steps that must happen once or not at all fail, one after the other.
// What failed has changed nothing, and can be done again.
func TestEachStatementFails(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, address string) {
		w := newWorld(t, address, nil)
		f := w.faulty(address)
		owner := w.actor("Olga Owner", NoStaff)
		org, owner := w.organisation(owner, "Owners")
		admin := w.actor("Ada Admin", Administrator)
		w.signUp("taken@dev.example", "Taken")
		n := 0
		fresh := func() *Actor { // somebody else each time
			n++
			return w.actor("P"+string(rune('a'+n))+" Person", NoStaff)
		}
		for _, c := range []struct {
			name    string
			prepare func() func() error
		}{
			{"sign up", func() func() error {
				return func() error {
					return w.SignUp(ctx, &SignUp{Email: "new@dev.example", Name: "New", Password: password})
				}
			}},
			{"sign up again", func() func() error {
				return func() error {
					return w.SignUp(ctx, &SignUp{Email: "taken@dev.example", Name: "New", Password: password})
				}
			}},
			{"confirm", func() func() error {
				w.mails()
				ok(t, w.SignUp(ctx, &SignUp{Email: "newer@dev.example", Name: "Newer", Password: password}))
				token := tokenIn(t, w.mailTo("newer@dev.example"))
				return func() error {
					_, err := w.ConfirmEmail(ctx, token)
					return err
				}
			}},
			{"forgot", func() func() error { return func() error { return w.ForgotPassword(ctx, "taken@dev.example") } }},
			{"reset", func() func() error {
				w.mails()
				ok(t, w.ForgotPassword(ctx, "taken@dev.example"))
				token := tokenIn(t, w.mailTo("taken@dev.example"))
				return func() error { return w.ResetPassword(ctx, token, password) }
			}},
			{"second factor", func() func() error {
				s, err := w.SignIn(ctx, "taken@dev.example", password)
				ok(t, err)
				_, key, _, err := w.NewFactor(ctx, s.ID)
				ok(t, err)
				return func() error {
					_, _, err := w.EnrolFactor(ctx, s.ID, w.code(key))
					ok(t, w.Accounts.ForgetFailures(ctx, triesFactor, s.Person)) // they are counted in a step of their own
					return err
				}
			}},
			{"sign in with a service", func() func() error {
				return func() error {
					_, err := w.SignInWith(ctx, &Identified{
						Issuer: "https://idp.example", Subject: "1", Email: "idp@dev.example", EmailVerified: true, Name: "I", Level: "IAL2",
					})
					return err
				}
			}},
			{"add an organisation", func() func() error {
				a := fresh()
				return func() error {
					_, err := a.AddOrganisation(ctx, &Organisation{Name: "New", Solo: true})
					return err
				}
			}},
			{"update an organisation", func() func() error {
				return func() error {
					o, err := owner.Organisation(ctx, org.ID)
					if err != nil {
						return err
					}
					o.Name = "Renamed"
					return owner.UpdateOrganisation(ctx, o)
				}
			}},
			{"invite", func() func() error {
				return func() error {
					_, err := owner.Invite(ctx, &Invitation{Org: org.ID, Email: "invited@dev.example", Family: "X", Role: Observer})
					return err
				}
			}},
			{"accept an invitation", func() func() error {
				a := fresh()
				w.mails()
				_, err := owner.Invite(ctx, &Invitation{Org: org.ID, Email: a.Person.Email, Family: "Person", Role: Developer})
				ok(t, err)
				token := tokenIn(t, w.mailTo(a.Person.Email))
				return func() error {
					_, err := a.AcceptInvitation(ctx, token)
					return err
				}
			}},
			{"role of a member", func() func() error {
				a := w.join(org.ID, fresh(), Developer)
				return func() error { return owner.SetOrgRole(ctx, org.ID, a.Person.ID, Owner) }
			}},
			{"remove a member", func() func() error {
				a := w.join(org.ID, fresh(), Developer)
				return func() error { return owner.RemoveMember(ctx, org.ID, a.Person.ID) }
			}},
			{"role of staff", func() func() error {
				a := fresh()
				return func() error { return admin.SetStaff(ctx, a.Person.ID, Reviewer) }
			}},
			{"suspend", func() func() error {
				a := fresh()
				return func() error { return admin.SuspendPerson(ctx, a.Person.ID, "a reason", true) }
			}},
			{"decide a proof", func() func() error {
				a := fresh()
				return func() error {
					return admin.DecideProof(ctx, a.Person.ID, true, "IAL2", "the agency", w.clock.now(), "")
				}
			}},
			{"add a person", func() func() error {
				return func() error {
					_, err := admin.AddPerson(ctx, &Person{Email: "added@dev.example", Name: "Added", Staff: Support}, password, "JBSWY3DPEHPK3PXP")
					return err
				}
			}},
			{"delete an account", func() func() error {
				a := fresh()
				_, a = w.organisation(a, "Short-lived")
				return func() error { return a.DeleteAccount(ctx) }
			}},
			{"file a ticket", func() func() error {
				return func() error {
					_, err := w.File(ctx, "support", supportAnswers(), "", "", "en", false)
					return err
				}
			}},
			{"answer a ticket", func() func() error {
				filed, err := w.File(ctx, "support", supportAnswers(), "", "", "en", false)
				ok(t, err)
				return func() error { return admin.Reply(ctx, filed.ID, 1, "An answer.", false) }
			}},
		} {
			call := c.prepare()
			before := len(w.did())
			tried := f.EachFails(t, c.name, w.stateOf, call)
			if tried < 4 { // begin, two statements, commit
				t.Errorf("%s has %d statements to fail", c.name, tried)
			}
			// Each event that is reported is one that is kept, once.
			w.mu.Lock()
			for _, e := range w.happened[before:] {
				kept, err := database.Column(ctx, w.db, `SELECT id FROM portal_events WHERE id = $1`, e.ID)
				if err != nil || len(kept) != 1 {
					t.Errorf("%s reports %s, which is not kept: %v", c.name, e.Action, err)
				}
			}
			w.mu.Unlock()
		}
	})
}

// stateOf is the database but for the count of failures, which goes on when a login fails.
func (w *world) stateOf() string { return withoutFailures(w.dump()) }

// TestMailOfAStepThatFails is a step that is rolled back after its mail was written: nobody gets it.
func TestMailOfAStepThatFails(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db", nil)
	err := w.tx(ctx, func(ctx context.Context, tx *step) error {
		ok(t, w.mail(ctx, tx, "ticket_filed", "ana@dev.example", "en", map[string]string{"Number": "S-1"}))
		ok(t, w.keep(ctx, tx, &Event{Actor: actorSystem, Action: didFile}))
		return accounts.ErrUsed
	})
	wants(t, err, accounts.ErrUsed)
	equal(t, len(w.mails()), 0)
	equal(t, len(w.did()), 0)

	// One that is committed although the caller is told an error is reported, and its mail is sent.
	err = w.tx(ctx, func(ctx context.Context, tx *step) error {
		ok(t, w.mail(ctx, tx, "ticket_filed", "ana@dev.example", "en", map[string]string{"Number": "S-1"}))
		ok(t, w.keep(ctx, tx, &Event{Actor: actorSystem, Action: didFile}))
		return database.OutcomeError{Err: accounts.ErrUsed}
	})
	wants(t, err, accounts.ErrUsed)
	w.mailTo("ana@dev.example")
	equal(t, w.did(), []string{didFile})
}
