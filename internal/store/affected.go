package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"cpcds2fhir/schemas/fhir"
)

// versionOf is the version at the end of a key.
func versionOf(key, prefix []byte) (uint32, bool) {
	v, ok := bytes.CutPrefix(key, prefix)
	if !ok || len(v) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v), true
}

// Compartment yields the corrections that erase everything of a patient: the patient and all that refers
// to it, also what was deleted, and versions of resources that are another patient's by now. It reads all
// that versions have replaced.
func (s *Store) Compartment(ctx context.Context, patient string) iter.Seq2[Correction, error] {
	return func(yield func(Correction, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(Correction{}, err)
			return
		}
		defer s.leave()
		if checkID(patient) != nil {
			return
		}
		more, err := s.ofPatient(ctx, patient, yield)
		if err == nil && more {
			err = s.onceOfPatient(ctx, patient, yield)
		}
		if err != nil {
			yield(Correction{}, withoutKeys(err))
		}
	}
}

// ofPatient yields corrections for the rows of a patient.
func (s *Store) ofPatient(ctx context.Context, patient string, yield func(Correction, error) bool) (more bool, err error) {
	prefix := append(append([]byte{rowSpace}, patient...), 0)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, it.Error(), it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		k := it.Key()[len(prefix):]
		if len(k) < 2 || k[0] >= byte(fhir.NumTypes) {
			return false, &CorruptError{s.dir, "the key of a row"}
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
		if !yield(Correction{Type: fhir.Type(k[0]), ID: string(k[1:]), Do: Erase}, nil) {
			return false, nil
		}
	}
	return true, nil
}

// onceOfPatient yields corrections for resources that were a patient's and are not now.
func (s *Store) onceOfPatient(ctx context.Context, patient string, yield func(Correction, error) bool) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{undoSpace}, UpperBound: []byte{undoSpace + 1}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Error(), it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		k := it.Key()
		if len(k) < 2+1+1+4 || k[1] >= byte(fhir.NumTypes) {
			return &CorruptError{s.dir, "the key of what a version replaced"}
		}
		c := Correction{Type: fhir.Type(k[1]), ID: string(k[2 : len(k)-5])}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		var u undo
		var w row
		if !u.decode(v) || len(u.row) > 0 && !w.decode(u.row) {
			return &CorruptError{s.dir, "what a version replaced"}
		}
		if len(u.row) == 0 || w.patient(c.Type, c.ID) != patient {
			continue
		}
		var now string
		if err := s.head(c.Type, c.ID, func(h *head) {
			now = string(h.patient)
			if c.Do = Forget; h.deleted {
				c.Do = Erase
			}
		}); err != nil {
			return err
		}
		c.Version = binary.BigEndian.Uint32(k[len(k)-4:]) - 1
		if now == patient {
			continue // it goes with all its versions
		}
		if !yield(c, nil) {
			return nil
		}
	}
	return nil
}

// MadeBy yields, for each resource whose newest version has an origin, the correction that restores what
// was before the versions of that origin. A resource that has changed since, for another reason, is
// yielded with the remedy Forget and must stay as it is, or be corrected by whoever changed it; unless that
// reason is undone, the name of the corrections that undo the origin: then it is passed over. It reads the
// whole change feed. Claims come before coverages, and these before patients.
func (s *Store) MadeBy(ctx context.Context, origin, undone string) iter.Seq2[Correction, error] {
	return func(yield func(Correction, error) bool) {
		for _, t := range slices.Backward(allTypes[:]) {
			for c, err := range s.Changes(ctx, t, 0, nil) {
				if err == nil && c.Origin != origin {
					continue
				}
				var fix Correction
				done := false
				if err == nil {
					fix, done, err = s.unmake(ctx, &c, undone)
				}
				if err != nil {
					yield(Correction{}, withoutKeys(err))
					return
				}
				if done && !yield(fix, nil) {
					return
				}
			}
		}
	}
}

// unmake makes the correction for a version of an origin. It reports false if another version of the
// resource is the one to correct.
func (s *Store) unmake(ctx context.Context, c *Change, undone string) (fix Correction, ok bool, err error) {
	if err := s.enter(ctx); err != nil {
		return fix, false, err
	}
	defer s.leave()
	fix = Correction{Type: c.Type, ID: c.ID, Do: Restore}
	if err := s.head(c.Type, c.ID, func(h *head) { fix.Version = h.version }); err != nil {
		return fix, false, err
	}
	origin := func(version uint32) (string, error) { return s.originOf(c.Type, c.ID, version) }
	if fix.Version != c.Version {
		newest, err := origin(fix.Version)
		if err != nil || newest == c.Origin || newest == undone {
			return fix, false, err // it comes with the newest version
		}
		next, err := origin(c.Version + 1)
		fix.Do = Forget
		return fix, err == nil && next != c.Origin, err
	}
	for fix.To = c.Version - 1; fix.To > 0; fix.To-- {
		o, err := origin(fix.To)
		if errors.Is(err, ErrNotFound) { // it was erased
			fix.To = 0
			break
		}
		if err != nil {
			return fix, false, err
		}
		if o != c.Origin {
			break
		}
	}
	return fix, true, nil
}

// originOf is the origin of a version.
func (s *Store) originOf(t fhir.Type, id string, version uint32) (origin string, err error) {
	var b body
	err = view(s.db, appendBodyKey(nil, t, id, version), func(v []byte) error {
		if !b.decode(v) {
			return &CorruptError{s.dir, "a body"}
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	err = view(s.db, appendCommitKey(nil, t, id, version, s.commitOf(b.commit)), func(v []byte) error {
		origin = string(v)
		return nil
	})
	if errors.Is(err, ErrNotFound) { // of a store from before there was a change feed
		err = nil
	}
	return origin, err
}
