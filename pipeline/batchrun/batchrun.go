// Package batchrun loads a finite extract into a target: first the small tables, then the claims,
// lane by lane, then the scattered claims, then what only claims refer to. Into a target that may refuse
// a resource whose references it lacks, what only claims refer to comes before them: see survey. It wires the packages of
// the engine together, and decides what is read when, what is loaded in which lane and batch, and
// what a checkpoint holds. Other packages decide what a row or claim becomes.
//
// An Engine is made from a Config and never changes. It keeps nothing from one load to the next.
package batchrun

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"cpcds2fhir/mappers"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/claims"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/referenced"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/scattered"
	"cpcds2fhir/pipeline/statefile"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Engine makes loads of one Config. It is safe for concurrent use, but a target and a state
// folder take one load at a time.
type Engine struct {
	Config
	mapper *mappers.Mapper
	claims claims.Config
	tables tables.Config
	merge  referenced.Merge

	refuses   bool // the target may refuse any resource
	surveying bool // nothing is loaded or rejected, see survey

	pieceBytes     int // of a piece of a batch
	directoryBytes int // of a directory table in memory; 0 is the default
}

// seams let tests and benchmarks replace parts of an engine; the zero value replaces nothing.
type seams struct {
	rules          claims.Rules // check no claim, or differently
	pieceBytes     int
	directoryBytes int
	mergeBytes     int64 // of referenced-only resources that are put together in memory
}

// New makes an engine, or says what is wrong with its config.
func New(c *Config) (*Engine, error) { return newEngine(c, seams{}) }

func newEngine(c *Config, s seams) (*Engine, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	e := &Engine{Config: *c, mapper: mappers.New(c.Version, mappers.Systems(c.Layout.Systems)), pieceBytes: cmp.Or(s.pieceBytes, pieceBytes), directoryBytes: s.directoryBytes}
	checker := carin.NewChecker(c.Version)
	e.claims = claims.Config{Layout: c.Layout, Version: c.Version, Rules: checker, Mapper: e.mapper, Repairs: c.Repairs, Identity: c.Identity, Voider: c.Voider}
	if s.rules != nil {
		e.claims.Rules = s.rules
	}
	if r, ok := c.Loader.(pipeline.Refuser); ok {
		e.refuses = r.Refuses()
	}
	e.tables = tables.Config{Layout: c.Layout, Rules: checker, Mapper: e.mapper, Repairs: c.Repairs, Identity: c.Identity}
	if c.Replay != nil {
		e.claims.Present = c.Replay.Present
		e.tables.Replay, e.tables.Present = true, c.Replay.Present
	}
	e.merge = referenced.Merge{Root: referencedDir(c.State), Others: referencedDir(cmp.Or(c.Directory, c.State)), Run: c.ID, Spill: e.spillDir(),
		OnlyNew: c.Replay != nil && c.Replay.Appends, Memory: s.mergeBytes}
	return e, nil
}

// load is the state of one load.
type load struct {
	*Engine
	keys *scattered.Keys
	dir  *directory.Directory // the snapshot that has all small tables

	seen, refused atomic.Int64 // claims and rows of small tables, and how many of them were rejected

	mu      sync.Mutex
	durable pipeline.Account // of the lanes that are closed

	claimsGate gate // of a target that refuses resources

	batches sync.Pool // of *[2]fhir.Batch that lanes are done with
	newer   sync.Map  // of a replay: tags of rejects for which the target has something newer
}

// Result is what a load has done, as far as it got.
type Result struct {
	// Account covers the whole run; after an error, what has become durable.
	Account *pipeline.Account

	// Newer reports, of a replay, whether the target has something newer than a reject.
	Newer func(tag string) bool
}

// Load runs the load. It resumes where an earlier call with the same ID stopped. After an
// error, or when ctx is cancelled, everything that the account of the result covers is
// durable, and Load may be called again.
func (e *Engine) Load(ctx context.Context) (*Result, error) {
	l := &load{Engine: e}
	total, err := l.run(ctx)
	if err != nil {
		total = &l.durable
	}
	return &Result{Account: total, Newer: func(tag string) bool { _, ok := l.newer.Load(tag); return ok }}, err
}

func (l *load) run(ctx context.Context) (*pipeline.Account, error) {
	if err := os.MkdirAll(l.State, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	if err := l.emptySpillDir(); err != nil {
		return nil, err
	}
	if err := l.upgrade(); err != nil {
		return nil, err
	}
	known, err := directory.Open(cmp.Or(l.Directory, l.State), l.spillDir(), l.directoryBytes)
	if err != nil {
		return nil, err
	}
	defer known.Close()
	if err := l.place(ctx); err != nil {
		return nil, err
	}
	total, everything := new(pipeline.Account), l.everything
	if l.refuses {
		everything = l.everythingSurveyed
	}
	if err := everything(ctx, known, total); err != nil {
		return nil, err
	}
	if s, n := l.seen.Load(), l.refused.Load(); l.Budget.Over(s, n, true) {
		return nil, &BudgetError{n, s}
	}
	if err := os.RemoveAll(l.spillDir()); err != nil {
		return nil, fmt.Errorf("remove spill folder: %w", err)
	}
	l.Events.EnterPhase("finish")
	if err := l.Loader.Finish(ctx, total); err != nil {
		return nil, fmt.Errorf("finish the target: %w", err)
	}
	return total, nil
}

// upgrade upgrades the state folder to this release. Each step can be repeated, and the schema
// number is written last, so an interrupted upgrade starts again. A dry run does not change the
// folder that it reads.
func (l *load) upgrade() error {
	if l.DryRun {
		_, err := statefile.SchemaOf(cmp.Or(l.Directory, l.State))
		return err
	}
	found, err := statefile.SchemaOf(l.State)
	if err != nil {
		return err
	}
	if found < statefile.Schema {
		if err := directory.Upgrade(l.State, l.spillDir()); err != nil {
			return err
		}
	}
	return statefile.PutSchema(l.State)
}

// everything loads the small tables, then the claims, and then what only claims refer to.
func (l *load) everything(ctx context.Context, known *directory.Directory, total *pipeline.Account) error {
	if err := l.begin(ctx, known, total); err != nil {
		return err
	}
	if err := l.save(); err != nil {
		return err
	}
	if err := l.loadClaims(ctx, total); err != nil {
		return err
	}
	return l.loadReferenced(ctx, total)
}

// save makes the directory durable, once the tables are.
func (l *load) save() error {
	if l.DryRun {
		return nil
	}
	return l.dir.Save(l.State)
}

// begin loads the small tables, and meanwhile finds which claims are contiguous.
func (l *load) begin(ctx context.Context, known *directory.Directory, total *pipeline.Account) error {
	l.Events.EnterPhase("tables")
	out := make(chan indexed, len(tables.Order))
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if l.dir, err = l.indexTables(gctx, known, out); err != nil {
			return err
		}
		return l.scan(gctx)
	})
	g.Go(func() error { return l.loadTables(gctx, out, total) })
	return g.Wait()
}

// scan finds which claims are contiguous.
func (l *load) scan(ctx context.Context) (err error) {
	seed := l.Identity.Clone().Raw(fhir.ExplanationOfBenefit, "claim keys")
	l.keys, err = scattered.Scan(ctx, l.claimLanes(), binary.BigEndian.Uint64(seed[:]), l.spillDir(), l.Workers)
	return err
}

// accounted is pipeline.Parallel that adds what the calls account for to total.
func (l *load) accounted(ctx context.Context, n int, total *pipeline.Account, f func(ctx context.Context, i int, account *pipeline.Account) error) error {
	accounts := make([]pipeline.Account, n)
	err := pipeline.Parallel(ctx, l.Workers, n, func(ctx context.Context, i int) error { return f(ctx, i, &accounts[i]) })
	if err != nil {
		return err
	}
	for i := range accounts {
		total.Add(&accounts[i])
	}
	return nil
}

// spillDir is the folder of a run's temporary files.
func (e *Engine) spillDir() string { return filepath.Join(e.State, "spill") }

// emptySpillDir makes an empty folder: rows that a killed run left there must not be read again,
// and members' data must not stay.
func (e *Engine) emptySpillDir() error {
	if err := os.RemoveAll(e.spillDir()); err != nil {
		return fmt.Errorf("empty spill folder: %w", err)
	}
	if err := os.MkdirAll(e.spillDir(), 0o700); err != nil {
		return fmt.Errorf("make spill folder: %w", err)
	}
	return nil
}

// closed records what the checkpoints of a lane account for.
func (l *load) closed(a *pipeline.Account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.durable.Add(a)
}

// overBudget checks the budget after a batch.
func (l *load) overBudget(seen, rejected int64) error {
	if s, n := l.seen.Add(seen), l.refused.Add(rejected); l.Budget.Over(s, n, false) {
		return &BudgetError{n, s}
	}
	return nil
}

// Forget removes what a finished or abandoned run left in a state folder, except its rejects'
// resolutions. The run can then start over.
func Forget(state, run string) error {
	m := referenced.Merge{Root: referencedDir(state), Run: run}
	return errors.Join(os.RemoveAll(m.Dir()), os.RemoveAll(rejects.Dir(state, run)))
}

// referencedDir is the folder of the referenced-only resources of all runs. Earlier releases
// called these mentions.
func referencedDir(state string) string { return filepath.Join(state, "mentions") }

// claimLanes are the lanes of the claims table.
func (l *load) claimLanes() (lanes []rowbatch.Lane) {
	for _, in := range l.Inputs {
		if in.Table == cpcds.Claims {
			lanes = append(lanes, in.Lanes()...)
		}
	}
	return lanes
}
