//go:build unix

package audit

import (
	"errors"
	"os"
	"syscall"
)

// acquire waits until no other process appends.
func (l *Log) acquire() error { return flock(l.lock, syscall.LOCK_EX) }

func (l *Log) release() {
	_ = flock(l.lock, syscall.LOCK_UN) // cannot fail for an open file
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err == nil || !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
