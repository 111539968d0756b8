package accounts

import (
	"context"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// faults counts what is asked of a database, and makes one of it fail.
type faults struct {
	driver.Connector
	calls  atomic.Int64
	failAt atomic.Int64 // the call that fails; 0 is none
	late   atomic.Bool  // a commit fails after it was carried out, as when the answer of a server is lost
}

var errFault = errors.New("a fault of the test")

func (f *faults) fails() bool { return f.calls.Add(1) == f.failAt.Load() }

func (f *faults) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := f.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{c, f}, nil
}

type faultyConn struct {
	driver.Conn
	f *faults
}

func (c *faultyConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if c.f.fails() {
		return nil, errFault
	}
	tx, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	return &faultyTx{tx, c.f}, err
}

func (c *faultyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *faultyConn) ExecContext(ctx context.Context, query string, values []driver.NamedValue) (driver.Result, error) {
	if c.f.fails() {
		return nil, errFault
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, values)
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, values []driver.NamedValue) (driver.Rows, error) {
	if c.f.fails() {
		return nil, errFault
	}
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, values)
}

func (c *faultyConn) CheckNamedValue(v *driver.NamedValue) error {
	if k, is := c.Conn.(driver.NamedValueChecker); is {
		return k.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type faultyTx struct {
	driver.Tx
	f *faults
}

func (t *faultyTx) Commit() error {
	if !t.f.fails() {
		return t.Tx.Commit()
	}
	if t.f.late.Load() {
		if err := t.Tx.Commit(); err != nil {
			return err
		}
	} else if err := t.Tx.Rollback(); err != nil {
		return err
	}
	return errFault
}

// TestEachStatementFails makes every statement of the transactions that must happen once or not at all fail, one
// after the other. What failed has changed nothing, and can be done again.
func TestEachStatementFails(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		f := &faults{}
		clock := newClock()
		a, err := open(ctx, address, &Options{Seal: testSeal, Now: clock.now}, func(c driver.Connector) driver.Connector {
			f.Connector = c
			return f
		})
		ok(t, err)
		defer a.Close()
		w := &world{Accounts: a, clock: clock, t: t}
		ok(t, w.AddClient(ctx, &Client{ID: "app", Status: Active}))
		w.user, err = w.EnsureUser(ctx, "", "u")
		ok(t, err)

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
			"remove a link": func() func() error {
				w.redeemed()
				ok(t, w.AddLink(ctx, &Link{User: w.user.ID, Patient: "p1", Role: "self"}))
				return func() error { return w.RemoveLink(ctx, w.user.ID, "p1") }
			},
		} {
			call := prepare()
			before := state()
			at := int64(1)
			for ; ; at++ {
				f.failAt.Store(f.calls.Load() + at)
				err := call()
				f.failAt.Store(0)
				if err == nil {
					break
				}
				if !errors.Is(err, errFault) {
					t.Fatalf("%s, statement %d: %v", name, at, err)
				}
				if state() != before {
					t.Fatalf("%s failed at statement %d, and has changed something", name, at)
				}
			}
			if at < 4 { // begin, a statement, commit
				t.Errorf("%s has %d statements to fail", name, at-1)
			}
			if state() == before {
				t.Errorf("%s has changed nothing", name)
			}
		}
	})
}

// TestLostAnswerOfACommit is what an app meets after its code was used, and nobody could tell it so.
func TestLostAnswerOfACommit(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		f := &faults{}
		clock := newClock()
		a, err := open(ctx, address, &Options{Seal: testSeal, Now: clock.now}, func(c driver.Connector) driver.Connector {
			f.Connector = c
			return f
		})
		ok(t, err)
		defer a.Close()
		w := &world{Accounts: a, clock: clock, t: t}
		ok(t, w.AddClient(ctx, &Client{ID: "app", Status: Active}))
		w.user, err = w.EnsureUser(ctx, "", "u")
		ok(t, err)

		f.late.Store(true)
		_, k := w.redeemed()
		next := w.tokens()
		from := f.calls.Load()
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		statements := f.calls.Load() - from
		g, k := w.redeemed()
		f.failAt.Store(f.calls.Load() + statements) // the commit
		if _, err = w.Rotate(ctx, k.Refresh, next, time.Minute); !errors.Is(err, errFault) {
			t.Fatalf("got %v", err)
		}
		got, err := w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		same(t, got, next)
		same(t, w.revoked(g.ID), false)
	})
}

func TestLastUseThatCouldNotBeKept(t *testing.T) {
	f := &faults{}
	a, err := open(ctx, "sqlite:"+filepath.Join(t.TempDir(), "a.db"), &Options{}, func(c driver.Connector) driver.Connector {
		f.Connector = c
		return f
	})
	ok(t, err)
	w := &world{Accounts: a, clock: newClock(), t: t}
	w.clock.at = time.Now()
	ok(t, w.AddClient(ctx, &Client{ID: "app", Status: Active}))
	w.user, err = w.EnsureUser(ctx, "", "u")
	ok(t, err)
	_, k := w.redeemed()
	same(t, w.opens(k.Access), true)
	f.failAt.Store(f.calls.Load() + 1)
	if err := a.keepUsed(ctx); !errors.Is(err, errFault) {
		t.Fatalf("got %v", err)
	}
	ok(t, a.keepUsed(ctx)) // it was not forgotten
	same(t, count(t, a, `SELECT COUNT(*) FROM grants WHERE last_used > 0`), 1)

	_, k = w.redeemed()
	same(t, w.opens(k.Access), true)
	f.failAt.Store(f.calls.Load() + 1)
	if err := a.Close(); !errors.Is(err, errFault) {
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
