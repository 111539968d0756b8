package streamrun

import (
	"context"
	"sync"
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
}

func newFetcher(ctx context.Context, feed Feed) *fetcher {
	ctx, cancel := context.WithCancel(ctx)
	f := &fetcher{list: make(chan fetch), taken: make(chan struct{}, 1), cancel: cancel}
	f.wait.Go(func() {
		defer func() { _ = feed.Close() }() // it was only read
		last := int64(-1)
		for ctx.Err() == nil {
			var x fetch
			x.messages, x.next, x.end, x.err = feed.Fetch(ctx)
			if x.err == nil && len(x.messages) == 0 && x.next == last {
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
			case <-ctx.Done():
				return
			}
		}
	})
	return f
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

func newCommitter(ctx, work context.Context, p Partition, took func(string, int, time.Duration)) *committer {
	ctx, cancel := context.WithCancel(ctx)
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
