package database

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Queryer is a database, or a transaction.
type Queryer interface {
	QueryContext(ctx context.Context, query string, values ...any) (*sql.Rows, error)
}

// Row is what a function reads that makes a record of it: a *sql.Row, or one of *sql.Rows.
type Row interface{ Scan(into ...any) error }

// List reads all rows of a query. Without any it is nil, and no error.
func List[T any](ctx context.Context, q Queryer, read func(Row) (T, error), query string, values ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, values...)
	if err != nil {
		return nil, Fault(err)
	}
	defer rows.Close() //nolint:errcheck // Err says what went wrong
	var all []T
	for rows.Next() {
		v, err := read(rows)
		if err != nil {
			return nil, Fault(err)
		}
		all = append(all, v)
	}
	if err := rows.Err(); err != nil {
		return nil, Fault(err)
	}
	return all, nil
}

// Column reads the only column of a query.
func Column(ctx context.Context, q Queryer, query string, values ...any) ([]string, error) {
	return List(ctx, q, func(row Row) (s string, err error) {
		err = row.Scan(&s)
		return s, err
	}, query, values...)
}

// Fault turns what a query for one row says into what callers are told: ErrNotFound if there is none, and nil for
// nil. Errors of a driver get a prefix; others are left as they are.
func Fault(err error) error {
	var pg *pgconn.PgError
	if errors.Is(err, sql.ErrNoRows) || errors.As(err, &pg) && pg.Code == "22021" { // no row has a text that is not UTF-8, or has a NUL
		return ErrNotFound
	}
	return described(err)
}

// Millis writes an instant as it is kept: milliseconds since 1970, and 0 for the zero time.
func Millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// Instant reads an instant as it is kept, in UTC.
func Instant(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Bit writes a truth value as it is kept.
func Bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Encode writes what is kept as JSON.
func Encode(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("database: write a record: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// Decode reads what is kept as JSON.
func Decode(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("database: a record cannot be read: %w", err)
	}
	return nil
}
