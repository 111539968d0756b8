package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/api"
	"cpcds2fhir/internal/sandbox"
	"cpcds2fhir/internal/site"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline/statefile"
	"cpcds2fhir/schemas/carin"
)

func newSandbox() *cobra.Command {
	var dir, listen string
	var reset bool
	c := &cobra.Command{
		Use:   "sandbox",
		Short: "Try the Patient Access API: members, logins, apps, the developers' portal in one command",
		Long: `Sandbox makes synthetic members with histories of all kinds of claims, loads them into a store,
and serves the API with its authorization server, the pages for members, the developers'
portal and an example app. It prints the addresses and some logins. Ctrl-C ends it; the next start finds everything
again, also what apps were allowed.

DIR/sandbox.json has all of it for scripts: addresses, logins, and apps that are registered
for your own program (public, confidential, and of Utah's dialect), with redirects to any
port of a loopback address. See docs/sandbox.md.

Logins and secrets are the same in every sandbox. Nothing in it is secret, and nothing about
real people belongs in it.`,
		Example: `  cpcds2fhir sandbox
  cpcds2fhir sandbox --dir /tmp/sandbox --listen 127.0.0.1:0
  cpcds2fhir sandbox --reset`,
		Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			err := runSandbox(c.Context(), c.OutOrStdout(), dir, listen, reset)
			if c.Context().Err() != nil && errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		},
	}
	c.Flags().StringVar(&dir, "dir", "./sandbox", "keep everything in `DIR`")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "listen on `ADDRESS`, of a loopback interface; port 0 is a free one")
	c.Flags().BoolVar(&reset, "reset", false, "begin anew: remove what an earlier sandbox has left in DIR")
	cobra.CheckErr(c.MarkFlagDirname("dir"))
	cobra.CheckErr(c.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions))
	return c
}

// sandboxMark is a file that marks a folder as a sandbox's, so that it may be used again and reset.
const sandboxMark = ".cpcds2fhir-sandbox"

func runSandbox(ctx context.Context, w io.Writer, dir, listen string, reset bool) error {
	if !isLoopback(hostOf(listen)) {
		return usagef("--listen %s: a sandbox listens on a loopback address only, such as 127.0.0.1:8080", listen)
	}
	if err := sandboxFolder(dir, reset); err != nil {
		return err
	}
	file := filepath.Join(dir, "sandbox.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) { // it is there as long as the sandbox answers
		return environmentf("remove the sandbox.json of before: %w", err)
	}
	defer os.Remove(file)
	extract, storeDir, key := filepath.Join(dir, "extract"), filepath.Join(dir, "fhir-store"), filepath.Join(dir, "id-key")
	if err := sandbox.Extract(extract, time.Now()); err != nil {
		return environmentf("%w", err)
	}
	if err := makeKey(key); err != nil {
		return environmentf("make the key of ids: %w", err)
	}
	f := &loadFlags{to: "store:" + storeDir, idKey: key, carin: "2.2.0", profiles: carin.Profiles[0], mode: "strict", workers: min(runtime.NumCPU(), mostWorkers),
		memory: "512MiB", output: "text", demo: true, quiet: true, manifest: filepath.Join(dir, "manifest.json")}
	if err := f.load(ctx, []string{extract}, io.Discard); err != nil {
		return err
	}
	c := defaultServe()
	c.Store, c.Listen, c.Admin, c.Log = storeDir, listen, "", "console"
	c.Embedded.Enabled, c.Embedded.Login.Passwords, c.Embedded.Registration = true, true, true
	c.Embedded.Agency = agencyConfig{Name: "Sandbox Medicaid"}
	c.demo = demoLogins()
	c.portalOf()
	c.ready = func(ctx context.Context, who *authorization, st store.Handle) error {
		made, err := seedSandbox(ctx, who.embedded, st, c)
		if err != nil {
			return err
		}
		err = statefile.Replace(file, func(w *bufio.Writer) error { return printJSON(w, made) })
		if err != nil {
			return environmentf("write sandbox.json: %w", err)
		}
		made.print(w, dir)
		return nil
	}
	if err := c.check(); err != nil {
		return err
	}
	return runServe(ctx, c)
}

// sandboxFolder makes the folder of a sandbox, or finds it again.
func sandboxFolder(dir string, reset bool) error {
	if err := folder("sandbox in "+dir, dir); err != nil {
		return err
	}
	mark := filepath.Join(dir, sandboxMark)
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		if _, err := os.Stat(mark); err != nil {
			return usagef("%s is not empty and not of a sandbox; name another folder with --dir", dir)
		}
		if reset {
			if err := os.RemoveAll(dir); err != nil {
				return environmentf("remove the sandbox: %w", err)
			}
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return environmentf("make the folder of the sandbox: %w", err)
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return environmentf("make the folder of the sandbox: %w", err)
	}
	return nil
}

func demoLogins() (list []site.Login) {
	for _, l := range sandbox.Logins() {
		list = append(list, site.Login{Login: l.Login, Password: l.Password, Note: l.Description})
	}
	return list
}

// sandboxFile is a sandbox.json.
type sandboxFile struct {
	FHIRBase   string                   `json:"fhir_base"`
	Issuer     string                   `json:"issuer"`
	ExampleApp string                   `json:"example_app"`
	Apps       string                   `json:"connected_apps"`
	Portal     string                   `json:"portal"`
	Developers []sandboxDeveloper       `json:"developers"`
	Members    []sandboxMember          `json:"members"`
	Clients    map[string]sandboxClient `json:"clients"`
}

type sandboxMember struct {
	Login       string   `json:"login"`
	Password    string   `json:"password"`
	Patient     string   `json:"patient"`
	PatientID   string   `json:"patient_id"`
	Name        string   `json:"name"`
	Represents  []string `json:"represents,omitempty"` // ids of patients
	Description string   `json:"description"`
}

type sandboxClient struct {
	ID           string   `json:"id"`
	Secret       string   `json:"secret,omitempty"`
	RedirectURIs []string `json:"redirect_uris"`
	AnyPort      bool     `json:"any_port"`
}

// seedSandbox registers the apps, the logins and whom they speak for, as far as they are not there.
func seedSandbox(ctx context.Context, e *embedded, st store.Handle, c *serveConfig) (*sandboxFile, error) {
	origin := c.issuer()
	made := &sandboxFile{FHIRBase: c.Base, Issuer: origin, ExampleApp: origin + "/app/", Apps: origin + "/apps", Portal: origin + "/", Clients: map[string]sandboxClient{}}
	names := map[string]string{sandbox.PublicClient: "public", sandbox.ConfidentialClient: "confidential", sandbox.UtahClient: "utah", sandbox.ExampleClient: "example"}
	for _, x := range sandbox.Clients(origin) {
		if err := seedClient(ctx, e.accounts, &x); err != nil {
			return nil, err
		}
		made.Clients[names[x.ID]] = sandboxClient{x.ID, x.Secret, x.RedirectURIs, x.Native}
	}
	for _, l := range sandbox.Logins() {
		u, err := e.accounts.SetPassword(ctx, l.Login, l.Password)
		if err != nil {
			return nil, err
		}
		m := sandboxMember{Login: l.Login, Password: l.Password, Name: l.Name, Description: l.Description}
		for i, member := range append([]string{l.Member}, l.Represents...) {
			patient, err := patientOf(ctx, st, member)
			if err != nil {
				return nil, err
			}
			role := "self"
			if i > 0 {
				role, m.Represents = "representative", append(m.Represents, patient)
			} else {
				m.Patient, m.PatientID = patient, patient
			}
			if err := e.accounts.AddLink(ctx, &accounts.Link{User: u.ID, Patient: patient, Role: role, Source: "sandbox", Created: time.Now()}); err != nil {
				return nil, err
			}
		}
		made.Members = append(made.Members, m)
	}
	e.portal.TestMembers = testMembers(made.Members) // nobody is served yet
	var err error
	if made.Developers, err = c.portal.seed(ctx, e.portal); err != nil {
		return nil, err
	}
	e.pages["/app/"] = sandbox.App(sandbox.AppConfig{FHIRBase: c.Base, ClientID: sandbox.ExampleClient, RedirectURI: origin + "/app/"})
	return made, nil
}

// seedClient registers a client, or brings it up to date.
func seedClient(ctx context.Context, a *accounts.Accounts, x *sandbox.Client) error {
	x.Created, x.Changed = time.Now(), time.Now()
	err := a.AddClient(ctx, &x.Client)
	if errors.Is(err, accounts.ErrExists) { // the address may have changed
		var before *accounts.Client
		if before, err = a.Client(ctx, x.ID); err == nil {
			x.Status = before.Status
			err = a.UpdateClient(ctx, &x.Client)
		}
	}
	if err != nil || x.Secret == "" {
		return err
	}
	there, err := a.CheckSecret(ctx, x.ID, x.Secret)
	if err == nil && !there {
		err = a.AddSecret(ctx, x.ID, x.Secret, time.Time{})
	}
	return err
}

// patientOf finds the Patient of a member of the extract.
func patientOf(ctx context.Context, st store.Handle, member string) (id string, err error) {
	l := &api.Local{Store: st}
	err = l.Each(ctx, "Patient?identifier="+member, func(text []byte) error {
		var p struct{ ID string }
		err := json.Unmarshal(text, &p)
		id = p.ID
		return err
	})
	if err == nil && id == "" {
		err = errors.New("a member of the sandbox is not in its store; begin anew with --reset")
	}
	return id, err
}

func (f *sandboxFile) print(w io.Writer, dir string) {
	fmt.Fprintf(w, `The sandbox is ready.

  Example app      %s
  Connected apps   %s
  Portal           %s
  FHIR base        %s
  SMART            %s/.well-known/smart-configuration

  Sign in as       password                 who
`, f.ExampleApp, f.Apps, f.Portal, f.FHIRBase, f.FHIRBase)
	for _, m := range f.Members[:min(2, len(f.Members))] {
		fmt.Fprintf(w, "  %-16s %-24s %s\n", m.Login, m.Password, m.Description)
	}
	fmt.Fprintf(w, "\n  At the portal            password         who\n")
	for _, d := range f.Developers {
		fmt.Fprintf(w, "  %-24s %-16s %s\n", d.Email, d.Password, d.Description)
	}
	fmt.Fprintf(w, "\nMore logins, and apps for your own program, are in %s. Ctrl-C ends the sandbox.\n\n", filepath.Join(dir, "sandbox.json"))
}
