package accounts

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaTable is where goose notes which migrations have run.
const schemaTable = "accounts_schema"

// Limits of time.
const (
	busyWait  = 10 * time.Second // for the lock of another process that writes (SQLite)
	txWait    = 30 * time.Second // for a transaction, its repetitions included
	startWait = 30 * time.Second // for others that migrate
)

// open opens a database. Tests wrap the connector, to make statements fail.
func open(ctx context.Context, address string, o *Options, wrap func(driver.Connector) driver.Connector) (*Accounts, error) {
	a := &Accounts{seal: o.Seal, now: o.Now, used: map[string]int64{}, stop: make(chan struct{})}
	if a.now == nil {
		a.now = time.Now
	}
	connector, dialect, err := a.connector(address, o.Existing)
	if err != nil {
		return nil, err
	}
	if wrap != nil {
		connector = wrap(connector)
	}
	a.db = sql.OpenDB(connector)
	conns := max(8, 2*runtime.GOMAXPROCS(0)+2)
	a.db.SetMaxOpenConns(conns)
	a.db.SetMaxIdleConns(conns)
	if dialect == goose.DialectPostgres {
		a.db.SetConnMaxIdleTime(5 * time.Minute) // firewalls forget idle connections
	}
	if err := a.begin(ctx, dialect, o.Existing); err != nil {
		_ = a.db.Close() // the first error is the cause
		return nil, err
	}
	a.ended.Add(1)
	go a.noteUsed()
	return a, nil
}

// begin brings the schema up to date and prepares what is asked for often.
func (a *Accounts) begin(ctx context.Context, dialect goose.Dialect, existing bool) (err error) {
	if a.schema, err = a.provider(dialect); err != nil {
		return fmt.Errorf("accounts: read migrations: %w", err)
	}
	if existing {
		if err := a.sameSchema(ctx); err != nil {
			return err
		}
	} else if err := a.migrate(ctx); err != nil {
		return err
	} else if _, err := a.Secret(ctx, sealName); err != nil && !errors.Is(err, errSeal) { // Check says what is wrong with the seal
		return err
	}
	if a.find, err = a.db.PrepareContext(ctx, accessQuery); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	return nil
}

// connector says how connections are made.
func (a *Accounts) connector(address string, existing bool) (driver.Connector, goose.Dialect, error) {
	scheme, path, _ := strings.Cut(address, ":")
	switch scheme {
	case "sqlite":
		c, err := sqliteConnector(path, existing)
		a.writer = make(chan struct{}, 1)
		return c, goose.DialectSQLite3, err
	case "postgres", "postgresql":
		config, err := pgx.ParseConfig(address)
		if err != nil {
			return nil, "", errors.New("accounts: the URL of the database is not one that PostgreSQL knows") // it may have a password
		}
		return stdlib.GetConnector(*config), goose.DialectPostgres, nil
	}
	return nil, "", errors.New("accounts: the URL of the database is neither sqlite:PATH nor a postgres:// one")
}

// sqliteConnector makes the file, which only its owner may read: SQLite gives the files beside it the same mode.
func sqliteConnector(path string, existing bool) (driver.Connector, error) {
	if path == "" {
		return nil, errors.New("accounts: the URL of the database has no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	how := os.O_RDWR | os.O_CREATE
	if existing {
		how = os.O_RDWR
	}
	f, err := os.OpenFile(path, how, 0o600)
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	f.Close()
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Chmod(path+end, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("accounts: %w", err)
		}
	}
	if path = filepath.ToSlash(path); path[0] != '/' {
		path = "/" + path // a drive's letter
	}
	q := url.Values{
		"_txlock":       {"immediate"}, // a transaction that reads first could not go on to write beside another
		"_busy_timeout": {fmt.Sprint(busyWait.Milliseconds())},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // a revocation that was acknowledged survives a loss of power
		"_foreign_keys": {"on"},
	}
	c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	return c, nil
}

func (a *Accounts) provider(dialect goose.Dialect) (*goose.Provider, error) {
	folder, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	options := []goose.ProviderOption{goose.WithTableName(schemaTable), goose.WithDisableGlobalRegistry(true)}
	if dialect == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(startWait/time.Second)))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(dialect, a.db, folder, options...)
}

// migrate runs the migrations that the database lacks. PostgreSQL has a lock for that. In SQLite a migration is a
// transaction, so of several processes one wins, and the others fail, begin again and find nothing to do; each
// migration needs a statement that cannot succeed twice, such as CREATE TABLE.
func (a *Accounts) migrate(ctx context.Context) error {
	end := time.Now().Add(startWait)
	for {
		_, err := a.schema.Up(ctx)
		if err == nil {
			return a.sameSchema(ctx)
		}
		if a.writer == nil || ctx.Err() != nil || time.Now().After(end) || !othersMigrate(err) {
			return fmt.Errorf("accounts: bring the schema up to date: %w", err)
		}
		time.Sleep(time.Duration(10+rand.IntN(90)) * time.Millisecond)
	}
}

// othersMigrate says that another process was first, as far as errors of SQLite tell.
func othersMigrate(err error) bool {
	text := err.Error()
	return again(err) || strings.Contains(text, "already exists") || strings.Contains(text, "database is locked") ||
		strings.Contains(text, "duplicate column")
}

// sameSchema fails if the schema is not the one that this program was written for.
func (a *Accounts) sameSchema(ctx context.Context) error {
	has, wants, err := a.schema.GetVersions(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("accounts: read the version of the schema: %w", err)
	case has > wants:
		return fmt.Errorf("accounts: the database was written by a newer program: its schema has version %d, this program knows %d", has, wants)
	case has < wants:
		return fmt.Errorf("accounts: the schema of the database has version %d, this program needs %d", has, wants)
	}
	return nil
}

// outcomeError is what a caller is told although the transaction is committed.
type outcomeError struct{ err error }

func (e outcomeError) Error() string { return e.err.Error() }

// tx runs f in a transaction, which is committed if f returns nil or an outcomeError, and once more if others were in
// its way (a deadlock, a locked file). So f may run several times. Once begun, it ends whether the caller still waits or not.
func (a *Accounts) tx(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	if a.writer != nil { // writers of this process queue up here, in order: SQLite lets one write, and makes others poll
		select {
		case a.writer <- struct{}{}:
			defer func() { <-a.writer }()
		case <-ctx.Done():
			return fmt.Errorf("accounts: %w", ctx.Err())
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), txWait)
	defer cancel()
	for wait := 2 * time.Millisecond; ; wait *= 2 {
		err := a.once(ctx, f)
		var outcome outcomeError
		switch {
		case errors.As(err, &outcome):
			return outcome.err
		case err == nil || ours(err):
			return err
		case !again(err) || wait > time.Second:
			return fmt.Errorf("accounts: %w", err)
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-ctx.Done():
			return fmt.Errorf("accounts: %w", err)
		}
	}
}

func (a *Accounts) once(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	options := &sql.TxOptions{}
	if a.writer == nil {
		options.Isolation = sql.LevelReadCommitted // whatever the server's default: an UPDATE that waited looks again
	}
	tx, err := a.db.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing, and before it the first error counts
	told := f(ctx, tx)
	var outcome outcomeError
	if told != nil && !errors.As(told, &outcome) {
		return told
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return told
}

// ours reports whether callers decide by this error.
func ours(err error) bool {
	for _, e := range []error{ErrNotFound, ErrExists, ErrUsed, ErrReused, ErrLocked} {
		if err == e {
			return true
		}
	}
	return false
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

// change runs one statement, and says how many rows it has changed. Values stand in the order of their first use,
// since SQLite takes $1 for a name.
func change(ctx context.Context, tx *sql.Tx, query string, values ...any) (int64, error) {
	r, err := tx.ExecContext(ctx, query, values...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// change runs one statement in a transaction of its own.
func (a *Accounts) change(ctx context.Context, query string, values ...any) (n int64, err error) {
	err = a.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err = change(ctx, tx, query, values...)
		return err
	})
	return n, err
}

// fault turns what a query for one row says into what callers are told.
func fault(err error) error {
	var pg *pgconn.PgError
	if errors.Is(err, sql.ErrNoRows) || errors.As(err, &pg) && pg.Code == "22021" { // no row has a text that is not UTF-8, or has a NUL
		return ErrNotFound
	}
	if err == nil || ours(err) {
		return err
	}
	return fmt.Errorf("accounts: %w", err)
}

// millis writes an instant as it is kept.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// instant reads an instant as it is kept.
func instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// bit writes a truth value as it is kept.
func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// scanner is a row.
type scanner interface{ Scan(into ...any) error }
