//go:build !unix

package audit

// locked calls do. Without flock(2), one process at a time may append: stores are not shared on such
// systems either.
func (l *Log) locked(do func() error) error { return do() }
