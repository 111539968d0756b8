package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// mappedRow is what one column becomes in one profile, as JSON.
type mappedRow struct {
	MapIDs  []string     `json:"map_ids"`
	Table   string       `json:"table"`
	Column  string       `json:"column"`
	Profile string       `json:"profile"` // of a claim; otherwise the name of the small table
	Paths   []mappedPath `json:"paths"`
	Rules   []string     `json:"rules"`
	Unused  string       `json:"unused,omitempty"` // why it is not mapped
}

type mappedPath struct {
	Path   string `json:"path"`
	System string `json:"system,omitempty"`
}

func newMapping() *cobra.Command {
	var profile, element, output string
	c := &cobra.Command{
		Use:   "mapping",
		Short: "Show what each column becomes in FHIR, and which rules apply",
		Long: `Mapping shows, for every column and profile, the FHIR paths that the column changes, their
code systems and the rules that check it, or why it is not mapped. The table is not written
by hand: a test changes one column at a time and records what changes in the resources.`,
		Example: `  cpcds2fhir mapping --element 86
  cpcds2fhir mapping --profile pharmacy --output csv`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			rows := slices.DeleteFunc(mappedRows(), func(r mappedRow) bool {
				return profile != "all" && r.Profile != profile || element != "" && r.Column != element && !slices.Contains(r.MapIDs, element)
			})
			if len(rows) == 0 {
				for _, u := range carin.Unmappeds() {
					if slices.Contains(u.MapIDs, element) {
						fmt.Fprintf(c.OutOrStdout(), "MapID %s: %s\n", element, u.Reason)
						return nil
					}
				}
				return usagef("--element %q: there is no such MapID or column%s", element, meant(element, columnNames()))
			}
			return writeMapping(c.OutOrStdout(), output, rows)
		},
	}
	choices := append([]string{"all"}, profileNames()...)
	for t := range cpcds.Claims {
		choices = append(choices, t.String())
	}
	choiceFlag(c, &profile, "profile", "only this profile or small table", choices...)
	c.Flags().StringVar(&element, "element", "", "show only this `ELEMENT`: a CPCDS MapID or a column")
	completeFlag(c, "element", cobra.FixedCompletions(columnNames(), cobra.ShellCompDirectiveNoFileComp))
	choiceFlag(c, &output, "output", "output format", "text", "json", "csv")
	return c
}

func columnNames() []string {
	var names []string
	for t := range cpcds.NumTables {
		for _, e := range cpcds.Columns(t) {
			names = append(names, e.Column())
		}
	}
	return names
}

func mappedRows() []mappedRow {
	k := carin.NewChecker(carin.V220)
	var rows []mappedRow
	for _, m := range carin.Mapping() {
		r := mappedRow{MapIDs: mapIDs(m.Element), Table: m.Element.Info().Level.Table().String(), Column: m.Element.Column(), Profile: m.Profile,
			Rules: k.RulesOf(&m)}
		for _, p := range m.Paths {
			r.Paths = append(r.Paths, mappedPath{p, m.System(p)})
		}
		if len(m.Paths) == 0 {
			r.Unused = carin.WhyUnused(m.Element)
		}
		rows = append(rows, r)
	}
	return rows
}

func writeMapping(w io.Writer, output string, rows []mappedRow) error {
	switch output {
	case "json":
		return json.NewEncoder(w).Encode(rows)
	case "csv":
		lines := [][]string{{"map_ids", "table", "column", "profile", "path", "system", "rules", "unused"}}
		for _, r := range rows {
			paths := r.Paths
			if len(paths) == 0 {
				paths = []mappedPath{{}}
			}
			for _, p := range paths {
				lines = append(lines, []string{strings.Join(r.MapIDs, " "), r.Table, r.Column, r.Profile, p.Path, p.System, strings.Join(r.Rules, " "), r.Unused})
			}
		}
		return csv.NewWriter(w).WriteAll(lines)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MAPID\tCOLUMN\tPROFILE\tPATH\tSYSTEM")
	for _, r := range rows {
		ids, column, profile := strings.Join(r.MapIDs, " "), r.Column, r.Profile
		if len(r.Paths) == 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\t(%s)\t\n", ids, column, profile, r.Unused)
		}
		for i, p := range r.Paths {
			if i > 0 {
				ids, column, profile = "", "", ""
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", ids, column, profile, p.Path, p.System)
		}
	}
	return t.Flush()
}
