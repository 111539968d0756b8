package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/store/owner"
	"cpcds2fhir/loaders/ndjson"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/schemas/fhir"
)

func newReconcile() *cobra.Command {
	f := &reconcileFlags{}
	c := &cobra.Command{
		Use:   "reconcile [EXTRACT...]",
		Short: "Count the target again and compare it with the accounts of its loads",
		Long: `Reconcile counts the resources in the target by type and compares them with what
the accounts of all loads and replays into it say was created, less what was deleted
by hand. It exits with 1 if they differ.

Of a FHIR server it compares every resource with the index of what was loaded: what is
missing there, different, or extra, read by id before it is said, and counted by the
server as well. With an EXTRACT, or with --store, it also says what of that was never
loaded. --repair loads just what is missing or different, and then compares again. An
index that was lost is made again from what the server has.`,
		Example: `  cpcds2fhir reconcile
  cpcds2fhir reconcile --to store:/data/fhir-store
  cpcds2fhir reconcile --to ndjson:./out --output json
  cpcds2fhir reconcile --to fhir:https://server.example.org/fhir --server server.yaml --repair`,
		RunE: func(c *cobra.Command, args []string) error {
			t, err := parseTarget(f.to)
			if err != nil {
				return err
			}
			if s, ok := t.(serverTarget); ok {
				return f.reconcileServer(c.Context(), s, args, c.OutOrStdout())
			}
			if err := f.serverOnly(c, args); err != nil {
				return err
			}
			state := t.state(f.state)
			if err := t.check(state); err != nil {
				return err
			}
			return reconcile(c.Context(), c.OutOrStdout(), t, state, f.output)
		},
	}
	c.Flags().StringVar(&f.to, "to", defaultTarget, "count this `TARGET`")
	c.Flags().StringVar(&f.state, "state", "", "find the index and accounts in `DIR` (default: the target's name with .state)")
	completeTarget(c)
	f.register(c)
	choiceFlag(c, &f.output, "output", "output format", "text", "json")
	return c
}

// reconciled compares one type.
type reconciled struct {
	Type     string `json:"type"`
	Accounts int64  `json:"accounts"`
	Target   int64  `json:"target"`
}

func reconcile(ctx context.Context, w io.Writer, t target, state, output string) error {
	manifests, err := manifest.All(state)
	if err != nil {
		return err
	}
	nothing := fmt.Errorf("there are no accounts of loads in %s: %w", state, os.ErrNotExist)
	if _, err := os.Stat(t.place()); len(manifests) == 0 && err != nil {
		return nothing
	}
	var have [fhir.NumTypes]int64
	var ledger, streams map[string]*pipeline.Account
	corrected, corrections := map[string]store.Corrected{}, []string{}
	dir := t.place()
	switch _, isStore := t.(storeTarget); {
	case isStore:
		var n *counted
		if n, err = countStore(ctx, dir); err == nil {
			have, ledger, streams, corrected, corrections = n.resources, n.ledger, n.streams, n.corrected, n.corrections
		}
	case ndjson.Streamed(dir):
		if ndjson.Written(dir) {
			return fmt.Errorf("a stream has parts in %s that are not complete: stop it first, or start it and stop it if it was killed", dir)
		}
		var n *counted
		if n, err = countStore(ctx, t.storeOfStreams(state)); err == nil {
			streams = n.streams
			have, err = countStreamed(dir)
		}
	default:
		have, err = countNDJSON(dir)
	}
	if err != nil {
		return err
	}
	stopped := unfinished(ledger, manifests)
	if len(manifests)+len(stopped)+len(streams) == 0 {
		return nothing
	}
	var list []reconciled
	agree := true
	for typ := range fhir.NumTypes {
		r := reconciled{Type: typ.String(), Target: have[typ]}
		for _, m := range manifests {
			r.Accounts += m.Resources[r.Type].Created - m.Resources[r.Type].Deleted
		}
		for _, run := range stopped {
			r.Accounts += ledger[run].Resources[typ].Created - ledger[run].Resources[typ].Deleted
		}
		for _, a := range streams {
			r.Accounts += a.Resources[typ].Created - a.Resources[typ].Deleted
		}
		r.Accounts += corrected[r.Type].Restored - corrected[r.Type].Deleted
		if r.Accounts != 0 || r.Target != 0 {
			list = append(list, r)
		}
		agree = agree && r.Accounts == r.Target
	}
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"target": t.String(), "loads": len(manifests), "streams": slices.Sorted(maps.Keys(streams)), "unfinished": stopped, "corrections": corrections, "types": list, "agree": agree}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "%-22s %14s %14s\n", "", "accounts", "target")
		for _, r := range list {
			mark := ""
			if r.Accounts != r.Target {
				mark = "  differs"
			}
			fmt.Fprintf(w, "%-22s %14s %14s%s\n", r.Type, comma(r.Accounts), comma(r.Target), mark)
		}
		if agree {
			fmt.Fprintf(w, "The target agrees with the accounts of %s.\n", runsAndStreams(len(manifests)+len(stopped), len(streams), len(corrections)))
		}
		for _, run := range stopped {
			fmt.Fprintln(w, describeUnfinished(state, run))
		}
	}
	if !agree {
		return errors.New("the target does not agree with the accounts of its loads")
	}
	return nil
}

func runsAndStreams(runs, streams, corrections int) string {
	var list []string
	for _, x := range []struct {
		n    int
		what string
	}{{runs, "run"}, {streams, "stream"}, {corrections, "correction"}} {
		if x.n > 0 || x.what == "run" && streams == 0 {
			list = append(list, many(int64(x.n), x.what))
		}
	}
	if n := len(list) - 1; n > 0 {
		return strings.Join(list[:n], ", ") + " and " + list[n]
	}
	return list[0]
}

// unfinished lists the runs among a store's checkpoints that no manifest accounts for: they were
// stopped, or were repeated and then stopped.
func unfinished(ledger map[string]*pipeline.Account, manifests []*manifest.Manifest) []string {
	runs := []string{}
	for run, account := range ledger {
		repeated, earlier := storeloader.HasEarlier(run)
		finished := slices.ContainsFunc(manifests, func(m *manifest.Manifest) bool {
			if earlier {
				return m.Run == repeated
			}
			if m.Run != run {
				return false
			}
			var of manifest.Manifest
			of.Count(account)
			return maps.Equal(of.Resources, m.Resources) && of.Claims == m.Claims
		})
		if !finished {
			runs = append(runs, run)
		}
	}
	slices.Sort(runs)
	return runs
}

// describeUnfinished describes a run that was stopped.
func describeUnfinished(state, run string) string {
	if of, ok := storeloader.WasSetAside(run); ok {
		return fmt.Sprintf("What run %s wrote before its state folder was lost or renamed, or before it was undone, is counted.", of)
	}
	if of, ok := storeloader.HasEarlier(run); ok {
		return fmt.Sprintf("What earlier loads of run %s wrote before their accounts were lost is counted.", of)
	}
	m, err := manifest.Begun(state, run)
	if err != nil || m == nil || len(m.Inputs) == 0 {
		return fmt.Sprintf("Run %s is not finished; what it wrote is counted. Run its command again to finish it.", run)
	}
	files := m.Inputs[0].Path
	if n := len(m.Inputs) - 1; n > 0 {
		files += " and " + many(int64(n), "more file")
	}
	return fmt.Sprintf("The %s of %s, started %s in %s mode, is not finished; what it wrote is counted. Run its command again to finish it.",
		m.Command, files, m.Started, m.Mode)
}

// counted is what a store has, and what it says of how that came about.
type counted struct {
	resources       [fhir.NumTypes]int64
	ledger, streams map[string]*pipeline.Account
	corrected       map[string]store.Corrected // by type
	corrections     []string                   // their names
}

func countStore(ctx context.Context, dir string) (*counted, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	st, err := s.Stats(ctx)
	if err != nil {
		return nil, err
	}
	n := &counted{corrections: []string{}}
	for t := range fhir.NumTypes {
		n.resources[t] = st.Types[t].Resources
	}
	if n.ledger, err = storeloader.Ledger(s); err == nil {
		n.streams, err = streamrun.AccountsByGroup(ctx, storeloader.StreamRecords{Store: s})
	}
	if err == nil {
		var names []string
		n.corrected, names, err = storeloader.Corrected(s)
		n.corrections = append(n.corrections, names...)
	}
	return n, err
}

func storeExists(dir string) error {
	if err := folder("store "+dir, dir); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	return nil
}

// openStore opens an existing store for reading, through the process that has it open if there is one.
func openStore(dir string) (store.Handle, error) {
	if err := storeExists(dir); err != nil {
		return nil, err
	}
	return owner.OpenReader(dir, store.Options{}, owner.Options{Program: toolVersion()})
}

// countNDJSON counts the resources of all parts. A duplicate is an error.
