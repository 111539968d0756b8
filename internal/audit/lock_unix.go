//go:build unix

package audit

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// patience is how long a process waits for another one that appends, which takes a moment unless it was stopped.
const patience = 5 * time.Second

// acquire waits until no other process appends.
func (l *Log) acquire() error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := flock(l.lock, syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if time.Now().After(end) {
			return errors.New("another process keeps it; it may have been stopped")
		}
	}
}

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
