package database

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

// connector says how connections are made, and notes of which kind the database is.
func (d *DB) connector(address string) (driver.Connector, error) {
	scheme, path, _ := strings.Cut(address, ":")
	switch scheme {
	case "sqlite":
		d.dialect, d.writer = goose.DialectSQLite3, make(chan struct{}, 1)
		return sqliteConnector(path, d.existing)
	case "postgres", "postgresql":
		d.dialect = goose.DialectPostgres
		config, err := pgx.ParseConfig(address)
		if err != nil {
			return nil, errors.New("database: the URL is not one that PostgreSQL knows") // it may have a password
		}
		return stdlib.GetConnector(*config), nil
	}
	return nil, errors.New("database: the URL is neither sqlite:PATH nor a postgres:// one")
}

// sqliteConnector makes the file, which only its owner may read: SQLite gives the files beside it the same mode.
func sqliteConnector(path string, existing bool) (driver.Connector, error) {
	if path == "" {
		return nil, errors.New("database: the URL has no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	how := os.O_RDWR | os.O_CREATE
	if existing {
		how = os.O_RDWR
	}
	f, err := os.OpenFile(path, how, 0o600)
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	f.Close()
	for _, end := range []string{"", "-wal", "-shm"} {
		if err := os.Chmod(path+end, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("database: %w", err)
		}
	}
	if path = filepath.ToSlash(path); path[0] != '/' {
		path = "/" + path // a drive's letter
	}
	q := url.Values{
		"_txlock":       {"immediate"}, // a transaction that reads first could not go on to write beside another
		"_busy_timeout": {fmt.Sprint(busyWait.Milliseconds())},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // a revocation that was acknowledged survives a loss of power
		"_foreign_keys": {"on"},
	}
	c, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	return c, nil
}
