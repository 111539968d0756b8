package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// printAccount prints the account of a run, as JSON or for a person.
func (j *job) printAccount(m *manifest.Manifest) error {
	if j.flags.output == "json" {
		e := json.NewEncoder(j.out)
		e.SetIndent("", "  ")
		return e.Encode(m)
	}
	w := new(bytes.Buffer) // written at once, so that there is one error to check
	j.writeAccount(w, m)
	_, err := j.out.Write(w.Bytes())
	return err
}

func (j *job) writeAccount(w io.Writer, m *manifest.Manifest) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	release := m.CARINVersion
	if m.Profiles == carin.Profiles[1] {
		release += " (" + m.Profiles + ")"
	}
	fmt.Fprintf(w, "\nLayout %s, CARIN %s, %s mode, into %s", m.Layout.Name, release, m.Mode, m.Target)
	if m.Layout.Why != "" {
		fmt.Fprintf(w, "\nThe layout was recognised: it %s.", m.Layout.Why)
	}
	if m.DryRun {
		fmt.Fprint(w, " (dry run: nothing was loaded)")
	}
	fmt.Fprint(w, "\n\n")
	fmt.Fprint(t, "\tread\tin resources\trejected\tskipped\t\n")
	for table := range cpcds.NumTables {
		r := m.Rows[table.String()]
		if r.Read > 0 {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", table, comma(r.Read), comma(r.InClaims), comma(r.Rejected), comma(r.Skipped))
		}
	}
	t.Flush()
	c := m.Claims
	fmt.Fprintf(w, "\n%s\n", claimsLine(m))
	if c.PartlyRejected > 0 {
		fmt.Fprintf(w, "        of these, %s have a part that was rejected\n", comma(c.PartlyRejected))
	}
	fmt.Fprintln(w)
	writeResources(t, m.Resources)
	counts(w, "Rejected, by rule (one claim or row may break several)", m.Rejects, j.firsts)
	if n := m.Rejects["void-without-lines"]; n > 0 {
		fmt.Fprintf(w, "\nOf these, %s a claim that was not found: if it was loaded elsewhere, members still see it as it was. See 'rejects list --rule void-without-lines'.\n", cancels(n))
	}
	counts(w, "Repaired, by repair", m.Repairs, nil)
	counts(w, "Rows skipped, by rule", m.Skips, nil)
	warnings, unused := foldUnused(m.Warnings)
	counts(w, "Warnings, by rule", warnings, nil)
	if unused > 0 {
		fmt.Fprintf(w, "  and %s filled that the profile has no place for; see the manifest\n", wasWere(int64(unused), "column"))
	}
	elapsed, fresh := time.Since(j.started), c.Seen
	fmt.Fprintln(w)
	if before := j.resumed.Load(); before > 0 {
		fresh -= before
		fmt.Fprintf(w, "Resumed: %s already durable.\n", wasWere(before, "claim"))
	}
	fmt.Fprintf(w, "%s %s in %s", balance(m), many(fresh, "claim"), elapsed.Round(10*time.Millisecond))
	if s := elapsed.Seconds(); s > 0.5 && fresh > 0 {
		fmt.Fprintf(w, ", %s a second", comma(int64(float64(fresh)/s)))
	}
	fmt.Fprintln(w, ".")
	if j.server != nil {
		fmt.Fprintln(w, j.server.summary())
	}
	if m.Stats != nil {
		writeStats(w, m, fresh)
	}
	if len(m.Rejects) > 0 && !m.DryRun {
		fmt.Fprintf(w, "To see what was rejected and why: %s\n", j.listRejects())
	}
}

// writeResources prints what became of the resources, by type. Few targets refuse or delete any.
func writeResources(t *tabwriter.Writer, resources map[string]pipeline.ResourceCount) {
	var refused, deleted bool
	for _, r := range resources {
		refused, deleted = refused || r.Refused > 0, deleted || r.Deleted > 0
	}
	columns := []struct {
		name  string
		shown bool
		of    func(r *pipeline.ResourceCount) int64
	}{
		{"created", true, func(r *pipeline.ResourceCount) int64 { return r.Created }},
		{"updated", true, func(r *pipeline.ResourceCount) int64 { return r.Updated }},
		{"unchanged", true, func(r *pipeline.ResourceCount) int64 { return r.Unchanged }},
		{"stale", true, func(r *pipeline.ResourceCount) int64 { return r.Stale }},
		{"deleted", deleted, func(r *pipeline.ResourceCount) int64 { return r.Deleted }},
		{"refused", refused, func(r *pipeline.ResourceCount) int64 { return r.Refused }},
		{"rejected", true, func(r *pipeline.ResourceCount) int64 { return r.Rejected }},
	}
	line := func(name string, cell func(i int) string) {
		fmt.Fprintf(t, "%s\t", name)
		for i := range columns {
			if columns[i].shown {
				fmt.Fprintf(t, "%s\t", cell(i))
			}
		}
		fmt.Fprintln(t)
	}
	line("", func(i int) string { return columns[i].name })
	for typ := range fhir.NumTypes {
		if r := resources[typ.String()]; r != (pipeline.ResourceCount{}) {
			line(typ.String(), func(i int) string { return comma(columns[i].of(&r)) })
		}
	}
	t.Flush()
}

// writeStats prints where the time of a run went. Shares are of the total time of all lanes.
func writeStats(w io.Writer, m *manifest.Manifest, claims int64) {
	s, all := m.Stats, 0.0
	for _, t := range s.Stages {
		all += t
	}
	var rows int64
	for _, r := range m.Rows {
		rows += r.Read
	}
	per := func(n float64) string { return comma(int64(n / max(s.Seconds, 1e-9))) }
	fmt.Fprintf(w, "\n%s rows, %s claims and %s MB of JSON a second. Share of the time of all lanes (%.2f s):\n", per(float64(rows)), per(float64(claims)), per(float64(s.JSONBytes)/1e6), all)
	for stage := range pipeline.NumStages {
		if t := s.Stages[stage.String()]; t > 0 {
			fmt.Fprintf(w, "  %-16s %4.1f%%  %7.2f s\n", stage, 100*t/all, t)
		}
	}
}

// claimsLine is the account of the claims as an equation.
func claimsLine(m *manifest.Manifest) string {
	c := m.Claims
	return fmt.Sprintf("Claims: %s seen = %s loaded + %s unchanged + %s stale + %s rejected + %s skipped",
		comma(c.Seen), comma(c.Loaded), comma(c.Unchanged), comma(c.Stale), comma(c.Rejected), comma(c.Skipped))
}

func balance(m *manifest.Manifest) string {
	if m.Balanced {
		return "The account balances."
	}
	return "THE ACCOUNT DOES NOT BALANCE."
}

// listRejects is the command that lists the rejects of the target.
func (j *job) listRejects() string {
	s := fmt.Sprintf("cpcds2fhir rejects list --to '%s'", j.target)
	if j.flags.state != "" {
		s += fmt.Sprintf(" --state '%s'", j.flags.state)
	}
	return s
}

// foldUnused leaves out the warnings about columns that profiles have no place for, and counts
// them: there may be dozens, and they concern the extract, not single claims.
func foldUnused(warnings map[string]int64) (rest map[string]int64, columns int) {
	rest = map[string]int64{}
	for rule, n := range warnings {
		if strings.HasPrefix(rule, carin.UnusedRule) {
			columns++
		} else {
			rest[rule] = n
		}
	}
	return rest, columns
}

// mostBroken is how many rules are listed when a load is stopped.
const mostBroken = 5

// overBudget adds the most broken rules to the error of a run that rejected too much.
func (j *job) overBudget(run *batchrun.Config, cause error) error {
	s, err := rejects.OpenStore(run.State)
	if err != nil {
		return errors.Join(cause, err)
	}
	byRule := map[string]int64{}
	j.firsts = map[string]string{}
	err = s.Heads(run.ID, func(r *pipeline.Reject) error {
		for rule := range brokenRules(r) {
			byRule[rule]++
		}
		j.firstPlaces(r)
		return nil
	})
	if err != nil {
		return errors.Join(cause, err)
	}
	text := new(strings.Builder)
	shown := most(byRule, mostBroken)
	counts(text, "Most broken rules", shown, j.firsts)
	if !j.flags.dryRun && run.Replay == nil { // the rejects of a replay are those of loads
		fmt.Fprintf(text, "To see them: %s --run %s\n", j.listRejects(), run.ID)
	}
	return fmt.Errorf("%w%s", cause, strings.TrimRight("\n"+strings.TrimLeft(text.String(), "\n"), "\n"))
}

// most keeps the n largest counters.
func most(m map[string]int64, n int) map[string]int64 {
	keys := byCount(m)
	out := map[string]int64{}
	for _, k := range keys[:min(n, len(keys))] {
		out[k] = m[k]
	}
	return out
}

// byCount orders the names of counters, the largest first.
func byCount(m map[string]int64) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		return cmp.Or(cmp.Compare(m[b], m[a]), strings.Compare(a, b))
	})
}

// counts prints the counters of a map, the largest first, with a note on some.
func counts(w io.Writer, title string, m map[string]int64, notes map[string]string) {
	if len(m) == 0 {
		return
	}
	keys, width, longest := byCount(m), 0, 0
	for k, n := range m {
		width, longest = max(width, len(comma(n))), max(longest, len(k))
	}
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, k := range keys {
		line := fmt.Sprintf("  %*s  %-*s", width, comma(m[k]), longest, k)
		if notes[k] != "" {
			line += "  " + notes[k]
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// many writes a count with its noun: 1 row, 2 rows.
func many(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return comma(n) + " " + thing
}

// wasWere is many with its verb.
func wasWere(n int64, thing string) string {
	if n == 1 {
		return many(n, thing) + " was"
	}
	return many(n, thing) + " were"
}

// comma writes a number with commas between thousands.
func comma(n int64) string {
	s := fmt.Sprint(n)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(s) - 3; i > start; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// cancels writes how many records cancel a claim.
func cancels(n int64) string {
	if n == 1 {
		return "1 record cancels"
	}
	return comma(n) + " records cancel"
}
