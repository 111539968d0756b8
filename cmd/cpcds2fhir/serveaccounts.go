package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/audit"
	"cpcds2fhir/internal/smart/authserver"
)

// accountsConfig says where apps, people and what they have allowed are kept.
type accountsConfig struct {
	Database secret `yaml:"database"`
	Seal     secret `yaml:"seal"`
}

// accountsOf is the folder of the accounts of a store. It stands beside the store and not in it: whoever loads a
// store afresh does not want to lose what members have allowed.
func accountsOf(store string) string {
	return strings.TrimSuffix(strings.TrimPrefix(store, "store:"), "/") + ".accounts"
}

// accountsUse says what opening the accounts may change.
type accountsUse int

const (
	toLook   accountsUse = iota // nothing: a server of another version may use them
	toChange                    // the schema is brought up to date
	toCreate                    // and what is missing is made
)

// openAccounts opens the accounts of a store.
func (c *accountsConfig) openAccounts(ctx context.Context, store string, how accountsUse) (*accounts.Accounts, error) {
	dir := accountsOf(store)
	if err := c.check(); err != nil { // commands check nothing else of the configuration
		return nil, err
	}
	at, err := c.database()
	if err != nil {
		return nil, err
	}
	if at == "" {
		path := filepath.Join(dir, "accounts.db")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && how != toCreate {
			return nil, environmentf("there are no accounts in %s; 'client add' makes them, and so does a server with an authorization server", dir)
		}
		at = "sqlite:" + path
	}
	if how == toCreate && (c.Database == "" || c.Seal == "") {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, environmentf("make the folder of the accounts: %w", err)
		}
	}
	seal, err := c.sealKey(dir, how == toCreate)
	if err != nil {
		return nil, err
	}
	a, err := accounts.Open(ctx, at, &accounts.Options{Seal: seal, Existing: how == toLook})
	if err != nil {
		return nil, environmentf("open the accounts: %w", err)
	}
	return a, nil
}

// check refuses secrets in the configuration, and a database whose seal would be in a file of this machine alone.
func (c *accountsConfig) check() error {
	if err := c.Seal.check("authorization_server.accounts.seal"); err != nil {
		return err
	}
	at := string(c.Database)
	switch {
	case at != "" && c.Seal == "":
		return usagef("authorization_server.accounts.seal: servers that share a database share its seal; set it")
	case at == "" || strings.HasPrefix(at, "env:") || strings.HasPrefix(at, "file:") || strings.HasPrefix(at, "sqlite:"):
		return nil
	}
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return usagef("authorization_server.accounts.database: use a postgres:// URL, or env:NAME or file:PATH that has one")
	}
	if _, there := u.User.Password(); there {
		return usagef("authorization_server.accounts.database: the URL has a password; put the URL into a file or a variable, as file:PATH or env:NAME")
	}
	return nil
}

// database is the URL of the database, "" for the file beside the store.
func (c *accountsConfig) database() (string, error) {
	at := string(c.Database)
	if !strings.HasPrefix(at, "env:") && !strings.HasPrefix(at, "file:") {
		return at, nil
	}
	text, err := c.Database.read()
	if err != nil {
		return "", environmentf("read the URL of the accounts: %w", err)
	}
	return text, nil
}

// sealKey reads the key that seals private keys in the database; without a setting it is a file in dir, which is
// made if it may be and there is no database yet, which another seal would not fit.
func (c *accountsConfig) sealKey(dir string, create bool) (seal [32]byte, err error) {
	from := c.Seal
	if from == "" {
		path := filepath.Join(dir, "seal.key")
		from = secret("file:" + path)
		if _, missing := os.Stat(filepath.Join(dir, "accounts.db")); create && missing != nil {
			err = makeKey(path)
		}
	}
	text := ""
	if err == nil {
		text, err = from.read()
	}
	if err != nil {
		return seal, environmentf("read the seal of the accounts: %w", err)
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(seal) {
		return seal, usagef("the seal of the accounts is 32 bytes in hexadecimal, such as 'openssl rand -hex 32' prints")
	}
	return [32]byte(b), nil
}

// accountFlags choose the accounts that a command works on.
type accountFlags struct {
	config, store string
}

func (f *accountFlags) on(c *cobra.Command) {
	c.PersistentFlags().StringVar(&f.config, "config", "", "of the server with the configuration `FILE`")
	c.PersistentFlags().StringVar(&f.store, "store", "./fhir-store", "of the store in `DIR`, if there is no --config")
	cobra.CheckErr(c.MarkPersistentFlagFilename("config", "yaml", "yml"))
	cobra.CheckErr(c.MarkPersistentFlagDirname("store"))
}

// desk is what a command that changes accounts has: the accounts, and the audit that keeps what was changed.
type desk struct {
	*accounts.Accounts
	audit *audit.Log // nil if nothing is changed
}

// open opens the accounts. The caller closes them.
func (f *accountFlags) open(c *cobra.Command, how accountsUse) (*desk, error) {
	cfg, err := readServe(f.config)
	if err != nil {
		return nil, err
	}
	if f.config == "" || c.Flags().Changed("store") {
		cfg.Store = f.store
	}
	a, err := cfg.Embedded.Accounts.openAccounts(c.Context(), cfg.Store, how)
	if err != nil {
		return nil, err
	}
	d := &desk{Accounts: a}
	if how != toLook {
		if d.audit, err = audit.Open(auditOf(cfg.Store, cfg.Audit)); err != nil {
			return nil, errors.Join(environmentf("%w", err), a.Close())
		}
	}
	return d, nil
}

func (d *desk) Close() error {
	err := d.Accounts.Close()
	if d.audit != nil {
		err = errors.Join(err, d.audit.Close())
	}
	return err
}

// note records a change by an operator. It comes before whatever gives somebody something.
func (d *desk) note(r *audit.Record) error {
	r.User, r.Operator = userName(), true
	if err := d.audit.Append(r); err != nil {
		return environmentf("%w", err)
	}
	return nil
}

// auditEvent turns what the authorization server did into a record.
func auditEvent(l *audit.Log, e *authserver.Event) error {
	r := audit.Record{Action: e.Action, Client: e.Client, User: e.User, Params: e.Scopes}
	if e.Patient != "" {
		r.Members = []string{e.Patient}
	}
	if e.Grant != "" {
		r.Type, r.ID = "grant", e.Grant
	}
	if e.Utah {
		r.Note = "utah"
	}
	return l.Append(&r)
}
