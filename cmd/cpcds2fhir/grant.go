package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/accounts"
	"cpcds2fhir/internal/audit"
)

func newGrant() *cobra.Command {
	f := &accountFlags{}
	c := &cobra.Command{
		Use:   "grant",
		Short: "Show what members have allowed apps, and end it",
		Long: `A grant is what a member has allowed an app: whose data, which kinds, until when. Members end
their own on the page /apps of the server; 'grant revoke' does it for them. It counts at
once, in all processes.`,
	}
	f.on(c)
	c.AddCommand(newGrantList(f), newGrantRevoke(f))
	return c
}

func newGrantList(f *accountFlags) *cobra.Command {
	var by accounts.GrantFilter
	var output string
	c := &cobra.Command{
		Use: "list", Short: "List grants, the newest first", Args: noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		Example: `  cpcds2fhir grant list --member p3vljheqzvqsi6hocfr7u3qkana
  cpcds2fhir grant list --client app-2xk9qj4m7w1r5t8z --ended --output json`,
		RunE: func(c *cobra.Command, _ []string) error {
			d, err := f.open(c, toLook)
			if err != nil {
				return err
			}
			defer d.Close()
			by.Patient = strings.TrimPrefix(by.Patient, "Patient/")
			grants, err := d.Grants(c.Context(), by)
			if err != nil {
				return err
			}
			type line struct {
				ID       string     `json:"id"`
				Client   string     `json:"client"`
				User     string     `json:"user,omitempty"`
				Patient  string     `json:"patient,omitempty"`
				Scopes   []string   `json:"scopes"`
				Created  time.Time  `json:"created"`
				Expires  time.Time  `json:"expires"`
				Revoked  *time.Time `json:"revoked,omitempty"`
				LastUsed *time.Time `json:"last_used,omitempty"`
			}
			at := func(t time.Time) *time.Time {
				if t.IsZero() {
					return nil
				}
				t = t.UTC()
				return &t
			}
			list := []line{}
			for _, g := range grants {
				list = append(list, line{g.ID, g.Client, g.User, g.Patient, g.Scopes, g.Created.UTC(), g.Expires.UTC(), at(g.Revoked), at(g.LastUsed)})
			}
			if output == "json" {
				return printJSON(c.OutOrStdout(), list)
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "ID\tCLIENT\tPATIENT\tSINCE\tUNTIL\tLAST USED\tSCOPES")
			for _, l := range list {
				used, until := "never", l.Expires.Format(time.DateOnly)
				if l.LastUsed != nil {
					used = l.LastUsed.Format(time.DateOnly)
				}
				if l.Revoked != nil {
					until = "revoked " + l.Revoked.Format(time.DateOnly)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Client, l.Patient, l.Created.Format(time.DateOnly), until, used, strings.Join(l.Scopes, " "))
			}
			return t.Flush()
		},
	}
	c.Flags().StringVar(&by.Client, "client", "", "only of this app")
	c.Flags().StringVar(&by.User, "user", "", "only by this user")
	c.Flags().StringVar(&by.Patient, "member", "", "only of the member `ID`")
	c.Flags().BoolVar(&by.Ended, "ended", false, "those that have expired or were revoked too")
	choiceFlag(c, &output, "output", "output format", "text", "json")
	for _, name := range []string{"client", "user", "member"} {
		cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return c
}

func newGrantRevoke(f *accountFlags) *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID...", Short: "End grants at once, with all of their tokens", Args: needs("ids of grants", true), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, a []string) error {
			d, err := f.open(c, toChange)
			if err != nil {
				return err
			}
			defer d.Close()
			grants, err := d.Grants(c.Context(), accounts.GrantFilter{})
			if err != nil {
				return err
			}
			for _, id := range a {
				r := &audit.Record{Action: "revoke", Type: "grant", ID: id}
				if i := slices.IndexFunc(grants, func(g *accounts.Grant) bool { return g.ID == id }); i >= 0 {
					r.Client = grants[i].Client
					if grants[i].Patient != "" {
						r.Members = []string{grants[i].Patient}
					}
				}
				if err := d.RevokeGrant(c.Context(), id); errors.Is(err, accounts.ErrNotFound) {
					return usagef("there is no grant %q that still counts; 'grant list' shows them", id)
				} else if err != nil {
					return err
				}
				if err := d.note(r); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%s is revoked.\n", id)
			}
			return nil
		},
	}
}
