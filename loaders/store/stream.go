package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

var _ pipeline.StreamTarget = (*Loader)(nil)

// streamSpace begins the names of all records of streams.
const streamSpace = "stream/"

// Take implements pipeline.StreamTarget. The position of a lane is a record of the store, written in
// the same act as the resources, under a lease that the next Take ends.
func (l *Loader) Take(ctx context.Context, lane string) (pipeline.StreamLane, pipeline.Position, error) {
	return l.TakeLane(ctx, lane)
}

// TakeLane is Take; its lane can also put records of others than streams.
func (l *Loader) TakeLane(ctx context.Context, lane string) (*StreamLane, pipeline.Position, error) {
	var p pipeline.Position
	lease, err := l.store.Take(ctx, lane)
	if err != nil {
		return nil, p, fmt.Errorf("take lane %s: %w", lane, failed(err))
	}
	value, err := l.store.Meta(streamSpace + "at/" + lane)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return nil, p, fmt.Errorf("read position: %w", err)
	default:
		if err := json.Unmarshal(value, &p); err != nil {
			return nil, p, fmt.Errorf("read position: %w", err)
		}
	}
	return &StreamLane{l.store, lane, lease}, p, nil
}

// StreamLane is the pipeline.StreamLane of a store.
type StreamLane struct {
	store store.Handle
	name  string
	lease store.Lease
}

// Load implements pipeline.StreamLane.
func (l *StreamLane) Load(ctx context.Context, b *fhir.Batch, seal pipeline.StreamSeal) error {
	return l.LoadWith(ctx, b, func(got []store.Outcome) (pipeline.StreamCommit, []store.MetaRecord, error) {
		c, err := seal(outcomesOf(got), nil)
		return c, nil, err
	})
}

// LoadWith is Load with records that become durable in the same act. It is for whoever keeps more in a
// store than the resources, under names of its own.
func (l *StreamLane) LoadWith(ctx context.Context, b *fhir.Batch, seal func([]store.Outcome) (pipeline.StreamCommit, []store.MetaRecord, error)) error {
	return l.apply(ctx, b, func(got []store.Outcome) (store.Commit, error) {
		c, put, err := seal(got)
		if err != nil {
			return store.Commit{}, err
		}
		at, err := json.Marshal(&c.Position)
		if err != nil {
			return store.Commit{}, fmt.Errorf("write position: %w", err)
		}
		put = append(put, streamRecords(c.Put)...)
		put = append(put, store.MetaRecord{Name: streamSpace + "at/" + l.name, Value: at})
		return store.Commit{Put: put, Guards: streamRecords(c.Guards), Lease: l.lease}, nil
	})
}

// Put makes records durable, of others than streams, if the lane still has this owner and the guards hold:
// they are records of streams. It fails as Load does.
func (l *StreamLane) Put(ctx context.Context, put []store.MetaRecord, guards []pipeline.Record) error {
	return l.apply(ctx, &fhir.Batch{}, func([]store.Outcome) (store.Commit, error) {
		return store.Commit{Put: put, Guards: streamRecords(guards), Lease: l.lease}, nil
	})
}

// apply writes under the lease of the lane.
func (l *StreamLane) apply(ctx context.Context, b *fhir.Batch, seal store.Seal) error {
	err := l.store.Apply(ctx, b, seal)
	switch {
	case errors.Is(err, store.ErrChanged):
		return pipeline.ErrChanged
	case errors.Is(err, store.ErrFenced):
		return pipeline.ErrFenced
	}
	return failed(err)
}

// failed marks the error of a store that can do nothing any longer in this process.
func failed(err error) error {
	if _, ok := errors.AsType[*store.FailedError](err); ok {
		return fmt.Errorf("%w: %w", pipeline.ErrTargetFailed, err)
	}
	return err
}

// streamRecords are records under the names that the store has them.
func streamRecords(list []pipeline.Record) []store.MetaRecord {
	out := make([]store.MetaRecord, len(list), len(list)+1)
	for i, r := range list {
		out[i] = store.MetaRecord{Name: streamSpace + r.Name, Value: r.Value}
	}
	return out
}

// Recall implements pipeline.StreamTarget.
func (l *Loader) Recall(ctx context.Context, names []string) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	own := make([]string, len(names))
	for i, n := range names {
		own[i] = streamSpace + n
	}
	values, err := l.store.Metas(own)
	return values, failed(err)
}

// Each implements pipeline.StreamRecords.
func (l *Loader) Each(ctx context.Context, prefix string, f func(pipeline.Record) error) error {
	return StreamRecords{l.store}.Each(ctx, prefix, f)
}

// StreamRecords are what streams keep in a store that is open for reading.
type StreamRecords struct{ Store store.Handle }

// Each implements pipeline.StreamRecords.
func (s StreamRecords) Each(ctx context.Context, prefix string, f func(pipeline.Record) error) error {
	for r, err := range s.Store.AllMeta(streamSpace + prefix) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := f(pipeline.Record{Name: r.Name[len(streamSpace):], Value: r.Value}); err != nil {
			return err
		}
	}
	return nil
}
