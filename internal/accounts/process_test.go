package accounts

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/database"
)

// A test that needs other processes starts this program again, with the database and what to do in the environment.
const (
	childTask    = "ACCOUNTS_TEST_TASK"
	childAddress = "ACCOUNTS_TEST_DATABASE"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(childTask) {
	case "":
		os.Exit(m.Run())
	case "open":
		err = openAndLeave(os.Getenv(childAddress))
	case "work":
		err = work(os.Getenv(childAddress))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(ctx context.Context, task, address string) *exec.Cmd {
	c := exec.CommandContext(ctx, os.Args[0])
	c.Env = append(os.Environ(), childTask+"="+task, childAddress+"="+address)
	return c
}

func openAndLeave(address string) error {
	a, err := Open(ctx, address, &Options{Seal: testSeal})
	if err != nil {
		return err
	}
	if err := a.EnsureKeys(ctx); err != nil {
		return err
	}
	if err := a.Check(ctx); err != nil {
		return err
	}
	return a.Close()
}

func TestProcessesStartTogether(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if out, err := child(t.Context(), "open", address).CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		all.Wait()
		a := openAt(t, address, nil)
		ok(t, a.Check(ctx))
		same(t, count(t, a, `SELECT COUNT(*) FROM `+schemaTable+` WHERE version_id > 0`), migrationsOf(t))
		same(t, count(t, a, `SELECT COUNT(*) FROM signing_keys`), 2)
	})
}

func TestOpenTogetherAndAgain(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		opened := make([]*Accounts, 8)
		var all sync.WaitGroup
		for i := range opened {
			all.Go(func() {
				var err error
				if opened[i], err = Open(ctx, address, &Options{Seal: testSeal}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if t.Failed() {
			return
		}
		ok(t, opened[0].AddClient(ctx, &Client{ID: "app"}))
		for _, a := range opened {
			ok(t, a.Check(ctx))
			ok(t, a.Close())
		}
		_, err := openAt(t, address, nil).Client(ctx, "app")
		ok(t, err)
	})
}

func TestNewerSchemaIsRefused(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		a := openAt(t, address, nil)
		_, err := a.db.Change(ctx, `INSERT INTO `+schemaTable+` (version_id, is_applied) VALUES (9999, true)`)
		ok(t, err)
		if err := a.Check(ctx); err == nil || !strings.Contains(err.Error(), "newer program") {
			t.Errorf("got %v", err)
		}
		if _, err := Open(ctx, address, &Options{Seal: testSeal}); err == nil || !strings.Contains(err.Error(), "newer program") {
			t.Errorf("got %v", err)
		}
	})
}

// work redeems, rotates and revokes until it is killed. It prints a line before and after each: TRY what, DID what.
func work(address string) error {
	a, err := Open(ctx, address, &Options{Seal: testSeal})
	if err != nil {
		return err
	}
	u, err := a.EnsureUser(ctx, "", "user of a process "+database.Random())
	if err != nil {
		return err
	}
	expires := time.Now().Add(time.Hour)
	tokens := func() *Tokens {
		return &Tokens{Access: secret(), AccessExpires: expires, Refresh: secret(), RefreshExpires: expires}
	}
	did := func(what string, f func() error, values ...string) error {
		fmt.Println("TRY", what, strings.Join(values, " "))
		if err := f(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		fmt.Println("DID", what, strings.Join(values, " "))
		return nil
	}
	for {
		request := secret()
		g := &Grant{Client: "app", User: u.ID, Patient: "p" + database.Random(), Offline: true, Expires: expires}
		c := &Code{Secret: secret(), Client: "app", Expires: expires}
		if err := a.AddRequest(ctx, &Request{ID: request, Client: "app", Expires: expires}); err != nil {
			return err
		}
		first, second := tokens(), tokens()
		for _, err := range []error{
			did("approve", func() error { return a.Approve(ctx, request, g, c) }, request),
			did("redeem", func() error { return a.Redeem(ctx, c.Secret, first) }, c.Secret, first.Access),
			did("rotate", func() error { _, err := a.Rotate(ctx, first.Refresh, second, 0); return err }, first.Refresh, second.Access),
		} {
			if err != nil {
				return err
			}
		}
		switch rand.IntN(4) {
		case 0:
			err = did("revoke", func() error { return a.RevokeGrant(ctx, g.ID) }, c.Secret, first.Access, second.Access, second.Refresh)
		case 1:
			err = did("revoke", func() error { _, err := a.RevokeToken(ctx, "app", second.Refresh); return err },
				c.Secret, first.Access, second.Access, second.Refresh)
		case 2: // reuse
			err = did("revoke", func() error {
				if _, err := a.Rotate(ctx, first.Refresh, tokens(), 0); err != ErrReused {
					return fmt.Errorf("a reused token: %w", err)
				}
				return nil
			}, c.Secret, first.Access, second.Access, second.Refresh)
		}
		if err != nil {
			return err
		}
	}
}

// TestKill kills processes at any moment. What they were told has happened has happened for good: what was revoked
// opens nothing, and no code and no refresh token is used twice.
func TestKill(t *testing.T) {
	kills := 10
	if testing.Short() {
		kills = 3
	}
	each(t, func(t *testing.T, address string) {
		a := openAt(t, address, nil)
		ok(t, a.AddClient(ctx, &Client{ID: "app", Status: Active}))
		revoked, done := 0, 0
		for range kills {
			var all sync.WaitGroup
			said := make([]bytes.Buffer, 2)
			for i := range said { // two processes, each killed in its own time
				c := child(t.Context(), "work", address)
				out, err := c.StdoutPipe()
				ok(t, err)
				var fault bytes.Buffer
				c.Stderr = &fault
				ok(t, c.Start())
				all.Go(func() {
					lines := bufio.NewScanner(out)
					begun := false
					for lines.Scan() {
						said[i].WriteString(lines.Text() + "\n")
						if !begun {
							begun = true
							time.AfterFunc(20*time.Millisecond+rand.N(400*time.Millisecond), func() { _ = c.Process.Kill() })
						}
					}
					_ = c.Wait()
					if fault.Len() > 0 {
						t.Error(fault.String())
					}
				})
			}
			all.Wait()
			for i := range said {
				r, d := checkKilled(t, a, said[i].String())
				revoked, done = revoked+r, done+d
			}
		}
		if revoked == 0 || done < kills {
			t.Errorf("%d were revoked and %d redeemed or rotated: nothing was tried", revoked, done)
		}
		t.Logf("%d revocations, %d codes and refresh tokens", revoked, done)
		if a.db.SQLite() {
			var state string
			ok(t, a.db.QueryRowContext(ctx, `PRAGMA integrity_check`).Scan(&state))
			same(t, state, "ok")
		}
	})
}

// checkKilled compares what a process said with what is so.
func checkKilled(t *testing.T, a *Accounts, said string) (revoked, done int) {
	t.Helper()
	tried, did, dead := map[string][]string{}, map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(said) {
		f := strings.Fields(line)
		if !strings.HasSuffix(line, "\n") || len(f) < 3 {
			continue
		}
		key := f[1] + " " + f[2]
		if f[0] == "TRY" {
			tried[key] = f[1:]
			if f[1] == "revoke" {
				dead[f[3]], dead[f[4]] = true, true // perhaps
			}
		} else {
			did[key] = true
		}
	}
	opens := func(token string) bool {
		_, err := a.Access(ctx, token)
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	expires := time.Now().Add(time.Hour)
	fresh := func() *Tokens {
		return &Tokens{Access: secret(), AccessExpires: expires, Refresh: secret(), RefreshExpires: expires}
	}
	for key, f := range tried { // first what opens: what comes after replays, which revokes
		switch f[0] {
		case "revoke":
			if did[key] {
				revoked++
				if opens(f[2]) || opens(f[3]) {
					t.Error("an access token opens something after it was revoked")
				}
				if _, err := a.Rotate(ctx, f[4], fresh(), 0); err == nil {
					t.Error("a refresh token is good after it was revoked")
				}
			}
		case "redeem", "rotate":
			if did[key] && !dead[f[2]] && !opens(f[2]) {
				t.Errorf("what was given after %s is not there", f[0])
			}
		}
	}
	for key, f := range tried {
		use := func() error { return a.Redeem(ctx, f[1], fresh()) }
		switch f[0] {
		case "rotate":
			use = func() error {
				_, err := a.Rotate(ctx, f[1], fresh(), 0)
				return err
			}
		case "approve":
			use = func() error { return a.Deny(ctx, f[1]) }
		case "revoke":
			continue
		}
		// Whether the last one happened nobody was told: then it may be done now, and not once more.
		if err := use(); err == nil && did[key] {
			t.Errorf("%s happened twice", f[0])
		}
		if err := use(); err == nil {
			t.Errorf("%s happened twice", f[0])
		}
		done++
	}
	return revoked, done
}
