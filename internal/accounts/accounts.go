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
	"time"
)

// Accounts is an open database. It is safe for concurrent use.
type Accounts struct {
	db   *sql.DB
	seal [32]byte
	now  func() time.Time
}

// Options are how a database is opened.
type Options struct {
	// Seal is the key that private keys and the answers for repeated refreshes are sealed with (AES-256-GCM).
	Seal [32]byte

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
func Open(ctx context.Context, url string, o *Options) (*Accounts, error) { panic("not built yet") }

// Close closes the database.
func (a *Accounts) Close() error { panic("not built yet") }

// Check fails if the database cannot be reached, or its schema is not that of this program, or Seal does not open
// what is sealed in it.
func (a *Accounts) Check(ctx context.Context) error { panic("not built yet") }

// Expire deletes what has expired long enough ago that nobody asks for it: requests, codes, access tokens,
// assertions, sessions. Refresh tokens that were used stay as long as their grant: their reuse must be seen.
func (a *Accounts) Expire(ctx context.Context) error { panic("not built yet") }
