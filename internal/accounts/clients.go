package accounts

import (
	"context"
	"time"
)

// Client is an app, or a service of somebody, that is registered.
type Client struct {
	ID     string
	Name   string // as members read it
	Status Status

	Auth   string   // none (a public client), client_secret or private_key_jwt
	Native bool     // an app on a device: loopback redirects may have any port (RFC 8252, 7.3), and schemes of its own are allowed
	Grants []string // authorization_code, refresh_token, client_credentials

	RedirectURIs []string
	Scopes       []string // the most that it may ask for; nil is whatever the server gives to apps
	JWKS         string   // its public keys, as JSON
	JWKSURI      string   // or where they are
	IDTokenAlg   string   // RS256 or ES384

	// Utah lets it use the dialect of Utah's Patient Access API: no scope, state or PKCE, and redirect_url.
	Utah bool

	Homepage, Policy, Terms, Logo string   // URLs, "" if unknown
	Contacts                      []string // addresses of its developers
	Owner                         string   // who registered it: "operator", "registration" (RFC 7591), "sandbox" or the id of a developer

	Created, Changed time.Time
}

// Status says whether a client may do anything.
type Status string

// Statuses of clients.
const (
	Held     Status = "held"     // registered, and not yet approved
	Active   Status = "active"   //
	Disabled Status = "disabled" // its tokens open nothing as long as it is
)

// AddClient registers a client. It fails with ErrExists if there is one with this ID.
func (a *Accounts) AddClient(ctx context.Context, c *Client) error { panic("not built yet") }

// Client finds a client of any status. It fails with ErrNotFound.
func (a *Accounts) Client(ctx context.Context, id string) (*Client, error) { panic("not built yet") }

// Clients lists all clients by id.
func (a *Accounts) Clients(ctx context.Context) ([]*Client, error) { panic("not built yet") }

// UpdateClient replaces what is registered for c.ID, but for Created.
func (a *Accounts) UpdateClient(ctx context.Context, c *Client) error { panic("not built yet") }

// SetStatus changes the status of a client. It counts at once, for tokens too.
func (a *Accounts) SetStatus(ctx context.Context, id string, s Status) error { panic("not built yet") }

// AddSecret adds a secret to a client; the ones that it has expire at until the latest (the zero time: they stay).
func (a *Accounts) AddSecret(ctx context.Context, client, secret string, until time.Time) error {
	panic("not built yet")
}

// CheckSecret reports whether a secret of an existing client is valid. The time it takes does not depend on the
// secret.
func (a *Accounts) CheckSecret(ctx context.Context, client, secret string) (bool, error) {
	panic("not built yet")
}

// UseAssertion records the jti of a client's assertion until it expires. It fails with ErrUsed if it is there.
func (a *Accounts) UseAssertion(ctx context.Context, client, jti string, expires time.Time) error {
	panic("not built yet")
}
