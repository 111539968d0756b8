package accounts

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/database"
)

// Request is an authorization request that waits for somebody to sign in and decide.
type Request struct {
	ID          string // random; kept as a sum
	Client      string
	RedirectURI string
	Scopes      []string // as asked for, without those that the server does not know
	State       string   // opaque, returned as it came
	Nonce       string
	Challenge   string // of PKCE with S256, "" only in Utah's dialect
	Utah        bool   // it came in Utah's dialect
	Audience    string
	AuthAfter   time.Time // when somebody must have signed in at the earliest; zero is any time
	User        string    // who is deciding: set when they have signed in; "" before
	Created     time.Time
	Expires     time.Time
}

// Grant is what somebody has allowed a client, or what a client was granted for itself.
type Grant struct {
	ID       string
	Client   string
	User     string   // who allowed it; "" for a client that acts for itself
	Patient  string   // id of the member whose data it opens; "" for a client that acts for itself
	Scopes   []string // that were granted, written as they were asked for
	Offline  bool     // refresh tokens are given
	AuthTime time.Time
	Created  time.Time
	Expires  time.Time // the member allowed it until then
	Revoked  time.Time // zero if it is not
	LastUsed time.Time // of a token of it, to the minute; zero if never

	// Receipt is kept by Approve, unless it is nil. Other methods do not fill it: Accounts.Receipt reads it.
	Receipt *Receipt
}

// Code is what an app redeems for tokens.
type Code struct {
	Secret      string // the code itself; kept as a sum
	Grant       string
	Client      string
	RedirectURI string
	Challenge   string
	Nonce       string
	Utah        bool
	Expires     time.Time
}

// AddRequest keeps a request until it expires or is decided.
func (a *Accounts) AddRequest(ctx context.Context, r *Request) error {
	k := *r
	if k.Created.IsZero() {
		k.Created = a.now()
	}
	about, err := database.Encode(requestAbout{
		Client: k.Client, RedirectURI: k.RedirectURI, Scopes: k.Scopes, State: []byte(k.State), Nonce: []byte(k.Nonce),
		Challenge: k.Challenge, Utah: k.Utah, Audience: k.Audience, AuthAfter: database.Millis(k.AuthAfter),
	})
	if err != nil {
		return err
	}
	n, err := a.db.Change(ctx, `INSERT INTO requests (id_sum, user_id, decided, about, created, expires) VALUES ($1, $2, 0, $3, $4, $5)
		ON CONFLICT (id_sum) DO NOTHING`, database.Sum(k.ID), k.User, about, database.Millis(k.Created), database.Millis(k.Expires))
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

// requestAbout is what is kept of a request as JSON. State and nonce are the app's: any bytes, which come back as
// they were.
type requestAbout struct {
	Client      string   `json:"client"`
	RedirectURI string   `json:"redirect_uri"`
	Scopes      []string `json:"scopes"`
	State       []byte   `json:"state"`
	Nonce       []byte   `json:"nonce"`
	Challenge   string   `json:"challenge,omitempty"`
	Utah        bool     `json:"utah,omitempty"`
	Audience    string   `json:"aud,omitempty"`
	AuthAfter   int64    `json:"auth_after,omitempty"`
}

// Request finds a request that waits. It fails with ErrUsed if it was decided, and with ErrNotFound if it is
// unknown or has expired.
func (a *Accounts) Request(ctx context.Context, id string) (*Request, error) {
	var user, about string
	var decided, created, expires int64
	if err := a.db.QueryRowContext(ctx, `SELECT user_id, decided, about, created, expires FROM requests WHERE id_sum = $1`, database.Sum(id)).
		Scan(&user, &decided, &about, &created, &expires); err != nil {
		return nil, database.Fault(err)
	}
	switch {
	case decided != 0:
		return nil, ErrUsed
	case expires <= database.Millis(a.now()):
		return nil, ErrNotFound
	}
	var k requestAbout
	if err := database.Decode(about, &k); err != nil {
		return nil, err
	}
	return &Request{
		ID: id, Client: k.Client, RedirectURI: k.RedirectURI, Scopes: k.Scopes, State: string(k.State), Nonce: string(k.Nonce),
		Challenge: k.Challenge, Utah: k.Utah, Audience: k.Audience, AuthAfter: database.Instant(k.AuthAfter), User: user, Created: database.Instant(created), Expires: database.Instant(expires),
	}, nil
}

// AssignRequest notes who decides a request: the first one who signed in for it. It fails with ErrUsed if
// somebody else does, or it was decided, and with ErrNotFound if it is gone.
func (a *Accounts) AssignRequest(ctx context.Context, id, user string) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err := database.Change(ctx, tx, `UPDATE requests SET user_id = $1 WHERE id_sum = $2 AND decided = 0 AND expires > $3 AND (user_id = '' OR user_id = $1)`,
			user, database.Sum(id), database.Millis(a.now()))
		if err != nil || n == 1 {
			return err
		}
		return a.whyNot(ctx, tx, id)
	})
}

// whyNot says why a request cannot be decided.
func (a *Accounts) whyNot(ctx context.Context, tx *sql.Tx, id string) error {
	var decided, expires int64
	if err := tx.QueryRowContext(ctx, `SELECT decided, expires FROM requests WHERE id_sum = $1`, database.Sum(id)).Scan(&decided, &expires); err != nil {
		return database.Fault(err)
	}
	if decided == 0 && expires <= database.Millis(a.now()) {
		return ErrNotFound
	}
	return ErrUsed
}

// decide decides a request once.
func (a *Accounts) decide(ctx context.Context, tx *sql.Tx, id string) error {
	now := database.Millis(a.now())
	n, err := database.Change(ctx, tx, `UPDATE requests SET decided = $1 WHERE id_sum = $2 AND decided = 0 AND expires > $1`, now, database.Sum(id))
	if err != nil || n == 1 {
		return err
	}
	return a.whyNot(ctx, tx, id)
}

// Approve decides a request once: it keeps the grant and the code, and revokes earlier grants of the same client,
// user and member that allow something that the new one does not. A receipt of the grant is kept with it. It fails with ErrUsed if the request was decided
// already, and with ErrNotFound if it is gone; nothing has changed then. Scopes are compared as they are written. A
// grant or a code without an id of the grant gets one.
func (a *Accounts) Approve(ctx context.Context, request string, g *Grant, c *Code) error {
	if g.ID == "" {
		g.ID = database.Random()
	}
	c.Grant = g.ID
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := a.decide(ctx, tx, request); err != nil {
			return err
		}
		// Two consents of one user at the same time would not see each other's grants; this row lets one go first.
		if _, err := database.Change(ctx, tx, `UPDATE users SET created = created WHERE id = $1`, g.User); err != nil {
			return err
		}
		if err := a.revokeWider(ctx, tx, g); err != nil {
			return err
		}
		if err := a.addGrant(ctx, tx, g); err != nil {
			return err
		}
		if g.Receipt != nil {
			if err := a.addReceipt(ctx, tx, g); err != nil {
				return err
			}
		}
		return addCode(ctx, tx, c)
	})
}

// revokeWider revokes grants of the same client, user and member that allow something that g does not: a scope, to
// go on without the member, or a later time.
func (a *Accounts) revokeWider(ctx context.Context, tx *sql.Tx, g *Grant) error {
	now := database.Millis(a.now())
	rows, err := tx.QueryContext(ctx, `SELECT id, scopes, offline, expires FROM grants
		WHERE user_id = $1 AND patient = $2 AND client = $3 AND revoked = 0 AND expires > $4 ORDER BY id`, g.User, g.Patient, g.Client, now)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	var wider []string
	for rows.Next() {
		var id, text string
		var offline, expires int64
		if err := rows.Scan(&id, &text, &offline, &expires); err != nil {
			return err
		}
		var scopes []string
		if err := database.Decode(text, &scopes); err != nil {
			return err
		}
		more := slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(g.Scopes, s) })
		if more || offline > database.Bit(g.Offline) || expires > database.Millis(g.Expires) {
			wider = append(wider, id)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if err := rows.Close(); err != nil { // the connection is needed below
		return err
	}
	for _, id := range wider {
		if _, err := a.revoke(ctx, tx, id); err != nil {
			return err
		}
	}
	return nil
}

// revoke ends a grant that has not ended; ended says so.
func (a *Accounts) revoke(ctx context.Context, tx *sql.Tx, id string) (ended bool, err error) {
	n, err := database.Change(ctx, tx, `UPDATE grants SET revoked = $1 WHERE id = $2 AND revoked = 0 AND expires > $1`, database.Millis(a.now()), id)
	return n == 1, err
}

func (a *Accounts) addGrant(ctx context.Context, tx *sql.Tx, g *Grant) error {
	created := g.Created
	if created.IsZero() {
		created = a.now()
	}
	scopes, err := database.Encode(g.Scopes)
	if err != nil {
		return err
	}
	_, err = database.Change(ctx, tx, `INSERT INTO grants (id, client, user_id, patient, scopes, offline, auth_time, created, expires, revoked, last_used)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0)`,
		g.ID, g.Client, g.User, g.Patient, scopes, database.Bit(g.Offline), database.Millis(g.AuthTime), database.Millis(created), database.Millis(g.Expires))
	return err
}

// Deny decides a request once, without a grant. Earlier grants stay. It fails as Approve does.
func (a *Accounts) Deny(ctx context.Context, request string) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return a.decide(ctx, tx, request) })
}

// RevokeGrant ends a grant and all of its tokens at once. It fails with ErrNotFound if there is none; a grant that
// has ended before is none.
func (a *Accounts) RevokeGrant(ctx context.Context, id string) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		ended, err := a.revoke(ctx, tx, id)
		if err == nil && !ended {
			return ErrNotFound
		}
		return err
	})
}

// GrantFilter narrows Grants; "" is any.
type GrantFilter struct {
	Client, User, Patient string
	Ended                 bool // those that have expired or were revoked too
}

// Grants lists grants, the newest first.
func (a *Accounts) Grants(ctx context.Context, f GrantFilter) ([]*Grant, error) {
	if err := a.keepUsed(ctx); err != nil {
		return nil, err
	}
	query, values := `SELECT `+grantColumns+` FROM grants g WHERE 1 = 1`, []any(nil)
	and := func(condition string, value any) {
		values = append(values, value)
		query += strings.ReplaceAll(` AND `+condition, "?", "$"+strconv.Itoa(len(values)))
	}
	if f.Client != "" {
		and("client = ?", f.Client)
	}
	if f.User != "" {
		and("user_id = ?", f.User)
	}
	if f.Patient != "" {
		and("patient = ?", f.Patient)
	}
	if !f.Ended {
		and("revoked = 0 AND expires > ?", database.Millis(a.now()))
	}
	return database.List(ctx, a.db, readGrant, query+` ORDER BY created DESC, id DESC`, values...)
}

// grantColumns are the columns of grants g, as readGrant reads them.
const grantColumns = `g.id, g.client, g.user_id, g.patient, g.scopes, g.offline, g.auth_time, g.created, g.expires, g.revoked, g.last_used`

// readGrant reads grantColumns.
func readGrant(row database.Row) (*Grant, error) {
	g := &Grant{}
	var scopes string
	var offline, authTime, created, expires, revoked, used int64
	if err := row.Scan(&g.ID, &g.Client, &g.User, &g.Patient, &scopes, &offline, &authTime, &created, &expires, &revoked, &used); err != nil {
		return nil, err
	}
	if err := database.Decode(scopes, &g.Scopes); err != nil {
		return nil, err
	}
	g.Offline, g.AuthTime, g.Created = offline != 0, database.Instant(authTime), database.Instant(created)
	g.Expires, g.Revoked, g.LastUsed = database.Instant(expires), database.Instant(revoked), database.Instant(used)
	return g, nil
}
