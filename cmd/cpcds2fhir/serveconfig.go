package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"cpcds2fhir/internal/site"
	"cpcds2fhir/internal/store"
)

// serveConfig is a serve.yaml.
type serveConfig struct {
	Store   string   `yaml:"store"`
	Listen  string   `yaml:"listen"`
	Open    bool     `yaml:"open"`
	Base    string   `yaml:"base"`
	Path    string   `yaml:"path"`
	Aliases []string `yaml:"aliases"`
	Memory  string   `yaml:"memory"`
	CARIN   string   `yaml:"carin"`
	Updated string   `yaml:"last_updated"`
	TLS     struct {
		Cert string `yaml:"cert"`
		Key  string `yaml:"key"`
	} `yaml:"tls"`
	Limits struct {
		Rows     int           `yaml:"rows"`
		Included int           `yaml:"included"`
		Time     time.Duration `yaml:"time"`
		Parallel int           `yaml:"parallel"`
		Client   int           `yaml:"client"`
		Member   int           `yaml:"member"`
	} `yaml:"limits"`
	Authorization authorizationConfig `yaml:"authorization"`
	Embedded      embeddedConfig      `yaml:"authorization_server"`
	Portal        portalConfig        `yaml:"portal"`

	Audit string        `yaml:"audit"`
	Stop  time.Duration `yaml:"stop"`
	Admin string        `yaml:"admin"`
	Log   string        `yaml:"log"`

	// The sandbox sets these: what happens before the first request is answered, and the logins that the page for
	// signing in shows.
	ready func(ctx context.Context, who *authorization, st store.Handle) error
	demo  []site.Login

	portal *sandboxPortal // its people, nil but in a sandbox
}

// fullServeConfig is a serve.yaml with all settings.
const fullServeConfig = `# Configuration of 'cpcds2fhir serve'. All keys have their default here. Unknown keys are errors.

store: ./fhir-store           # folder of the store; loads and streams may use it meanwhile
listen: 127.0.0.1:8080        # host:port of the API
open: false                   # true: no authorization; only on a loopback address. Otherwise see authorization

base: ""                      # public URL of the API, such as https://api.example.org/fhir; empty: the Host of each request
path: /fhir                   # where the API is on this server
aliases: []                   # other paths whose /metadata is answered, such as /ProviderClient
carin: 2.2.0                  # release of the CARIN guide that the store was loaded with: 2.2.0 or 2.0.0
last_updated: commit          # commit: the later of the source's date and the commit, so that apps see what was loaded late;
                              # source: the source's date, as the guide has it
memory: 512MiB

authorization_server:         # an authorization server of this program, with pages for members (docs/accounts.md, docs/login.md)
  enabled: false
  issuer: ""                  # its origin, such as https://api.example.org; empty: that of base
  accounts:                   # apps, people and what they have allowed
    database: ""              # postgres:// URL, or env:NAME or file:PATH that has one, for several servers of one store;
                              # empty: SQLite, in the store's name with .accounts
    seal: ""                  # env:NAME or file:PATH of the key that seals private keys: 32 bytes in hexadecimal; empty: a file beside SQLite's
  missing_audience: false     # true: apps may leave aud out, which SMART demands
  registration: false         # true: apps may register themselves (RFC 7591); 'client' or staff of the portal approve them
  request_log: 0              # requests a minute of an app that its developers can read (route, status, time; no value); 0: none
  life:
    code: 1m
    request: 30m              # how long members may take to sign in and decide
    access: 1h                # of an app's access token
    service: 5m               # of a service's access token
    grace: 45s                # how long a refresh that is repeated gets the same answer; 0s: not at all
    idle: 15m                 # of a member's session without a request
    session: 8h               # of a member's session
  agency: {name: "", aliases: [], website: "", contact: "", phone: "", tty: "", policy: "", notices: "", zone: "", logo: "", state: ""}   # what members and apps read; zone is that of dates, such as America/Denver; empty: UTC
  login:
    passwords: false          # true: logins of this server, for sandboxes; 'member link' makes them
    issuer: ""                # the identity provider of the state (OpenID Connect)
    client: ""                # id of this server at the provider
    secret: ""                # env:NAME or file:PATH; or
    key: ""                   # env:NAME or file:PATH of a private key in PEM, for private_key_jwt
    key_id: ""
    scopes: [openid, profile, email]
    prompt: ""                # such as login; empty: as the provider does
    max_age: 0s               # how long ago members may have signed in at the provider; 0s: any time
    level_claim: ""           # claim that says how well a person was identified; empty: acr
    levels: []                # values of it that count, such as those of IAL2
    any_level: false          # true: everybody whom the provider lets in
    userinfo: false           # true: ask the provider for further claims
    rules: ""                 # file that says which member a person is

` + fullPortalConfig + `authorization:                # another authorization server whose tokens open the API
  issuer: ""                  # the authorization server, exactly as it names itself, such as https://login.example.org/oauth2/default
  audience: []                # what tokens must be for; empty: base
  member_claims: [patient, fhirUser]   # claims that say whose data a token opens: ID, Patient/ID or a URL that ends so; the first that is there
  operators: false            # true: a token with system/ scopes and no member opens what they name, of everybody
  jwks: ""                    # URL of its keys; empty: as its metadata say
  capabilities: []            # of SMART, for .well-known/smart-configuration; empty: what its metadata say
  introspection:              # ask the server about each token instead of checking signatures
    enabled: false
    url: ""                   # empty: as its metadata say
    client: ""                # id of this API at the server; empty: no credentials
    secret: ""                # env:NAME or file:PATH
    cache: 30s                # how long an answer counts: so long a token works on after it was revoked
    assume_audience: false    # true: answers without aud are for this API

tls: {cert: "", key: ""}      # files; they are read again when they change
limits:
  rows: 20000                 # resources that a search reads without an index, and that it sorts
  included: 1000              # resources that a _revinclude adds
  time: 30s                   # of a request
  parallel: 256               # requests at a time; more are told to come back
  client: 60000               # requests a minute of an app; 0: no limit
  member: 1200                # requests a minute of an app for one member; 0: no limit
audit: ""                     # folder of the audit log; empty: the store's name with .audit
stop: 10s                     # how long requests may go on after SIGTERM

admin: 127.0.0.1:0            # /healthz, /readyz and /metrics; port 0: a free one, which is logged; empty: none
log: console                  # json or console
`

func defaultServe() *serveConfig {
	c := &serveConfig{Store: "./fhir-store", Listen: "127.0.0.1:8080", Path: "/fhir", Memory: "512MiB", CARIN: "2.2.0", Updated: "commit", Stop: 10 * time.Second, Admin: "127.0.0.1:0", Log: "console"}
	c.Authorization = defaultAuthorization()
	c.Embedded = defaultEmbedded()
	c.Portal = defaultPortal()
	c.Limits.Rows, c.Limits.Included, c.Limits.Time, c.Limits.Parallel = 20_000, 1_000, 30*time.Second, 256
	c.Limits.Client, c.Limits.Member = 60_000, 1_200
	return c
}

// readServe reads a serve.yaml; path "" is the defaults.
func readServe(path string) (*serveConfig, error) {
	c := defaultServe()
	if path == "" {
		return c, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, environmentf("read configuration: %w", err)
	}
	if err := yaml.UnmarshalWithOptions(text, c, yaml.Strict()); err != nil {
		return nil, usagef("%s: %s", path, describeYAML(text, err))
	}
	return c, nil
}

// check checks the settings after flags were applied.
func (c *serveConfig) check() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return usagef("listen %q: use host:port, such as 127.0.0.1:8080", c.Listen)
	}
	switch {
	case c.Authorization.Issuer == "" && !c.Embedded.Enabled && !c.Open:
		return usagef("say whose tokens open the API: authorization_server or authorization.issuer in the configuration (--print-config shows both); 'sandbox' tries all of it; for a server without authorization, that only this machine reaches, use --open")
	case c.Authorization.Issuer != "" && c.Open:
		return usagef("open and authorization.issuer exclude each other")
	case c.Open && !isLoopback(host):
		return usagef("listen %s: without authorization the API listens on a loopback address only, such as 127.0.0.1:8080", c.Listen)
	}
	if c.Base != "" {
		if u, err := url.Parse(c.Base); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return usagef("base %q: use a URL such as https://api.example.org/fhir", c.Base)
		}
	}
	if err := c.Authorization.check(c.Base); err != nil {
		return err
	}
	if err := c.Embedded.check(c); err != nil {
		return err
	}
	if err := c.Portal.check(c); err != nil {
		return err
	}
	for _, p := range append([]string{c.Path}, c.Aliases...) {
		if !strings.HasPrefix(p, "/") {
			return usagef("path %q: begin it with a slash", p)
		}
	}
	if c.CARIN != "2.2.0" && c.CARIN != "2.0.0" {
		return usagef("carin %q: use 2.2.0 or 2.0.0", c.CARIN)
	}
	if c.Updated != "commit" && c.Updated != "source" {
		return usagef("last_updated %q: use commit or source", c.Updated)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return usagef("tls needs both cert and key")
	}
	if c.Log != "json" && c.Log != "console" {
		return usagef("log %q: use json or console", c.Log)
	}
	for name, n := range map[string]int{"rows": c.Limits.Rows, "included": c.Limits.Included, "parallel": c.Limits.Parallel, "time": int(c.Limits.Time)} {
		if n <= 0 {
			return usagef("limits.%s must be above 0", name)
		}
	}
	if c.Limits.Client < 0 || c.Limits.Member < 0 {
		return usagef("limits.client and limits.member are requests a minute; 0 is no limit")
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// url is where the API answers.
func (c *serveConfig) url(address string) string {
	if c.Base != "" {
		return c.Base
	}
	scheme := "http"
	if c.TLS.Cert != "" {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s%s", scheme, address, c.Path)
}
