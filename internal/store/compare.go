package store

import (
	"context"
	"fmt"
	"slices"

	"cpcds2fhir/schemas/fhir"
)

// Compare returns what Apply would do with each resource of b, without writing. The store may be
// open for reading only.
func (s *Store) Compare(ctx context.Context, b *fhir.Batch) ([]Outcome, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	a := s.scratch.Get().(*applier)
	defer func() {
		a.reset()
		s.scratch.Put(a)
	}()
	if err := a.look(s, b); err != nil {
		return nil, fmt.Errorf("compare batch: %w", err)
	}
	return a.expected(b), nil
}

// expected returns the outcomes that follow from look, also of resources that come again in a batch.
func (a *applier) expected(b *fhir.Batch) []Outcome {
	outcomes := slices.Clone(a.outcomes)
	last := map[resourceName]pendingResource{} // of repeated resources: the state that the previous one would leave
	for i, r := range b.All() {
		name, writes := a.names[i], a.writes[i]
		if p, again := last[name]; again {
			d := a.decide(&p, r, a.sums[i])
			outcomes[i], writes = d.outcome, d.writes
		}
		if writes {
			last[name] = pendingResource{found: true, head: head{deleted: r.Deleted, hash: a.sums[i], sourceVersion: []byte(r.SourceVersion)}}
		}
	}
	return outcomes
}
