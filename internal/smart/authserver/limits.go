package authserver

import (
	"math"
	"net/http"
	"time"

	"cpcds2fhir/internal/rates"
)

// limits bound what callers who have proved nothing can make the server write, and how often one grant is refreshed.
// They are by ids of clients and grants that exist, so nobody makes new ones at will. They are safe for concurrent use.
type limits struct {
	requests  *rates.Rates // authorization requests of a client
	refreshes *rates.Rates // of a grant
	tokens    *rates.Rates // revocations and introspections of a client
	register  *rates.Rates // of everybody
}

// How many at once.
const (
	requestsBurst = 300
	refreshBurst  = 300
	revokingBurst = 500
	registerBurst = 20
)

func newLimits() *limits {
	return &limits{rates.New(20, requestsBurst), rates.New(0.2, refreshBurst), rates.New(50, revokingBurst), rates.New(0.1, registerBurst)}
}

func (l *limits) clock(now func() time.Time) {
	for _, r := range []*rates.Rates{l.requests, l.refreshes, l.tokens, l.register} {
		r.Now = now
	}
}

// take counts a call. It fails if there were too many.
func take(r *rates.Rates, who string) error {
	if wait := r.Take(who); wait > 0 {
		return &fault{status: http.StatusTooManyRequests, code: "temporarily_unavailable", text: "there were too many requests; wait as long as Retry-After says",
			retry: int(math.Ceil(wait.Seconds()))}
	}
	return nil
}
