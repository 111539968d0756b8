// Package rates limits how many requests come from each of many.
package rates

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Rates are token buckets by name. They are safe for concurrent use.
type Rates struct {
	// Now is the clock. It must not be changed while the Rates are used.
	Now func() time.Time

	perSecond float64
	burst     int

	mu sync.Mutex
	of map[string]*rate.Limiter
}

// most is how many names are remembered: more than send requests in a minute.
const most = 50_000

// New makes buckets that hold burst requests and gain so many a second. A burst below 1 is no limit.
func New(perSecond float64, burst int) *Rates {
	return &Rates{Now: time.Now, perSecond: perSecond, burst: burst, of: map[string]*rate.Limiter{}}
}

// Take counts a request, and returns how long to wait if there were too many: such a request does not count.
func (r *Rates) Take(who string) (wait time.Duration) {
	if r.burst < 1 {
		return 0
	}
	now := r.Now()
	r.mu.Lock()
	l := r.of[who]
	if l == nil {
		if len(r.of) >= most {
			r.forget(now)
		}
		l = rate.NewLimiter(rate.Limit(r.perSecond), r.burst)
		r.of[who] = l
	}
	r.mu.Unlock()
	x := l.ReserveN(now, 1)
	if wait = x.DelayFrom(now); wait > 0 {
		x.CancelAt(now)
	}
	return wait
}

// forget makes room: first of those whose bucket is full, which changes nothing, and of all if that does not help.
func (r *Rates) forget(now time.Time) {
	for who, l := range r.of {
		if l.TokensAt(now) >= float64(r.burst) {
			delete(r.of, who)
		}
	}
	if len(r.of) >= most {
		clear(r.of)
	}
}
