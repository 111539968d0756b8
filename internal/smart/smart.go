// Package smart decides by the tokens of an authorization server what a request to the API may see: SMART App
// Launch 2.2, the side of the resource server. It checks tokens that are JWTs by the keys that the server
// publishes, or asks the server about each token (RFC 7662).
package smart

import (
	"context"
	"crypto/sha256"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"cpcds2fhir/internal/api"
)

// Config says whose tokens count. Zero values mean defaults where a field says so.
type Config struct {
	// Issuer is the authorization server, exactly as its tokens and its metadata name it.
	Issuer string

	// Audience is what a token must be for: one of these must be in its aud. It is the base URL of the API,
	// or what the authorization server calls it. Without this check a token that a member has given to any
	// other service would open the API.
	Audience []string

	// MemberClaims are the claims that may say whose data a token opens: an id, Patient/ID, or a URL that
	// ends so. The first one that a token has counts. nil is patient, then fhirUser.
	MemberClaims []string

	// Operators lets tokens without a member see everything that their system/ scopes name.
	Operators bool

	// JWKS is where the keys are; "" is as the metadata of the issuer says.
	JWKS string

	// Introspection, unless it is nil, asks the server about each token instead of checking a signature.
	Introspection *Introspection

	HTTP   *http.Client // to reach the issuer; nil is one with a time limit
	Events Events
}

// Introspection says how to ask about tokens.
type Introspection struct {
	URL      string                 // "" is as the metadata of the issuer says
	Client   string                 // id of the API at the server, sent as HTTP Basic; "" sends no credentials
	Secret   func() (string, error) // of the client, read each time, so that it can be changed
	CacheFor time.Duration          // how long an answer counts: so long a token works on after it was revoked

	// AssumeAudience takes answers without aud as being for the API: the server answers about its tokens only.
	AssumeAudience bool
}

// Events report what happens. Every field may be nil. No event has a token or a value of a member.
type Events struct {
	Refused func(request, reason string)
	Fetched func(what string, err error) // metadata or keys of the issuer
}

// Authorizer implements api.Authorizer. It is safe for concurrent use.
type Authorizer struct {
	Config
	issuer *issuer
	asking chan struct{} // has an element for each token that the server is asked about
	now    func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]known // answers about tokens
}

// known is what was found about a token, until it must be looked at again.
type known struct {
	access  *api.Access
	refused string // why the token is not valid, "" if it is
	until   time.Time
}

const (
	tokenMax = 16 << 10 // bytes
	knownMax = 20_000   // tokens

	// rememberFor is how long a token that was checked counts without another check: so long a key may be
	// used on after it was withdrawn.
	rememberFor = time.Minute

	// refuseFor is how long a token that is not valid is refused without another check. It is short, because keys
	// may arrive.
	refuseFor = 3 * time.Second

	// asking is how many tokens the server is asked about at a time. Others wait, and those that are known do not.
	asking = 32

	// leeway is how far the clocks may differ.
	leeway = time.Minute
)

var _ api.Authorizer = (*Authorizer)(nil)

// New makes an Authorizer. It does not reach the issuer yet.
func New(c *Config) (*Authorizer, error) {
	switch {
	case c.Issuer == "":
		return nil, errors.New("the authorization server has no issuer")
	case len(c.Audience) == 0 || slices.Contains(c.Audience, ""):
		return nil, errors.New("say what tokens must be for: the audience")
	}
	a := &Authorizer{Config: *c, asking: make(chan struct{}, asking), now: time.Now, known: map[[sha256.Size]byte]known{}}
	if a.MemberClaims == nil {
		a.MemberClaims = []string{"patient", "fhirUser"}
	}
	if a.HTTP == nil {
		a.HTTP = &http.Client{Timeout: 10 * time.Second}
	}
	a.issuer = newIssuer(&a.Config)
	return a, nil
}

// Authorize implements api.Authorizer.
func (a *Authorizer) Authorize(r *http.Request) (*api.Access, error) {
	token, err := Bearer(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(token))
	now := a.now()
	a.mu.Lock()
	k, ok := a.known[sum]
	a.mu.Unlock()
	if ok && now.Before(k.until) {
		if k.refused != "" {
			return nil, a.refuse(r, k.refused)
		}
		return k.access, nil
	}
	claims, remember, err := a.check(r.Context(), token)
	if err != nil {
		if refused, ok := errors.AsType[*refusal](err); ok {
			a.remember(sum, known{refused: refused.reason, until: now.Add(refuseFor)})
			return nil, a.refuse(r, refused.reason)
		}
		return nil, errors.Join(&api.Error{Status: http.StatusServiceUnavailable, Code: "transient", Text: "the authorization server cannot be reached; try again later", Retry: 10}, err)
	}
	access, err := a.access(claims)
	if err != nil {
		return nil, err
	}
	until := now.Add(remember)
	if at := claims.expires(); !at.IsZero() && at.Before(until) {
		until = at
	}
	a.remember(sum, known{access: access, until: until})
	return access, nil
}

func (a *Authorizer) remember(sum [sha256.Size]byte, k known) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= knownMax { // made-up tokens must not push out those that count
		maps.DeleteFunc(a.known, func(_ [sha256.Size]byte, x known) bool { return x.refused != "" })
	}
	if len(a.known) >= knownMax && k.refused == "" {
		clear(a.known)
	}
	if len(a.known) >= knownMax {
		return
	}
	a.known[sum] = k
}

func (a *Authorizer) refuse(r *http.Request, reason string) error {
	if a.Events.Refused != nil {
		a.Events.Refused(r.Header.Get("X-Request-Id"), reason)
	}
	return InvalidToken("the token is not valid: " + reason)
}

// check finds what a token says, and how long that may be remembered. It fails with *refusal if the token is not
// valid, and otherwise if that is not known.
func (a *Authorizer) check(ctx context.Context, token string) (claims, time.Duration, error) {
	if a.Introspection != nil {
		c, err := a.introspect(ctx, token)
		return c, a.Introspection.CacheFor, err
	}
	c, err := a.verify(ctx, token)
	return c, rememberFor, err
}

// Bearer reads the token of a request (RFC 6750, 2.1). It fails with *api.Error.
func Bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		return "", &api.Error{Status: http.StatusUnauthorized, Code: "login", Text: "the request has no token; send it as Authorization: Bearer TOKEN",
			Header: map[string]string{"WWW-Authenticate": `Bearer realm="fhir"`}}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > tokenMax || strings.ContainsAny(token, " \t,") {
		return "", InvalidToken("the header Authorization is not of the form Bearer TOKEN")
	}
	return token, nil
}

// InvalidToken is the answer to a token that is not valid (RFC 6750, 3.1).
func InvalidToken(text string) *api.Error {
	return &api.Error{Status: http.StatusUnauthorized, Code: "login", Text: text,
		Header: map[string]string{"WWW-Authenticate": `Bearer realm="fhir", error="invalid_token"`}}
}

// refusal is why a token is not valid. The reason has nothing of the token.
type refusal struct{ reason string }

func (r *refusal) Error() string { return r.reason }

// access is what a valid token opens.
func (a *Authorizer) access(c claims) (*api.Access, error) {
	scope := c.scope()
	granted := &api.Access{Client: c.first("client_id", "azp", "cid"), User: c.first("sub"), Scopes: api.ParseScopes(scope)}
	patient, found := "", false
	for _, name := range a.MemberClaims {
		if text := c.text(name); text != "" {
			patient, found = member(text)
			if !found && name != "fhirUser" {
				return nil, InvalidToken("the token is not valid: its claim " + name + " names no member")
			}
			if found {
				break
			}
		}
	}
	switch {
	case found:
		granted.Patient = patient
		granted.Scopes = slices.DeleteFunc(granted.Scopes, func(s api.Scope) bool { return s.Context == "system" })
	case a.Operators && systemOnly(scope):
		granted.Scopes = slices.DeleteFunc(granted.Scopes, func(s api.Scope) bool { return s.Context != "system" })
	default: // never everything by mistake
		return nil, &api.Error{Status: http.StatusForbidden, Code: "forbidden", Text: "the token does not say whose data it opens",
			Header: map[string]string{"WWW-Authenticate": `Bearer realm="fhir", error="insufficient_scope"`}}
	}
	return granted, nil
}

// systemOnly reports whether all scopes about resources are those of a service.
func systemOnly(scope string) bool {
	some := false
	for s := range strings.FieldsSeq(scope) {
		switch context, _, ok := strings.Cut(s, "/"); {
		case !ok:
		case context == "system":
			some = true
		case context == "patient" || context == "user":
			return false
		}
	}
	return some
}

// member reads the id of a patient: ID, Patient/ID, or a URL that ends so.
func member(text string) (id string, ok bool) {
	parts := strings.Split(text, "/")
	id = parts[len(parts)-1]
	if len(parts) > 1 && parts[len(parts)-2] != "Patient" {
		return "", false
	}
	return id, api.IsID(id)
}
