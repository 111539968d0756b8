package api

import (
	"math"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates limit how many requests come from each of many. It is safe for concurrent use.
type rates struct {
	perMinute int // and at once; below 1 is no limit

	mu  sync.Mutex
	of  map[string]*rate.Limiter
	now func() time.Time
}

// ratesMax is how many of them are remembered: more than send requests in a minute.
const ratesMax = 50_000

func newRates(perMinute int) *rates {
	return &rates{perMinute: perMinute, of: map[string]*rate.Limiter{}, now: time.Now}
}

// take counts a request, and returns how long to wait if there were too many.
func (r *rates) take(who string) (wait time.Duration) {
	if r.perMinute < 1 {
		return 0
	}
	now := r.now()
	r.mu.Lock()
	l := r.of[who]
	if l == nil {
		if len(r.of) >= ratesMax {
			r.forget(now)
		}
		l = rate.NewLimiter(rate.Limit(float64(r.perMinute)/60), r.perMinute)
		r.of[who] = l
	}
	r.mu.Unlock()
	x := l.ReserveN(now, 1)
	if wait = x.DelayFrom(now); wait > 0 {
		x.CancelAt(now)
	}
	return wait
}

// forget makes room: first of those who have not come for a minute, which changes nothing, and of all if that
// does not help.
func (r *rates) forget(now time.Time) {
	for who, l := range r.of {
		if l.TokensAt(now) >= float64(r.perMinute) {
			delete(r.of, who)
		}
	}
	if len(r.of) >= ratesMax {
		clear(r.of)
	}
}

// throttle refuses a request if the app, or the app for this member, has sent too many. Apps that the token does
// not name are one for each member.
func (x *exchange) throttle() error {
	a, wait, what := x.access, time.Duration(0), "the app"
	if a.Client != "" {
		wait = x.clients.take(a.Client)
	}
	if wait == 0 && a.Patient != "" {
		wait, what = x.members.take(a.Client+"\x00"+a.Patient), "the app for this member"
	}
	if wait == 0 {
		return nil
	}
	return &Error{Status: http.StatusTooManyRequests, Code: "throttled", Text: what + " has sent too many requests; wait as long as Retry-After says",
		Retry: int(math.Ceil(wait.Seconds()))}
}
