package accounts

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"time"
)

// Client is an app, or a service of somebody, that is registered.
type Client struct {
	ID     string
	Name   string // as members read it
	Status Status

	Auth   string   // none (a public client), client_secret or private_key_jwt
	Native bool     // an app on a device: loopback redirects may have any port (RFC 8252, 7.3), and schemes of its own are allowed
	Grants []string // authorization_code, refresh_token, client_credentials

	RedirectURIs []string
	Scopes       []string // the most that it may ask for; nil is whatever the server gives to apps
	JWKS         string   // its public keys, as JSON
	JWKSURI      string   // or where they are
	IDTokenAlg   string   // RS256 or ES384

	// Utah lets it use the dialect of Utah's Patient Access API: no scope, state or PKCE, and redirect_url.
	Utah bool

	Homepage, Policy, Terms, Logo string   // URLs, "" if unknown
	Contacts                      []string // addresses of its developers
	Owner                         string   // who registered it: "operator", "registration" (RFC 7591), "sandbox" or the id of a developer

	Created, Changed time.Time
}

// Status says whether a client may do anything.
type Status string

// Statuses of clients.
const (
	Held     Status = "held"     // registered, and not yet approved
	Active   Status = "active"   //
	Disabled Status = "disabled" // its tokens open nothing as long as it is
)

// AddClient registers a client. It fails with ErrExists if there is one with this ID.
func (a *Accounts) AddClient(ctx context.Context, c *Client) error {
	k := *c
	if k.Created.IsZero() {
		k.Created = a.now()
	}
	if k.Changed.IsZero() {
		k.Changed = k.Created
	}
	about, err := encode(&k)
	if err != nil {
		return err
	}
	n, err := a.change(ctx, `INSERT INTO clients (id, status, about, created, changed) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING`,
		k.ID, string(k.Status), about, millis(k.Created), millis(k.Changed))
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

// Client finds a client of any status. It fails with ErrNotFound.
func (a *Accounts) Client(ctx context.Context, id string) (*Client, error) {
	c, err := readClient(a.db.QueryRowContext(ctx, `SELECT id, status, about, created, changed FROM clients WHERE id = $1`, id))
	if err != nil {
		return nil, fault(err)
	}
	return c, nil
}

// readClient reads a row of clients.
func readClient(row scanner) (*Client, error) {
	var id, status, about string
	var created, changed int64
	if err := row.Scan(&id, &status, &about, &created, &changed); err != nil {
		return nil, err
	}
	c := &Client{}
	if err := decode(about, c); err != nil {
		return nil, err
	}
	c.ID, c.Status, c.Created, c.Changed = id, Status(status), instant(created), instant(changed)
	return c, nil
}

// Clients lists all clients by id.
func (a *Accounts) Clients(ctx context.Context) ([]*Client, error) {
	return list(ctx, a.db, readClient, `SELECT id, status, about, created, changed FROM clients ORDER BY id`)
}

// list reads all rows of a query.
func list[T any](ctx context.Context, db *sql.DB, read func(scanner) (T, error), query string, values ...any) ([]T, error) {
	rows, err := db.QueryContext(ctx, query, values...)
	if err != nil {
		return nil, fault(err)
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	var all []T
	for rows.Next() {
		v, err := read(rows)
		if err != nil {
			return nil, fault(err)
		}
		all = append(all, v)
	}
	return all, fault(rows.Err())
}

// column reads the only column of a query.
func column(ctx context.Context, db *sql.DB, query string, values ...any) ([]string, error) {
	return list(ctx, db, func(row scanner) (s string, err error) { return s, row.Scan(&s) }, query, values...)
}

// UpdateClient replaces what is registered for c.ID, but for Created; Changed becomes now. It fails with ErrNotFound.
func (a *Accounts) UpdateClient(ctx context.Context, c *Client) error {
	about, err := encode(c)
	if err != nil {
		return err
	}
	return a.changeOne(ctx, `UPDATE clients SET status = $1, about = $2, changed = $3 WHERE id = $4`, string(c.Status), about, millis(a.now()), c.ID)
}

// changeOne runs one statement in a transaction of its own, and fails with ErrNotFound if it has changed nothing.
func (a *Accounts) changeOne(ctx context.Context, query string, values ...any) error {
	n, err := a.change(ctx, query, values...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// SetStatus changes the status of a client. It counts at once, for tokens too. It fails with ErrNotFound.
func (a *Accounts) SetStatus(ctx context.Context, id string, s Status) error {
	return a.changeOne(ctx, `UPDATE clients SET status = $1, changed = $2 WHERE id = $3`, string(s), millis(a.now()), id)
}

// AddSecret adds a secret to a client; the ones that it has expire at until the latest (the zero time: they stay).
// It fails with ErrNotFound if there is no such client.
func (a *Accounts) AddSecret(ctx context.Context, client, secret string, until time.Time) error {
	return a.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var id string
		if err := tx.QueryRowContext(ctx, `SELECT id FROM clients WHERE id = $1`, client).Scan(&id); err != nil {
			return fault(err)
		}
		if !until.IsZero() {
			if _, err := change(ctx, tx, `UPDATE client_secrets SET expires = $1 WHERE client = $2 AND (expires = 0 OR expires > $1)`,
				millis(until), client); err != nil {
				return err
			}
		}
		if _, err := change(ctx, tx, `DELETE FROM client_secrets WHERE client = $1 AND expires <> 0 AND expires <= $2`, client, millis(a.now())); err != nil {
			return err
		}
		_, err := change(ctx, tx, `INSERT INTO client_secrets (client, secret_sum, expires) VALUES ($1, $2, 0)
			ON CONFLICT (client, secret_sum) DO UPDATE SET expires = 0`, client, sum(secret))
		return err
	})
}

// CheckSecret reports whether a secret of an existing client is valid. The time it takes does not depend on the
// secret.
func (a *Accounts) CheckSecret(ctx context.Context, client, secret string) (bool, error) {
	valid, err := column(ctx, a.db, `SELECT secret_sum FROM client_secrets WHERE client = $1 AND (expires = 0 OR expires > $2)`, client, millis(a.now()))
	if err != nil {
		return false, err
	}
	got, same := []byte(sum(secret)), 0
	for _, v := range valid {
		same |= subtle.ConstantTimeCompare([]byte(v), got)
	}
	return same == 1, nil
}

// UseAssertion records the jti of a client's assertion until it expires. It fails with ErrUsed if it is there.
func (a *Accounts) UseAssertion(ctx context.Context, client, jti string, expires time.Time) error {
	n, err := a.change(ctx, `INSERT INTO assertions (client, jti_sum, expires) VALUES ($1, $2, $3) ON CONFLICT (client, jti_sum) DO NOTHING`,
		client, sum(jti), millis(expires))
	if err == nil && n == 0 {
		return ErrUsed
	}
	return err
}

// RemoveClient removes a client that nobody has allowed anything. It fails with ErrUsed if somebody has: what members
// have allowed stays on record, and the client can be disabled. It fails with ErrNotFound if there is none.
func (a *Accounts) RemoveClient(ctx context.Context, id string) error {
	return a.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := change(ctx, tx, `DELETE FROM client_secrets WHERE client = $1 AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client = client_secrets.client)`, id); err != nil {
			return err
		}
		n, err := change(ctx, tx, `DELETE FROM clients WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client = clients.id)`, id)
		if err != nil || n == 1 {
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT id FROM clients WHERE id = $1`, id).Scan(new(string)); err != nil {
			return fault(err)
		}
		return ErrUsed
	})
}
