package store

import (
	"context"
	"errors"
	"fmt"

	"cpcds2fhir/schemas/fhir"
)

// Stats describes a store.
type Stats struct {
	SchemaVersion int
	Types         [fhir.NumTypes]TypeStats
	DiskBytes     uint64 // of all files, including what compaction has yet to drop
	IDKey         string // fingerprint of the key that the ids were made with, "" if none is known
	LastRun       []byte // the loader's record of the last finished run, nil if there is none
}

// TypeStats counts the resources of one type.
type TypeStats struct {
	Resources  int64 // not deleted
	Deleted    int64
	Versions   int64 // of both, with their tombstones
	Dictionary int   // size of the dictionary of its bodies in bytes, 0 if there is none
}

// withoutErased takes the versions that were erased off.
func (s *Store) withoutErased(st *Stats) error {
	for r, err := range s.AllMeta(CorrectedSpace) {
		var account map[string]Corrected
		if err == nil {
			err = s.readCorrected(r.Value, &account)
		}
		if err != nil {
			return err
		}
		for _, t := range allTypes {
			st.Types[t].Versions -= account[t.String()].Erased
		}
	}
	return nil
}

// Stats counts what is in the store. It reads every head, about a million per second.
func (s *Store) Stats(ctx context.Context) (*Stats, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	st := &Stats{SchemaVersion: schemaVersion, DiskBytes: s.db.Metrics().DiskSpaceUsage()}
	snapshot := s.db.NewSnapshot()
	defer func() { _ = snapshot.Close() }() // cannot fail
	for _, t := range allTypes {
		c := &st.Types[t]
		for h, err := range s.heads(ctx, snapshot, t, "") {
			if err != nil {
				return nil, fmt.Errorf("count resources: %w", readError(t, err))
			}
			if h.deleted {
				c.Deleted++
			} else {
				c.Resources++
			}
			c.Versions += int64(h.version)
		}
		err := view(snapshot, dictKey(t), func(v []byte) error {
			c.Dictionary = len(v)
			return nil
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("read dictionary: %w", readError(t, err))
		}
	}
	if err := s.withoutErased(st); err != nil {
		return nil, fmt.Errorf("read corrections: %w", err)
	}
	key, err := s.Meta(MetaIDKey)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	st.IDKey = string(key)
	if st.LastRun, err = s.Meta(MetaLastRun); err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	return st, nil
}
