package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
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
	Database string `yaml:"database"`
	Seal     secret `yaml:"seal"`
}

// accountsOf is the folder of the accounts of a store. It stands beside the store and not in it: whoever loads a
// store afresh does not want to lose what members have allowed.
func accountsOf(store string) string {
	return strings.TrimSuffix(strings.TrimPrefix(store, "store:"), "/") + ".accounts"
}

// openAccounts opens the accounts of a store. With create, what is missing is made.
func (c *accountsConfig) openAccounts(ctx context.Context, store string, create bool) (*accounts.Accounts, error) {
	dir := accountsOf(store)
	at := c.Database
	if at == "" {
		path := filepath.Join(dir, "accounts.db")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && !create {
			return nil, environmentf("there are no accounts in %s; 'client add' makes them, and so does a server with an authorization server", dir)
		}
		at = "sqlite:" + path
	}
	if c.Database == "" || c.Seal == "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, environmentf("make the folder of the accounts: %w", err)
		}
	}
	seal, err := c.sealKey(dir)
	if err != nil {
		return nil, err
	}
	a, err := accounts.Open(ctx, at, &accounts.Options{Seal: seal})
	if err != nil {
		return nil, environmentf("open the accounts: %w", err)
	}
	return a, nil
}

// sealKey reads the key that seals private keys in the database; without a setting it is a file in dir, which is
// made if it is missing.
func (c *accountsConfig) sealKey(dir string) (seal [32]byte, err error) {
	var text string
	if c.Seal != "" {
		if text, err = c.Seal.read(); err != nil {
			return seal, environmentf("read the seal of the accounts: %w", err)
		}
	} else if text, err = readOrMakeSeal(filepath.Join(dir, "seal.key")); err != nil {
		return seal, environmentf("read the seal of the accounts: %w", err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(b) != len(seal) {
		return seal, usagef("the seal of the accounts is 32 bytes in hexadecimal, such as 'openssl rand -hex 32' prints")
	}
	return [32]byte(b), nil
}

// readOrMakeSeal reads a file, or makes it with a new key; of several processes that make it one does.
func readOrMakeSeal(path string) (string, error) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // it never fails
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.WriteString(hex.EncodeToString(b[:]) + "\n")
		return hex.EncodeToString(b[:]), errors.Join(err, f.Sync(), f.Close())
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	text, err := os.ReadFile(path)
	return string(text), err
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
	server *serveConfig
	audit  *audit.Log
}

// open opens the accounts. The caller closes them.
func (f *accountFlags) open(c *cobra.Command, create bool) (*desk, error) {
	cfg, err := readServe(f.config)
	if err != nil {
		return nil, err
	}
	if f.config == "" || c.Flags().Changed("store") {
		cfg.Store = f.store
	}
	a, err := cfg.Embedded.Accounts.openAccounts(c.Context(), cfg.Store, create)
	if err != nil {
		return nil, err
	}
	l, err := audit.Open(auditOf(cfg.Store, cfg.Audit))
	if err != nil {
		return nil, errors.Join(environmentf("%w", err), a.Close())
	}
	return &desk{Accounts: a, server: cfg, audit: l}, nil
}

func (d *desk) Close() error { return errors.Join(d.Accounts.Close(), d.audit.Close()) }

// note records a change by an operator.
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
