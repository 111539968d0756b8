// Package database is an SQL database of this program: how it is opened, brought up to date and changed, and how
// what must stay secret is kept in it. It knows nothing of what is kept. Several packages may share one database,
// each with tables and migrations of its own.
//
// SQLite, a file, is for one process; PostgreSQL is for several. Statements must mean the same in both: placeholders
// are $1 and so on, and values stand in the order of their first use, since SQLite takes $1 for a name. Instants are
// BIGINT milliseconds since 1970, 0 is none; what nobody searches by is JSON in TEXT.
package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
)

// DB is an open database. It is safe for concurrent use.
type DB struct {
	sql     *sql.DB
	dialect goose.Dialect
	writer  chan struct{} // holds the one that writes (SQLite); nil for PostgreSQL
	seal    Key

	existing bool

	mu      sync.Mutex
	schemas []*schema
}

// Options are how a database is opened.
type Options struct {
	// Seal is the key of Seal and MAC. It is not kept in the database.
	Seal Key

	// Existing opens only what is there: no file is made, and Migrate changes nothing.
	Existing bool

	// Wrap, if it is not nil, gets the connector of the driver and gives the one that is used, as a test needs that
	// makes statements fail.
	Wrap func(driver.Connector) driver.Connector
}

// Errors that callers decide by. They are returned as they are, never wrapped.
var (
	ErrNotFound = errors.New("there is no such record") // also if it has expired, was revoked or is disabled
	ErrExists   = errors.New("there is one already")
	ErrUsed     = errors.New("it was used before") // of what can be used once
	ErrLocked   = errors.New("it is locked for some time")
)

// Limits of time.
const (
	busyWait  = 10 * time.Second // for the lock of another process that writes (SQLite)
	txWait    = 30 * time.Second // for a transaction, its repetitions included
	startWait = 30 * time.Second // for others that migrate
)

// Open opens a database. The URL is sqlite:PATH (the file has mode 0600; it is made if it is missing) or a
// postgres:// URL. No error has the URL in it, since it may have a password. The first connection is made by whatever
// needs one: Migrate, which waits for others that open the same file now, or Check.
func Open(url string, o *Options) (*DB, error) {
	d := &DB{seal: o.Seal, existing: o.Existing}
	connector, err := d.connector(url)
	if err != nil {
		return nil, err
	}
	if o.Wrap != nil {
		connector = o.Wrap(connector)
	}
	d.sql = sql.OpenDB(connector)
	conns := max(8, 2*runtime.GOMAXPROCS(0)+2)
	d.sql.SetMaxOpenConns(conns)
	d.sql.SetMaxIdleConns(conns)
	if d.dialect == goose.DialectPostgres {
		d.sql.SetConnMaxIdleTime(5 * time.Minute) // firewalls forget idle connections
	}
	return d, nil
}

// Close closes the database. What is under way fails.
func (d *DB) Close() error { return described(d.sql.Close()) }

// Check fails if the database cannot be reached, or if a schema that was migrated is not that of this program any
// more.
func (d *DB) Check(ctx context.Context) error {
	if err := d.sql.PingContext(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	d.mu.Lock()
	schemas := d.schemas
	d.mu.Unlock()
	for _, s := range schemas {
		if err := s.same(ctx); err != nil {
			return err
		}
	}
	return nil
}

// SQLite reports whether this is a file of SQLite, which has one writer at a time and answers at once.
func (d *DB) SQLite() bool { return d.writer != nil }

// QueryContext is that of database/sql, outside of any transaction. List is shorter.
func (d *DB) QueryContext(ctx context.Context, query string, values ...any) (*sql.Rows, error) {
	return d.sql.QueryContext(ctx, query, values...)
}

// QueryRowContext is that of database/sql, outside of any transaction. What Scan says is for Fault.
func (d *DB) QueryRowContext(ctx context.Context, query string, values ...any) *sql.Row {
	return d.sql.QueryRowContext(ctx, query, values...)
}

// PrepareContext is that of database/sql, for a query that runs very often. The caller closes the statement before
// the database.
func (d *DB) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	s, err := d.sql.PrepareContext(ctx, query)
	return s, described(err)
}

// Migrate brings the tables of one package up to date: it runs the migrations (files of goose) that the database
// lacks. table is where it notes which have run; each package has its own. If the database was opened as Existing,
// nothing is changed, and Migrate fails unless the tables are those of this program; it fails too if they are of a
// newer one. Several processes may do this at once, if each migration has a statement that cannot succeed twice,
// such as CREATE TABLE.
func (d *DB) Migrate(ctx context.Context, migrations fs.FS, table string) error {
	s, err := d.newSchema(migrations, table)
	if err != nil {
		return fmt.Errorf("database: read the migrations of %s: %w", table, err)
	}
	if d.existing {
		err = s.same(ctx)
	} else {
		err = s.upgrade(ctx)
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.schemas = append(d.schemas[:len(d.schemas):len(d.schemas)], s)
	d.mu.Unlock()
	return nil
}
