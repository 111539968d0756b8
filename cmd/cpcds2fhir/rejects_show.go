package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
)

func newRejectsShow() *cobra.Command {
	f := &rejectFlags{}
	c := &cobra.Command{
		Use:   "show ID...",
		Short: "Show rejects whole, with their raw rows and what the rules say",
		Long: `Show prints rejects with the values of their rows. These are members' data: mind
where the output goes. Where loads have rejects of the same id, RUN/ID names one.`,
		Example: `  cpcds2fhir rejects show claims-000-00000-000001
  cpcds2fhir rejects show --to ndjson:./out --output json claims-000-00000-000001 members-002-000003`,
		Args:              needs("the ids of rejects, which 'cpcds2fhir rejects list' prints", true),
		ValidArgsFunction: f.completeIDs,
		RunE: func(c *cobra.Command, args []string) error {
			s, runs, err := f.open()
			if err != nil {
				return err
			}
			texts := ruleTexts()
			found := map[string]bool{}
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			err = f.each(s, runs, func(run string, r *pipeline.Reject) error {
				if !slices.Contains(args, r.ID) && !slices.Contains(args, run+"/"+r.ID) {
					return nil
				}
				found[r.ID], found[run+"/"+r.ID] = true, true
				if f.output == "json" {
					return e.Encode(r)
				}
				w := c.OutOrStdout()
				fmt.Fprintf(w, "%s  %s  run %s  table %s\n", r.ID, s.State(run, r.ID), run, r.Table)
				for _, p := range r.Problems {
					fmt.Fprintf(w, "  %s%s\n      %s\n", p.Rule, place(p), texts[p.Rule])
				}
				for _, row := range r.Rows {
					fmt.Fprintf(w, "  %s, row %d\n", row.Input, row.Row)
					names := make([]string, 0, len(row.Values))
					for n := range row.Values {
						names = append(names, n)
					}
					slices.Sort(names)
					for _, n := range names {
						fmt.Fprintf(w, "      %s = %s\n", strings.ReplaceAll(n, "\x1f", "."), row.Values[n])
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
			for _, a := range args {
				if !found[a] {
					return usagef("no reject %s; 'cpcds2fhir rejects list' has the ids", a)
				}
			}
			return nil
		},
	}
	f.register(c)
	choiceFlag(c, &f.output, "output", "text or json", "text", "json")
	return c
}
