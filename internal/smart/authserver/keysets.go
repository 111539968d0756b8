package authserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"syscall"
	"time"

	"github.com/go-jose/go-jose/v4"

	"cpcds2fhir/internal/accounts"
)

// keySets are the keys of clients: those that are registered, or those at their jwks_uri, which are kept for some
// time. It is safe for concurrent use.
type keySets struct {
	http *http.Client
	now  func() time.Time

	mu sync.Mutex
	at map[string]*keySet // by URL
}

// keySet is what was fetched from a URL.
type keySet struct {
	mu      sync.Mutex // held while it is fetched
	keys    []jose.JSONWebKey
	tried   time.Time
	fetched time.Time
}

const (
	keySetFresh = 5 * time.Minute
	keySetOld   = time.Hour
	keySetAgain = 20 * time.Second // between two fetches, whatever key ids are asked for
	keySetMax   = 64 << 10         // bytes
	keySetsMax  = 10_000
)

func newKeySets(client *http.Client, now func() time.Time) *keySets {
	return &keySets{http: client, now: now, at: map[string]*keySet{}}
}

// of returns the keys of a client with an id.
func (k *keySets) of(ctx context.Context, c *accounts.Client, id string) ([]jose.JSONWebKey, error) {
	if c.JWKSURI == "" {
		keys, err := readKeys([]byte(c.JWKS))
		return named(keys, id), err
	}
	k.mu.Lock()
	set := k.at[c.JWKSURI]
	if set == nil {
		if len(k.at) >= keySetsMax {
			clear(k.at)
		}
		set = new(keySet)
		k.at[c.JWKSURI] = set
	}
	k.mu.Unlock()

	set.mu.Lock()
	defer set.mu.Unlock()
	now := k.now()
	if now.Sub(set.fetched) > keySetOld { // a key that the client has withdrawn ends, also if its URL cannot be reached
		set.keys = nil
	}
	found := named(set.keys, id)
	if (len(found) == 0 || now.Sub(set.fetched) > keySetFresh) && now.Sub(set.tried) > keySetAgain {
		set.tried = now
		// Whoever asks may hang up: others wait for the keys too.
		keys, err := k.fetch(context.WithoutCancel(ctx), c.JWKSURI)
		switch {
		case err == nil:
			set.keys, set.fetched = keys, now
			found = named(keys, id)
		case len(found) == 0:
			return nil, err
		} // keys that were there stay if the URL cannot be reached for a moment
	}
	return found, nil
}

func named(keys []jose.JSONWebKey, id string) (list []jose.JSONWebKey) {
	for _, k := range keys {
		if k.KeyID == id {
			list = append(list, k)
		}
	}
	return list
}

func (k *keySets) fetch(ctx context.Context, from string) ([]jose.JSONWebKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return nil, errors.New("jwks_uri is not a URL")
	}
	r.Header.Set("Accept", "application/json")
	resp, err := k.http.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, fmt.Errorf("fetch jwks_uri: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, keySetMax+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("fetch jwks_uri: %w", err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("fetch jwks_uri: status %d", resp.StatusCode)
	case len(text) > keySetMax:
		return nil, errors.New("the key set at jwks_uri is too large")
	}
	return readKeys(text)
}

// readKeys reads public keys that may sign assertions. A key that is not understood does not hide the others; a
// private one refuses the set, because it is not secret any more.
func readKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct{ Keys []json.RawMessage }
	if json.Unmarshal(text, &set) != nil {
		return nil, errors.New("the key set is not JSON with keys")
	}
	var list []jose.JSONWebKey
	for _, x := range set.Keys {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(x) != nil || !k.Valid() {
			continue
		}
		switch key := k.Key.(type) {
		case *rsa.PublicKey:
			if key.N.BitLen() >= 2048 {
				list = append(list, k)
			}
		case *ecdsa.PublicKey:
			if key.Curve == elliptic.P384() {
				list = append(list, k)
			}
		default:
			if !k.IsPublic() {
				return nil, errors.New("the key set has a private key; register the public keys only, and make new ones")
			}
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the key set has no public key of RSA (2048 bits or more) or P-384")
	}
	return list, nil
}

// publicOnly reaches public addresses over TLS, and follows no redirects: whoever registers a client must not be
// able to make the server call what only it can reach.
func publicOnly() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !public(at.Addr()) {
			return errors.New("the address is not public")
		}
		return nil
	}}
	return &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it redirects") },
		Transport:     tlsOnly{&http.Transport{DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, MaxResponseHeaderBytes: 16 << 10}},
	}
}

// tlsOnly refuses http.
type tlsOnly struct{ http.RoundTripper }

func (t tlsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("it is not https")
	}
	return t.RoundTripper.RoundTrip(r)
}

// notPublic are ranges that net/netip has no name for: those of carriers, of documentation and benchmarks, and those
// that lead to addresses of IPv4.
var notPublic = func() (list []netip.Prefix) {
	for _, p := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "2001:db8::/32", "2002::/16"} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}()

func public(a netip.Addr) bool {
	a = a.Unmap()
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
