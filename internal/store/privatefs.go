package store

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// privateFS is the disk with files of mode 0600 and folders of mode 0700; Pebble itself leaves
// modes to the umask.
type privateFS struct {
	vfs.FS
	readOnly bool
}

// Create makes the file with its mode before Pebble opens it, so that other users never have
// access.
func (p privateFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := touch(name, os.O_EXCL); err != nil {
		return nil, err
	}
	return p.FS.OpenReadWrite(name, category)
}

func (p privateFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := touch(name, 0); err != nil {
		return nil, err
	}
	return p.FS.OpenReadWrite(name, category, opts...)
}

func (p privateFS) MkdirAll(dir string, _ os.FileMode) error { return os.MkdirAll(dir, 0o700) }

func (p privateFS) Lock(name string) (io.Closer, error) { return lockFile(name, p.readOnly) }

func (p privateFS) Unwrap() vfs.FS { return p.FS }

func touch(name string, flag int) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|flag, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// errLocked is what locking a locked file returns.
var errLocked = errors.New("file is locked")

func lockError(dir string, err error) error {
	switch {
	case errors.Is(err, errLocked):
		return &InUseError{dir}
	case errors.Is(err, fs.ErrNotExist):
		return &NotStoreError{dir}
	}
	return &fs.PathError{Op: "lock store", Path: dir, Err: err}
}
