package streamrun

import (
	"context"
	"sync/atomic"
	"time"

	"cpcds2fhir/pipeline"
)

// pulse says since when a lane has worked without a rest. It rests while it waits for messages, the
// target, the brokers or a kit: a lane that works for minutes is stuck, and restarting the process may
// help; a lane that waits is not.
type pulse struct{ since atomic.Int64 } // nanoseconds of the Unix time; 0 while it rests

func (p *pulse) work() { p.since.Store(time.Now().UnixNano()) }
func (p *pulse) rest() { p.since.Store(0) }

// resting rests during f, if it works.
func (p *pulse) resting(f func()) {
	if p.since.Swap(0) == 0 {
		f()
		return
	}
	f()
	p.work()
}

// restingTarget is a target during whose calls a lane rests.
type restingTarget struct {
	pipeline.StreamTarget
	pulse *pulse
}

// Recall implements pipeline.StreamTarget.
func (t restingTarget) Recall(ctx context.Context, names []string) (values [][]byte, err error) {
	t.pulse.resting(func() { values, err = t.StreamTarget.Recall(ctx, names) })
	return values, err
}

// Each implements pipeline.StreamRecords.
func (t restingTarget) Each(ctx context.Context, prefix string, f func(pipeline.Record) error) (err error) {
	t.pulse.resting(func() { err = t.StreamTarget.Each(ctx, prefix, f) })
	return err
}

// SourceVersion implements pipeline.Target.
func (t restingTarget) SourceVersion(ctx context.Context, resource string) (version string, ok bool, err error) {
	t.pulse.resting(func() { version, ok, err = t.StreamTarget.SourceVersion(ctx, resource) })
	return version, ok, err
}

// Stuck is for how long a lane has worked on without waiting for anything; the longest counts. Even a
// large batch takes seconds.
func (e *Engine) Stuck() (longest time.Duration) {
	e.pulses.Range(func(p, _ any) bool {
		if since := p.(*pulse).since.Load(); since != 0 {
			longest = max(longest, time.Since(time.Unix(0, since)))
		}
		return true
	})
	return longest
}
