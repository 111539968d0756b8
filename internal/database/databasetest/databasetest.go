// Package databasetest is what tests of packages need that keep something in a database: a new database of each
// kind, and one whose statements fail.
package databasetest

import (
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"cpcds2fhir/internal/database"
)

// PostgresEnv has the URL of a PostgreSQL server whose database tests may make schemas in. The script .ci/postgres
// sets it.
const PostgresEnv = "ACCOUNTS_POSTGRES"

// Each runs a test on a new, empty database of each kind, at the same time. Without a server of PostgreSQL that part
// is skipped.
func Each(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "database #1?.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, postgresSchema(t))
	})
}

// postgresSchema makes a schema, and drops it after the test.
func postgresSchema(t *testing.T) string {
	t.Helper()
	server := os.Getenv(PostgresEnv) //nolint:forbidigo // it tells tests where they may run
	if server == "" {
		t.Skip("set " + PostgresEnv + " to the URL of a PostgreSQL server, or run .ci/postgres")
	}
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("the URL of the server cannot be read") // it may have a password
	}
	db, err := sql.Open("pgx", server)
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + database.Random()
	if _, err := db.ExecContext(t.Context(), "CREATE SCHEMA "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.Exec("DROP SCHEMA " + name + " CASCADE"); err != nil { //nolint:noctx // the context of the test has ended
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return u.String()
}
