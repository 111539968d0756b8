package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
)

func newRejectsShow() *cobra.Command {
	f := &rejectFlags{}
	c := &cobra.Command{
		Use:   "show [ID...]",
		Short: "Show rejects in full, with their raw rows and the rules they broke",
		Long: `Show prints rejects with the values of their rows. These are members' data: take care
where the output goes. Select rejects by id, or by claim, rule, file, table or run. If
several loads have a reject with the same id, use RUN/ID.`,
		Example: `  cpcds2fhir rejects show claims-000-00000-000001
  cpcds2fhir rejects show --claim 2024000123
  cpcds2fhir rejects show --rule unknown-member --file claims_march.csv
  cpcds2fhir rejects show --to ndjson:./out --output json claims-000-00000-000001 members-002-000003`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 || f.claim != "" || f.rule != "" || f.file != "" || f.table != "" || f.run != "" {
				return nil
			}
			return needs("ids of rejects, as printed by 'cpcds2fhir rejects list', or --claim, --rule, --file, --table or --run", true)(c, args)
		},
		ValidArgsFunction: f.completeIDs,
		RunE: func(c *cobra.Command, args []string) error {
			f.stopped = c.Context().Err
			return f.show(c.OutOrStdout(), args)
		},
	}
	f.register(c)
	choiceFlag(c, &f.output, "output", "output format", "text", "json")
	return c
}

// show prints the selected rejects, or those of them that have one of the ids.
func (f *rejectFlags) show(w io.Writer, ids []string) error {
	s, runs, err := f.open()
	if err != nil {
		return err
	}
	texts := ruleTexts()
	found, shown := map[string]bool{}, 0
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	err = f.each(s, runs, func(run string, r *pipeline.Reject) error {
		if len(ids) > 0 && !slices.Contains(ids, r.ID) && !slices.Contains(ids, run+"/"+r.ID) {
			return nil
		}
		shown++
		found[r.ID], found[run+"/"+r.ID] = true, true
		if f.output == "json" {
			return e.Encode(r)
		}
		fmt.Fprintf(w, "%s  %s  run %s  table %s", r.ID, s.State(run, r.ID), run, r.Table)
		writeReject(w, r, texts)
		return nil
	})
	if err != nil {
		return err
	}
	if shown == 0 && len(ids) == 0 && f.output != "json" {
		fmt.Fprintln(w, "No rejects match.")
	}
	for _, id := range ids {
		if !found[id] {
			return usagef("there is no reject %s; 'cpcds2fhir rejects list' prints the ids", id)
		}
	}
	return nil
}

// oneLine makes text of a server harmless for a terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || !unicode.IsPrint(r) }), " ")
}

// writeReject prints the claim of a reject, the rules that it broke and its rows.
func writeReject(w io.Writer, r *pipeline.Reject, texts map[string]string) {
	if r.Claim != "" {
		fmt.Fprintf(w, "  claim %s", strings.ReplaceAll(r.Claim, "\x1f", " "))
	}
	fmt.Fprintln(w)
	for _, p := range r.Problems {
		fmt.Fprintf(w, "  %s%s\n      %s\n", p.Rule, place(p, r.Input), texts[p.Rule])
		if p.Text != "" {
			fmt.Fprintf(w, "      The server says: %s\n", oneLine(p.Text))
		}
	}
	for _, row := range r.Rows {
		fmt.Fprintf(w, "  %s, row %d\n", row.Input, row.Row)
		for _, n := range slices.Sorted(maps.Keys(row.Values)) {
			fmt.Fprintf(w, "      %s = %s\n", strings.ReplaceAll(n, "\x1f", "."), row.Values[n])
		}
	}
}
