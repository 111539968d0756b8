package accounts

import (
	"context"
	"time"
)

// Request is an authorization request that waits for somebody to sign in and decide.
type Request struct {
	ID          string // random; kept as a sum
	Client      string
	RedirectURI string
	Scopes      []string // as asked for, without those that the server does not know
	State       string   // opaque, returned as it came
	Nonce       string
	Challenge   string // of PKCE with S256, "" only in Utah's dialect
	Utah        bool   // it came in Utah's dialect
	Audience    string
	User        string // who is deciding: set when they have signed in; "" before
	Created     time.Time
	Expires     time.Time
}

// Grant is what somebody has allowed a client, or what a client was granted for itself.
type Grant struct {
	ID       string
	Client   string
	User     string   // who allowed it; "" for a client that acts for itself
	Patient  string   // id of the member whose data it opens; "" for a client that acts for itself
	Scopes   []string // that were granted, written as they were asked for
	Offline  bool     // refresh tokens are given
	AuthTime time.Time
	Created  time.Time
	Expires  time.Time // the member allowed it until then
	Revoked  time.Time // zero if it is not
	LastUsed time.Time // of a token of it, to the minute; zero if never
}

// Code is what an app redeems for tokens.
type Code struct {
	Secret      string // the code itself; kept as a sum
	Grant       string
	Client      string
	RedirectURI string
	Challenge   string
	Nonce       string
	Utah        bool
	Expires     time.Time
}

// AddRequest keeps a request until it expires or is decided.
func (a *Accounts) AddRequest(ctx context.Context, r *Request) error { panic("not built yet") }

// Request finds a request that waits. It fails with ErrUsed if it was decided, and with ErrNotFound if it is
// unknown or has expired.
func (a *Accounts) Request(ctx context.Context, id string) (*Request, error) { panic("not built yet") }

// AssignRequest notes who decides a request: the first one who signed in for it. It fails with ErrUsed if
// somebody else does.
func (a *Accounts) AssignRequest(ctx context.Context, id, user string) error { panic("not built yet") }

// Approve decides a request once: it keeps the grant and the code, and revokes earlier grants of the same client,
// user and member that allow something that the new one does not. It fails with ErrUsed if the request was decided
// already, and with ErrNotFound if it is gone; nothing has changed then.
func (a *Accounts) Approve(ctx context.Context, request string, g *Grant, c *Code) error {
	panic("not built yet")
}

// Deny decides a request once, without a grant. Earlier grants stay. It fails as Approve does.
func (a *Accounts) Deny(ctx context.Context, request string) error { panic("not built yet") }

// Tokens are what a code or a refresh token is redeemed for. The caller makes the secrets; they are kept as sums.
type Tokens struct {
	Access         string
	AccessScopes   []string // of the access token: those of the grant, or less
	AccessExpires  time.Time
	Refresh        string // "" for none
	RefreshExpires time.Time
}

// FindCode finds a code, used or not, without using it. It fails with ErrNotFound.
func (a *Accounts) FindCode(ctx context.Context, secret string) (*Code, *Grant, error) {
	panic("not built yet")
}

// Redeem uses a code that is not expired, and keeps the tokens. If the code was used before it fails with
// ErrReused, and the grant and all of its tokens are revoked: that is committed. ErrNotFound is any other reason.
// Of any number of calls at the same time one succeeds.
func (a *Accounts) Redeem(ctx context.Context, code string, t *Tokens) error { panic("not built yet") }

// FindRefresh finds a refresh token whose grant is valid, without using it: used says that it was rotated. It fails
// with ErrNotFound, also if the token, its grant or its client's right has ended.
func (a *Accounts) FindRefresh(ctx context.Context, secret string) (g *Grant, used bool, err error) {
	panic("not built yet")
}

// Rotate uses a refresh token and keeps its successors. A repeated call within grace of the first one gives back the
// tokens of the first (they are kept sealed for so long), so that an app that has lost an answer, or whose tabs
// race, goes on: of any number of calls one makes tokens, and the others answer with the same ones. After grace, or
// once a successor was itself rotated, it fails with ErrReused, and the grant and all of its tokens are revoked:
// that is committed. ErrNotFound is any other reason. With a grace of 0 one of any number of calls succeeds.
func (a *Accounts) Rotate(ctx context.Context, refresh string, t *Tokens, grace time.Duration) (*Tokens, error) {
	panic("not built yet")
}

// AddAccess keeps an access token of a client that acts for itself, and makes its grant.
func (a *Accounts) AddAccess(ctx context.Context, g *Grant, t *Tokens) error { panic("not built yet") }

// Access is what a valid access token opens.
type Access struct {
	Grant, Client, User, Patient string
	Scopes                       []string
	Issued, Expires              time.Time
}

// Access finds a valid access token: not expired, its grant neither expired nor revoked, its client active. It fails
// with ErrNotFound. It is called for each request to the API, is one query by a primary key, and keeps nothing: what
// is revoked counts at once, in all processes.
func (a *Accounts) Access(ctx context.Context, token string) (*Access, error) { panic("not built yet") }

// RevokeToken ends an access token or, for a refresh token, its grant, if the token is of this client. Unknown tokens
// are no error (RFC 7009, 2.2). It returns the id of the grant that was ended, if any.
func (a *Accounts) RevokeToken(ctx context.Context, client, token string) (grant string, err error) {
	panic("not built yet")
}

// RevokeGrant ends a grant and all of its tokens at once. It fails with ErrNotFound if there is none; a grant that
// has ended before is none.
func (a *Accounts) RevokeGrant(ctx context.Context, id string) error { panic("not built yet") }

// GrantFilter narrows Grants; "" is any.
type GrantFilter struct {
	Client, User, Patient string
	Ended                 bool // those that have expired or were revoked too
}

// Grants lists grants, the newest first.
func (a *Accounts) Grants(ctx context.Context, f GrantFilter) ([]*Grant, error) {
	panic("not built yet")
}
