package store

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound is returned for a resource or version that never existed.
	ErrNotFound = errors.New("resource not found")

	// ErrClosed is returned by every operation after Close.
	ErrClosed = errors.New("store is closed")

	// ErrChanged is returned by Apply if a record that the caller has read has changed since. The
	// caller reads again and makes another batch.
	ErrChanged = errors.New("a record has changed since it was read")

	// ErrFenced is returned by Apply if another has taken over the lease.
	ErrFenced = errors.New("another process has taken over")

	// ErrReadOnly is returned by operations that write to a store that was opened
	// to read.
	ErrReadOnly = errors.New("store is open for reading only")
)

// FailedError says that writing to the store has failed, for example because the disk is full. Every
// later operation of this process fails too; another process, or another start, finds what is
// durable.
type FailedError struct {
	Dir  string
	What string // what failed
}

func (e *FailedError) Error() string { return fmt.Sprintf("store %s failed: %s", e.Dir, e.What) }

// BusyError says that files with what was erased are still there, because others use them or write more.
type BusyError struct{ Dir string }

func (e *BusyError) Error() string {
	return fmt.Sprintf("store %s is too busy to remove what was erased from all its files; purge again when fewer use it", e.Dir)
}

// InUseError says that another process, or another Open in this one, holds the store.
type InUseError struct{ Dir string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("store %s is in use by another process", e.Dir)
}

// VersionError says that the store was written by a newer program, or by one from
// before the first release.
type VersionError struct {
	Dir          string
	Found, Known int // schema versions
}

func (e *VersionError) Error() string {
	if e.Found < e.Known {
		return fmt.Sprintf("store %s has schema version %d, but this program needs %d; load a new store", e.Dir, e.Found, e.Known)
	}
	return fmt.Sprintf("store %s has schema version %d, but this program knows only up to %d; use a newer cpcds2fhir", e.Dir, e.Found, e.Known)
}

// NotStoreError says that a folder is not a store. A folder that is not empty is never turned into
// one.
type NotStoreError struct{ Dir string }

func (e *NotStoreError) Error() string {
	return fmt.Sprintf("folder %s is not a cpcds2fhir store; name a store, an empty folder or a new one", e.Dir)
}

// CorruptError says that something on disk is not what was written.
type CorruptError struct {
	Dir  string
	What string // the kind of record
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("store %s: %s is damaged; restore the store from a backup or load a new one", e.Dir, e.What)
}
