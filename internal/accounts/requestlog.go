package accounts

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"cpcds2fhir/internal/database"
)

// ClientRequest is a request of an app as its developers may see it. Nothing in it is a value of a member.
type ClientRequest struct {
	Client  string
	At      time.Time // kept in milliseconds; zero is now
	Method  string    // of HTTP
	Route   string    // a template, such as "GET /Patient/{id}" or "token refresh_token", never the path itself
	Status  int       // of HTTP
	Cause   string    // a code of OAuth or FHIR, such as invalid_grant; "" if nothing went wrong
	Request string    // the id that the app was told (X-Request-Id)
}

// How much of the log of requests is kept.
const (
	KeepRequests = 30 * 24 * time.Hour
	MostRequests = 5000 // of a client; more are deleted by the next Expire
)

const (
	logPiece = 100 // rows of one statement
	textMost = 200 // bytes of a text of the log: a route is written by us, and an id by anybody
	pageMost = 1000
)

// LogRequests keeps requests of apps, all of them or none. Requests of clients that there are not are left out.
func (a *Accounts) LogRequests(ctx context.Context, requests []ClientRequest) error {
	if len(requests) == 0 {
		return nil
	}
	now := a.now()
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		known := map[string]bool{}
		for i := range requests {
			known[requests[i].Client] = false
		}
		for _, client := range slices.Sorted(maps.Keys(known)) {
			found, err := database.Column(ctx, tx, `SELECT id FROM clients WHERE id = $1`, plain(client))
			if err != nil {
				return err
			}
			known[client] = slices.Contains(found, client)
		}
		var rows []any
		for i := range requests {
			r := &requests[i]
			if !known[r.Client] {
				continue
			}
			at := r.At
			if at.IsZero() {
				at = now
			}
			rows = append(rows, r.Client, database.Millis(at), database.Random()[:16], plain(r.Method), plain(r.Route), int64(r.Status), plain(r.Cause), plain(r.Request))
		}
		for piece := range slices.Chunk(rows, logPiece*logColumns) {
			if _, err := database.Change(ctx, tx, logInsert(len(piece)/logColumns), piece...); err != nil {
				return err
			}
		}
		return nil
	})
}

const logColumns = 8

// logInsert inserts so many rows of the log.
func logInsert(rows int) string {
	var b strings.Builder
	b.WriteString(`INSERT INTO client_requests (client, at, id, method, route, status, cause, request) VALUES `)
	for i := range rows * logColumns {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%logColumns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	return b.String() + ")"
}

// plain makes a text one that both databases keep: one bad text must not cost the others of a batch.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if len(s) > textMost {
		s = strings.ToValidUTF8(s[:textMost], "")
	}
	return s
}

// Requests lists requests of a client before an instant (zero: all), the newest first: limit of them, and those of
// the same millisecond as the last one, so that a caller that goes on before that one misses none. There are at most
// 1000 and these.
func (a *Accounts) Requests(ctx context.Context, client string, before time.Time, limit int) ([]ClientRequest, error) {
	if limit <= 0 {
		return nil, nil
	}
	end := int64(math.MaxInt64)
	if !before.IsZero() {
		end = database.Millis(before)
	}
	return database.List(ctx, a.db, func(row database.Row) (r ClientRequest, err error) {
		var at int64
		err = row.Scan(&r.Client, &at, &r.Method, &r.Route, &r.Status, &r.Cause, &r.Request)
		r.At = database.Instant(at)
		return r, err
	}, `SELECT client, at, method, route, status, cause, request FROM client_requests WHERE client = $1 AND at < $2 AND at >=
		COALESCE((SELECT at FROM client_requests WHERE client = $1 AND at < $2 ORDER BY at DESC LIMIT 1 OFFSET $3), 0) ORDER BY at DESC, id`,
		client, end, int64(min(limit, pageMost)-1))
}

// RequestsBy counts the requests of a client from an instant on, by route and status: "GET /Patient/{id} 200".
func (a *Accounts) RequestsBy(ctx context.Context, client string, since time.Time) (map[string]int, error) {
	type count struct {
		route     string
		status, n int
	}
	counts, err := database.List(ctx, a.db, func(row database.Row) (c count, err error) {
		err = row.Scan(&c.route, &c.status, &c.n)
		return c, err
	}, `SELECT route, status, COUNT(*) FROM client_requests WHERE client = $1 AND at >= $2 GROUP BY route, status`, client, database.Millis(since))
	if err != nil {
		return nil, err
	}
	by := make(map[string]int, len(counts))
	for _, c := range counts {
		by[fmt.Sprint(c.route, " ", c.status)] = c.n
	}
	return by, nil
}

// expireRequests deletes the oldest requests of clients that have more than are kept.
func (a *Accounts) expireRequests(ctx context.Context) error {
	clients, err := database.Column(ctx, a.db, `SELECT client FROM client_requests GROUP BY client HAVING COUNT(*) > $1`, MostRequests)
	if err != nil {
		return err
	}
	for _, client := range clients {
		for n := int64(1000); n >= 1000; { // in pieces, so that others write in between
			if n, err = a.db.Change(ctx, `DELETE FROM client_requests WHERE (client, at, id) IN (SELECT client, at, id FROM client_requests
				WHERE client = $1 ORDER BY at DESC, id DESC LIMIT 1000 OFFSET $2)`, client, MostRequests); err != nil {
				return err
			}
		}
	}
	return nil
}
