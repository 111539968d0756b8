package accounts

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"
)

func TestClients(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		c := newClock()
		a := openAt(t, address, c)
		full := &Client{
			ID: "b", Name: "An App & <Co>", Status: Held, Auth: "private_key_jwt", Native: true, Grants: []string{"authorization_code"},
			RedirectURIs: []string{"https://app.example/cb", "app:/cb"}, Scopes: []string{"openid"}, JWKS: `{"keys":[]}`, JWKSURI: "https://app.example/jwks",
			IDTokenAlg: "ES384", Utah: true, Homepage: "https://app.example", Policy: "https://app.example/p", Terms: "https://app.example/t",
			Logo: "https://app.example/l", Contacts: []string{"a@app.example"}, Owner: "operator", Created: c.now(), Changed: c.now(),
			Publisher: "App & Co", Domain: "app.example", About: map[string]string{"en": "It shows <claims>.", "es": "Muestra reclamaciones."},
			Support: "help@app.example", Attested: c.now(), Privacy: map[string]string{"sale": "never"}, Listed: true, App: "a1", Environment: "sandbox",
		}
		small := &Client{ID: "a", Status: Active, Auth: "none"}
		ok(t, a.AddClient(ctx, full))
		ok(t, a.AddClient(ctx, small))
		wants(t, a.AddClient(ctx, &Client{ID: "b"}), ErrExists)
		got, err := a.Client(ctx, "b")
		ok(t, err)
		same(t, got, full)
		got, err = a.Client(ctx, "a")
		ok(t, err)
		same(t, got, &Client{ID: "a", Status: Active, Auth: "none", Created: c.now(), Changed: c.now()}) // nil scopes stay nil
		_, err = a.Client(ctx, "none")
		wants(t, err, ErrNotFound)

		c.pass(time.Hour)
		next := *full
		next.Name, next.Status, next.Created, next.Scopes = "Another", Active, c.now(), []string{}
		ok(t, a.UpdateClient(ctx, &next))
		next.Created, next.Changed = full.Created, c.now()
		got, err = a.Client(ctx, "b")
		ok(t, err)
		same(t, got, &next)
		wants(t, a.UpdateClient(ctx, &Client{ID: "none"}), ErrNotFound)

		c.pass(time.Hour)
		ok(t, a.SetStatus(ctx, "b", Disabled))
		next.Status, next.Changed = Disabled, c.now()
		all, err := a.Clients(ctx)
		ok(t, err)
		same(t, len(all), 2)
		same(t, all[0].ID, "a")
		same(t, all[1], &next)
		wants(t, a.SetStatus(ctx, "none", Active), ErrNotFound)
	})
}

func TestClientsOfAnApp(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		a := openAt(t, address, newClock())
		for id, app := range map[string]string{"c": "a1", "b": "a1", "d": "a2", "e": ""} {
			ok(t, a.AddClient(ctx, &Client{ID: id, App: app}))
		}
		of := func(app string) (ids []string) {
			t.Helper()
			all, err := a.ClientsOfApp(ctx, app)
			ok(t, err)
			for _, c := range all {
				same(t, c.App, app)
				ids = append(ids, c.ID)
			}
			return ids
		}
		same(t, of("a1"), []string{"b", "c"})
		same(t, of(""), []string(nil))
		c, err := a.Client(ctx, "b")
		ok(t, err)
		c.App = "a2"
		ok(t, a.UpdateClient(ctx, c))
		same(t, of("a1"), []string{"c"})
		same(t, of("a2"), []string{"b", "d"})
	})
}

// TestInSomebodysTransaction changes clients in a transaction that is given up, and in one that is not.
func TestInSomebodysTransaction(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		ok(t, w.AddSecret(ctx, "app", "first", time.Time{}))
		first, err := w.Secrets(ctx, "app")
		ok(t, err)
		before := dump(t, w.Accounts)
		given := errors.New("given up")
		all := func(told error) error {
			return w.Database().Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
				_, err := w.AddSecretIn(ctx, tx, "app", "second", time.Time{}, 2)
				return cmp.Or(w.AddClientIn(ctx, tx, &Client{ID: "new"}), w.UpdateClientIn(ctx, tx, &Client{ID: "other", Name: "Another"}),
					w.SetStatusIn(ctx, tx, "app", Disabled), err, w.EndSecretIn(ctx, tx, "app", first[0].ID, true), told)
			})
		}
		wants(t, all(given), given)
		same(t, dump(t, w.Accounts), before)
		ok(t, all(nil))
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM clients WHERE id = 'new' OR about LIKE '%Another%' OR status = 'disabled'`), 3)
		valid, err := w.CheckSecret(ctx, "app", "second")
		ok(t, err)
		same(t, valid, true)
		wants(t, all(nil), ErrExists)
	})
}

// TestDisabledClientOpensNothing is about all that a client has been given.
func TestDisabledClientOpensNothing(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		_, k := w.redeemed()
		_, rotated := w.redeemed()
		next, err := w.Rotate(ctx, rotated.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		_, code := w.allow()
		own := &Tokens{Access: secret(), AccessExpires: w.now().Add(time.Hour)}
		ok(t, w.AddAccess(ctx, &Grant{Client: "app", Expires: w.now().Add(time.Hour)}, own))
		for _, token := range []string{k.Access, next.Access, own.Access} {
			same(t, w.opens(token), true)
		}

		another := &world{Accounts: openAt(t, address, w.clock), clock: w.clock, t: t} // of another process
		ok(t, another.SetStatus(ctx, "app", Disabled))
		for _, p := range []*world{w, another} {
			for _, token := range []string{k.Access, next.Access, own.Access} {
				same(t, p.opens(token), false)
			}
			for _, refresh := range []string{k.Refresh, next.Refresh, rotated.Refresh} { // the last one within grace
				_, err := p.Rotate(ctx, refresh, w.tokens(), time.Minute)
				wants(t, err, ErrNotFound)
				_, _, err = p.FindRefresh(ctx, refresh)
				wants(t, err, ErrNotFound)
			}
			wants(t, p.Redeem(ctx, code.Secret, w.tokens()), ErrNotFound)
		}
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM access_tokens`), 4) // no new ones

		ok(t, w.SetStatus(ctx, "app", Active)) // nothing was used up
		same(t, w.opens(k.Access), true)
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		ok(t, w.Redeem(ctx, code.Secret, w.tokens()))
	})
}

func TestAssertionIsUsedOnce(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		told := race(func(int) error { return w.UseAssertion(ctx, "app", "jti", w.now().Add(time.Minute)) })
		same(t, told, map[error]int{nil: 1, ErrUsed: parallel - 1})
		ok(t, w.UseAssertion(ctx, "other", "jti", w.now().Add(time.Minute)))
		ok(t, w.UseAssertion(ctx, "app", "jti2", w.now().Add(time.Minute)))
		w.pass(time.Minute + time.Second) // the leeway of whoever checks it
		ok(t, w.Expire(ctx))
		wants(t, w.UseAssertion(ctx, "app", "jti", w.now()), ErrUsed)
	})
}
