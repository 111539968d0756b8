package accounts

import (
	"context"
	"database/sql"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/database"
)

func TestCodeBecomesTokensOnce(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g, c := w.newGrant(), w.newCode()
		c.Challenge, c.Nonce, c.Utah = "challenge", "n\xff", true
		ok(t, w.Approve(ctx, w.request(), g, c))
		gotC, gotG, err := w.FindCode(ctx, c.Secret)
		ok(t, err)
		same(t, gotC, c)
		same(t, gotG, g)
		_, _, err = w.FindCode(ctx, secret())
		wants(t, err, ErrNotFound)

		k := w.tokens()
		ok(t, w.Redeem(ctx, c.Secret, k))
		v, err := w.Access(ctx, k.Access)
		ok(t, err)
		same(t, v, &Access{
			Grant: g.ID, Client: "app", User: w.user.ID, Patient: "p1", Scopes: k.AccessScopes, Issued: w.now(), Expires: k.AccessExpires,
		})
		_, _, err = w.FindCode(ctx, c.Secret) // used, and found
		ok(t, err)

		w.pass(2 * time.Minute) // longer than the code is valid
		k2 := w.tokens()
		wants(t, w.Redeem(ctx, c.Secret, k2), ErrReused)
		if w.opens(k.Access) || w.opens(k2.Access) || !w.revoked(g.ID) {
			t.Error("a code was replayed, and its tokens go on")
		}
		_, _, err = w.FindRefresh(ctx, k.Refresh)
		wants(t, err, ErrNotFound)
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrNotFound)
	})
}

func TestCodeThatIsOver(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g, c := w.allow()
		wants(t, w.Redeem(ctx, secret(), w.tokens()), ErrNotFound)
		ok(t, w.RevokeGrant(ctx, g.ID))
		wants(t, w.Redeem(ctx, c.Secret, w.tokens()), ErrNotFound)

		_, c = w.allow()
		ok(t, w.SetStatus(ctx, "app", Disabled))
		wants(t, w.Redeem(ctx, c.Secret, w.tokens()), ErrNotFound)
		ok(t, w.SetStatus(ctx, "app", Active))
		w.pass(time.Minute)
		wants(t, w.Redeem(ctx, c.Secret, w.tokens()), ErrNotFound)
		_, _, err := w.FindCode(ctx, c.Secret)
		wants(t, err, ErrNotFound)
	})
}

func TestAccessEnds(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g, k := w.redeemed()
		same(t, w.opens(k.Access), true)
		same(t, w.opens(secret()), false)
		same(t, w.opens(k.Refresh), false)
		for _, s := range []Status{Disabled, Held} {
			ok(t, w.SetStatus(ctx, "app", s))
			same(t, w.opens(k.Access), false)
			_, _, err := w.FindRefresh(ctx, k.Refresh)
			wants(t, err, ErrNotFound)
		}
		ok(t, w.SetStatus(ctx, "app", Active))
		same(t, w.opens(k.Access), true)
		w.pass(time.Hour - time.Millisecond)
		same(t, w.opens(k.Access), true)
		w.pass(time.Millisecond)
		same(t, w.opens(k.Access), false)

		k2, err := w.Rotate(ctx, k.Refresh, w.tokens(), 0)
		ok(t, err)
		same(t, w.opens(k2.Access), true)
		w.pass(g.Expires.Sub(w.now()) - 30*time.Minute)
		_, c := w.allow()
		long := w.tokens()
		long.AccessExpires = w.now().Add(1000 * time.Hour * 24)
		ok(t, w.Redeem(ctx, c.Secret, long))
		v, err := w.Access(ctx, long.Access)
		ok(t, err)
		if v.Expires.After(v.Issued.Add(90 * 24 * time.Hour)) {
			t.Error("an access token lives longer than its grant")
		}
		ok(t, w.RevokeGrant(ctx, v.Grant))
		same(t, w.opens(long.Access), false)
	})
}

func TestRefresh(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g, k := w.redeemed()
		got, used, err := w.FindRefresh(ctx, k.Refresh)
		ok(t, err)
		same(t, used, false)
		same(t, got.Scopes, g.Scopes)

		first := w.tokens()
		first.AccessScopes = []string{"patient/Patient.read"}
		r1, err := w.Rotate(ctx, k.Refresh, first, time.Minute)
		ok(t, err)
		same(t, r1, first)
		_, used, err = w.FindRefresh(ctx, k.Refresh)
		ok(t, err)
		same(t, used, true)
		v, err := w.Access(ctx, first.Access)
		ok(t, err)
		same(t, v.Scopes, first.AccessScopes)

		w.pass(time.Minute - time.Millisecond)
		lost := w.tokens()
		r2, err := w.Rotate(ctx, k.Refresh, lost, time.Minute) // the answer was lost
		ok(t, err)
		same(t, r2, first)
		if w.opens(lost.Access) {
			t.Error("a repeated refresh made tokens")
		}
		_, err = w.Rotate(ctx, lost.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrNotFound)

		w.pass(time.Millisecond)
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrReused)
		if w.opens(first.Access) || !w.revoked(g.ID) {
			t.Error("a refresh token was reused, and its family goes on")
		}
		_, err = w.Rotate(ctx, first.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrNotFound)
		_, err = w.Rotate(ctx, secret(), w.tokens(), time.Minute)
		wants(t, err, ErrNotFound)
	})
}

func TestRefreshWithinGraceOfARotatedSuccessorIsReuse(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g, k := w.redeemed()
		first, err := w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		second, err := w.Rotate(ctx, first.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrReused)
		if w.opens(second.Access) || !w.revoked(g.ID) {
			t.Error("the family goes on")
		}
	})
}

func TestGraceEndsWithWhatItAnswersFor(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g, k := w.redeemed()
		_, err := w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		ok(t, w.RevokeGrant(ctx, g.ID))
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrNotFound)

		_, k = w.redeemed()
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		ok(t, w.SetStatus(ctx, "app", Disabled))
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrNotFound)
		ok(t, w.SetStatus(ctx, "app", Active))

		_, k = w.redeemed() // the shorter of the first and the second grace counts
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), 0)
		ok(t, err)
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrReused)

		_, k = w.redeemed()
		w.pass(30 * 24 * time.Hour)
		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrNotFound)
		_, _, err = w.FindRefresh(ctx, k.Refresh)
		wants(t, err, ErrNotFound)
	})
}

const parallel = 200

// race calls f by many at the same time, and counts what they were told.
func race(f func(i int) error) map[error]int {
	told, mu, start, all := map[error]int{}, sync.Mutex{}, make(chan struct{}), sync.WaitGroup{}
	for i := range parallel {
		all.Go(func() {
			<-start
			err := f(i)
			mu.Lock()
			told[err]++
			mu.Unlock()
		})
	}
	close(start)
	all.Wait()
	return told
}

func TestRaceForACode(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		b := &world{Accounts: openAt(t, address, w.clock), clock: w.clock, t: t} // as another process has it
		g, c := w.allow()
		told := race(func(i int) error {
			if i%2 == 0 {
				return w.Redeem(ctx, c.Secret, w.tokens())
			}
			return b.Redeem(ctx, c.Secret, w.tokens())
		})
		same(t, told[nil], 1)
		same(t, told[ErrReused], parallel-1)
		same(t, w.revoked(g.ID), true)
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM access_tokens`), 1)
	})
}

func TestRaceForARefreshToken(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		b := &world{Accounts: openAt(t, address, w.clock), clock: w.clock, t: t}
		rotate := func(refresh string, grace time.Duration, answers []*Tokens) func(i int) error {
			return func(i int) (err error) {
				a := w.Accounts
				if i%2 == 0 {
					a = b.Accounts
				}
				answers[i], err = a.Rotate(ctx, refresh, w.tokens(), grace)
				return err
			}
		}

		g, k := w.redeemed()
		answers := make([]*Tokens, parallel)
		told := race(rotate(k.Refresh, time.Minute, answers))
		same(t, told[nil], parallel)
		for _, k := range answers {
			same(t, k, answers[0])
		}
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM refresh_tokens`), 2)
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM access_tokens`), 2)
		same(t, w.opens(answers[0].Access), true)
		same(t, w.revoked(g.ID), false)

		g, k = w.redeemed()
		told = race(rotate(k.Refresh, 0, answers))
		same(t, told[nil], 1)
		same(t, told[ErrReused], parallel-1)
		same(t, w.revoked(g.ID), true)
	})
}

func count(t testing.TB, a *Accounts, query string, values ...any) (n int) {
	t.Helper()
	ok(t, a.db.QueryRowContext(ctx, query, values...).Scan(&n))
	return n
}

func TestRevokeToken(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g, k := w.redeemed()
		for _, token := range []string{secret(), k.Access, k.Refresh} { // of another client: nothing
			id, err := w.RevokeToken(ctx, "other", token)
			ok(t, err)
			same(t, id, "")
		}
		same(t, w.opens(k.Access), true)
		for range 2 {
			id, err := w.RevokeToken(ctx, "app", k.Access)
			ok(t, err)
			same(t, id, "")
			same(t, w.opens(k.Access), false)
		}
		k2, err := w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		id, err := w.RevokeToken(ctx, "app", k2.Refresh)
		ok(t, err)
		same(t, id, g.ID)
		same(t, w.opens(k2.Access), false)
		id, err = w.RevokeToken(ctx, "app", k2.Refresh)
		ok(t, err)
		same(t, id, "")
	})
}

func TestClientForItself(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g := &Grant{Client: "app", Scopes: []string{"system/*.read"}, Expires: w.now().Add(time.Hour)}
		k := &Tokens{Access: secret(), AccessScopes: []string{"system/*.read"}, AccessExpires: w.now().Add(5 * time.Minute)}
		ok(t, w.AddAccess(ctx, g, k))
		v, err := w.Access(ctx, k.Access)
		ok(t, err)
		same(t, v, &Access{Grant: g.ID, Client: "app", Scopes: k.AccessScopes, Issued: w.now(), Expires: k.AccessExpires})
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM refresh_tokens`), 0)
		if err := w.AddAccess(ctx, &Grant{Client: "nobody", Expires: w.now().Add(time.Hour)}, w.tokens()); err == nil {
			t.Error("an unknown client was granted something")
		}
	})
}

func TestLastUseIsKept(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		_, k := w.redeemed()
		lastUsed := func(a *Accounts) time.Time {
			all, err := a.Grants(ctx, GrantFilter{})
			ok(t, err)
			return all[0].LastUsed
		}
		same(t, lastUsed(w.Accounts), time.Time{})
		first := w.now()
		same(t, w.opens(k.Access), true)
		same(t, lastUsed(w.Accounts), first)
		w.pass(59 * time.Second)
		same(t, w.opens(k.Access), true)
		same(t, lastUsed(w.Accounts), first)
		w.pass(time.Second)
		same(t, w.opens(k.Access), true)

		b, err := Open(ctx, address, &Options{Seal: testSeal, Now: w.clock.now})
		ok(t, err)
		w.pass(time.Minute)
		_, err = b.Access(ctx, k.Access)
		ok(t, err)
		ok(t, b.Close())
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM grants WHERE last_used = $1`, database.Millis(w.now())), 1)
		same(t, lastUsed(w.Accounts), w.now()) // what w has not kept yet is older
	})
}

func TestExpire(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		rows := func() map[string]int {
			n := map[string]int{}
			for _, table := range []string{"requests", "grants", "codes", "access_tokens", "refresh_tokens", "assertions", "sessions", "login_failures"} {
				if c := count(t, w.Accounts, `SELECT COUNT(*) FROM `+table); c > 0 {
					n[table] = c
				}
			}
			return n
		}
		g, k := w.redeemed()
		next, err := w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
		ok(t, err)
		ok(t, w.AddAccess(ctx, &Grant{Client: "app", Expires: w.now().Add(time.Hour)}, &Tokens{Access: secret(), AccessExpires: w.now().Add(time.Hour)}))
		ok(t, w.UseAssertion(ctx, "app", "jti", w.now().Add(time.Minute)))
		ok(t, w.AddSession(ctx, &Session{ID: secret(), User: w.user.ID, Expires: w.now().Add(time.Hour)}))
		_, err = w.CheckPassword(ctx, "nobody", "x")
		wants(t, err, ErrNotFound)
		all := rows()
		ok(t, w.Expire(ctx))
		same(t, rows(), all)
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM refresh_tokens WHERE answer <> ''`), 1)

		w.pass(2 * time.Minute)
		ok(t, w.Expire(ctx))
		same(t, rows(), all)
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM refresh_tokens WHERE answer <> ''`), 0)
		w.pass(25 * time.Hour)
		ok(t, w.Expire(ctx))
		same(t, rows(), map[string]int{"grants": 1, "refresh_tokens": 2})
		w.pass(24 * time.Hour)
		ok(t, w.Expire(ctx))
		same(t, rows(), map[string]int{"grants": 1, "refresh_tokens": 2})

		_, err = w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute) // reuse is seen as long as the grant is there
		wants(t, err, ErrReused)
		_, err = w.Rotate(ctx, next.Refresh, w.tokens(), time.Minute)
		wants(t, err, ErrNotFound)
		same(t, w.revoked(g.ID), true)
		w.pass(25 * time.Hour)
		ok(t, w.Expire(ctx))
		same(t, rows(), map[string]int{"grants": 1})
	})
}

func TestExpireInPieces(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		ok(t, w.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			for range 2500 {
				if _, err := database.Change(ctx, tx, `INSERT INTO assertions (client, jti_sum, expires) VALUES ('app', $1, $2)`, secret(), database.Millis(w.now())); err != nil {
					return err
				}
			}
			return nil
		}))
		w.pass(2 * time.Hour)
		ok(t, w.Expire(ctx))
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM assertions`), 0)
	})
}
