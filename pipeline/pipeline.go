// Package pipeline is the engine: it reads the lanes of an extract, assembles
// claims, checks and maps them, loads the resources and accounts for every row.
//
// This file holds all contracts of the engine. Sources (parquetio, csvio,
// arrowio) and loaders (package loaders/...) implement them; cmd wires them.
package pipeline

import (
	"context"

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Span is a run of rows of a file that can be read independently of the others:
// one lane. Rows are counted from 0; a nested row is one row.
type Span struct {
	First, Rows int64
}

// File is an opened input file. Its methods are safe for concurrent use.
type File interface {
	// Fields lists the columns. It does not change.
	Fields() []cpcds.Field

	// Spans cuts the file into lanes, in order and without gaps. The cut depends
	// on the file alone, not on the machine, so that a run can be resumed on
	// another one. A format that must read the whole file to know its rows does so
	// here, once, and validates its form while it does: a *FormatError names the
	// place.
	Spans(ctx context.Context) ([]Span, error)

	// Open reads the rows [from, to) of one span. columns are indices into
	// Fields; only these are decoded, in this order; nil means all.
	Open(ctx context.Context, from, to int64, columns []int) (Source, error)

	Close() error
}

// Source yields the rows of a part of a file, in order. It is used by one
// goroutine at a time.
type Source interface {
	// Next overwrites r with the next rows; their text holds until the next call.
	// io.EOF ends. Any other error is final: a *FormatError names file and row,
	// and never a value.
	Next(ctx context.Context, r *cpcds.Rows) error

	Close() error
}

// Mapper turns one claim, or one row of a small table, into resources. It keeps
// nothing, does no I/O and reads no clock; it is safe for concurrent use.
// Everything it is given has passed the rules, so it cannot fail.
type Mapper interface {
	Map(out *fhir.Batch, c *cpcds.Claim)
}

// Loader makes resources durable in one target and remembers, in the same act,
// how far each lane has got. It is safe for concurrent use by different lanes;
// a lane calls it once at a time.
type Loader interface {
	// Resume returns the checkpoint that Load last made durable for the lane, and
	// brings the target back to exactly that state: what Load did afterwards, or
	// did in part, is undone or will be repeated without effect. The zero
	// Checkpoint is returned if there is none.
	Resume(ctx context.Context, lane string) (Checkpoint, error)

	// Load makes the resources of b durable, together with a checkpoint. Once it
	// knows what will become of each resource it calls seal, exactly once, and
	// makes the Checkpoint that seal returns durable in the same act. It returns
	// nil only when all is durable, every resource and the checkpoint. After an error
	// nothing is promised: the caller may load the same batch again, with the same
	// result, or Resume. b may be empty.
	Load(ctx context.Context, lane string, b *fhir.Batch, seal Seal) error

	// Finish is called once, when all lanes are done; it completes the target
	// (manifests, the last names). total is the account of the run.
	Finish(ctx context.Context, total *Account) error

	// Close gives up what is open. What Load made durable stays.
	Close() error
}

// Checkpoint says that everything of a lane before row Row is durable.
type Checkpoint struct {
	Row         int64   `json:"row"`            // rows of the lane, from its first, that are accounted for
	Done        bool    `json:"done,omitempty"` // the lane is finished
	Rejects     int64   `json:"rejects"`        // length in bytes of the lane's reject file
	RejectCount int64   `json:"reject_count"`   // rejects in it
	Mentions    int64   `json:"mentions"`       // length in bytes of the lane's file of mentions
	Account     Account `json:"account"`        // what became of these rows
}

// Seal is told the outcome of each resource of a batch, in order, and returns the
// checkpoint of the lane that accounts for them. An error of seal is the error of
// Load. outcomes is only valid during the call.
type Seal func(outcomes []Outcome) (Checkpoint, error)

// Outcome is what a target did with one resource.
type Outcome uint8

// The outcomes.
const (
	Created   Outcome = iota // it was not there
	Updated                  // it was there with other content: a new version
	Unchanged                // it was there with the same content: nothing was written
	Stale                    // a record of a newer source version is there: nothing was written
	numOutcomes
)

// FormatError is a fault in the form of an input file. It names the place and
// never holds a value.
type FormatError struct {
	File   string
	Row    int64  // row from 1 as a person counts, without the header; 0: the file as a whole
	Line   int64  // line of a text file from 1; 0 if there are no lines
	Column string // "" if no single column is at fault
	What   string // the fault: "has 12 fields, the header has 14"
	Hint   string // what to do, "" if there is nothing to say
}
