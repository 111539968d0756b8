// Package remote loads into FHIR servers. A server answers for each resource, and cannot keep a
// checkpoint: so the loader keeps an index beside the state of the load. The index knows of every
// resource what was sent, and which version it became. A resource that has not changed is not sent
// again.
//
// Delivery is at least once. Before anything is sent, the index has durably what will be; after the
// answers, it has them, with the checkpoint, in one act. If an answer is lost, the resource is read
// from the server before anything else is done with it.
//
// How resources get to a server is a Sender's: loaders/bundle or loaders/bulkimport.
package remote

import (
	"context"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Entry is a resource to be written to a server, or deleted there.
type Entry struct {
	Type    fhir.Type
	ID      string // ours
	JSON    []byte // for the server: references have its ids; empty of a deletion
	Deleted bool

	// There is the resource on the server as the index knows it; the zero value is one that is not
	// there.
	There There
}

// There is what the index knows of a resource on the server.
type There struct {
	Digest  Digest // of its content; zero if it is not there, or deleted
	Version string // as in ETag, without W/ and quotes; "" if unknown
	ID      string // that the server gave it; "" is ours
}

// Answer is what became of an Entry.
type Answer struct {
	Fate    Fate
	Version string
	ID      string            // that the server gave it; "" is ours
	Refusal *pipeline.Refusal // of Refused; of Conflict what the server said, if it said so
}

// Fate is how an Entry ended.
type Fate uint8

const (
	Stored   Fate = iota // the server has it, or has deleted it
	Refused              // the server does not accept it
	Conflict             // the server has another version than There
)

// Sender brings entries to a server. It is safe for concurrent use; nobody else sends an entry of the
// same resource meanwhile.
type Sender interface {
	// Send writes entries so that what they refer to is written before: organizations, practitioners,
	// patients, related persons, coverages, claims; deletions last, the other way round. It answers each
	// entry, in order. After an error the fate of every entry is unknown.
	Send(ctx context.Context, entries []Entry) ([]Answer, error)
}

// Server is what the loader itself asks a server.
type Server interface {
	Settings() fhirclient.Settings
	Read(ctx context.Context, refs []fhirclient.Reference) ([]fhirclient.Answer, error)
	Find(ctx context.Context, typ, query string) ([]fhirclient.Answer, error)
	Count(ctx context.Context, typ string) (int64, error)
}

// Digest is the XXH3-128 of the content of a resource: independent of the order of members and of what
// servers change by themselves (meta.versionId, meta.lastUpdated, meta.source), not of the text of
// numbers.
type Digest [16]byte
