// Package blackbox tests an authorization server for SMART App Launch 2.2 from outside: by its URLs alone, as an app,
// a member's browser and an attacker see it. It is written from the specifications (RFC 6749, 6750, 7009, 7523, 7591,
// 7636, 7662, 8252, 8414, 9700, OpenID Connect Core 1.0, SMART App Launch 2.2.0) and from what apps have met in the
// field, and knows nothing of any implementation.
//
// Whatever a server decides by itself (how long a code lives, how long a lost answer of a refresh is repeated) is in
// Target. Where a specification leaves a choice the checks take either way.
package blackbox

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Target is a server, and what the suite has there: clients that are registered, and members who can sign in.
type Target struct {
	FHIRBase string // as apps know it, e.g. https://api.example.org/fhir
	Issuer   string // exactly as the server names itself

	// Clients; the checks of one that is nil are skipped, and say so.
	Public       *Client   // without a secret
	Confidential *Client   // with a secret
	Asymmetric   *Client   // signs assertions (private_key_jwt)
	Native       *Client   // an app on a device, with a loopback redirect (RFC 8252, 7.3)
	Backend      *Client   // SMART Backend Services: client_credentials with assertions
	Utah         *Client   // may use the dialect of Utah's Patient Access API
	Disabled     *Client   // registered, and not allowed anything
	Others       []*Client // any more that get codes: their redirects and token responses are tested too

	// Members who can sign in. Most checks use the first one. Those that see whether a token opens what is somebody
	// else's need two.
	Members []Member

	// SignIn decides as a person does. It gets a browser (cookies, and no redirects by itself) and where the
	// authorization endpoint sent it, and returns where the browser is sent back to the app. nil fills in the forms
	// of the server: see Forms.
	SignIn func(ctx context.Context, browser *http.Client, at *url.URL, d *Decision) (*url.URL, error)

	HTTP *http.Client // nil is one with a time limit; its cookies and its redirects do not count

	// What the server is configured with. Zero is unknown: what would need it is skipped. A check waits 10 s at most.
	CodeLife     time.Duration // of a code
	AccessLife   time.Duration // of an access token
	RefreshGrace time.Duration // how long a refresh token that was used is answered with the same tokens again

	// Capabilities, if there are any, are exactly what the server must announce.
	Capabilities []string

	// AudienceOptional says that the server takes requests without aud, which SMART does not allow.
	AudienceOptional bool
}

// Client is a registered client.
type Client struct {
	ID           string
	Secret       string
	RedirectURIs []string
	Keys         []jose.JSONWebKey // private keys for assertions, with their kid
	Scopes       []string          // that it may ask for; nil is what most apps ask for
	AnyPort      bool              // its loopback redirects may have any port
	IDTokenAlg   string            // "" is any that the server announces
}

// Member is somebody who can sign in.
type Member struct{ Login, Password, Patient string }

// Decision is what somebody does when an app asks.
type Decision struct {
	Member
	Deny   bool
	Scopes []string // all that is allowed; nil is what is asked for
}

// check is a requirement and how it is tested.
type check struct {
	name string
	test func(t *trial)
}

// trial is a test of one requirement.
type trial struct {
	*testing.T
	*suite
}

// Run tests a server. Checks run one after another: a new grant may end earlier ones of the same app and member, so
// they would disturb one another.
func Run(t *testing.T, target *Target) {
	s := open(t, target)
	for _, group := range []struct {
		name   string
		checks []check
	}{
		{"discovery", discovery},
		{"capability", capabilities},
		{"authorize", authorization},
		{"redirect", redirects},
		{"state", states},
		{"consent", consents},
		{"page", pages},
		{"scope", scopes},
		{"client", clientAuthentication},
		{"assertion", assertions},
		{"token", tokenResponses},
		{"code", codes},
		{"refresh", refreshes},
		{"openid", identities},
		{"backend", backends},
		{"utah", dialect},
		{"introspect", introspections},
		{"revoke", revocations},
		{"resource", resources},
		{"cors", crossOrigin},
		{"register", registrations},
		{"errors", errorTexts}, // last: it looks at what all the others were answered
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.checks {
				t.Run(c.name, func(t *testing.T) { c.test(&trial{t, s}) })
			}
		})
	}
}

// defaultScopes are what most apps of members ask for.
const defaultScopes = "launch/patient openid fhirUser offline_access patient/Patient.rs patient/Coverage.rs patient/ExplanationOfBenefit.rs"

// scope is all that a client asks for.
func (c *Client) scope() string {
	if c.Scopes != nil {
		return strings.Join(c.Scopes, " ")
	}
	return defaultScopes
}

// app is a client that gets codes: the first there is, public ones first.
func (t *trial) app() *Client {
	t.Helper()
	for _, c := range []*Client{t.Public, t.Native, t.Confidential, t.Asymmetric} {
		if c != nil {
			return c
		}
	}
	t.Skip("the target has no client that gets codes")
	return nil
}

// need skips a check for which the target has no client.
func (t *trial) need(c *Client, kind string) *Client {
	t.Helper()
	if c == nil {
		t.Skipf("the target has no %s client", kind)
	}
	return c
}

// second is a member who is not the first one.
func (t *trial) second() Member {
	t.Helper()
	for _, m := range t.Members[1:] {
		if m.Patient != t.Members[0].Patient {
			return m
		}
	}
	t.Skip("the target has one member only")
	return Member{}
}

// wait sleeps for a duration that the target is configured with, if that is known and short.
func (t *trial) wait(d time.Duration, what string) {
	t.Helper()
	if d <= 0 || d > 10*time.Second {
		t.Skipf("the target does not say %s, or it is more than 10 s", what)
	}
	time.Sleep(d + 1500*time.Millisecond)
}
