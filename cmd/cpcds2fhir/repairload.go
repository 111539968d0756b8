package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/loaders/remote"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/schemas/fhir"
)

// repairRun has the checkpoints of repairs. They account for nothing: what a repair brings back is in the
// account of the load that has brought it first.
const repairRun = "reconcile"

// wanted is what a repair is to bring back from loads that are repeated, the newest first. It is safe for
// concurrent use.
type wanted struct {
	mu      sync.Mutex
	was     map[string]remote.Digest // of what was loaded, by Type/id
	exact   bool                     // only what was loaded is brought back, nothing that is older or newer
	brought map[string]bool          // what the load under way has had, and the server has or has refused
	deleted map[string]bool          // what was deleted instead
	refused int64
}

func (r *serverReconciliation) wanted() *wanted {
	w := &wanted{was: map[string]remote.Digest{}, brought: map[string]bool{}, deleted: map[string]bool{}}
	for _, f := range r.result.Findings {
		if f.Kind != extra {
			w.was[f.Resource] = f.was.Digest
		}
	}
	return w
}

// next begins with an older load: what a newer one has had is not its affair any more.
func (w *wanted) next() (left int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.brought {
		delete(w.was, name)
	}
	clear(w.brought)
	return len(w.was)
}

// has reports whether a resource is to be loaded.
func (w *wanted) has(index *remote.Loader, r *fhir.Resource) (bool, error) {
	w.mu.Lock()
	was, ok := w.was[fhir.Reference(r.Type, r.ID)]
	exact := w.exact
	w.mu.Unlock()
	if !ok || !exact {
		return ok, nil
	}
	if r.Deleted {
		return false, nil
	}
	digest, err := index.Digest(r.JSON)
	return digest == was, err
}

// note keeps what became of a resource. If something newer is known, this load does not decide.
func (w *wanted) note(r *fhir.Resource, o pipeline.Outcome) {
	if o == pipeline.Stale || o == pipeline.Unordered {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	name := fhir.Reference(r.Type, r.ID)
	w.brought[name] = true
	switch o {
	case pipeline.Refused:
		w.refused++
	case pipeline.Deleted:
		w.deleted[name] = true
	}
}

// selective loads what is wanted, and nothing else: the rest counts as unchanged. It keeps no checkpoints.
type selective struct {
	index *remote.Loader
	only  *wanted
}

var (
	_ pipeline.Loader  = (*selective)(nil)
	_ pipeline.Refuser = (*selective)(nil)
)

// Resume implements pipeline.Loader: a repair begins at the beginning.
func (s *selective) Resume(context.Context, string) (pipeline.Checkpoint, error) {
	return pipeline.Checkpoint{}, nil
}

// Load implements pipeline.Loader.
func (s *selective) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	some := new(fhir.Batch)
	var of []int // index in b of each of some
	for i, r := range b.All() {
		ok, err := s.only.has(s.index, r)
		if err != nil {
			return err
		}
		if ok {
			some.Add(r)
			of = append(of, i)
		}
	}
	outcomes := make([]pipeline.Outcome, b.Len())
	for i := range outcomes {
		outcomes[i] = pipeline.Unchanged
	}
	if len(of) == 0 {
		_, err := seal(outcomes, nil)
		return err
	}
	err := s.index.Load(ctx, lane, some, func(got []pipeline.Outcome, why pipeline.Refusals) (pipeline.Checkpoint, error) {
		refusals := pipeline.Refusals{}
		for i, at := range of {
			outcomes[at] = got[i]
			if r, ok := why[i]; ok {
				refusals[at] = r
			}
		}
		_, err := seal(outcomes, refusals)
		return pipeline.Checkpoint{}, err
	})
	if err != nil {
		return err
	}
	for i, r := range some.All() {
		s.only.note(r, outcomes[of[i]])
	}
	return nil
}

// Finish implements pipeline.Loader: nothing is finished but the repair.
func (*selective) Finish(context.Context, *pipeline.Account) error { return nil }

// Close implements pipeline.Loader.
func (s *selective) Close() error { return s.index.Close() }

// Refuses implements pipeline.Refuser.
func (s *selective) Refuses() bool { return s.index.Refuses() }

// bringBack repeats a load for what a repair wants of it. Its account and its rejects stay as they are.
func (j *job) bringBack(ctx context.Context, x *extract, run *batchrun.Config) (err error) {
	scratch, err := os.MkdirTemp("", "cpcds2fhir-")
	if err != nil {
		return fmt.Errorf("create a folder for the repair: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	index, err := j.server.index(ctx, repairRun, run.Stages)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	run.Directory, run.State, run.DryRun = j.state, scratch, true
	run.Loader, run.Voider = &selective{index, j.flags.only}, index
	return j.execute(ctx, x, run, j.manifest(x, run, "load"))
}

// bringBackFrom exports what a repair wants of a store.
func bringBackFrom(ctx context.Context, s store.Handle, w *serverWork, only *wanted) (err error) {
	if err := keyOf(s, w); err != nil {
		return err
	}
	index, err := w.index(ctx, repairRun, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	x, l := &exporter{work: w, store: s, index: index}, &selective{index, only}
	if err := x.resources(ctx, l); err != nil {
		return err
	}
	return x.deletions(ctx, l)
}
