package database_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"cpcds2fhir/internal/database"
	"cpcds2fhir/internal/database/databasetest"
)

var ctx = context.Background()

// first is a package's tables, and second what a later version adds.
const (
	first  = "-- +goose Up\nCREATE TABLE things (id TEXT PRIMARY KEY, n BIGINT NOT NULL);\n"
	second = "-- +goose Up\nCREATE TABLE more (id TEXT PRIMARY KEY);\nALTER TABLE things ADD COLUMN note TEXT NOT NULL DEFAULT '';\n"
)

func files(texts ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i, text := range texts {
		m[fmt.Sprintf("%05d_step.sql", i+1)] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

func openAt(t testing.TB, url string, o *database.Options) *database.DB {
	t.Helper()
	d, err := database.Open(url, o)
	ok(t, err)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// things opens a database that has the first tables.
func things(t testing.TB, url string) *database.DB {
	t.Helper()
	d := openAt(t, url, &database.Options{})
	ok(t, d.Migrate(ctx, files(first), "things_schema"))
	return d
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func count(t testing.TB, q database.Queryer, query string, values ...any) int {
	t.Helper()
	n, err := database.List(ctx, q, func(row database.Row) (n int, err error) {
		err = row.Scan(&n)
		return n, err
	}, query, values...)
	ok(t, err)
	return n[0]
}

func TestPackagesShareADatabase(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		d := things(t, url)
		ok(t, d.Migrate(ctx, files("-- +goose Up\nCREATE TABLE others (id TEXT PRIMARY KEY);\n"), "others_schema"))
		_, err := d.Change(ctx, `INSERT INTO things (id, n) VALUES ($1, 1)`, "a")
		ok(t, err)
		_, err = d.Change(ctx, `INSERT INTO others (id) VALUES ($1)`, "a")
		ok(t, err)
		ok(t, d.Check(ctx))

		// One of them goes on, the other stays.
		ok(t, openAt(t, url, &database.Options{}).Migrate(ctx, files(first, second), "things_schema"))
		if n := count(t, d, `SELECT COUNT(*) FROM things WHERE note = ''`); n != 1 {
			t.Errorf("%d things", n)
		}
		if err := d.Check(ctx); err == nil || !strings.Contains(err.Error(), "newer program: the schema things_schema has version 2, this program knows 1") {
			t.Errorf("got %v", err)
		}
		if err := openAt(t, url, &database.Options{}).Migrate(ctx, files(first), "things_schema"); err == nil || !strings.Contains(err.Error(), "newer program") {
			t.Errorf("got %v", err)
		}
	})
}

func TestExistingChangesNothing(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		things(t, url)
		look := openAt(t, url, &database.Options{Existing: true})
		ok(t, look.Migrate(ctx, files(first), "things_schema"))
		if err := look.Migrate(ctx, files(first, second), "things_schema"); err == nil || !strings.Contains(err.Error(), "has version 1, this program needs 2") {
			t.Errorf("got %v", err)
		}
		if n := count(t, look, `SELECT MAX(version_id) FROM things_schema`); n != 1 {
			t.Errorf("the schema has version %d", n)
		}
	})
	path := filepath.Join(t.TempDir(), "none.db")
	if _, err := database.Open("sqlite:"+path, &database.Options{Existing: true}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file was made", err)
	}
}

func TestMigrateTogether(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		var all sync.WaitGroup
		for range 8 {
			d := openAt(t, url, &database.Options{})
			all.Go(func() {
				if err := d.Migrate(ctx, files(first, second), "things_schema"); err != nil {
					t.Error(err)
				}
				if err := d.Check(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := count(t, openAt(t, url, &database.Options{}), `SELECT COUNT(*) FROM things_schema WHERE version_id > 0`); n != 2 {
			t.Errorf("%d migrations were noted", n)
		}
	})
}

func TestMigrationThatFails(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		d := things(t, url)
		err := d.Migrate(ctx, files(first, "-- +goose Up\nCREATE TABLE half (id TEXT PRIMARY KEY);\nCREATE NONSENSE;\n"), "things_schema")
		if err == nil || !strings.Contains(err.Error(), "bring the schema things_schema up to date") {
			t.Errorf("got %v", err)
		}
		if _, err := database.Column(ctx, d, `SELECT id FROM half`); err == nil {
			t.Error("half of a migration is there")
		}
		ok(t, d.Check(ctx))
	})
}

func TestTxIsAllOrNothing(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		d := things(t, url)
		own := errors.New("an error of the caller")
		add := func(id string, told error) error {
			return d.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				if _, err := database.Change(ctx, tx, `INSERT INTO things (id, n) VALUES ($1, 0)`, id); err != nil {
					return err
				}
				return told
			})
		}
		for _, c := range []struct {
			told, want error
			kept       int
		}{
			{nil, nil, 1},
			{own, own, 0},
			{database.ErrUsed, database.ErrUsed, 0},
			{sql.ErrNoRows, sql.ErrNoRows, 0},
			{database.OutcomeError{Err: own}, own, 1},
			{fmt.Errorf("told: %w", database.OutcomeError{Err: own}), own, 1},
		} {
			id := database.Random()
			if err := add(id, c.told); err != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if n := count(t, d, `SELECT COUNT(*) FROM things WHERE id = $1`, id); n != c.kept {
				t.Errorf("%v: %d were kept", c.told, n)
			}
		}
		wrapped := fmt.Errorf("portal: %w", own)
		if err := add(database.Random(), wrapped); err != wrapped || !errors.Is(err, own) {
			t.Errorf("got %v", err)
		}

		ok(t, add("twice", nil))
		if err := add("twice", nil); err == nil || !strings.HasPrefix(err.Error(), "database: ") {
			t.Errorf("got %v", err)
		}
		done, cancel := context.WithCancel(ctx)
		cancel()
		if err := d.Tx(done, func(context.Context, *sql.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestTxEndsAlthoughNobodyWaits begins a transaction for somebody who goes away.
func TestTxEndsAlthoughNobodyWaits(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		d := things(t, url)
		impatient, cancel := context.WithCancel(ctx)
		ok(t, d.Tx(impatient, func(ctx context.Context, tx *sql.Tx) error {
			cancel()
			_, err := database.Change(ctx, tx, `INSERT INTO things (id, n) VALUES ('a', 0)`)
			return err
		}))
		if n := count(t, d, `SELECT COUNT(*) FROM things`); n != 1 {
			t.Errorf("%d things", n)
		}
	})
}

// TestWritersInEachOthersWay changes two rows in both orders, which is a deadlock in PostgreSQL, by way of two
// openings, which lock each other's file out in SQLite.
func TestWritersInEachOthersWay(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		dbs := []*database.DB{things(t, url), things(t, url)}
		for _, id := range []string{"a", "b"} {
			_, err := dbs[0].Change(ctx, `INSERT INTO things (id, n) VALUES ($1, 0)`, id)
			ok(t, err)
		}
		var all sync.WaitGroup
		var runs atomic.Int64
		for i, order := range [][]string{{"a", "b"}, {"b", "a"}} {
			all.Go(func() {
				if err := dbs[i].Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
					runs.Add(1)
					for _, id := range order {
						if err := database.ChangeOne(ctx, tx, `UPDATE things SET n = n + 1 WHERE id = $1`, id); err != nil {
							return err
						}
						time.Sleep(100 * time.Millisecond) // the other one has its first row now
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := count(t, dbs[1], `SELECT SUM(n) FROM things`); n != 4 {
			t.Errorf("%d changes", n)
		}
		if n := runs.Load(); !dbs[0].SQLite() && n < 3 {
			t.Errorf("%d runs: there was no deadlock", n)
		}
	})
}

func TestEachStatementFails(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		f := &databasetest.Faults{}
		d := openAt(t, url, &database.Options{Wrap: f.Wrap})
		ok(t, d.Migrate(ctx, files(first), "things_schema"))
		state := func() string { return fmt.Sprint(count(t, d, `SELECT COUNT(*) FROM things`)) }
		n := f.EachFails(t, "two inserts", state, func() error {
			return d.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				for range 2 {
					if _, err := database.Change(ctx, tx, `INSERT INTO things (id, n) VALUES ($1, 0)`, database.Random()); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if n != 4 { // begin, both, commit
			t.Errorf("%d statements could fail", n)
		}
		f.Next(1)
		if _, err := database.Column(ctx, d, `SELECT id FROM things`); !errors.Is(err, databasetest.ErrFault) {
			t.Errorf("got %v", err)
		}
	})
}

func TestRecords(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		d := things(t, url)
		one := func(id string) error {
			var n int
			return database.Fault(d.QueryRowContext(ctx, `SELECT n FROM things WHERE id = $1`, id).Scan(&n))
		}
		_, err := d.Change(ctx, `INSERT INTO things (id, n) VALUES ('b', 1), ('a', 2)`)
		ok(t, err)
		ok(t, one("a"))
		for _, id := range []string{"none", "\x00", "\xff"} { // no row has such a text
			if err := one(id); err != database.ErrNotFound {
				t.Errorf("%q: got %v", id, err)
			}
		}
		ids, err := database.Column(ctx, d, `SELECT id FROM things ORDER BY id`)
		if err != nil || strings.Join(ids, " ") != "a b" {
			t.Errorf("got %q, %v", ids, err)
		}
		if ids, err := database.Column(ctx, d, `SELECT id FROM things WHERE n > 5`); ids != nil || err != nil {
			t.Errorf("got %q, %v", ids, err)
		}
		own := errors.New("a record that its reader refuses")
		if _, err := database.List(ctx, d, func(database.Row) (int, error) { return 0, own }, `SELECT id FROM things`); err != own {
			t.Errorf("got %v", err)
		}
		if _, err := database.Column(ctx, d, `SELECT nothing FROM things`); err == nil || !strings.HasPrefix(err.Error(), "database: ") {
			t.Errorf("got %v", err)
		}
		if err := d.ChangeOne(ctx, `UPDATE things SET n = 0 WHERE id = 'none'`); err != database.ErrNotFound {
			t.Errorf("got %v", err)
		}
		s, err := d.PrepareContext(ctx, `SELECT n FROM things WHERE id = $1`)
		ok(t, err)
		var n int
		ok(t, s.QueryRowContext(ctx, "a").Scan(&n))
		ok(t, s.Close())
	})
}

func TestClosedDatabase(t *testing.T) {
	databasetest.Each(t, func(t *testing.T, url string) {
		d := things(t, url)
		ok(t, d.Check(ctx))
		ok(t, d.Close())
		if d.Check(ctx) == nil {
			t.Error("a closed database can be reached")
		}
		if d.Tx(ctx, func(context.Context, *sql.Tx) error { return nil }) == nil {
			t.Error("a closed database changes")
		}
	})
}

func TestFilesAreTheOwners(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	ok(t, os.WriteFile(path, nil, 0o644))
	things(t, "sqlite:"+path)
	for _, end := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + end)
		ok(t, err)
		if m := info.Mode().Perm(); m != 0o600 {
			t.Errorf("%s has mode %o", end, m)
		}
	}
}

func TestURLsAreNotInErrors(t *testing.T) {
	for _, url := range []string{"postgres://u:canary@127.0.0.1:1/x?sslmode=disable&connect_timeout=1", "postgres://u:canary@[::1", "mysql:canary", "sqlite:", "canary"} {
		d, err := database.Open(url, &database.Options{})
		if err == nil {
			err = d.Migrate(ctx, files(first), "things_schema")
			ok(t, d.Close())
		}
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v", err)
		}
	}
}
