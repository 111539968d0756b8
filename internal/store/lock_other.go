//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package store

import (
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lockFile takes the lock of a store, always exclusively: there is no shared lock on this system.
func lockFile(name string, _ bool) (io.Closer, error) {
	if err := touch(name, 0); err != nil {
		return nil, err
	}
	c, err := vfs.Default.Lock(name)
	if err != nil {
		return nil, errors.Join(errLocked, err)
	}
	return c, nil
}
