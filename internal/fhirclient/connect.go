package fhirclient

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/fhirclient/credentials"
)

// Connect makes a client of the server at base, after it has asked the server what it is. An error of the
// Config is a *ConfigError. A server that does not answer is tried for ten seconds only: the address may
// be wrong.
func Connect(ctx context.Context, base string, c *Config, o *Options) (Server, *Probe, error) {
	client, probe, err := connect(ctx, base, c, o)
	if err != nil {
		return nil, nil, err
	}
	return client, probe, nil
}

// connectPatience is how long Connect tries.
const connectPatience = 10 * time.Second

func connect(ctx context.Context, base string, c *Config, o *Options) (*Client, *Probe, error) {
	if c == nil {
		c = &Config{}
	}
	if o == nil {
		o = &Options{}
	}
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	u, err := address(base, c.Insecure)
	if err != nil {
		return nil, nil, err
	}
	client := &Client{base: u, agent: o.UserAgent, events: o.Events, backoff: backoffFirst, lookup: o.Environment}
	if client.agent == "" {
		client.agent = "cpcds2fhir"
		if info, ok := debug.ReadBuildInfo(); ok {
			client.agent += "/" + info.Main.Version
		}
	}
	rt := o.Transport
	if rt == nil {
		if rt, err = transport(&c.TLS, 64); err != nil {
			return nil, nil, err
		}
	}
	client.http = &http.Client{Transport: rt, CheckRedirect: client.redirect}
	client.use(profiles()[cmp.Or(c.Profile, generic)], c)
	client.auth, err = credentials.New(ctx, &c.Auth, &credentials.Options{Server: u, Environment: o.Environment, Transport: rt})
	if err != nil {
		return nil, nil, ofAuth(err)
	}
	for name := range c.Headers {
		if _, err := client.header(http.CanonicalHeaderKey(name)); err != nil {
			return nil, nil, err
		}
	}
	s, err := client.statement(ctx)
	if err != nil {
		return nil, nil, ofAuth(err)
	}
	p, recognised := recognise(u, s)
	if c.Profile != "" {
		p = profiles()[c.Profile]
	}
	if p.Refused != "" {
		return nil, nil, &NoTargetError{What: p.Refused}
	}
	client.use(p, c)
	probe, err := client.probe(s, c)
	if err != nil {
		return nil, nil, err
	}
	probe.Recognised = recognised
	return client, probe, nil
}

// NoTargetError says why resources cannot be loaded into a server.
type NoTargetError struct{ What string }

func (e *NoTargetError) Error() string { return e.What }

// use makes a client follow a profile.
func (c *Client) use(p *profile, conf *Config) {
	c.profile, c.settings = p, p.settings(conf)
	c.limiter = newLimiter(p.Concurrency.Start, c.settings.Concurrency, c.events.Concurrency)
	c.gzip = p.Gzip && !loopback(c.base.Hostname())
	c.noBatchReads.Store(p.Reads == "single")
	c.headers = map[string]string{}
	for name, value := range p.Headers {
		c.headers[http.CanonicalHeaderKey(name)] = value
	}
	for name, value := range conf.Headers {
		c.headers[http.CanonicalHeaderKey(name)] = value
	}
}

// header is the value of a header of every request. An error is a *ConfigError.
func (c *Client) header(name string) (string, error) {
	value := c.headers[name]
	if !Secret(value).Named() {
		return value, nil
	}
	value, err := Secret(value).Read("headers."+name, c.lookup)
	if e, ok := errors.AsType[*credentials.SettingError](err); ok {
		return "", &ConfigError{e.Setting, e.What}
	}
	return value, err
}

// address checks the base URL of a server.
func address(base string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(base)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, &ConfigError{"url", "is no address of a FHIR server: it has the form https://host/path"}
	case u.User != nil:
		return nil, &ConfigError{"url", "has a user or a password in it: they belong into the auth settings, as env:NAME or file:PATH"}
	case u.RawQuery != "" || u.Fragment != "":
		return nil, &ConfigError{"url", "has more than a path: it is the base of the FHIR API, such as https://host/fhir"}
	case u.Scheme == "http" && !loopback(u.Hostname()) && !insecure:
		return nil, &ConfigError{"url", "is http: members' data would be readable on the way. Use https, or allow it with insecure: true"}
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u, nil
}

// ConfigError is a setting that is wrong.
type ConfigError struct{ Setting, What string }

func (e *ConfigError) Error() string { return e.Setting + " " + e.What }

// Check reports what is wrong with a config, without a server. Files are not looked at.
func (c *Config) Check() error {
	for _, check := range []func() *ConfigError{c.checkNames, c.checkNumbers, c.checkHeaders, c.checkTLS, c.checkAuth} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkNames() *ConfigError {
	if c.Profile != "" && !slices.Contains(profileNames(), c.Profile) {
		return &ConfigError{"profile", "is none of " + strings.Join(profileNames(), ", ")}
	}
	for _, s := range []struct {
		setting, value string
		of             []string
	}{
		{"ids", c.IDs, []string{"client", "conditional"}},
		{"bundle", c.Bundle, []string{"transaction", "batch"}},
		{"conflicts", c.Conflicts, []string{"report", "overwrite"}},
		{"deletions", c.Deletions, []string{"delete", "mark"}},
	} {
		if s.value != "" && !slices.Contains(s.of, s.value) {
			return &ConfigError{s.setting, "is none of " + strings.Join(s.of, ", ")}
		}
	}
	return nil
}

func (c *Config) checkNumbers() *ConfigError {
	switch {
	case c.Entries < 0:
		return &ConfigError{"entries", "is less than 1"}
	case c.Bytes < 0 || c.Bytes > 0 && c.Bytes < 10_000:
		return &ConfigError{"bytes", "is less than 10000: a claim may not fit"}
	case c.Concurrency < 0:
		return &ConfigError{"concurrency", "is less than 1"}
	case c.Timeout < 0 || c.Timeout > 0 && c.Timeout < time.Second:
		return &ConfigError{"timeout", "is less than a second"}
	case c.Patience < 0:
		return &ConfigError{"patience", "is less than 0"}
	}
	return nil
}

func (c *Config) checkHeaders() *ConfigError {
	for name, value := range c.Headers {
		switch {
		case !validHeader(name) || strings.ContainsAny(value, "\r\n\x00"):
			return &ConfigError{"headers", "has an entry that is no header of HTTP"}
		case value == "env:" || value == "file:":
			return &ConfigError{"headers", "has " + name + " without what env:NAME or file:PATH names"}
		case slices.Contains([]string{"Authorization", "Cookie", "Proxy-Authorization"}, http.CanonicalHeaderKey(name)):
			return &ConfigError{"headers", "has " + name + ": secrets belong into the auth settings, as env:NAME or file:PATH"}
		case slices.Contains([]string{"Content-Type", "Content-Encoding", "Content-Length", "Host", "If-Match", "Transfer-Encoding"}, http.CanonicalHeaderKey(name)):
			return &ConfigError{"headers", "has " + name + ", which follows from what is sent"}
		}
	}
	return nil
}

func validHeader(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return name != ""
}

func (c *Config) checkTLS() *ConfigError {
	switch {
	case c.TLS.Cert != "" && c.TLS.Key == "":
		return &ConfigError{"tls.key", "is missing: a certificate needs its key"}
	case c.TLS.Key != "" && c.TLS.Cert == "":
		return &ConfigError{"tls.cert", "is missing: a key needs its certificate"}
	}
	return nil
}

func (c *Config) checkAuth() *ConfigError {
	if e := c.Auth.Check(); e != nil {
		return &ConfigError{"auth." + e.Setting, e.What}
	}
	return nil
}

// ofAuth makes an error of a setting of auth one of the Config.
func ofAuth(err error) error {
	if e, ok := errors.AsType[*credentials.SettingError](err); ok {
		return &ConfigError{"auth." + e.Setting, e.What}
	}
	return err
}

var errFHIR = errors.New("the server has no CapabilityStatement at /metadata: is this the base of its FHIR API?")
