package store

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/zeebo/xxh3"

	"cpcds2fhir/schemas/fhir"
)

// Outcome is what Apply did with a resource.
type Outcome uint8

// The outcomes.
const (
	Created   Outcome = iota // it did not exist, or was deleted
	Updated                  // it existed with different content: a new version
	Unchanged                // it existed with the same content: no new version
	Stale                    // a newer source version exists, or it is kept out: nothing was written
	Unordered                // the existing source version cannot be compared: nothing was written
	Deleted                  // it existed: a new version marks it as deleted
)

// Seal gets the outcome of each resource of a batch, in order, and returns what else becomes durable
// atomically with it. If it fails, Apply fails with its error and writes nothing. outcomes is only
// valid during the call. Seal must not write to the store.
//
// Through a Handle of a store that belongs to another process, seal may be called more than once in
// an Apply: the owner holds no lock while seal runs, and if the outcomes have changed meanwhile, seal
// is asked again. The last call counts, so a seal must depend on nothing that an earlier call of it
// has left behind.
type Seal func(outcomes []Outcome) (Commit, error)

// Commit is what becomes durable with the resources of a batch.
type Commit struct {
	Put []MetaRecord // a nil value removes a record

	// Guards are records as the caller has read them; a nil value means that there was none. If one
	// has changed meanwhile, Apply fails with ErrChanged and writes nothing. Several guards of one
	// name are alternatives: a caller that does not mind if another has put the same as it does
	// names both values. Of two concurrent
	// calls, one of which puts what the other guards, the later sees the earlier.
	Guards []MetaRecord

	// Lease, unless it is zero, must not have been taken over by a later Take. Otherwise Apply
	// fails with ErrFenced and writes nothing.
	Lease Lease

	// Origin names what made the versions of the batch, such as the run of a load; "" is nothing. The
	// change feed has it.
	Origin string
}

// Apply makes the resources of b durable, as if one after the other, together with the record that
// seal returns; readers see all of it or nothing. seal may be nil. When Apply returns nil,
// everything is synced to disk. After an error nothing was written, unless the error is a fault of
// the store: then all or nothing was.
//
// A deletion adds a version that marks the resource as deleted; earlier versions stay, and History
// shows them. Deleting what does not exist, or is already deleted, is Unchanged.
//
// A resource with an older source version than the store's is Stale, even if the store's is
// deleted; equal content is Unchanged, and only moves the source version forward. Concurrent calls
// are correct whatever they write.
func (s *Store) Apply(ctx context.Context, b *fhir.Batch, seal Seal) error {
	if err := s.enterWriter(ctx); err != nil {
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
	return a.finish(ctx, s, b, seal, &t)
}

// finish writes what look has prepared.
func (a *applier) finish(ctx context.Context, s *Store, b *fhir.Batch, seal Seal, t *stopwatch) error {
	a.held = s.locks.lock(a.held)
	a.kept = s.keptOut.all()
	a.commit = s.instants.begin()
	// Compressed bodies, rows and heads are about a quarter of the batch.
	a.batch = s.db.NewBatchWithSize(b.Size()/4 + 4096)
	err := a.fill(s, b)
	t.lap(Writing)
	var put []MetaRecord
	origin := ""
	visible := func() { s.metas.drop(put); s.instants.end(a.commit) }
	release := func() { visible(); s.locks.unlock(a.held) }
	if err != nil {
		err = fmt.Errorf("apply batch: %w", err)
	} else if err = ctx.Err(); err == nil && seal != nil {
		var unlock func()
		if unlock, put, origin, err = a.seal(s, seal); unlock != nil {
			release = func() { visible(); unlock(); s.locks.unlock(a.held) }
		}
	}
	if err == nil {
		err = a.putMade(origin)
	}
	if err != nil {
		release()
		return err
	}
	if err := s.commit(a.batch, release); err != nil {
		return fmt.Errorf("apply batch: %w", err)
	}
	t.lap(Syncing)
	return nil
}

// stopwatch tells an observer how long parts took.
type stopwatch struct {
	observe func(Step, time.Duration)
	last    time.Time
}

func (t *stopwatch) start() {
	if t.observe != nil {
		t.last = time.Now()
	}
}

// lap ends a part and begins the next.
func (t *stopwatch) lap(p Step) {
	if t.observe != nil {
		now := time.Now()
		t.observe(p, now.Sub(t.last))
		t.last = now
	}
}

// look decides, without a lock, which resources need no write. That is usual in a second load, and
// for providers that every batch repeats, whose lock all lanes would otherwise wait for.
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
	a.kept = s.keptOut.all()
	if err := a.findAll(s); err != nil {
		return err
	}
	for i, r := range b.All() {
		p, d := &a.there[i], decision{Created, true}
		// A resource that occurs twice in a batch is decided in order, under the lock.
		if _, again := a.seen[a.names[i]]; !again {
			if d = a.decide(p, r, a.sums[i]); d.writes {
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

// yieldAfter is after how many resources, a fraction of a millisecond, a batch lets others have the CPU: a
// search must not wait for all of it.
const yieldAfter = 16

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
		if i%yieldAfter == yieldAfter-1 {
			runtime.Gosched()
		}
	}
	return nil
}

// seal adds what belongs to the batch, whose locks are held. unlock, unless nil, must be called once
// later batches can see this one.
func (a *applier) seal(s *Store, seal Seal) (unlock func(), put []MetaRecord, origin string, err error) {
	c, err := seal(a.outcomes)
	if err != nil {
		return nil, nil, "", err
	}
	unlock, err = s.guard(&c)
	if err != nil {
		return unlock, nil, "", err
	}
	return unlock, c.Put, c.Origin, s.setMeta(a.batch, c.Put)
}

// decision is the outcome of a resource and whether it leads to a write.
type decision struct {
	outcome Outcome
	writes  bool
}

// decide compares a resource with the existing one, unless it is kept out.
func (a *applier) decide(p *pendingResource, r *fhir.Resource, sum hash) decision {
	if a.kept.has(r) {
		return decision{Stale, false}
	}
	return p.decide(r, sum)
}

// decide compares a resource with the existing one.
func (p *pendingResource) decide(r *fhir.Resource, sum hash) decision {
	switch {
	case !p.found && r.Deleted:
		return decision{Unchanged, false}
	case !p.found:
		return decision{Created, true}
	}
	h := &p.head
	same, order, ok := r.SourceVersion == string(h.sourceVersion), 0, true
	if !same {
		order, ok = fhir.CompareVersions(r.SourceVersion, string(h.sourceVersion))
	}
	switch {
	case !ok:
		return decision{Unordered, false}
	case order < 0:
		return decision{Stale, false}
	case h.deleted && r.Deleted:
		return decision{Unchanged, !same}
	case r.Deleted:
		return decision{Deleted, true}
	case h.deleted:
		return decision{Created, true}
	case sum == h.hash:
		return decision{Unchanged, !same}
	}
	return decision{Updated, true}
}
