package fhirclient

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"
)

// limiter decides how many requests are under way at once. It adds one at a time while the server
// answers as fast as before, and halves when the server says that it has too much to do. Whether
// requests wait within the server follows from how much slower they are than at its best (as in TCP
// Vegas): a few that wait keep the server busy, more of them only make all of them slower.
type limiter struct {
	changed func(now int)
	clock   func() time.Time

	mu      sync.Mutex
	limit   int
	max     int
	under   int       // requests under way
	waiting list.List // of chan struct{}, in order of arrival
	blocked time.Time // nothing is sent before
	timer   *time.Timer
	since   time.Time // the limit became smaller: what was sent before says nothing of it

	costs  costs
	crowds int  // of the last rounds, those with too many waiting
	probe  bool // this round measures the server at its best again
	back   int  // the limit after it
}

// renewal is how many rounds pass before the server's best is measured again.
const renewal = 40

// queue is how many requests may wait in the server before no more are added, and from how many on fewer
// are sent. Requests differ, and with them how long they take: the more there are at once, the more of
// them seem to wait.
func queue(limit int) (low, high float64) {
	return max(2, 0.25*float64(limit)), max(5, 0.45*float64(limit))
}

func newLimiter(start, most int, changed func(int)) *limiter {
	most = max(most, 1)
	return &limiter{limit: min(max(start, 1), most), max: most, changed: changed, clock: time.Now}
}

// acquire waits for a place. Whoever comes first is served first.
func (l *limiter) acquire(ctx context.Context) error {
	l.mu.Lock()
	if err := ctx.Err(); err != nil {
		l.mu.Unlock()
		return err
	}
	if l.under < l.limit && l.waiting.Len() == 0 && !l.clock().Before(l.blocked) {
		l.under++
		l.mu.Unlock()
		return nil
	}
	ready := make(chan struct{})
	place := l.waiting.PushBack(ready)
	l.wake()
	l.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-ready: // at the same moment: somebody else gets the place
		l.under--
		l.wake()
	default:
		l.waiting.Remove(place)
	}
	return ctx.Err()
}

// wake lets go who can. l.mu is held.
func (l *limiter) wake() {
	if wait := l.blocked.Sub(l.clock()); wait > 0 {
		if l.timer == nil && l.waiting.Len() > 0 {
			l.timer = time.AfterFunc(wait, func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.timer = nil
				l.wake()
			})
		}
		return
	}
	for l.under < l.limit && l.waiting.Len() > 0 {
		first := l.waiting.Front()
		l.waiting.Remove(first)
		l.under++
		close(first.Value.(chan struct{}))
	}
}

// release gives a place back, without saying anything about the server.
func (l *limiter) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.under--
	l.wake()
}

// slower says that the server has refused a request sent at began for having too much to do.
func (l *limiter) slower(began time.Time) {
	l.mu.Lock()
	before := l.limit
	if !began.Before(l.since) {
		l.since = l.clock()
		l.probe = false
		l.costs.restart()
		l.limit = max(1, l.limit/2)
	}
	l.report(before)
}

// pause sends nothing for a while.
func (l *limiter) pause(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if until := l.clock().Add(d); until.After(l.blocked) {
		l.blocked = until
	}
}

// good says that a request of so many bytes was answered as it should be. full is whether all places
// were taken meanwhile: otherwise it says nothing of a higher limit.
func (l *limiter) good(size int, began time.Time) {
	l.mu.Lock()
	before := l.limit
	if !began.Before(l.since) {
		full := l.under >= l.limit || l.waiting.Len() > 0
		if l.costs.add(size, l.clock().Sub(began), full) >= max(l.limit, 2) {
			l.round()
		}
	}
	l.report(before)
}

// round decides after as many answers as there are places. l.mu is held.
func (l *limiter) round() {
	ratio, busy, fresh, rounds := l.costs.turn()
	switch {
	case l.probe:
		l.probe, l.limit = false, max(l.limit, l.back)
		return
	case !busy:
		return // whoever sends does not use what there is
	case math.IsNaN(ratio):
		return
	}
	waiting := float64(l.limit) * (1 - 1/ratio)
	low, high := queue(l.limit)
	switch {
	case l.limit > 2 && fresh:
		// What is sent now was never sent before to a server with less to do.
		l.measure()
	case l.limit > 2 && rounds >= renewal && waiting >= 1:
		// The best may be long ago, from when the server had less data.
		l.costs.forget()
		l.measure()
	case waiting < low:
		l.crowds = 0
		l.limit = min(l.limit+1, l.max)
	case waiting > high && l.limit > 2:
		// One slow round is noise.
		if l.crowds++; l.crowds >= 2 {
			l.crowds = 0
			l.limit--
		}
	default:
		l.crowds = 0
	}
}

// measure makes the next round one with half as many requests.
func (l *limiter) measure() {
	l.probe, l.back, l.since = true, l.limit, l.clock()
	l.limit = max(2, l.limit/2)
}

// report lets go who can, gives l.mu back, and tells about a new limit.
func (l *limiter) report(before int) {
	now := l.limit
	l.wake()
	l.mu.Unlock()
	if now != before && l.changed != nil {
		l.changed(now)
	}
}

// now is the present limit.
func (l *limiter) now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}
