// Package identity signs people in at an identity provider (OpenID Connect Core 1.0, the code flow with PKCE), and
// decides by rules which members they are. It keeps who may speak for whom in accounts, and finds members through
// what it is given: it reads no claims.
//
// Nothing that a provider says of a person is in an error, an event or a cookie that others can read.
package identity

import (
	"cmp"
	"context"
	"crypto/cipher"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"cpcds2fhir/internal/accounts"
)

// Config says where people sign in. Zero values mean defaults where a field says so.
type Config struct {
	Issuer   string // the provider, exactly as its metadata and tokens name it, also the slash at the end
	ClientID string // of this server, at the provider

	// Secret and Key authenticate this server: client_secret_basic or client_secret_post as the metadata say, or
	// private_key_jwt with a private key in PEM (RSA, P-256 or P-384). They are read each time, so that they can be
	// changed. With neither, PKCE alone protects the code.
	Secret func() (string, error)
	Key    func() (pem []byte, err error)
	KeyID  string // kid of Key, "" for none

	// RedirectURL is where the provider sends browsers to, for Finish. No other provider may have the same one: an
	// answer of another provider must not be taken for one of this (RFC 9700, 4.4).
	RedirectURL string

	Scopes []string          // nil is openid, profile and email; openid is added if it is missing
	Prompt string            // of the request: login, select_account, …; "" leaves it to the provider
	MaxAge time.Duration     // how long ago the person may have authenticated; 0 is any time
	Extra  map[string]string // other parameters of the request, as some providers need them

	// LevelClaim says how well the person was identified; "" is acr. One of Levels must be in it. AnyLevel accepts
	// everybody whom the provider lets in.
	LevelClaim string
	Levels     []string
	AnyLevel   bool

	// Cookie begins the names of the cookies in which browsers keep logins that have begun; "" is login. Two Logins of
	// one origin need two.
	Cookie string

	// UserInfo asks the provider for further claims. What the ID token has counts first.
	UserInfo bool

	Rules []Rule

	HTTP   *http.Client // to reach the provider; nil is a new one. Its time limit, if it has none, is ten seconds
	Now    func() time.Time
	Events Events
}

// Events report what happens. Every field may be nil. No event has a claim, a token or a code; user and patient are
// ids of this server.
type Events struct {
	SignedIn func(user, level string)
	Refused  func(code, rule, user string) // rule and user are "" if it did not come to them
	Linked   func(user, patient, role, rule string)
	Unlinked func(user, patient string)    // what a rule had linked no longer holds; grants are revoked
	Passed   func(code, rule, user string) // a rule for representatives found none or several for an entry
	Fetched  func(what string, err error)  // metadata or keys of the provider
}

// RefusedError says that a person cannot be signed in. It is no fault of this server, and has no value of the person.
type RefusedError struct {
	Code string // one of the constants
	Rule string // name of the rule that decided, or ""
	User string // id of the person here, if the provider has said who it is: by it a help desk can link them by hand
}

func (r *RefusedError) Error() string {
	if r.Rule != "" {
		return "the login is refused: " + r.Code + " by the rule " + r.Rule
	}
	return "the login is refused: " + r.Code
}

// Codes of RefusedError, for logs and counts.
const (
	CodeState     = "state"     // begun in another browser, too long ago, or finished before
	CodeDenied    = "denied"    // the person cancelled at the provider
	CodeProvider  = "provider"  // the provider refused the request
	CodeIssuer    = "issuer"    // the answer or the token is of another provider
	CodeGrant     = "grant"     // the provider does not take the code that it gave
	CodeToken     = "token"     // no ID token, or its signature, algorithm or form is not valid
	CodeAudience  = "audience"  // the ID token is for somebody else
	CodeTime      = "time"      // the ID token has expired, or is of the future
	CodeNonce     = "nonce"     // the ID token is of another login
	CodeAge       = "age"       // the person authenticated too long ago
	CodeLevel     = "level"     // the person is not identified well enough
	CodeClaims    = "claims"    // no rule has all the claims that it needs
	CodeNone      = "none"      // no member
	CodeAmbiguous = "ambiguous" // several members
)

// Reason is what a page may tell the person: cancelled, expired (begin again), level (prove the identity at the
// provider), none (the person cannot be matched; the help desk can) or provider (an answer that cannot be used). It
// does not tell whether there is such a member: none is also the reason if there are several.
func (r *RefusedError) Reason() string {
	switch r.Code {
	case CodeDenied:
		return "cancelled"
	case CodeState, CodeGrant, CodeTime, CodeNonce, CodeAge:
		return "expired"
	case CodeLevel:
		return "level"
	case CodeClaims, CodeNone, CodeAmbiguous:
		return "none"
	default:
		return "provider"
	}
}

// Reference is User, for pages that tell it to the person.
func (r *RefusedError) Reference() string { return r.User }

// ErrAway says that the provider cannot be reached, or fails. It may work later.
var ErrAway = errors.New("the identity provider does not answer")

// Login signs people in at one provider. It is safe for concurrent use.
type Login struct {
	Config
	accounts *accounts.Accounts
	members  Members
	rules    []rule
	client   *http.Client
	secure   bool   // the browser reaches this server by https
	cookie   string // prefix of the names of cookies

	provider provider

	mu   sync.Mutex
	aead cipher.AEAD // seals cookies; nil before it is needed
}

const (
	// loginFor is how long somebody may take to sign in at the provider: proofs of identity take minutes.
	loginFor = 30 * time.Minute

	// leeway is how far the clocks may differ.
	leeway = time.Minute
)

// New makes a Login. It does not reach the provider yet.
func New(c *Config, a *accounts.Accounts, m Members) (*Login, error) {
	l := &Login{Config: *c, accounts: a, members: m}
	issuer, err := checkURL("issuer", c.Issuer)
	if err != nil {
		return nil, err
	}
	if issuer.RawQuery != "" || issuer.Fragment != "" {
		return nil, errors.New("issuer: it has no query and no fragment")
	}
	redirect, err := checkURL("redirect URL", c.RedirectURL)
	if err != nil {
		return nil, err
	}
	switch {
	case redirect.Fragment != "" || redirect.RawQuery != "":
		return nil, errors.New("redirect URL: it has no query and no fragment")
	case c.ClientID == "":
		return nil, errors.New("client: say by which id the provider knows this server")
	case c.Secret != nil && c.Key != nil:
		return nil, errors.New("client: use a secret or a key, not both")
	case len(c.Levels) == 0 && !c.AnyLevel:
		return nil, errors.New("levels: say which levels of identification count, or that any does")
	case len(c.Levels) > 0 && c.AnyLevel || slices.Contains(c.Levels, ""):
		return nil, errors.New("levels: name levels, or say that any does")
	case c.MaxAge < 0:
		return nil, errors.New("max age: it must not be below 0")
	}
	for name := range c.Extra {
		if slices.Contains(reserved, name) {
			return nil, errors.New("extra: " + name + " is for this server to set")
		}
	}
	if l.rules, err = compile(c.Rules); err != nil {
		return nil, err
	}
	if l.Scopes == nil {
		l.Scopes = []string{"openid", "profile", "email"}
	}
	if !slices.Contains(l.Scopes, "openid") {
		l.Scopes = append([]string{"openid"}, l.Scopes...)
	}
	if l.LevelClaim == "" {
		l.LevelClaim = "acr"
	}
	if l.Now == nil {
		l.Now = time.Now
	}
	l.client = bounded(c.HTTP)
	l.provider.login = l
	l.secure, l.cookie = redirect.Scheme == "https", cmp.Or(c.Cookie, "login")+"_"
	if l.secure {
		l.cookie = "__Host-" + l.cookie
	}
	return l, nil
}

// reserved are parameters of the request that Begin sets.
var reserved = []string{"response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "prompt", "max_age", "request", "request_uri", "registration"}

// checkURL reads a URL with https, or on this machine http.
func checkURL(what, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, errors.New(what + ": use a URL with https")
	}
	return u, nil
}

func loopback(host string) bool {
	return host == "localhost" || host == "::1" || strings.HasPrefix(host, "127.")
}

// Check reads the metadata and the keys of the provider, and returns how many keys there are.
func (l *Login) Check(ctx context.Context) (int, error) {
	m, err := l.provider.discover(ctx)
	if err != nil {
		return 0, err
	}
	keys, err := l.provider.fetchKeys(ctx, m)
	return len(keys), err
}

func (l *Login) refuse(r *RefusedError) error {
	if l.Events.Refused != nil {
		l.Events.Refused(r.Code, r.Rule, r.User)
	}
	return r
}
