package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/statefile"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
)

// exportFlags are the flags of an export into a server.
type exportFlags struct {
	server               serverFlags
	state, output, logIn string
	memory               string
	quiet                bool
}

func (f *exportFlags) register(c *cobra.Command) {
	fl := c.Flags()
	f.server.register(c)
	fl.StringVar(&f.state, "state", "", "of a server: keep the index, accounts and what was refused in `DIR` (default: the server's name with .state)")
	fl.StringVar(&f.memory, "memory", "512MiB", "of a server: use at most `SIZE` of memory")
	fl.BoolVar(&f.quiet, "quiet", false, "print no progress and no account, only warnings and errors")
	fl.StringVar(&f.logIn, "log", "", "of a server: also log to standard error in this `FORMAT`: json or console")
	choiceFlag(c, &f.output, "output", "of a server: format of the account", "text", "json")
	cobra.CheckErr(c.MarkFlagDirname("state"))
	completeFlag(c, "log", cobra.FixedCompletions([]string{"json", "console"}, cobra.ShellCompDirectiveNoFileComp))
	completeFlag(c, "memory", cobra.NoFileCompletions)
}

// exportRun is the run of all exports into a server: each brings it up to date.
const exportRun = "export"

// exportLanes is how many batches are loaded at once. Types follow each other, so that what a resource
// refers to is there.
const exportLanes = 4

// exportBatch is the size of a batch.
const exportBatch = 4 << 20

// exporter brings a server up to date with a store.
type exporter struct {
	work  *serverWork
	store store.Handle
	index *remote.Loader

	mu       sync.Mutex
	total    pipeline.Account // of the lanes, as far as they are durable
	refused  *bufio.Writer    // nil of a pass that only compares
	exported [fhir.NumTypes][]uint64
	done     int64
	told     time.Time
}

// toServer exports a store into a server.
func (f *exportFlags) toServer(c *cobra.Command, dir string, t serverTarget) error {
	w, err := f.work(t)
	if err != nil {
		return err
	}
	s, _, err := openNamed(dir)
	if err != nil {
		return err
	}
	defer s.Close()
	w.arguments = absolute([]string{strings.TrimPrefix(dir, "store:")})
	m, err := exportToServer(c.Context(), s, w)
	if err != nil {
		return err
	}
	if err := f.printExport(c.OutOrStdout(), dir, w, m); err != nil {
		return err
	}
	if n := refusedOf(m); n > 0 {
		return fmt.Errorf("the server refused %s", many(n, "resource"))
	}
	return nil
}

// printExport prints the account of an export.
func (f *exportFlags) printExport(out io.Writer, dir string, w *serverWork, m *manifest.Manifest) error {
	if f.output == "json" {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(m)
	}
	if f.quiet {
		return nil
	}
	fmt.Fprintf(out, "\nFrom store:%s into %s\n\n", dir, w.target)
	writeResources(tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight), m.Resources)
	fmt.Fprintf(out, "\n%s\n", w.summary())
	if refusedOf(m) > 0 {
		counts(out, "Refused, by rule", m.Rejects, nil)
		fmt.Fprintf(out, "Which they are and why is in %s.\n", refusedFile(w.state))
	}
	return nil
}

// refusedOf is how many resources the server has refused. An export has no rejects of its own.
func refusedOf(m *manifest.Manifest) (n int64) {
	for _, of := range m.Rejects {
		n += of
	}
	return n
}

// work sets up the work on the server.
func (f *exportFlags) work(t serverTarget) (*serverWork, error) {
	w := &serverWork{target: t, state: t.state(f.state), flags: &f.server, log: newLog(f.logIn), quiet: f.quiet}
	if err := t.check(w.state); err != nil {
		return nil, err
	}
	memory, err := parseMemory(f.memory)
	if err != nil {
		return nil, err
	}
	w.memory = indexMemory(memory)
	limitHeap(memory, w.memory+storeMemory(memory)) // the other one is the store that is exported
	w.config, err = f.server.config(t)
	return w, err
}

// refusedFile lists what a server has refused of an export. It may hold values.
func refusedFile(state string) string { return filepath.Join(state, "refused-of-export.ndjson") }

// exportToServer brings a server up to date with a store, and keeps the account.
func exportToServer(ctx context.Context, s store.Handle, w *serverWork) (m *manifest.Manifest, err error) {
	if err := keyOf(s, w); err != nil {
		return nil, err
	}
	if w.target.bulk {
		err := w.importFirst(ctx, exportRun, func(staging pipeline.Loader, _ pipeline.Voider) error {
			x := &exporter{work: w, store: s}
			return errors.Join(x.resources(ctx, staging), staging.Finish(ctx, &x.total))
		})
		if err != nil {
			return nil, err
		}
	}
	m, err = exportInBundles(ctx, s, w)
	if err := errors.Join(err, w.endImport(ctx, err == nil)); err != nil {
		return nil, resumable{err}
	}
	return m, nil
}

// keyOf makes the key of the store's ids that of the server's index.
func keyOf(s store.Handle, w *serverWork) error {
	key, err := s.Meta(store.MetaIDKey)
	if errors.Is(err, store.ErrNotFound) {
		return environmentf("the store is empty: there is nothing to export")
	}
	w.fingerprint = string(key)
	return err
}

func exportInBundles(ctx context.Context, s store.Handle, w *serverWork) (m *manifest.Manifest, err error) {
	earlier, err := finishedRun(w.state, exportRun)
	if err != nil {
		return nil, err
	}
	index, err := w.index(ctx, exportRun, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	if earlier != nil {
		if err := index.Forget(exportRun); err != nil {
			return nil, err
		}
	}
	for _, n := range w.takeNotes() {
		fmt.Fprintln(os.Stderr, "warning: "+n)
	}
	m = &manifest.Manifest{ManifestVersion: manifest.Version, Status: manifest.Running, ToolVersion: toolVersion(), Command: "export", Run: exportRun,
		Target: w.target.String(), Started: stamp(time.Now()), IDKey: w.fingerprint, Profiles: carin.Profiles[0], Arguments: w.arguments}
	m.Count(new(pipeline.Account))
	if err := m.Begin(w.state); err != nil {
		return nil, err
	}
	x := &exporter{work: w, store: s, index: index}
	err = statefile.Replace(refusedFile(w.state), func(refused *bufio.Writer) error {
		x.refused = refused
		if err := x.resources(ctx, index); err != nil {
			return err
		}
		if err := x.deletions(ctx, index); err != nil {
			return err
		}
		return index.Finish(ctx, &x.total)
	})
	if err != nil {
		return nil, err
	}
	m.Status, m.Finished = manifest.Complete, stamp(time.Now())
	m.Count(&x.total)
	return m, m.Keep(w.state)
}

// resources loads all current resources of the store, type by type.
func (x *exporter) resources(ctx context.Context, l pipeline.Loader) error {
	for typ := range fhir.NumTypes {
		batches := make(chan *fhir.Batch)
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			defer close(batches)
			return x.read(gctx, typ, batches)
		})
		for n := range exportLanes {
			g.Go(func() error { return x.lane(gctx, l, fmt.Sprintf("export-%s-%d", typ, n), batches) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// read cuts the resources of a type into batches.
func (x *exporter) read(ctx context.Context, typ fhir.Type, batches chan<- *fhir.Batch) error {
	b := new(fhir.Batch)
	give := func() error {
		select {
		case batches <- b:
			b = new(fhir.Batch)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for e, err := range x.store.Export(ctx, typ) {
		if err != nil {
			return err
		}
		version, err := x.version(ctx, typ, e.ID)
		if err != nil {
			return err
		}
		b.Add(&fhir.Resource{Type: typ, ID: e.ID, LastUpdated: e.LastUpdated, SourceVersion: version, JSON: e.JSON})
		if x.index != nil {
			x.exported[typ] = append(x.exported[typ], maphash.String(idSeed, e.ID))
		}
		if b.Size() >= exportBatch {
			if err := give(); err != nil {
				return err
			}
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return give()
}

// version is the source version of a resource. What the store has is right, even if something newer was
// exported before: a correction may have brought an older version back, or deleted it.
func (x *exporter) version(ctx context.Context, typ fhir.Type, id string) (string, error) {
	version, err := x.store.SourceVersion(ctx, typ, id)
	if err != nil || x.index == nil {
		return version, err
	}
	exported, ok, err := x.index.SourceVersion(ctx, fhir.Reference(typ, id))
	if order, ordered := fhir.CompareVersions(version, exported); err == nil && ok && (!ordered || order < 0) {
		version = exported
	}
	return version, err
}

// lane loads batches. Its account goes on from that of an earlier start: what that has loaded is unchanged
// now.
func (x *exporter) lane(ctx context.Context, l pipeline.Loader, name string, batches <-chan *fhir.Batch) error {
	cp, err := l.Resume(ctx, name)
	if err != nil {
		return err
	}
	account := cp.Account
	for b := range batches {
		if err := x.load(ctx, l, name, b, &account, false); err != nil {
			return err
		}
	}
	if err := x.load(ctx, l, name, new(fhir.Batch), &account, true); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.total.Add(&account)
	return nil
}

// load loads one batch, and adds its outcomes to the account of the lane.
func (x *exporter) load(ctx context.Context, l pipeline.Loader, lane string, b *fhir.Batch, account *pipeline.Account, done bool) error {
	var after pipeline.Account
	var why []pipeline.RejectProblem
	err := l.Load(ctx, lane, b, func(outcomes []pipeline.Outcome, refusals pipeline.Refusals) (pipeline.Checkpoint, error) {
		after, why = pipeline.Account{}, nil // only the last call counts
		after.Add(account)
		if after.Rejects == nil {
			after.Rejects = map[string]int64{}
		}
		for i, r := range b.All() {
			after.Resources[r.Type].Count(outcomes[i])
			if outcomes[i] == pipeline.Refused {
				p := refusedProblem(r, refusals[i])
				after.Rejects[p.Rule]++
				why = append(why, p)
			}
		}
		return pipeline.Checkpoint{Done: done, Account: after}, nil
	})
	if err != nil {
		return err
	}
	*account = after
	return x.progress(b, why)
}

// refusedProblem says why a resource was refused.
func refusedProblem(r *fhir.Resource, why *pipeline.Refusal) pipeline.RejectProblem {
	p := pipeline.RejectProblem{Rule: pipeline.RuleServerRefused, Resource: r.Type.String() + "/" + r.ID}
	if why != nil {
		p.Rule, p.Status, p.Codes, p.Locations, p.Text = why.Rule, why.Status, why.Codes, why.Locations, why.Text
	}
	return p
}

// progress keeps what was refused, and prints how far the export is from time to time.
func (x *exporter) progress(b *fhir.Batch, refused []pipeline.RejectProblem) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.refused != nil {
		e := json.NewEncoder(x.refused)
		for i := range refused {
			if err := e.Encode(&refused[i]); err != nil {
				return err
			}
		}
	}
	x.done += int64(b.Len())
	if now := time.Now(); !x.work.quiet && now.Sub(x.told) >= quietEvery {
		if !x.told.IsZero() {
			fmt.Fprintf(os.Stderr, "%s compared; %s\n", many(x.done, "resource"), x.work.meter.now())
		}
		x.told = now
	}
	return nil
}

// deletionsAtOnce is how many deletions are loaded at once.
const deletionsAtOnce = 1000

// deletions deletes on the server what the store has deleted, claims first.
func (x *exporter) deletions(ctx context.Context, l pipeline.Loader) error {
	const lane = "export-deletions"
	cp, err := l.Resume(ctx, lane)
	if err != nil {
		return err
	}
	account := cp.Account
	for typ := range fhir.NumTypes {
		typ = fhir.NumTypes - 1 - typ
		candidates, err := x.gone(ctx, typ)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(candidates, deletionsAtOnce) {
			b, err := x.deleted(ctx, typ, some)
			if err != nil {
				return err
			}
			if err := x.load(ctx, l, lane, b, &account, false); err != nil {
				return err
			}
		}
	}
	if err := x.load(ctx, l, lane, new(fhir.Batch), &account, true); err != nil {
		return err
	}
	x.total.Add(&account)
	return nil
}

// gone returns the ids of a type that the store or the index knows, and that were not exported. The index may
// be one that was lost, so the store is asked too: all its versions are in the order of their commits, also
// those that mark something as deleted.
func (x *exporter) gone(ctx context.Context, typ fhir.Type) ([]string, error) {
	exported := x.exported[typ]
	slices.Sort(exported)
	candidates := map[string]bool{}
	add := func(id string) {
		if _, ok := slices.BinarySearch(exported, maphash.String(idSeed, id)); !ok {
			candidates[id] = true
		}
	}
	err := x.index.EachKnown(ctx, typ, func(id string, _ remote.There) error {
		add(id)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for c, err := range x.store.Changes(ctx, typ, 0, nil) {
		if err != nil {
			return nil, err
		}
		add(c.ID)
	}
	return slices.Sorted(maps.Keys(candidates)), nil
}

// deleted returns those deletions that the server does not have yet. What the store has never had is not its
// affair.
func (x *exporter) deleted(ctx context.Context, typ fhir.Type, candidates []string) (*fhir.Batch, error) {
	all := new(fhir.Batch)
	for _, id := range candidates {
		e, err := x.store.Get(ctx, typ, id)
		if errors.Is(err, store.ErrNotFound) || err == nil && !e.Deleted {
			continue
		}
		if err != nil {
			return nil, err
		}
		version, err := x.version(ctx, typ, id)
		if err != nil {
			return nil, err
		}
		all.Delete(typ, id, e.LastUpdated, version)
	}
	outcomes, err := x.index.Ask(ctx, all)
	if err != nil {
		return nil, err
	}
	b := new(fhir.Batch)
	for i, r := range all.All() {
		if outcomes[i] != pipeline.Unchanged {
			b.Delete(typ, r.ID, r.LastUpdated, r.SourceVersion)
		}
	}
	return b, nil
}
