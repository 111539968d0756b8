package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cpcds2fhir/loaders/ndjson"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/mappers"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
)

// loadFlags are the flags of load, and of replay.
type loadFlags struct {
	layout, to, carin, profiles string
	mode, idKey                 string
	memory, maxRejects, state   string
	manifest, output, logLevel  string
	workers                     int
	dryRun, quiet, stats        bool
	noRepair                    []string
	profile                     profileFlags
}

func (f *loadFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.layout, "layout", "", "layout `NAME or FILE` (default: recognised from the headers)")
	fl.StringVar(&f.to, "to", defaultTarget, "`TARGET`: store:DIR or ndjson:DIR[?compress=zstd|gzip]")
	fl.StringVar(&f.carin, "carin", "2.2.0", "release of the CARIN guide: 2.2.0 or 2.0.0")
	choiceFlag(c, &f.profiles, "profiles", "financial profiles of the guide, or its Basis profiles, which have no amounts", carin.Profiles...)
	choiceFlag(c, &f.mode, "mode", "strict rejects what the profile calls an error; lenient repairs first what it can", "strict", "lenient")
	fl.StringSliceVar(&f.noRepair, "no-repair", nil, "`REPAIR`s that lenient mode must not apply")
	fl.StringVar(&f.idKey, "id-key", "", "key of the resource ids, `FILE or env:NAME` (default: your own, created on first use)")
	fl.IntVar(&f.workers, "workers", min(runtime.NumCPU(), mostWorkers), "CPUs to use, and lanes that run at the same time")
	fl.StringVar(&f.memory, "memory", "512MiB", "`SIZE` of memory that the process may use, at least 64MiB")
	fl.StringVar(&f.maxRejects, "max-rejects", "", "stop when more than `N or P%` of the claims and rows are rejected (default: no limit)")
	fl.StringVar(&f.state, "state", "", "`DIR` of rejects, manifests and resume points (default: the target's name with .state)")
	fl.StringVar(&f.manifest, "manifest", "", "write the account as JSON to `FILE`, whose folder must be there")
	fl.BoolVar(&f.dryRun, "dry-run", false, "read, check and map everything, load nothing")
	fl.BoolVar(&f.quiet, "quiet", false, "print no progress and no account; warnings and errors stay")
	fl.BoolVar(&f.stats, "stats", false, "also print where the time went, stage by stage")
	choiceFlag(c, &f.output, "output", "print the account as text or json", "text", "json")
	fl.StringVar(&f.logLevel, "log", "", "also log to standard error as `json or console`")
	completeLoadFlags(c, f)
}

func newLoad() *cobra.Command {
	f := &loadFlags{}
	c := &cobra.Command{
		Use:   "load [flags] EXTRACT...",
		Short: "Load claim extracts into a FHIR store or into NDJSON files",
		Long: `Load reads files, folders or globs of Parquet, CSV (also .gz and .zst) and Arrow
files, recognises their layout, maps every claim to the CARIN Blue Button profiles
and makes the resources durable. It ends with an account that must balance.

What cannot become a valid resource is rejected and kept with its reason: see
'cpcds2fhir rejects'. A run that was stopped goes on where it stopped when the same
command is given again. Loading the same extract again changes nothing.`,
		Example: `  cpcds2fhir load ./extract
  cpcds2fhir load --to 'ndjson:./out?compress=zstd' claims.parquet members.parquet coverages.parquet
  cpcds2fhir load --mode lenient --layout synthea --manifest account.json ./csv
  cpcds2fhir load --dry-run --output json ./extract`,
		Args: needs("an extract: files, folders or globs", true),
		RunE: func(c *cobra.Command, args []string) (err error) {
			stop, err := f.profile.start()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, stop()) }()
			return f.load(c.Context(), args, c.OutOrStdout())
		},
	}
	f.register(c)
	f.profile.register(c)
	return c
}

// job is a load that is set up.
type job struct {
	flags    *loadFlags
	target   target
	state    string
	version  *carin.Version
	identity *fhir.Identity
	budget   pipeline.Budget
	noRepair map[string]bool
	out      io.Writer
	started  time.Time
	firsts   map[string]string // by rule: where the first reject is
	resumed  atomic.Int64      // claims that checkpoints of an earlier call account for

	batchPieces int   // of Run
	storeMemory int64 // what memtables and cache of the embedded store may take, in bytes
}

// prepare checks the flags.
func (f *loadFlags) prepare(out io.Writer) (*job, error) {
	j := &job{flags: f, out: out, noRepair: map[string]bool{}, started: time.Now().UTC()}
	var err error
	if j.target, err = parseTarget(f.to); err != nil {
		return nil, err
	}
	j.state = j.target.state(f.state)
	if err := j.target.check(j.state); err != nil {
		return nil, err
	}
	if j.version, err = carin.ParseVersion(f.carin); err != nil {
		return nil, usageError{err}
	}
	if j.version, err = j.version.WithProfiles(f.profiles); err != nil {
		return nil, usagef("--profiles %s: %w", f.profiles, err)
	}
	if err := checkWorkers(f.workers); err != nil {
		return nil, err
	}
	// A lane makes the next batch while the target compresses and writes the one
	// before: without this, one worker would use two CPUs.
	if f.workers < runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(f.workers)
	}
	if f.logLevel != "" && f.logLevel != "json" && f.logLevel != "console" {
		return nil, usagef("--log %q: use json or console", f.logLevel)
	}
	memory, err := parseMemory(f.memory)
	if err != nil {
		return nil, err
	}
	// The limit leaves room for what the runtime does not count, such as thread stacks
	// and mapped files.
	limit := memory * 8 / 10
	if j.target.kind == "store" && !f.dryRun {
		j.storeMemory = storeMemory(memory)
		if storeloader.OutsideHeap {
			limit -= j.storeMemory
		}
	}
	debug.SetMemoryLimit(limit)
	j.batchPieces = batchPieces(memory, f.workers)
	// Collecting when the limit comes near, rather than whenever the heap has doubled,
	// makes a load 7% faster, and its memory the same at any size of the extract.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if j.budget, err = parseBudget(f.maxRejects); err != nil {
		return nil, err
	}
	for _, r := range f.noRepair {
		j.noRepair[r] = true
	}
	if f.manifest != "" {
		if err := checkManifest(f.manifest); err != nil {
			return nil, err
		}
	}
	if j.identity, err = idKey(f.idKey); err != nil {
		return nil, err
	}
	return j, nil
}

func (f *loadFlags) load(ctx context.Context, args []string, out io.Writer) error {
	j, err := f.prepare(out)
	if err != nil {
		return err
	}
	x, err := openExtract(args, f.layout, f.mode == "lenient", j.noRepair)
	if err != nil {
		return err
	}
	defer x.close()
	if err := j.checkRepairs(x); err != nil {
		return err
	}
	inputs, err := x.fingerprint()
	if err != nil {
		return err
	}
	run := j.newRun(x, inputs)
	m, err := j.do(ctx, x, run, "load")
	if err != nil {
		return err
	}
	return j.report(m)
}

// checkRepairs refuses names in --no-repair that are no repairs.
func (j *job) checkRepairs(x *extract) error {
	known := pipeline.Repairs(x.layout)
	for _, r := range j.flags.noRepair {
		if !slices.Contains(known, r) {
			return usagef("--no-repair %q: layout %s has no such repair; it has %s", r, x.layout.Name, strings.Join(known, ", "))
		}
	}
	return nil
}

// newRun sets up the engine. The id of the run follows from everything that
// shapes its output, so that the same command finds its own checkpoints.
func (j *job) newRun(x *extract, inputs string) *pipeline.Run {
	h := sha256.New()
	off := slices.Sorted(slices.Values(j.flags.noRepair))
	fmt.Fprint(h, inputs, "\x00", x.layout.Hash, "\x00", j.version.Name, "\x00", j.flags.profiles, "\x00", j.flags.mode, "\x00", off, "\x00",
		j.identity.Fingerprint(), "\x00", mappers.Revision, "\x00", j.target.compress)
	run := &pipeline.Run{
		ID:       hex.EncodeToString(h.Sum(nil)[:8]),
		Inputs:   x.inputs,
		Layout:   x.layout,
		Lenient:  j.flags.mode == "lenient",
		NoRepair: j.noRepair,
		Version:  j.version,
		Identity: j.identity,
		State:    j.state,
		Workers:  j.flags.workers,
		Budget:   j.budget,

		BatchPieces: j.batchPieces,
	}
	if j.flags.stats {
		run.Stages = new(pipeline.Stages)
	}
	return run
}

// do opens the target, makes the run and returns its manifest, which is kept in
// the state folder.
func (j *job) do(ctx context.Context, x *extract, run *pipeline.Run, command string) (*pipeline.Manifest, error) {
	m := j.manifest(x, run, command)
	if j.flags.dryRun {
		scratch, err := os.MkdirTemp("", "cpcds2fhir-")
		if err != nil {
			return nil, fmt.Errorf("make folder for the dry run: %w", err)
		}
		defer os.RemoveAll(scratch)
		run.Known, run.State, run.Unloaded, run.Loader = j.state, scratch, true, dryRun{}
		if err := j.execute(ctx, x, run, m); err != nil {
			return nil, err
		}
		j.firsts, err = firstPlaces(scratch, run.ID, m.Rejects)
		return m, err
	}
	again, err := j.openLoader(run)
	if err != nil {
		return nil, err
	}
	defer run.Loader.Close()
	if again != nil {
		return again, nil
	}
	if err := errors.Join(pipeline.KeepLayout(j.state, x.layout), m.Begin(j.state)); err != nil {
		return nil, err
	}
	loader := run.Loader
	run.Loader = &resumeCounter{loader, &j.resumed}
	err = j.execute(ctx, x, run, m)
	run.Loader = loader // it can do more than the counter passes on
	if err != nil {
		return nil, err
	}
	if err := run.CloseRejects(); err != nil {
		return nil, err
	}
	if j.firsts, err = firstPlaces(j.state, run.ID, m.Rejects); err != nil {
		return nil, err
	}
	return m, m.Keep(j.state)
}

// openLoader opens the target. If it already holds exactly this load and cannot
// compare it again, the account of the earlier run is returned, everything in it
// unchanged.
func (j *job) openLoader(run *pipeline.Run) (*pipeline.Manifest, error) {
	earlier, err := finishedRun(j.state, run.ID)
	if err != nil {
		return nil, err
	}
	if j.target.kind == "store" {
		l, err := storeloader.Open(j.target.dir, storeloader.Options{Run: run.ID, KeyFingerprint: j.identity.Fingerprint(), Memory: j.storeMemory, Stages: run.Stages})
		if err != nil {
			return nil, err
		}
		run.Loader = l
		if earlier != nil { // compare everything again
			if err := errors.Join(l.Forget(run.ID), run.Forget()); err != nil {
				return nil, errors.Join(err, l.Close())
			}
		}
		return nil, nil
	}
	if !run.Replay {
		if err := j.target.foreign(j.state); err != nil {
			return nil, err
		}
	}
	l, err := ndjson.Open(j.target.dir, ndjson.Options{
		Compress: j.target.compress, Run: run.ID, KeyFingerprint: j.identity.Fingerprint(), State: j.state,
		TransactionTime: transactionTime, Part: replayPart(run), Stages: run.Stages,
	})
	if err != nil {
		return nil, err
	}
	run.Loader, run.Appends = l, true
	if _, done := l.Finished(); done && earlier != nil {
		unchanged := *earlier
		unchanged.Started, unchanged.Finished = stamp(j.started), stamp(time.Now())
		unchanged.Claims.Unchanged += unchanged.Claims.Loaded
		unchanged.Claims.Loaded = 0
		for t, c := range unchanged.Resources {
			c.Unchanged += c.Created + c.Updated
			c.Created, c.Updated = 0, 0
			unchanged.Resources[t] = c
		}
		return &unchanged, nil
	}
	return nil, nil
}

// transactionTime of NDJSON manifests: the guide of bulk data wants one, and a
// clock would make the folder differ from run to run.
const transactionTime = "1970-01-01T00:00:00Z"

func finishedRun(state, id string) (*pipeline.Manifest, error) {
	list, err := pipeline.Manifests(state)
	if err != nil {
		return nil, err
	}
	for _, m := range slices.Backward(list) {
		if m.Run == id {
			return m, nil
		}
	}
	return nil, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// manifest begins the manifest of a run.
func (j *job) manifest(x *extract, run *pipeline.Run, command string) *pipeline.Manifest {
	m := &pipeline.Manifest{
		ToolVersion: toolVersion(), Command: command, Run: run.ID, Target: j.target.String(), Started: stamp(j.started),
		Layout: pipeline.ManifestLayout{Name: x.layout.Name, SHA256: x.layout.Hash, Why: x.why}, CARINVersion: j.version.Name,
		Profiles: j.flags.profiles, Mode: j.flags.mode, RepairsOff: slices.Sorted(slices.Values(j.flags.noRepair)), IDKey: j.identity.Fingerprint(), DryRun: j.flags.dryRun,
	}
	for i, in := range x.inputs {
		size := int64(0)
		if i < len(x.of) {
			size = x.sizes[x.of[i]]
		}
		m.Input(in, size)
	}
	m.LeftOut = x.leftOut
	return m
}

// execute runs the engine with progress and logs, and fills in the manifest.
func (j *job) execute(ctx context.Context, x *extract, run *pipeline.Run, m *pipeline.Manifest) error {
	began := time.Now()
	p := newProgress(j.flags, run)
	run.Events = p.events(m)
	for _, w := range x.warnings {
		run.Events.Warn(w)
	}
	var account *pipeline.Account
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		account, err = run.Load(gctx)
		return err
	})
	g.Go(func() error { // the digests are read beside the load
		for i, p := range x.paths {
			if err := gctx.Err(); err != nil {
				return err
			}
			d, err := digest(p)
			if err != nil {
				return err
			}
			for n, of := range x.of {
				if of == i {
					m.Inputs[n].SHA256 = d
				}
			}
		}
		return nil
	})
	err := g.Wait()
	p.close(err)
	if _, ok := errors.AsType[*pipeline.BudgetError](err); ok {
		return j.overBudget(run, err)
	}
	if err != nil {
		return err
	}
	m.Finished = stamp(time.Now())
	m.Count(account)
	m.Measure(run.Stages, time.Since(began))
	return nil
}

// report prints the account and writes --manifest.
func (j *job) report(m *pipeline.Manifest) error {
	if j.flags.manifest != "" {
		if err := m.Write(j.flags.manifest); err != nil {
			return err
		}
	}
	if !j.flags.quiet {
		if err := j.printAccount(m); err != nil {
			return fmt.Errorf("the run is complete, but its account could not be printed: %w", err)
		}
	}
	if !m.Balanced {
		return errors.New("the account does not balance: this is a fault of the program, please report it with the manifest")
	}
	return nil
}

// resumeCounter counts the claims that the checkpoints of a run account for when
// it begins.
type resumeCounter struct {
	pipeline.Loader
	claims *atomic.Int64
}

// Resume implements pipeline.Loader; a run calls it once for each lane.
func (l *resumeCounter) Resume(ctx context.Context, lane string) (pipeline.Checkpoint, error) {
	cp, err := l.Loader.Resume(ctx, lane)
	l.claims.Add(cp.Account.Claims.Seen)
	return cp, err
}

// dryRun is a loader that loads nothing and says that all would be new.
type dryRun struct{}

func (dryRun) Resume(context.Context, string) (pipeline.Checkpoint, error) {
	return pipeline.Checkpoint{}, nil
}

func (dryRun) Load(ctx context.Context, _ string, b *fhir.Batch, seal pipeline.Seal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := seal(make([]pipeline.Outcome, b.Len()))
	return err
}

func (dryRun) Finish(context.Context, *pipeline.Account) error { return nil }

func (dryRun) Close() error { return nil }
