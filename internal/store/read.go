package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"cpcds2fhir/schemas/fhir"
)

// Entry is one version of a resource. An Entry that an iterator yields, and all
// it refers to, is overwritten by the next step.
type Entry struct {
	Type        fhir.Type
	ID          string
	Patient     string // id of whose it is, "" if it is nobody's; History and GetVersion do not know it
	Version     uint32 // meta.versionId; 1 is the first
	LastUpdated string // meta.lastUpdated, as the source has it
	Commit      int64  // instant of the commit, in milliseconds since 1970; 0 if it is not known
	Deleted     bool   // this version marks the resource as deleted; it has no JSON
	JSON        []byte // as it was loaded, without a meta.versionId
	Keys        []fhir.Key
}

// Get returns the newest version of a resource, which may be a deletion. It returns ErrNotFound if
// the resource never existed. The Entry is the caller's; it has no Keys.
func (s *Store) Get(ctx context.Context, t fhir.Type, id string) (*Entry, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if t >= fhir.NumTypes || checkID(id) != nil {
		return nil, ErrNotFound
	}
	var version uint32
	var patient string
	if err := s.head(t, id, func(h *head) { version, patient = h.version, string(h.patient) }); err != nil {
		return nil, readError(t, err)
	}
	e, err := s.version(s.db, t, id, version)
	if err == nil {
		e.Patient = patient
	}
	return e, readError(t, err)
}

// SourceVersion returns the source version of the newest version of a resource, even if it is
// deleted; ErrNotFound if it never existed.
func (s *Store) SourceVersion(ctx context.Context, t fhir.Type, id string) (version string, err error) {
	if err := s.enter(ctx); err != nil {
		return "", err
	}
	defer s.leave()
	if t >= fhir.NumTypes || checkID(id) != nil {
		return "", ErrNotFound
	}
	err = s.head(t, id, func(h *head) { version = string(h.sourceVersion) })
	return version, readError(t, err)
}

// head calls use with the head of a resource, which holds during the call.
func (s *Store) head(t fhir.Type, id string, use func(h *head)) error {
	return view(s.db, appendHeadKey(nil, t, id), func(v []byte) error {
		var h head
		if !h.decode(v) {
			return &CorruptError{s.dir, "a head"}
		}
		use(&h)
		return nil
	})
}

// GetVersion returns one version of a resource. ErrNotFound: there is no such
// version. The Entry is the caller's; it has no Keys.
func (s *Store) GetVersion(ctx context.Context, t fhir.Type, id string, version uint32) (*Entry, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	if t >= fhir.NumTypes || checkID(id) != nil {
		return nil, ErrNotFound
	}
	e, err := s.version(s.db, t, id, version)
	return e, readError(t, err)
}

// History yields all versions of a resource, the newest first; none if it never existed. An error
// ends it.
func (s *Store) History(ctx context.Context, t fhir.Type, id string) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		err := s.enter(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		defer s.leave()
		if t >= fhir.NumTypes || checkID(id) != nil {
			return
		}
		prefix := appendBodyPrefix(nil, t, id)
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
		if err != nil {
			yield(nil, readError(t, err))
			return
		}
		defer func() { _ = it.Close() }() // its error is that of it.Error
		e := Entry{Type: t, ID: id}
		for ok := it.Last(); ok; ok = it.Prev() {
			version, ok := bytes.CutPrefix(it.Key(), prefix)
			if !ok || len(version) != 4 {
				yield(nil, &CorruptError{s.dir, "the key of a body"})
				return
			}
			e.Version = binary.BigEndian.Uint32(version)
			v, err := it.ValueAndErr()
			if err = errors.Join(err, ctx.Err()); err == nil {
				err = s.decodeBody(v, &e)
			}
			if err != nil {
				yield(nil, readError(t, err))
				return
			}
			if !yield(&e, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(nil, readError(t, err))
		}
	}
}

// version reads one version into a new Entry.
func (s *Store) version(db pebble.Reader, t fhir.Type, id string, version uint32) (*Entry, error) {
	e := &Entry{Type: t, ID: id, Version: version}
	err := view(db, appendBodyKey(nil, t, id, version), func(v []byte) error { return s.decodeBody(v, e) })
	if err != nil {
		return nil, err
	}
	return e, nil
}

// decodeBody sets what the body says, and reuses the memory of e.JSON.
func (s *Store) decodeBody(v []byte, e *Entry) error {
	var b body
	if !b.decode(v) {
		return &CorruptError{s.dir, "a body"}
	}
	e.Deleted = b.deleted
	e.LastUpdated, e.Commit = b.lastUpdated, s.commitOf(b.commit)
	e.JSON = e.JSON[:0]
	if b.deleted {
		return nil
	}
	var err error
	e.JSON, err = s.codec.decode(e.JSON, e.Type, &b)
	return err
}

// view calls use with the value of a key, which holds during the call.
func view(db pebble.Reader, key []byte, use func(v []byte) error) error {
	v, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	return errors.Join(use(v), closer.Close())
}

// readError says what was read.
func readError(t fhir.Type, err error) error {
	if err == nil || errors.Is(err, ErrNotFound) {
		return err
	}
	return fmt.Errorf("read %s: %w", t, withoutKeys(err))
}

// withoutKeys keeps our own errors and those of the file system and contexts; Pebble's could hold
// keys, which hold identifiers.
func withoutKeys(err error) error {
	if corrupt, ok := errors.AsType[*CorruptError](err); ok {
		return corrupt
	}
	if busy, ok := errors.AsType[*BusyError](err); ok {
		return busy
	}
	if file := fileError(err); file != nil {
		return file
	}
	for _, own := range []error{ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, own) {
			return own
		}
	}
	return errors.New("the database reported an error")
}
