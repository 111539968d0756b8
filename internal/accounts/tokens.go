package accounts

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"cpcds2fhir/internal/database"
)

// Tokens are what a code or a refresh token is redeemed for. The caller makes the secrets; they are kept as sums.
type Tokens struct {
	Access         string
	AccessScopes   []string // of the access token: those of the grant, or less
	AccessExpires  time.Time
	Refresh        string // "" for none
	RefreshExpires time.Time
}

// codeAbout is what is kept of a code as JSON.
type codeAbout struct {
	Client      string `json:"client"`
	RedirectURI string `json:"redirect_uri"`
	Challenge   string `json:"challenge,omitempty"`
	Nonce       []byte `json:"nonce"`
	Utah        bool   `json:"utah,omitempty"`
}

func addCode(ctx context.Context, tx *sql.Tx, c *Code) error {
	about, err := database.Encode(codeAbout{Client: c.Client, RedirectURI: c.RedirectURI, Challenge: c.Challenge, Nonce: []byte(c.Nonce), Utah: c.Utah})
	if err != nil {
		return err
	}
	_, err = database.Change(ctx, tx, `INSERT INTO codes (code_sum, grant_id, used, about, expires) VALUES ($1, $2, 0, $3, $4)`,
		database.Sum(c.Secret), c.Grant, about, database.Millis(c.Expires))
	return err
}

// FindCode finds a code, used or not, without using it. It fails with ErrNotFound, also if the code has expired and
// was never used.
func (a *Accounts) FindCode(ctx context.Context, secret string) (*Code, *Grant, error) {
	var about string
	var used, expires int64
	g, err := readGrant(after(a.db.QueryRowContext(ctx, `SELECT c.about, c.used, c.expires, `+grantColumns+`
		FROM codes c JOIN grants g ON g.id = c.grant_id WHERE c.code_sum = $1`, database.Sum(secret)), &about, &used, &expires))
	if err != nil {
		return nil, nil, database.Fault(err)
	}
	if used == 0 && expires <= database.Millis(a.now()) {
		return nil, nil, ErrNotFound
	}
	var k codeAbout
	if err := database.Decode(about, &k); err != nil {
		return nil, nil, err
	}
	return &Code{
		Secret: secret, Grant: g.ID, Client: k.Client, RedirectURI: k.RedirectURI, Challenge: k.Challenge,
		Nonce: string(k.Nonce), Utah: k.Utah, Expires: database.Instant(expires),
	}, g, nil
}

// rest is a row some of whose columns, the first ones, have a place already.
type rest struct {
	row   *sql.Row
	first []any
}

func after(row *sql.Row, first ...any) rest { return rest{row, first} }

func (r rest) Scan(into ...any) error { return r.row.Scan(append(r.first, into...)...) }

// Redeem uses a code that is not expired, and keeps the tokens. If the code was used before it fails with
// ErrReused, and the grant and all of its tokens are revoked: that is committed. ErrNotFound is any other reason.
// Of any number of calls at the same time one succeeds.
func (a *Accounts) Redeem(ctx context.Context, code string, t *Tokens) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, key := database.Millis(a.now()), database.Sum(code)
		n, err := database.Change(ctx, tx, `UPDATE codes SET used = $1 WHERE code_sum = $2 AND used = 0 AND expires > $1`, now, key)
		if err != nil {
			return err
		}
		var grant string
		var used int64
		if err := tx.QueryRowContext(ctx, `SELECT grant_id, used FROM codes WHERE code_sum = $1`, key).Scan(&grant, &used); err != nil {
			return database.Fault(err)
		}
		switch {
		case n == 1:
			g, err := a.standing(ctx, tx, grant)
			if err != nil {
				return err
			}
			return a.addTokens(ctx, tx, g, t)
		case used == 0:
			return ErrNotFound // expired
		}
		return a.reused(ctx, tx, grant)
	})
}

// standing finds a grant. It fails with ErrNotFound if it has ended, or its client may do nothing.
func (a *Accounts) standing(ctx context.Context, tx *sql.Tx, id string) (*Grant, error) {
	g, err := readGrant(tx.QueryRowContext(ctx, `SELECT `+grantColumns+` FROM grants g JOIN clients c ON c.id = g.client
		WHERE g.id = $1 AND g.revoked = 0 AND g.expires > $2 AND c.status = $3`, id, database.Millis(a.now()), string(Active)))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	return g, err
}

// reused revokes a grant, and tells of it.
func (a *Accounts) reused(ctx context.Context, tx *sql.Tx, grant string) error {
	if _, err := a.revoke(ctx, tx, grant); err != nil {
		return err
	}
	return database.OutcomeError{Err: ErrReused}
}

func (a *Accounts) addTokens(ctx context.Context, tx *sql.Tx, g *Grant, t *Tokens) error {
	v := Access{Grant: g.ID, Client: g.Client, User: g.User, Patient: g.Patient, Scopes: t.AccessScopes, Issued: a.now(), Expires: t.AccessExpires}
	if v.Expires.After(g.Expires) {
		v.Expires = g.Expires
	}
	about, err := v.write()
	if err != nil {
		return err
	}
	if _, err := database.Change(ctx, tx, `INSERT INTO access_tokens (token_sum, grant_id, about, expires) VALUES ($1, $2, $3, $4)`,
		database.Sum(t.Access), g.ID, about, database.Millis(v.Expires)); err != nil {
		return err
	}
	if t.Refresh == "" {
		return nil
	}
	_, err = database.Change(ctx, tx, `INSERT INTO refresh_tokens (token_sum, grant_id, expires, used, successor, answer, repeats) VALUES ($1, $2, $3, 0, '', '', 0)`,
		database.Sum(t.Refresh), g.ID, database.Millis(t.RefreshExpires))
	return err
}

// FindRefresh finds a refresh token whose grant is valid, without using it: used says that it was rotated. It fails
// with ErrNotFound, also if the token, its grant or its client's right has ended.
func (a *Accounts) FindRefresh(ctx context.Context, secret string) (g *Grant, used bool, err error) {
	var expires, usedAt int64
	var status string
	g, err = readGrant(after(a.db.QueryRowContext(ctx, `SELECT r.expires, r.used, c.status, `+grantColumns+` FROM refresh_tokens r
		JOIN grants g ON g.id = r.grant_id JOIN clients c ON c.id = g.client WHERE r.token_sum = $1`, database.Sum(secret)), &expires, &usedAt, &status))
	if err != nil {
		return nil, false, database.Fault(err)
	}
	now := a.now()
	if !g.Revoked.IsZero() || !g.Expires.After(now) || Status(status) != Active || usedAt == 0 && expires <= database.Millis(now) {
		return nil, false, ErrNotFound
	}
	return g, usedAt != 0, nil
}

// Rotate uses a refresh token and keeps its successors. A repeated call within grace of the first one gives back the
// tokens of the first (they are kept sealed for so long), so that an app that has lost an answer, or whose tabs
// race, goes on: of any number of calls one makes tokens, and the others answer with the same ones. After grace, or
// once a successor was itself rotated, it fails with ErrReused, and the grant and all of its tokens are revoked:
// that is committed. ErrNotFound is any other reason. With a grace of 0 one of any number of calls succeeds.
func (a *Accounts) Rotate(ctx context.Context, refresh string, t *Tokens, grace time.Duration) (*Tokens, error) {
	var answer string
	repeats := int64(0)
	if grace > 0 {
		b, err := json.Marshal(t)
		if err != nil {
			return nil, fmt.Errorf("accounts: %w", err)
		}
		// Whoever repeats the call has the refresh token: the answer opens with it and the seal alone.
		if answer, err = a.db.MAC("answer", refresh).Seal(database.Sum(refresh), b); err != nil {
			return nil, err
		}
		repeats = database.Millis(a.now().Add(grace))
	}
	next := ""
	if t.Refresh != "" {
		next = database.Sum(t.Refresh)
	}
	result := t
	err := a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now, key := database.Millis(a.now()), database.Sum(refresh)
		n, err := database.Change(ctx, tx, `UPDATE refresh_tokens SET used = $1, successor = $2, answer = $3, repeats = $4
			WHERE token_sum = $5 AND used = 0 AND expires > $1`, now, next, answer, repeats, key)
		if err != nil {
			return err
		}
		var r rotated
		if err := tx.QueryRowContext(ctx, `SELECT grant_id, used, successor, answer, repeats FROM refresh_tokens WHERE token_sum = $1`, key).
			Scan(&r.grant, &r.used, &r.successor, &r.answer, &r.repeats); err != nil {
			return database.Fault(err)
		}
		switch {
		case n == 1:
			result = t
			g, err := a.standing(ctx, tx, r.grant)
			if err != nil {
				return err
			}
			return a.addTokens(ctx, tx, g, t)
		case r.used == 0:
			return ErrNotFound // expired
		}
		if now >= min(r.repeats, r.used+grace.Milliseconds()) {
			return a.reused(ctx, tx, r.grant)
		}
		result, err = a.repeat(ctx, tx, refresh, &r)
		return err
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// rotated is what is kept of a refresh token that was used.
type rotated struct {
	grant             string
	used, repeats     int64
	successor, answer string
}

// repeat finds what a refresh token was rotated to.
func (a *Accounts) repeat(ctx context.Context, tx *sql.Tx, refresh string, r *rotated) (*Tokens, error) {
	if r.successor != "" {
		var used int64
		err := tx.QueryRowContext(ctx, `SELECT used FROM refresh_tokens WHERE token_sum = $1`, r.successor).Scan(&used)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		if used != 0 {
			return nil, a.reused(ctx, tx, r.grant)
		}
	}
	if _, err := a.standing(ctx, tx, r.grant); err != nil {
		return nil, err
	}
	b, err := a.db.MAC("answer", refresh).Open(database.Sum(refresh), r.answer)
	if err != nil {
		return nil, err
	}
	t := &Tokens{}
	return t, database.Decode(string(b), t)
}

// AddAccess keeps an access token of a client that acts for itself, and makes its grant.
func (a *Accounts) AddAccess(ctx context.Context, g *Grant, t *Tokens) error {
	if g.ID == "" {
		g.ID = database.Random()
	}
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := a.addGrant(ctx, tx, g); err != nil {
			return err
		}
		return a.addTokens(ctx, tx, g, t)
	})
}

// RevokeToken ends an access token or, for a refresh token, its grant, if the token is of this client. Unknown tokens
// are no error (RFC 7009, 2.2). It returns the id of the grant that was ended, if any.
func (a *Accounts) RevokeToken(ctx context.Context, client, token string) (grant string, err error) {
	err = a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		grant = ""
		n, err := database.Change(ctx, tx, `DELETE FROM access_tokens WHERE token_sum = $1 AND grant_id IN (SELECT id FROM grants WHERE client = $2)`,
			database.Sum(token), client)
		if err != nil || n == 1 {
			return err
		}
		var id string
		err = tx.QueryRowContext(ctx, `SELECT g.id FROM refresh_tokens r JOIN grants g ON g.id = r.grant_id WHERE r.token_sum = $1 AND g.client = $2`,
			database.Sum(token), client).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if ended, err := a.revoke(ctx, tx, id); err != nil || !ended {
			return err
		}
		grant = id
		return nil
	})
	return grant, err
}
