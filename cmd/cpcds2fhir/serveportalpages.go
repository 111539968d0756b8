package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/audit"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/sandbox"
	pagedesk "cpcds2fhir/internal/site/desk" // desk is what commands on accounts have
	"cpcds2fhir/internal/site/developers"
	"cpcds2fhir/internal/site/frame"
	"cpcds2fhir/internal/site/staff"
)

// look are the static files of all pages, with the agency's look.
func (c *serveConfig) look() (*frame.Assets, error) {
	var agency fs.FS
	if c.Portal.Enabled && c.Portal.Folder != "" {
		if _, err := os.Stat(c.Portal.Folder); err != nil {
			return nil, environmentf("portal.folder: %w", err)
		}
		agency = os.DirFS(c.Portal.Folder)
	}
	a, err := frame.NewAssets(agency, developers.Static())
	if err != nil {
		return nil, usagef("portal.folder: %s", err)
	}
	return a, nil
}

// startPortal opens the portal, and does what is due in it until ctx ends.
func (e *embedded) startPortal(ctx context.Context, c *serveConfig, l *audit.Log, status *serveStatus, log *zap.Logger) error {
	events := portal.Events{
		Happened: func(x *portal.Event) {
			status.happened(x.Action)
			log.Info("portal", zap.String("action", x.Action), zap.String("actor", x.Actor), zap.String("application", x.Application), zap.String("app", x.App), zap.String("org", x.Org))
		},
		SignedIn: func(person string) {
			status.decided("developer-login", "")
			log.Info("signed in", zap.String("developer", person))
		},
		Refused: func(what, reason string) {
			status.decided("developer-refused", reason)
			log.Info("refused", zap.String("what", what), zap.String("reason", reason))
		},
		Mailed: func(mail string, err error) {
			if err != nil {
				status.happened("mail-failed")
				log.Warn("a mail could not be sent", zap.String("mail", mail), zap.String("error", message(err)))
				return
			}
			status.happened("mail")
		},
		Fault: func(what string, err error) {
			log.Error("failed", zap.String("portal", what), zap.String("error", message(err)))
		},
	}
	p, closed, err := c.openPortal(ctx, e.accounts, events)
	if err != nil {
		return err
	}
	e.portal, e.closed = p, closed
	status.portal(func(ctx context.Context) (map[string]int, error) { return p.Counts(ctx) })
	go p.Run(ctx)
	return nil
}

// servePortal adds the pages of the portal. Members' pages are there already.
func (e *embedded) servePortal(c *serveConfig, status *serveStatus, log *zap.Logger) error {
	own, p := &c.Portal, e.portal
	key, err := e.accounts.Secret(context.Background(), "forms of the portal")
	if err != nil {
		return environmentf("read the key of forms: %w", err)
	}
	agency := &c.Embedded.Agency
	base := frame.Config{
		Issuer: c.issuer(), Name: agency.Name, Contact: agency.Contact, Phone: agency.Phone, TTY: agency.TTY, Policy: agency.Policy, Notices: agency.Notices,
		Zone: p.Zone, Key: key, Session: "developer", Assets: e.assets,
		Fault: func(path string, err error) {
			log.Error("failed", zap.String("page", path), zap.String("error", message(err)))
		},
	}
	refused := func(reason, person string) {
		status.decided("developer-refused", reason)
		log.Info("refused", zap.String("what", "page"), zap.String("reason", reason), zap.String("developer", person))
	}
	limits, forwarded := pagedesk.NewLimits(), strings.EqualFold(own.Address, "X-Forwarded-For")
	library, err := c.documentation(p.TestMembers)
	if err != nil {
		return usagef("portal: %s", err)
	}
	site := &developers.Config{
		Portal: p, Frame: base, Limits: limits, Forwarded: forwarded, Refused: refused, Passwords: own.Login.Passwords, Demo: c.portal.demo(),
		Documentation: []frame.Link{{Text: "Documentation", URL: "/docs"}}, Guides: guides(library), PerMinute: c.Limits.Client, Console: consoleClient,
		Support: developers.Support{Community: own.Support.Community, Desk: own.Support.Desk, Contact: cmp.Or(own.Support.Contact, agency.Contact),
			Phone: agency.Phone, TTY: agency.TTY, Postal: own.Support.Post},
	}
	if err := c.clientsForAll(p); err != nil {
		return environmentf("register what everybody may use in the sandbox: %w", err)
	}
	login, err := c.portalLogin(e.accounts, status, log)
	if err != nil {
		return err
	}
	if login != nil {
		site.Upstream = login
	}
	site.Status = func(ctx context.Context) []developers.Service { return e.services(ctx, c, login, status) }
	pages, err := developers.New(site)
	if err != nil {
		return usagef("portal: %s", err)
	}
	desks, err := staff.New(&staff.Config{Portal: p, Frame: base, Limits: limits, Forwarded: forwarded, Refused: refused, Documentation: site.Documentation})
	if err != nil {
		return usagef("portal: %s", err)
	}
	base.Menu = pages.PublicMenu
	read, err := library.Handler(&base)
	if err != nil {
		return usagef("portal: %s", err)
	}
	e.add(pages.Handler(), pages.Paths()...)
	e.add(desks.Handler(), desks.Paths()...)
	e.add(read, "/", "/docs", "/docs/")
	return nil
}

// consoleClient is the client of the portal's console in the sandbox.
const consoleClient = "portal-console"

// clientsForAll registers, at the authorization server of the sandbox, the console, and the clients of the documentation's
// examples, which everybody may use. The console has a client of its own, so that calls from it are no evidence of what
// an app can do.
func (c *serveConfig) clientsForAll(p *portal.Portal) error {
	console := sandbox.Client{Client: accounts.Client{
		ID: consoleClient, Name: "Console for developers", Status: accounts.Active, Auth: "none", Grants: []string{"authorization_code"},
		RedirectURIs: []string{c.issuer() + developers.ConsolePath}, IDTokenAlg: "RS256", Owner: "operator", Environment: "sandbox",
		Homepage: c.issuer() + "/", Policy: c.issuer() + "/docs/privacy",
	}}
	list := []sandbox.Client{console}
	if c.portal == nil { // the command 'sandbox' has them
		for _, x := range sandbox.Clients(p.Sandbox.Issuer) {
			if x.Environment = "sandbox"; x.ID != sandbox.ExampleClient {
				list = append(list, x)
			}
		}
	}
	for i := range list {
		there, err := p.Sandbox.Accounts.Client(context.Background(), list[i].ID)
		if err == nil && slices.Equal(there.RedirectURIs, list[i].RedirectURIs) {
			continue // what an operator has changed stays: a secret that was ended, a client that is disabled
		}
		if err != nil && !errors.Is(err, accounts.ErrNotFound) {
			return err
		}
		if err := seedClient(context.Background(), p.Sandbox.Accounts, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// add serves paths; those of a folder end with a slash.
func (e *embedded) add(h http.Handler, paths ...string) {
	for _, path := range paths {
		e.pages[path] = h
	}
}
