package store

import (
	"context"
	"fmt"

	"cpcds2fhir/schemas/fhir"
)

// Prepared is a batch that was compared with the store and waits to be written, without a lock. It
// is for the owner of a store that works for another process: that process decides on the commit
// between Prepare and Apply, and may take its time or die. A Prepared is not safe for concurrent
// use; the batch must not change until Release.
type Prepared struct {
	store    *Store
	batch    *fhir.Batch
	a        *applier
	outcomes []Outcome
	used     bool // finish has begun, so what look found is no longer valid
}

// Prepare compares b with the store. Release must follow.
func (s *Store) Prepare(ctx context.Context, b *fhir.Batch) (*Prepared, error) {
	if err := s.enterWriter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	p := &Prepared{store: s, batch: b, a: s.scratch.Get().(*applier)}
	t := stopwatch{observe: s.observe}
	t.start()
	if err := p.a.look(s, b); err != nil {
		p.Release()
		return nil, fmt.Errorf("apply batch: %w", err)
	}
	t.lap(Comparing)
	p.outcomes = p.a.expected(b)
	return p, nil
}

// Outcomes returns what Apply would have done at the time of Prepare. The caller must not change
// them.
func (p *Prepared) Outcomes() []Outcome { return p.outcomes }

// Apply does what Store.Apply does. It may be called again after it has failed.
func (p *Prepared) Apply(ctx context.Context, seal Seal) error {
	s := p.store
	if err := s.enterWriter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if p.used {
		p.a.reset()
		if err := p.a.look(s, p.batch); err != nil {
			return fmt.Errorf("apply batch: %w", err)
		}
	}
	p.used = true
	t := stopwatch{observe: s.observe}
	t.start()
	return p.a.finish(ctx, s, p.batch, seal, &t)
}

// Release gives the memory of p back. p must not be used afterwards.
func (p *Prepared) Release() {
	if p.a != nil && p.store.fault.err() == nil { // else Pebble may still be reading from it
		p.a.reset()
		p.store.scratch.Put(p.a)
	}
	p.a = nil
}
