package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
)

func newPortal() *cobra.Command {
	f := &portalFlags{}
	c := &cobra.Command{
		Use:   "portal",
		Short: "Look after the developers' portal: people, apps, applications, backups",
		Long: `The developers' portal of a server is where developers register, try their apps in the
sandbox and apply for production, and where the agency's staff decide. All of that is done in
the browser; 'portal' does the same at the command line, also while the server runs. What it
changes is recorded with the name of your account on this machine.

The first administrator is made here:
  cpcds2fhir portal user add ada@example.gov --name "Ada Park" --staff administrator

See docs/portal.md.`,
	}
	c.PersistentFlags().StringVar(&f.config, "config", "serve.yaml", "of the server with the configuration `FILE`")
	cobra.CheckErr(c.MarkPersistentFlagFilename("config", "yaml", "yml"))
	c.AddCommand(newPortalUser(f), newPortalApp(f), newPortalApplication(f), newPortalExport(f), newPortalImport(f))
	return c
}

// portalFlags choose the portal that a command works on.
type portalFlags struct{ config string }

// counter is an open portal, and who acts in it.
type counter struct {
	*portal.Actor
	closers []func() error
}

// open opens the portal. The caller closes it.
func (f *portalFlags) open(c *cobra.Command) (*counter, error) {
	cfg, err := readServe(f.config)
	if err != nil {
		return nil, err
	}
	if !cfg.Portal.Enabled {
		return nil, usagef("%s has no portal; set portal.enabled", f.config)
	}
	if err := cfg.Portal.check(cfg); err != nil {
		return nil, err
	}
	if cfg.Base == "" { // on a loopback address
		cfg.Base = cfg.url(cfg.Listen)
	}
	a, err := cfg.Embedded.Accounts.openAccounts(c.Context(), cfg.Store, toCreate)
	if err != nil {
		return nil, err
	}
	p, closed, err := cfg.openPortal(c.Context(), a, portal.Events{})
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return &counter{p.Operator(userName()), []func() error{closed, a.Close}}, nil
}

func (d *counter) Close() {
	for _, f := range d.closers {
		_ = f() // everything is committed
	}
}

// with makes what a command runs: it opens the portal, closes it, and says what a refusal means.
func (f *portalFlags) with(do func(c *cobra.Command, d *counter, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		d, err := f.open(c)
		if err != nil {
			return err
		}
		defer d.Close()
		return portalError(do(c, d, args))
	}
}

// printRows prints a list as a table, or all of it as JSON.
func printRows(w io.Writer, output string, all any, header string, rows [][]string) error {
	if output == "json" {
		return printJSON(w, all)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(header, " ", "\t"))
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// printPairs prints names and values, without those that are empty.
func printPairs(w io.Writer, pairs [][2]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, x := range pairs {
		if x[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", x[0], x[1])
		}
	}
	return t.Flush()
}

// portalError says what a refusal of the portal means at the command line.
func portalError(err error) error {
	var need *portal.NeedError
	var input *portal.InputError
	var illegal *lifecycle.IllegalError
	var role *lifecycle.RoleError
	var denied *portal.DeniedError
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		return usagef("there is nothing with this id")
	case errors.Is(err, accounts.ErrExists):
		return usagef("there is one already")
	case errors.Is(err, portal.ErrStale):
		return fmt.Errorf("%w; look at it, and try again", err)
	case errors.As(err, &need), errors.As(err, &input), errors.As(err, &illegal), errors.As(err, &role), errors.As(err, &denied):
		return usagef("%s", err)
	}
	return err
}

// actions are those that staff can make by hand, for help and completion.
func actions() (list []string) {
	for _, m := range lifecycle.Moves {
		if slices.ContainsFunc(m.By, func(r lifecycle.Role) bool { return r == lifecycle.Reviewer || r == lifecycle.Administrator }) && !slices.Contains(list, string(m.Action)) {
			list = append(list, string(m.Action))
		}
	}
	return list
}

// onDay writes an instant as lists do, "" for none.
func onDay(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}
