package store

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"syscall"
)

// fault holds the first failure after which a store must not continue: a failed write to the log or
// the manifest. Pebble would then exit the process, panic, or retry forever, but a full disk must
// reach the caller as an error. So every call that writes runs in its own goroutine, which Pebble
// may end, and the caller waits for that goroutine or for the fault. After a fault the store
// refuses everything, because locks inside Pebble may be held forever.
type fault struct {
	dir    string
	once   sync.Once
	failed chan struct{} // closed by the fault
	cause  error         // set before failed is closed
}

func newFault(dir string) *fault { return &fault{dir: dir, failed: make(chan struct{})} }

// err is the fault, nil as long as there is none.
func (f *fault) err() error {
	select {
	case <-f.failed:
		return f.cause
	default:
		return nil
	}
}

// set records a fault. It keeps only the file system's part of cause, which names files; anything
// else could hold keys.
func (f *fault) set(what string, cause error) {
	f.once.Do(func() {
		f.cause = &FailedError{Dir: f.dir, What: what}
		if e := fileError(cause); e != nil {
			f.cause = fmt.Errorf("%w: %w", f.cause, e)
		}
		close(f.failed)
	})
}

// guard runs do and returns its error, or the fault if that comes first. In that case do may still
// be running, so it must not touch anything that the caller uses afterwards.
func (f *fault) guard(do func() error) error {
	done := make(chan error, 1)
	f.start(func() { done <- do() })
	return f.wait(done)
}

// start runs do in a goroutine in which a panic becomes a fault.
func (f *fault) start(do func()) {
	go func() {
		defer func() {
			if r := recover(); r != nil {
				err, _ := r.(error)
				f.set("the database stopped", err)
			}
		}()
		do()
	}()
}

// wait returns what arrives on done, or the fault.
func (f *fault) wait(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-f.failed:
		return f.cause
	}
}

// fileError returns the file system's error in err, nil if there is none.
func fileError(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return nil
}

// quietLogger keeps Pebble from writing to standard error and from exiting the process. What an
// operator should see is returned as an error.
type quietLogger struct{ *fault }

// Infof drops the message.
func (quietLogger) Infof(string, ...any) {}

// Errorf drops the message: Pebble continues, and the event listener is told.
func (quietLogger) Errorf(string, ...any) {}

// Fatalf records the fault and ends the goroutine, because it must not return. The message is
// dropped, because it may hold keys.
func (l quietLogger) Fatalf(_ string, args ...any) {
	var cause error
	for _, a := range args {
		if err, ok := a.(error); ok {
			cause = err
		}
	}
	l.set("write", cause)
	runtime.Goexit()
}
