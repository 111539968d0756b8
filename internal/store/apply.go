package store

import (
	"context"
	"fmt"
	"time"

	"github.com/zeebo/xxh3"

	"cpcds2fhir/schemas/fhir"
)

// Outcome is what Apply did with a resource.
type Outcome uint8

// The outcomes.
const (
	Created   Outcome = iota // it was not there, or deleted
	Updated                  // it was there with other content: a new version
	Unchanged                // it was there with the same content: no new version
	Stale                    // a newer source version is there: nothing was written
)

// Seal is told the outcome of each resource of a batch, in order, and returns a
// meta record that becomes durable in the same act; an empty name means none. Its
// error becomes that of Apply, and then nothing is written. outcomes holds only
// during the call. Seal must not write to the store.
type Seal func(outcomes []Outcome) (name string, value []byte, err error)

// Apply makes the resources of b durable, as if one after the other, together
// with the record that seal returns; readers see all of it or nothing. seal may be
// nil. When Apply returns nil all is synced to disk. After an error nothing of it
// is there, unless the error is a fault of the store, after which all or nothing
// of it is.
//
// A resource with an older source version than the store has is Stale, whether it
// is there or deleted; equal content is Unchanged, and only moves the source
// version forward. Concurrent calls are correct whatever they write.
func (s *Store) Apply(ctx context.Context, b *fhir.Batch, seal Seal) error {
	if err := s.enterWriter(); err != nil {
		return err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return err
	}
	a := s.scratch.Get().(*applier)
	err := a.apply(ctx, s, b, seal)
	if s.fault.err() == nil { // else Pebble may still be reading from it
		a.reset()
		s.scratch.Put(a)
	}
	return err
}

func (a *applier) apply(ctx context.Context, s *Store, b *fhir.Batch, seal Seal) error {
	t := stopwatch{observe: s.observe}
	t.start()
	if err := a.look(s, b); err != nil {
		return fmt.Errorf("apply batch: %w", err)
	}
	t.lap(Comparing)
	a.held = s.locks.lock(a.held)
	// Compressed bodies, rows and heads are about a quarter of the batch.
	a.batch = s.db.NewBatchWithSize(b.Size()/4 + 4096)
	err := a.fill(s, b)
	t.lap(Writing)
	if err != nil {
		err = fmt.Errorf("apply batch: %w", err)
	} else if err = ctx.Err(); err == nil && seal != nil {
		err = a.seal(seal)
	}
	if err != nil {
		s.locks.unlock(a.held)
		return err
	}
	if err := s.commit(a.batch, func() { s.locks.unlock(a.held) }); err != nil {
		return fmt.Errorf("apply batch: %w", err)
	}
	t.lap(Syncing)
	return nil
}

// stopwatch tells an observer how long parts took.
type stopwatch struct {
	observe func(Part, time.Duration)
	last    time.Time
}

func (t *stopwatch) start() {
	if t.observe != nil {
		t.last = time.Now()
	}
}

// lap ends a part and begins the next.
func (t *stopwatch) lap(p Part) {
	if t.observe != nil {
		now := time.Now()
		t.observe(p, now.Sub(t.last))
		t.last = now
	}
}

// look decides, without a lock, which resources need no write. That is the usual
// case of a second load, and of providers that every batch repeats, for whose lock
// all lanes would else wait.
func (a *applier) look(s *Store, b *fhir.Batch) error {
	for i, r := range b.All() {
		if r.Type >= fhir.NumTypes {
			return fmt.Errorf("resource %d: its type is unknown", i)
		}
		if err := checkID(r.ID); err != nil {
			return fmt.Errorf("resource %d: %w", i, err)
		}
		a.sums = append(a.sums, xxh3.Hash128(r.JSON).Bytes())
		a.names = append(a.names, resourceName{r.Type, r.ID})
	}
	if err := a.findAll(s); err != nil {
		return err
	}
	for i, r := range b.All() {
		p, d := &a.there[i], decision{Created, true}
		// What is written twice in a batch is decided in order, under the lock.
		if _, again := a.seen[a.names[i]]; !again {
			if p.found {
				d = p.head.decide(a.sums[i], r.SourceVersion)
			}
			if d.writes {
				a.seen[a.names[i]] = len(a.pending)
				a.pending = append(a.pending, *p)
				a.held = append(a.held, p.stripe)
			}
		}
		a.writes = append(a.writes, d.writes)
		a.outcomes = append(a.outcomes, d.outcome)
	}
	return nil
}

// fill puts the resources that are to be written into the Pebble batch, under the
// locks.
func (a *applier) fill(s *Store, b *fhir.Batch) error {
	for i, r := range b.All() {
		if !a.writes[i] {
			continue
		}
		var err error
		if a.outcomes[i], err = a.write(s, r, a.sums[i]); err != nil {
			return err
		}
	}
	return nil
}

func (a *applier) seal(seal Seal) error {
	name, value, err := seal(a.outcomes)
	if err != nil || name == "" {
		return err
	}
	return a.batch.Set(metaKey(name), value, nil)
}

// decision is the outcome of a resource and whether it leads to a write.
type decision struct {
	outcome Outcome
	writes  bool
}

// decide compares a resource with the head that is there.
func (h *head) decide(sum hash, sourceVersion string) decision {
	switch {
	case sourceVersion < string(h.sourceVersion):
		return decision{Stale, false}
	case h.deleted:
		return decision{Created, true}
	case sum == h.hash:
		return decision{Unchanged, sourceVersion != string(h.sourceVersion)}
	}
	return decision{Updated, true}
}
