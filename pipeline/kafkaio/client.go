package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Client talks to a cluster. It is safe for concurrent use.
type Client struct {
	cfg Config

	mu     sync.Mutex
	closed bool
	idle   map[string][]*conn // by address, the longest idle first
	known  []string           // addresses that the cluster has told
}

// New makes a Client. It connects to nothing yet.
func New(cfg Config) (*Client, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("configure Kafka: %w", err)
	}
	return &Client{cfg: cfg, idle: map[string][]*conn{}}, nil
}

// Close closes the idle connections of the Client; its calls, and those of its Readers and Producers, fail with
// ErrClosed from now on, unless they are under way. Consume is ended by its context only.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, ks := range c.idle {
		for _, k := range ks {
			k.close()
		}
	}
	c.idle = nil
}

// maxIdle is how long a connection is kept unused. Brokers close them after ten minutes.
const maxIdle = 30 * time.Second

// take returns an idle connection, or nil.
func (c *Client) take(addr string) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, ErrClosed
	}
	for {
		ks := c.idle[addr]
		if len(ks) == 0 {
			return nil, nil
		}
		k := ks[len(ks)-1]
		c.idle[addr] = ks[:len(ks)-1]
		if !k.stale() && time.Since(k.idle) < maxIdle {
			return k, nil
		}
		k.close()
	}
}

// give returns a connection to the pool.
func (c *Client) give(k *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || k.stale() {
		k.close()
		return
	}
	k.idle = time.Now()
	c.idle[k.addr] = append(c.idle[k.addr], k)
}

// on calls f with a connection to a broker. An idle connection may have been closed by the broker
// meanwhile; f is then called again with a new one, so it must be harmless to repeat.
func (c *Client) on(ctx context.Context, addr string, f func(k *conn) error) error {
	k, err := c.take(addr)
	if err != nil {
		return err
	}
	if k != nil {
		err := f(k)
		if !k.broken {
			c.give(k)
			return err
		}
		if ctx.Err() != nil {
			return err
		}
	}
	if k, err = c.connect(ctx, addr); err != nil {
		return err
	}
	err = f(k)
	if !k.broken {
		c.give(k)
	}
	return err
}

// onAny calls f with a connection to some broker, and tries others as long as it cannot be spoken to.
func (c *Client) onAny(ctx context.Context, f func(k *conn) error) error {
	c.mu.Lock()
	addrs := slices.Clone(c.cfg.Brokers)
	known := slices.Clone(c.known)
	c.mu.Unlock()
	shuffle(addrs)
	shuffle(known)
	for _, a := range known {
		if !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	var errs []error
	for _, addr := range addrs {
		broken := true
		err := c.on(ctx, addr, func(k *conn) error {
			err := f(k)
			broken = k.broken
			return err
		})
		if err == nil || !broken || ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func shuffle(s []string) { rand.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] }) }

// backoff makes the pauses between attempts: they double, and are spread so that clients which failed together
// do not come back together.
type backoff struct{ attempts int }

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 2 * time.Second
)

func (b *backoff) next() time.Duration {
	d := min(maxPause, firstPause<<min(b.attempts, 10))
	b.attempts++
	return d/2 + rand.N(d)
}

// pause waits, and reports whether the context is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// retry calls f until it succeeds, fails for good, or has failed for the time patience.
func (c *Client) retry(ctx context.Context, what string, patience time.Duration, f func() error) error {
	var b backoff
	for deadline := time.Now().Add(patience); ; {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d := b.next()
		if !Retriable(err) || time.Now().Add(d).After(deadline) {
			return err
		}
		c.cfg.Events.retrying(what, err)
		if !pause(ctx, d) {
			return ctx.Err()
		}
	}
}
