package accounts

import (
	"context"
	"crypto"
	"time"
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
func (a *Accounts) Keys(ctx context.Context) ([]*Key, error) { panic("not built yet") }

// EnsureKeys makes a first key of each algorithm that has none; several processes that do it at once make one.
func (a *Accounts) EnsureKeys(ctx context.Context) error { panic("not built yet") }

// RotateKeys makes a new key of each algorithm. It is published at once and signs after announce; the keys before
// it sign until then, and are published for keep after that.
func (a *Accounts) RotateKeys(ctx context.Context, announce, keep time.Duration) ([]*Key, error) {
	panic("not built yet")
}

// Secret is a random value of 32 bytes by name, the same for all processes, made when it is first asked for and kept
// sealed.
func (a *Accounts) Secret(ctx context.Context, name string) ([]byte, error) { panic("not built yet") }
