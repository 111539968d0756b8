package store

import (
	"context"
	"fmt"
	"time"
)

// Scrub removes from the files of the store what was erased: without it, erased versions stay in them,
// unreachable, until compactions happen to drop them. It rewrites most of the store, takes minutes for
// millions of claims, and needs space for a second copy of the larger files. Searches that began before it
// should have ended: what they still read stays.
func (s *Store) Scrub(ctx context.Context) error {
	if err := s.enterWriter(ctx); err != nil {
		return err
	}
	defer s.leave()
	select { // one at a time: the end of one ends what lets the other end
	case s.scrub <- struct{}{}:
		defer func() { <-s.scrub }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.scrubbing.Store(true)
	defer s.scrubbing.Store(false)
	err := s.fault.guard(func() error { return s.db.Compact(ctx, []byte{0}, []byte{0xff}, true) })
	if err == nil {
		err = s.settle(ctx)
	}
	// The log has what was written before the bodies were. Pebble keeps its old files to use them again,
	// so there must be as many new ones.
	for range memTables + 2 {
		if err == nil {
			err = s.rotateLog()
		}
	}
	if fault := s.fault.err(); fault != nil {
		return fault
	}
	if err != nil {
		return fmt.Errorf("scrub store %s: %w", s.dir, withoutKeys(err))
	}
	return nil
}

// settleTime is how long Scrub waits for files to be rewritten, while others write and read.
const settleTime = 10 * time.Minute

// settle waits until all files of bodies were rewritten that have some of erased versions, and old files
// are gone.
func (s *Store) settle(ctx context.Context) error {
	for end := time.Now().Add(settleTime); ; {
		m := s.db.Metrics()
		b := &m.BlobFiles
		if b.ValueSize == b.ReferencedValueSize && b.ObsoleteCount == 0 && b.ZombieCount == 0 && m.Table.ObsoleteCount == 0 && m.Table.ZombieCount == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.fault.failed:
			return s.fault.err()
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return &BusyError{s.dir}
		}
	}
}

// rotateLog begins a new file of the log.
func (s *Store) rotateLog() error {
	return s.fault.guard(func() error {
		if err := s.db.Set(metaKey(scrubName), nil, nil); err != nil {
			return err
		}
		return s.db.Flush()
	})
}

// scrubName is a meta record that Scrub writes so that there is something to flush.
const scrubName = "scrubbed"
