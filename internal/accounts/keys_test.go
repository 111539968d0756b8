package accounts

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/database"
)

func TestKeys(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		c := newClock()
		a, b := openAt(t, address, c), openAt(t, address, c)
		var all sync.WaitGroup
		for _, p := range []*Accounts{a, b, a, b} { // several processes
			all.Go(func() {
				if err := p.EnsureKeys(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		keys := func(p *Accounts) []*Key {
			t.Helper()
			k, err := p.Keys(ctx)
			ok(t, err)
			return k
		}
		first := keys(a)
		same(t, len(first), 2)
		r, is := first[0].Private.(*rsa.PrivateKey)
		if !is || r.N.BitLen() < 2048 || first[0].Algorithm != "RS256" {
			t.Error("the first key is no RSA key of 2048 bits or more")
		}
		e, is := first[1].Private.(*ecdsa.PrivateKey)
		if !is || e.Curve.Params().BitSize != 384 || first[1].Algorithm != "ES384" {
			t.Error("the second key is no key of P-384")
		}
		if !keys(b)[1].Private.(*ecdsa.PrivateKey).Equal(e) {
			t.Error("another process has another key")
		}
		same(t, first[1].Active, c.now())

		made, err := b.RotateKeys(ctx, time.Hour, 24*time.Hour)
		ok(t, err)
		same(t, len(made), 2)
		now := keys(a)
		same(t, len(now), 4)
		from, gone := c.now().Add(time.Hour), c.now().Add(25*time.Hour)
		for _, k := range now {
			if slices.ContainsFunc(made, func(m *Key) bool { return m.ID == k.ID }) {
				same(t, []time.Time{k.Active, k.Retired, k.Removed}, []time.Time{from, {}, {}})
			} else {
				same(t, []time.Time{k.Active, k.Retired, k.Removed}, []time.Time{c.now(), from, gone})
			}
		}
		ok(t, a.EnsureKeys(ctx))
		same(t, len(keys(a)), 4)
		c.pass(25*time.Hour - time.Millisecond)
		same(t, len(keys(a)), 4)
		c.pass(time.Millisecond)
		same(t, len(keys(a)), 2)
		c.pass(25 * time.Hour)
		ok(t, a.Expire(ctx))
		same(t, count(t, a, `SELECT COUNT(*) FROM signing_keys`), 2)
		same(t, len(keys(b)), 2)
	})
}

func TestKeysRotatedByTwo(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		c := newClock()
		a, b := openAt(t, address, c), openAt(t, address, c)
		ok(t, a.EnsureKeys(ctx))
		var all sync.WaitGroup
		for _, p := range []*Accounts{a, b} {
			all.Go(func() {
				if _, err := p.RotateKeys(ctx, time.Hour, time.Hour); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		same(t, count(t, a, `SELECT COUNT(*) FROM signing_keys WHERE retired = 0 AND algorithm = 'ES384'`), 1)
		c.pass(time.Hour)
		k, err := a.Keys(ctx)
		ok(t, err)
		signs := 0
		for _, k := range k {
			if !k.Active.After(c.now()) && (k.Retired.IsZero() || k.Retired.After(c.now())) {
				signs++
			}
		}
		same(t, signs, 2) // one of each algorithm
	})
}

func TestSecretIsOneForAll(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		a, b := openAt(t, address, nil), openAt(t, address, nil)
		values := make([]string, parallel)
		told := race(func(i int) error {
			p := a
			if i%2 == 0 {
				p = b
			}
			v, err := p.Secret(ctx, "csrf")
			values[i] = string(v)
			return err
		})
		same(t, told[nil], parallel)
		same(t, len(slices.Compact(values)), 1)
		same(t, len(values[0]), 32)
		other, err := a.Secret(ctx, "other")
		ok(t, err)
		if string(other) == values[0] {
			t.Error("two secrets are one")
		}
	})
}

func TestCheckSeesAnotherSeal(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		a := openAt(t, address, nil)
		ok(t, a.Check(ctx))
		ok(t, a.EnsureKeys(ctx))
		ok(t, a.Check(ctx))
		b, err := Open(ctx, address, &Options{Seal: [32]byte{9}})
		ok(t, err)
		if err := b.Check(ctx); !errors.Is(err, database.ErrSeal) {
			t.Errorf("got %v", err)
		}
		if _, err := b.Keys(ctx); !errors.Is(err, database.ErrSeal) {
			t.Errorf("got %v", err)
		}
		ok(t, b.EnsureKeys(ctx)) // no second key
		ok(t, b.Close())
		ok(t, a.Check(ctx))

		// What is sealed for one place opens in no other.
		_, err = a.db.Change(ctx, `INSERT INTO secrets (name, sealed) SELECT 'moved', sealed FROM secrets WHERE name = $1`, sealName)
		ok(t, err)
		if err := a.Check(ctx); !errors.Is(err, database.ErrSeal) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCheckSeesAClosedDatabase(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		a, err := Open(ctx, address, &Options{})
		ok(t, err)
		ok(t, a.Close())
		ok(t, a.Close())
		if a.Check(ctx) == nil {
			t.Error("a closed database can be reached")
		}
	})
}
