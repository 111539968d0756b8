package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// loadFlags are the flags of load, and of replay.
type loadFlags struct {
	layout, to, carin, profiles string
	mode, idKey                 string
	memory, maxRejects, state   string
	manifest, output, logLevel  string
	workers                     int
	dryRun, quiet, stats        bool
	startOver, allowEmpty       bool
	demo                        bool // into the demo's own target
	metricsFile, gate           string
	manifestOf                  *manifest.Manifest // of the run, as far as it has got
	noRepair                    []string
	profile                     profileFlags
}

func (f *loadFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.layout, "layout", "", "use this `LAYOUT`, a built-in name or a file (default: recognised from the headers)")
	fl.StringVar(&f.to, "to", defaultTarget, "load into this `TARGET`: store:DIR or ndjson:DIR[?compress=zstd|gzip]")
	fl.StringVar(&f.carin, "carin", "2.2.0", "release of the CARIN guide: 2.2.0 or 2.0.0")
	choiceFlag(c, &f.profiles, "profiles", "the guide's financial profiles, or its Basis profiles, which have no amounts", carin.Profiles...)
	choiceFlag(c, &f.mode, "mode", "strict rejects whatever breaks an error rule; lenient first repairs what it can", "strict", "lenient")
	fl.StringSliceVar(&f.noRepair, "no-repair", nil, "do not apply this `REPAIR` in lenient mode; may be repeated")
	fl.StringVar(&f.idKey, "id-key", "", "make resource ids with the key in `FILE or env:NAME` (default: your own, created on first use)")
	fl.IntVar(&f.workers, "workers", min(runtime.NumCPU(), mostWorkers), "number of CPUs to use and of lanes to run in parallel")
	fl.StringVar(&f.memory, "memory", "512MiB", "use at most `SIZE` of memory; 64MiB is the minimum")
	fl.StringVar(&f.maxRejects, "max-rejects", "", "stop when more than `N or P%` of the claims and rows are rejected (default: no limit)")
	fl.StringVar(&f.state, "state", "", "keep rejects, manifests and resume points in `DIR` (default: the target's name with .state)")
	fl.StringVar(&f.manifest, "manifest", "", "write the account as JSON to `FILE`, whose folder must exist")
	fl.StringVar(&f.metricsFile, "metrics-file", "", "write the account as Prometheus metrics to `FILE`, for a textfile collector")
	fl.BoolVar(&f.allowEmpty, "allow-empty", false, "succeed even if the extract has no claims")
	fl.BoolVar(&f.dryRun, "dry-run", false, "read, check and map everything and compare it with the target, but load nothing")
	fl.BoolVar(&f.quiet, "quiet", false, "print no progress and no account, only warnings and errors")
	fl.BoolVar(&f.stats, "stats", false, "also print the time spent in each stage")
	choiceFlag(c, &f.output, "output", "format of the account", "text", "json")
	fl.StringVar(&f.logLevel, "log", "", "also log to standard error in this `FORMAT`: json or console")
	completeLoadFlags(c, f)
}

func newLoad() *cobra.Command {
	f := &loadFlags{}
	c := &cobra.Command{
		Use:   "load [flags] EXTRACT...",
		Short: "Load claim extracts into a FHIR store or into NDJSON files",
		Long: `Load reads files, folders or globs of Parquet, CSV (also .gz and .zst) and Arrow
files, including folders written by Spark, Hive or Delta Lake. It recognises their
layout, maps every claim to the CARIN Blue Button profiles and writes the resources
durably. At the end it prints an account that must balance.

What cannot become a valid resource is rejected and kept with its reason: see
'cpcds2fhir rejects'. If a run is stopped, run the same command again to resume it.
Loading the same extract again changes nothing.`,
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
			return f.ended(f.load(c.Context(), args, c.OutOrStdout()))
		},
	}
	f.register(c)
	c.Flags().BoolVar(&f.startOver, "start-over", false, "load from the beginning if the target or its state folder was lost or replaced")
	choiceFlag(c, &f.gate, "gate", "open loads whatever is valid; all-or-nothing checks the run first, which takes about as long as a load, and loads nothing if more is rejected than --max-rejects allows, or anything without --max-rejects", "open", gateAll)
	f.profile.register(c)
	return c
}

// job is a load that is set up.
type job struct {
	flags      *loadFlags
	target     target
	state      string
	version    *carin.Version
	identity   *fhir.Identity
	budget     batchrun.Budget
	noRepair   map[string]bool
	out        io.Writer
	started    time.Time
	firsts     map[string]string // by rule: where the first reject is
	forgetting bool              // what the target remembers of this run no longer counts
	newer      func(string) bool // of a replay: whether the target has something newer than the reject of a tag
	resumed    atomic.Int64      // claims that checkpoints of an earlier start account for

	batchPieces int // of Run
	room        readerRoom
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
	if j.target.kind == "store" && !f.dryRun {
		j.storeMemory = storeMemory(memory)
	}
	limitHeap(memory, j.storeMemory)
	j.batchPieces = batchPieces(memory, f.workers)
	j.room = roomOf(memory, f.workers)
	if !f.dryRun {
		j.room.temp = j.state
	}
	collectSeldom()
	if j.budget, err = parseBudget(f.maxRejects); err != nil {
		return nil, err
	}
	for _, r := range f.noRepair {
		j.noRepair[r] = true
	}
	if err := f.began(j.started); err != nil {
		return nil, err
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
	x, err := openExtract(args, f.layout, f.mode == "lenient", j.noRepair, j.room)
	if err != nil {
		return err
	}
	defer x.close()
	if err := checkRepairs("--no-repair", j.flags.noRepair, x.layout); err != nil {
		return err
	}
	inputs, err := x.fingerprint()
	if err != nil {
		return err
	}
	if !f.allowEmpty {
		if err := x.expectClaims(); err != nil {
			return err
		}
	}
	if s := exampleSystem(x.layout.Systems); s != "" && !f.demo {
		x.warnings = append(x.warnings, fmt.Sprintf("layout %s has example identifier systems, such as %s: apps cannot tell whose identifiers they are; set your own under systems in your own layout", x.layout.Name, s))
	}
	run := j.newRun(x, inputs)
	if f.gate == gateAll && !f.dryRun {
		if err := j.passGate(ctx, x, run); err != nil {
			return err
		}
	}
	m, err := j.do(ctx, x, run, "load")
	if err != nil {
		return err
	}
	return j.report(m)
}

// exampleSystem returns a system in an example domain, or "".
func exampleSystem(s layouts.Systems) string {
	for _, system := range []string{s.Claim, s.Member, s.UniqueMember, s.Provider, s.Organization, s.Payer, s.Coverage} {
		if u, err := url.Parse(system); err == nil && (u.Host == "example.org" || strings.HasSuffix(u.Host, ".example.org") || u.Host == "example.com") {
			return system
		}
	}
	return ""
}

// checkRepairs rejects names in a flag or setting that are not repairs of the layout.
func checkRepairs(setting string, names []string, l *layouts.Layout) error {
	known := pipeline.KnownRepairs(l)
	for _, r := range names {
		if !slices.Contains(known, r) {
			return usagef("%s %q: layout %s has no such repair; it has %s", setting, r, l.Name, strings.Join(known, ", "))
		}
	}
	return nil
}

// newRun sets up the engine. The run's id is derived from everything that shapes its output, so
// that the same command finds its own checkpoints.
func (j *job) newRun(x *extract, inputs string) *batchrun.Config {
	h := sha256.New()
	off := slices.Sorted(slices.Values(j.flags.noRepair))
	fmt.Fprint(h, inputs, "\x00", x.layout.Hash, "\x00", j.version.Name, "\x00", j.flags.profiles, "\x00", j.flags.mode, "\x00", off, "\x00",
		j.identity.Fingerprint(), "\x00", batchrun.Output, "\x00", j.target.compress)
	run := &batchrun.Config{
		ID:       hex.EncodeToString(h.Sum(nil)[:8]),
		Inputs:   x.inputs,
		Layout:   x.layout,
		Repairs:  pipeline.Repairs{Lenient: j.flags.mode == "lenient", Off: j.noRepair},
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

// do opens the target, runs the load and returns its manifest, which is kept in the state folder.
func (j *job) do(ctx context.Context, x *extract, run *batchrun.Config, command string) (*manifest.Manifest, error) {
	m := j.manifest(x, run, command)
	if j.flags.dryRun {
		scratch, err := os.MkdirTemp("", "cpcds2fhir-")
		if err != nil {
			return nil, fmt.Errorf("create a folder for the dry run: %w", err)
		}
		defer os.RemoveAll(scratch)
		run.Directory, run.State, run.DryRun = j.state, scratch, true
		if run.Loader, err = j.comparer(run); err != nil {
			return nil, err
		}
		defer run.Loader.Close()
		run.Voider, _ = run.Loader.(pipeline.Voider)
		if err := j.execute(ctx, x, run, m); err != nil {
			return nil, err
		}
		return m, j.closeRejects(ctx, run)
	}
	made, err := j.intoTarget(ctx, x, run, m)
	if err == nil {
		return made, nil
	}
	if err := j.startOver(err, run.Replay != nil); err != nil {
		return nil, err
	}
	j.forgetting = true
	return j.intoTarget(ctx, x, run, m)
}

// intoTarget makes the run that loads into the target.
func (j *job) intoTarget(ctx context.Context, x *extract, run *batchrun.Config, m *manifest.Manifest) (*manifest.Manifest, error) {
	again, err := j.openLoader(run)
	if err != nil {
		return nil, err
	}
	defer run.Loader.Close()
	if again != nil {
		return again, nil
	}
	if t, ok := run.Loader.(pipeline.StreamTarget); ok {
		if run.Streams, err = streamrun.Known(ctx, t); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(manifest.KeepLayout(j.state, x.layout), m.Begin(j.state)); err != nil {
		return nil, err
	}
	loader := run.Loader
	run.Loader = &resumeCounter{loader, &j.resumed}
	err = j.execute(ctx, x, run, m)
	run.Loader = loader // the counter does not pass on all of its methods
	if err == nil {
		err = tellStreams(ctx, loader, j.state)
	}
	if err != nil {
		return nil, resumable{err}
	}
	if err := j.closeRejects(ctx, run); err != nil {
		return nil, resumable{err}
	}
	return m, m.Keep(j.state)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// manifest begins the manifest of a run.
func (j *job) manifest(x *extract, run *batchrun.Config, command string) *manifest.Manifest {
	m := &manifest.Manifest{
		ManifestVersion: manifest.Version, Status: manifest.Running,
		ToolVersion: toolVersion(), Command: command, Run: run.ID, Target: j.target.String(), Started: stamp(j.started),
		Layout: manifest.Layout{Name: x.layout.Name, SHA256: x.layout.Hash, Why: x.why}, CARINVersion: j.version.Name,
		Profiles: j.flags.profiles, Mode: j.flags.mode, RepairsOff: slices.Sorted(slices.Values(j.flags.noRepair)), IDKey: j.identity.Fingerprint(), DryRun: j.flags.dryRun,
	}
	for i, in := range x.inputs {
		size := int64(0)
		if i < len(x.of) {
			size = x.sizes[x.of[i]]
		}
		m.AddInput(in, size)
	}
	m.LeftOut = x.leftOut
	j.flags.manifestOf = m
	return m
}

// execute runs the engine with progress and logs, and fills in the manifest.
func (j *job) execute(ctx context.Context, x *extract, run *batchrun.Config, m *manifest.Manifest) error {
	began := time.Now()
	p := newProgress(j.flags, run)
	run.Events = p.events(m)
	for _, w := range x.warnings {
		run.Events.Warn(w)
	}
	engine, err := batchrun.New(run)
	if err != nil {
		return err
	}
	var result *batchrun.Result
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		result, err = engine.Load(gctx)
		return err
	})
	g.Go(func() error { // the digests are computed during the load
		for i, found := range x.found {
			if err := gctx.Err(); err != nil {
				return err
			}
			d, err := digest(gctx, found.Path)
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
	err = g.Wait()
	p.close(err)
	j.newer = result.Newer
	m.Count(result.Account)
	if _, ok := errors.AsType[*batchrun.BudgetError](err); ok {
		return j.overBudget(run, err)
	}
	if err != nil {
		return err
	}
	m.Finished, m.Status = stamp(time.Now()), manifest.Complete
	m.Count(result.Account)
	m.Measure(run.Stages, time.Since(began))
	return nil
}

// closeRejects closes the rejects that need no further action after a run, and notes where the
// first one of each rule is. A replay closes its rejects itself.
func (j *job) closeRejects(ctx context.Context, run *batchrun.Config) error {
	j.firsts = map[string]string{}
	s, err := rejects.OpenStore(run.State)
	if err != nil {
		return err
	}
	run.Events.EnterPhase("rejects")
	target, _ := run.Loader.(pipeline.Target)
	if run.Replay != nil {
		target = nil
	}
	return s.Close(ctx, run.ID, target, j.firstPlaces)
}

// report prints the account and writes --manifest and --metrics-file.
func (j *job) report(m *manifest.Manifest) error {
	j.flags.manifestOf = m
	if err := j.flags.write(m); err != nil {
		return err
	}
	if !j.flags.quiet {
		if err := j.printAccount(m); err != nil {
			return fmt.Errorf("the run is complete, but printing its account failed: %w", err)
		}
	}
	if !m.Balanced {
		return errors.New("the account does not balance; this is a bug, please report it with the manifest")
	}
	if m.Command == "load" {
		return unusable(m, j.flags.allowEmpty)
	}
	return nil
}
