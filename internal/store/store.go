// Package store is the embedded FHIR store: versioned resources in a Pebble
// database, with the index entries that the Patient Access API searches.
//
// One process at a time writes a store; any number of its goroutines may read
// and write at once. layout.go describes what is on disk, apply.go how a batch
// becomes durable, guard.go what happens when the disk fails.
package store

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure Open. The zero value opens a store for writing and creates it if it does not
// exist.
type Options struct {
	// ReadOnly opens an existing store without changing a byte of it. Several processes may read a
	// store in this way at once, but not while a process has it open for writing, because Pebble
	// does not follow the files of a live writer. On systems without flock(2) a reader also
	// excludes other readers. What the last writer had not yet flushed is replayed into memory on
	// each such Open; Close flushes, so this is little unless the writer was killed.
	ReadOnly bool

	// Memory is what memtables and cache may take, in bytes; 0 means the constant
	// Memory.
	Memory int64

	// Observe is called with the time of each part of an Apply; nil measures nothing. Several
	// goroutines may call it at once.
	Observe func(p Step, took time.Duration)

	// Sparse are beginnings of the names of meta records that are looked for often and seldom there:
	// that one is not there is known without a read.
	Sparse []string

	// FS replaces the disk, for fault tests; nil means the disk. A given FS handles permissions and
	// locks itself.
	FS vfs.FS
}

// Step is a step of the work of Apply.
type Step uint8

// The parts.
const (
	Comparing   Step = iota // with the existing resources
	Compressing             // bodies
	Writing                 // the rest of the batch
	Syncing                 // until it is durable
)

// Store is an open store. Its methods are safe for concurrent use.
type Store struct {
	dir      string
	db       *pebble.DB
	lock     *pebble.Lock
	readOnly bool
	codec    *codec
	locks    stripes
	guards   nameLocks
	instants instants
	began    int64 // see feedBeganName
	metas    metaCache
	absent   metaAbsent
	keptOut  keptOutSet

	scrubbing atomic.Bool   // see Scrub
	scrub     chan struct{} // has an element while Scrub is under way
	fault     *fault
	scratch   sync.Pool // of *applier
	observe   func(Step, time.Duration)

	mu      sync.Mutex
	users   int // operations in progress
	closing bool
	idle    chan struct{} // closed when closing and users is 0
}

// Open opens the store in dir and creates it, with mode 0700, if dir is missing
// or empty. It fails with *InUseError, *VersionError or *NotStoreError where
// these apply.
func Open(dir string, o Options) (*Store, error) {
	disk := o.FS
	if disk == nil {
		disk = privateFS{vfs.Default, o.ReadOnly}
	}
	if err := prepare(disk, dir, o.ReadOnly); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, disk)
	if err != nil {
		return nil, lockError(dir, err)
	}
	s := &Store{dir: dir, lock: lock, readOnly: o.ReadOnly, fault: newFault(dir), idle: make(chan struct{}), scrub: make(chan struct{}, 1), observe: o.Observe}
	s.locks.seed, s.guards.seed = maphash.MakeSeed(), maphash.MakeSeed()
	s.scratch.New = func() any { return newApplier() }
	version, creating, err := checkSchema(disk, dir, o.ReadOnly)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if o.Memory == 0 {
		o.Memory = Memory
	}
	if err := s.open(disk, version, creating, &o); err != nil {
		if fault := s.fault.err(); fault != nil {
			return nil, fault
		}
		return nil, errors.Join(fmt.Errorf("open store %s: %w", dir, err), lock.Close())
	}
	return s, nil
}

func (s *Store) open(disk vfs.FS, version int, creating bool, o *Options) error {
	opts := tuned(failStopFS{disk, s.fault, &s.scrubbing}, s.fault, o.Memory, &s.scrubbing)
	opts.ReadOnly, opts.Lock = s.readOnly, s.lock
	if err := s.fault.guard(func() (err error) {
		s.db, err = pebble.Open(s.dir, opts)
		return err
	}); err != nil {
		return err
	}
	var err error
	if creating {
		if err = s.putNumbers(); err == nil {
			err = endCreation(disk, s.dir)
		}
	} else if err = s.checkNumbers(version); err == nil {
		err = s.upgrade(disk, version)
	}
	if err == nil {
		s.codec, err = newCodec(s.db, s.readOnly, s.fault)
	}
	if err == nil {
		err = s.openFeed()
	}
	if err == nil {
		err = s.readKeptOut()
	}
	if err == nil && !s.readOnly {
		err = s.absent.open(s, o.Sparse)
	}
	if err != nil && s.fault.err() == nil {
		err = errors.Join(err, s.db.Close())
	}
	return err
}

// Close waits for operations in progress, flushes what is in memory and releases the store. It
// returns the fault if the store has failed; then the folder stays locked until the process exits,
// because parts of Pebble may still be writing. Further calls do nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	if s.users == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	<-s.idle
	if err := s.fault.err(); err != nil {
		return err
	}
	err := s.fault.guard(func() error {
		var flush error
		if !s.readOnly {
			flush = s.db.Flush()
		}
		return errors.Join(flush, s.db.Close())
	})
	if s.fault.err() == nil {
		err = errors.Join(err, s.lock.Close())
	}
	if err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

// Compact rewrites the store into its most compact form. It may take minutes and needs space for a
// second copy of the larger files.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.enterWriter(ctx); err != nil {
		return err
	}
	defer s.leave()
	err := s.fault.guard(func() error { return s.db.Compact(ctx, []byte{0}, []byte{0xff}, true) })
	if fault := s.fault.err(); fault != nil {
		return fault
	}
	if err != nil {
		return fmt.Errorf("compact store %s: %w", s.dir, withoutKeys(err))
	}
	return nil
}

// enter starts an operation, unless its context is done, so that Close waits for it; leave ends it.
func (s *Store) enter(ctx context.Context) error {
	if err := errors.Join(ctx.Err(), s.fault.err()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrClosed
	}
	s.users++
	return nil
}

func (s *Store) enterWriter(ctx context.Context) error {
	if s.readOnly {
		return ErrReadOnly
	}
	return s.enter(ctx)
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.closing && s.users == 0 {
		close(s.idle)
	}
}
