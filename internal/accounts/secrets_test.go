package accounts

import (
	"context"
	"database/sql"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"cpcds2fhir/internal/database"
)

func TestSecrets(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		valid := func(client, s string) bool {
			t.Helper()
			is, err := w.CheckSecret(ctx, client, s)
			ok(t, err)
			return is
		}
		one, two, three := secret(), secret(), secret()
		same(t, valid("app", ""), false)
		ok(t, w.AddSecret(ctx, "app", one, time.Time{}))
		same(t, []bool{valid("app", one), valid("other", one), valid("none", one), valid("app", two), valid("app", "")}, []bool{true, false, false, false, false})
		ok(t, w.AddSecret(ctx, "app", two, time.Time{}))
		same(t, []bool{valid("app", one), valid("app", two)}, []bool{true, true})
		ok(t, w.AddSecret(ctx, "app", three, w.now().Add(time.Hour)))
		w.pass(time.Hour - time.Millisecond)
		same(t, []bool{valid("app", one), valid("app", two), valid("app", three)}, []bool{true, true, true})
		ok(t, w.AddSecret(ctx, "app", secret(), w.now().Add(time.Hour))) // later than they end already
		w.pass(time.Millisecond)
		same(t, []bool{valid("app", one), valid("app", two), valid("app", three)}, []bool{false, false, true})
		ok(t, w.AddSecret(ctx, "app", secret(), w.now()))
		same(t, valid("app", three), false)
		wants(t, w.AddSecret(ctx, "none", one, time.Time{}), ErrNotFound)
	})
}

// secretsOf lists the secrets of a client.
func (w *world) secretsOf(client string) []*Secret {
	w.t.Helper()
	all, err := w.Secrets(ctx, client)
	ok(w.t, err)
	return all
}

func TestSecretsAreListedAndEnded(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		one, two := secret(), secret()
		begun := w.now()
		ok(t, w.AddSecret(ctx, "app", one, time.Time{}))
		w.pass(time.Hour)
		end := w.now().Add(time.Hour)
		ok(t, w.AddSecret(ctx, "app", two, end))
		ok(t, w.AddSecret(ctx, "other", one, time.Time{}))
		all := w.secretsOf("app")
		same(t, len(all), 2)
		same(t, *all[0], Secret{ID: all[0].ID, Created: begun, Expires: end})
		same(t, *all[1], Secret{ID: all[1].ID, Created: w.now()})
		if len(all[0].ID) != 12 || all[0].ID == all[1].ID {
			t.Errorf("the ids are %q and %q", all[0].ID, all[1].ID)
		}
		ok(t, w.AddSecret(ctx, "app", two, time.Time{})) // it is there
		same(t, w.secretsOf("app"), all)
		same(t, w.secretsOf("none"), []*Secret(nil))

		wants(t, w.EndSecret(ctx, "app", "none", false), ErrNotFound)
		wants(t, w.EndSecret(ctx, "none", all[0].ID, false), ErrNotFound)
		wants(t, w.EndSecret(ctx, "other", all[0].ID, false), ErrNotFound) // of another client
		ok(t, w.EndSecret(ctx, "app", all[0].ID, true))
		wants(t, w.EndSecret(ctx, "app", all[0].ID, true), ErrNotFound)
		valid, err := w.CheckSecret(ctx, "app", one)
		ok(t, err)
		same(t, valid, false)
		wants(t, w.EndSecret(ctx, "app", all[1].ID, true), ErrUsed)
		same(t, len(w.secretsOf("app")), 1)
		ok(t, w.EndSecret(ctx, "app", all[1].ID, false))
		same(t, w.secretsOf("app"), []*Secret(nil))
		same(t, len(w.secretsOf("other")), 1)

		ok(t, w.AddSecret(ctx, "app", one, time.Time{}))
		ok(t, w.AddSecret(ctx, "app", two, w.now().Add(time.Minute)))
		all = w.secretsOf("app")
		w.pass(time.Minute) // what has expired is no secret, and does not count
		same(t, len(w.secretsOf("app")), 1)
		for _, s := range all {
			if s.Expires.IsZero() {
				wants(t, w.EndSecret(ctx, "app", s.ID, true), ErrUsed)
			} else {
				wants(t, w.EndSecret(ctx, "app", s.ID, true), ErrNotFound)
			}
		}
	})
}

func TestMostSecrets(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		add := func(secret string, until time.Time) error {
			return w.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				_, err := w.AddSecretIn(ctx, tx, "app", secret, until, 2)
				return err
			})
		}
		ok(t, add("one", time.Time{}))
		ok(t, add("two", w.now().Add(time.Hour)))
		before := w.secretsOf("app")
		wants(t, add("three", w.now().Add(time.Minute)), ErrExists)
		same(t, w.secretsOf("app"), before) // they do not end earlier
		ok(t, add("two", time.Time{}))      // it is one of the two
		w.pass(time.Hour)
		ok(t, add("three", time.Time{})) // the first one has expired
		wants(t, add("four", time.Time{}), ErrExists)
		ok(t, add("four", w.now())) // both end now
		same(t, len(w.secretsOf("app")), 1)

		told := race(func(int) error { return add(secret(), time.Time{}) })
		same(t, told, map[error]int{nil: 1, ErrExists: parallel - 1})
		ids := w.secretsOf("app")
		told = race(func(i int) error { return w.EndSecret(ctx, "app", ids[i%2].ID, true) })
		same(t, told[nil], 1)
		same(t, len(w.secretsOf("app")), 1)
	})
}

func TestLastUseOfASecret(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		ok(t, w.AddSecret(ctx, "app", "one", time.Time{}))
		use := func(a *Accounts, secret string, want bool) {
			t.Helper()
			valid, err := a.CheckSecret(ctx, "app", secret)
			ok(t, err)
			same(t, valid, want)
		}
		used := func() time.Time { return w.secretsOf("app")[0].LastUsed }
		use(w.Accounts, "another", false)
		same(t, used(), time.Time{})
		first := w.now()
		use(w.Accounts, "one", true)
		same(t, used(), first)
		w.pass(59 * time.Second)
		use(w.Accounts, "one", true)
		same(t, used(), first)
		w.pass(time.Second)
		use(w.Accounts, "one", true)

		b, err := Open(ctx, address, &Options{Seal: testSeal, Now: w.clock.now})
		ok(t, err)
		w.pass(time.Minute)
		use(b, "one", true)
		ok(t, b.Close())
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM client_secrets WHERE last_used = $1`, database.Millis(w.now())), 1)
		same(t, used(), w.now()) // what w has not kept yet is older
	})
}

// migrationsOf is how many migrations there are.
func migrationsOf(t testing.TB) int {
	t.Helper()
	files, err := fs.Glob(migrations, "migrations/*.sql")
	ok(t, err)
	return len(files)
}

// TestSecretsOfAnEarlierSchema brings a database up to date that has clients and secrets in it.
func TestSecretsOfAnEarlierSchema(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		const name = "00001_accounts.sql"
		text, err := migrations.ReadFile("migrations/" + name)
		ok(t, err)
		d, err := database.Open(address, &database.Options{Seal: testSeal})
		ok(t, err)
		ok(t, d.Migrate(ctx, fstest.MapFS{name: {Data: text}}, schemaTable))
		insert := func(query string, values ...any) {
			t.Helper()
			_, err := d.Change(ctx, query, values...)
			ok(t, err)
		}
		for _, id := range []string{"app", "other"} {
			insert(`INSERT INTO clients (id, status, about, created, changed) VALUES ($1, 'active', '{"Name":"An App","Scopes":null}', 1, 2)`, id)
			for _, s := range []string{"one", "two", "three"} {
				insert(`INSERT INTO client_secrets (client, secret_sum, expires) VALUES ($1, $2, 0)`, id, database.Sum(s))
			}
		}
		ok(t, d.Close())

		if _, err := Open(ctx, address, &Options{Seal: testSeal, Existing: true}); err == nil {
			t.Error("an earlier schema was taken for this one")
		}
		w := &world{Accounts: openAt(t, address, newClock()), clock: newClock(), t: t}
		c, err := w.Client(ctx, "app")
		ok(t, err)
		same(t, c, &Client{ID: "app", Name: "An App", Status: Active, Created: time.UnixMilli(1), Changed: time.UnixMilli(2)})
		all := w.secretsOf("app")
		same(t, all, []*Secret{{ID: "1"}, {ID: "2"}, {ID: "3"}})
		same(t, w.secretsOf("other"), all)
		ok(t, w.EndSecret(ctx, "app", "2", true))
		valid := 0
		for _, s := range []string{"one", "two", "three"} {
			is, err := w.CheckSecret(ctx, "app", s)
			ok(t, err)
			valid += int(database.Bit(is))
		}
		same(t, valid, 2)
		same(t, len(w.secretsOf("other")), 3)
		ok(t, w.AddSecret(ctx, "app", "four", time.Time{}))
		same(t, len(w.secretsOf("app")), 3)
	})
}

// TestEndOfAllSecrets ends those of one client, and of no other.
func TestEndOfAllSecrets(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		for _, s := range []string{secret(), secret()} {
			ok(t, w.AddSecret(ctx, "app", s, time.Time{}))
			ok(t, w.AddSecret(ctx, "other", s, time.Time{}))
		}
		end := func(client string) error {
			return w.Database().Tx(ctx, func(ctx context.Context, tx *sql.Tx) error { return w.EndSecretsIn(ctx, tx, client) })
		}
		ok(t, end("app"))
		same(t, []int{len(w.secretsOf("app")), len(w.secretsOf("other"))}, []int{0, 2})
		wants(t, end("none"), ErrNotFound)
	})
}
