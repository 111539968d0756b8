package accounts

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"cpcds2fhir/internal/database"
)

// User is a person who signs in: a subject of an identity provider, or a login of the sandbox. Names and addresses
// are not kept.
type User struct {
	ID      string
	Issuer  string // of the identity provider; "" for an embedded login
	Subject string // at the provider, or the embedded login
	Created time.Time
}

// Link says that a user may see a member's data, and let apps see it.
type Link struct {
	User    string
	Patient string
	Role    string // self, or representative: a parent, a guardian
	Source  string // rule (of the identity provider's claims), operator or sandbox
	Created time.Time
}

// EnsureUser finds the user of a subject, or makes it.
func (a *Accounts) EnsureUser(ctx context.Context, issuer, subject string) (*User, error) {
	const query = userQuery + ` WHERE issuer = $1 AND subject = $2`
	u, err := readUser(a.db.QueryRowContext(ctx, query, issuer, subject))
	if errors.Is(err, sql.ErrNoRows) {
		if _, err := a.db.Change(ctx, userInsert, database.Random(), issuer, subject, database.Millis(a.now())); err != nil {
			return nil, err
		}
		u, err = readUser(a.db.QueryRowContext(ctx, query, issuer, subject))
	}
	if err != nil {
		return nil, database.Fault(err)
	}
	return u, nil
}

const (
	userQuery  = `SELECT id, issuer, subject, created FROM users`
	userInsert = `INSERT INTO users (id, issuer, subject, created) VALUES ($1, $2, $3, $4) ON CONFLICT (issuer, subject) DO NOTHING`
)

func readUser(row database.Row) (*User, error) {
	u := &User{}
	var created int64
	if err := row.Scan(&u.ID, &u.Issuer, &u.Subject, &created); err != nil {
		return nil, err
	}
	u.Created = database.Instant(created)
	return u, nil
}

// User finds a user by id. It fails with ErrNotFound.
func (a *Accounts) User(ctx context.Context, id string) (*User, error) {
	u, err := readUser(a.db.QueryRowContext(ctx, userQuery+` WHERE id = $1`, id))
	if err != nil {
		return nil, database.Fault(err)
	}
	return u, nil
}

// AddLink lets a user speak for a member; a second link of both replaces the first. It fails with ErrNotFound if
// there is no such user.
func (a *Accounts) AddLink(ctx context.Context, l *Link) error {
	created := l.Created
	if created.IsZero() {
		created = a.now()
	}
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		var id string
		if err := tx.QueryRowContext(ctx, `SELECT id FROM users WHERE id = $1`, l.User).Scan(&id); err != nil {
			return database.Fault(err)
		}
		_, err := database.Change(ctx, tx, `INSERT INTO links (user_id, patient, role, source, created) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (user_id, patient) DO UPDATE SET role = excluded.role, source = excluded.source, created = excluded.created`,
			l.User, l.Patient, l.Role, l.Source, database.Millis(created))
		return err
	})
}

// RemoveLink ends a link, and revokes the grants that the user gave for the member. It fails with ErrNotFound.
func (a *Accounts) RemoveLink(ctx context.Context, user, patient string) error {
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		n, err := database.Change(ctx, tx, `DELETE FROM links WHERE user_id = $1 AND patient = $2`, user, patient)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		// A consent of this user that is being given goes first, or after.
		if _, err := database.Change(ctx, tx, `UPDATE users SET created = created WHERE id = $1`, user); err != nil {
			return err
		}
		_, err = database.Change(ctx, tx, `UPDATE grants SET revoked = $1 WHERE user_id = $2 AND patient = $3 AND revoked = 0 AND expires > $1`,
			database.Millis(a.now()), user, patient)
		return err
	})
}

// Links lists the members that a user speaks for, or with user "" all links, or those of a patient: itself first.
func (a *Accounts) Links(ctx context.Context, user, patient string) ([]*Link, error) {
	query, values := `SELECT user_id, patient, role, source, created FROM links`, []any(nil)
	switch {
	case user != "" && patient != "":
		query, values = query+` WHERE user_id = $1 AND patient = $2`, []any{user, patient}
	case user != "":
		query, values = query+` WHERE user_id = $1`, []any{user}
	case patient != "":
		query, values = query+` WHERE patient = $1`, []any{patient}
	}
	query += ` ORDER BY CASE WHEN role = 'self' THEN 0 ELSE 1 END, created, user_id, patient`
	return database.List(ctx, a.db, func(row database.Row) (*Link, error) {
		l := &Link{}
		var created int64
		if err := row.Scan(&l.User, &l.Patient, &l.Role, &l.Source, &created); err != nil {
			return nil, err
		}
		l.Created = database.Instant(created)
		return l, nil
	}, query, values...)
}
