package accounts

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/database/databasetest"

	"github.com/google/go-cmp/cmp"
)

// each runs a test on a new database of each kind.
func each(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	databasetest.Each(t, test)
}

// clock is one that stands still until it is told to go.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

var testSeal = [32]byte{1, 2, 3}

func openAt(t testing.TB, address string, c *clock) *Accounts {
	t.Helper()
	o := &Options{Seal: testSeal}
	if c != nil {
		o.Now = c.now
	}
	a, err := Open(context.Background(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, err, want error) {
	t.Helper()
	if err != want {
		t.Fatalf("got %v, not %v", err, want)
	}
}

func same(t testing.TB, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("-want +got\n%s", d)
	}
}

// secret is what a caller makes up.
func secret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// world is a client and a user who has allowed it something.
type world struct {
	*Accounts
	*clock
	t    testing.TB
	user *User
}

var ctx = context.Background()

func newWorld(t testing.TB, address string) *world {
	t.Helper()
	c := newClock()
	w := &world{Accounts: openAt(t, address, c), clock: c, t: t}
	for _, id := range []string{"app", "other"} {
		ok(t, w.AddClient(ctx, &Client{ID: id, Status: Active, Auth: "none"}))
	}
	u, err := w.EnsureUser(ctx, "https://idp.example", "subject-1")
	ok(t, err)
	w.user = u
	return w
}

func (w *world) now() time.Time { return w.clock.now() }

// request makes a request that waits.
func (w *world) request() string {
	w.t.Helper()
	id := secret()
	ok(w.t, w.AddRequest(ctx, &Request{ID: id, Client: "app", Expires: w.now().Add(10 * time.Minute)}))
	return id
}

func (w *world) newGrant() *Grant {
	return &Grant{
		Client: "app", User: w.user.ID, Patient: "p1", Scopes: []string{"patient/*.read", "offline_access"}, Offline: true,
		AuthTime: w.now(), Created: w.now(), Expires: w.now().Add(90 * 24 * time.Hour),
	}
}

func (w *world) newCode() *Code {
	return &Code{Secret: secret(), Client: "app", RedirectURI: "https://app.example/cb", Expires: w.now().Add(time.Minute)}
}

// allow gives a code.
func (w *world) allow() (*Grant, *Code) {
	w.t.Helper()
	g, c := w.newGrant(), w.newCode()
	ok(w.t, w.Approve(ctx, w.request(), g, c))
	return g, c
}

func (w *world) tokens() *Tokens {
	return &Tokens{
		Access: secret(), AccessScopes: []string{"patient/*.read"}, AccessExpires: w.now().Add(time.Hour),
		Refresh: secret(), RefreshExpires: w.now().Add(30 * 24 * time.Hour),
	}
}

// redeemed gives tokens.
func (w *world) redeemed() (*Grant, *Tokens) {
	w.t.Helper()
	g, c := w.allow()
	k := w.tokens()
	ok(w.t, w.Redeem(ctx, c.Secret, k))
	return g, k
}

// opens says whether an access token opens anything.
func (w *world) opens(token string) bool {
	w.t.Helper()
	_, err := w.Access(ctx, token)
	if err != nil && !errors.Is(err, ErrNotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

// revoked says whether a grant was revoked.
func (w *world) revoked(id string) bool {
	w.t.Helper()
	all, err := w.Grants(ctx, GrantFilter{Ended: true})
	ok(w.t, err)
	i := slices.IndexFunc(all, func(g *Grant) bool { return g.ID == id })
	if i < 0 {
		w.t.Fatal("the grant is not there")
	}
	return !all[i].Revoked.IsZero()
}

func TestRequestIsKeptAsItCame(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		r := &Request{
			ID: secret(), Client: "app", RedirectURI: "https://app.example/cb?x=%20", Scopes: []string{"openid", "patient/*.read"},
			State: "a+b%:=~\x00\xff é", Nonce: "\xfe", Challenge: "abc", Utah: true, Audience: "https://api.example/fhir",
			Created: w.now(), Expires: w.now().Add(time.Minute),
		}
		ok(t, w.AddRequest(ctx, r))
		wants(t, w.AddRequest(ctx, r), ErrExists)
		got, err := w.Request(ctx, r.ID)
		ok(t, err)
		same(t, got, r)

		_, err = w.Request(ctx, secret())
		wants(t, err, ErrNotFound)
		w.pass(time.Minute)
		_, err = w.Request(ctx, r.ID)
		wants(t, err, ErrNotFound)
		wants(t, w.Deny(ctx, r.ID), ErrNotFound)
		wants(t, w.AssignRequest(ctx, r.ID, "u"), ErrNotFound)
	})
}

func TestRequestIsDecidedOnceByOneUser(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		id := w.request()
		ok(t, w.AssignRequest(ctx, id, "u1"))
		ok(t, w.AssignRequest(ctx, id, "u1"))
		wants(t, w.AssignRequest(ctx, id, "u2"), ErrUsed)
		r, err := w.Request(ctx, id)
		ok(t, err)
		same(t, r.User, "u1")

		g, c := w.newGrant(), w.newCode()
		ok(t, w.Approve(ctx, id, g, c))
		same(t, c.Grant, g.ID)
		_, err = w.Request(ctx, id)
		wants(t, err, ErrUsed)
		wants(t, w.AssignRequest(ctx, id, "u1"), ErrUsed)
		wants(t, w.Deny(ctx, id), ErrUsed)
		c2 := w.newCode()
		wants(t, w.Approve(ctx, id, w.newGrant(), c2), ErrUsed)
		_, _, err = w.FindCode(ctx, c2.Secret)
		wants(t, err, ErrNotFound)
		wants(t, w.Approve(ctx, secret(), w.newGrant(), w.newCode()), ErrNotFound)

		denied := w.request()
		ok(t, w.Deny(ctx, denied))
		wants(t, w.Approve(ctx, denied, w.newGrant(), w.newCode()), ErrUsed)
		same(t, w.revoked(g.ID), false)
		all, err := w.Grants(ctx, GrantFilter{Ended: true})
		ok(t, err)
		same(t, len(all), 1)
	})
}

func TestNarrowerConsentEndsTheWider(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		wide, k := w.redeemed()
		approve := func(change func(g *Grant)) *Grant {
			g := w.newGrant()
			change(g)
			ok(t, w.Approve(ctx, w.request(), g, w.newCode()))
			return g
		}
		approve(func(g *Grant) { g.Patient = "p2"; g.Scopes = nil })
		approve(func(g *Grant) { g.Client = "other"; g.Scopes = nil })
		approve(func(g *Grant) { g.User = "another"; g.Scopes = nil })
		approve(func(g *Grant) { g.Scopes = append(g.Scopes, "openid"); g.Expires = g.Expires.Add(time.Second) })
		if w.revoked(wide.ID) || !w.opens(k.Access) {
			t.Fatal("a consent that allows as much ended an earlier one")
		}
		for name, change := range map[string]func(g *Grant){
			"fewer scopes": func(g *Grant) { g.Scopes = g.Scopes[:1] },
			"online":       func(g *Grant) { g.Offline = false },
			"shorter":      func(g *Grant) { g.Expires = g.Expires.Add(-time.Second) },
		} {
			wide, k := w.redeemed()
			narrow := approve(change)
			if !w.revoked(wide.ID) || w.opens(k.Access) || w.revoked(narrow.ID) {
				t.Errorf("%s: the wider grant goes on", name)
			}
			_, err := w.Rotate(ctx, k.Refresh, w.tokens(), time.Minute)
			wants(t, err, ErrNotFound)
		}
	})
}

func TestParallelConsents(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		first := w.request()
		requests := []string{first, first, first, first}
		for range 8 {
			requests = append(requests, w.request())
		}
		errs := make([]error, len(requests))
		var all sync.WaitGroup
		for i, id := range requests {
			all.Go(func() {
				g := w.newGrant()
				g.Scopes = []string{fmt.Sprint("scope", i)} // each allows what the others do not
				errs[i] = w.Approve(ctx, id, g, w.newCode())
			})
		}
		all.Wait()
		given, used := 0, 0
		for _, err := range errs {
			switch {
			case err == nil:
				given++
			case errors.Is(err, ErrUsed):
				used++
			default:
				t.Error(err)
			}
		}
		same(t, []int{given, used}, []int{9, 3})
		left, err := w.Grants(ctx, GrantFilter{})
		ok(t, err)
		same(t, len(left), 1)
	})
}

func TestGrants(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		g1, k := w.redeemed()
		w.pass(time.Second)
		g2 := w.newGrant()
		g2.Patient, g2.Client, g2.Expires = "p2", "other", w.now().Add(time.Hour)
		ok(t, w.Approve(ctx, w.request(), g2, w.newCode()))
		ids := func(f GrantFilter) (ids []string) {
			all, err := w.Grants(ctx, f)
			ok(t, err)
			for _, g := range all {
				ids = append(ids, g.ID)
			}
			return ids
		}
		same(t, ids(GrantFilter{User: w.user.ID}), []string{g2.ID, g1.ID})
		same(t, ids(GrantFilter{User: w.user.ID, Patient: "p1", Client: "app"}), []string{g1.ID})
		same(t, ids(GrantFilter{Client: "other"}), []string{g2.ID})
		same(t, ids(GrantFilter{User: "nobody"}), []string(nil))
		all, err := w.Grants(ctx, GrantFilter{Patient: "p2"})
		ok(t, err)
		same(t, all[0], g2)

		ok(t, w.RevokeGrant(ctx, g1.ID))
		same(t, w.opens(k.Access), false)
		wants(t, w.RevokeGrant(ctx, g1.ID), ErrNotFound)
		wants(t, w.RevokeGrant(ctx, "none"), ErrNotFound)
		same(t, ids(GrantFilter{}), []string{g2.ID})
		w.pass(time.Hour)
		wants(t, w.RevokeGrant(ctx, g2.ID), ErrNotFound)
		same(t, ids(GrantFilter{}), []string(nil))
		same(t, ids(GrantFilter{Ended: true}), []string{g2.ID, g1.ID})
	})
}
