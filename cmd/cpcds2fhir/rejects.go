package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

func newRejects() *cobra.Command {
	c := &cobra.Command{
		Use:   "rejects",
		Short: "See what was rejected and why, and replay it after a fix",
		Long: `Rejects are claims and rows that could not become valid resources. They are kept in
the target's state folder with the rule they broke, the columns at fault and the raw
rows, in files that only you can read. After the layout or the data is fixed,
'rejects replay' processes just these again.`,
	}
	c.AddCommand(newRejectsList(), newRejectsShow(), newRejectsReplay())
	return c
}

// rejectFlags choose rejects.
type rejectFlags struct {
	to, state, run, rule, table, status, output string
}

func (f *rejectFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.to, "to", defaultTarget, "`TARGET` of the load")
	fl.StringVar(&f.state, "state", "", "`DIR` of the state (default: the target's name with .state)")
	fl.StringVar(&f.run, "run", "", "only the rejects of this run")
	fl.StringVar(&f.rule, "rule", "", "only those that broke this rule")
	fl.StringVar(&f.table, "table", "", "only those of this table")
	completeTarget(c)
	completeRejects(c)
}

func (f *rejectFlags) open() (*pipeline.RejectStore, []string, error) {
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
	s, err := pipeline.OpenRejects(state)
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

// known refuses names of rules and tables that are none: a list without rejects
// would look like good news.
func (f *rejectFlags) known(s *pipeline.RejectStore, runs []string) error {
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
		err := s.Each(run, func(r *pipeline.Reject) error {
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

// each calls g for every reject that the flags choose.
func (f *rejectFlags) each(s *pipeline.RejectStore, runs []string, g func(run string, r *pipeline.Reject) error) error {
	for _, run := range runs {
		err := s.Each(run, func(r *pipeline.Reject) error {
			if f.table != "" && r.Table != f.table || f.rule != "" && !broke(r, f.rule) || f.status != "" && f.status != "all" && f.status != string(s.State(run, r.ID)) {
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
		Short: "List rejects: where they are and which rules they broke",
		Example: `  cpcds2fhir rejects list
  cpcds2fhir rejects list --summary
  cpcds2fhir rejects list --rule code-diagnosis_code --status all --output json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) (err error) {
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
	choiceFlag(c, &f.status, "status", "open, resolved, obsolete or all", "open", "resolved", "obsolete", "all")
	choiceFlag(c, &f.output, "output", "text or json (a line each, without the rows' values)", "text", "json")
	c.Flags().BoolVar(&summary, "summary", false, "only how many broke which rule")
	return c
}

// listed is a reject without its values.
type listed struct {
	Run      string                   `json:"run"`
	ID       string                   `json:"id"`
	Status   string                   `json:"status"`
	Table    string                   `json:"table"`
	Input    string                   `json:"input"`
	Row      int64                    `json:"row"`
	Rows     int                      `json:"rows"`
	Problems []pipeline.RejectProblem `json:"problems"`
}

func (f *rejectFlags) list(w io.Writer, s *pipeline.RejectStore, runs []string) error {
	n, under := 0, ""
	err := f.each(s, runs, func(run string, r *pipeline.Reject) error {
		n++
		if len(runs) > 1 && run != under && f.output != "json" {
			under = run
			fmt.Fprintln(w, s.Describe(run))
		}
		l := listed{run, r.ID, string(s.State(run, r.ID)), r.Table, r.Rows[0].Input, r.Rows[0].Row, len(r.Rows), r.Problems}
		if f.output == "json" {
			return json.NewEncoder(w).Encode(l)
		}
		fmt.Fprintf(w, "%s  %s  %s, row %d (%s)\n", l.ID, l.Status, l.Input, l.Row, many(int64(l.Rows), "row"))
		for _, p := range l.Problems {
			fmt.Fprintf(w, "    %s%s\n", p.Rule, place(p))
		}
		return nil
	})
	if err == nil && n == 0 && f.output != "json" {
		fmt.Fprintln(w, "No such rejects.")
	}
	return err
}

func place(p pipeline.RejectProblem) string {
	out := ""
	if p.Element != "" {
		out = ": " + p.Element
	}
	if len(p.Columns) > 0 && (len(p.Columns) > 1 || p.Columns[0] != p.Element) {
		out += " (column " + strings.Join(p.Columns, ", ") + ")"
	}
	if p.Row > 0 {
		out += fmt.Sprintf(", row %d", p.Row)
	}
	return out
}

func (f *rejectFlags) summarise(w io.Writer, s *pipeline.RejectStore, runs []string) error {
	byRule := map[string]int64{}
	var n int64
	err := f.each(s, runs, func(_ string, r *pipeline.Reject) error {
		n++
		for rule := range brokenRules(r) {
			byRule[rule]++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f.output == "json" {
		return json.NewEncoder(w).Encode(map[string]any{"rejects": n, "by_rule": byRule})
	}
	fmt.Fprintln(w, many(n, "reject"))
	counts(w, "By rule (one may break several)", byRule, nil)
	return nil
}

// firstPlaces says for each rule where the first reject that broke it is.
func firstPlaces(state, run string, rules map[string]int64) (map[string]string, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	s, err := pipeline.OpenRejects(state)
	if err != nil {
		return nil, err
	}
	places := map[string]string{}
	enough := errors.New("every rule has a place")
	err = s.Each(run, func(r *pipeline.Reject) error {
		for _, p := range r.Problems {
			if _, asked := rules[p.Rule]; asked && places[p.Rule] == "" {
				where := r.Rows[0]
				if p.Row > 0 {
					where.Row, p.Row = p.Row, 0
				}
				places[p.Rule] = fmt.Sprintf("first in %s, row %d%s", where.Input, where.Row, place(p))
			}
		}
		if len(places) == len(rules) {
			return enough
		}
		return nil
	})
	if errors.Is(err, enough) || errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return places, err
}

// ruleTexts says what each rule demands.
func ruleTexts() map[string]string {
	texts := map[string]string{}
	for _, v := range []*carin.Version{carin.V200, carin.V220} { // the newer says it last
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
