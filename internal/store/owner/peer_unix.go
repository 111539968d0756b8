//go:build unix && !linux

package owner

import "net"

// checkPeer leaves the check to the modes of the socket and of the folder it is in.
func checkPeer(*net.UnixConn) (pid int, err error) { return 0, nil }
