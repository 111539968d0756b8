package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/audit"
	upstream "cpcds2fhir/internal/identity" // identity is this program's key of ids
	"cpcds2fhir/schemas/fhir"
)

func newServeCheck() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:   "check --config serve.yaml",
		Short: "Check a configuration, the store, the certificate and the authorization server",
		Long: `Check reads the configuration and looks at everything that it names: the store, the audit
log, the certificate and its key, and the metadata and keys of the authorization server.
It changes nothing, and works beside a server.`,
		Example: `  cpcds2fhir serve check --config serve.yaml`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readServe(config)
			if err == nil {
				err = cfg.check()
			}
			if err != nil {
				return err
			}
			return cfg.checkAll(c.Context(), c.OutOrStdout())
		},
	}
	c.Flags().StringVar(&config, "config", "", "read the configuration from `FILE`")
	cobra.CheckErr(c.MarkFlagFilename("config", "yaml", "yml"))
	return c
}

// checkAll looks at what a configuration names, and says what it finds. It fails if something is not usable,
// after it has looked at everything.
func (c *serveConfig) checkAll(ctx context.Context, out io.Writer) error {
	var failed error
	for _, x := range []struct {
		name string
		look func(ctx context.Context) (string, error)
	}{
		{"store", c.checkStore}, {"audit", c.checkAudit}, {"tls", c.checkTLS}, {"accounts", c.checkAccounts}, {"login", c.checkLogin}, {"tokens", c.checkIssuer}, {"portal", c.checkPortal},
	} {
		found, err := x.look(ctx)
		if err != nil {
			found = "FAILED: " + message(err)
			failed = environmentf("the configuration names what cannot be used")
		}
		fmt.Fprintf(out, "%-9s %s\n", x.name, found)
	}
	return failed
}

func (c *serveConfig) checkStore(ctx context.Context) (string, error) {
	s, dir, err := openNamed(c.Store)
	if errors.Is(err, fs.ErrNotExist) {
		return c.Store + " does not exist; serve will create it, empty", nil
	}
	if err != nil {
		return "", err
	}
	defer s.Close()
	st, err := s.Stats(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s has %s of %s", dir, many(st.Types[fhir.ExplanationOfBenefit].Resources, "claim"), many(st.Types[fhir.Patient].Resources, "member")), nil
}

func (c *serveConfig) checkAudit(context.Context) (string, error) {
	dir := auditOf(c.Store, c.Audit)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return dir + " does not exist; serve will create it", nil
	}
	n, _, err := audit.Verify(dir, "")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s has %s, the chain holds", dir, many(int64(n), "record")), nil
}

func (c *serveConfig) checkTLS(context.Context) (string, error) {
	if c.TLS.Cert == "" {
		if isLoopback(hostOf(c.Listen)) {
			return "none, on a loopback address", nil
		}
		return "none: a proxy in front must end it", nil
	}
	pair, err := tls.LoadX509KeyPair(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		return "", err
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return "", err
	}
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return "", fmt.Errorf("the certificate is valid from %s to %s", leaf.NotBefore.Format(time.DateOnly), leaf.NotAfter.Format(time.DateOnly))
	}
	return fmt.Sprintf("certificate and key fit, valid until %s", leaf.NotAfter.Format(time.DateOnly)), nil
}

// checkAccounts looks at what the embedded authorization server keeps.
func (c *serveConfig) checkAccounts(ctx context.Context) (string, error) {
	if !c.Embedded.Enabled {
		return "none: there is no embedded authorization server", nil
	}
	dir := accountsOf(c.Store)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && c.Embedded.Accounts.Database == "" {
		return dir + " does not exist; serve will create it", nil
	}
	a, err := c.Embedded.Accounts.openAccounts(ctx, c.Store, toLook)
	if err != nil {
		return "", err
	}
	defer a.Close()
	if err := a.Check(ctx); err != nil {
		return "", err
	}
	clients, err := a.Clients(ctx)
	if err != nil {
		return "", err
	}
	keys, err := a.Keys(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s and %s; the seal fits", many(int64(len(clients)), "app"), many(int64(len(keys)), "key")), nil
}

// checkLogin looks at how members sign in: the rules, and the identity provider.
func (c *serveConfig) checkLogin(ctx context.Context) (string, error) {
	own := &c.Embedded.Login
	switch {
	case !c.Embedded.Enabled:
		return "none: there is no embedded authorization server", nil
	case own.Issuer == "":
		return "with passwords of this server, which are for sandboxes", nil
	}
	rules, err := readRules(own.Rules)
	if err != nil {
		return "", err
	}
	for _, s := range []secret{own.Secret, own.Key} {
		if s != "" {
			if _, err := s.read(); err != nil {
				return "", err
			}
		}
	}
	login, err := upstream.New(c.Embedded.Login.upstreamConfig(c.issuer()+"/login/callback", rules), nil, nil)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	keys, err := login.Check(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("at %s: %s, %s", own.Issuer, many(int64(keys), "key"), many(int64(len(rules)), "rule")), nil
}

func (c *serveConfig) checkIssuer(ctx context.Context) (string, error) {
	switch {
	case c.Open:
		return "none: whoever reaches " + c.Listen + " may read everything", nil
	case c.Authorization.Issuer == "":
		return "of the embedded authorization server, " + cmp.Or(c.issuer(), "at the address it listens on"), nil
	}
	a, err := c.tokens(newLog(""))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	m, err := a.Metadata(ctx)
	if err != nil {
		return "", err
	}
	var how string
	if in := &c.Authorization.Introspection; in.Enabled {
		at := cmp.Or(in.URL, m.IntrospectionEndpoint)
		if at == "" {
			return "", errors.New("its metadata name no introspection; set authorization.introspection.url")
		}
		if in.Client != "" {
			if _, err := in.Secret.read(); err != nil {
				return "", err
			}
		}
		how = "introspection at " + at
	} else {
		n, err := a.Keys(ctx)
		if err != nil {
			return "", err
		}
		how = many(int64(n), "key")
	}
	if !m.PKCE() {
		how += "; it does not say that it takes PKCE with S256, which SMART requires"
	}
	return fmt.Sprintf("of %s: %s", c.Authorization.Issuer, how), nil
}
