package smart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Metadata is what an authorization server says about itself (OpenID Connect Discovery, RFC 8414).
type Metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint,omitempty"`
	RevocationEndpoint    string   `json:"revocation_endpoint,omitempty"`
	RegistrationEndpoint  string   `json:"registration_endpoint,omitempty"`
	JWKSURI               string   `json:"jwks_uri,omitempty"`
	ScopesSupported       []string `json:"scopes_supported,omitempty"`
	ResponseTypes         []string `json:"response_types_supported,omitempty"`
	GrantTypes            []string `json:"grant_types_supported,omitempty"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	SigningAlgs           []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	CodeChallengeMethods  []string `json:"code_challenge_methods_supported,omitempty"`

	Brands     string `json:"-"` // URL of the bundle of brands (SMART App Launch 2.2, User-access Brands), "" if there is none
	Management string `json:"-"` // URL of the page where members see and end what they have allowed
}

// issuer knows the metadata and the keys of an authorization server. It fetches them when they are needed, once at
// a time, and whoever has a key need not wait for that. It is safe for concurrent use.
type issuer struct {
	c *Config

	discovering sync.Mutex
	metadata    *Metadata // guarded by discovering

	mu       sync.Mutex
	keys     []jose.JSONWebKey // nil before the first that were fetched
	fetched  time.Time         // when these were
	tried    time.Time         // when that was tried last
	fetching chan struct{}     // closed when the fetch that is under way has ended; nil if none is
	failed   error             // of the last fetch
}

const (
	// keysFresh is how old keys may be before they are fetched again.
	keysFresh = 10 * time.Minute
	// keysAgain is the least time between two fetches: tokens with made-up key ids must not make the API
	// storm the authorization server.
	keysAgain = 10 * time.Second

	documentMax = 1 << 20 // bytes
)

func newIssuer(c *Config) *issuer { return &issuer{c: c} }

// keysFor returns the keys that may have signed a token with a key id, "" if it has none. Keys that were fetched
// before stay if the server cannot be reached. It fails if there never were any.
func (i *issuer) keysFor(ctx context.Context, id string, now time.Time) ([]jose.JSONWebKey, error) {
	i.mu.Lock()
	found := i.named(id)
	if len(found) == 0 || now.Sub(i.fetched) > keysFresh {
		i.refresh(ctx, now)
	}
	wait := i.fetching
	i.mu.Unlock()
	if len(found) > 0 {
		return found, nil
	}
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.keys == nil {
		return nil, i.failed
	}
	return i.named(id), nil
}

// refresh begins to fetch the keys, unless that is under way or was tried a moment ago. i.mu must be held.
func (i *issuer) refresh(ctx context.Context, now time.Time) {
	if i.fetching != nil || now.Sub(i.tried) < keysAgain {
		return
	}
	i.tried, i.fetching = now, make(chan struct{})
	ctx = context.WithoutCancel(ctx) // others wait for it too
	go func() {
		keys, err := i.fetchKeys(ctx)
		if i.c.Events.Fetched != nil {
			i.c.Events.Fetched("keys", err)
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if i.failed = err; err == nil {
			i.keys, i.fetched = keys, now
		}
		close(i.fetching)
		i.fetching = nil
	}()
}

// named returns the keys with an id, all if it is "".
func (i *issuer) named(id string) (list []jose.JSONWebKey) {
	if id == "" {
		return i.keys
	}
	for _, k := range i.keys {
		if k.KeyID == id {
			list = append(list, k)
		}
	}
	return list
}

func (i *issuer) fetchKeys(ctx context.Context) ([]jose.JSONWebKey, error) {
	from := i.c.JWKS
	if from == "" {
		m, err := i.discover(ctx)
		if err != nil {
			return nil, err
		}
		if from = m.JWKSURI; from == "" {
			return nil, errors.New("the metadata of the authorization server names no keys")
		}
	}
	// One key that is not understood must not hide the others.
	var set struct{ Keys []json.RawMessage }
	if err := i.fetch(ctx, from, &set); err != nil {
		return nil, fmt.Errorf("fetch the keys of the authorization server: %w", err)
	}
	keys := []jose.JSONWebKey{}
	for _, text := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(text) == nil && k.Valid() {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the authorization server has no keys")
	}
	return keys, nil
}

// discover reads the metadata, once.
func (i *issuer) discover(ctx context.Context) (*Metadata, error) {
	i.discovering.Lock()
	defer i.discovering.Unlock()
	if i.metadata != nil {
		return i.metadata, nil
	}
	var failed error
	for _, at := range wellKnown(i.c.Issuer) {
		m := new(Metadata)
		err := i.fetch(ctx, at, m)
		if err == nil && m.Issuer != i.c.Issuer {
			err = errors.New("it names another issuer than the configuration; use exactly what it says, also the slash at the end")
		}
		if err == nil {
			i.metadata = m
			return m, nil
		}
		failed = errors.Join(failed, fmt.Errorf("%s: %w", at, err))
	}
	return nil, fmt.Errorf("read the metadata of the authorization server: %w", failed)
}

// wellKnown is where the metadata of an issuer may be.
func wellKnown(issuer string) []string {
	list := []string{strings.TrimRight(issuer, "/") + "/.well-known/openid-configuration"}
	u, err := url.Parse(issuer)
	if err != nil {
		return list
	}
	u.Path = "/.well-known/oauth-authorization-server" + strings.TrimRight(u.Path, "/")
	return append(list, u.String())
}

// fetch reads a JSON document.
func (i *issuer) fetch(ctx context.Context, from string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return errors.New("it is not a URL")
	}
	r.Header.Set("Accept", "application/json")
	return do(i.c.HTTP, r, into)
}

// do makes a request whose answer is a JSON document. Its error has the status, and nothing of the answer.
func do(client *http.Client, r *http.Request, into any) error {
	resp, err := client.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok { // without the URL
			err = u.Err
		}
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, documentMax))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", resp.StatusCode)
	case json.Unmarshal(text, into) != nil:
		return errors.New("the answer is not the JSON that was expected")
	}
	return nil
}

// Keys fetches the keys of the authorization server, and returns how many there are.
func (a *Authorizer) Keys(ctx context.Context) (int, error) {
	keys, err := a.issuer.fetchKeys(ctx)
	return len(keys), err
}

// Metadata returns what the authorization server says about itself.
func (a *Authorizer) Metadata(ctx context.Context) (*Metadata, error) {
	return a.issuer.discover(ctx)
}
