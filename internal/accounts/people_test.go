package accounts

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/database"
)

func TestUsersAndLinks(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		again, err := w.EnsureUser(ctx, "https://idp.example", "subject-1")
		ok(t, err)
		same(t, again, w.user)
		other, err := w.EnsureUser(ctx, "https://other.example", "subject-1")
		ok(t, err)
		if other.ID == w.user.ID {
			t.Error("subjects of two providers are one user")
		}
		got, err := w.User(ctx, other.ID)
		ok(t, err)
		same(t, got, other)
		_, err = w.User(ctx, "nobody")
		wants(t, err, ErrNotFound)

		child := &Link{User: w.user.ID, Patient: "a-child", Role: "representative", Source: "operator", Created: w.now()}
		self := &Link{User: w.user.ID, Patient: "p1", Role: "self", Source: "rule", Created: w.now().Add(time.Second)}
		for _, l := range []*Link{child, {User: w.user.ID, Patient: "p1", Role: "representative"}, self} {
			ok(t, w.AddLink(ctx, l))
		}
		theirs := &Link{User: other.ID, Patient: "a-child", Role: "representative", Source: "operator", Created: w.now().Add(time.Minute)}
		ok(t, w.AddLink(ctx, theirs))
		wants(t, w.AddLink(ctx, &Link{User: "nobody", Patient: "p1"}), ErrNotFound)
		for _, c := range []struct {
			user, patient string
			want          []*Link
		}{
			{w.user.ID, "", []*Link{self, child}},
			{"", "a-child", []*Link{child, theirs}},
			{"", "", []*Link{self, child, theirs}},
			{w.user.ID, "a-child", []*Link{child}},
			{"nobody", "", nil},
		} {
			got, err := w.Links(ctx, c.user, c.patient)
			ok(t, err)
			same(t, got, c.want)
		}

		g, k := w.redeemed()
		ok(t, w.RemoveLink(ctx, w.user.ID, "a-child"))
		same(t, w.opens(k.Access), true)
		ok(t, w.RemoveLink(ctx, w.user.ID, "p1"))
		same(t, w.opens(k.Access), false)
		same(t, w.revoked(g.ID), true)
		wants(t, w.RemoveLink(ctx, w.user.ID, "p1"), ErrNotFound)
		left, err := w.Links(ctx, "", "")
		ok(t, err)
		same(t, left, []*Link{theirs})
	})
}

func TestUsersInParallel(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		ids := make([]string, parallel)
		told := race(func(i int) error {
			u, err := w.EnsureUser(ctx, "https://idp.example", "new")
			if err == nil {
				ids[i] = u.ID
			}
			return err
		})
		same(t, told[nil], parallel)
		same(t, len(slices.Compact(ids)), 1)
	})
}

func TestPasswords(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		u, err := w.SetPassword(ctx, "maria", "correct horse")
		ok(t, err)
		got, err := w.CheckPassword(ctx, "maria", "correct horse")
		ok(t, err)
		same(t, got, u)
		for _, c := range [][2]string{{"maria", "Correct horse"}, {"maria", ""}, {"Maria", "correct horse"}, {"", ""}} {
			_, err = w.CheckPassword(ctx, c[0], c[1])
			wants(t, err, ErrNotFound)
		}
		again, err := w.SetPassword(ctx, "maria", "another")
		ok(t, err)
		same(t, again, u)
		_, err = w.CheckPassword(ctx, "maria", "correct horse")
		wants(t, err, ErrNotFound)
		_, err = w.CheckPassword(ctx, "maria", "another")
		ok(t, err)

		_, err = w.EnsureUser(ctx, "", "no password") // a login without one
		ok(t, err)
		_, err = w.CheckPassword(ctx, "no password", "")
		wants(t, err, ErrNotFound)
	})
}

func TestLogins(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		_, err := w.SetPassword(ctx, "maria", "right")
		ok(t, err)
		for _, login := range []string{"maria", "nobody"} {
			try := func(password string, want error) {
				t.Helper()
				_, err := w.CheckPassword(ctx, login, password)
				wants(t, err, want)
			}
			for range LoginTries {
				try("wrong", ErrNotFound)
			}
			for _, wait := range []time.Duration{LockFor, 2 * LockFor, 4 * LockFor, 8 * LockFor, 16 * LockFor, 32 * LockFor, time.Hour, time.Hour} {
				try("wrong", ErrLocked)
				w.pass(wait - time.Millisecond)
				try("right", ErrLocked)
				w.pass(time.Millisecond)
				try("wrong", ErrNotFound)
			}
			w.pass(time.Hour)
			if login == "maria" {
				try("right", nil)
				try("wrong", ErrNotFound) // it begins anew
				try("right", nil)
			}
		}
	})
}

func TestGuessesAtTheSameTimeAreGuesses(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		_, err := w.SetPassword(ctx, "maria", "right")
		ok(t, err)
		told := race(func(int) error {
			_, err := w.CheckPassword(ctx, "maria", "wrong")
			return err
		})
		same(t, told, map[error]int{ErrNotFound: LoginTries, ErrLocked: parallel - LoginTries})
	})
}

func TestUnknownLoginsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		ok(t, w.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			for i := range unknownMost + 500 {
				known := int64(0)
				if i < 10 {
					known = 1
				}
				if _, err := database.Change(ctx, tx, `INSERT INTO login_failures (login, known, failures, last, locked) VALUES ($1, $2, 4, $3, 0)`,
					fmt.Sprintf("login %06d", i), known, database.Millis(w.now())-1_000_000+int64(i)); err != nil {
					return err
				}
			}
			return nil
		}))
		_, err := w.CheckPassword(ctx, "the one more", "x")
		wants(t, err, ErrNotFound)
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM login_failures WHERE known = 0`), unknownMost)
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM login_failures WHERE known = 1`), 10)
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM login_failures WHERE login = 'login 000010'`), 0) // the oldest unknown one
		same(t, count(t, w.Accounts, `SELECT COUNT(*) FROM login_failures WHERE login = $1`, w.failureKey(loginPurpose, "the one more")), 1)
	})
}

func TestPasswordTakesTheSameTimeForUnknownLogins(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db")
	_, err := w.SetPassword(ctx, "maria", "right")
	ok(t, err)
	// The same parameters are the same work; the clock of a busy machine proves nothing.
	var kept string
	ok(t, w.db.QueryRowContext(ctx, `SELECT password FROM logins`).Scan(&kept))
	parameters := func(s string) string { return strings.Join(strings.Split(s, "$")[:4], "$") }
	same(t, parameters(kept), parameters(NoPassword))
	same(t, parameters(kept), "$argon2id$v=19$m=19456,t=2,p=1")
	same(t, len(kept), len(NoPassword))
	if got, err := SamePassword(ctx, "", NoPassword); err != nil || got {
		t.Error("no password is one", err)
	}

	for _, bad := range []string{"", "$2b$10$abc", "$argon2id$v=18$m=1,t=1,p=1$AAAA$AAAA", "$argon2id$v=19$m=1,t=1,p=1$!$AAAA", "$argon2id$v=19$m=8,t=1,p=1$AAAA$",
		strings.Replace(NoPassword, "t=2", "t=0", 1), strings.Replace(NoPassword, "p=1", "p=0", 1), strings.Replace(NoPassword, "19456", "99999999", 1)} {
		if got, err := SamePassword(ctx, "", bad); err == nil || got {
			t.Errorf("%q is a password", bad)
		}
	}
}

func TestHashingIsBounded(t *testing.T) {
	w := newWorld(t, "sqlite:"+t.TempDir()+"/a.db")
	for range cap(hashing) {
		hashing <- struct{}{}
	}
	defer func() {
		for range cap(hashing) {
			<-hashing
		}
	}()
	c, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := w.SetPassword(c, "maria", "right"); err == nil || c.Err() == nil {
		t.Errorf("it was hashed beside as many as may hash: %v", err)
	}
}

func TestSessions(t *testing.T) {
	each(t, func(t *testing.T, address string) {
		w := newWorld(t, address)
		s := &Session{
			ID: secret(), User: w.user.ID, Level: "urn:ial2", AuthTime: w.now().Add(-time.Second), Seen: w.now(), Created: w.now(),
			Expires: w.now().Add(time.Hour),
		}
		ok(t, w.AddSession(ctx, s))
		wants(t, w.AddSession(ctx, s), ErrExists)
		find := func(idle time.Duration) *Session {
			t.Helper()
			s, err := w.Session(ctx, s.ID, idle)
			ok(t, err)
			return s
		}
		same(t, find(15*time.Minute), s)
		_, err := w.Session(ctx, secret(), time.Hour)
		wants(t, err, ErrNotFound)
		w.pass(59 * time.Second)
		same(t, find(15*time.Minute), s) // to the minute
		w.pass(14 * time.Minute)
		seen := *s
		seen.Seen = w.now()
		same(t, find(15*time.Minute), &seen)
		w.pass(15 * time.Minute)
		seen.Seen = w.now()
		same(t, find(15*time.Minute), &seen)
		w.pass(15*time.Minute + time.Millisecond)
		_, err = w.Session(ctx, s.ID, 15*time.Minute)
		wants(t, err, ErrNotFound)
		find(time.Hour)
		w.pass(16 * time.Minute)
		_, err = w.Session(ctx, s.ID, time.Hour) // whatever happens
		wants(t, err, ErrNotFound)

		s.ID, s.Expires = secret(), w.now().Add(time.Hour)
		ok(t, w.AddSession(ctx, s))
		ok(t, w.EndSession(ctx, s.ID))
		_, err = w.Session(ctx, s.ID, time.Hour)
		wants(t, err, ErrNotFound)
		ok(t, w.EndSession(ctx, s.ID))
	})
}
