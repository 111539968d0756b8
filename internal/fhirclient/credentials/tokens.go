package credentials

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// token is an access token. A zero until is one whose end nobody has told.
type token struct {
	text  string
	from  time.Time
	until time.Time
}

// unknownLife is how long a token is used that says nothing of its end.
const unknownLife = 5 * time.Minute

// stale reports whether a token should be replaced: when a fifth of its life is left, or two minutes.
func (t *token) stale(now time.Time) bool {
	return t.text == "" || now.After(t.until.Add(-min(t.until.Sub(t.from)/5, 2*time.Minute)))
}

// tokens keeps a token until it is stale, and gets it for all who wait at once.
type tokens struct {
	fetch func(ctx context.Context) (token, error)
	clock func() time.Time
	turn  chan struct{} // whoever has it may fetch

	mu  sync.Mutex
	now token
}

func newTokens(fetch func(context.Context) (token, error)) *tokens {
	return &tokens{fetch: fetch, clock: time.Now, turn: make(chan struct{}, 1)}
}

// Authorize implements Source.
func (t *tokens) Authorize(ctx context.Context, r *http.Request, _ []byte) error {
	text, err := t.get(ctx)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+text)
	return nil
}

// Renew implements Source. A token that somebody has replaced meanwhile stays.
func (t *tokens) Renew(refused string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if "Bearer "+t.now.text == refused {
		t.now = token{}
	}
	return true
}

func (t *tokens) current() (now token, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now, !t.now.stale(t.clock())
}

func (t *tokens) get(ctx context.Context) (string, error) {
	if now, fresh := t.current(); fresh {
		return now.text, nil
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now, fresh := t.current()
	if fresh {
		return now.text, nil
	}
	began := t.clock()
	next, err := t.fetch(ctx)
	if err != nil {
		if now.text != "" && t.clock().Before(now.until) {
			return now.text, nil // it was early
		}
		return "", err
	}
	next.from = began
	if next.until.IsZero() {
		next.until = began.Add(unknownLife)
	}
	t.mu.Lock()
	t.now = next
	t.mu.Unlock()
	return next.text, nil
}
