package store

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"cpcds2fhir/schemas/fhir"
)

// Export yields the newest version of every resource that is not deleted, in the order of types and
// then of ids, as of the time of the call. The order and the bytes depend only on the resources. No
// types means all. An error ends it. Entries have no Keys.
func (s *Store) Export(ctx context.Context, types ...fhir.Type) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(nil, err)
			return
		}
		defer s.leave()
		snapshot := s.db.NewSnapshot()
		defer func() { _ = snapshot.Close() }() // cannot fail
		if len(types) == 0 {
			types = allTypes[:]
		}
		for _, t := range types {
			if more, err := s.exportType(ctx, snapshot, t, yield); err != nil {
				yield(nil, fmt.Errorf("export: %w", readError(t, err)))
				return
			} else if !more {
				return
			}
		}
	}
}

var allTypes = func() (all [fhir.NumTypes]fhir.Type) {
	for t := range all {
		all[t] = fhir.Type(t)
	}
	return all
}()

// exportType walks heads and bodies in parallel: both are ordered by id.
func (s *Store) exportType(ctx context.Context, db pebble.Reader, t fhir.Type, yield func(*Entry, error) bool) (more bool, err error) {
	bodies, err := db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{bodySpace, byte(t)}, UpperBound: []byte{bodySpace, byte(t) + 1},
	})
	if err != nil {
		return false, err
	}
	defer func() { _ = bodies.Close() }() // its error is that of bodies.Error
	e := Entry{Type: t}
	var key []byte
	for h, err := range s.heads(ctx, db, t, "") {
		if err != nil {
			return false, err
		}
		if h.deleted {
			continue
		}
		key = appendBodyKey(key[:0], t, h.id, h.version)
		if !bodies.SeekGE(key) || string(bodies.Key()) != string(key) {
			if err := bodies.Error(); err != nil {
				return false, err
			}
			return false, &CorruptError{s.dir, "a body"}
		}
		v, err := bodies.ValueAndErr()
		if err != nil {
			return false, err
		}
		e.ID, e.Version = h.id, h.version
		if err := s.decodeBody(v, &e); err != nil {
			return false, err
		}
		if !yield(&e, nil) {
			return false, nil
		}
	}
	return true, nil
}

// namedHead is a head with its id. Its texts are valid until the next step.
type namedHead struct {
	id string
	head
}

// heads yields the heads of a type whose ids are greater than from, by id.
func (s *Store) heads(ctx context.Context, db pebble.Reader, t fhir.Type, from string) iter.Seq2[*namedHead, error] {
	return func(yield func(*namedHead, error) bool) {
		lower := appendHeadKey(nil, t, from)
		if from != "" {
			lower = append(lower, 0)
		}
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{headSpace, byte(t) + 1}})
		if err != nil {
			yield(nil, err)
			return
		}
		defer func() { _ = it.Close() }() // its error is that of it.Error
		var h namedHead
		for ok := it.First(); ok; ok = it.Next() {
			h.id = string(it.Key()[2:])
			v, err := it.ValueAndErr()
			if err == nil && !h.decode(v) {
				err = &CorruptError{s.dir, "a head"}
			}
			if err = errors.Join(err, ctx.Err()); err != nil {
				yield(nil, err)
				return
			}
			if !yield(&h, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(nil, err)
		}
	}
}
