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
	return fmt.Sprintf("%s holds the output of another load (different %s); load into an empty folder", e.Dir, e.What)
}

// KeyError says that the ids in a folder were made with another secret key.
// Both are fingerprints.
type KeyError struct {
	Dir, Has, Given string
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("%s holds ids made with key %s, but this load has key %s; use that key or load into an empty folder", e.Dir, e.Has, e.Given)
}

// AlteredError says that a file of the folder is missing or its size differs from the journal.
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

// SchemaError says that a newer program wrote the state folder of a load.
type SchemaError struct {
	Dir   string
	Found int
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("the journals in %s have schema %d, but this program knows only up to %d; use a newer cpcds2fhir", e.Dir, e.Found, journalSchema)
}

// GoneError says that the output of a load in the state folder is gone.
type GoneError struct{ Dir string }

func (e *GoneError) Error() string {
	return fmt.Sprintf("what was loaded into %s is gone, but its state folder is still there", e.Dir)
}
