package identity

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

// metadata is what a provider says about itself (OpenID Connect Discovery 1.0, 3).
type metadata struct {
	Issuer      string   `json:"issuer"`
	Authorize   string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	UserInfo    string   `json:"userinfo_endpoint"`
	JWKS        string   `json:"jwks_uri"`
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	NamesIssuer bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

// provider knows the metadata and the keys of the provider. It fetches them when they are needed, once at a time.
type provider struct {
	login *Login

	mu       sync.Mutex // held while the metadata are fetched
	metadata *metadata
	fetched  time.Time
	tried    time.Time
	failed   error

	keysMu      sync.Mutex // held while keys are fetched
	keys        []jose.JSONWebKey
	keysFetched time.Time
	keysTried   time.Time
	keysFailed  error
}

const (
	documentFresh = time.Hour        // metadata and keys are fetched again after that
	documentAgain = 10 * time.Second // the least time between two fetches, whatever tokens and browsers ask for
	documentMax   = 1 << 20          // bytes
	redirectsMax  = 3
	keysMax       = 100
)

// bounded is a client for the provider: answers have a size and a time, and redirects stay where they are. A
// redirect to another host could send it the client's secret, or this server to a host inside.
func bounded(c *http.Client) *http.Client {
	own := http.Client{}
	if c != nil {
		own = *c
	}
	if own.Timeout == 0 {
		own.Timeout = 10 * time.Second
	}
	if own.Transport == nil {
		own.Transport = http.DefaultTransport
	}
	own.Jar = nil
	own.Transport = boundedTransport{own.Transport}
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > redirectsMax || r.URL.Scheme != via[0].URL.Scheme || r.URL.Host != via[0].URL.Host {
			return errors.New("it redirects to another host, or without end")
		}
		return nil
	}
	return &own
}

type boundedTransport struct{ http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, documentMax)
	}
	return resp, err
}

// discover returns the metadata. Those that were read before stay if the provider is away.
func (p *provider) discover(ctx context.Context) (*metadata, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.login.Now()
	if p.metadata != nil && now.Sub(p.fetched) < documentFresh {
		return p.metadata, nil
	}
	if now.Sub(p.tried) < documentAgain {
		if p.metadata != nil {
			return p.metadata, nil
		}
		return nil, p.failed
	}
	p.tried = now
	m, err := p.readMetadata(context.WithoutCancel(ctx)) // others wait for it too
	p.login.fetchedEvent("metadata", err)
	if p.failed = err; err == nil {
		p.metadata, p.fetched = m, now
	} else if p.metadata == nil {
		return nil, err
	}
	return p.metadata, nil
}

func (p *provider) readMetadata(ctx context.Context) (*metadata, error) {
	m := new(metadata)
	if err := p.get(ctx, strings.TrimRight(p.login.Issuer, "/")+"/.well-known/openid-configuration", "", m); err != nil {
		return nil, fmt.Errorf("read the metadata of the identity provider: %w", err)
	}
	if m.Issuer != p.login.Issuer {
		return nil, fmt.Errorf("%w as is expected: its metadata name another issuer than the configuration; use exactly what they say, also the slash at the end", ErrAway)
	}
	for name, at := range map[string]string{"authorization_endpoint": m.Authorize, "token_endpoint": m.Token, "jwks_uri": m.JWKS} {
		if _, err := checkURL(name, at); err != nil {
			return nil, fmt.Errorf("%w as is expected: its metadata have no usable %s", ErrAway, name)
		}
	}
	if _, err := checkURL("userinfo_endpoint", m.UserInfo); err != nil && p.login.UserInfo {
		return nil, fmt.Errorf("%w as is expected: its metadata have no usable userinfo_endpoint", ErrAway)
	}
	return m, nil
}

// VerifySignature implements oidc.KeySet.
func (p *provider) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	jws, err := jose.ParseSigned(jwt, algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return nil, errSignature
	}
	id := jws.Signatures[0].Header.KeyID
	for _, fresh := range []bool{false, true} {
		keys, err := p.keysFor(ctx, id, fresh)
		if err != nil {
			return nil, err
		}
		for i := range keys {
			if payload, err := jws.Verify(&keys[i]); err == nil {
				return payload, nil
			}
		}
	}
	return nil, errSignature
}

var errSignature = errors.New("no key of the provider has signed it")

// algorithms are what ID tokens may be signed with: only those with public keys.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// keysFor returns the keys that may have signed a token, all if it names none. fresh asks for new ones, which are
// fetched if that was not tried a moment ago. Keys that were fetched before stay if the provider is away.
func (p *provider) keysFor(ctx context.Context, id string, fresh bool) (list []jose.JSONWebKey, err error) {
	m, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	p.keysMu.Lock()
	defer p.keysMu.Unlock()
	now := p.login.Now()
	if (fresh || now.Sub(p.keysFetched) > documentFresh) && now.Sub(p.keysTried) >= documentAgain {
		p.keysTried = now
		keys, err := p.fetchKeys(context.WithoutCancel(ctx), m)
		p.login.fetchedEvent("keys", err)
		if p.keysFailed = err; err == nil {
			p.keys, p.keysFetched = keys, now
		}
	}
	if p.keys == nil {
		return nil, p.keysFailed
	}
	for _, k := range p.keys {
		if id == "" || k.KeyID == id {
			list = append(list, k)
		}
	}
	return list, nil
}

func (p *provider) fetchKeys(ctx context.Context, m *metadata) ([]jose.JSONWebKey, error) {
	// One key that is not understood must not hide the others.
	var set struct{ Keys []json.RawMessage }
	if err := p.get(ctx, m.JWKS, "", &set); err != nil {
		return nil, fmt.Errorf("fetch the keys of the identity provider: %w", err)
	}
	keys := []jose.JSONWebKey{}
	for _, text := range set.Keys[:min(len(set.Keys), keysMax)] {
		var k jose.JSONWebKey
		if k.UnmarshalJSON(text) == nil && k.Valid() && k.IsPublic() && k.Use != "enc" {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w as is expected: it has no keys", ErrAway)
	}
	return keys, nil
}

// unreached is why no keys could be fetched; nil if there are keys.
func (p *provider) unreached() error {
	p.keysMu.Lock()
	defer p.keysMu.Unlock()
	if p.keys == nil {
		return p.keysFailed
	}
	return nil
}

// get reads a JSON document. Its error has the status, and nothing of the answer.
func (p *provider) get(ctx context.Context, from, bearer string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return errors.New("it is not a URL")
	}
	r.Header.Set("Accept", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := p.login.client.Do(r)
	if err != nil {
		return away(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return away(err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%w as is expected: status %d", ErrAway, resp.StatusCode)
	case decode(text, into) != nil:
		return fmt.Errorf("%w as is expected: it is not the JSON that was expected", ErrAway)
	}
	return nil
}

// away is the error of a request without its URL, which could have a code.
func away(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}

func decode(text []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber() // numbers of members have more digits than a float
	return d.Decode(into)
}

func (l *Login) fetchedEvent(what string, err error) {
	if l.Events.Fetched != nil {
		l.Events.Fetched(what, err)
	}
}
