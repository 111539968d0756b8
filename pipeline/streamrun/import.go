package streamrun

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/schemas/fhir"
)

// Known is what streams have put into a target, for loads into it; nil if no stream has.
func Known(ctx context.Context, t pipeline.StreamTarget) (directory.Records, error) {
	found := errors.New("found")
	switch err := t.Each(ctx, "at/", func(pipeline.Record) error { return found }); {
	case errors.Is(err, found):
		return recall{ctx, t}, nil
	default:
		return nil, err
	}
}

// Import lets streams into a target refer to what batch loads have put there: it adds the directory
// of a state folder to the records of the target. scratch is a folder for temporary files.
func Import(ctx context.Context, t pipeline.StreamTarget, state, scratch string) error {
	if _, err := os.Stat(filepath.Join(state, "directory")); err != nil {
		return nil // there were none
	}
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return err
	}
	d, err := directory.Open(state, scratch, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	lane, at, err := t.Take(ctx, "import")
	if err != nil {
		return err
	}
	live := directory.NewLive(nil, recall{ctx, t})
	for {
		live.Reset()
		err := d.Into(live, func() error { return write(ctx, lane, at, live) })
		if !errors.Is(err, pipeline.ErrChanged) {
			return err
		}
		// A stream has changed one of the records: what is newer counts.
	}
}

// write makes the changes of a directory durable.
func write(ctx context.Context, lane pipeline.StreamLane, at pipeline.Position, live *directory.Live) error {
	var none fhir.Batch
	var c pipeline.StreamCommit
	c.Position = at
	for name, v := range live.Changed() {
		c.Put = append(c.Put, pipeline.Record{Name: name, Value: v})
		c.Guards = append(c.Guards, pipeline.Record{Name: name, Value: live.Guard(name)}, pipeline.Record{Name: name, Value: v})
	}
	err := lane.Load(ctx, &none, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.StreamCommit, error) { return c, nil })
	live.Reset()
	return err
}
