package accounts

import (
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
