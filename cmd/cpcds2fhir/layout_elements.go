package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// elementRow is an element as JSON.
type elementRow struct {
	Column     string   `json:"column"`
	Table      string   `json:"table"`
	Level      string   `json:"level"`
	Kind       string   `json:"kind"`
	MapIDs     []string `json:"map_ids"`
	Definition string   `json:"definition"`
	Codes      []string `json:"codes,omitempty"`
}

func newLayoutElements() *cobra.Command {
	var output string
	var names []string
	for t := range cpcds.NumTables {
		names = append(names, t.String())
	}
	c := &cobra.Command{
		Use:   "elements [TABLE]",
		Short: "List the elements that columns can be bound to",
		Long: `Elements lists the canonical columns of all tables, or of one. A layout binds the columns
of a source to them. MapID is an element's number in the CPCDS dictionary.`,
		Example:           "  cpcds2fhir layout elements coverages",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(c *cobra.Command, args []string) error {
			var rows []elementRow
			for t := range cpcds.NumTables {
				if len(args) == 0 || args[0] == t.String() {
					rows = append(rows, elementsOf(t)...)
				}
			}
			if rows == nil {
				return usagef("unknown table %q; the tables are %s", args[0], strings.Join(names, ", "))
			}
			return writeElements(c, output, rows)
		},
	}
	choiceFlag(c, &output, "output", "output format", "text", "json", "csv")
	return c
}

func elementsOf(t cpcds.Table) []elementRow {
	var rows []elementRow
	for _, e := range cpcds.Columns(t) {
		i := e.Info()
		rows = append(rows, elementRow{
			Column: i.Column, Table: t.String(), Level: i.Level.String(), Kind: i.Kind.String(),
			MapIDs:     mapIDs(e),
			Definition: i.Definition, Codes: layouts.Codes(e),
		})
	}
	return rows
}

func writeElements(c *cobra.Command, output string, rows []elementRow) error {
	w := c.OutOrStdout()
	switch output {
	case "json":
		return json.NewEncoder(w).Encode(rows)
	case "csv":
		out := csv.NewWriter(w)
		lines := [][]string{{"column", "map_ids", "table", "level", "kind", "definition"}}
		for _, r := range rows {
			lines = append(lines, []string{r.Column, strings.Join(r.MapIDs, ";"), r.Table, r.Level, r.Kind, r.Definition})
		}
		return out.WriteAll(lines)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table := ""
	for _, r := range rows {
		if r.Table != table {
			if table != "" {
				fmt.Fprintln(tw)
			}
			table = r.Table
			fmt.Fprintf(tw, "%s\tLEVEL\tKIND\tMAPID\tDEFINITION\n", strings.ToUpper(table))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", r.Column, r.Level, r.Kind, strings.Join(r.MapIDs, ","), r.Definition)
	}
	return tw.Flush()
}
