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
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
)

// Accounts is an open database. It is safe for concurrent use.
type Accounts struct {
	db     *sql.DB
	seal   [32]byte
	now    func() time.Time
	schema *goose.Provider
	find   *sql.Stmt     // an access token
	writer chan struct{} // holds the one that writes (SQLite); nil for PostgreSQL

	mu    sync.Mutex
	used  map[string]int64 // grants whose last use is not kept yet
	stop  chan struct{}
	ended sync.WaitGroup

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
	ErrNotFound = errors.New("there is no such record") // also if it has expired, was revoked or is disabled
	ErrExists   = errors.New("there is one already")
	ErrUsed     = errors.New("it was used before")                              // of what can be used once
	ErrReused   = errors.New("it was used again, so what it opened is revoked") // the revocation is committed
	ErrLocked   = errors.New("it is locked for some time")
)

// Open opens a database and brings its schema up to date. The URL is sqlite:PATH (the file has mode 0600; it is
// made if it is missing) or a postgres:// URL.
func Open(ctx context.Context, url string, o *Options) (*Accounts, error) {
	return open(ctx, url, o, nil)
}

// Close closes the database, once what it has not yet kept of the use of grants is kept. An error says that it is
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
	if err := a.db.PingContext(ctx); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	if err := a.sameSchema(ctx); err != nil {
		return err
	}
	names, err := column(ctx, a.db, `SELECT name FROM secrets ORDER BY name`)
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
// assertions, sessions, and apps that have registered themselves and were not approved for 60 days. Refresh tokens that were used stay as long as their grant: their reuse must be seen.
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
			if n, err = a.change(ctx, query, millis(e.before)); err != nil {
				return err
			}
		}
	}
	_, err := a.change(ctx, `UPDATE refresh_tokens SET answer = '', repeats = 0 WHERE repeats > 0 AND repeats < $1`, millis(now))
	return err
}

// How long what is over stays.
const (
	keepExpired    = 24 * time.Hour // so that a code that is replayed late still revokes
	forgetFailures = 24 * time.Hour
	keepHeld       = 60 * 24 * time.Hour // an app that has registered itself, and that nobody approves
)
