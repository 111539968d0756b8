package streamrun

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// fetch is what one call of a feed brought.
type fetch struct {
	messages  []Message
	next, end int64
	err       error
}

// fetcher calls a feed in a goroutine of its own: while the target is busy, the next messages come
// in. The memory of a fetch belongs to the receiver until it calls done.
type fetcher struct {
	list   chan fetch
	taken  chan struct{}
	cancel context.CancelFunc
	wait   sync.WaitGroup

	now     func() time.Time
	mark    mark
	horizon atomic.Int64 // see readUntil; nanoseconds of the Unix time
}

// mark is the end that the partition had at a moment.
type mark struct {
	at  time.Time
	end int64
}

func newFetcher(ctx context.Context, feed Feed, now func() time.Time) *fetcher {
	ctx, cancel := context.WithCancel(ctx)
	f := &fetcher{list: make(chan fetch), taken: make(chan struct{}, 1), cancel: cancel, now: now}
	f.wait.Go(func() {
		defer func() { _ = feed.Close() }() // it was only read
		last := int64(-1)
		for ctx.Err() == nil {
			var x fetch
			begun := now()
			x.messages, x.next, x.end, x.err = feed.Fetch(ctx)
			if x.err == nil && len(x.messages) == 0 && x.next == last {
				f.passed(mark{begun, x.end}, x.next)
				continue
			}
			last = x.next
			select {
			case f.list <- x:
			case <-ctx.Done():
				return
			}
			select {
			case <-f.taken:
				f.passed(mark{begun, x.end}, x.next)
			case <-ctx.Done():
				return
			}
		}
	})
	return f
}

// passed notes that the lane has everything before an offset; m is the end of the partition now.
func (f *fetcher) passed(m mark, next int64) {
	switch {
	case next >= m.end:
		f.horizon.Store(m.at.UnixNano())
	case next >= f.mark.end:
		if !f.mark.at.IsZero() {
			f.horizon.Store(f.mark.at.UnixNano())
		}
	default:
		return
	}
	f.mark = m
}

// readUntil returns a time so that the lane has all messages that were in the partition before it. It
// is the zero time until the lane has come to where the partition ended when it began.
func (f *fetcher) readUntil() time.Time {
	if n := f.horizon.Load(); n != 0 {
		return time.Unix(0, n)
	}
	return time.Time{}
}

// done gives the memory of the last fetch back. It does not wait for the goroutine, which may have
// ended.
func (f *fetcher) done() { f.taken <- struct{}{} }

// close ends the goroutine and closes the feed.
func (f *fetcher) close() {
	f.cancel()
	f.wait.Wait()
}

// commitEvery is how often offsets are committed: the target's checkpoint is what counts, the
// broker's is for its tools.
const commitEvery = 500 * time.Millisecond

// committer commits offsets in a goroutine of its own, so that a slow broker does not stop the lane.
// It commits only what is durable, and never less than before.
type committer struct {
	mu     sync.Mutex
	next   int64
	wake   chan struct{}
	cancel context.CancelFunc
	wait   sync.WaitGroup
}

func newCommitter(work context.Context, p Partition, took func(string, int, time.Duration)) *committer {
	// It goes on when the lane ends, which then makes more durable.
	ctx, cancel := context.WithCancel(context.WithoutCancel(work))
	c := &committer{wake: make(chan struct{}, 1), cancel: cancel}
	c.wait.Go(func() {
		done := int64(0)
		commit := func(ctx context.Context) {
			c.mu.Lock()
			next := c.next
			c.mu.Unlock()
			start := time.Now()
			if next > done && p.Commit(ctx, next) == nil {
				done = next
				if took != nil {
					took(p.Topic(), p.Number(), time.Since(start))
				}
			}
		}
		for {
			select {
			case <-c.wake:
				commit(ctx)
			case <-ctx.Done():
				commit(work)
				return
			}
			select {
			case <-time.After(commitEvery):
			case <-ctx.Done():
			}
		}
	})
	return c
}

// durable says that everything before an offset is durable.
func (c *committer) durable(next int64) {
	c.mu.Lock()
	c.next = max(c.next, next)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close commits what is durable and ends.
func (c *committer) close() {
	c.cancel()
	c.wait.Wait()
}
