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
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options configure Open. The zero value opens a store for writing and creates
// it if it is not there.
type Options struct {
	// ReadOnly opens an existing store without changing a byte of it. Several
	// processes may read a store in this way at once, but none while a process
	// has it open for writing, and none may open it for writing meanwhile: Pebble
	// does not follow the files of a live writer. On systems without flock(2) a
	// reader excludes other readers too. What the last writer had not yet flushed
	// is replayed into memory on each such Open; Close flushes, so that this is
	// little unless the writer was killed.
	ReadOnly bool

	// Memory is what memtables and cache may take, in bytes; 0 means the constant
	// Memory.
	Memory int64

	// Observe is told how long the parts of an Apply took; nil measures nothing. It
	// is called by several goroutines at once.
	Observe func(p Part, took time.Duration)

	// FS replaces the disk; nil means the disk. It is there for fault tests. A
	// given FS decides itself about permissions and locks.
	FS vfs.FS
}

// Part is a part of the work of Apply.
type Part uint8

// The parts.
const (
	Comparing   Part = iota // with what is there
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
	fault    *fault
	scratch  sync.Pool // of *applier
	observe  func(Part, time.Duration)

	mu      sync.Mutex
	users   int // operations under way
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
	s := &Store{dir: dir, lock: lock, readOnly: o.ReadOnly, fault: newFault(dir), idle: make(chan struct{}), observe: o.Observe}
	s.locks.seed = maphash.MakeSeed()
	s.scratch.New = func() any { return newApplier() }
	creating, err := checkSchema(disk, dir, o.ReadOnly)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if o.Memory == 0 {
		o.Memory = Memory
	}
	if err := s.open(disk, creating, o.Memory); err != nil {
		if fault := s.fault.err(); fault != nil {
			return nil, fault
		}
		return nil, errors.Join(fmt.Errorf("open store %s: %w", dir, err), lock.Close())
	}
	return s, nil
}

func (s *Store) open(disk vfs.FS, creating bool, memory int64) error {
	opts := tuned(failStopFS{disk, s.fault}, s.fault, memory)
	opts.ReadOnly, opts.Lock = s.readOnly, s.lock
	if err := s.fault.guard(func() (err error) {
		s.db, err = pebble.Open(s.dir, opts)
		return err
	}); err != nil {
		return err
	}
	var err error
	if creating {
		err = endCreation(disk, s.dir)
	}
	if err == nil {
		s.codec, err = newCodec(s.db, s.readOnly, s.fault)
	}
	if err != nil && s.fault.err() == nil {
		err = errors.Join(err, s.db.Close())
	}
	return err
}

// Close waits for the operations under way, flushes what is in memory and
// releases the store. It returns the fault if the store had failed; then the
// folder stays locked until the process ends, because parts of Pebble may still
// be at work in it. After the first, Close does nothing.
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

// Compact rewrites the store into its densest form. It may take minutes and
// needs room for a second copy of the larger files.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.enterWriter(); err != nil {
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

// enter begins an operation, so that Close waits for it; leave ends it.
func (s *Store) enter() error {
	if err := s.fault.err(); err != nil {
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

func (s *Store) enterWriter() error {
	if s.readOnly {
		return ErrReadOnly
	}
	return s.enter()
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.closing && s.users == 0 {
		close(s.idle)
	}
}
