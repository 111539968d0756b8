package main

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/audit"
)

// yearMetrics are what CMS asks payers to report each year about their Patient Access API (CMS-0057-F, 42 CFR
// 431.60(h)), and how many went to several apps.
type yearMetrics struct {
	Year         int `json:"year"`
	Members      int `json:"members"`        // whose data went to an app
	MoreThanOnce int `json:"more_than_once"` // whose data went to an app on more than one day
	SeveralApps  int `json:"several_apps"`   // whose data went to two apps or more
	Apps         int `json:"apps"`           // that got data of a member
}

func newAuditMetrics(f *auditFlags) *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "metrics",
		Short: "Count the members whose data went to apps, by year, as CMS asks",
		Long: `Metrics counts, for each year, the unique members whose data went to an app through the
API, those whose data did on more than one day, and those whose data went to several
apps. It counts answers with data (status 200) to apps that have signed in; reads by
operators and with 'serve --open' do not count.`,
		Example: `  cpcds2fhir audit metrics
  cpcds2fhir audit metrics --since 2026-01-01 --until 2026-12-31 --output csv`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := f.metrics()
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			switch output {
			case "json":
				return printJSON(w, list)
			case "csv":
				t := csv.NewWriter(w)
				_ = t.Write([]string{"year", "members", "more_than_once", "several_apps", "apps"}) // t.Error says so
				for _, y := range list {
					_ = t.Write([]string{strconv.Itoa(y.Year), strconv.Itoa(y.Members), strconv.Itoa(y.MoreThanOnce), strconv.Itoa(y.SeveralApps), strconv.Itoa(y.Apps)})
				}
				t.Flush()
				return t.Error()
			}
			fmt.Fprintf(w, "%-6s %10s %16s %14s %6s\n", "year", "members", "more than once", "several apps", "apps")
			for _, y := range list {
				fmt.Fprintf(w, "%-6d %10s %16s %14s %6s\n", y.Year, comma(int64(y.Members)), comma(int64(y.MoreThanOnce)), comma(int64(y.SeveralApps)), comma(int64(y.Apps)))
			}
			return nil
		},
	}
	c.Flags().StringVar(&f.since, "since", "", "from this `DATE` on")
	c.Flags().StringVar(&f.until, "until", "", "before the end of this `DATE`")
	choiceFlag(c, &output, "output", "output format", "text", "json", "csv")
	for _, name := range []string{"since", "until"} {
		cobra.CheckErr(c.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return c
}

// got is what is known of a member in a year.
type got struct {
	app, day     string // the first
	apps, repeat bool   // there were others
}

// ofMember reports whether a reference is to what belongs to a member: to read an organization alone shows nobody's data.
func ofMember(ref string) bool {
	return !strings.HasPrefix(ref, "Organization/") && !strings.HasPrefix(ref, "Practitioner/")
}

// metrics counts the records, year by year.
func (f *auditFlags) metrics() ([]yearMetrics, error) {
	members, apps := map[int]map[string]got{}, map[int]map[string]bool{}
	err := f.each(func(r *audit.Record) error {
		if r.Operator || r.Status != 200 || !slices.ContainsFunc(r.Resources, ofMember) || len(r.At) < len("2006-01-02") {
			return nil
		}
		app := cmp.Or(r.Client, "unknown") // tokens of other servers need not name it
		year, err := strconv.Atoi(r.At[:4])
		if err != nil {
			return fmt.Errorf("record %d of the audit log has no time", r.Number)
		}
		if members[year] == nil {
			members[year], apps[year] = map[string]got{}, map[string]bool{}
		}
		day := r.At[:len("2006-01-02")]
		for _, m := range r.Members {
			g, known := members[year][m]
			if !known {
				g = got{app: app, day: day}
			}
			g.apps, g.repeat = g.apps || g.app != app, g.repeat || g.day != day
			members[year][m] = g
			apps[year][app] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := []yearMetrics{}
	for _, year := range slices.Sorted(maps.Keys(members)) {
		y := yearMetrics{Year: year, Members: len(members[year]), Apps: len(apps[year])}
		for _, g := range members[year] {
			if g.apps {
				y.SeveralApps++
			}
			if g.repeat {
				y.MoreThanOnce++
			}
		}
		list = append(list, y)
	}
	return list, nil
}
