package database

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// schema is the tables of one package.
type schema struct {
	db       *DB
	table    string
	provider *goose.Provider
}

func (d *DB) newSchema(migrations fs.FS, table string) (*schema, error) {
	options := []goose.ProviderOption{goose.WithTableName(table), goose.WithDisableGlobalRegistry(true)}
	if d.dialect == goose.DialectPostgres {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, uint64(startWait/time.Second)))
		if err != nil {
			return nil, err
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(d.dialect, d.sql, migrations, options...)
	if err != nil {
		return nil, err
	}
	return &schema{db: d, table: table, provider: p}, nil
}

// upgrade runs the migrations that the database lacks. PostgreSQL has a lock for that. In SQLite a migration is a
// transaction, so of several processes one wins, and the others fail, begin again and find nothing to do.
func (s *schema) upgrade(ctx context.Context) error {
	end := time.Now().Add(startWait)
	for {
		_, err := s.provider.Up(ctx)
		if err == nil {
			return s.same(ctx)
		}
		if !s.db.SQLite() || ctx.Err() != nil || time.Now().After(end) || !othersMigrate(err) {
			return fmt.Errorf("database: bring the schema %s up to date: %w", s.table, err)
		}
		time.Sleep(time.Duration(10+rand.IntN(90)) * time.Millisecond)
	}
}

// othersMigrate says that another process was first, as far as errors of SQLite tell.
func othersMigrate(err error) bool {
	text := err.Error()
	return again(err) || strings.Contains(text, "already exists") || strings.Contains(text, "database is locked") ||
		strings.Contains(text, "duplicate column")
}

// same fails if the schema is not the one that this program was written for.
func (s *schema) same(ctx context.Context) error {
	has, wants, err := s.provider.GetVersions(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("database: read the version of the schema %s: %w", s.table, err)
	case has > wants:
		return fmt.Errorf("database: it was written by a newer program: the schema %s has version %d, this program knows %d", s.table, has, wants)
	case has < wants:
		return fmt.Errorf("database: the schema %s has version %d, this program needs %d", s.table, has, wants)
	}
	return nil
}
