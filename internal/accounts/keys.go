package accounts

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"cpcds2fhir/internal/database"
)

// Key is a private key that ID tokens are signed with.
type Key struct {
	ID        string // kid
	Algorithm string // RS256 or ES384
	Private   crypto.Signer
	Created   time.Time
	Active    time.Time // signs from then on
	Retired   time.Time // does not sign from then on; zero if it is not known
	Removed   time.Time // is not published from then on; zero if it is not known
}

// Keys lists the keys that are published now: those that will sign, sign, or have signed what may still be read.
func (a *Accounts) Keys(ctx context.Context) ([]*Key, error) {
	return database.List(ctx, a.db, a.readKey, `SELECT id, algorithm, sealed, created, active, retired, removed FROM signing_keys
		WHERE removed = 0 OR removed > $1 ORDER BY algorithm DESC, active, number`, database.Millis(a.now()))
}

func (a *Accounts) readKey(row database.Row) (*Key, error) {
	k := &Key{}
	var sealed string
	var created, active, retired, removed int64
	if err := row.Scan(&k.ID, &k.Algorithm, &sealed, &created, &active, &retired, &removed); err != nil {
		return nil, err
	}
	der, err := a.db.Open("key "+k.ID, sealed)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("accounts: a key cannot be read: %w", err)
	}
	signer, is := key.(crypto.Signer)
	if !is {
		return nil, errors.New("accounts: a key does not sign")
	}
	k.Private, k.Created, k.Active, k.Retired, k.Removed = signer, database.Instant(created), database.Instant(active), database.Instant(retired), database.Instant(removed)
	return k, nil
}

// algorithms are those that keys are made for: SMART wants RS256 of an OpenID provider, and ES384 is short.
var algorithms = []string{"RS256", "ES384"}

// newKey makes a key, and seals it.
func (a *Accounts) newKey(algorithm string, active time.Time) (k *Key, sealed string, err error) {
	k = &Key{ID: database.Random(), Algorithm: algorithm, Created: database.Instant(database.Millis(a.now())), Active: database.Instant(database.Millis(active))}
	switch algorithm {
	case "RS256":
		k.Private, err = rsa.GenerateKey(rand.Reader, 3072)
	case "ES384":
		k.Private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	if err != nil {
		return nil, "", fmt.Errorf("accounts: make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, "", fmt.Errorf("accounts: make a key: %w", err)
	}
	sealed, err = a.db.Seal("key "+k.ID, der)
	return k, sealed, err
}

// addKey keeps a key as the one of this number, unless another process did; added says so.
func addKey(ctx context.Context, tx *sql.Tx, k *Key, sealed string, number int64) (added bool, err error) {
	n, err := database.Change(ctx, tx, `INSERT INTO signing_keys (id, algorithm, number, sealed, created, active, retired, removed)
		VALUES ($1, $2, $3, $4, $5, $6, 0, 0) ON CONFLICT (algorithm, number) DO NOTHING`,
		k.ID, k.Algorithm, number, sealed, database.Millis(k.Created), database.Millis(k.Active))
	return n == 1, err
}

// replaceKey keeps a key under the next number of its algorithm, and retires those before it. The number is taken first:
// whoever rotates at the same time either waits for it in vain, or sees the key under it and retires it.
func replaceKey(ctx context.Context, tx *sql.Tx, k *Key, sealed string, retired, removed time.Time) (added bool, err error) {
	var last int64
	if err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(number), 0) FROM signing_keys WHERE algorithm = $1`, k.Algorithm).Scan(&last); err != nil {
		return false, err
	}
	if added, err = addKey(ctx, tx, k, sealed, last+1); err != nil || !added {
		return false, err
	}
	_, err = database.Change(ctx, tx, `UPDATE signing_keys SET retired = $1, removed = $2 WHERE algorithm = $3 AND number <= $4 AND (retired = 0 OR retired > $1)`,
		database.Millis(retired), database.Millis(removed), k.Algorithm, last)
	return err == nil, err
}

// EnsureKeys makes a first key of each algorithm that has none; several processes that do it at once make one.
func (a *Accounts) EnsureKeys(ctx context.Context) error {
	has, err := database.Column(ctx, a.db, `SELECT DISTINCT algorithm FROM signing_keys WHERE retired = 0`)
	if err != nil {
		return err
	}
	for _, algorithm := range algorithms {
		if slices.Contains(has, algorithm) {
			continue
		}
		k, sealed, err := a.newKey(algorithm, a.now())
		if err != nil {
			return err
		}
		if err := a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) error {
			_, err := addKey(ctx, tx, k, sealed, 1)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// RotateKeys makes a new key of each algorithm. It is published at once and signs after announce; the keys before
// it sign until then, and are published for keep after that.
func (a *Accounts) RotateKeys(ctx context.Context, announce, keep time.Duration) ([]*Key, error) {
	from := a.now().Add(announce)
	var made []*Key
	for _, algorithm := range algorithms {
		k, sealed, err := a.newKey(algorithm, from)
		if err != nil {
			return nil, err
		}
		for added := false; !added; { // another process may take the number first
			if err := a.db.Tx(ctx, func(ctx context.Context, tx *sql.Tx) (err error) {
				added, err = replaceKey(ctx, tx, k, sealed, from, from.Add(keep))
				return err
			}); err != nil {
				return nil, err
			}
		}
		made = append(made, k)
	}
	return made, nil
}

// Secret is a random value of 32 bytes by name, the same for all processes, made when it is first asked for and kept
// sealed.
func (a *Accounts) Secret(ctx context.Context, name string) ([]byte, error) {
	find := func() (sealed string, err error) {
		return sealed, a.db.QueryRowContext(ctx, `SELECT sealed FROM secrets WHERE name = $1`, name).Scan(&sealed)
	}
	sealed, err := find()
	if errors.Is(err, sql.ErrNoRows) {
		value := make([]byte, 32)
		_, _ = rand.Read(value) // it never fails
		if sealed, err = a.db.Seal("secret "+name, value); err != nil {
			return nil, err
		}
		if _, err = a.db.Change(ctx, `INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, sealed); err != nil {
			return nil, err
		}
		sealed, err = find() // that of another process, if it was first
	}
	if err != nil {
		return nil, database.Fault(err)
	}
	return a.db.Open("secret "+name, sealed)
}

// SameDatabase reports whether another Accounts has the same database open, whatever its URL says.
func (a *Accounts) SameDatabase(ctx context.Context, other *Accounts) (bool, error) {
	mine, err := a.Secret(ctx, databaseName)
	if err != nil {
		return false, err
	}
	theirs, err := other.Secret(ctx, databaseName)
	return bytes.Equal(mine, theirs), err
}

// databaseName is a secret by which a database is known.
const databaseName = "database"

// sealName is a secret that nobody needs: it shows whether the seal is the right one.
const sealName = "seal"
