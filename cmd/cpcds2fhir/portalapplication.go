package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/portal"
	"cpcds2fhir/internal/portal/lifecycle"
)

func newPortalApplication(f *portalFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "application",
		Short: "List applications, show one, decide",
		Long: `An application is what a developer asks of the agency: access to the sandbox, or an app in
production. docs/portal.md has the table of everything that can happen to one.`,
	}
	c.AddCommand(newPortalApplicationList(f), newPortalApplicationShow(f), newPortalApplicationMove(f))
	return c
}

// applicationOutput is an application for people's scripts. Answers are left to the browser and to 'portal export'.
type applicationOutput struct {
	ID           string     `json:"id"`
	Kind         string     `json:"kind"`
	Source       string     `json:"source"`
	State        string     `json:"state"`
	Organisation string     `json:"organisation,omitempty"`
	App          string     `json:"app,omitempty"`
	AppName      string     `json:"app_name,omitempty"`
	Assignee     string     `json:"assignee,omitempty"`
	Revision     int        `json:"revision"`
	Version      int        `json:"version"`
	Created      time.Time  `json:"created"`
	Submitted    *time.Time `json:"submitted,omitempty"`
	Due          *time.Time `json:"due,omitempty"`
	Moves        []string   `json:"moves,omitempty"`
	Events       []stepDone `json:"events,omitempty"`
}

type stepDone struct {
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"`
	To     string    `json:"to,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

func applicationOf(x *portal.Application) *applicationOutput {
	o := &applicationOutput{ID: x.ID, Kind: string(x.Kind), Source: x.Source, State: string(x.State), Organisation: x.Org, App: x.App, AppName: x.AppName,
		Assignee: x.Assignee, Revision: x.Revision, Version: x.Version, Created: x.Created.UTC()}
	if !x.Submitted.IsZero() {
		o.Submitted = &x.Submitted
	}
	if !x.Due.IsZero() {
		o.Due = &x.Due
	}
	return o
}

func newPortalApplicationList(f *portalFlags) *cobra.Command {
	var kind, output string
	var open bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List applications, the most urgent first",
		Args:  noArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: f.with(func(c *cobra.Command, d *counter, _ []string) error {
			filter := &portal.Filter{Kind: lifecycle.Kind(strings.TrimPrefix(kind, "all")), Open: open, Limit: 10_000}
			if output == "csv" {
				return d.ExportCSV(c.Context(), filter, c.OutOrStdout())
			}
			list, err := d.Queue(c.Context(), filter)
			if err != nil {
				return err
			}
			all, rows := []*applicationOutput{}, [][]string(nil)
			for _, x := range list {
				all = append(all, applicationOf(x))
				rows = append(rows, []string{x.ID, string(x.Kind), string(x.State), x.AppName, onDay(x.Submitted), onDay(x.Due), x.Assignee})
			}
			return printRows(c.OutOrStdout(), output, all, "NUMBER KIND STATE APP SUBMITTED DUE ASSIGNEE", rows)
		}),
	}
	choiceFlag(c, &kind, "kind", "what they are for", "all", "sandbox", "production")
	c.Flags().BoolVar(&open, "open", false, "only those that staff have something to do with")
	choiceFlag(c, &output, "output", "output format", "text", "json", "csv")
	return c
}

func newPortalApplicationShow(f *portalFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "show NUMBER",
		Short: "Show where an application stands, what happened to it, and what can be done",
		Args:  needs("the number of an application", false), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: f.with(func(c *cobra.Command, d *counter, a []string) error {
			x, err := d.Application(c.Context(), a[0])
			if err != nil {
				return err
			}
			o, err := d.shown(c, x)
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), output)
		}),
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}

// shown is an application with its history.
func (d *counter) shown(c *cobra.Command, x *portal.Application) (*applicationOutput, error) {
	o := applicationOf(x)
	moves, err := d.Moves(c.Context(), x)
	if err != nil {
		return nil, err
	}
	for _, m := range moves {
		text := string(m.Action)
		for _, n := range m.Lacks {
			text += " (lacks " + string(n) + ")"
		}
		o.Moves = append(o.Moves, text)
	}
	events, err := d.Events(c.Context(), x.ID)
	for _, e := range events {
		o.Events = append(o.Events, stepDone{e.At.UTC(), e.Actor, e.Action, string(e.To), e.Reason})
	}
	return o, err
}

func (o *applicationOutput) print(w io.Writer, output string) error {
	if output == "json" {
		return printJSON(w, o)
	}
	fmt.Fprintf(w, "%s  %s, %s, revision %d\n\n", o.ID, o.Kind, o.State, o.Revision)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range o.Events {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", e.At.Format(time.DateTime), e.Actor, e.Action, e.To, e.Reason)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(o.Moves) > 0 {
		fmt.Fprintf(w, "\nWhat can be done: %s\n", strings.Join(o.Moves, ", "))
	}
	return nil
}

func newPortalApplicationMove(f *portalFlags) *cobra.Command {
	in := &portal.Input{}
	var output string
	c := &cobra.Command{
		Use:   "move NUMBER ACTION",
		Short: "Do something with an application, as a reviewer does in the browser",
		Long: `Move does one step: take, ask, approve, suspend and so on. 'show' lists what can be done
with an application, and what each still lacks. A step that the table does not have for the state, or for
your role, changes nothing.`,
		Example: `  cpcds2fhir portal application move P-7K3M-Q2XD take
  cpcds2fhir portal application move P-7K3M-Q2XD ask --reason "Which company runs your servers?"
  cpcds2fhir portal application move P-7K3M-Q2XD suspend --reason "Tokens were found in public code." --criterion S4`,
		Args: func(_ *cobra.Command, a []string) error {
			if len(a) != 2 {
				return usagef("portal application move needs the number of an application and an action")
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, a []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(a) == 1 {
				return actions(), cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: f.with(func(c *cobra.Command, d *counter, a []string) error {
			x, err := d.Application(c.Context(), a[0])
			if err != nil {
				return err
			}
			in.Version = x.Version
			if x, err = d.Move(c.Context(), a[0], lifecycle.Action(a[1]), in); err != nil {
				return err
			}
			o, err := d.shown(c, x)
			if err != nil {
				return err
			}
			return o.print(c.OutOrStdout(), output)
		}),
	}
	c.Flags().StringVar(&in.Reason, "reason", "", "why, as the applicant reads it")
	c.Flags().StringVar(&in.Criterion, "criterion", "", "`CODE` of the ground for a refusal or suspension")
	c.Flags().StringVar(&in.Note, "note", "", "what only staff read")
	c.Flags().StringVar(&in.Conditions, "conditions", "", "of an approval")
	for _, name := range []string{"reason", "criterion", "note", "conditions"} {
		cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	choiceFlag(c, &output, "output", "output format", "text", "json")
	return c
}
