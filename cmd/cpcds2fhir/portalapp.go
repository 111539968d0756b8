package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/portal"
)

func newPortalApp(f *portalFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "app",
		Short: "List apps, and show one with its clients and what it has asked for",
		Long: `An app has a client in the sandbox and, once it is approved, another one in production.
To suspend, reinstate or revoke an app, move its application: 'portal application move'.`,
	}
	c.AddCommand(newPortalAppList(f), newPortalAppShow(f))
	return c
}

// appOutput is an app for people's scripts. It has no secret.
type appOutput struct {
	ID           string         `json:"id"`
	Organisation string         `json:"organisation"`
	Name         string         `json:"name"`
	Sandbox      string         `json:"sandbox_client,omitempty"`
	Production   string         `json:"production_client,omitempty"`
	Created      time.Time      `json:"created"`
	Shown        []portal.Shown `json:"shown_in_sandbox,omitempty"`
	Missing      []string       `json:"evidence_missing,omitempty"`
}

func appOf(x *portal.App) *appOutput {
	return &appOutput{ID: x.ID, Organisation: x.Org, Name: x.Settings.Name, Sandbox: x.Sandbox, Production: x.Production, Created: x.Created.UTC()}
}

func newPortalAppList(f *portalFlags) *cobra.Command {
	var org, output string
	c := &cobra.Command{
		Use:   "list",
		Short: "List apps",
		Args:  noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: f.with(func(c *cobra.Command, d *counter, _ []string) error {
			all, rows := []*appOutput{}, [][]string(nil)
			orgs := []string{org}
			if org == "" {
				list, err := d.Organisations(c.Context())
				if err != nil {
					return err
				}
				orgs = nil
				for _, o := range list {
					orgs = append(orgs, o.ID)
				}
			}
			for _, id := range orgs {
				list, err := d.Apps(c.Context(), id)
				if err != nil {
					return err
				}
				for _, x := range list {
					all = append(all, appOf(x))
					rows = append(rows, []string{x.ID, x.Settings.Name, x.Org, x.Sandbox, x.Production})
				}
			}
			return printRows(c.OutOrStdout(), output, all, "ID NAME ORGANISATION SANDBOX PRODUCTION", rows)
		}),
	}
	c.Flags().StringVar(&org, "organisation", "", "only those of the organisation with this `ID`")
	cobra.CheckErr(c.RegisterFlagCompletionFunc("organisation", cobra.NoFileCompletions))
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

func newPortalAppShow(f *portalFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show an app, and what it has done in the sandbox",
		Args:  needs("the id of an app", false), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: f.with(func(c *cobra.Command, d *counter, a []string) error {
			x, err := d.App(c.Context(), a[0])
			if err != nil {
				return err
			}
			o := appOf(x)
			if o.Shown, o.Missing, err = d.Evidence(c.Context(), x.ID); err != nil {
				return err
			}
			if output == "json" {
				return printJSON(c.OutOrStdout(), o)
			}
			pairs := [][2]string{{"id", o.ID}, {"name", o.Name}, {"organisation", o.Organisation}, {"sandbox client", o.Sandbox},
				{"production client", o.Production}, {"created", onDay(o.Created)}}
			for _, s := range o.Shown {
				pairs = append(pairs, [2]string{"shown", fmt.Sprintf("%s, %d times", s.Interaction, s.Count)})
			}
			for _, m := range o.Missing {
				pairs = append(pairs, [2]string{"missing", m})
			}
			return printPairs(c.OutOrStdout(), pairs)
		}),
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}
