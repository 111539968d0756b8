//go:build !unix

package owner

import (
	"context"
	"errors"
	"net"
)

// Without Unix sockets a store belongs to one process at a time, as without this package.

func listen(string) (*net.UnixListener, error) { return nil, errors.ErrUnsupported }

func unlisten(string) error { return nil }

func dial(context.Context, string) (c *net.UnixConn, absent bool, err error) {
	return nil, true, errors.ErrUnsupported
}

func checkPeer(*net.UnixConn) (pid int, err error) { return 0, errors.ErrUnsupported }
