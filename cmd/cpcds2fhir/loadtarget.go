package main

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/schemas/cpcds"
)

// stillGood checks a finished run that is not repeated as if it were: against the limit of rejects,
// and that the rejects can be read.
func (j *job) stillGood(run *batchrun.Config, m *manifest.Manifest) error {
	s, err := rejects.OpenStore(j.state)
	if err != nil {
		return err
	}
	if runs, err := s.Runs(); err != nil {
		return err
	} else if slices.Contains(runs, run.ID) {
		if err := s.Heads(run.ID, func(*pipeline.Reject) error { return nil }); err != nil {
			return j.stranger(fmt.Sprintf("the rejects of this load are lost: %s", err))
		}
	}
	seen, rejected := m.Claims.Seen, m.Claims.Rejected
	for table, r := range m.Rows {
		if table != cpcds.Claims.String() {
			seen, rejected = seen+r.Read, rejected+r.Rejected
		}
	}
	if run.Budget.Over(seen, rejected, true) {
		return j.overBudget(run, &batchrun.BudgetError{Rejected: rejected, Seen: seen})
	}
	return nil
}

// finishedRun returns the account of a finished run. It returns nil if the run has not finished, or
// was started again and stopped.
func finishedRun(state, id string) (*manifest.Manifest, error) {
	if begun, err := manifest.Begun(state, id); err != nil || begun == nil || begun.Status == manifest.Running {
		return nil, err
	}
	list, err := manifest.All(state)
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

// resumeCounter counts the claims that a run's checkpoints account for at its start.
type resumeCounter struct {
	pipeline.Loader
	claims *atomic.Int64
}

// Refuses implements pipeline.Refuser, if the loader does.
func (l *resumeCounter) Refuses() bool {
	r, ok := l.Loader.(pipeline.Refuser)
	return ok && r.Refuses()
}

// Resume implements pipeline.Loader; a run calls it once for each lane.
func (l *resumeCounter) Resume(ctx context.Context, lane string) (pipeline.Checkpoint, error) {
	cp, err := l.Loader.Resume(ctx, lane)
	l.claims.Add(cp.Account.Claims.Seen)
	return cp, err
}
