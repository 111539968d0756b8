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
		}); err != nil {
			return err
		}
		c.Do, c.Version = Forget, binary.BigEndian.Uint32(k[len(k)-4:])-1
		if now == patient {
			continue // it goes with all its versions
		}
		if !yield(c, nil) {
			return nil
		}
	}
	return nil
}

// MadeBy yields, for each resource whose newest content has an origin, the correction that restores what was
// before it: the newest content of another origin that was not undone itself, of which gone has the names. A
// resource that has other content since is yielded with the remedy Forget and must stay as it is, or be corrected
// by whoever changed it; unless the reason is undone, the name of the corrections that undo the origin: then it is
// passed over. It reads the whole change feed. Claims come before coverages, and these before patients.
func (s *Store) MadeBy(ctx context.Context, origin, undone string, gone []string) iter.Seq2[Correction, error] {
	return func(yield func(Correction, error) bool) {
		for _, t := range slices.Backward(allTypes[:]) {
			for c, err := range s.Changes(ctx, t, 0, nil) {
				if err == nil && c.Origin != origin {
					continue
				}
				var fix Correction
				done := false
				if err == nil {
					x := unmaking{store: s, change: &c, undone: undone, gone: gone}
					fix, done, err = x.fix(ctx)
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

// unmaking finds the correction for a version of an origin.
type unmaking struct {
	store  *Store
	change *Change
	undone string
	gone   []string
}

// fix makes the correction. It reports false if another version of the resource is the one to correct.
func (x *unmaking) fix(ctx context.Context) (fix Correction, ok bool, err error) {
	s, c := x.store, x.change
	if err := s.enter(ctx); err != nil {
		return fix, false, err
	}
	defer s.leave()
	fix = Correction{Type: c.Type, ID: c.ID, Do: Restore}
	if err := s.head(c.Type, c.ID, func(h *head) { fix.Version = h.version }); err != nil {
		return fix, false, err
	}
	newest, err := x.at(fix.Version)
	if err != nil {
		return fix, false, err
	}
	content := newest // the version that the newest content was loaded with
	if newest.Origin != c.Origin {
		if content, err = x.loaded(newest); err != nil {
			return fix, false, err
		}
	}
	switch {
	case content.Origin == c.Origin && content.Version != c.Version, newest.Origin == x.undone && content.Origin != c.Origin:
		return fix, false, nil // it comes with the version of the content, or is undone
	case content.Origin != c.Origin:
		next, err := x.at(c.Version + 1)
		fix.Do = Forget
		return fix, err == nil && next.Origin != c.Origin, err
	}
	for fix.To = c.Version - 1; fix.To > 0; fix.To-- {
		before, err := x.at(fix.To)
		if err == nil && before.Origin != c.Origin && c.Restored == 0 { // a correction that is undone had its reasons
			before, err = x.loaded(before)
		}
		if errors.Is(err, ErrNotFound) { // it was erased
			fix.To = 0
			break
		}
		if err != nil {
			return fix, false, err
		}
		if before.Origin != c.Origin && (c.Restored > 0 || !slices.Contains(x.gone, before.Origin)) {
			break
		}
	}
	return fix, true, nil
}

// loaded is the version that the content of a version was loaded with.
func (x *unmaking) loaded(v Change) (Change, error) {
	for v.Restored > 0 && v.Restored < v.Version {
		next, err := x.at(v.Restored)
		if err != nil {
			return v, err
		}
		v = next
	}
	return v, nil
}

// at is what the change feed says of a version.
func (x *unmaking) at(version uint32) (v Change, err error) {
	s := x.store
	v = Change{Type: x.change.Type, ID: x.change.ID, Version: version}
	var b body
	err = view(s.db, appendBodyKey(nil, v.Type, v.ID, version), func(text []byte) error {
		if !b.decode(text) {
			return &CorruptError{s.dir, "a body"}
		}
		return nil
	})
	if err != nil {
		return v, err
	}
	v.Commit = s.commitOf(b.commit)
	err = view(s.db, appendCommitKey(nil, v.Type, v.ID, version, v.Commit), func(text []byte) error {
		v.readOrigin(text)
		return nil
	})
	if errors.Is(err, ErrNotFound) { // of a store from before there was a change feed
		err = nil
	}
	return v, err
}
