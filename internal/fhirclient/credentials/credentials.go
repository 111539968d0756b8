// Package credentials proves to a FHIR server who a client is: by SMART Backend Services, a client
// secret, a token, a password, or the ways of the clouds. Secrets are read whenever they are needed, and
// are never part of an error.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode"
)

// Config says how the client proves who it is. Type is one of none, smart-backend, client-secret, bearer,
// basic, google, azure, aws.
type Config struct {
	Type string `yaml:"type"`

	ClientID string   `yaml:"client_id"`
	TokenURL string   `yaml:"token_url"` // "" is the one of .well-known/smart-configuration
	Scopes   []string `yaml:"scopes"`
	Key      string   `yaml:"key"`       // smart-backend: a file with one JWK, a JWK set or a PEM key; read again for each token
	KeyID    string   `yaml:"key_id"`    // of the key to sign with; "" is the first of the set
	Alg      string   `yaml:"algorithm"` // RS384 or ES384; "" follows from the key
	Audience string   `yaml:"audience"`  // of the assertion, "" is the token URL; azure: of the token, "" is the server

	Secret   Secret `yaml:"secret"`
	Token    Secret `yaml:"token"`
	Username Secret `yaml:"username"`
	Password Secret `yaml:"password"`

	Region string `yaml:"region"` // aws
}

// Secret is where a secret is: env:NAME or file:PATH, never the secret itself. It is read whenever it
// is needed, so that it can be changed while the program runs.
type Secret string

// SettingError is a setting that is wrong.
type SettingError struct{ Setting, What string }

func (e *SettingError) Error() string { return e.Setting + " " + e.What }

// ErrRefused says that a server, or who gives tokens for it, does not accept the credentials.
var ErrRefused = errors.New("the server does not accept the credentials")

// Options are what a source needs beside its Config.
type Options struct {
	Server      *url.URL                 // the base of the FHIR server
	Environment func(name string) string // for env: secrets; nil has none
	Transport   http.RoundTripper        // to who gives tokens
}

// Source adds proofs to requests. It is safe for concurrent use.
type Source interface {
	// Authorize adds a proof to one attempt of a request with a body. An error that is ErrRefused or a
	// *SettingError will be the same the next time.
	Authorize(ctx context.Context, r *http.Request, body []byte) error

	// Renew is told that the server has not accepted the proof in the header Authorization. It reports
	// whether there may be another one.
	Renew(authorization string) bool
}

// types lists the types, each with the settings that it must and may have.
var types = []struct {
	name      string
	must, may []string
}{
	{name: "none"},
	{name: "smart-backend", must: []string{"client_id", "key"}, may: []string{"token_url", "scopes", "key_id", "algorithm", "audience"}},
	{name: "client-secret", must: []string{"client_id", "secret"}, may: []string{"token_url", "scopes", "audience"}},
	{name: "bearer", must: []string{"token"}},
	{name: "basic", must: []string{"username", "password"}},
	{name: "google", may: []string{"scopes"}},
	{name: "azure", may: []string{"scopes", "audience"}},
	{name: "aws", may: []string{"region"}},
}

// set lists the settings that have a value.
func (c *Config) set() map[string]bool {
	return map[string]bool{
		"client_id": c.ClientID != "", "token_url": c.TokenURL != "", "scopes": len(c.Scopes) > 0, "key": c.Key != "", "key_id": c.KeyID != "",
		"algorithm": c.Alg != "", "audience": c.Audience != "", "secret": c.Secret != "", "token": c.Token != "", "username": c.Username != "",
		"password": c.Password != "", "region": c.Region != "",
	}
}

// Check reports what is wrong with a config. Files and the environment are not looked at.
func (c *Config) Check() *SettingError {
	var names []string
	at := -1
	for i, t := range types {
		names = append(names, t.name)
		if t.name == c.Type || c.Type == "" && t.name == "none" {
			at = i
		}
	}
	if at < 0 {
		return &SettingError{"type", "is none of " + strings.Join(names, ", ")}
	}
	set := c.set()
	for _, name := range types[at].must {
		if !set[name] {
			return &SettingError{name, fmt.Sprintf("is missing: type %s needs it", c.Type)}
		}
	}
	for _, name := range slices.Sorted(keys(set)) {
		if set[name] && !slices.Contains(types[at].must, name) && !slices.Contains(types[at].may, name) {
			return &SettingError{name, "is not used by type " + names[at]}
		}
	}
	for _, s := range []struct {
		name   string
		secret Secret
	}{{"secret", c.Secret}, {"token", c.Token}, {"username", c.Username}, {"password", c.Password}} {
		if s.secret != "" && !s.secret.Named() {
			return &SettingError{s.name, "is not env:NAME or file:PATH: secrets do not stand in settings"}
		}
	}
	if c.Type == "azure" && c.Audience != "" && len(c.Scopes) > 0 {
		return &SettingError{"audience", "is not used with scopes: they name it"}
	}
	if !slices.Contains([]string{"", "RS384", "ES384"}, c.Alg) {
		return &SettingError{"algorithm", "is none of RS384, ES384"}
	}
	if c.TokenURL != "" {
		if _, err := tokenAddress(c.TokenURL); err != nil {
			return &SettingError{"token_url", err.Error()}
		}
	}
	return nil
}

func keys(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// tokenAddress checks the address of who gives tokens: secrets go there.
func tokenAddress(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("is no address")
	case u.Scheme == "http" && !slices.Contains([]string{"127.0.0.1", "localhost", "::1"}, u.Hostname()):
		return nil, errors.New("is not https")
	}
	return u, nil
}

// Named reports whether it says where a secret is.
func (s Secret) Named() bool {
	for _, kind := range []string{"env:", "file:"} {
		if rest, ok := strings.CutPrefix(string(s), kind); ok && rest != "" {
			return true
		}
	}
	return false
}

// Read returns the secret itself. An error is a *SettingError of the setting, without the secret.
func (s Secret) Read(setting string, environment func(name string) string) (string, error) {
	if name, ok := strings.CutPrefix(string(s), "env:"); ok {
		value := ""
		if environment != nil {
			value = environment(name)
		}
		if value == "" {
			return "", &SettingError{setting, "names the environment variable " + name + ", which is not set"}
		}
		if strings.ContainsFunc(value, unicode.IsControl) {
			return "", &SettingError{setting, "names the environment variable " + name + ", which has more than one line, or control characters"}
		}
		return value, nil
	}
	path, _ := strings.CutPrefix(string(s), "file:")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", &SettingError{setting, "names a file that cannot be read: " + reason(err)}
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return "", &SettingError{setting, "names a file that is empty"}
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		return "", &SettingError{setting, "names a file with more than one line, or with control characters"}
	}
	return value, nil
}

// reason is an error without the path that the setting names already.
func reason(err error) string {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// New makes a source. What the config names is looked at, so that mistakes show at once.
func New(ctx context.Context, c *Config, o *Options) (Source, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	switch c.Type {
	case "smart-backend":
		s := &backend{config: c, options: o, desk: desk{options: o}}
		if _, err := s.key(); err != nil {
			return nil, err
		}
		return newTokens(s.fetch), nil
	case "client-secret":
		s := &secret{config: c, options: o, desk: desk{options: o}}
		if _, err := c.Secret.Read("secret", o.Environment); err != nil {
			return nil, err
		}
		return newTokens(s.fetch), nil
	case "bearer":
		s := &fixed{func() (string, error) {
			token, err := c.Token.Read("token", o.Environment)
			return "Bearer " + token, err
		}}
		_, err := s.read()
		return s, err
	case "basic":
		s := &fixed{func() (string, error) { return basic(c, o) }}
		_, err := s.read()
		return s, err
	case "google":
		return newTokens((&google{config: c}).fetch), nil
	case "azure":
		return newTokens((&azure{config: c, options: o}).fetch), nil
	case "aws":
		return newAWS(ctx, c, o)
	}
	return none{}, nil
}

// none proves nothing.
type none struct{}

func (none) Authorize(context.Context, *http.Request, []byte) error { return nil }
func (none) Renew(string) bool                                      { return false }
