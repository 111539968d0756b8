package store

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// Names of meta records that Stats shows.
const (
	MetaIdentity = "identity" // random; distinguishes the store from all others
	MetaIDKey    = "id-key"   // fingerprint of the key that the ids were made with
	MetaLastRun  = "last-run" // the loader's record of the last finished run
)

// Meta records are few and small, so reading and writing them needs no context.

// Meta returns the meta record with a name, ErrNotFound if there is none. The
// value is the caller's.
func (s *Store) Meta(name string) ([]byte, error) {
	if err := s.enter(context.Background()); err != nil {
		return nil, err
	}
	defer s.leave()
	var value []byte
	err := view(s.db, metaKey(name), func(v []byte) error {
		value = append(make([]byte, 0, len(v)), v...)
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("read meta record: %w", err)
	}
	return value, err
}

// PutMeta makes meta records durable, all or none. A nil value removes a record.
func (s *Store) PutMeta(records map[string][]byte) error {
	if err := s.enterWriter(context.Background()); err != nil {
		return err
	}
	defer s.leave()
	batch := s.db.NewBatch()
	var list []MetaRecord
	for name, value := range records {
		list = append(list, MetaRecord{name, value})
	}
	if err := s.setMeta(batch, list); err != nil {
		return errors.Join(err, batch.Close())
	}
	if err := s.commit(batch, func() { s.metas.drop(list) }); err != nil {
		return fmt.Errorf("write meta records: %w", err)
	}
	return batch.Close()
}

// setMeta adds meta records to a batch. A nil value removes a record. Once readers see them, the caller
// drops them from s.metas.
func (s *Store) setMeta(batch *pebble.Batch, records []MetaRecord) error {
	s.absent.add(records)
	for _, r := range records {
		var err error
		if r.Value == nil {
			err = batch.Delete(metaKey(r.Name), nil)
		} else {
			err = batch.Set(metaKey(r.Name), r.Value, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// AllMeta yields the meta records whose names begin with prefix, by name. A value
// holds until the next step. An error ends it, with an empty name.
func (s *Store) AllMeta(prefix string) iter.Seq2[MetaRecord, error] {
	return func(yield func(MetaRecord, error) bool) {
		if err := s.enter(context.Background()); err != nil {
			yield(MetaRecord{}, err)
			return
		}
		defer s.leave()
		from := metaKey(prefix)
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(from)})
		if err != nil {
			yield(MetaRecord{}, fmt.Errorf("read meta records: %w", err))
			return
		}
		defer func() { _ = it.Close() }() // its error is that of it.Error
		for ok := it.First(); ok; ok = it.Next() {
			if !yield(MetaRecord{string(it.Key()[1:]), it.Value()}, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(MetaRecord{}, fmt.Errorf("read meta records: %w", err))
		}
	}
}

// MetaRecord is a named fact about the store, such as the checkpoint of a lane.
type MetaRecord struct {
	Name  string
	Value []byte
}
