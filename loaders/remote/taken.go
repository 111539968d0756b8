package remote

import (
	"context"
	"slices"
	"sync"
)

// taken are the resources that loads have in hand. Whoever may send one has it alone; whoever only
// compares it, as every batch does with providers, shares it with others that do. Who comes first has it
// first: otherwise those that share a resource could keep it for ever from one who needs it alone.
type taken struct {
	mu      sync.Mutex
	holders map[string]int // -1: one that has it alone
	queue   []*claim       // those that wait, in order
}

// claim is what one load wants.
type claim struct {
	names []string
	alone map[string]bool
	given chan struct{} // closed when it has all of them
}

func newTaken() *taken { return &taken{holders: map[string]int{}} }

// take waits until it can have all of the names, of which each comes once. release gives them back. A load that
// has some must not take more.
func (t *taken) take(ctx context.Context, names []string, alone map[string]bool) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c := &claim{names, alone, make(chan struct{})}
	t.mu.Lock()
	t.queue = append(t.queue, c)
	t.serve()
	t.mu.Unlock()
	select {
	case <-c.given:
	case <-ctx.Done():
		t.leave(c)
		return nil, ctx.Err()
	}
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.release(c)
	}), nil
}

// leave ends a claim of one who does not wait any longer, and may have been given everything meanwhile.
func (t *taken) leave(c *claim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.queue, c); i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
		t.serve()
		return
	}
	t.release(c)
}

// serve gives those who wait what is free, unless somebody before them waits for it. mu is held.
func (t *taken) serve() {
	wanted := map[string]int{} // by those who go on waiting, as holders
	t.queue = slices.DeleteFunc(t.queue, func(c *claim) bool {
		if c.fits(t.holders) && c.fits(wanted) {
			c.addTo(t.holders)
			close(c.given)
			return true
		}
		c.addTo(wanted)
		return false
	})
}

// fits reports whether a claim can be had beside others.
func (c *claim) fits(others map[string]int) bool {
	if len(others) == 0 {
		return true
	}
	for _, n := range c.names {
		if h := others[n]; h < 0 || h > 0 && c.alone[n] {
			return false
		}
	}
	return true
}

func (c *claim) addTo(others map[string]int) {
	for _, n := range c.names {
		if h := others[n]; c.alone[n] || h < 0 {
			others[n] = -1
		} else {
			others[n] = h + 1
		}
	}
}

// release gives a claim back. mu is held.
func (t *taken) release(c *claim) {
	for _, n := range c.names {
		if c.alone[n] || t.holders[n] == 1 {
			delete(t.holders, n)
		} else {
			t.holders[n]--
		}
	}
	t.serve()
}

// opened are the intents of this process that have no answer: their loads have failed.
type opened struct {
	mu      sync.Mutex
	intents map[string]intent // by Type/id
}

func (o *opened) add(intents map[string]intent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for n, i := range intents {
		o.intents[n] = i
	}
}

func (o *opened) get(name string) (i intent, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i, ok = o.intents[name]
	return i, ok
}

func (o *opened) has(name string) bool {
	_, ok := o.get(name)
	return ok
}

func (o *opened) drop(names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range names {
		delete(o.intents, n)
	}
}
