// Package accounts keeps, in SQL, what an authorization server must remember: apps, the people who sign in and the
// members they may speak for, what they have allowed, codes, tokens, sessions and keys. It knows nothing of claims:
// a member is the id of a Patient, which is a pseudonym.
//
// SQLite, a file beside the store, is for one process; PostgreSQL is for several that serve the same store. All
// decisions that must happen once (a code is redeemed, a refresh token is rotated, a consent is given) are made by
// an UPDATE with a condition in one transaction, so they hold for several processes and survive their death.
//
// Nothing in the database opens anything by itself: secrets, codes, tokens and session ids are kept as SHA-256
// sums (they are random, of 256 bits), passwords with argon2id, private keys sealed with a key that is not in the
// database.
package accounts

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"cpcds2fhir/internal/database"
)

// Accounts is an open database. It is safe for concurrent use.
type Accounts struct {
	db   *database.DB
	now  func() time.Time
	find *sql.Stmt // an access token

	mu          sync.Mutex
	used        map[string]int64    // grants whose last use is not kept yet
	secretsUsed map[secretKey]int64 // and secrets of clients
	stop        chan struct{}
	ended       sync.WaitGroup

	closing sync.Once
	closed  error
}

// Options are how a database is opened.
type Options struct {
	// Seal is the key that private keys and the answers for repeated refreshes are sealed with (AES-256-GCM).
	Seal [32]byte

	// Existing opens only what is there, with the schema of this program: nothing is made or brought up to date. It is for
	// looking at the accounts of a server that another version runs.
	Existing bool

	// Now is the clock; nil is time.Now. Instants are kept in milliseconds.
	Now func() time.Time
}

// Errors of this package that callers decide by. Others are faults of the database.
var (
	ErrNotFound = database.ErrNotFound
	ErrExists   = database.ErrExists
	ErrUsed     = database.ErrUsed
	ErrLocked   = database.ErrLocked
	ErrReused   = errors.New("it was used again, so what it opened is revoked") // the revocation is committed
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaTable is where goose notes which migrations have run.
const schemaTable = "accounts_schema"

// Open opens a database and brings its schema up to date. The URL is sqlite:PATH (the file has mode 0600; it is
// made if it is missing) or a postgres:// URL.
func Open(ctx context.Context, url string, o *Options) (*Accounts, error) {
	return open(ctx, url, o, nil)
}

// open opens a database. Tests wrap the connector, to make statements fail.
func open(ctx context.Context, url string, o *Options, wrap func(driver.Connector) driver.Connector) (*Accounts, error) {
	a := &Accounts{now: o.Now, used: map[string]int64{}, secretsUsed: map[secretKey]int64{}, stop: make(chan struct{})}
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	if a.db, err = database.Open(url, &database.Options{Seal: o.Seal, Existing: o.Existing, Wrap: wrap}); err != nil {
		return nil, fmt.Errorf("accounts: %w", err)
	}
	if err := a.begin(ctx, o.Existing); err != nil {
		_ = a.db.Close() // the first error is the cause
		return nil, fmt.Errorf("accounts: %w", err)
	}
	a.ended.Add(1)
	go a.noteUsed()
	return a, nil
}

// begin brings the schema up to date and prepares what is asked for often.
func (a *Accounts) begin(ctx context.Context, existing bool) error {
	folder, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	if err := a.db.Migrate(ctx, folder, schemaTable); err != nil {
		return err
	}
	if !existing {
		if _, err := a.Secret(ctx, sealName); err != nil && !errors.Is(err, database.ErrSeal) { // Check says what is wrong with the seal
			return err
		}
	}
	a.find, err = a.db.PrepareContext(ctx, accessQuery)
	return err
}

// Database is the database that the accounts are in, for packages that keep more in it, in tables of their own. It
// is open as long as the accounts are.
func (a *Accounts) Database() *database.DB { return a.db }

// Close closes the database, once what it has not yet kept of the use of grants and secrets is kept. An error says that it is
// not.
func (a *Accounts) Close() error {
	a.closing.Do(func() {
		close(a.stop)
		a.ended.Wait()
		a.closed = errors.Join(a.keepUsed(context.Background()), a.find.Close(), a.db.Close())
	})
	return a.closed
}

// Check fails if the database cannot be reached, or its schema is not that of this program, or Seal does not open
// what is sealed in it.
func (a *Accounts) Check(ctx context.Context) error {
	if err := a.db.Check(ctx); err != nil {
		return err
	}
	names, err := database.Column(ctx, a.db, `SELECT name FROM secrets ORDER BY name`)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := a.Secret(ctx, name); err != nil {
			return err
		}
	}
	_, err = a.Keys(ctx)
	return err
}

// Expire deletes what has expired long enough ago that nobody asks for it: requests, codes, access tokens,
// assertions, sessions, the log of apps' requests, and apps that have registered themselves and were not approved for
// 60 days. Refresh tokens that were used stay as long as their grant: their reuse must be seen.
func (a *Accounts) Expire(ctx context.Context) error {
	now := a.now()
	for _, e := range []struct {
		table, key, where string
		before            time.Time
	}{
		{"requests", "id_sum", "decided = 0 AND expires < $1", now.Add(-time.Minute)}, // anybody can make one
		{"requests", "id_sum", "expires < $1", now.Add(-keepExpired)},
		{"client_secrets", "client, secret_sum", "client IN (SELECT id FROM clients WHERE status = 'held' AND created < $1)", now.Add(-keepHeld)},
		{"clients", "id", "status = 'held' AND created < $1", now.Add(-keepHeld)},
		{"codes", "code_sum", "expires < $1", now.Add(-keepExpired)},
		{"access_tokens", "token_sum", "expires < $1", now},
		{"sessions", "id_sum", "expires < $1", now},
		{"assertions", "client, jti_sum", "expires < $1", now.Add(-time.Hour)}, // clocks of clients differ
		{"client_requests", "client, at, id", "at < $1", now.Add(-KeepRequests)},
		{"login_failures", "login", "last < $1", now.Add(-forgetFailures)},
		{"signing_keys", "id", "removed <> 0 AND removed < $1", now.Add(-keepExpired)},

		// What a grant that has ended had given opens nothing any more; the grant itself stays, as what the member
		// has allowed. A client that acts for itself has a new one with each token.
		{"refresh_tokens", "token_sum", "grant_id IN (SELECT id FROM grants WHERE expires < $1 OR (revoked <> 0 AND revoked < $1))", now.Add(-keepExpired)},
		{"grants", "id", "user_id = '' AND expires < $1", now.Add(-keepExpired)},
	} {
		// In pieces, so that others write in between.
		query := `DELETE FROM ` + e.table + ` WHERE (` + e.key + `) IN (SELECT ` + e.key + ` FROM ` + e.table + ` WHERE ` + e.where + ` LIMIT 1000)`
		for n := int64(1000); n >= 1000; {
			var err error
			if n, err = a.db.Change(ctx, query, database.Millis(e.before)); err != nil {
				return err
			}
		}
	}
	if err := a.expireRequests(ctx); err != nil {
		return err
	}
	_, err := a.db.Change(ctx, `UPDATE refresh_tokens SET answer = '', repeats = 0 WHERE repeats > 0 AND repeats < $1`, database.Millis(now))
	return err
}

// How long what is over stays.
const (
	keepExpired    = 24 * time.Hour // so that a code that is replayed late still revokes
	forgetFailures = 24 * time.Hour
	keepHeld       = 60 * 24 * time.Hour // an app that has registered itself, and that nobody approves
)

// NewSecret makes what somebody else must not guess: a code, a token, the id of a session, the secret of a client. It is random,
// of 256 bits, in 43 characters that need no escaping anywhere.
func NewSecret() string { return database.NewSecret() }
