package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/sandbox"
	"cpcds2fhir/internal/site/developers"
)

// TestPortalPage reads every configuration in docs/portal.md as the program would.
func TestPortalPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/portal.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	if len(blocks) < 3 {
		t.Fatalf("the page has %d configurations", len(blocks))
	}
	for i, b := range blocks {
		path := filepath.Join(t.TempDir(), "serve.yaml")
		if err := os.WriteFile(path, b[1], 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readServe(path)
		if err != nil {
			t.Errorf("configuration %d: %v", i+1, err)
			continue
		}
		if !c.Portal.Enabled { // a part of one
			c.Portal.Sandbox.Base, c.Portal.Sandbox.Store = "https://sandbox.example.gov/fhir", "sandbox"
			c.Portal.Login.Issuer, c.Portal.Login.Client = "https://login.example.gov", "portal"
			c.Portal.Enabled = true
		}
		c.Base, c.Embedded.Enabled = "https://api.example.gov/fhir", true
		if err := c.Portal.check(c); err != nil {
			t.Errorf("configuration %d: %v", i+1, err)
		}
	}
}

// TestClientsForAll registers the console and the clients of the examples in a sandbox, follows the portal to another
// address, and leaves alone what an operator has changed.
func TestClientsForAll(t *testing.T) {
	ctx := t.Context()
	a, err := new(accountsConfig).openAccounts(ctx, filepath.Join(t.TempDir(), "store"), toCreate)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	p := &portal.Portal{Config: portal.Config{Sandbox: portal.Environment{Accounts: a, Issuer: "https://sandbox.example"}}}
	at := func(origin string) *accounts.Client {
		t.Helper()
		c := defaultServe()
		c.Base = origin + "/fhir"
		if err := c.clientsForAll(p); err != nil {
			t.Fatal(err)
		}
		got, err := a.Client(ctx, consoleClient)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, origin := range []string{"https://one.example", "https://one.example", "https://two.example"} {
		if got := at(origin); got.Status != accounts.Active || got.Auth != "none" || !slices.Contains(got.RedirectURIs, origin+developers.ConsolePath) {
			t.Errorf("%s: %+v", origin, got)
		}
	}
	if err := a.SetStatus(ctx, consoleClient, accounts.Disabled); err != nil {
		t.Fatal(err)
	}
	if got := at("https://three.example"); got.Status != accounts.Disabled {
		t.Errorf("the console that an operator has disabled is %s", got.Status)
	}
	secrets, err := a.Secrets(ctx, sandbox.ConfidentialClient)
	if err != nil || len(secrets) != 1 {
		t.Fatalf("%d secrets, %v", len(secrets), err)
	}
	if err := a.EndSecret(ctx, sandbox.ConfidentialClient, secrets[0].ID, false); err != nil {
		t.Fatal(err)
	}
	at("https://three.example")
	if secrets, err = a.Secrets(ctx, sandbox.ConfidentialClient); err != nil || len(secrets) != 0 {
		t.Errorf("a secret that an operator has ended is there again: %d, %v", len(secrets), err)
	}
}
