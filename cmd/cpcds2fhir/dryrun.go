package main

import (
	"context"

	"cpcds2fhir/loaders/ndjson"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/schemas/fhir"
)

// comparer opens the target for a dry run. For each resource it reports what a load would do.
func (j *job) comparer(run *batchrun.Config) (pipeline.Loader, error) {
	if j.target.kind == "store" {
		return storeloader.OpenComparer(j.target.dir, j.identity.Fingerprint(), j.storeMemory)
	}
	earlier, err := finishedRun(j.state, run.ID)
	if err != nil {
		return nil, err
	}
	if earlier != nil {
		return outcome(pipeline.Unchanged), nil
	}
	if run.Replay == nil {
		if err := j.target.foreign(j.state); err != nil {
			return nil, err
		}
	}
	return outcome(pipeline.Created), ndjson.Check(j.target.dir, j.ndjsonOptions(run))
}

// outcome is a loader that loads nothing and reports the same outcome for everything.
type outcome pipeline.Outcome

func (outcome) Resume(context.Context, string) (pipeline.Checkpoint, error) {
	return pipeline.Checkpoint{}, nil
}

func (o outcome) Load(ctx context.Context, _ string, b *fhir.Batch, seal pipeline.Seal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	outcomes := make([]pipeline.Outcome, b.Len())
	for i := range outcomes {
		outcomes[i] = pipeline.Outcome(o)
	}
	_, err := seal(outcomes)
	return err
}

func (outcome) Finish(context.Context, *pipeline.Account) error { return nil }

func (outcome) Close() error { return nil }
