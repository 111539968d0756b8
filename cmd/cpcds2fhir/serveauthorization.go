package main

import (
	"context"
	"errors"
	"net"
	"net/url"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/audit"
	"cpcds2fhir/internal/smart"
	"cpcds2fhir/internal/smart/authserver"
)

// authorizationConfig says whose tokens open the API.
type authorizationConfig struct {
	Issuer        string   `yaml:"issuer"`
	Audience      []string `yaml:"audience"`
	MemberClaims  []string `yaml:"member_claims"`
	Operators     bool     `yaml:"operators"`
	JWKS          string   `yaml:"jwks"`
	Capabilities  []string `yaml:"capabilities"`
	Introspection struct {
		Enabled        bool          `yaml:"enabled"`
		URL            string        `yaml:"url"`
		Client         string        `yaml:"client"`
		Secret         secret        `yaml:"secret"`
		Cache          time.Duration `yaml:"cache"`
		AssumeAudience bool          `yaml:"assume_audience"`
	} `yaml:"introspection"`
}

func defaultAuthorization() (c authorizationConfig) {
	c.MemberClaims = []string{"patient", "fhirUser"}
	c.Introspection.Cache = 30 * time.Second
	return c
}

func (c *authorizationConfig) check(base string) error {
	if c.Issuer == "" {
		return nil
	}
	for key, text := range map[string]string{"issuer": c.Issuer, "jwks": c.JWKS, "introspection.url": c.Introspection.URL} {
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())) || u.Fragment != "" {
			return usagef("authorization.%s: use a URL with https", key)
		}
	}
	in := &c.Introspection
	switch {
	case len(c.Audience) == 0 && base == "":
		return usagef("authorization.audience: say what tokens must be for, or set base, which it is by default")
	case len(c.MemberClaims) == 0:
		return usagef("authorization.member_claims: name the claim that says whose data a token opens")
	case in.Enabled && in.Client != "" && in.Secret == "":
		return usagef("authorization.introspection.secret: the client needs one, as env:NAME or file:PATH")
	case in.Cache < 0:
		return usagef("authorization.introspection.cache must not be below 0")
	}
	return in.Secret.check("authorization.introspection.secret")
}

// authorization is who may use a server, and what it says about that.
type authorization struct {
	api.Authorizer
	security      *api.Security
	configuration []byte    // of SMART
	embedded      *embedded // nil if there is none
}

// authorizer makes what checks tokens. If the authorization server cannot be reached, the API starts all the same:
// it has no tokens to check without it, and learns its keys when it is back.
func (c *serveConfig) authorizer(ctx context.Context, l *audit.Log, status *serveStatus, log *zap.Logger) (*authorization, error) {
	switch {
	case c.Open:
		return &authorization{Authorizer: api.Open{}}, nil
	case c.Embedded.Enabled:
		return c.embeddedAuthorizer(ctx, l, status, log)
	}
	a, err := c.tokens(log)
	if err != nil {
		return nil, err
	}
	who := &authorization{Authorizer: a}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	m, err := a.Metadata(ctx)
	if err != nil {
		log.Warn("the authorization server does not answer; /metadata and .well-known/smart-configuration say nothing of it until the next start",
			zap.String("error", message(err)))
		return who, nil
	}
	if !m.PKCE() {
		log.Warn("the authorization server does not say that it takes PKCE with S256, which SMART requires")
	}
	who.security = &api.Security{Authorize: m.AuthorizationEndpoint, Token: m.TokenEndpoint, Introspect: m.IntrospectionEndpoint,
		Revoke: m.RevocationEndpoint, Register: m.RegistrationEndpoint}
	who.configuration = m.Configuration(c.Authorization.Capabilities)
	return who, nil
}

// embeddedAuthorizer takes the tokens of the embedded authorization server, and of another one if one is named.
func (c *serveConfig) embeddedAuthorizer(ctx context.Context, l *audit.Log, status *serveStatus, log *zap.Logger) (*authorization, error) {
	e, err := c.startEmbedded(ctx, l, status, log)
	if err != nil {
		return nil, err
	}
	a := &authserver.Authorizer{Accounts: e.accounts, Refused: func(request, reason string) {
		log.Info("refused a token", zap.String("request", request), zap.String("reason", reason))
	}}
	if c.Authorization.Issuer != "" {
		if a.Others, err = c.tokens(log); err != nil {
			return nil, err
		}
	}
	return &authorization{Authorizer: a, security: security(e.server), configuration: e.server.Configuration(), embedded: e}, nil
}

// tokens makes what checks tokens, without reaching the authorization server.
func (c *serveConfig) tokens(log *zap.Logger) (*smart.Authorizer, error) {
	own := &c.Authorization
	cfg := &smart.Config{
		Issuer: own.Issuer, Audience: own.Audience, MemberClaims: own.MemberClaims, Operators: own.Operators, JWKS: own.JWKS,
		Events: smart.Events{
			Refused: func(request, reason string) {
				log.Info("refused a token", zap.String("request", request), zap.String("reason", reason))
			},
			Fetched: func(what string, err error) {
				if err != nil {
					log.Warn("the authorization server does not answer", zap.String("for", what), zap.String("error", message(err)))
					return
				}
				log.Info("fetched from the authorization server", zap.String("what", what))
			},
		},
	}
	if len(cfg.Audience) == 0 {
		cfg.Audience = []string{c.Base}
	}
	if in := &own.Introspection; in.Enabled {
		cfg.Introspection = &smart.Introspection{URL: in.URL, Client: in.Client, Secret: in.Secret.read, CacheFor: in.Cache, AssumeAudience: in.AssumeAudience}
	}
	a, err := smart.New(cfg)
	if err != nil {
		return nil, usagef("authorization: %s", err)
	}
	return a, nil
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return ""
	}
	return host
}

// close ends what an authorizer uses.
func (a *authorization) close(log *zap.Logger) {
	if a.embedded == nil {
		return
	}
	a.embedded.requests.close()
	if err := errors.Join(a.embedded.closed(), a.embedded.accounts.Close()); err != nil {
		log.Error("close the accounts", zap.String("error", message(err)))
	}
}
