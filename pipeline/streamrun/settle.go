package streamrun

import (
	"context"
	"errors"
	"time"

	"cpcds2fhir/pipeline"
)

// Settle lets all records go that can, without any partition: a stream does it when its lanes have
// ended, so that nothing waits for its next start although all that it needs has come. It ends when
// there is nothing left to do, or with ctx.
func (e *Engine) Settle(ctx context.Context) error {
	l := e.newLane(nowhere{})
	c := newCommitter(ctx, l.part, nil)
	defer c.close()
	if err := l.take(ctx); err != nil {
		return err
	}
	defer l.settle()
	for {
		if _, err := e.Sweep(ctx); err != nil {
			return err
		}
		went, err := l.letGo(ctx)
		if err == nil {
			err = l.end(ctx, c)
		}
		if errors.Is(err, pipeline.ErrChanged) { // another process was faster
			l.forget()
			continue
		}
		if err != nil || !went {
			return err
		}
	}
}

// letGo releases what the sweep has found, and reports whether there was anything.
func (l *lane) letGo(ctx context.Context) (went bool, err error) {
	for {
		select {
		case u := <-l.arrivals:
			l.due = append(l.due, u)
		default:
			err := l.release(ctx)
			return len(l.next.claimed) > 0, err
		}
	}
}

// nowhere is the partition of a lane without one.
type nowhere struct{}

func (nowhere) Topic() string                                { return "settle" }
func (nowhere) Number() int                                  { return 0 }
func (nowhere) TopicID() string                              { return "" }
func (nowhere) Committed() int64                             { return -1 }
func (nowhere) Bounds(context.Context) (int64, int64, error) { return 0, 0, nil }
func (nowhere) Open(int64) Feed                              { return nothing{} }
func (nowhere) Commit(context.Context, int64) error          { return nil }

// nothing is a feed without messages.
type nothing struct{}

func (nothing) Fetch(ctx context.Context) ([]Message, int64, int64, error) {
	select {
	case <-ctx.Done():
		return nil, 0, 0, ctx.Err()
	case <-time.After(time.Second):
		return nil, 0, 0, nil
	}
}

func (nothing) Close() error { return nil }
