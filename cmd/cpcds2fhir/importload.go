package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
)

// importFirst stages and imports what the server of a job does not have yet, if it is to be loaded by bulk
// import.
func (j *job) importFirst(ctx context.Context, x *extract, run *batchrun.Config) error {
	if j.server == nil || !j.server.target.bulk || j.flags.dryRun {
		return nil
	}
	return j.server.importFirst(ctx, run.ID, func(staging pipeline.Loader, voider pipeline.Voider) error {
		return j.stage(ctx, x, run, staging, voider)
	})
}

// stage is the pass over the extract that writes the files. Its state is its own: the load that follows
// accounts for everything.
func (j *job) stage(ctx context.Context, x *extract, run *batchrun.Config, staging pipeline.Loader, voider pipeline.Voider) error {
	dir := filepath.Join(j.state, importFolder, "pass")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make a folder for the import: %w", err)
	}
	pass := j.newRun(x, "")
	pass.ID, pass.Directory, pass.State, pass.DryRun = run.ID, j.state, dir, true
	pass.Loader, pass.Voider = staging, voider
	if err := j.execute(ctx, x, pass, j.manifest(x, run, "load")); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}
