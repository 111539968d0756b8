package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// OutcomeError is what a caller of Tx is told although the transaction is committed. A function that runs in a
// transaction returns it; Tx returns Err.
type OutcomeError struct{ Err error }

func (e OutcomeError) Error() string { return e.Err.Error() }

// Unwrap makes errors.Is see what the caller will be told.
func (e OutcomeError) Unwrap() error { return e.Err }

// Tx runs f in a transaction, which is committed if f returns nil or an OutcomeError, and once more if others were in
// its way (a deadlock, a locked file). So f may run several times: it must begin anew each time, and change nothing
// but the database. Once begun, it ends whether the caller still waits or not. What f returns is returned as it is;
// only errors of a driver get a prefix. All that f does must be done by way of the transaction that it is given: a
// second Tx in f would wait for the first in SQLite.
func (d *DB) Tx(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return described(err)
	}
	if d.writer != nil { // writers of this process queue up here, in order: SQLite lets one write, and makes others poll
		select {
		case d.writer <- struct{}{}:
			defer func() { <-d.writer }()
		case <-ctx.Done():
			return described(ctx.Err())
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txWait)
	defer cancel()
	for wait := 2 * time.Millisecond; ; wait *= 2 {
		err := d.once(ctx, f)
		var outcome OutcomeError
		switch {
		case errors.As(err, &outcome):
			return outcome.Err
		case err == nil || !again(err) || wait > time.Second:
			return described(err)
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return described(err)
		}
	}
}

func (d *DB) once(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	options := &sql.TxOptions{}
	if d.writer == nil {
		options.Isolation = sql.LevelReadCommitted // whatever the server's default: an UPDATE that waited looks again
	}
	tx, err := d.sql.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and before it the first error counts
	told := f(ctx, tx)
	var outcome OutcomeError
	if told != nil && !errors.As(told, &outcome) {
		return told
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return told
}

// again reports whether a transaction that failed so has changed nothing and may succeed when it is repeated.
func again(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "40P01" // serialization_failure, deadlock_detected
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code()&0xff == sqlitelib.SQLITE_BUSY || lite.Code()&0xff == sqlitelib.SQLITE_LOCKED
	}
	return false
}

// described says of an error that comes from a driver, or of a context that has ended, that it is about the
// database. Other errors, those of callers among them, are left as they are.
func described(err error) error {
	switch err.(type) { //nolint:errorlint // what is wrapped has said what it is about
	case *pgconn.PgError, *pgconn.PrepareError, *pgconn.ConnectError, *sqlite.Error,
		interface{ SafeToRetry() bool }: // those of a connection of PostgreSQL
		return fmt.Errorf("database: %w", err)
	}
	switch err {
	case context.Canceled, context.DeadlineExceeded:
		return fmt.Errorf("database: %w", err)
	}
	return err
}

// Change runs one statement in a transaction of somebody, and says how many rows it has changed.
func Change(ctx context.Context, tx *sql.Tx, query string, values ...any) (int64, error) {
	r, err := tx.ExecContext(ctx, query, values...)
	if err != nil {
		return 0, described(err)
	}
	n, err := r.RowsAffected()
	return n, described(err)
}

// ChangeOne is Change, and fails with ErrNotFound if it has changed nothing.
func ChangeOne(ctx context.Context, tx *sql.Tx, query string, values ...any) error {
	n, err := Change(ctx, tx, query, values...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// Change runs one statement in a transaction of its own, and says how many rows it has changed.
func (d *DB) Change(ctx context.Context, query string, values ...any) (n int64, err error) {
	err = d.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err = Change(ctx, tx, query, values...)
		return err
	})
	return n, err
}

// ChangeOne is Change, and fails with ErrNotFound if it has changed nothing.
func (d *DB) ChangeOne(ctx context.Context, query string, values ...any) error {
	n, err := d.Change(ctx, query, values...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
