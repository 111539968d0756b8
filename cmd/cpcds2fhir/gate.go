package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rejects"
)

// gateAll is the gate that loads a whole run or nothing.
const gateAll = "all-or-nothing"

// passGate makes a whole run without loading anything, and fails if a load would, so that nothing
// reaches the target. It costs reading, checking and mapping everything twice. What it rejects is
// kept, as after a load.
func (j *job) passGate(ctx context.Context, x *extract, run *batchrun.Config) error {
	if !j.flags.quiet {
		fmt.Fprintln(os.Stderr, "Checking the whole extract before loading anything (--gate all-or-nothing)")
	}
	dir := filepath.Join(j.state, "gate")
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("empty %s: %w", dir, err)
	}
	defer os.RemoveAll(dir)
	loader, err := j.target.compare(ctx, j, run)
	if err != nil {
		return err
	}
	defer loader.Close()
	check := j.newRun(x, "")
	check.ID, check.Directory, check.State, check.DryRun, check.Loader = run.ID, j.state, dir, true, loader
	check.Voider, _ = loader.(pipeline.Voider)
	check.Budget.Set, check.Budget.AtEnd = true, true // without --max-rejects, nothing may be rejected
	m := j.manifest(x, run, "load")
	err = j.execute(ctx, x, check, m)
	if err == nil {
		err = unusable(m, j.flags.allowEmpty)
	}
	if err == nil {
		return nil
	}
	m.NothingLoaded()
	if !errors.Is(err, context.Canceled) {
		err = errors.Join(fmt.Errorf("nothing was loaded, because the check of the whole extract failed: %w", err), j.keepRejects(check, m))
	}
	return err
}

// keepRejects moves the rejects of the checking pass to where loads keep theirs.
func (j *job) keepRejects(check *batchrun.Config, m *manifest.Manifest) error {
	from, to := rejects.Dir(check.State, check.ID), rejects.Dir(j.state, check.ID)
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := errors.Join(os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o700))
	if err == nil {
		err = os.Rename(from, to)
	}
	if err == nil {
		err = m.Begin(j.state)
	}
	if err != nil {
		return fmt.Errorf("keep rejects: %w", err)
	}
	return nil
}
