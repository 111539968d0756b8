package store

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failStopFS is a file system on which Pebble never sees a write fail: the first failure becomes
// the fault of the store, and its goroutine blocks forever. Pebble handles write errors
// inconsistently, in places with a nil dereference in the background; this way nothing more is
// written or removed after a failure, and the state on disk is one that recovery can handle. Failed
// reads are left to Pebble, which returns them.
type failStopFS struct {
	vfs.FS
	fault     *fault
	scrubbing *atomic.Bool // see Store.Scrub
}

// halt returns if err is nil.
func (f *fault) halt(err error) {
	if err == nil {
		return
	}
	f.set("write", err)
	select {}
}

func (s failStopFS) file(f vfs.File, err error) (vfs.File, error) {
	s.fault.halt(err)
	return failStopFile{f, s.fault}, nil
}

func (s failStopFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.file(s.FS.Create(name, c))
}

func (s failStopFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return s.file(s.FS.OpenReadWrite(name, c, o...))
}

func (s failStopFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if s.scrubbing.Load() { // what it has must not stay on disk
		s.fault.halt(s.FS.Remove(from))
		return s.Create(to, c)
	}
	return s.file(s.FS.ReuseForWrite(from, to, c))
}

func (s failStopFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return failStopFile{f, s.fault}, nil
}

func (s failStopFS) Link(from, to string) error {
	s.fault.halt(s.FS.Link(from, to))
	return nil
}

func (s failStopFS) Rename(from, to string) error {
	s.fault.halt(s.FS.Rename(from, to))
	return nil
}

func (s failStopFS) Unwrap() vfs.FS { return s.FS }

// failStopFile is a file that is written or a folder that is synced.
type failStopFile struct {
	vfs.File
	fault *fault
}

func (f failStopFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.fault.halt(err)
	return n, nil
}

func (f failStopFile) WriteAt(b []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(b, at)
	f.fault.halt(err)
	return n, nil
}

func (f failStopFile) Sync() error {
	f.fault.halt(f.File.Sync())
	return nil
}

func (f failStopFile) SyncData() error {
	f.fault.halt(f.File.SyncData())
	return nil
}

func (f failStopFile) SyncTo(n int64) (bool, error) {
	full, err := f.File.SyncTo(n)
	f.fault.halt(err)
	return full, nil
}

// Stat halts too: Pebble panics, holding the wrong locks, if it cannot learn the size of a log.
func (f failStopFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	f.fault.halt(err)
	return info, nil
}

func (f failStopFile) Close() error {
	f.fault.halt(f.File.Close())
	return nil
}
