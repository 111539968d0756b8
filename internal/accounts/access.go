package accounts

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"
)

// Access is what a valid access token opens.
type Access struct {
	Grant, Client, User, Patient string
	Scopes                       []string
	Issued, Expires              time.Time
}

// Access finds a valid access token: not expired, its grant neither expired nor revoked, its client active. It fails
// with ErrNotFound. It is called for each request to the API, is one query by a primary key, and keeps nothing: what
// is revoked counts at once, in all processes.
func (a *Accounts) Access(ctx context.Context, token string) (*Access, error) {
	// The query ends by itself, at once, and a context that can be cancelled costs SQLite more than the query does.
	if a.writer != nil {
		if err := ctx.Err(); err != nil {
			return nil, fault(err)
		}
		ctx = context.WithoutCancel(ctx)
	}
	var v Access
	var scopes, status string
	var issued, expires, ends, revoked, used int64
	if err := a.find.QueryRowContext(ctx, sum(token)).Scan(&v.Grant, &v.Client, &v.User, &v.Patient, &scopes, &issued, &expires,
		&ends, &revoked, &used, &status); err != nil {
		return nil, fault(err)
	}
	now := millis(a.now())
	if expires = min(expires, ends); expires <= now || revoked != 0 || Status(status) != Active {
		return nil, ErrNotFound
	}
	if err := decode(scopes, &v.Scopes); err != nil {
		return nil, err
	}
	v.Issued, v.Expires = instant(issued), instant(expires)
	if now-used >= usedEvery.Milliseconds() {
		a.mu.Lock()
		a.used[v.Grant] = now
		a.mu.Unlock()
	}
	return &v, nil
}

const accessQuery = `SELECT g.id, g.client, g.user_id, g.patient, t.scopes, t.issued, t.expires, g.expires, g.revoked, g.last_used, c.status
	FROM access_tokens t JOIN grants g ON g.id = t.grant_id JOIN clients c ON c.id = g.client WHERE t.token_sum = $1`

// The last use of a grant is kept to the minute, and by whoever comes by, not by the request.
const (
	usedEvery = time.Minute
	keepEvery = 5 * time.Second
)

// noteUsed keeps, now and then, when grants were last used.
func (a *Accounts) noteUsed() {
	defer a.ended.Done()
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-tick.C:
			_ = a.keepUsed(context.Background()) //nolint:errcheck // it is tried again, and Close reports it
		}
	}
}

// keepUsed keeps when grants were last used. What it cannot keep it will try to keep the next time.
func (a *Accounts) keepUsed(ctx context.Context) error {
	a.mu.Lock()
	used := a.used
	a.used = map[string]int64{}
	a.mu.Unlock()
	if len(used) == 0 {
		return nil
	}
	err := a.tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, id := range slices.Sorted(maps.Keys(used)) { // in one order, or processes would wait for each other
			if _, err := change(ctx, tx, `UPDATE grants SET last_used = $1 WHERE id = $2 AND last_used < $1`, used[id], id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.mu.Lock()
		for id, at := range used {
			a.used[id] = max(a.used[id], at)
		}
		a.mu.Unlock()
	}
	return err
}
