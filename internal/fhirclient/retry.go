package fhirclient

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 30 * time.Second
	askedMost    = 5 * time.Minute // a longer Retry-After is not waited for in one go
)

// attempts counts how often one request was sent, and how long it has been failing.
type attempts struct {
	n     int
	since time.Time     // the first failure
	limit time.Duration // patience
	first time.Duration // the longest first pause
}

// next says how long to wait before another attempt; ok is false if the patience has run out. asked is
// what the server asks for, 0 if nothing.
func (a *attempts) next(asked time.Duration) (wait time.Duration, ok bool) {
	now := time.Now()
	if a.n == 0 {
		a.since = now
	}
	a.n++
	wait = backoff(a.n, a.first)
	if asked > 0 {
		// Not all at once when the time has come.
		wait = min(asked, askedMost) + rand.N(a.first)
	}
	left := a.limit - now.Sub(a.since)
	if left <= 0 {
		return 0, false
	}
	return min(wait, max(left, time.Millisecond)), true
}

// backoff is a random pause (full jitter) that grows with the attempts.
func backoff(n int, first time.Duration) time.Duration {
	most := min(backoffMost, first<<min(n-1, 10))
	return first/10 + rand.N(most)
}

// retryAfter is what a server asks for: seconds or a date, or milliseconds under a name of its own.
func retryAfter(h http.Header, millis string) time.Duration {
	if millis != "" {
		if ms, err := strconv.Atoi(strings.TrimSpace(h.Get(millis))); err == nil && ms > 0 {
			return time.Duration(ms) * time.Millisecond
		}
	}
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if s > 0 && s < 1e6 {
			return time.Duration(s * float64(time.Second))
		}
		return 0
	}
	if t, err := http.ParseTime(v); err == nil {
		// The clocks may differ: what counts is the server's own date.
		now := time.Now()
		if d, err := http.ParseTime(h.Get("Date")); err == nil {
			now = d
		}
		return max(0, t.Sub(now))
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
