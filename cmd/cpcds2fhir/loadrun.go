package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/streamrun"
)

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
		if run.Loader, err = j.target.compare(ctx, j, run); err != nil {
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
	again, err := j.target.open(ctx, j, run)
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
	m.LeftOut, m.Arguments = x.leftOut, j.flags.arguments
	j.flags.manifestOf = m
	return m
}

// execute runs the engine with progress and logs, and fills in the manifest.
func (j *job) execute(ctx context.Context, x *extract, run *batchrun.Config, m *manifest.Manifest) error {
	began := time.Now()
	p := newProgress(j.flags, run, j.log)
	if j.server != nil {
		p.server = j.server.meter.now
	}
	run.Events = p.events(m)
	for _, w := range x.warnings {
		run.Events.Warn(w)
	}
	x.warnings = nil // an import makes several passes
	if j.server != nil {
		for _, w := range j.server.takeNotes() {
			run.Events.Warn(w)
		}
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
		return errors.Join(s.Close(ctx, run.ID, nil, j.firstPlaces), s.Arrived(ctx, target))
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
