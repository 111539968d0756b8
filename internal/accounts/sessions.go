package accounts

import (
	"context"
	"time"

	"cpcds2fhir/internal/database"
)

// Session is a user who has signed in with a browser.
type Session struct {
	ID       string // random; kept as a sum
	User     string
	Level    string // acr of the identity provider, "" for embedded logins
	AuthTime time.Time
	Seen     time.Time
	Created  time.Time
	Expires  time.Time // whatever happens
}

// AddSession keeps a session.
func (a *Accounts) AddSession(ctx context.Context, s *Session) error {
	now := a.now()
	created, seen := s.Created, s.Seen
	if created.IsZero() {
		created = now
	}
	if seen.IsZero() {
		seen = now
	}
	n, err := a.db.Change(ctx, `INSERT INTO sessions (id_sum, user_id, level, auth_time, seen, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (id_sum) DO NOTHING`, database.Sum(s.ID), s.User, s.Level, database.Millis(s.AuthTime), database.Millis(seen), database.Millis(created), database.Millis(s.Expires))
	if err == nil && n == 0 {
		return ErrExists
	}
	return err
}

// Session finds a session that was seen within idle and has not expired, and notes that it was seen now (to the
// minute). It fails with ErrNotFound.
func (a *Accounts) Session(ctx context.Context, id string, idle time.Duration) (*Session, error) {
	s := &Session{ID: id}
	var authTime, seen, created, expires int64
	if err := a.db.QueryRowContext(ctx, `SELECT user_id, level, auth_time, seen, created, expires FROM sessions WHERE id_sum = $1`, database.Sum(id)).
		Scan(&s.User, &s.Level, &authTime, &seen, &created, &expires); err != nil {
		return nil, database.Fault(err)
	}
	now := database.Millis(a.now())
	if expires <= now || now-seen > idle.Milliseconds() {
		return nil, ErrNotFound
	}
	if now-seen >= min(time.Minute, idle/4).Milliseconds() { // a short idle time needs to be known better
		// If it was ended meanwhile this changes nothing, and nobody is signed in.
		if err := a.db.ChangeOne(ctx, `UPDATE sessions SET seen = $1 WHERE id_sum = $2 AND expires > $1`, now, database.Sum(id)); err != nil {
			return nil, err
		}
		seen = now
	}
	s.AuthTime, s.Seen, s.Created, s.Expires = database.Instant(authTime), database.Instant(seen), database.Instant(created), database.Instant(expires)
	return s, nil
}

// EndSession ends a session; an unknown one is no error.
func (a *Accounts) EndSession(ctx context.Context, id string) error {
	_, err := a.db.Change(ctx, `DELETE FROM sessions WHERE id_sum = $1`, database.Sum(id))
	return err
}
