package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"cpcds2fhir/internal/store/owner"
	"cpcds2fhir/loaders/ndjson"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/manifest"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/schemas/cpcds"
)

// openLoader opens the target. If it already holds exactly this load and cannot be compared again,
// the earlier run's account is returned with everything unchanged.
func (j *job) openLoader(run *batchrun.Config) (*manifest.Manifest, error) {
	if err := j.checkBefore(); err != nil {
		return nil, err
	}
	earlier, err := finishedRun(j.state, run.ID)
	if err != nil {
		return nil, err
	}
	if j.target.kind == "store" {
		l, err := storeloader.Open(j.target.dir, storeloader.Options{Run: run.ID, KeyFingerprint: j.identity.Fingerprint(), Memory: j.storeMemory, Stages: run.Stages,
			Owner: owner.Options{Program: toolVersion(), Events: owner.Events{Joined: func(uint64, int) { yieldToReaders() }}}})
		if err != nil {
			return nil, err
		}
		if j.forgetting {
			err = l.SetAside()
		}
		if err == nil {
			err = j.checkStore(l)
		}
		if err == nil && earlier != nil { // compare everything again
			err = errors.Join(l.Forget(run.ID), batchrun.Forget(j.state, run.ID))
		}
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		run.Loader, run.Voider = l, l
		return nil, nil
	}
	if run.Replay == nil {
		if err := j.target.foreign(j.state); err != nil {
			return nil, err
		}
	}
	l, err := ndjson.Open(j.target.dir, j.ndjsonOptions(run))
	if err != nil {
		return nil, err
	}
	run.Loader = l
	if _, done := l.Finished(); done && earlier != nil {
		if err := j.stillGood(run, earlier); err != nil {
			return nil, errors.Join(err, l.Close())
		}
		unchanged := *earlier
		unchanged.Status = manifest.Complete
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

func (j *job) ndjsonOptions(run *batchrun.Config) ndjson.Options {
	return ndjson.Options{
		Compress: j.target.compress, Run: run.ID, KeyFingerprint: j.identity.Fingerprint(), State: j.state,
		TransactionTime: transactionTime, Part: replayPart(run), Stages: run.Stages,
	}
}

// transactionTime of NDJSON manifests: the bulk data guide requires one, and the current time would
// make the folder differ from run to run.
const transactionTime = "1970-01-01T00:00:00Z"

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

// Resume implements pipeline.Loader; a run calls it once for each lane.
func (l *resumeCounter) Resume(ctx context.Context, lane string) (pipeline.Checkpoint, error) {
	cp, err := l.Loader.Resume(ctx, lane)
	l.claims.Add(cp.Account.Claims.Seen)
	return cp, err
}
