package accounts

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"slices"
	"time"

	"cpcds2fhir/internal/database"
)

// Secret is a secret of a client, without its value: nobody can read that again.
type Secret struct {
	ID       string    // unlike those of other secrets of the client
	Created  time.Time // zero if it is older than this is known
	Expires  time.Time // zero if it does not
	LastUsed time.Time // to the minute; zero if it was not used since this is known
}

// AddSecret adds a secret to a client; the ones that it has expire at until the latest (the zero time: they stay).
// It fails with ErrNotFound if there is no such client.
func (a *Accounts) AddSecret(ctx context.Context, client, secret string, until time.Time) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := a.AddSecretIn(ctx, tx, client, secret, until, 0)
		return err
	})
}

// AddSecretIn is AddSecret in a transaction of somebody. With most above 0 it fails with ErrExists if that many
// other secrets of the client would be valid beside the new one, so that more than most would be; the caller's
// transaction must not be committed then. It returns the id of the secret. Of several calls at the same time, one
// goes first.
func (a *Accounts) AddSecretIn(ctx context.Context, tx *sql.Tx, client, secret string, until time.Time, most int) (id string, err error) {
	if err := lockClient(ctx, tx, client); err != nil {
		return "", err
	}
	if !until.IsZero() {
		if _, err := database.Change(ctx, tx, `UPDATE client_secrets SET expires = $1 WHERE client = $2 AND (expires = 0 OR expires > $1)`,
			database.Millis(until), client); err != nil {
			return "", err
		}
	}
	now := database.Millis(a.now())
	if _, err := database.Change(ctx, tx, `DELETE FROM client_secrets WHERE client = $1 AND expires <> 0 AND expires <= $2`, client, now); err != nil {
		return "", err
	}
	key := database.Sum(secret)
	if most > 0 { // those that have expired are gone
		var others int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM client_secrets WHERE client = $1 AND secret_sum <> $2`, client, key).Scan(&others); err != nil {
			return "", database.Fault(err)
		}
		if others >= most {
			return "", ErrExists
		}
	}
	if _, err := database.Change(ctx, tx, `INSERT INTO client_secrets (client, secret_sum, expires, id, created, last_used) VALUES ($1, $2, 0, $3, $4, 0)
		ON CONFLICT (client, secret_sum) DO UPDATE SET expires = 0`, client, key, database.Random()[:12], now); err != nil {
		return "", err
	}
	err = tx.QueryRowContext(ctx, `SELECT id FROM client_secrets WHERE client = $1 AND secret_sum = $2`, client, key).Scan(&id)
	return id, database.Fault(err)
}

// lockClient lets one of several that change the secrets of a client go first. It fails with ErrNotFound.
func lockClient(ctx context.Context, tx *sql.Tx, id string) error {
	return database.ChangeOne(ctx, tx, `UPDATE clients SET changed = changed WHERE id = $1`, id)
}

// Secrets lists the secrets of a client that are valid, the oldest first.
func (a *Accounts) Secrets(ctx context.Context, client string) ([]*Secret, error) {
	if err := a.keepUsed(ctx); err != nil {
		return nil, err
	}
	return database.List(ctx, a.db, func(row database.Row) (*Secret, error) {
		s := &Secret{}
		var created, expires, used int64
		if err := row.Scan(&s.ID, &created, &expires, &used); err != nil {
			return nil, err
		}
		s.Created, s.Expires, s.LastUsed = database.Instant(created), database.Instant(expires), database.Instant(used)
		return s, nil
	}, `SELECT id, created, expires, last_used FROM client_secrets WHERE client = $1 AND (expires = 0 OR expires > $2) ORDER BY created, id`,
		client, database.Millis(a.now()))
}

// EndSecret ends a secret of a client at once. It fails with ErrNotFound if there is no valid one with this id, and
// with leaveOne it fails with ErrUsed if no other one is valid. Tokens that were given for the secret stay:
// RevokeGrant and SetStatus end those.
func (a *Accounts) EndSecret(ctx context.Context, client, id string, leaveOne bool) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return a.EndSecretIn(ctx, tx, client, id, leaveOne) })
}

// EndSecretIn is EndSecret in a transaction of somebody. Of several calls at the same time, one goes first.
func (a *Accounts) EndSecretIn(ctx context.Context, tx *sql.Tx, client, id string, leaveOne bool) error {
	if err := lockClient(ctx, tx, client); err != nil {
		return err
	}
	valid, err := database.Column(ctx, tx, `SELECT id FROM client_secrets WHERE client = $1 AND (expires = 0 OR expires > $2)`,
		client, database.Millis(a.now()))
	switch {
	case err != nil:
		return err
	case !slices.Contains(valid, id):
		return ErrNotFound
	case leaveOne && len(valid) == 1:
		return ErrUsed
	}
	return database.ChangeOne(ctx, tx, `DELETE FROM client_secrets WHERE client = $1 AND id = $2`, client, id)
}

// EndSecretsIn ends all secrets of a client at once, in a transaction of somebody. It fails with ErrNotFound if there is no
// such client.
func (a *Accounts) EndSecretsIn(ctx context.Context, tx *sql.Tx, client string) error {
	if err := lockClient(ctx, tx, client); err != nil {
		return err
	}
	_, err := database.Change(ctx, tx, `DELETE FROM client_secrets WHERE client = $1`, client)
	return err
}

// keptSecret is what is kept of a secret of a client.
type keptSecret struct {
	sum  string
	used int64
}

// CheckSecret reports whether a secret of an existing client is valid, and notes that it was used. The time it takes
// does not depend on the secret.
func (a *Accounts) CheckSecret(ctx context.Context, client, secret string) (bool, error) {
	now := database.Millis(a.now())
	valid, err := database.List(ctx, a.db, func(row database.Row) (s keptSecret, err error) {
		err = row.Scan(&s.sum, &s.used)
		return s, err
	}, `SELECT secret_sum, last_used FROM client_secrets WHERE client = $1 AND (expires = 0 OR expires > $2)`, client, now)
	if err != nil {
		return false, err
	}
	got, found := []byte(database.Sum(secret)), -1
	for i, v := range valid { // all of them
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare([]byte(v.sum), got), i, found)
	}
	if found < 0 {
		return false, nil
	}
	if v := valid[found]; now-v.used >= usedEvery.Milliseconds() {
		a.mu.Lock()
		a.secretsUsed[secretKey{client, v.sum}] = now
		a.mu.Unlock()
	}
	return true, nil
}
