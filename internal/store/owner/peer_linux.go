package owner

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// checkPeer fails with *PeerError unless the process at the other end belongs to the same user. It
// returns the id of that process as it was when it connected or began to listen.
func checkPeer(c *net.UnixConn) (pid int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	errControl := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(errControl, err); err != nil {
		return 0, err
	}
	return int(cred.Pid), checkUser(cred.Uid, os.Geteuid())
}

func checkUser(peer uint32, own int) error {
	if int(peer) != own {
		return &PeerError{peer}
	}
	return nil
}
