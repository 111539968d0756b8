package ndjson

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// filesystem is what the loader needs from a file system. Tests use one that fails and loses data.
// A missing file is an fs.ErrNotExist.
type filesystem interface {
	// Mkdir makes a folder and its parents, accessible only to the owner.
	Mkdir(path string) error

	// Create makes an empty file that only the owner can read, and truncates an existing one.
	Create(path string) (file, error)

	// Open opens an existing file.
	Open(path string) (file, error)

	Rename(from, to string) error
	Remove(path string) error

	// SyncDir makes the names in a folder durable.
	SyncDir(path string) error

	// List returns the names in a folder, in order; none if there is no such folder.
	List(path string) ([]string, error)

	Size(path string) (int64, error)

	// Lock takes the lock of a file, or fails at once.
	Lock(path string) (io.Closer, error)
}

// file is an open file. Writes name their offset, so an open file has no state but its contents.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error

	// Sync makes contents and size durable, not the name.
	Sync() error
}

// disk is the file system of the machine.
type disk struct{}

func (disk) Mkdir(path string) error { return os.MkdirAll(path, 0o700) }

func (disk) Create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f}, nil
}

func (disk) Open(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f}, nil
}

func (disk) Rename(from, to string) error { return os.Rename(from, to) }

func (disk) Remove(path string) error { return os.Remove(path) }

func (disk) SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (disk) List(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (disk) Size(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Lock leaves the file where it is when it unlocks: removing it would let two
// processes each lock a file of this name.
func (disk) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
