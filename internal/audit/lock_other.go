//go:build !unix

package audit

// acquire does nothing: without flock(2), one process at a time may append. Stores are not shared on such systems
// either.
func (l *Log) acquire() error { return nil }

func (l *Log) release() {}
