package accounts

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/database"
)

// tables are all of them.
func tables(t testing.TB, a *Accounts) []string {
	t.Helper()
	query := `SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1`
	if a.db.SQLite() {
		query = `SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1`
	}
	names, err := database.Column(ctx, a.db, query)
	ok(t, err)
	if len(names) < 15 {
		t.Fatalf("there are %d tables", len(names))
	}
	return names
}

// dump is the whole database as text.
func dump(t testing.TB, a *Accounts) string {
	t.Helper()
	var b strings.Builder
	for _, table := range tables(t, a) {
		rows, err := a.db.QueryContext(ctx, `SELECT * FROM `+table+` ORDER BY 1, 2`)
		ok(t, err)
		names, err := rows.Columns()
		ok(t, err)
		for rows.Next() {
			values, into := make([]any, len(names)), make([]any, len(names))
			for i := range values {
				into[i] = &values[i]
			}
			ok(t, rows.Scan(into...))
			fmt.Fprintln(&b, table, values)
		}
		ok(t, rows.Err())
		rows.Close()
	}
	return b.String()
}

// TestNothingInTheDatabaseOpensAnything looks for whatever was given to callers, in all forms that it may have, in a
// dump of the database and in its files.
func TestNothingInTheDatabaseOpensAnything(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		canaries := map[string]string{}
		canary := func(name, value string) string {
			canaries[name] = value
			return value
		}
		ok(t, w.AddSecret(ctx, "app", canary("client secret", secret()), time.Time{}))
		ok(t, w.UseAssertion(ctx, "app", canary("jti", secret()), w.now().Add(time.Minute)))
		_, err := w.SetPassword(ctx, "maria", canary("password", "correct horse battery"))
		ok(t, err)
		_, err = w.CheckPassword(ctx, "maria", canary("wrong password", "correct horse battory"))
		wants(t, err, ErrNotFound)
		_, err = w.CheckPassword(ctx, canary("password typed as a login", "my other password"), "maria")
		wants(t, err, ErrNotFound)
		ok(t, w.AddSession(ctx, &Session{ID: canary("session", secret()), User: w.user.ID, Expires: w.now().Add(time.Hour)}))
		id, g, c := canary("request", secret()), w.newGrant(), w.newCode()
		ok(t, w.AddRequest(ctx, &Request{ID: id, Client: "app", Expires: w.now().Add(time.Minute)}))
		canary("code", c.Secret)
		ok(t, w.Approve(ctx, id, g, c))
		first := w.tokens()
		canary("first access token", first.Access)
		canary("first refresh token", first.Refresh)
		ok(t, w.Redeem(ctx, c.Secret, first))
		second := w.tokens()
		canary("second access token", second.Access)
		canary("second refresh token", second.Refresh)
		_, err = w.Rotate(ctx, first.Refresh, second, time.Minute)
		ok(t, err)
		ok(t, w.EnsureKeys(ctx))
		keys, err := w.Keys(ctx)
		ok(t, err)
		for _, k := range keys {
			der, err := x509.MarshalPKCS8PrivateKey(k.Private)
			ok(t, err)
			canary("private key "+k.Algorithm, string(der[len(der)/2:len(der)/2+24]))
		}
		v, err := w.Secret(ctx, "csrf")
		ok(t, err)
		canary("secret", string(v))
		canary("seal", string(testSeal[:]))

		places := map[string]string{"dump": dump(t, w.Accounts)}
		if w.db.SQLite() {
			path := strings.TrimPrefix(address, "sqlite:")
			for _, end := range []string{"", "-wal"} {
				b, err := os.ReadFile(path + end)
				ok(t, err)
				places["accounts.db"+end] = string(b)
			}
		}
		if !strings.Contains(places["dump"], database.Sum(second.Access)) || !strings.Contains(places["dump"], g.ID) {
			t.Fatal("the dump has not what it must have")
		}
		for name, value := range canaries {
			forms := []string{value, hex.EncodeToString([]byte(value))}
			for cut := range 3 { // in the middle of base64 too
				for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
					text := e.EncodeToString([]byte(strings.Repeat("\x00", cut) + value))
					forms = append(forms, text[4:len(text)-4])
				}
			}
			for where, text := range places {
				for _, f := range forms {
					if strings.Contains(text, f) {
						t.Errorf("%s: it has a %s in it", where, name)
					}
				}
			}
		}
	})
}

func TestErrorsHaveNoValues(t *testing.T) {
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "a.db"))
	_, c := w.allow()
	k := w.tokens()
	ok(t, w.Redeem(ctx, c.Secret, k))
	_, d := w.allow()
	err := w.Redeem(ctx, d.Secret, k) // the same tokens twice are a fault of the caller
	if err == nil || strings.Contains(err.Error(), k.Access) || strings.Contains(err.Error(), database.Sum(k.Access)) {
		t.Errorf("got %v", err)
	}
	ok(t, w.Redeem(ctx, d.Secret, w.tokens())) // the code was not used

	for _, address := range []string{"postgres://u:canary@127.0.0.1:1/x?sslmode=disable&connect_timeout=1", "postgres://u:canary@[::1", "mysql:canary", "sqlite:"} {
		_, err := Open(ctx, address, &Options{})
		if err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("got %v", err)
		}
	}
}
