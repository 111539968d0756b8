package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
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
	server                      serverFlags
	workersChosen               bool            // not the default
	kept                        *layouts.Layout // instead of layout, if it is not nil
	only                        *wanted         // of a repair: what is loaded; nil is everything
	arguments                   []string        // the extract, as the manifest records it
}

func (f *loadFlags) register(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.layout, "layout", "", "use this `LAYOUT`, a built-in name or a file (default: recognised from the headers)")
	fl.StringVar(&f.to, "to", defaultTarget, "load into this `TARGET`: store:DIR, ndjson:DIR[?compress=zstd|gzip], fhir:URL or import:URL")
	fl.StringVar(&f.carin, "carin", "2.2.0", "release of the CARIN guide: 2.2.0 or 2.0.0")
	choiceFlag(c, &f.profiles, "profiles", "the guide's financial profiles, or its Basis profiles, which have no amounts", carin.Profiles...)
	choiceFlag(c, &f.mode, "mode", "strict rejects whatever breaks an error rule; lenient first repairs what it can", "strict", "lenient")
	fl.StringSliceVar(&f.noRepair, "no-repair", nil, "do not apply this `REPAIR` in lenient mode; may be repeated")
	fl.StringVar(&f.idKey, "id-key", "", "make resource ids with the key in `FILE or env:NAME` (default: your own, created on first use)")
	fl.IntVar(&f.workers, "workers", min(runtime.NumCPU(), mostWorkers), "number of CPUs to use and of lanes to run in parallel; into a server 2, unless you set it")
	fl.StringVar(&f.memory, "memory", "512MiB", "use at most `SIZE` of memory; 64MiB is the minimum")
	fl.StringVar(&f.maxRejects, "max-rejects", "", "stop when more than `N or P%` of the claims and rows are rejected (default: no limit)")
	fl.StringVar(&f.state, "state", "", "keep rejects, manifests and resume points in `DIR` (default: the target's name with .state)")
	fl.StringVar(&f.manifest, "manifest", "", "write the account as JSON to `FILE`, whose folder must exist")
	fl.StringVar(&f.metricsFile, "metrics-file", "", "write the account as Prometheus metrics to `FILE`, for a textfile collector")
	fl.BoolVar(&f.allowEmpty, "allow-empty", false, "succeed even if the extract has no claims")
	fl.BoolVar(&f.dryRun, "dry-run", false, "read, check and map everything and compare it with the target, but load nothing")
	fl.BoolVar(&f.quiet, "quiet", false, "print no progress and no account, only warnings and errors")
	fl.BoolVar(&f.stats, "stats", false, "also print the time spent in each stage")
	f.server.register(c)
	choiceFlag(c, &f.output, "output", "format of the account", "text", "json")
	fl.StringVar(&f.logLevel, "log", "", "also log to standard error in this `FORMAT`: json or console")
	completeLoadFlags(c, f)
}

func newLoad() *cobra.Command {
	f := &loadFlags{}
	c := &cobra.Command{
		Use:   "load [flags] EXTRACT...",
		Short: "Load claim extracts into a FHIR store, a FHIR server or NDJSON files",
		Long: `Load reads files, folders or globs of Parquet, CSV (also .gz and .zst) and Arrow
files, including folders written by Spark, Hive or Delta Lake. It recognises their
layout, maps every claim to the CARIN Blue Button profiles and writes the resources
durably. At the end it prints an account that must balance.

What cannot become a valid resource is rejected and kept with its reason: see
'cpcds2fhir rejects'. If a run is stopped, run the same command again to resume it.
Loading the same extract again changes nothing.

With fhir:URL the target is a FHIR R4 server: resources go there in bundles, as many at
once as the server takes. With import:URL they go through the server's bulk import,
for a first load of millions. An index in the state folder knows what the server has,
so what has not changed is never sent. What the server refuses becomes a reject.`,
		Example: `  cpcds2fhir load ./extract
  cpcds2fhir load --to 'ndjson:./out?compress=zstd' claims.parquet members.parquet coverages.parquet
  cpcds2fhir load --mode lenient --layout synthea --manifest account.json ./csv
  cpcds2fhir load --dry-run --output json ./extract
  cpcds2fhir load --to fhir:https://server.example.org/fhir --server server.yaml ./extract
  cpcds2fhir load --to import:https://server.example.org/fhir --stage s3://bucket/claims ./extract`,
		Args: needs("an extract: files, folders or globs", true),
		RunE: func(c *cobra.Command, args []string) (err error) {
			stop, err := f.profile.start()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, stop()) }()
			f.workersChosen = c.Flags().Changed("workers")
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

	server *serverWork // of a target that is a server; nil of others
	log    *zap.Logger

	batchPieces int // of Run
	room        readerRoom
	storeMemory int64 // what memtables and cache of the embedded store may take, in bytes
}

// prepare checks the flags.
func (f *loadFlags) prepare(out io.Writer) (*job, error) {
	j := &job{flags: f, out: out, noRepair: map[string]bool{}, started: time.Now().UTC(), log: newLog(f.logLevel)}
	var err error
	if j.target, err = parseTarget(f.to); err != nil {
		return nil, err
	}
	j.state = j.target.state(f.state)
	if err := j.target.check(j.state); err != nil {
		return nil, err
	}
	if err := f.server.check(j.target); err != nil {
		return nil, err
	}
	config, err := f.server.config(j.target)
	if err != nil {
		return nil, err
	}
	if t, ok := j.target.(serverTarget); ok {
		j.server = &serverWork{target: t, state: j.state, config: config, flags: &f.server, log: j.log, quiet: f.quiet}
		if !f.workersChosen {
			f.workers = serverWorkers
		}
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
	if !f.dryRun {
		j.storeMemory = embeddedMemory(j.target, memory)
	}
	limitHeap(memory, j.storeMemory)
	j.batchPieces = batchPieces(memory, f.workers)
	if j.server != nil {
		j.batchPieces = serverPieces(memory, f.workers)
	}
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
	if j.server != nil {
		j.server.fingerprint, j.server.memory = j.identity.Fingerprint(), j.storeMemory
	}
	return j, nil
}

func (f *loadFlags) load(ctx context.Context, args []string, out io.Writer) error {
	j, err := f.prepare(out)
	if err != nil {
		return err
	}
	x, err := f.openExtract(j, args)
	if err != nil {
		return err
	}
	defer x.close()
	f.arguments = absolute(args)
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
	if f.only != nil {
		return j.bringBack(ctx, x, run)
	}
	if f.gate == gateAll && !f.dryRun {
		if err := j.passGate(ctx, x, run); err != nil {
			return err
		}
	}
	if err := j.importFirst(ctx, x, run); err != nil {
		return err
	}
	m, err := j.do(ctx, x, run, "load")
	if err := errors.Join(err, j.server.endImport(ctx, err == nil)); err != nil {
		return err
	}
	return j.report(m)
}

func (f *loadFlags) openExtract(j *job, args []string) (*extract, error) {
	return openExtract(args, f.kept, f.layout, f.mode == "lenient", j.noRepair, j.room)
}

// absolute makes paths independent of the current directory.
func absolute(paths []string) []string {
	var list []string
	for _, p := range paths {
		if a, err := filepath.Abs(p); err == nil {
			p = a
		}
		list = append(list, p)
	}
	return list
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
		j.identity.Fingerprint(), "\x00", batchrun.Output, "\x00", j.target.shape())
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
