package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/audit"
	"cpcds2fhir/internal/smart/authserver"
	"cpcds2fhir/internal/smart/clientrules"
)

func newClient() *cobra.Command {
	f := &accountFlags{}
	c := &cobra.Command{
		Use:   "client",
		Short: "Register apps at the authorization server, and look after them",
		Long: `An app must be registered before members can let it see their data. 'client' works on the
accounts of a server, also while it runs: what it changes counts at once, in all
processes that serve the store.

An app that registers itself (authorization_server.registration) is held until
'client enable' approves it.`,
	}
	f.on(c)
	c.AddCommand(newClientAdd(f), newClientList(f), newClientShow(f), newClientRotate(f), newClientStatus(f, "enable", accounts.Active), newClientStatus(f, "disable", accounts.Disabled), newClientRemove(f))
	return c
}

// clientOutput is a client for people's scripts. Secret is there once, when it was made.
type clientOutput struct {
	ID           string          `json:"id"`
	Name         string          `json:"name"`
	Status       accounts.Status `json:"status"`
	Auth         string          `json:"auth"`
	Native       bool            `json:"native,omitempty"`
	Utah         bool            `json:"utah,omitempty"`
	Grants       []string        `json:"grants"`
	RedirectURIs []string        `json:"redirect_uris,omitempty"`
	Scopes       []string        `json:"scopes,omitempty"`
	JWKSURI      string          `json:"jwks_uri,omitempty"`
	JWKS         json.RawMessage `json:"jwks,omitempty"`
	IDTokenAlg   string          `json:"id_token_alg,omitempty"`
	Homepage     string          `json:"homepage,omitempty"`
	Policy       string          `json:"policy,omitempty"`
	Terms        string          `json:"terms,omitempty"`
	Contacts     []string        `json:"contacts,omitempty"`
	Owner        string          `json:"owner"`
	Created      time.Time       `json:"created"`
	Secret       string          `json:"secret,omitempty"`
}

func outputOf(c *accounts.Client, secret string) *clientOutput {
	o := &clientOutput{
		ID: c.ID, Name: c.Name, Status: c.Status, Auth: c.Auth, Native: c.Native, Utah: c.Utah, Grants: c.Grants, RedirectURIs: c.RedirectURIs, Scopes: c.Scopes,
		JWKSURI: c.JWKSURI, IDTokenAlg: c.IDTokenAlg, Homepage: c.Homepage, Policy: c.Policy, Terms: c.Terms, Contacts: c.Contacts, Owner: c.Owner,
		Created: c.Created.UTC(), Secret: secret,
	}
	if c.JWKS != "" {
		o.JWKS = json.RawMessage(c.JWKS)
	}
	return o
}

func (o *clientOutput) print(w io.Writer, output string) error {
	if output == "json" {
		return printJSON(w, o)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, text)
		}
	}
	line("id", o.ID)
	line("secret", o.Secret)
	line("name", o.Name)
	line("status", string(o.Status))
	line("auth", o.Auth)
	line("grants", strings.Join(o.Grants, " "))
	line("redirect", strings.Join(o.RedirectURIs, " "))
	line("scopes", strings.Join(o.Scopes, " "))
	line("jwks_uri", o.JWKSURI)
	line("homepage", o.Homepage)
	line("policy", o.Policy)
	line("contacts", strings.Join(o.Contacts, " "))
	line("owner", o.Owner)
	line("created", o.Created.Format(time.DateOnly))
	if o.Utah {
		line("dialect", "utah")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if o.Secret != "" {
		fmt.Fprintln(w, "\nKeep the secret now: it is not kept here, and cannot be shown again.")
	}
	return nil
}

func printJSON(w io.Writer, x any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(x)
}

func newClientAdd(f *accountFlags) *cobra.Command {
	n := &accounts.Client{Status: accounts.Active, Owner: "operator"}
	var auth, scopes, jwks, output string
	c := &cobra.Command{
		Use:   "add NAME --redirect URI",
		Short: "Register an app",
		Long: `Add registers an app under the name that members read, and prints its id, and its secret if
it has one: once, and never again.

Public apps (in a browser, or on a device) have no secret; apps with a server use one, or
keys of their own. Redirect URIs are compared character by character; --native lets the
port of a loopback address differ, and allows schemes such as org.example.app:/callback.`,
		Example: `  cpcds2fhir client add "Health Diary" --redirect https://diary.example.org/callback --policy https://diary.example.org/privacy
  cpcds2fhir client add "Phone App" --auth none --native --redirect org.example.app:/callback --redirect http://127.0.0.1/callback
  cpcds2fhir client add "Quality Measures" --auth private_key_jwt --jwks keys.json --scopes system/*.rs`,
		Args:              needs("the name that members know the app by", false),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, a []string) error {
			n.Name, n.Auth, n.ID = a[0], auth, authserver.NewClientID()
			n.Scopes = strings.Fields(scopes)
			if len(n.Scopes) == 0 {
				n.Scopes = nil
			}
			if jwks != "" {
				text, err := os.ReadFile(jwks)
				if err != nil {
					return environmentf("read the keys: %w", err)
				}
				n.JWKS = string(text)
			}
			if len(n.RedirectURIs) > 0 {
				n.Grants = append(n.Grants, "authorization_code", "refresh_token")
			}
			if slices.ContainsFunc(n.Scopes, func(s string) bool { return strings.HasPrefix(s, "system/") }) {
				n.Grants = append(n.Grants, "client_credentials")
			}
			if len(n.Grants) == 0 {
				return usagef("give an app for members at least one --redirect, and a service --scopes with system/ scopes")
			}
			if err := clientrules.Check(n); err != nil {
				return usagef("%s", err)
			}
			d, err := f.open(c, toCreate)
			if err != nil {
				return err
			}
			defer d.Close()
			n.Created = time.Now()
			n.Changed = n.Created
			r := &audit.Record{Action: "client-add", Client: n.ID}
			if n.Utah {
				r.Note = "utah"
			}
			if err := d.note(r); err != nil {
				return err
			}
			if err := d.AddClient(c.Context(), n); err != nil {
				return err
			}
			secret, err := d.secretFor(c, n, time.Time{})
			if err != nil {
				return err
			}
			return outputOf(n, secret).print(c.OutOrStdout(), output)
		},
	}
	choiceFlag(c, &auth, "auth", "how it authenticates itself", "client_secret", "none", "private_key_jwt")
	c.Flags().StringArrayVar(&n.RedirectURIs, "redirect", nil, "a redirect `URI`; may be repeated")
	c.Flags().BoolVar(&n.Native, "native", false, "it is an app on a device")
	c.Flags().StringVar(&scopes, "scopes", "", "the most that it may ask for (default: what apps for members can have)")
	c.Flags().StringVar(&jwks, "jwks", "", "its public keys, as JSON in `FILE`")
	c.Flags().StringVar(&n.JWKSURI, "jwks-uri", "", "where its public keys are, as an https `URL`")
	choiceFlag(c, &n.IDTokenAlg, "id-token-alg", "how its ID tokens are signed", "RS256", "ES384")
	c.Flags().StringVar(&n.Homepage, "homepage", "", "`URL` of its home page")
	c.Flags().StringVar(&n.Policy, "policy", "", "`URL` of its privacy policy, which members can read before they decide")
	c.Flags().StringVar(&n.Terms, "terms", "", "`URL` of its terms of use")
	c.Flags().StringArrayVar(&n.Contacts, "contact", nil, "an `ADDRESS` of its developers; may be repeated")
	c.Flags().BoolVar(&n.Utah, "utah", false, "it may use the dialect of Utah's API: no scope, state or PKCE (only with a secret)")
	choiceFlag(c, &output, "output", "output format", "text", "json")
	cobra.CheckErr(c.MarkFlagFilename("jwks", "json"))
	for _, name := range []string{"redirect", "scopes", "jwks-uri", "homepage", "policy", "terms", "contact"} {
		cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return c
}

// secretFor gives a client a new secret, if it is one that has secrets. Those before end at until; zero lets them be.
func (d *desk) secretFor(c *cobra.Command, n *accounts.Client, until time.Time) (string, error) {
	if n.Auth != "client_secret" {
		return "", nil
	}
	secret := accounts.NewSecret()
	return secret, d.AddSecret(c.Context(), n.ID, secret, until)
}

// openClient opens the accounts for a command about a client, and finds it.
func (f *accountFlags) openClient(c *cobra.Command, id string, how accountsUse) (*desk, *accounts.Client, error) {
	d, err := f.open(c, how)
	if err != nil {
		return nil, nil, err
	}
	n, err := d.Client(c.Context(), id)
	if errors.Is(err, accounts.ErrNotFound) {
		err = usagef("no client has the id %q; 'client list' shows them", id)
	}
	if err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	return d, n, nil
}

// clientIDs completes ids of clients.
func (f *accountFlags) clientIDs(c *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	d, err := f.open(c, toLook)
	if err != nil || len(done) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer d.Close()
	list, err := d.Clients(c.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var ids []string
	for _, n := range list {
		ids = append(ids, n.ID+"\t"+n.Name)
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func newClientList(f *accountFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "list", Short: "List the apps that are registered", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := f.open(c, toLook)
			if err != nil {
				return err
			}
			defer d.Close()
			list, err := d.Clients(c.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				all := []*clientOutput{}
				for _, n := range list {
					all = append(all, outputOf(n, ""))
				}
				return printJSON(c.OutOrStdout(), all)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tSTATUS\tAUTH\tOWNER\tNAME")
			for _, n := range list {
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.ID, n.Status, n.Auth, n.Owner, n.Name)
			}
			return t.Flush()
		},
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

func newClientShow(f *accountFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use: "show ID", Short: "Show what an app is registered with", Args: needs("the id of a client", false), ValidArgsFunction: f.clientIDs,
		RunE: func(c *cobra.Command, a []string) error {
			d, n, err := f.openClient(c, a[0], toLook)
			if err != nil {
				return err
			}
			defer d.Close()
			return outputOf(n, "").print(c.OutOrStdout(), output)
		},
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

func newClientRotate(f *accountFlags) *cobra.Command {
	var keep time.Duration
	var output string
	c := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give an app a new secret",
		Long: `Rotate gives an app a new secret and prints it once. The old ones work on for --keep, so that
the app can change over without a refused request.`,
		Example: `  cpcds2fhir client rotate app-2xk9qj4m7w1r5t8z --keep 72h`,
		Args:    needs("the id of a client", false), ValidArgsFunction: f.clientIDs,
		RunE: func(c *cobra.Command, a []string) error {
			if keep < 0 {
				return usagef("--keep must not be below 0")
			}
			d, n, err := f.openClient(c, a[0], toChange)
			if err != nil {
				return err
			}
			defer d.Close()
			if n.Auth != "client_secret" {
				return usagef("the client has no secret: its auth is %s", n.Auth)
			}
			if err := d.note(&audit.Record{Action: "client-rotate", Client: n.ID}); err != nil {
				return err
			}
			secret, err := d.secretFor(c, n, time.Now().Add(keep))
			if err != nil {
				return err
			}
			return outputOf(n, secret).print(c.OutOrStdout(), output)
		},
	}
	c.Flags().DurationVar(&keep, "keep", 24*time.Hour, "how long the old secrets work on")
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

func newClientStatus(f *accountFlags, name string, to accounts.Status) *cobra.Command {
	short, long := "Approve an app that is held, or let a disabled one work again", "Enable lets an app ask members again, and its tokens open what they opened."
	if to == accounts.Disabled {
		short, long = "Stop an app at once", "Disable stops an app: members are not asked any more, and its tokens open nothing, at once.\nWhat members have allowed stays, and works again after 'client enable'."
	}
	return &cobra.Command{
		Use: name + " ID", Short: short, Long: long, Args: needs("the id of a client", false), ValidArgsFunction: f.clientIDs,
		RunE: func(c *cobra.Command, a []string) error {
			d, n, err := f.openClient(c, a[0], toChange)
			if err != nil {
				return err
			}
			defer d.Close()
			if err := d.note(&audit.Record{Action: "client-" + name, Client: n.ID}); err != nil {
				return err
			}
			if err := d.SetStatus(c.Context(), n.ID, to); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is %s.\n", n.ID, to)
			return nil
		},
	}
}

func newClientRemove(f *accountFlags) *cobra.Command {
	return &cobra.Command{
		Use: "remove ID", Short: "Remove an app that nobody has allowed anything",
		Long: `Remove deletes an app that no member has allowed anything, such as one that has registered itself and
is not wanted. An app that was allowed something stays on record; 'client disable' stops it.`,
		Args: needs("the id of a client", false), ValidArgsFunction: f.clientIDs,
		RunE: func(c *cobra.Command, a []string) error {
			d, n, err := f.openClient(c, a[0], toChange)
			if err != nil {
				return err
			}
			defer d.Close()
			if err := d.note(&audit.Record{Action: "client-remove", Client: n.ID}); err != nil {
				return err
			}
			if err := d.RemoveClient(c.Context(), n.ID); errors.Is(err, accounts.ErrUsed) {
				return usagef("members have allowed %s something, which stays on record; use 'client disable'", n.ID)
			} else if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is removed.\n", n.ID)
			return nil
		},
	}
}
