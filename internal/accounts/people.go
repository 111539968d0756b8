package accounts

import (
	"context"
	"time"
)

// User is a person who signs in: a subject of an identity provider, or a login of the sandbox. Names and addresses
// are not kept.
type User struct {
	ID      string
	Issuer  string // of the identity provider; "" for an embedded login
	Subject string // at the provider, or the embedded login
	Created time.Time
}

// Link says that a user may see a member's data, and let apps see it.
type Link struct {
	User    string
	Patient string
	Role    string // self, or representative: a parent, a guardian
	Source  string // rule (of the identity provider's claims), operator or sandbox
	Created time.Time
}

// EnsureUser finds the user of a subject, or makes it.
func (a *Accounts) EnsureUser(ctx context.Context, issuer, subject string) (*User, error) {
	panic("not built yet")
}

// User finds a user by id. It fails with ErrNotFound.
func (a *Accounts) User(ctx context.Context, id string) (*User, error) { panic("not built yet") }

// AddLink lets a user speak for a member; a second link of both replaces the first.
func (a *Accounts) AddLink(ctx context.Context, l *Link) error { panic("not built yet") }

// RemoveLink ends a link, and revokes the grants that the user gave for the member. It fails with ErrNotFound.
func (a *Accounts) RemoveLink(ctx context.Context, user, patient string) error {
	panic("not built yet")
}

// Links lists the members that a user speaks for, or with user "" all links, or those of a patient: itself first.
func (a *Accounts) Links(ctx context.Context, user, patient string) ([]*Link, error) {
	panic("not built yet")
}

// SetPassword gives an embedded login (for sandboxes) a password; it is made if it is missing. The password is kept
// with argon2id.
func (a *Accounts) SetPassword(ctx context.Context, login, password string) (*User, error) {
	panic("not built yet")
}

// CheckPassword signs an embedded login in. A wrong password, or a login that does not exist, is ErrNotFound, after
// the same time. After LoginTries failures in a row it is ErrLocked for LockFor, which doubles with each further
// failure up to an hour, whatever the password; a login that does not exist is locked alike.
func (a *Accounts) CheckPassword(ctx context.Context, login, password string) (*User, error) {
	panic("not built yet")
}

// Limits of embedded logins.
const (
	LoginTries = 5
	LockFor    = time.Minute
)

// Session is a user who has signed in with a browser.
type Session struct {
	ID       string // random; kept as a sum
	User     string
	Level    string // acr of the identity provider, "" for embedded logins
	AuthTime time.Time
	Seen     time.Time
	Created  time.Time
	Expires  time.Time // whatever happens
}

// AddSession keeps a session.
func (a *Accounts) AddSession(ctx context.Context, s *Session) error { panic("not built yet") }

// Session finds a session that was seen within idle and has not expired, and notes that it was seen now (to the
// minute). It fails with ErrNotFound.
func (a *Accounts) Session(ctx context.Context, id string, idle time.Duration) (*Session, error) {
	panic("not built yet")
}

// EndSession ends a session; an unknown one is no error.
func (a *Accounts) EndSession(ctx context.Context, id string) error { panic("not built yet") }
