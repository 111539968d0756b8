package authserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/smart/clientrules"
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
		keys, err := clientrules.ReadKeys([]byte(c.JWKS))
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
	return clientrules.ReadKeys(text)
}
