package databasetest

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"testing"
)

// ErrFault is what a statement fails with that was made to fail.
var ErrFault = errors.New("a fault of the test")

// Faults counts what is asked of a database, and makes one of it fail: a statement, or the begin or commit of a
// transaction. Its Wrap is for database.Options. It is safe for concurrent use.
type Faults struct {
	Calls  atomic.Int64 // so many were asked
	FailAt atomic.Int64 // the call that fails, counted as Calls; 0 is none
	Late   atomic.Bool  // a commit fails after it was carried out, as when the answer of a server is lost
}

// Wrap makes the connections of a connector fail as f says.
func (f *Faults) Wrap(c driver.Connector) driver.Connector { return &connector{c, f} }

// Next makes the nth call from now fail; 1 is the next one.
func (f *Faults) Next(n int64) { f.FailAt.Store(f.Calls.Load() + n) }

// EachFails makes every statement of a call fail, one after the other, until the call succeeds. What fails must have
// changed nothing of the state, and can be done again. It returns how many statements could fail. Nothing else may
// use the database meanwhile.
func (f *Faults) EachFails(t testing.TB, name string, state func() string, call func() error) int64 {
	t.Helper()
	before := state()
	for at := int64(1); ; at++ {
		f.Next(at)
		err := call()
		f.FailAt.Store(0)
		if err == nil {
			if state() == before {
				t.Errorf("%s has changed nothing", name)
			}
			return at - 1
		}
		if !errors.Is(err, ErrFault) {
			t.Fatalf("%s, statement %d: %v", name, at, err)
		}
		if state() != before {
			t.Fatalf("%s failed at statement %d, and has changed something", name, at)
		}
	}
}

func (f *Faults) fails() bool { return f.Calls.Add(1) == f.FailAt.Load() }

type connector struct {
	driver.Connector
	f *Faults
}

func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{inner, c.f}, nil
}

type conn struct {
	driver.Conn
	f *Faults
}

func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if c.f.fails() {
		return nil, ErrFault
	}
	inner, err := c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
	return &tx{inner, c.f}, err
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	return c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, query)
}

func (c *conn) ExecContext(ctx context.Context, query string, values []driver.NamedValue) (driver.Result, error) {
	if c.f.fails() {
		return nil, ErrFault
	}
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, values)
}

func (c *conn) QueryContext(ctx context.Context, query string, values []driver.NamedValue) (driver.Rows, error) {
	if c.f.fails() {
		return nil, ErrFault
	}
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, values)
}

func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if k, is := c.Conn.(driver.NamedValueChecker); is {
		return k.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

type tx struct {
	driver.Tx
	f *Faults
}

func (t *tx) Commit() error {
	if !t.f.fails() {
		return t.Tx.Commit()
	}
	if t.f.Late.Load() {
		if err := t.Tx.Commit(); err != nil {
			return err
		}
	} else if err := t.Tx.Rollback(); err != nil {
		return err
	}
	return ErrFault
}
