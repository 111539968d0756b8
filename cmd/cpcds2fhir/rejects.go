package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

func newRejects() *cobra.Command {
	c := &cobra.Command{
		Use:   "rejects",
		Short: "Show what was rejected and why, and replay it after a fix",
		Long: `Rejects are claims and rows that could not become valid resources. They are kept in
the target's state folder with the rules they broke, the columns at fault and the raw
rows, in files that only you can read. Once the layout or the small tables are fixed,
'rejects replay' processes only these again.`,
	}
	c.AddCommand(newRejectsList(), newRejectsShow(), newRejectsReplay(), newRejectsPurge())
	return c
}

// rejectFlags choose rejects.
type rejectFlags struct {
	to, state, run, rule, table, claim, file, status, output string

	stopped func() error // of the command's context
}

func (f *rejectFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.to, "to", defaultTarget, "use the rejects of this `TARGET`")
	fl.StringVar(&f.state, "state", "", "find the rejects in `DIR` (default: the target's name with .state)")
	fl.StringVar(&f.run, "run", "", "only the rejects of this run")
	fl.StringVar(&f.rule, "rule", "", "only those that broke this rule")
	fl.StringVar(&f.table, "table", "", "only those of this table")
	fl.StringVar(&f.claim, "claim", "", "only those of the claim with this `KEY`")
	fl.StringVar(&f.file, "file", "", "only those with a row from this `FILE`: its path or just its name")
	completeTarget(c)
	completeRejects(c)
}

func (f *rejectFlags) open() (*rejects.Store, []string, error) {
	t, err := parseTarget(f.to)
	if err != nil {
		return nil, nil, err
	}
	state := t.state(f.state)
	if err := t.check(state); err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(state); err != nil {
		return nil, nil, fmt.Errorf("no loads are known for %s: %w", f.to, err)
	}
	s, err := rejects.OpenStore(state)
	if err != nil {
		return nil, nil, err
	}
	runs, err := s.Runs()
	if err != nil {
		return nil, nil, err
	}
	runs = slices.DeleteFunc(runs, isReplay)
	if f.run != "" {
		if !slices.Contains(runs, f.run) {
			return nil, nil, usagef("--run %q: no such run has rejects", f.run)
		}
		runs = []string{f.run}
	}
	return s, runs, f.known(s, runs)
}

// known rejects unknown names of rules and tables: an empty list would look like good news.
func (f *rejectFlags) known(s *rejects.Store, runs []string) error {
	if names := tableNames(); f.table != "" && !slices.Contains(names, f.table) {
		return usagef("--table %q: the tables are %s%s", f.table, strings.Join(names, ", "), meant(f.table, names))
	}
	names := ruleNames()
	if f.rule == "" || slices.Contains(names, f.rule) {
		return nil
	}
	// Another release of the program may have had the rule.
	found := errors.New("found")
	for _, run := range runs {
		err := s.Heads(run, func(r *pipeline.Reject) error {
			if broke(r, f.rule) {
				return found
			}
			return nil
		})
		if errors.Is(err, found) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return usagef("--rule %q: there is no such rule%s", f.rule, meant(f.rule, names))
}

func tableNames() []string {
	var names []string
	for t := range cpcds.NumTables {
		names = append(names, t.String())
	}
	return names
}

func ruleNames() []string { return slices.Sorted(maps.Keys(ruleTexts())) }

// each calls g for every reject that the flags choose, with its rows.
func (f *rejectFlags) each(s *rejects.Store, runs []string, g func(run string, r *pipeline.Reject) error) error {
	return f.chosen(s, runs, s.Each, g)
}

// heads calls g for every reject that the flags choose, without its rows.
func (f *rejectFlags) heads(s *rejects.Store, runs []string, g func(run string, r *pipeline.Reject) error) error {
	return f.chosen(s, runs, s.Heads, g)
}

func (f *rejectFlags) chosen(s *rejects.Store, runs []string, read func(run string, g func(*pipeline.Reject) error) error, g func(run string, r *pipeline.Reject) error) error {
	for _, run := range runs {
		err := read(run, func(r *pipeline.Reject) error {
			if f.stopped != nil {
				if err := f.stopped(); err != nil {
					return err
				}
			}
			switch {
			case f.table != "" && r.Table != f.table, f.rule != "" && !broke(r, f.rule), f.claim != "" && r.Claim != f.claim,
				f.file != "" && !f.inFile(r), f.status != "" && f.status != "all" && f.status != string(s.State(run, r.ID)):
				return nil
			}
			return g(run, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inFile reports whether a row of a reject is of the file.
func (f *rejectFlags) inFile(r *pipeline.Reject) bool {
	return slices.ContainsFunc(append(slices.Clone(r.Inputs), r.Input), func(path string) bool {
		return path == f.file || filepath.Clean(path) == filepath.Clean(f.file) || filepath.Base(path) == f.file
	})
}

func broke(r *pipeline.Reject, rule string) bool {
	return slices.ContainsFunc(r.Problems, func(p pipeline.RejectProblem) bool { return p.Rule == rule })
}

// brokenRules are the rules that a reject broke, each once.
func brokenRules(r *pipeline.Reject) map[string]bool {
	rules := map[string]bool{}
	for _, p := range r.Problems {
		rules[p.Rule] = true
	}
	return rules
}

func newRejectsList() *cobra.Command {
	f := &rejectFlags{}
	summary := false
	c := &cobra.Command{
		Use:   "list",
		Short: "List rejects, where they are and which rules they broke",
		Example: `  cpcds2fhir rejects list
  cpcds2fhir rejects list --summary
  cpcds2fhir rejects list --file claims_march.csv
  cpcds2fhir rejects list --rule code-diagnosis_code --status all --output json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			f.stopped = c.Context().Err
			s, runs, err := f.open()
			if err != nil {
				return err
			}
			w := bufio.NewWriter(c.OutOrStdout())
			defer func() {
				if flush := w.Flush(); err == nil {
					err = flush
				}
			}()
			if summary {
				return f.summarise(w, s, runs)
			}
			return f.list(w, s, runs)
		},
	}
	f.register(c)
	choiceFlag(c, &f.status, "status", "only those with this status", "open", "resolved", "obsolete", "all")
	choiceFlag(c, &f.output, "output", "output format; json has one line for each, without the rows' values", "text", "json")
	c.Flags().BoolVar(&summary, "summary", false, "only counts: by rule, by kind of claim and by month")
	return c
}

// listed is a reject without its values.
type listed struct {
	Run      string                   `json:"run"`
	ID       string                   `json:"id"`
	Status   string                   `json:"status"`
	Table    string                   `json:"table"`
	Kind     string                   `json:"kind,omitempty"`
	Month    string                   `json:"month,omitempty"`
	Input    string                   `json:"input"`
	Row      int64                    `json:"row"`
	Rows     int                      `json:"rows"`
	Problems []pipeline.RejectProblem `json:"problems"`
}

func (f *rejectFlags) list(w io.Writer, s *rejects.Store, runs []string) error {
	n, under := 0, ""
	err := f.heads(s, runs, func(run string, r *pipeline.Reject) error {
		n++
		if len(runs) > 1 && run != under && f.output != "json" {
			under = run
			fmt.Fprintln(w, s.Describe(run))
		}
		l := listed{run, r.ID, string(s.State(run, r.ID)), r.Table, r.Kind, r.Month, r.Input, r.Row, r.RowCount, withoutText(r.Problems)}
		if f.output == "json" {
			return json.NewEncoder(w).Encode(l)
		}
		if l.Rows == 0 {
			fmt.Fprintf(w, "%s  %s  %s, no rows\n", l.ID, l.Status, strings.Join(r.Resources, ", "))
		} else {
			fmt.Fprintf(w, "%s  %s  %s, row %d (%s)\n", l.ID, l.Status, l.Input, l.Row, many(int64(l.Rows), "row"))
		}
		for _, p := range l.Problems {
			fmt.Fprintf(w, "    %s%s\n", p.Rule, place(p, l.Input))
		}
		return nil
	})
	if err == nil && n == 0 && f.output != "json" {
		fmt.Fprintln(w, "No rejects match.")
	}
	return err
}

// withoutText leaves out what servers said: it may hold values.
func withoutText(problems []pipeline.RejectProblem) []pipeline.RejectProblem {
	list := slices.Clone(problems)
	for i := range list {
		list[i].Text = ""
	}
	return list
}

// place says where a problem of a reject is. It leaves out the input if it is the given one, that
// of the reject's first row.
func place(p pipeline.RejectProblem, input string) string {
	out := ""
	if p.Element != "" {
		out = ": " + p.Element
	}
	if len(p.Columns) > 0 && (len(p.Columns) > 1 || p.Columns[0] != p.Element) {
		out += " (column " + strings.Join(p.Columns, ", ") + ")"
	}
	if p.Part != "" {
		out += ", a part of a split claim"
	}
	if p.Resource != "" {
		out += ": " + p.Resource
	}
	if p.Status != 0 {
		out += fmt.Sprintf(", status %d", p.Status)
	}
	if len(p.Codes) > 0 {
		out += ", " + strings.Join(p.Codes, " ")
	}
	if len(p.Locations) > 0 {
		out += ", at " + strings.Join(p.Locations, ", ")
	}
	if p.Row > 0 {
		out += fmt.Sprintf(", row %d", p.Row)
		if p.Input != "" && p.Input != input {
			out += " of " + p.Input
		}
	}
	return out
}

func (f *rejectFlags) summarise(w io.Writer, s *rejects.Store, runs []string) error {
	byRule, byKind, byMonth := map[string]int64{}, map[string]int64{}, map[string]int64{}
	var n int64
	err := f.heads(s, runs, func(_ string, r *pipeline.Reject) error {
		n++
		for rule := range brokenRules(r) {
			byRule[rule]++
		}
		if r.Table == cpcds.Claims.String() {
			byKind[cmp.Or(r.Kind, "unknown")]++
			byMonth[cmp.Or(r.Month, "unknown")]++
		} else {
			byKind[r.Table]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f.output == "json" {
		return json.NewEncoder(w).Encode(map[string]any{"rejects": n, "by_rule": byRule, "by_kind": byKind, "by_month": byMonth})
	}
	fmt.Fprintln(w, many(n, "reject"))
	counts(w, "By rule (one may break several)", byRule, nil)
	counts(w, "By kind of claim, or by table", byKind, nil)
	counts(w, "By month of service", byMonth, nil)
	return nil
}

// firstPlaces notes where the first reject that broke each rule is.
func (j *job) firstPlaces(r *pipeline.Reject) {
	for _, p := range r.Problems {
		if j.firsts[p.Rule] != "" {
			continue
		}
		input, row := r.Input, r.Row
		if r.RowCount == 0 {
			j.firsts[p.Rule] = "first" + place(p, "")
			continue
		}
		if p.Row > 0 {
			input, row, p.Row = cmp.Or(p.Input, input), p.Row, 0
		}
		j.firsts[p.Rule] = fmt.Sprintf("first in %s, row %d%s", input, row, place(p, ""))
	}
}

// ruleTexts says what each rule requires.
func ruleTexts() map[string]string {
	texts := map[string]string{}
	for _, v := range []*carin.Version{carin.V200, carin.V220} { // the newer release's text wins
		for _, r := range carin.NewChecker(v).Rules() {
			texts[r.ID] = r.Text
		}
	}
	maps.Copy(texts, pipeline.EngineRules)
	maps.Copy(texts, pipeline.EngineWarnings)
	for _, id := range layouts.ValueRules() {
		if texts[id] == "" {
			texts[id] = layouts.ValueRuleText(id)
		}
	}
	return texts
}
