package ndjson

import (
	"errors"
	"fmt"
)

// ErrLocked says that another process has the folder open.
var ErrLocked = errors.New("another process is loading into this folder")

// OtherRunError says that a folder holds the output of another load.
type OtherRunError struct {
	Dir  string
	What string // what differs: "inputs or settings", "compression", ...
}

func (e *OtherRunError) Error() string {
	return fmt.Sprintf("%s holds the output of another load (other %s); load into an empty folder", e.Dir, e.What)
}

// KeyError says that the ids in a folder were made with another secret key.
// Both are fingerprints.
type KeyError struct {
	Dir, Has, Given string
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("%s holds ids made with key %s, this load has key %s; use that key or load into an empty folder", e.Dir, e.Has, e.Given)
}

// AlteredError says that a file of the folder is missing or has another size
// than the journal says.
type AlteredError struct {
	File      string
	Size      int64 // -1: missing
	WantBytes int64 // the size, or the least size, that the journal says
}

func (e *AlteredError) Error() string {
	if e.Size < 0 {
		return fmt.Sprintf("%s is missing; it had %d bytes when it was written", e.File, e.WantBytes)
	}
	return fmt.Sprintf("%s has %d bytes; it had %d when it was written", e.File, e.Size, e.WantBytes)
}
