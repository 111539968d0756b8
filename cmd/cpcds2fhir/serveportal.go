package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/internal/accounts"
	upstream "cpcds2fhir/internal/identity"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
	"cpcds2fhir/internal/portal/mail"
)

// openPortal opens the portal of a server whose accounts are open. The caller closes what it returns.
func (c *serveConfig) openPortal(ctx context.Context, own *accounts.Accounts, events portal.Events) (p *portal.Portal, closed func() error, err error) {
	set := &c.Portal
	closed = func() error { return nil }
	zone, err := time.LoadLocation(c.Embedded.Agency.Zone)
	if err != nil {
		return nil, closed, usagef("authorization_server.agency.zone %q: use a name such as America/Denver", c.Embedded.Agency.Zone)
	}
	asked, err := forms.Load(c.agencyFolder("forms"))
	if err != nil {
		return nil, closed, usagef("portal: %s", err)
	}
	production, there := c.environments()
	production.Accounts = own
	config := &portal.Config{
		Accounts: own, Forms: asked, Rules: set.Rules.rules(), Agency: c.agencyName(), URL: c.issuer(), Zone: zone, Letters: c.agencyFolder("letters"),
		Production: production, Uploads: set.Uploads, Events: events,
	}
	if config.Uploads == "" {
		config.Uploads = filepath.Join(accountsOf(c.Store), "uploads")
	}
	if config.Mail, err = set.Mail.mailer(); err != nil {
		return nil, closed, err
	}
	config.Sandbox = config.Production
	if set.Sandbox.Base != "" {
		if there.Accounts, err = set.Sandbox.Accounts.openAccounts(ctx, set.Sandbox.Store, toChange); err != nil {
			return nil, closed, fmt.Errorf("portal.sandbox: %w", err)
		}
		if same, err := own.SameDatabase(ctx, there.Accounts); err != nil || same {
			if err == nil {
				err = usagef("portal.sandbox: its accounts are those of this server, whose members are real; give the sandbox a database of its own")
			}
			return nil, closed, errors.Join(err, there.Accounts.Close())
		}
		config.Sandbox, closed = there, there.Accounts.Close
	}
	if set.Sandbox.Members != "" {
		if config.TestMembers, err = readTestMembers(set.Sandbox.Members); err != nil {
			return nil, closed, errors.Join(err, closed())
		}
	}
	if p, err = portal.Open(ctx, config); err != nil {
		return nil, closed, errors.Join(environmentf("portal: %w", err), closed())
	}
	return p, closed, nil
}

// environments are production and the sandbox, without their accounts. In the command 'sandbox' they are the same.
func (c *serveConfig) environments() (production, sandbox portal.Environment) {
	production = portal.Environment{FHIRBase: strings.TrimSuffix(c.Base, "/"), Issuer: c.issuer()}
	set := &c.Portal.Sandbox
	if set.Base == "" {
		return production, production
	}
	return production, portal.Environment{FHIRBase: strings.TrimSuffix(set.Base, "/"), Issuer: cmp.Or(set.Issuer, (&serveConfig{Base: set.Base}).issuer())}
}

// agencyFolder is a part of the agency's folder, "" if there is none.
func (c *serveConfig) agencyFolder(part string) string {
	if c.Portal.Folder == "" {
		return ""
	}
	dir := filepath.Join(c.Portal.Folder, part)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ""
	}
	return dir
}

// agencyName is how the pages name the agency.
func (c *serveConfig) agencyName() string {
	if c.Embedded.Agency.Name == "" {
		return "Patient Access"
	}
	return c.Embedded.Agency.Name
}

func (r *portalRules) rules() portal.Rules {
	return portal.Rules{
		SandboxReview: r.Sandbox, FourEyes: r.FourEyes, Demo: r.Demo, Proof: r.Proof, Levels: r.Levels, Evidence: r.Evidence, Criteria: r.Criteria,
		SandboxDays: r.Easy, ReviewDays: r.Days, Holidays: r.Holidays, LapseDays: r.Lapse, AttestDays: r.Attest, Directory: r.Directory, KeepDays: r.Keep, TermsVersion: r.Terms,
	}
}

// mailer is what sends mails, nil if mail is off.
func (c *mailConfig) mailer() (portal.Mailer, error) {
	if c.Server == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(c.Server)
	if err != nil {
		return nil, usagef("portal.mail.server %q: use host:port", c.Server)
	}
	config := &mail.Config{Host: host, From: c.From, User: c.User, TLS: c.TLS}
	if config.Port, err = strconv.Atoi(port); err != nil {
		return nil, usagef("portal.mail.server %q: the port is no number", c.Server)
	}
	if c.Password != "" {
		if config.Password, err = c.Password.read(); err != nil {
			return nil, environmentf("portal.mail.password: %w", err)
		}
	}
	m, err := mail.New(config)
	if err != nil {
		return nil, usagef("portal.mail: %s", err)
	}
	return m, nil
}

// readTestMembers reads the logins of a sandbox.json.
func readTestMembers(path string) (list []portal.TestMember, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, environmentf("portal.sandbox.members: %w", err)
	}
	var f sandboxFile
	if err := json.Unmarshal(text, &f); err != nil || len(f.Members) == 0 {
		return nil, usagef("portal.sandbox.members: %s is no sandbox.json with members", path)
	}
	return testMembers(f.Members), nil
}

func testMembers(members []sandboxMember) (list []portal.TestMember) {
	for _, m := range members {
		list = append(list, portal.TestMember{Login: m.Login, Password: m.Password, Name: m.Name, Patient: m.PatientID, Note: m.Description})
	}
	return list
}

// developersLogin is the login of developers and staff at the identity service.
type developersLogin struct{ *upstream.Login }

// Begin sends the browser to the identity service.
func (l developersLogin) Begin(w http.ResponseWriter, r *http.Request, back string, again bool) error {
	var after time.Time
	if again {
		after = l.Now()
	}
	return l.Login.Begin(w, r, back, after)
}

// Finish reads its answer.
func (l developersLogin) Finish(w http.ResponseWriter, r *http.Request) (who *portal.Identified, back string, err error) {
	s, back, err := l.Identify(w, r)
	if err != nil {
		return nil, back, err
	}
	return &portal.Identified{Issuer: s.Issuer, Subject: s.Subject, Email: s.Email, EmailVerified: s.EmailVerified, Name: s.Name, Level: s.Level, AuthTime: s.AuthTime}, back, nil
}

// developersUpstream is how the identity service of developers is reached. Everybody whom it lets in may sign in: levels are
// for the proof of their identity.
func (c *serveConfig) developersUpstream() *upstream.Config {
	config := c.Portal.Login.upstreamConfig(c.issuer()+"/developers/login/callback", nil)
	config.Cookie, config.AnyLevel, config.Levels = "developer_login", true, nil
	return config
}

// portalLogin makes the login at the identity service, nil if there is none.
func (c *serveConfig) portalLogin(a *accounts.Accounts, status *serveStatus, log *zap.Logger) (*developersLogin, error) {
	own := &c.Portal.Login
	if own.Issuer == "" {
		return nil, nil
	}
	config := c.developersUpstream()
	config.Events = upstream.Events{
		Refused: func(code, _, _ string) {
			status.decided("developer-login-refused", code)
			log.Info("refused a login of a developer", zap.String("reason", code))
		},
		Fetched: func(what string, err error) {
			if err != nil {
				log.Warn("the identity service of developers does not answer", zap.String("for", what), zap.String("error", message(err)))
			}
		},
	}
	login, err := upstream.New(config, a, nil)
	if err != nil {
		return nil, usagef("portal.login: %s", err)
	}
	return &developersLogin{login}, nil
}
