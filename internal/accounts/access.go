package accounts

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/internal/database"
)

// Access is what a valid access token opens.
type Access struct {
	Grant, Client, User, Patient string
	Scopes                       []string
	Issued, Expires              time.Time
}

// OverError says that an access token opens nothing any more: it has expired, its grant was revoked, or its client is not
// active. It is ErrNotFound for those who do not ask for more.
type OverError struct{ Client string }

func (e *OverError) Error() string { return ErrNotFound.Error() }

// Is says that there is no such token now.
func (e *OverError) Is(target error) bool { return target == ErrNotFound }

// Access finds a valid access token: not expired, its grant neither expired nor revoked, its client active. It fails
// with ErrNotFound, which is an *OverError if the token was valid once and is still known. It is called for each request to the API, is one query by a primary key, and keeps nothing: what
// is revoked counts at once, in all processes.
func (a *Accounts) Access(ctx context.Context, token string) (*Access, error) {
	// The query ends by itself, at once, and a context that can be cancelled costs SQLite more than the query does.
	if a.db.SQLite() {
		if err := ctx.Err(); err != nil {
			return nil, database.Fault(err)
		}
		ctx = context.WithoutCancel(ctx)
	}
	var text string
	var used int64
	if err := a.find.QueryRowContext(ctx, database.Sum(token)).Scan(&text, &used); err != nil {
		return nil, database.Fault(err)
	}
	var v Access
	if err := v.read(text); err != nil {
		return nil, err
	}
	now := a.now()
	if used < 0 || !v.Expires.After(now) {
		return nil, &OverError{v.Client}
	}
	if at := database.Millis(now); at-used >= usedEvery.Milliseconds() {
		a.mu.Lock()
		a.used[v.Grant] = at
		a.mu.Unlock()
	}
	return &v, nil
}

// accessQuery has two columns, since each costs as much as a look into a table: what does not change, and -1 or, if
// the token opens anything, when its grant was last used. The database need not compare instants: what has expired
// is in what does not change.
const accessQuery = `SELECT t.about, CASE WHEN g.revoked = 0 AND c.status = 'active' THEN g.last_used ELSE -1 END
	FROM access_tokens t JOIN grants g ON g.id = t.grant_id JOIN clients c ON c.id = g.client WHERE t.token_sum = $1`

// between stands between what is kept of an access token. JSON would take as long as the query.
const between = "\x1f"

// write writes what is kept of an access token.
func (v *Access) write() (string, error) {
	fields := append([]string{
		v.Grant, v.Client, v.User, v.Patient, strconv.FormatInt(database.Millis(v.Issued), 10), strconv.FormatInt(database.Millis(v.Expires), 10),
	}, v.Scopes...)
	for _, f := range fields {
		if strings.Contains(f, between) {
			return "", errors.New("accounts: an id or a scope has a control character in it")
		}
	}
	return strings.Join(fields, between), nil
}

// read reads it.
func (v *Access) read(text string) error {
	fields := strings.Split(text, between)
	if len(fields) < 6 {
		return errAccess
	}
	issued, err := strconv.ParseInt(fields[4], 10, 64)
	if err != nil {
		return errAccess
	}
	expires, err := strconv.ParseInt(fields[5], 10, 64)
	if err != nil {
		return errAccess
	}
	*v = Access{
		Grant: fields[0], Client: fields[1], User: fields[2], Patient: fields[3], Issued: database.Instant(issued), Expires: database.Instant(expires),
		Scopes: fields[6:],
	}
	return nil
}

var errAccess = errors.New("accounts: an access token cannot be read")

// The last use of a grant, or of a secret, is kept to the minute, and by whoever comes by, not by the request.
const (
	usedEvery = time.Minute
	keepEvery = 5 * time.Second
)

// noteUsed keeps, now and then, when grants and secrets were last used.
func (a *Accounts) noteUsed() {
	defer a.ended.Done()
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-tick.C:
			_ = a.keepUsed(context.Background()) // it is tried again, and Close reports it
		}
	}
}

// secretKey is the primary key of a secret of a client.
type secretKey struct{ client, sum string }

func (k secretKey) compare(l secretKey) int {
	return cmp.Or(strings.Compare(k.client, l.client), strings.Compare(k.sum, l.sum))
}

// keepUsed keeps when grants and secrets were last used. What it cannot keep it will try to keep the next time.
func (a *Accounts) keepUsed(ctx context.Context) error {
	a.mu.Lock()
	grants, secrets := a.used, a.secretsUsed
	a.used, a.secretsUsed = map[string]int64{}, map[secretKey]int64{}
	a.mu.Unlock()
	if len(grants) == 0 && len(secrets) == 0 {
		return nil
	}
	err := a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, id := range slices.Sorted(maps.Keys(grants)) { // in one order, or processes would wait for each other
			if _, err := database.Change(ctx, tx, `UPDATE grants SET last_used = $1 WHERE id = $2 AND last_used < $1`, grants[id], id); err != nil {
				return err
			}
		}
		for _, k := range slices.SortedFunc(maps.Keys(secrets), secretKey.compare) { // as above
			if _, err := database.Change(ctx, tx, `UPDATE client_secrets SET last_used = $1 WHERE client = $2 AND secret_sum = $3 AND last_used < $1`,
				secrets[k], k.client, k.sum); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.mu.Lock()
		for id, at := range grants {
			a.used[id] = max(a.used[id], at)
		}
		for k, at := range secrets {
			a.secretsUsed[k] = max(a.secretsUsed[k], at)
		}
		a.mu.Unlock()
	}
	return err
}
