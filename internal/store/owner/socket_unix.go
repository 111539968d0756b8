//go:build unix

package owner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// socketName is the name of the socket in the folder of a store.
const socketName = "owner.sock"

// maxPath is the longest path that every system takes as the address of a socket.
const maxPath = 100

// listen makes the socket of a store, whose lock the caller holds: what is there under this name is
// left of an owner that was killed. The socket gets its name when it has its mode, so there is no
// moment at which another user could connect.
func listen(dir string) (*net.UnixListener, error) {
	fresh := socketName + ".new"
	if err := os.Remove(filepath.Join(dir, fresh)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var l *net.UnixListener
	err := shortPath(dir, fresh, func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen in store %s: %w", dir, err)
	}
	l.SetUnlinkOnClose(false) // it would remove the path that it was given
	err = os.Chmod(filepath.Join(dir, fresh), 0o600)
	if err == nil {
		err = os.Rename(filepath.Join(dir, fresh), filepath.Join(dir, socketName))
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// unlisten removes the socket. The caller must still hold the lock of the store, or it could be that
// of the next owner.
func unlisten(dir string) error {
	if err := os.Remove(filepath.Join(dir, socketName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// dial connects to the owner of a store. absent reports that there is none that listens.
func dial(ctx context.Context, dir string) (c *net.UnixConn, absent bool, err error) {
	if _, err := os.Lstat(filepath.Join(dir, socketName)); errors.Is(err, fs.ErrNotExist) {
		return nil, true, err
	}
	err = shortPath(dir, socketName, func(path string) error {
		var d net.Dialer
		got, err := d.DialContext(ctx, "unix", path)
		if err == nil {
			c = got.(*net.UnixConn)
		}
		return err
	})
	absent = errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
	return c, absent, err
}

// shortPath calls use with a path of a file in dir that is short enough for the address of a socket,
// of which systems take about a hundred bytes. For a long one it makes a symbolic link to dir in a
// private temporary folder, just for the call: bind and connect follow it, and what counts then is
// the socket in dir. Unlike a path below /proc this works everywhere.
func shortPath(dir, name string, use func(path string) error) (err error) {
	if path := filepath.Join(dir, name); len(path) <= maxPath {
		return use(path)
	}
	whole, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	private, err := os.MkdirTemp("", "cpcds")
	if err != nil {
		return err
	}
	defer os.RemoveAll(private)
	link := filepath.Join(private, "s")
	if err := os.Symlink(whole, link); err != nil {
		return err
	}
	return use(filepath.Join(link, name))
}
