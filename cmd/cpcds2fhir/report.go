package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// printAccount prints the account of a run, as JSON or for a person.
func printAccount(w io.Writer, m *pipeline.Manifest, form string, started time.Time) error {
	if form == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(m)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nLayout %s, CARIN %s, %s mode, into %s", m.Layout.Name, m.CARINVersion, m.Mode, m.Target)
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
	fmt.Fprintf(w, "\nClaims: %s seen = %s loaded + %s unchanged + %s stale + %s rejected + %s skipped\n",
		comma(c.Seen), comma(c.Loaded), comma(c.Unchanged), comma(c.Stale), comma(c.Rejected), comma(c.Skipped))
	if c.PartlyRejected > 0 {
		fmt.Fprintf(w, "        of these, %s have a part that was rejected\n", comma(c.PartlyRejected))
	}
	fmt.Fprintln(w)
	fmt.Fprint(t, "\tcreated\tupdated\tunchanged\tstale\trejected\t\n")
	for typ := range fhir.NumTypes {
		r := m.Resources[typ.String()]
		if r != (pipeline.ResourceCount{}) {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t\n", typ, comma(r.Created), comma(r.Updated), comma(r.Unchanged), comma(r.Stale), comma(r.Rejected))
		}
	}
	t.Flush()
	counts(w, "Rejected, by rule (one claim or row may break several)", m.Rejects)
	counts(w, "Repaired, by repair", m.Repairs)
	counts(w, "Rows skipped, by rule", m.Skips)
	counts(w, "Warnings, by rule", m.Warnings)
	balance := "The account balances."
	if !m.Balanced {
		balance = "THE ACCOUNT DOES NOT BALANCE."
	}
	elapsed := time.Since(started)
	fmt.Fprintf(w, "\n%s %s claims in %s", balance, comma(c.Seen), elapsed.Round(10*time.Millisecond))
	if s := elapsed.Seconds(); s > 0.5 && c.Seen > 0 {
		fmt.Fprintf(w, ", %s a second", comma(int64(float64(c.Seen)/s)))
	}
	fmt.Fprintln(w, ".")
	if len(m.Rejects) > 0 && !m.DryRun {
		fmt.Fprintf(w, "See what was rejected, and why: cpcds2fhir rejects list --to '%s'\n", m.Target)
	}
	return nil
}

// counts prints the counters of a map, the largest first.
func counts(w io.Writer, title string, m map[string]int64) {
	if len(m) == 0 {
		return
	}
	keys := make([]string, 0, len(m))
	width := 0
	for k := range m {
		keys = append(keys, k)
		width = max(width, len(comma(m[k])))
	}
	slices.SortFunc(keys, func(a, b string) int {
		if m[a] != m[b] {
			return int(m[b] - m[a])
		}
		return strings.Compare(a, b)
	})
	fmt.Fprintf(w, "\n%s:\n", title)
	for _, k := range keys {
		fmt.Fprintf(w, "  %*s  %s\n", width, comma(m[k]), k)
	}
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
