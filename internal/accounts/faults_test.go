package accounts

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cpcds2fhir/internal/database/databasetest"
)

// openFaulty opens a database whose statements fail as f says.
func openFaulty(t testing.TB, address string, f *databasetest.Faults, o *Options) *Accounts {
	t.Helper()
	a, err := open(ctx, address, o, f.Wrap)
	ok(t, err)
	return a
}

// faultyWorld is a world with an app and a user, whose statements f can make fail.
func faultyWorld(t *testing.T, address string) (w *world, f *databasetest.Faults) {
	t.Helper()
	f = &databasetest.Faults{}
	clock := newClock()
	a := openFaulty(t, address, f, &Options{Seal: testSeal, Now: clock.now})
	t.Cleanup(func() { a.Close() })
	w = &world{Accounts: a, clock: clock, t: t}
	ok(t, w.AddClient(ctx, &Client{ID: "app", Status: Active}))
	var err error
	w.user, err = w.EnsureUser(ctx, "", "u")
	ok(t, err)
	return w, f
}

// TestEachStatementFails makes every statement of the transactions that must happen once or not at all fail, one
// after the other. What failed has changed nothing, and can be done again.
func TestEachStatementFails(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w, f := faultyWorld(t, address)

		state := func() string { return dump(t, w.Accounts) }
		// Each prepares a call and says what it is.
		for name, prepare := range map[string]func() func() error{
			"approve": func() func() error {
				w.redeemed() // it is wider than the next one
				id, g, c := w.request(), w.newGrant(), w.newCode()
				g.Scopes = nil
				return func() error { return w.Approve(ctx, id, g, c) }
			},
			"redeem": func() func() error {
				_, c := w.allow()
				k := w.tokens()
				return func() error { return w.Redeem(ctx, c.Secret, k) }
			},
			"rotate": func() func() error {
				_, k := w.redeemed()
				next := w.tokens()
				return func() error {
					_, err := w.Rotate(ctx, k.Refresh, next, time.Minute)
					return err
				}
			},
			"reuse of a code": func() func() error {
				_, c := w.allow()
				ok(t, w.Redeem(ctx, c.Secret, w.tokens()))
				return func() error {
					err := w.Redeem(ctx, c.Secret, w.tokens())
					if err == ErrReused {
						return nil
					}
					return err
				}
			},
			"reuse of a refresh token": func() func() error {
				_, k := w.redeemed()
				_, err := w.Rotate(ctx, k.Refresh, w.tokens(), 0)
				ok(t, err)
				return func() error {
					_, err := w.Rotate(ctx, k.Refresh, w.tokens(), 0)
					if err == ErrReused {
						return nil
					}
					return err
				}
			},
			"revoke": func() func() error {
				g, _ := w.redeemed()
				return func() error { return w.RevokeGrant(ctx, g.ID) }
			},
			"add a secret": func() func() error {
				ok(t, w.AddSecret(ctx, "app", secret(), time.Time{}))
				return func() error { return w.AddSecret(ctx, "app", secret(), w.now().Add(time.Hour)) }
			},
			"end a secret": func() func() error {
				ok(t, w.AddSecret(ctx, "app", secret(), time.Time{}))
				all := w.secretsOf("app")
				return func() error { return w.EndSecret(ctx, "app", all[0].ID, false) }
			},
			"log requests": func() func() error {
				batch := make([]ClientRequest, 2*logPiece)
				for i := range batch {
					batch[i].Client = "app"
				}
				return func() error { return w.LogRequests(ctx, batch) }
			},
			"remove a link": func() func() error {
				w.redeemed()
				ok(t, w.AddLink(ctx, &Link{User: w.user.ID, Patient: "p1", Role: "self"}))
				return func() error { return w.RemoveLink(ctx, w.user.ID, "p1") }
			},
		} {
			if n := f.EachFails(t, name, state, prepare()); n < 3 { // begin, a statement, commit
				t.Errorf("%s has %d statements to fail", name, n)
			}
		}
	})
}

// TestLostAnswerOfACommit is what an app meets after its code was used, and nobody could tell it so.
func TestLostAnswerOfACommit(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w, f := faultyWorld(t, address)

		f.Late.Store(true)
		_, k := w.redeemed()
		next := w.tokens()
		from := f.Calls.Load()
		_, err := w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		statements := f.Calls.Load() - from
		g, k := w.redeemed()
		f.Next(statements) // the commit
		if _, err = w.Rotate(ctx, k.Refresh, next, time.Minute); !errors.Is(err, databasetest.ErrFault) {
			t.Fatalf("got %v", err)
		}
		got, err := w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		same(t, got, next)
		same(t, w.revoked(g.ID), false)
	})
}

func TestLastUseThatCouldNotBeKept(t *testing.T) {
	f := &databasetest.Faults{}
	a := openFaulty(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db"), f, &Options{})
	w := &world{Accounts: a, clock: newClock(), t: t}
	w.clock.at = time.Now()
	ok(t, w.AddClient(ctx, &Client{ID: "app", Status: Active}))
	u, err := w.EnsureUser(ctx, "", "u")
	ok(t, err)
	w.user = u
	_, k := w.redeemed()
	same(t, w.opens(k.Access), true)
	f.Next(1)
	if err := a.keepUsed(ctx); !errors.Is(err, databasetest.ErrFault) {
		t.Fatalf("got %v", err)
	}
	ok(t, a.keepUsed(ctx)) // it was not forgotten
	same(t, count(t, a, `SELECT COUNT(*) FROM grants WHERE last_used > 0`), 1)

	_, k = w.redeemed()
	same(t, w.opens(k.Access), true)
	f.Next(1)
	if err := a.Close(); !errors.Is(err, databasetest.ErrFault) {
		t.Errorf("Close says nothing of what it has not kept: %v", err)
	}
}

func TestFilesAreTheOwners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	ok(t, os.WriteFile(path, nil, 0o644))
	w := newWorld(t, "sqlite:"+path)
	w.redeemed()
	for _, end := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + end)
		ok(t, err)
		same(t, info.Mode().Perm(), os.FileMode(0o600))
	}
}
