package registry

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxUnknown is how many unknown ids are remembered. Damaged messages may have any id.
const maxUnknown = 4096

// cache remembers schemas by id, and for a time that an id is unknown. It asks for an id once at a
// time.
type cache struct {
	ttl time.Duration
	now func() time.Time

	mu      sync.Mutex
	good    map[int32]*Schema
	unknown map[int32]refusal
	asking  map[int32]*question
}

// refusal is an error that is returned until a time.
type refusal struct {
	err   *Error
	until time.Time
}

// question is a request that several callers wait for.
type question struct {
	done    chan struct{}
	cancel  context.CancelFunc
	waiting int
	schema  *Schema
	err     error
}

func (c *cache) init(ttl time.Duration) {
	c.ttl, c.now = ttl, time.Now
	c.good, c.unknown, c.asking = map[int32]*Schema{}, map[int32]refusal{}, map[int32]*question{}
}

// get returns the schema with an id. It calls ask if it must, with a context that ends once no
// caller waits any more: one that gives up does not disturb the others.
func (c *cache) get(ctx context.Context, id int32, ask func(context.Context) (*Schema, error)) (*Schema, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	if s := c.good[id]; s != nil {
		c.mu.Unlock()
		return s, nil
	}
	if r, ok := c.unknown[id]; ok {
		if c.now().Before(r.until) {
			c.mu.Unlock()
			return nil, r.err
		}
		delete(c.unknown, id)
	}
	q := c.asking[id]
	if q == nil {
		q = c.ask(ctx, id, ask)
	}
	q.waiting++
	c.mu.Unlock()
	select {
	case <-q.done:
		return q.schema, q.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if q.waiting--; q.waiting == 0 {
		q.cancel()
		if c.asking[id] == q {
			delete(c.asking, id) // the next caller must not get its error
		}
	}
	return nil, ctx.Err()
}

// ask begins to ask for an id. The caller holds the lock.
func (c *cache) ask(ctx context.Context, id int32, ask func(context.Context) (*Schema, error)) *question {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	q := &question{done: make(chan struct{}), cancel: cancel}
	c.asking[id] = q
	go func() {
		defer cancel()
		s, err := ask(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		q.schema, q.err = s, err
		if c.asking[id] == q {
			delete(c.asking, id)
		}
		c.keep(id, s, err)
		close(q.done)
	}()
	return q
}

// keep remembers an answer. The caller holds the lock.
func (c *cache) keep(id int32, s *Schema, err error) {
	if err == nil {
		c.good[id] = s
		return
	}
	var e *Error
	if !errors.As(err, &e) || !e.Unknown {
		return
	}
	if len(c.unknown) >= maxUnknown {
		clear(c.unknown)
	}
	c.unknown[id] = refusal{e, c.now().Add(c.ttl)}
}
