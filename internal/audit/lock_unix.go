//go:build unix

package audit

import (
	"errors"
	"os"
	"syscall"
)

// locked calls do while no other process appends.
func (l *Log) locked(do func() error) error {
	if err := flock(l.lock, syscall.LOCK_EX); err != nil {
		return err
	}
	return errors.Join(do(), flock(l.lock, syscall.LOCK_UN))
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err == nil || !errors.Is(err, syscall.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}
