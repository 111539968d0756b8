// Package fault defines the errors reported while reading parts of an Arrow file.
//
// The code that reads a part of a file knows what is wrong, but not in which file, row and column.
// It reports the problem with these errors, and package arrowio converts them to errors that name
// the location. The package knows how amounts of memory are formatted, and nothing about Arrow.
package fault

import "cpcds2fhir/pipeline/columnar"

// CorruptError describes a violation of the Arrow format.
type CorruptError struct{ what string }

func (c *CorruptError) Error() string { return "is corrupt: " + c.what }

// Corrupt returns a *CorruptError. what describes the problem and is appended to "is corrupt: ".
func Corrupt(what string) error { return &CorruptError{what} }

// SizeError means that something does not fit into the memory that a source may use.
type SizeError struct {
	What string // completes a sentence that starts with the file
	Need int64  // the memory limit in bytes that would suffice
}

func (e *SizeError) Error() string { return e.What }

// Hint returns advice on how much memory would suffice if a source may use 1/share of it.
func (e *SizeError) Hint(share int64) string {
	return "write smaller values, or set --memory to about " + columnar.Mebibytes(max(share, 1)*e.Need)
}

// Guard runs a function that decodes metadata and returns a panic as a *CorruptError, because
// offsets in damaged metadata can point anywhere. An error returned by call is returned unchanged.
func Guard(call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = Corrupt("its metadata contains invalid offsets or values")
		}
	}()
	return call()
}
