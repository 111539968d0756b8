package batchrun

import (
	"context"
	"sync"

	"cpcds2fhir/pipeline"
)

// gate holds the batches of claims back until what they refer to is durable. Meanwhile they are made, so that the
// target has something to do as soon as it opens. A gate that was never shut, and nil, are open. It is safe for
// concurrent use, except shut.
type gate struct {
	opened chan struct{}

	mu    sync.Mutex
	held  bool
	phase string // that is entered when the gate opens
}

func (g *gate) shut() { g.opened, g.held = make(chan struct{}), true }

// open lets all batches pass, and enters the phase that waits for it.
func (g *gate) open(events *pipeline.Events) {
	g.mu.Lock()
	g.held = false
	phase := g.phase
	g.mu.Unlock()
	if phase != "" {
		events.EnterPhase(phase)
	}
	close(g.opened)
}

// enter enters a phase of the claims, or has it entered when the gate opens.
func (g *gate) enter(events *pipeline.Events, phase string) {
	g.mu.Lock()
	held := g.held
	g.phase = phase
	g.mu.Unlock()
	if !held {
		events.EnterPhase(phase)
	}
}

// pass waits until the gate is open.
func (g *gate) pass(ctx context.Context) error {
	if g == nil || g.opened == nil {
		return nil
	}
	select {
	case <-g.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
