package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/verify"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func newReconcile() *cobra.Command {
	var to, state, output string
	c := &cobra.Command{
		Use:   "reconcile",
		Short: "Count the target again and compare it with the accounts of its loads",
		Long: `Reconcile counts the resources that the target really has, type by type, and
compares them with what the accounts of all loads and replays into it say was
created. It exits with 1 if they differ.`,
		Example: `  cpcds2fhir reconcile
  cpcds2fhir reconcile --to store:/data/fhir-store
  cpcds2fhir reconcile --to ndjson:./out --output json`,
		ValidArgsFunction: cobra.NoFileCompletions,
		Args:              noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := parseTarget(to)
			if err != nil {
				return err
			}
			if err := t.check(t.state(state)); err != nil {
				return err
			}
			return reconcile(c.OutOrStdout(), t, t.state(state), output)
		},
	}
	c.Flags().StringVar(&to, "to", defaultTarget, "`TARGET` of the loads")
	c.Flags().StringVar(&state, "state", "", "`DIR` of the state (default: the target's name with .state)")
	completeTarget(c)
	choiceFlag(c, &output, "output", "text or json", "text", "json")
	return c
}

// reconciled compares one type.
type reconciled struct {
	Type     string `json:"type"`
	Accounts int64  `json:"accounts"`
	Target   int64  `json:"target"`
}

func reconcile(w io.Writer, t target, state, output string) error {
	manifests, err := pipeline.Manifests(state)
	if err != nil {
		return err
	}
	nothing := fmt.Errorf("no accounts of loads are in %s: %w", state, os.ErrNotExist)
	if _, err := os.Stat(t.dir); len(manifests) == 0 && err != nil {
		return nothing
	}
	var have [fhir.NumTypes]int64
	var ledger map[string]*pipeline.Account
	if t.kind == "store" {
		have, ledger, err = countStore(t.dir)
	} else {
		have, err = countNDJSON(t.dir)
	}
	if err != nil {
		return err
	}
	stopped := unfinished(ledger, manifests)
	if len(manifests)+len(stopped) == 0 {
		return nothing
	}
	var list []reconciled
	agree := true
	for typ := range fhir.NumTypes {
		r := reconciled{Type: typ.String(), Target: have[typ]}
		for _, m := range manifests {
			r.Accounts += m.Resources[r.Type].Created
		}
		for _, run := range stopped {
			r.Accounts += ledger[run].Resources[typ].Created
		}
		if r.Accounts != 0 || r.Target != 0 {
			list = append(list, r)
		}
		agree = agree && r.Accounts == r.Target
	}
	if output == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"target": t.String(), "loads": len(manifests), "unfinished": stopped, "types": list, "agree": agree}); err != nil {
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
			fmt.Fprintf(w, "The target agrees with the accounts of its loads, %d in number.\n", len(manifests)+len(stopped))
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

// unfinished lists the runs of a store's checkpoints that no manifest accounts for:
// they were stopped, or are made again and were stopped then.
func unfinished(ledger map[string]*pipeline.Account, manifests []*pipeline.Manifest) []string {
	runs := []string{}
	for run, account := range ledger {
		finished := slices.ContainsFunc(manifests, func(m *pipeline.Manifest) bool {
			if m.Run != run {
				return false
			}
			var of pipeline.Manifest
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

// describeUnfinished says what is known of a run that was stopped.
func describeUnfinished(state, run string) string {
	m, err := pipeline.Begun(state, run)
	if err != nil || m == nil || len(m.Inputs) == 0 {
		return fmt.Sprintf("Run %s is not finished; what it wrote is counted. Give its command again to finish it.", run)
	}
	return fmt.Sprintf("The %s of %s and %s, begun %s in %s mode, is not finished; what it wrote is counted. Give its command again to finish it.",
		m.Command, m.Inputs[0].Path, many(int64(len(m.Inputs)-1), "more file"), m.Started, m.Mode)
}

func countStore(dir string) (counts [fhir.NumTypes]int64, ledger map[string]*pipeline.Account, err error) {
	s, err := openStore(dir)
	if err != nil {
		return counts, nil, err
	}
	defer s.Close()
	st, err := s.Stats()
	if err != nil {
		return counts, nil, err
	}
	for t := range fhir.NumTypes {
		counts[t] = st.Types[t].Resources
	}
	ledger, err = storeloader.Ledger(s)
	return counts, ledger, err
}

// openStore opens a store that exists, to read it.
func openStore(dir string) (*store.Store, error) {
	if err := folder("store "+dir, dir); err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return store.Open(dir, store.Options{ReadOnly: true})
}

// countNDJSON counts the resources of all parts. One that is there twice is an
// error.
func countNDJSON(dir string) (counts [fhir.NumTypes]int64, err error) {
	if _, err := os.Stat(dir); err != nil {
		return counts, fmt.Errorf("open NDJSON folder: %w", err)
	}
	for t := range fhir.NumTypes {
		parts, err := filepath.Glob(filepath.Join(dir, t.String(), "part-*"))
		if err != nil {
			return counts, err
		}
		var ids []uint64 // hashes: two different ids with one hash are not to be expected below billions
		for _, p := range parts {
			if ids, err = resourceIDs(p, ids); err != nil {
				return counts, fmt.Errorf("count %s: %w", p, err)
			}
		}
		counts[t] = int64(len(ids))
		slices.Sort(ids)
		if distinct := len(slices.Compact(ids)); int64(distinct) != counts[t] {
			return counts, fmt.Errorf("%s: %s too many: some are there more than once", filepath.Join(dir, t.String()), many(counts[t]-int64(distinct), "resource"))
		}
	}
	return counts, nil
}

// idSeed is the seed of the hashes of one process.
var idSeed = maphash.MakeSeed()

// resourceIDs appends the hash of the id of every resource in a file.
func resourceIDs(path string, ids []uint64) ([]uint64, error) {
	r, end, err := verify.Open(path)
	if err != nil {
		return nil, err
	}
	defer end()
	lines := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		head, err := lines.ReadSlice('\n')
		if err == io.EOF && len(head) == 0 {
			return ids, nil
		}
		_, rest, ok := bytes.Cut(head[:min(len(head), 200)], []byte(`"id":"`))
		id, _, closed := bytes.Cut(rest, []byte(`"`))
		if !ok || !closed {
			return nil, fmt.Errorf("line %d has no id", n)
		}
		ids = append(ids, maphash.Bytes(idSeed, id))
		for errors.Is(err, bufio.ErrBufferFull) { // a line longer than the buffer
			_, err = lines.ReadSlice('\n')
		}
		if err != nil {
			return nil, fmt.Errorf("line %d is not whole: %w", n, err)
		}
	}
}
