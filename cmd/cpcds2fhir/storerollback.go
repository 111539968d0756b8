package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/audit"
	"cpcds2fhir/internal/store"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/schemas/fhir"
)

func newStoreRollback(dir *string) *cobra.Command {
	f := &correctFlags{store: dir}
	var run, output string
	c := &cobra.Command{
		Use:   "rollback --run ID",
		Short: "Undo what a load has written",
		Long: `Rollback undoes a bad load: each version that the run has made, unless it was replaced
since, is followed by one with the content from before the run; what was not there
before is deleted. Nothing is erased: apps see the change as any other. Organizations
and practitioners that the run has brought stay, and so does what later loads refer to.

The run is the id that 'load' prints and that its manifest has. When it is undone, the
same command loads the extract again, and a corrected extract is loaded as usual.
A rollback can be undone as a run of the name that it prints.`,
		Example: `  cpcds2fhir store rollback --run fdf1f39ebc895f61 --dry-run
  cpcds2fhir store rollback --run fdf1f39ebc895f61 --note 'wrong month'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if run == "" {
				return usagef("name the run to undo with --run; the manifest of a load has its id")
			}
			name := "rollback-" + run
			x, err := f.begin(c, audit.Record{Action: "rollback", ID: run}, name)
			if err != nil {
				return err
			}
			return x.end(x.rollback(c.Context(), run, output))
		},
	}
	f.register(c, false)
	c.Flags().StringVar(&run, "run", "", "undo the run `ID`")
	c.Flags().StringVar(&f.state, "state", "", "find the accounts in `DIR` (default: the store's name with .state)")
	choiceFlag(c, &output, "output", "output format", "text", "json")
	cobra.CheckErr(c.RegisterFlagCompletionFunc("run", cobra.NoFileCompletions))
	cobra.CheckErr(c.MarkFlagDirname("state"))
	return c
}

// wrote is how many versions the checkpoints say a run has made, in all its passes.
func wrote(ledger map[string]*pipeline.Account, run string) (n int64) {
	for name, a := range ledger {
		if of, ok := storeloader.HasEarlier(name); name != run && (!ok || of != run) {
			continue
		}
		for _, r := range a.Resources {
			n += r.Created + r.Updated
		}
	}
	return n
}

// rollback undoes a run.
func (x *correction) rollback(ctx context.Context, run, output string) error {
	t := storeTarget{strings.TrimPrefix(*x.flags.store, "store:")}
	state := t.state(x.flags.state)
	ledger, err := storeloader.Ledger(x.store)
	if err != nil {
		return err
	}
	_, undone, err := storeloader.Corrected(x.store)
	if err != nil {
		return err
	}
	known := ledger[run] != nil || strings.HasPrefix(run, "rollback-")
	if begun, err := manifest.Begun(state, run); err == nil && begun != nil {
		known = true
	}
	if !x.flags.dryRun && ledger[run] != nil {
		// First, so that the run stops if it is still under way: its next checkpoint is refused.
		if err := startOver(x.store, state, run, ledger); err != nil {
			return err
		}
	}
	p := &undoing{correction: x, run: run, gone: append(goneRuns(undone), run)}
	for range 10 { // what a run that was under way has still written comes with the next pass
		did, err := p.pass(ctx)
		if err != nil {
			return err
		}
		if !did || x.flags.dryRun {
			break
		}
	}
	found := p.found
	switch {
	case !found && !known:
		return fmt.Errorf("the store knows no run %s; the manifest of a load has its id", run)
	case !found && wrote(ledger, run) > 0 && !slices.Contains(undone, x.name):
		return fmt.Errorf("the store does not know which versions run %s has made: it was loaded with an earlier release", run)
	}
	for t, n := range p.changed {
		x.counts[t.String()+" changed since, so it stays"] += n
	}
	if output == "json" {
		e := json.NewEncoder(x.out)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"run": run, "undone_as": x.name, "dry_run": x.flags.dryRun, "counts": x.counts})
	}
	x.report()
	if !x.flags.dryRun && found {
		fmt.Fprintf(x.out, "Undone as %s.\n", x.name)
	}
	return nil
}

// startOver lets a run start over. What it has loaded stays accounted for: by its manifest if it has finished, and
// otherwise by the checkpoints.
func startOver(s store.Handle, state, run string, ledger map[string]*pipeline.Account) error {
	manifests, err := manifest.All(state)
	if err != nil {
		return err
	}
	if slices.Contains(unfinished(ledger, manifests), run) {
		return storeloader.SetRunAside(s, run)
	}
	return storeloader.ForgetRun(s, run)
}

// goneRuns are the runs that were undone, and whose undoing was not.
func goneRuns(corrections []string) (runs []string) {
	for _, name := range corrections {
		run, ok := strings.CutPrefix(name, "rollback-")
		if ok && !strings.HasPrefix(run, "rollback-") && !slices.Contains(corrections, "rollback-"+name) {
			runs = append(runs, run)
		}
	}
	return runs
}

// undoing undoes a run, in passes.
type undoing struct {
	*correction
	run     string
	gone    []string
	found   bool                // a version of the run
	changed map[fhir.Type]int64 // resources that have changed since, in the last pass
}

// pass corrects what there is to correct, and reports whether there was anything.
func (u *undoing) pass(ctx context.Context) (did bool, err error) {
	maps.DeleteFunc(u.counts, func(what string, _ int64) bool { return strings.HasSuffix(what, keptBack) }) // they come again
	u.changed = map[fhir.Type]int64{}
	list := []store.Correction{}
	flush := func() error {
		n, err := u.apply(ctx, list)
		list, did = list[:0], did || n > 0
		return err
	}
	for c, err := range u.correct.MadeBy(ctx, u.run, u.name, u.gone) {
		if err != nil {
			return false, err
		}
		if u.found = true; c.Do == store.Forget {
			u.changed[c.Type]++
			continue
		}
		if list = append(list, c); len(list) == correctAtOnce {
			if err := flush(); err != nil {
				return false, err
			}
		}
	}
	err = flush()
	return did, err
}
