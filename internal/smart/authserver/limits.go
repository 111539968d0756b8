package authserver

import (
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limits bound what callers who have proved nothing can make the server write, and how often one grant is refreshed.
// Keys are ids of clients and grants that exist, so nobody makes new ones at will. It is safe for concurrent use.
type limits struct {
	mu  sync.Mutex
	of  map[string]*rate.Limiter
	now func() time.Time
}

// limitsMax is how many are remembered; then all begin anew.
const limitsMax = 50_000

// What a client may do, a second and at once. Registration is one for everybody.
const (
	requestsRate, requestsBurst   = 20, 300  // authorization requests of a client
	refreshRate, refreshBurst     = 0.2, 300 // refreshes of a grant
	registerRate, registerBurst   = 0.1, 20
	revocationRate, revokingBurst = 50, 500 // revocations and introspections of a client
)

// take counts a call. It fails if there were too many.
func (l *limits) take(key string, perSecond float64, burst int) error {
	now := l.now()
	l.mu.Lock()
	x := l.of[key]
	if x == nil {
		if len(l.of) >= limitsMax {
			clear(l.of)
		}
		x = rate.NewLimiter(rate.Limit(perSecond), burst)
		l.of[key] = x
	}
	l.mu.Unlock()
	r := x.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return &fault{status: http.StatusTooManyRequests, code: "temporarily_unavailable", text: "there were too many requests; wait as long as Retry-After says",
			retry: int(math.Ceil(wait.Seconds()))}
	}
	return nil
}
