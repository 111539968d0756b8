package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"cpcds2fhir/internal/database"

	"golang.org/x/crypto/argon2"
)

// SetPassword gives an embedded login (for sandboxes) a password; it is made if it is missing. The password is kept
// with argon2id.
func (a *Accounts) SetPassword(ctx context.Context, login, password string) (*User, error) {
	kept, err := HashPassword(ctx, password)
	if err != nil {
		return nil, err
	}
	u, err := a.EnsureUser(ctx, "", login)
	if err != nil {
		return nil, err
	}
	return u, a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if _, err := database.Change(ctx, tx, `INSERT INTO logins (user_id, password) VALUES ($1, $2)
			ON CONFLICT (user_id) DO UPDATE SET password = excluded.password`, u.ID, kept); err != nil {
			return err
		}
		_, err := database.Change(ctx, tx, `DELETE FROM login_failures WHERE login = $1`, a.failureKey(loginPurpose, login))
		return err
	})
}

// CheckPassword signs an embedded login in. A wrong password, or a login that does not exist, is ErrNotFound, after
// the same time. After LoginTries failures in a row it is ErrLocked for LockFor, which doubles with each further
// failure up to an hour, whatever the password; a login that does not exist is locked alike.
func (a *Accounts) CheckPassword(ctx context.Context, login, password string) (*User, error) {
	kept := NoPassword
	u, err := readUser(after(a.db.QueryRowContext(ctx, `SELECT l.password, u.id, u.issuer, u.subject, u.created
		FROM users u JOIN logins l ON l.user_id = u.id WHERE u.issuer = '' AND u.subject = $1`, login), &kept))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, database.Fault(err)
	}
	known := err == nil
	// A try is counted as a failure before anybody knows whether it is one: a thousand at the same time are no more
	// tries than a thousand in a row.
	if err := a.CountFailure(ctx, loginPurpose, login, known); err != nil {
		return nil, err
	}
	same, err := SamePassword(ctx, password, kept)
	if err != nil {
		return nil, err
	}
	if !known || !same {
		return nil, ErrNotFound
	}
	if err := a.ForgetFailures(ctx, loginPurpose, login); err != nil {
		return nil, err
	}
	return u, nil
}

// loginPurpose is that of the logins of members, whose failures are counted.
const loginPurpose = "login"

func (a *Accounts) failureKey(purpose, name string) string {
	k := a.db.MAC(purpose, name)
	return hex.EncodeToString(k[:])
}

// ForgetFailures ends the count of failures of a name, as somebody does who has signed in.
func (a *Accounts) ForgetFailures(ctx context.Context, purpose, name string) error {
	_, err := a.db.Change(ctx, `DELETE FROM login_failures WHERE login = $1`, a.failureKey(purpose, name))
	return err
}

// CountFailure counts a try as a failure, before anybody knows whether it is one, and locks its name if it had too many:
// after LoginTries in a row for LockFor, which doubles with each further failure up to an hour. It fails with ErrLocked
// if it is locked. purpose keeps names of different logins apart. known says that there is somebody of that name: of
// those that are not, the oldest failures are forgotten.
func (a *Accounts) CountFailure(ctx context.Context, purpose, name string, known bool) error {
	key := a.failureKey(purpose, name)
	return a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
		now := database.Millis(a.now())
		n, err := database.Change(ctx, tx, `INSERT INTO login_failures (login, known, failures, last, locked) VALUES ($1, $2, 1, $3, 0)
			ON CONFLICT (login) DO UPDATE SET failures = login_failures.failures + 1, last = excluded.last, known = excluded.known
			WHERE login_failures.locked <= $3`, key, database.Bit(known), now)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrLocked
		}
		var failures int64
		if err := tx.QueryRowContext(ctx, `SELECT failures FROM login_failures WHERE login = $1`, key).Scan(&failures); err != nil {
			return err
		}
		if failures >= LoginTries {
			wait := min(LockFor<<min(failures-LoginTries, 10), lockMost)
			if _, err := database.Change(ctx, tx, `UPDATE login_failures SET locked = $1 WHERE login = $2`, now+wait.Milliseconds(), key); err != nil {
				return err
			}
		}
		if failures > 1 || known {
			return nil
		}
		// Logins that do not exist are as many as somebody likes: the oldest failures go.
		_, err = database.Change(ctx, tx, `DELETE FROM login_failures WHERE login IN (SELECT login FROM login_failures WHERE known = 0
			ORDER BY last DESC, login LIMIT 1000 OFFSET $1)`, unknownMost)
		return err
	})
}

// Limits of failures.
const (
	lockMost    = time.Hour
	unknownMost = 10000 // logins that do not exist whose failures are counted
)

// Parameters of argon2id: those of OWASP's Password Storage Cheat Sheet.
const (
	argonMemory = 19 << 10 // KiB
	argonPasses = 2
	argonLanes  = 1
	argonSalt   = 16
	argonSum    = 32

	argonMemoryMost = 1 << 20 // KiB; more is not a parameter, but a fault or an attack
)

var errPassword = errors.New("accounts: a password was kept in a way that this program does not know")

// hashing holds those that hash now: each takes 19 MiB.
var hashing = make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))

// NoPassword is compared with where there is no login, so that it takes the same time. No password matches it.
var NoPassword = writePassword(make([]byte, argonSalt), make([]byte, argonSum))

// writePassword writes a sum as the reference implementation of argon2 does.
func writePassword(salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonPasses, argonLanes, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// slowSum waits until few enough others hash, and hashes.
func slowSum(ctx context.Context, password string, salt []byte, passes, memory uint32, lanes uint8, length uint32) ([]byte, error) {
	select {
	case hashing <- struct{}{}:
		defer func() { <-hashing }()
	case <-ctx.Done():
		return nil, fmt.Errorf("accounts: %w", ctx.Err())
	}
	return argon2.IDKey([]byte(password), salt, passes, memory, lanes, length), nil
}

// HashPassword is how a password is kept: argon2id with a salt, as the reference implementation of argon2 writes it. It
// waits until few enough others hash, as long as ctx allows.
func HashPassword(ctx context.Context, password string) (string, error) {
	salt := make([]byte, argonSalt)
	_, _ = rand.Read(salt) // it never fails
	s, err := slowSum(ctx, password, salt, argonPasses, argonMemory, argonLanes, argonSum)
	if err != nil {
		return "", err
	}
	return writePassword(salt, s), nil
}

// SamePassword compares a password with what HashPassword made, with the parameters of then.
func SamePassword(ctx context.Context, password, kept string) (bool, error) {
	var version int
	var memory, passes uint32
	var lanes uint8
	parts := strings.Split(kept, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errPassword
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &lanes); err != nil ||
		version != argon2.Version || memory > argonMemoryMost || passes == 0 || lanes == 0 {
		return false, errPassword
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false, errPassword
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) != argonSum {
		return false, errPassword
	}
	got, err := slowSum(ctx, password, salt, passes, memory, lanes, argonSum)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

// Limits of embedded logins.
const (
	LoginTries = 5
	LockFor    = time.Minute
)
