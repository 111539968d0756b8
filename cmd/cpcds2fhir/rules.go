package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// listedRule is a rule as JSON.
type listedRule struct {
	ID       string   `json:"id"`
	Severity string   `json:"severity"`
	Table    string   `json:"table,omitempty"`
	Profiles []string `json:"profiles,omitempty"` // of claims; none means every profile, or a small table
	Column   string   `json:"column,omitempty"`
	MapIDs   []string `json:"map_ids,omitempty"`
	Text     string   `json:"text"`
}

func newRules() *cobra.Command {
	var profile, severity, release, output string
	c := &cobra.Command{
		Use:   "rules",
		Short: "List the rules that claims and rows are checked against",
		Long: `Rules lists every rule: what it requires, its column and CPCDS element, the profiles it
applies to, and whether breaking it rejects the claim (error) or is only counted (warning).
The ids are the same as in the account, 'rejects list' and the manifest.`,
		Example: `  cpcds2fhir rules --profile inpatient
  cpcds2fhir rules --severity warning --output json`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := carin.ParseVersion(release)
			if err != nil {
				return usageError{err}
			}
			list := slices.DeleteFunc(listRules(v), func(r listedRule) bool {
				return severity != "all" && r.Severity != severity ||
					profile != "all" && r.Profiles != nil && !slices.Contains(r.Profiles, profile) ||
					profile != "all" && r.Table != "" && r.Table != cpcds.Claims.String()
			})
			return writeRules(c.OutOrStdout(), output, list)
		},
	}
	choiceFlag(c, &profile, "profile", "only the rules of this profile", append([]string{"all"}, profileNames()...)...)
	choiceFlag(c, &severity, "severity", "only errors or only warnings", "all", "error", "warning")
	choiceFlag(c, &release, "carin", "release of the CARIN guide", "2.2.0", "2.0.0")
	choiceFlag(c, &output, "output", "output format", "text", "json", "csv")
	return c
}

func profileNames() []string {
	var names []string
	for p := range carin.NumProfiles {
		names = append(names, p.String())
	}
	return names
}

// listRules lists the rules of a release: of reading, of the engine, of the profiles.
func listRules(v *carin.Version) []listedRule {
	var list []listedRule
	for _, id := range layouts.ValueRules() {
		list = append(list, listedRule{ID: id, Severity: carin.Error.String(), Text: layouts.ValueRuleText(id)})
	}
	for _, id := range slices.Sorted(maps.Keys(pipeline.EngineRules)) {
		list = append(list, listedRule{ID: id, Severity: carin.Error.String(), Text: pipeline.EngineRules[id]})
	}
	for _, id := range slices.Sorted(maps.Keys(pipeline.EngineWarnings)) {
		list = append(list, listedRule{ID: id, Severity: carin.Warning.String(), Text: pipeline.EngineWarnings[id]})
	}
	for _, r := range carin.NewChecker(v).Rules() {
		x := listedRule{ID: r.ID, Severity: r.Severity.String(), Table: r.Table.String(), Text: r.Text}
		if r.Element != cpcds.NoElement {
			x.Column, x.MapIDs = r.Element.Column(), mapIDs(r.Element)
		}
		for _, p := range r.Profiles {
			x.Profiles = append(x.Profiles, p.String())
		}
		list = append(list, x)
	}
	return list
}

// mapIDs are the numbers of an element in the CPCDS dictionary.
func mapIDs(e cpcds.Element) []string {
	return strings.FieldsFunc(e.Info().MapIDs, func(r rune) bool { return r == ';' })
}

func writeRules(w io.Writer, output string, list []listedRule) error {
	switch output {
	case "json":
		return json.NewEncoder(w).Encode(list)
	case "csv":
		rows := [][]string{{"id", "severity", "table", "profiles", "column", "map_ids", "text"}}
		for _, r := range list {
			rows = append(rows, []string{r.ID, r.Severity, r.Table, strings.Join(r.Profiles, " "), r.Column, strings.Join(r.MapIDs, " "), r.Text})
		}
		return csv.NewWriter(w).WriteAll(rows)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RULE\tSEVERITY\tMAPID\tPROFILES\tREQUIREMENT")
	for _, r := range list {
		profiles := strings.Join(r.Profiles, " ")
		switch {
		case r.Table != "" && r.Table != cpcds.Claims.String():
			profiles = r.Table
		case len(r.Profiles) == 0 || len(r.Profiles) == int(carin.NumProfiles):
			profiles = "all"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", r.ID, r.Severity, strings.Join(r.MapIDs, " "), profiles, r.Text)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, many(int64(len(list)), "rule"))
	return nil
}
