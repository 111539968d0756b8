package owner

import (
	"errors"
	"fmt"
)

// ProtocolError says that the process that owns a store speaks another protocol.
type ProtocolError struct {
	Dir           string
	Own, Owner    uint32 // protocol versions
	Program       string // version of this program, "" if unknown
	OwnersProgram string // version of the owner's program, "" if unknown
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("store %s is in use by a program with store protocol %d (version %s), but this program has %d (version %s); run the same version, or stop the other program",
		e.Dir, e.Owner, orUnknown(e.OwnersProgram), e.Own, orUnknown(e.Program))
}

func orUnknown(version string) string {
	if version == "" {
		return "unknown"
	}
	return version
}

// PeerError says that a process of another user is at the other end of a socket.
type PeerError struct {
	UID uint32
}

func (e *PeerError) Error() string {
	return fmt.Sprintf("the process at the other end of the store's socket belongs to user %d", e.UID)
}

// LostError says that the owner of a store ended in the middle of a long read, after some of it was
// yielded. The read may be repeated; it then sees the store as it is by then.
type LostError struct {
	Err error // how the owner was lost
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the store's owner was lost during a read: %v", e.Err)
}

func (e *LostError) Unwrap() error { return e.Err }

// brokenError says that a connection to the owner is of no more use. The caller of a method never
// sees one: it is tried again with another connection, or with the store itself.
type brokenError struct{ err error }

func (e *brokenError) Error() string {
	return "the connection to the store's owner broke: " + e.err.Error()
}
func (e *brokenError) Unwrap() error { return e.err }

var (
	// errEnding is what an owner answers that is closing its store.
	errEnding = errors.New("the store's owner is ending")

	errFull = errors.New("the store's owner has too many users")
)
