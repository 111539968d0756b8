package accounts

import (
	"context"
	"database/sql"
	"time"

	"cpcds2fhir/internal/database"
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

	// What members read of the app before they decide.
	Publisher string            `json:",omitzero"` // who offers it
	Domain    string            `json:",omitzero"` // of the publisher, who has proved to have it; "" if nobody has
	About     map[string]string `json:",omitzero"` // what the app is for, by language
	Support   string            `json:",omitzero"` // where to ask: a URL or an e-mail address
	Attested  time.Time         `json:",omitzero"` // when its developers attested the answers about privacy; zero if they did not
	Privacy   map[string]string `json:",omitzero"` // these answers: short codes by topic
	Listed    bool              `json:",omitzero"` // in the public directory

	App         string `json:"-"`         // the id of the developers' app that it is a client of, "" if none
	Environment string `json:",omitzero"` // "sandbox" if it is for synthetic members, who are not real; "" otherwise

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
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return a.AddClientIn(ctx, tx, c) })
}

// AddClientIn is AddClient in a transaction of somebody.
func (a *Accounts) AddClientIn(ctx context.Context, tx *sql.Tx, c *Client) error {
	k := *c
	if k.Created.IsZero() {
		k.Created = a.now()
	}
	if k.Changed.IsZero() {
		k.Changed = k.Created
	}
	about, err := k.write()
	if err != nil {
		return err
	}
	n, err := database.Change(ctx, tx, `INSERT INTO clients (id, status, app, about, created, changed) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING`,
		k.ID, string(k.Status), k.App, about, database.Millis(k.Created), database.Millis(k.Changed))
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

// write writes what is kept of a client as JSON.
func (c *Client) write() (string, error) {
	k := *c
	k.Attested = database.Instant(database.Millis(k.Attested))
	return database.Encode(&k)
}

// ClientIn is Client in a transaction of somebody.
func (a *Accounts) ClientIn(ctx context.Context, tx *sql.Tx, id string) (*Client, error) {
	c, err := readClient(tx.QueryRowContext(ctx, clientQuery+` WHERE id = $1`, id))
	if err != nil {
		return nil, database.Fault(err)
	}
	return c, nil
}

// Client finds a client of any status. It fails with ErrNotFound.
func (a *Accounts) Client(ctx context.Context, id string) (*Client, error) {
	c, err := readClient(a.db.QueryRowContext(ctx, clientQuery+` WHERE id = $1`, id))
	if err != nil {
		return nil, database.Fault(err)
	}
	return c, nil
}

// clientQuery finds clients as readClient reads them.
const clientQuery = `SELECT id, status, app, about, created, changed FROM clients`

// readClient reads a row of clientQuery.
func readClient(row database.Row) (*Client, error) {
	var id, status, app, about string
	var created, changed int64
	if err := row.Scan(&id, &status, &app, &about, &created, &changed); err != nil {
		return nil, err
	}
	c := &Client{}
	if err := database.Decode(about, c); err != nil {
		return nil, err
	}
	c.ID, c.Status, c.App, c.Created, c.Changed = id, Status(status), app, database.Instant(created), database.Instant(changed)
	return c, nil
}

// Clients lists all clients by id.
func (a *Accounts) Clients(ctx context.Context) ([]*Client, error) {
	return database.List(ctx, a.db, readClient, clientQuery+` ORDER BY id`)
}

// HeldClients lists the clients that are held and were registered after from and until until, the oldest first.
func (a *Accounts) HeldClients(ctx context.Context, from, until time.Time) ([]*Client, error) {
	return database.List(ctx, a.db, readClient, clientQuery+` WHERE status = $1 AND created > $2 AND created <= $3 ORDER BY created, id`,
		string(Held), database.Millis(from), database.Millis(until))
}

// ClientsOfApp lists the clients of a developers' app by id. The app "" has none.
func (a *Accounts) ClientsOfApp(ctx context.Context, app string) ([]*Client, error) {
	return database.List(ctx, a.db, readClient, clientQuery+` WHERE app = $1 AND app <> '' ORDER BY id`, app)
}

// UpdateClient replaces what is registered for c.ID, but for Created; Changed becomes now. It fails with ErrNotFound.
func (a *Accounts) UpdateClient(ctx context.Context, c *Client) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return a.UpdateClientIn(ctx, tx, c) })
}

// UpdateClientIn is UpdateClient in a transaction of somebody.
func (a *Accounts) UpdateClientIn(ctx context.Context, tx *sql.Tx, c *Client) error {
	about, err := c.write()
	if err != nil {
		return err
	}
	return database.ChangeOne(ctx, tx, `UPDATE clients SET status = $1, app = $2, about = $3, changed = $4 WHERE id = $5`,
		string(c.Status), c.App, about, database.Millis(a.now()), c.ID)
}

// SetStatus changes the status of a client. It counts at once, for tokens too. It fails with ErrNotFound.
func (a *Accounts) SetStatus(ctx context.Context, id string, s Status) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return a.SetStatusIn(ctx, tx, id, s) })
}

// SetStatusIn is SetStatus in a transaction of somebody: it counts once that is committed.
func (a *Accounts) SetStatusIn(ctx context.Context, tx *sql.Tx, id string, s Status) error {
	return database.ChangeOne(ctx, tx, `UPDATE clients SET status = $1, changed = $2 WHERE id = $3`, string(s), database.Millis(a.now()), id)
}

// UseAssertion records the jti of a client's assertion until it expires. It fails with ErrUsed if it is there.
func (a *Accounts) UseAssertion(ctx context.Context, client, jti string, expires time.Time) error {
	n, err := a.db.Change(ctx, `INSERT INTO assertions (client, jti_sum, expires) VALUES ($1, $2, $3) ON CONFLICT (client, jti_sum) DO NOTHING`,
		client, database.Sum(jti), database.Millis(expires))
	if err == nil && n == 0 {
		return ErrUsed
	}
	return err
}

// RemoveClient removes a client that nobody has allowed anything. It fails with ErrUsed if somebody has: what members
// have allowed stays on record, and the client can be disabled. It fails with ErrNotFound if there is none.
func (a *Accounts) RemoveClient(ctx context.Context, id string) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := database.Change(ctx, tx, `DELETE FROM client_secrets WHERE client = $1 AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client = client_secrets.client)`, id); err != nil {
			return err
		}
		n, err := database.Change(ctx, tx, `DELETE FROM clients WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM grants WHERE grants.client = clients.id)`, id)
		if err != nil {
			return err
		}
		if n == 1 {
			_, err := database.Change(ctx, tx, `DELETE FROM client_requests WHERE client = $1`, id)
			return err
		}
		if err := tx.QueryRowContext(ctx, `SELECT id FROM clients WHERE id = $1`, id).Scan(new(string)); err != nil {
			return database.Fault(err)
		}
		return ErrUsed
	})
}
