package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/statefile"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
)

// mend loads what the sweep has found missing or different. The index forgets it, so a load sends just that.
// What the load did not bring is remembered again, or the next sweep would not miss it.
func (r *serverReconciliation) mend(ctx context.Context) error {
	r.work.say("Repairing")
	r.settled = map[string]bool{}
	if err := r.withIndex(ctx, r.beginMending); err != nil {
		return err
	}
	err := r.loadAgain(ctx)
	if ctx.Err() != nil {
		return err
	}
	return errors.Join(err, r.withIndex(ctx, r.endMending))
}

func (r *serverReconciliation) withIndex(ctx context.Context, f func(context.Context, *remote.Loader) error) error {
	index, err := r.work.index(ctx, repairRun, nil)
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, index), index.Close())
}

// mending is what the index has forgotten for a repair, as it was.
type mending struct {
	Type    fhir.Type    `json:"type"`
	ID      string       `json:"id"`
	Was     remote.There `json:"was"`
	Missing bool         `json:"missing"`
	Counted bool         `json:"counted"` // the repair counts what it brings back or deletes
}

// forgotten is a digest that no resource has in practice.
var forgotten = remote.Digest{0xff, 'f', 'o', 'r', 'g', 'o', 't', 't', 'e', 'n'}

func (r *serverReconciliation) mendingFile() string {
	return filepath.Join(r.work.state, "mending.json")
}

// beginMending makes the index forget what is missing, and that what is different has the content that was
// loaded. What it forgets is durable before.
func (r *serverReconciliation) beginMending(ctx context.Context, index *remote.Loader) error {
	list := []mending{}
	var learned []remote.Finding
	for _, f := range r.result.Findings {
		x := remote.Finding{Type: f.typ, ID: f.id}
		switch f.Kind {
		case extra:
			continue
		case different:
			x.There = f.there
			x.There.Digest = forgotten
		}
		list = append(list, mending{f.typ, f.id, f.was, f.Kind == missing, r.flags.store != "" || len(r.extract) > 0})
		learned = append(learned, x)
	}
	text, err := json.Marshal(list)
	if err == nil {
		err = statefile.Write(r.mendingFile(), text)
	}
	if err != nil {
		return err
	}
	return index.Learn(ctx, learned)
}

// endMending makes the index know again what a repair did not bring, and notes in the accounts what was gone
// and is back: its load has counted it as created again.
func (r *serverReconciliation) endMending(ctx context.Context, index *remote.Loader) error {
	text, err := os.ReadFile(r.mendingFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var list []mending
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return fmt.Errorf("read what was to be repaired: %w", err)
	}
	var again []remote.Finding
	var back pipeline.Account
	for _, m := range list {
		now, ok, err := index.Known(ctx, m.Type, m.ID)
		switch {
		case err != nil:
			return err
		case !ok && r.settled[fhir.Reference(m.Type, m.ID)]:
			if !m.Counted {
				back.Resources[m.Type].Deleted++
			}
		case !ok || now.Digest == forgotten || r.settled[fhir.Reference(m.Type, m.ID)] && now.Digest != m.Was.Digest:
			again = append(again, remote.Finding{Type: m.Type, ID: m.ID, There: m.Was})
		case m.Missing && m.Counted:
			back.Resources[m.Type].Deleted++
		}
	}
	if err := index.Learn(ctx, again); err != nil {
		return err
	}
	if err := r.correctAccounts(&back); err != nil {
		return err
	}
	return os.Remove(r.mendingFile())
}

// correctAccounts notes that resources which the accounts have as created were gone.
func (r *serverReconciliation) correctAccounts(gone *pipeline.Account) error {
	if gone.Resources == (pipeline.Account{}).Resources {
		return nil
	}
	m := &manifest.Manifest{Status: manifest.Running, ToolVersion: toolVersion(), Command: "reconcile", Run: repairRun,
		Target: r.work.target.String(), Started: stamp(time.Now()), IDKey: r.work.fingerprint}
	m.Count(gone)
	if err := m.Begin(r.work.state); err != nil {
		return err
	}
	m.Status, m.Finished = manifest.Complete, stamp(time.Now())
	m.Count(gone)
	return m.Keep(r.work.state)
}

// loadAgain loads from what there is to repair from.
func (r *serverReconciliation) loadAgain(ctx context.Context) error {
	switch {
	case r.flags.store != "":
		return r.fromStore(func(s store.Handle) error { return r.export(ctx, s, r.flags.store, nil) })
	case len(r.extract) > 0:
		f, err := r.loadAs(r.lastLoad())
		if err != nil {
			return err
		}
		return f.load(ctx, r.extract, io.Discard)
	}
	return r.fromRecorded(ctx)
}

// compareSource counts what a load of the source would send, if a source is named.
func (r *serverReconciliation) compareSource(ctx context.Context) error {
	switch {
	case r.flags.store != "":
		return r.fromStore(func(s store.Handle) error { return r.compareStore(ctx, s) })
	case len(r.extract) > 0:
		f, err := r.loadAs(r.lastLoad())
		if err != nil {
			return err
		}
		f.dryRun = true
		if err := f.load(ctx, r.extract, io.Discard); err != nil {
			return err
		}
		for _, c := range f.manifestOf.Resources {
			r.result.NotLoaded += c.Created
			r.result.Newer += c.Updated
		}
	}
	return nil
}

// again is the work on the same server for what follows a sweep.
func (r *serverReconciliation) again() *serverWork {
	w := r.work
	return &serverWork{target: serverTarget{url: w.target.url}, state: w.state, config: w.config, flags: new(serverFlags), fingerprint: w.fingerprint,
		memory: w.memory / 2, log: w.log, quiet: w.quiet, server: w.server}
}

func (r *serverReconciliation) fromStore(f func(store.Handle) error) error {
	s, _, err := openNamed(r.flags.store)
	if err != nil {
		return err
	}
	defer s.Close()
	return f(s)
}

// export brings the server up to date with a store; only, unless it is nil, is all that it may change.
func (r *serverReconciliation) export(ctx context.Context, s store.Handle, dir string, only *wanted) error {
	if err := r.settleDeleted(ctx, s); err != nil {
		return err
	}
	w := r.again()
	if only != nil {
		return bringBackFrom(ctx, s, w, only)
	}
	w.arguments = absolute([]string{strings.TrimPrefix(dir, "store:")})
	m, err := exportToServer(ctx, s, w)
	if err != nil {
		return err
	}
	if n := refusedOf(m); n > 0 {
		return refusedRepair(n)
	}
	return nil
}

func refusedRepair(n int64) error { return fmt.Errorf("the server refused %s", many(n, "resource")) }

// settleDeleted finds out what a store has deleted of what is missing or different: that need not be brought
// back. A deletion compares what it deletes, so the index learns what somebody else has made of it.
func (r *serverReconciliation) settleDeleted(ctx context.Context, s store.Handle) error {
	var learned []remote.Finding
	for _, f := range r.result.Findings {
		if f.Kind == extra {
			continue
		}
		e, err := s.Get(ctx, f.typ, f.id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err != nil || !e.Deleted {
			continue
		}
		r.settled[f.Resource] = true
		if f.Kind == different {
			learned = append(learned, remote.Finding{Type: f.typ, ID: f.id, There: f.there})
		}
	}
	if len(learned) == 0 {
		return nil
	}
	return r.withIndex(ctx, func(ctx context.Context, index *remote.Loader) error { return index.Learn(ctx, learned) })
}

// compareStore counts what an export of a store would send.
func (r *serverReconciliation) compareStore(ctx context.Context, s store.Handle) (err error) {
	c, err := r.work.comparer(ctx, repairRun)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	x := &exporter{work: r.work, store: s, index: c.index}
	if err := x.resources(ctx, c); err != nil {
		return err
	}
	if err := x.deletions(ctx, c); err != nil {
		return err
	}
	for _, c := range x.total.Resources {
		r.result.NotLoaded += c.Created
		r.result.Newer += c.Updated
		r.result.NotDeleted += c.Deleted
	}
	return nil
}

// lastLoad is the last load that the state folder knows, nil if it knows none.
func (r *serverReconciliation) lastLoad() *manifest.Manifest {
	for _, m := range slices.Backward(r.manifests) {
		if m.Command == "load" {
			return m
		}
	}
	return nil
}

// loadAs sets up a load into the server with the settings of an earlier one.
func (r *serverReconciliation) loadAs(m *manifest.Manifest) (*loadFlags, error) {
	f := &loadFlags{
		to: "fhir:" + r.work.target.url, carin: "2.2.0", profiles: carin.Profiles[0], mode: "strict", memory: r.flags.memory, state: r.work.state,
		idKey: r.flags.idKey, workers: min(runtime.NumCPU(), mostWorkers), output: "text", quiet: true, logLevel: r.flags.logIn, allowEmpty: true,
		server: serverFlags{file: r.flags.server.file},
	}
	if m == nil {
		return f, nil
	}
	f.carin, f.profiles, f.mode, f.noRepair = m.CARINVersion, m.Profiles, m.Mode, m.RepairsOff
	if f.profiles == "" {
		f.profiles = carin.Profiles[0]
	}
	var err error
	f.kept, err = manifest.KeptLayout(r.work.state, m.Layout.SHA256)
	return f, err
}

// fromRecorded repeats the loads that the state folder knows, if what they read is still there, for what is
// missing or different: the newest load that has it decides. If it is not the newest of all, or others have
// written too, just what was loaded is brought back: something newer may have come from elsewhere.
func (r *serverReconciliation) fromRecorded(ctx context.Context) error {
	only := r.wanted()
	left := only.next()
	only.exact = len(r.result.Streams)+len(r.result.Unfinished) > 0
	runs := map[string]bool{}
	var why []error
	for _, m := range slices.Backward(r.manifests) {
		if m.Command == "reconcile" || runs[m.Run] {
			continue
		}
		if left == 0 {
			break
		}
		runs[m.Run] = true
		if m.Command == "load" || m.Command == "export" {
			if err := r.repeat(ctx, m, only); err != nil {
				if ctx.Err() != nil {
					return err
				}
				why = append(why, err)
			}
		}
		left, only.exact = only.next(), true
	}
	for name := range only.deleted {
		r.settled[name] = true
	}
	if left == 0 && only.refused > 0 {
		return refusedRepair(only.refused)
	}
	if left == 0 {
		return nil // what could not be repeated was not needed
	}
	if len(why) == 0 {
		why = append(why, fmt.Errorf("what was loaded of %s is in no load that is known", many(int64(left), "resource")))
	}
	return fmt.Errorf("%w. Name what to repair from: cpcds2fhir reconcile --to %s --repair EXTRACT, or --store DIR for an embedded store", errors.Join(why...), r.work.target)
}

// repeat makes a load again that the state folder knows.
func (r *serverReconciliation) repeat(ctx context.Context, m *manifest.Manifest, only *wanted) error {
	if len(m.Arguments) == 0 {
		return fmt.Errorf("what the %s of %s has read is not recorded", m.Command, m.Started)
	}
	if m.Command == "export" {
		dir := m.Arguments[0]
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("the store %s is not there any more", dir)
		}
		s, _, err := openNamed(dir)
		if err != nil {
			return err
		}
		defer s.Close()
		return r.export(ctx, s, dir, only)
	}
	for _, in := range m.Inputs {
		if info, err := os.Stat(in.Path); err != nil || info.Size() != in.Size {
			return fmt.Errorf("%s has changed since it was loaded, or is not there any more", in.Path)
		}
	}
	f, err := r.loadAs(m)
	if err != nil {
		return err
	}
	f.only = only
	return f.load(ctx, m.Arguments, io.Discard)
}
