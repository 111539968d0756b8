package store

import (
	"context"
	"fmt"

	"cpcds2fhir/schemas/fhir"
)

// Delete adds a version that says the resource is gone; the versions before stay
// and History shows them. It reports false, and writes nothing, if the resource
// is not there, is deleted already or has a newer source version. lastUpdated is
// when the source says that it was deleted.
func (s *Store) Delete(ctx context.Context, t fhir.Type, id, lastUpdated, sourceVersion string) (bool, error) {
	if err := s.enterWriter(); err != nil {
		return false, err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	a := s.scratch.Get().(*applier)
	deleted, err := a.delete(s, t, id, lastUpdated, sourceVersion)
	if s.fault.err() == nil {
		a.reset()
		s.scratch.Put(a)
	}
	if err != nil {
		return false, fmt.Errorf("delete %s: %w", t, err)
	}
	return deleted, nil
}

func (a *applier) delete(s *Store, t fhir.Type, id, lastUpdated, sourceVersion string) (bool, error) {
	a.held = s.locks.lock(append(a.held, s.locks.of(t, id)))
	release := func() { s.locks.unlock(a.held) }
	a.batch = s.db.NewBatch()
	deleted, err := a.tombstone(s, t, id, lastUpdated, sourceVersion)
	if err != nil || !deleted {
		release()
		return false, err
	}
	return true, s.commit(a.batch, release)
}

func (a *applier) tombstone(s *Store, t fhir.Type, id, lastUpdated, sourceVersion string) (bool, error) {
	old := &pendingResource{}
	var err error
	if old.found, err = a.readHead(s, t, id, &old.head); err != nil { // under the lock
		return false, err
	}
	if !old.found || old.head.deleted || sourceVersion < string(old.head.sourceVersion) {
		return false, nil
	}
	if err := a.dropEntries(s, t, id, old, nil); err != nil {
		return false, err
	}
	h := head{
		deleted:       true,
		version:       old.head.version + 1,
		lastUpdated:   keep(a, lastUpdated),
		sourceVersion: keep(a, sourceVersion),
	}
	a.key = appendBodyKey(a.key[:0], t, id, h.version)
	a.val = (&body{deleted: true, lastUpdated: lastUpdated}).append(a.val[:0])
	if err := a.batch.Set(a.key, a.val, nil); err != nil {
		return false, err
	}
	return true, a.putHead(t, id, &h)
}
