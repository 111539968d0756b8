// Package authserver is the embedded authorization server: SMART App Launch 2.2 (standalone launch), OAuth 2.0
// with PKCE, OpenID Connect, SMART Backend Services, and the dialect of Utah's Patient Access API. It speaks the
// protocols and keeps what it must remember in accounts; who signs in and what they decide is the pages' business
// (internal/site).
package authserver

import (
	"context"
	"time"

	"cpcds2fhir/internal/accounts"
)

// Pending is an authorization request that waits for a decision, as a consent page shows it.
type Pending struct {
	Request string // its id, a secret of the browser that began it
	Client  *accounts.Client
	User    string   // who is deciding; "" before anybody signed in
	Scopes  []string // as asked for
	Utah    bool     // the client uses Utah's dialect, in which all of these are the server's defaults

	// RedirectURI is where the browser goes afterwards. Pages show it, and name its origin in form-action of
	// their Content-Security-Policy: otherwise browsers stop the redirect that follows the form.
	RedirectURI string

	// AuthAfter is when somebody must have signed in at the earliest (prompt=login and max_age of OpenID Connect);
	// zero is any time. A session that is older must sign in again.
	AuthAfter time.Time
	Expires   time.Time
}

// Decision is what somebody allows.
type Decision struct {
	User     string
	Patient  string   // id of the member whose data is given
	Scopes   []string // of those that were asked for, written alike; offline_access among them allows refresh tokens
	AuthTime time.Time
	Until    time.Time // the grant ends then

	// Told is what the member read before, for the receipt; nil keeps none.
	Told *accounts.Statement
}

// Pages is what pages need of a Server. Its methods are safe for concurrent use.
type Pages interface {
	// Pending finds a request that waits. It fails with accounts.ErrUsed if it was decided, and with
	// accounts.ErrNotFound if it has expired or never was.
	Pending(ctx context.Context, request string) (*Pending, error)

	// Assign notes that a user decides a request. It fails with accounts.ErrUsed if another one does.
	Assign(ctx context.Context, request, user string) error

	// Allow gives the client a code, and returns where the browser goes now. It fails as Pending does; a request
	// is decided once.
	Allow(ctx context.Context, request string, d *Decision) (redirect string, err error)

	// Deny tells the client access_denied, and returns where the browser goes now. Earlier grants stay.
	Deny(ctx context.Context, request string) (redirect string, err error)
}
