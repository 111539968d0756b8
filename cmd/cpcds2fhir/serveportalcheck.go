package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	upstream "cpcds2fhir/internal/identity" // identity is this program's key of ids
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/forms"
)

// checkPortal looks at what the portal needs: the agency's folder, the accounts of the sandbox, the login of developers
// and the mail server.
func (c *serveConfig) checkPortal(ctx context.Context) (string, error) {
	own := &c.Portal
	if !own.Enabled {
		return "none", nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var found []string
	var failed error
	for _, look := range []func(context.Context) (string, error){c.checkAgency, own.checkSandbox, c.checkDevelopersLogin, own.Mail.reach} {
		text, err := look(ctx)
		failed = errors.Join(failed, err)
		found = append(found, text)
	}
	if failed != nil {
		return "", failed
	}
	return strings.Join(found, "; "), nil
}

// checkAgency reads the agency's folder.
func (c *serveConfig) checkAgency(context.Context) (string, error) {
	if _, err := c.look(); err != nil {
		return "", err
	}
	if _, err := forms.Load(c.agencyFolder("forms")); err != nil {
		return "", err
	}
	if err := portal.CheckLetters(c.agencyFolder("letters")); err != nil {
		return "", err
	}
	if c.Base == "" { // on a loopback address
		c.Base = c.url(c.Listen)
	}
	if _, err := c.documentation(nil); err != nil {
		return "", err
	}
	if c.Portal.Folder == "" {
		return "our own look, pages, forms and letters", nil
	}
	return "look, pages, forms and letters of " + c.Portal.Folder, nil
}

// checkSandbox looks at the accounts of the sandbox.
func (c *portalConfig) checkSandbox(ctx context.Context) (string, error) {
	a, err := c.Sandbox.Accounts.openAccounts(ctx, c.Sandbox.Store, toLook)
	if err != nil {
		return "", fmt.Errorf("sandbox: %w", err)
	}
	defer a.Close()
	if err := a.Check(ctx); err != nil {
		return "", fmt.Errorf("sandbox: %w", err)
	}
	clients, err := a.Clients(ctx)
	if err != nil {
		return "", fmt.Errorf("sandbox: %w", err)
	}
	return fmt.Sprintf("the sandbox has %s", many(int64(len(clients)), "app")), nil
}

// checkDevelopersLogin reaches the identity service.
func (c *serveConfig) checkDevelopersLogin(ctx context.Context) (string, error) {
	own := &c.Portal.Login
	if own.Issuer == "" {
		return "developers sign in with accounts of the portal", nil
	}
	for _, s := range []secret{own.Secret, own.Key} {
		if s != "" {
			if _, err := s.read(); err != nil {
				return "", err
			}
		}
	}
	login, err := upstream.New(c.developersUpstream(), nil, nil)
	if err != nil {
		return "", fmt.Errorf("login of developers: %w", err)
	}
	keys, err := login.Check(ctx)
	if err != nil {
		return "", fmt.Errorf("login of developers: %w", err)
	}
	return fmt.Sprintf("developers sign in at %s (%s)", own.Issuer, many(int64(keys), "key")), nil
}

// reach connects to the mail server, and sends nothing.
func (c *mailConfig) reach(ctx context.Context) (string, error) {
	if c.Server == "" {
		return "mail is off", nil
	}
	if c.Password != "" {
		if _, err := c.Password.read(); err != nil {
			return "", err
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.Server)
	if err != nil {
		return "", fmt.Errorf("mail: %w", err)
	}
	return "mail by " + c.Server, conn.Close()
}
