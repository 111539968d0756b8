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
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/schemas/fhir"
)

// reconcileFlags are the flags of reconcile that servers need.
type reconcileFlags struct {
	to, state, output string

	server        serverFlags
	idKey, memory string
	store         string // to repair from
	logIn         string
	findings      int
	repair, quiet bool
}

func (f *reconcileFlags) register(c *cobra.Command) {
	fl := c.Flags()
	f.server.registerFile(c)
	fl.BoolVar(&f.repair, "repair", false, "of a server: load what is missing or different there, from the EXTRACT, from --store, or from what was loaded if it is still there")
	fl.StringVar(&f.store, "store", "", "of a server: compare with the embedded store in `DIR`, and repair from it")
	fl.StringVar(&f.idKey, "id-key", "", "of a server: the key of the resource ids is in `FILE or env:NAME` (default: that of the loads)")
	fl.StringVar(&f.memory, "memory", "512MiB", "of a server: use at most `SIZE` of memory")
	fl.IntVar(&f.findings, "findings", 20, "of a server: list the first `N` resources of each kind; 0 lists all. JSON has all of them")
	fl.StringVar(&f.logIn, "log", "", "of a server: also log to standard error in this `FORMAT`: json or console")
	fl.BoolVar(&f.quiet, "quiet", false, "of a server: print no progress")
	cobra.CheckErr(c.MarkFlagDirname("store"))
	completeFlag(c, "log", cobra.FixedCompletions([]string{"json", "console"}, cobra.ShellCompDirectiveNoFileComp))
	for _, name := range []string{"memory", "findings"} {
		completeFlag(c, name, cobra.NoFileCompletions)
	}
}

// serverOnly refuses what has a meaning for servers only.
func (f *reconcileFlags) serverOnly(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("reconcile takes an EXTRACT only for a server, such as fhir:https://server.example.org/fhir")
	}
	for _, name := range []string{"server", "repair", "store", "id-key", "memory", "findings", "log", "quiet"} {
		if c.Flags().Changed(name) {
			return usagef("--%s is for targets that are servers, such as fhir:https://server.example.org/fhir", name)
		}
	}
	return nil
}

// serverReconciliation compares a server with its index and the accounts, and repairs it.
type serverReconciliation struct {
	flags   *reconcileFlags
	work    *serverWork
	extract []string
	out     io.Writer

	manifests []*manifest.Manifest

	result  serverResult
	settled map[string]bool // what a repair need not bring back: it was deleted, by Type/id
}

// serverResult is what reconcile prints as JSON.
type serverResult struct {
	Target     string    `json:"target"`
	Software   string    `json:"software"`
	Loads      int       `json:"loads"`
	Streams    []string  `json:"streams"`
	Unfinished []string  `json:"unfinished"`
	Adopted    int64     `json:"adopted"`            // resources that the index has learned from the server
	NotLoaded  int64     `json:"not_loaded"`         // resources of the source that the server should have, and the index does not know
	Newer      int64     `json:"not_updated"`        // resources of the source with other content than was loaded
	NotDeleted int64     `json:"not_deleted"`        // resources that the source has deleted, and are still on the server
	Repaired   bool      `json:"repaired,omitempty"` // the rest is how the server was afterwards
	Types      []*swept  `json:"types"`
	Findings   []finding `json:"findings"`
	Agree      bool      `json:"agree"`
}

func (f *reconcileFlags) reconcileServer(ctx context.Context, t serverTarget, extract []string, out io.Writer) error {
	r, err := f.reconciliation(t, extract, out)
	if err != nil {
		return err
	}
	if err := r.sweep(ctx); err != nil {
		return err
	}
	if err := r.compareSource(ctx); err != nil {
		return err
	}
	var repairing error
	if f.repair && !r.agrees() {
		if repairing = r.mend(ctx); repairing != nil && ctx.Err() != nil {
			return repairing
		}
		r.result.Repaired = repairing == nil
		if err := r.sweep(ctx); err != nil {
			return errors.Join(repairing, err)
		}
		r.result.NotLoaded, r.result.Newer, r.result.NotDeleted = 0, 0, 0
		if err := r.compareSource(ctx); err != nil {
			return errors.Join(repairing, err)
		}
	}
	r.result.Agree = r.agrees() && repairing == nil
	if err := r.print(); err != nil {
		return errors.Join(repairing, err)
	}
	if !r.agrees() {
		return errors.Join(repairing, errors.New("the server does not agree with what was loaded"))
	}
	return repairing
}

// reconciliation sets everything up.
func (f *reconcileFlags) reconciliation(t serverTarget, extract []string, out io.Writer) (*serverReconciliation, error) {
	w := &serverWork{target: t, state: t.state(f.state), flags: &f.server, log: newLog(f.logIn), quiet: f.quiet}
	if err := t.check(w.state); err != nil {
		return nil, err
	}
	if len(extract) > 0 && f.store != "" {
		return nil, usagef("name an EXTRACT or --store, not both")
	}
	memory, err := parseMemory(f.memory)
	if err != nil {
		return nil, err
	}
	w.memory = indexMemory(memory)
	limitHeap(memory, w.memory)
	if w.config, err = f.server.config(t); err != nil {
		return nil, err
	}
	r := &serverReconciliation{flags: f, work: w, extract: extract, out: out}
	if r.manifests, err = manifest.All(w.state); err != nil {
		return nil, err
	}
	w.fingerprint, err = r.key()
	return r, err
}

// key is the fingerprint of the key that the ids on the server are made with: what the flag says, or that
// of the store, of the index, of the loads, or of the user.
func (r *serverReconciliation) key() (string, error) {
	if r.flags.idKey == "" {
		if r.flags.store != "" {
			s, _, err := openNamed(r.flags.store)
			if err != nil {
				return "", err
			}
			defer s.Close()
			err = keyOf(s, r.work)
			return r.work.fingerprint, err
		}
		if key, err := remote.KeyOf(r.work.state, r.work.memory); key != "" || err != nil {
			return key, err
		}
		if n := len(r.manifests); n > 0 {
			return r.manifests[n-1].IDKey, nil
		}
	}
	id, err := idKey(r.flags.idKey)
	if err != nil {
		return "", err
	}
	return id.Fingerprint(), nil
}

// sweep compares the server with the index.
func (r *serverReconciliation) sweep(ctx context.Context) (err error) {
	index, err := r.work.index(ctx, repairRun, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	r.work.takeNotes()                               // what they are about is said below
	if err := r.endMending(ctx, index); err != nil { // of a process that was killed
		return err
	}
	r.result.Types, r.result.Findings = nil, []finding{}
	s := &sweeper{server: r.work.server, index: index, gives: r.work.server.Settings().IDs == "conditional", say: r.progress()}
	s.found = func(f finding) error {
		r.result.Findings = append(r.result.Findings, f)
		return nil
	}
	for typ := range fhir.NumTypes {
		found, err := s.sweep(ctx, typ)
		if err != nil {
			return err
		}
		r.result.Types = append(r.result.Types, found)
	}
	r.result.Adopted += s.adopted
	if r.manifests, err = manifest.All(r.work.state); err != nil {
		return err
	}
	return r.accounts(ctx, index)
}

// progress says from time to time how far the list of the server is.
func (r *serverReconciliation) progress() func(fhir.Type, int64) {
	last := time.Now()
	return func(t fhir.Type, n int64) {
		if n%1000 == 0 && !r.work.quiet && time.Since(last) >= quietEvery {
			last = time.Now()
			fmt.Fprintf(os.Stderr, "%s: %s compared\n", t, comma(n))
		}
	}
}

// accounts adds what the accounts of loads, exports and streams say.
func (r *serverReconciliation) accounts(ctx context.Context, index *remote.Loader) error {
	ledger, err := index.Ledger()
	if err != nil {
		return err
	}
	delete(ledger, repairRun)
	streams, err := streamrun.AccountsByGroup(ctx, index)
	if err != nil {
		return err
	}
	res := &r.result
	res.Target, res.Software = r.work.target.String(), describeSoftware(r.work.server.probe)
	res.Loads, res.Streams, res.Unfinished = len(r.manifests), slices.Sorted(maps.Keys(streams)), unfinished(ledger, r.manifests)
	if res.Streams == nil {
		res.Streams = []string{}
	}
	for t, s := range res.Types {
		add := func(c pipeline.ResourceCount) { s.Accounts += c.Created - c.Deleted }
		for _, m := range r.manifests {
			add(m.Resources[s.Type])
		}
		for _, run := range res.Unfinished {
			add(ledger[run].Resources[t])
		}
		for _, a := range streams {
			add(a.Resources[t])
		}
	}
	return nil
}

// agrees reports whether nothing is missing, different, extra, or counted otherwise. The accounts may differ: what a
// process had sent when it was killed is adopted by the next one, and counted as unchanged.
func (r *serverReconciliation) agrees() bool {
	for _, s := range r.result.Types {
		if s.Missing+s.Different+s.Extra > 0 || s.Counted != s.Server {
			return false
		}
	}
	return r.result.NotLoaded+r.result.Newer+r.result.NotDeleted == 0
}

func (r *serverReconciliation) print() error {
	if r.flags.output == "json" {
		e := json.NewEncoder(r.out)
		e.SetIndent("", "  ")
		return e.Encode(&r.result)
	}
	w, res := r.out, &r.result
	fmt.Fprintf(w, "%s: %s\n\n", res.Target, res.Software)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\taccounts\tindex\tserver\tmissing\tdifferent\textra\t\n")
	var total swept
	for _, s := range res.Types {
		if s.Accounts+s.Index+s.Server+s.Counted == 0 {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", s.Type, comma(s.Accounts), comma(s.Index), comma(s.Server), comma(s.Missing), comma(s.Different), comma(s.Extra))
		total.Missing, total.Different, total.Extra = total.Missing+s.Missing, total.Different+s.Different, total.Extra+s.Extra
		total.Foreign, total.Server, total.Counted = total.Foreign+s.Foreign, total.Server+s.Server, total.Counted+s.Counted
	}
	t.Flush()
	fmt.Fprintln(w)
	r.printFindings()
	if res.Adopted > 0 {
		fmt.Fprintf(w, "The index did not know all that the server has. It has learned %s.\n", many(res.Adopted, "resource"))
	}
	if total.Foreign > 0 {
		fmt.Fprintf(w, "%s put there by others: the ids are not ours. That is left alone.\n", wasWere(total.Foreign, "resource"))
	}
	others := false
	for _, s := range res.Types {
		if s.Counted != s.Server {
			fmt.Fprintf(w, "The server counts %s %s, but lists %s: its search index is behind, or wrong.\n", comma(s.Counted), s.Type, comma(s.Server))
		}
		others = others || s.Accounts != s.Index
	}
	if others {
		fmt.Fprintln(w, "The accounts differ from the index where the server already had what was to be written or deleted: after a process was killed, or an index was lost.")
	}
	for _, run := range res.Unfinished {
		fmt.Fprintln(w, describeUnfinished(r.work.state, run))
	}
	if res.NotLoaded > 0 {
		fmt.Fprintf(w, "Of the source, %s never loaded.\n", wasWere(res.NotLoaded, "resource"))
	}
	if res.Newer > 0 {
		fmt.Fprintf(w, "Of the source, %s loaded with other content.\n", wasWere(res.Newer, "resource"))
	}
	if res.NotDeleted > 0 {
		fmt.Fprintf(w, "Of the source, %s deleted, and still on the server.\n", wasWere(res.NotDeleted, "resource"))
	}
	if res.Agree {
		fmt.Fprintf(w, "The server agrees: 0 missing, 0 different, 0 extra; it counts %s itself.\n", many(total.Counted, "resource"))
		return nil
	}
	r.advise(&total)
	return nil
}

// printFindings lists what is wrong, as far as it was asked for.
func (r *serverReconciliation) printFindings() {
	shown := map[string]int{}
	for _, f := range r.result.Findings {
		shown[f.Kind]++
		if most := r.flags.findings; most == 0 || shown[f.Kind] <= most {
			fmt.Fprintf(r.out, "%-9s  %s\n", f.Kind, f.Resource)
		}
	}
	for _, kind := range []string{missing, different, extra} {
		if more := shown[kind] - r.flags.findings; r.flags.findings > 0 && more > 0 {
			fmt.Fprintf(r.out, "and %s more that are %s; --findings 0 lists all\n", comma(int64(more)), kind)
		}
	}
	if len(shown) > 0 {
		fmt.Fprintln(r.out)
	}
}

// advise says what to do.
func (r *serverReconciliation) advise(total *swept) {
	if total.Missing+total.Different+r.result.NotLoaded+r.result.Newer+r.result.NotDeleted > 0 && !r.flags.repair {
		fmt.Fprintf(r.out, "To load just that: cpcds2fhir reconcile --to %s --repair\n", r.work.target)
	}
	if total.Different > 0 && !r.flags.repair {
		fmt.Fprintln(r.out, "What is different was changed on the server by somebody else. --repair overwrites that.")
	}
	if total.Extra > 0 {
		fmt.Fprintln(r.out, "What is extra has an id of ours, but no load that the index knows has left it there: another state folder's load has, or one before its state was lost. Nothing removes it by itself.")
	}
}
