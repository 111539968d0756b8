package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/audit"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/site/frame"
	"cpcds2fhir/internal/smart/authserver"
)

// embeddedConfig is the authorization server that is part of this one.
type embeddedConfig struct {
	Enabled         bool           `yaml:"enabled"`
	Issuer          string         `yaml:"issuer"`
	Accounts        accountsConfig `yaml:"accounts"`
	MissingAudience bool           `yaml:"missing_audience"`
	Registration    bool           `yaml:"registration"`
	RequestLog      int            `yaml:"request_log"`

	Life struct {
		Code    time.Duration `yaml:"code"`
		Request time.Duration `yaml:"request"`
		Access  time.Duration `yaml:"access"`
		Service time.Duration `yaml:"service"`
		Grace   time.Duration `yaml:"grace"`
		Idle    time.Duration `yaml:"idle"`
		Session time.Duration `yaml:"session"`
	} `yaml:"life"`
	Agency agencyConfig `yaml:"agency"`
	Login  loginConfig  `yaml:"login"`
}

// agencyConfig is what members and apps read about the agency.
type agencyConfig struct {
	Name    string   `yaml:"name"`
	Aliases []string `yaml:"aliases"`
	Website string   `yaml:"website"`
	Contact string   `yaml:"contact"`
	Phone   string   `yaml:"phone"`
	TTY     string   `yaml:"tty"`
	Policy  string   `yaml:"policy"`
	Logo    string   `yaml:"logo"`
	State   string   `yaml:"state"`
	Notices string   `yaml:"notices"`
	Zone    string   `yaml:"zone"`
}

func defaultEmbedded() (c embeddedConfig) {
	l := &c.Life
	l.Code, l.Request, l.Access, l.Service, l.Grace = time.Minute, 30*time.Minute, time.Hour, 5*time.Minute, 45*time.Second
	l.Idle, l.Session = 15*time.Minute, 8*time.Hour
	c.Login.Scopes = []string{"openid", "profile", "email"}
	return c
}

func (c *embeddedConfig) check(s *serveConfig) error {
	if !c.Enabled {
		return nil
	}
	const key = "authorization_server."
	switch base, err := url.Parse(s.Base); {
	case s.Open:
		return usagef("open and authorization_server.enabled exclude each other")
	case s.Base == "" && !isLoopback(hostOf(s.Listen)):
		return usagef("base: an authorization server needs to know the public URL of the API, such as https://api.example.org/fhir")
	case err != nil || base.Scheme == "http" && !isLoopback(base.Hostname()):
		return usagef("base %q: an authorization server needs https", s.Base)
	case c.Issuer != "" && !isOrigin(c.Issuer):
		return usagef(key+"issuer %q: use an origin such as https://api.example.org, without a path or a slash at the end", c.Issuer)
	case !c.Login.Passwords && c.Login.Issuer == "":
		return usagef(key + "login: say how members sign in: the issuer of an identity provider, or passwords: true for a sandbox")
	case c.Login.Passwords && s.Base != "" && !isLoopback(base.Hostname()):
		return usagef(key + "login.passwords: they are for sandboxes on a loopback address; members sign in at an identity provider")
	case c.Login.Issuer != "" && s.Base == "":
		return usagef("base: the identity provider must know where it sends people back to; set the public URL of the API")
	case c.Login.Issuer != "" && c.Login.Client == "":
		return usagef(key + "login.client: the identity provider knows this server by a client id")
	case c.Login.Issuer != "" && c.Login.Rules == "":
		return usagef(key + "login.rules: name the file that says which member a person is")
	case c.Login.Issuer != "" && len(c.Login.Levels) == 0 && !c.Login.AnyLevel:
		return usagef(key + "login.levels: name the levels of assurance that count, as the identity provider does, or set any_level: true")
	case c.Login.Secret != "" && c.Login.Key != "":
		return usagef(key + "login: use secret or key, not both")
	}
	for name, d := range map[string]time.Duration{"code": c.Life.Code, "request": c.Life.Request, "access": c.Life.Access, "service": c.Life.Service, "idle": c.Life.Idle, "session": c.Life.Session} {
		if d <= 0 {
			return usagef(key+"life.%s must be above 0", name)
		}
	}
	for _, x := range []struct {
		name   string
		of, at time.Duration
	}{{"code", c.Life.Code, 10 * time.Minute}, {"grace", c.Life.Grace, 2 * time.Minute}, {"service", c.Life.Service, time.Hour}, {"access", c.Life.Access, 24 * time.Hour}} {
		if x.of > x.at {
			return usagef(key+"life.%s: at most %s", x.name, x.at)
		}
	}
	if err := c.Accounts.check(); err != nil {
		return err
	}
	if err := c.Login.Key.check(key + "login.key"); err != nil {
		return err
	}
	return c.Login.Secret.check(key + "login.secret")
}

func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())) && text == u.Scheme+"://"+u.Host
}

// issuer is the origin of the authorization server.
func (c *serveConfig) issuer() string {
	if c.Embedded.Issuer != "" {
		return c.Embedded.Issuer
	}
	u, err := url.Parse(c.Base)
	if err != nil || u.Host == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// embedded is a running authorization server with its pages.
type embedded struct {
	accounts *accounts.Accounts
	server   *authserver.Server
	https    bool
	pages    map[string]http.Handler // by path, those of a folder with a slash at the end
	assets   *frame.Assets
	requests *clientLog     // nil if none is kept
	portal   *portal.Portal // nil if there is none
	closed   func() error   // closes what only the portal uses
}

// startEmbedded makes the authorization server. Base must be set.
func (c *serveConfig) startEmbedded(ctx context.Context, l *audit.Log, status *serveStatus, log *zap.Logger) (*embedded, error) {
	own := &c.Embedded
	a, err := own.Accounts.openAccounts(ctx, c.Store, toCreate)
	if err != nil {
		return nil, err
	}
	if err := a.EnsureKeys(ctx); err != nil {
		return nil, environmentf("make keys: %w", err)
	}
	e := &embedded{accounts: a, https: strings.HasPrefix(c.issuer(), "https:"), pages: map[string]http.Handler{}, closed: func() error { return nil }}
	if e.assets, err = c.look(); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	e.requests = newClientLog(ctx, a, own.RequestLog, log)
	config := &authserver.Config{
		Accounts: a, Issuer: c.issuer(), FHIRBase: strings.TrimSuffix(c.Base, "/"), MissingAudience: own.MissingAudience,
		CodeFor: own.Life.Code, RequestFor: own.Life.Request, AccessFor: own.Life.Access, ServiceFor: own.Life.Service, Grace: own.Life.Grace,
		Registration: own.Registration, Production: c.Portal.Enabled && c.portal == nil,
		Brand: authserver.Brand{Name: own.Agency.Name, Aliases: own.Agency.Aliases, Website: own.Agency.Website, Logo: own.Agency.Logo, State: own.Agency.State, Modified: time.Now()},
		Events: authserver.Events{
			Happened: func(x *authserver.Event) error {
				status.decided(x.Action, "")
				if err := auditEvent(l, x); err != nil {
					return err
				}
				e.requests.happened(x.Client, x.Action)
				return nil
			},
			Refused: func(endpoint, client, code, reason string) {
				status.decided("refused", code)
				e.requests.refused(client, endpoint, code, reason)
				log.Info("refused", zap.String("endpoint", endpoint), zap.String("client", client), zap.String("code", code), zap.String("reason", reason))
			},
			Registered: func(client string) {
				if e.portal == nil {
					return
				}
				if err := e.portal.Registered(ctx, client); err != nil { // a job of the portal finds it too
					log.Warn("an app has registered itself and is not in the queue yet", zap.String("client", client), zap.String("error", message(err)))
				}
			},
			Failed: func(endpoint string, err error) {
				log.Error("failed", zap.String("endpoint", endpoint), zap.String("error", message(err)))
			},
		},
	}
	if own.Life.Grace == 0 {
		config.Grace = -1
	}
	if e.server, err = authserver.New(config); err != nil {
		return nil, usagef("authorization_server: %s", err)
	}
	for _, path := range e.server.Paths() {
		e.pages[path] = e.server
	}
	if c.Portal.Enabled {
		if err := e.startPortal(ctx, c, l, status, log); err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	go e.expire(ctx, log)
	return e, nil
}

// expire deletes what nobody asks for any longer.
func (e *embedded) expire(ctx context.Context, log *zap.Logger) {
	t := time.NewTicker(10 * time.Minute)
	defer t.Stop()
	for {
		if err := e.accounts.Expire(ctx); err != nil && ctx.Err() == nil {
			log.Warn("what has expired could not be deleted", zap.String("error", message(err)))
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// handler serves the pages beside the API. Paths are compared as they are: a mux would send those with // or .. elsewhere,
// also a POST.
func (e *embedded) handler(rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if e.https { // for the API too: it is the same origin
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		h := e.pages[path]
		if h == nil {
			if first, _, folder := strings.Cut(strings.TrimPrefix(path, "/"), "/"); folder {
				h = e.pages["/"+first+"/"]
			}
		}
		if h == nil {
			h = rest
		}
		h.ServeHTTP(w, r)
	})
}

// security is what the API says of its authorization server.
func security(s *authserver.Server) *api.Security {
	m := s.Metadata()
	return &api.Security{Authorize: m.AuthorizationEndpoint, Token: m.TokenEndpoint, Introspect: m.IntrospectionEndpoint, Revoke: m.RevocationEndpoint,
		Register: m.RegistrationEndpoint, Manage: s.Issuer + "/apps"}
}
