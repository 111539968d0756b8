package api

import (
	"math"
	"net/http"
	"time"

	"cpcds2fhir/internal/rates"
)

// newRates limits requests to so many a minute, and so many at once. Below 1 is no limit.
func newRates(perMinute int) *rates.Rates { return rates.New(float64(perMinute)/60, perMinute) }

// throttle refuses a request if the app, or the app for this member, has sent too many. Apps that the token does
// not name are one for each member.
func (x *exchange) throttle() error {
	a, wait, what := x.access, time.Duration(0), "the app"
	if a.Client != "" {
		wait = x.clients.Take(a.Client)
	}
	if wait == 0 && a.Patient != "" {
		wait, what = x.members.Take(a.Client+"\x00"+a.Patient), "the app for this member"
	}
	if wait == 0 {
		return nil
	}
	return &Error{Status: http.StatusTooManyRequests, Code: "throttled", Text: what + " has sent too many requests; wait as long as Retry-After says",
		Retry: int(math.Ceil(wait.Seconds()))}
}
