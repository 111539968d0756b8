package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"cpcds2fhir/mappers"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// Input is one opened file of an extract and the table it holds.
type Input struct {
	Path    string
	Table   cpcds.Table
	File    File
	Binding *layouts.Binding // how its columns are read; cloned per lane
	spans   []Span
	order   []int // columns of File as slabs have them: those of Binding, then the others
}

// columns returns the order in which slabs have the columns of the file. All are
// read: what the layout does not bind is kept with a reject, so that it can be
// replayed with another layout.
func (in *Input) columns() []int {
	if in.order == nil {
		in.order = slices.Clone(in.Binding.Source())
		for i := range in.File.Fields() {
			if !slices.Contains(in.order, i) {
				in.order = append(in.order, i)
			}
		}
	}
	return in.order
}

// Run is one load of an extract into a target. Its exported fields are set before
// Load is called; zero values of those marked so mean defaults.
type Run struct {
	ID          string // names the load: the same inputs and settings have the same id
	Inputs      []*Input
	Layout      *layouts.Layout
	Lenient     bool
	NoRepair    map[string]bool // repairs that are switched off
	Version     *carin.Version
	Identity    *fhir.Identity
	Loader      Loader
	State       string  // folder of rejects, mentions and the directory
	Workers     int     // 0 is 1
	BatchPieces int     // pieces of 4 MB that are loaded at once; 0 is 1. It changes no byte of what is written
	Budget      Budget  // zero is no limit
	Events      Events  // zero is silent
	Replay      bool    // the inputs are rejects: the directory of the state folder is what claims refer to
	Unloaded    bool    // dry run: nothing is loaded and nothing is remembered
	Known       string  // state folder of which the directory is read; "" is State
	Appends     bool    // the target cannot change what it has: a replay adds to it
	Stages      *Stages // where time is added up; nil measures nothing

	mapper  *mappers.Mapper
	checker *carin.Checker

	unchecked    bool  // of benchmarks alone
	pieceLimit   int   // of tests: pieceBytes of this run, if not 0
	mentionLimit int64 // of tests: mentionBytes of this run, if not 0
	dir          *directory
	keys         *keySet
	seen         atomic.Int64
	refused      atomic.Int64

	batches  sync.Pool // of *[2]fhir.Batch that lanes are done with
	obsolete sync.Map  // of a replay: ids of rejects of which the target has something newer
}

// Budget limits rejected claims and rows: a broken extract must not become a long
// reject file. The zero value is no limit.
type Budget struct {
	Set   bool
	Count int64   // with Share 0: at most so many
	Share float64 // 0..1: at most this share, judged from a thousand claims and rows on, and at the end
}

// over reports whether so many rejects among so many claims and rows are too many.
func (b Budget) over(seen, rejected int64, end bool) bool {
	if b.Share > 0 {
		return (end || seen >= 1000) && float64(rejected) > b.Share*float64(seen)
	}
	return b.Set && rejected > b.Count
}

// BudgetError says that a run was stopped because too much was rejected.
type BudgetError struct{ Rejected, Seen int64 }

func (e *BudgetError) Error() string {
	return fmt.Sprintf("stopped: %d of %d claims and rows were rejected, more than --max-rejects allows", e.Rejected, e.Seen)
}

// Load runs the load and returns its account. It resumes where an earlier call
// with the same ID stopped. After an error, or when ctx is cancelled, everything
// that the account of the checkpoints covers is durable, and Load may be called
// again.
func (r *Run) Load(ctx context.Context) (*Account, error) {
	r.mapper = mappers.New(r.Version, systems(r.Layout))
	r.checker = carin.NewChecker(r.Version)
	if err := os.MkdirAll(r.State, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	if err := r.emptySpillDir(); err != nil {
		return nil, err
	}
	known := r.Known
	if known == "" {
		known = r.State
	}
	var err error
	if r.dir, err = openDirectory(known); err != nil {
		return nil, err
	}
	defer r.dir.close()
	if err := r.plan(ctx); err != nil {
		return nil, err
	}
	total := new(Account)
	if err := r.begin(ctx, total); err != nil {
		return nil, err
	}
	if !r.Unloaded {
		if err := r.dir.save(r.State); err != nil {
			return nil, err
		}
	}
	if err := r.loadClaims(ctx, total); err != nil {
		return nil, err
	}
	if err := r.loadMentions(ctx, total); err != nil {
		return nil, err
	}
	if s, n := r.seen.Load(), r.refused.Load(); r.Budget.over(s, n, true) {
		return nil, &BudgetError{n, s}
	}
	if err := os.RemoveAll(r.spillDir()); err != nil {
		return nil, fmt.Errorf("remove spill folder: %w", err)
	}
	r.Events.phase("finish")
	if err := r.Loader.Finish(ctx, total); err != nil {
		return nil, fmt.Errorf("finish the target: %w", err)
	}
	return total, nil
}

func systems(l *layouts.Layout) mappers.Systems {
	s := l.Systems
	return mappers.Systems{Claim: s.Claim, Member: s.Member, UniqueMember: s.UniqueMember, Provider: s.Provider,
		Organization: s.Organization, Payer: s.Payer, Coverage: s.Coverage}
}

// plan cuts the inputs into lanes.
func (r *Run) plan(ctx context.Context) error {
	rows := make([]int64, len(r.Inputs))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(r.Workers, 1))
	first := map[File]*Input{} // a file that is several tables is cut once
	for i, in := range r.Inputs {
		if first[in.File] != nil {
			continue
		}
		first[in.File] = in
		g.Go(func() error {
			spans, err := in.File.Spans(gctx)
			if err != nil {
				return err
			}
			in.spans = spans
			for _, s := range spans {
				rows[i] += s.Rows
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, in := range r.Inputs {
		in.columns()
		if of := first[in.File]; of != in {
			in.spans = of.spans
			for _, s := range of.spans {
				rows[i] += s.Rows
			}
		}
	}
	r.Events.start(rows)
	return nil
}

// repairs reports whether a repair is on: in lenient mode, unless switched off.
// The empty name is a repair that the layout does not have.
func (r *Run) repairs(name string) bool { return r.Lenient && name != "" && !r.NoRepair[name] }

// claimLane is one lane of the claims table.
type claimLane struct {
	name  string
	input int
	span  Span
}

func (r *Run) claimLanes() []claimLane {
	var lanes []claimLane
	for i, in := range r.Inputs {
		if in.Table != cpcds.Claims {
			continue
		}
		for n, s := range in.spans {
			lanes = append(lanes, claimLane{fmt.Sprintf("claims-%03d-%05d", i, n), i, s})
		}
	}
	return lanes
}

// parallel calls f for 0 to n-1, as many at a time as there are workers, and none after
// the first error or when ctx is cancelled.
func (r *Run) parallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(r.Workers, 1))
	for i := range n {
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			return f(gctx, i)
		})
	}
	return g.Wait()
}

// accounted is parallel, and adds what the calls account for to total.
func (r *Run) accounted(ctx context.Context, n int, total *Account, f func(ctx context.Context, i int, account *Account) error) error {
	accounts := make([]Account, n)
	err := r.parallel(ctx, n, func(ctx context.Context, i int) error { return f(ctx, i, &accounts[i]) })
	if err != nil {
		return err
	}
	for i := range accounts {
		total.Add(&accounts[i])
	}
	return nil
}

// begin loads the small tables, and finds which claims stand together meanwhile.
func (r *Run) begin(ctx context.Context, total *Account) error {
	r.Events.phase("tables")
	tables := make(chan learned, len(tableOrder))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := r.learnTables(gctx, tables)
		if err == nil {
			r.keys, err = r.scanKeys(gctx, r.claimLanes())
		}
		return err
	})
	g.Go(func() error { return r.loadTables(gctx, tables, total) })
	return g.Wait()
}

// loadClaims loads the claims: first those whose rows stand together, lane by
// lane, then the others through the shuffle.
func (r *Run) loadClaims(ctx context.Context, total *Account) error {
	lanes := r.claimLanes()
	if len(lanes) == 0 {
		return nil
	}
	keys := r.keys
	var shuffle *shuffler // nil if all claims stand together
	if keys.any() {
		shuffle = r.newShuffler()
		defer shuffle.remove()
	}
	if keys.all {
		r.Events.phase("shuffle")
		if err := shuffle.gatherAll(ctx, lanes); err != nil {
			return err
		}
	} else {
		r.Events.phase("claims")
		err := r.accounted(ctx, len(lanes), total, func(ctx context.Context, i int, account *Account) error {
			return r.streamLane(ctx, lanes[i], shuffle, account)
		})
		if err != nil {
			return err
		}
	}
	if shuffle != nil {
		r.Events.phase("shuffle")
		if err := shuffle.loadAll(ctx, total); err != nil {
			return err
		}
	}
	if total.Claims.Seen != keys.distinct {
		return fmt.Errorf("the account does not agree with the extract: %d claim keys were read, %d were accounted for", keys.distinct, total.Claims.Seen)
	}
	return nil
}

// loadMentions loads what only claims mention.
func (r *Run) loadMentions(ctx context.Context, total *Account) error {
	r.Events.phase("mentions")
	var w *worker // made for the first one
	var seen int64
	err := r.mentioned(func(m *mention) (err error) {
		if w == nil {
			if w, err = r.newWorker(ctx, "mentions", -1); err != nil {
				return err
			}
		}
		if seen++; seen <= w.row {
			return nil
		}
		mapMention(&w.out, r.mapper, r.Layout, m)
		w.row++
		return w.flushIfFull(ctx)
	})
	if w == nil {
		return err
	}
	defer w.close()
	if err != nil {
		return err
	}
	if err := w.finish(ctx); err != nil {
		return err
	}
	total.Add(&w.base)
	return nil
}

// spillDir is the folder of the files that a run needs for itself only.
func (r *Run) spillDir() string { return filepath.Join(r.State, "spill") }

// emptySpillDir makes the folder, without what a run that was killed left there:
// rows of it must not be read again, and members' data must not stay.
func (r *Run) emptySpillDir() error {
	if err := os.RemoveAll(r.spillDir()); err != nil {
		return fmt.Errorf("empty spill folder: %w", err)
	}
	if err := os.MkdirAll(r.spillDir(), 0o700); err != nil {
		return fmt.Errorf("make spill folder: %w", err)
	}
	return nil
}

func (r *Run) mentionsDir() string { return filepath.Join(mentionsRoot(r.State), r.ID) }

func mentionsRoot(state string) string { return filepath.Join(state, "mentions") }

// overBudget checks the budget after a batch.
func (r *Run) overBudget(seen, rejected int64) error {
	if s, n := r.seen.Add(seen), r.refused.Add(rejected); r.Budget.over(s, n, false) {
		return &BudgetError{n, s}
	}
	return nil
}

// Forget removes what a finished or abandoned run left in the state folder, but
// for its rejects' resolutions: the run can then be made afresh.
func (r *Run) Forget() error {
	return errors.Join(os.RemoveAll(r.mentionsDir()), os.RemoveAll(rejectsDir(r.State, r.ID)))
}
