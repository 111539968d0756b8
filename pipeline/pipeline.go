// Package pipeline has the contracts between the parts of a load: what a source
// of rows promises (File, Source), what a target promises (Loader, Target,
// Voider), how both agree on how far a run has got (Checkpoint, Seal), and what
// the parts tell the user (Account, Reject, Repairs, FormatError).
//
// The parts are in the packages below. Package batchrun runs a load: it reads
// files with parquetio, csvio and arrowio, brings the rows of a claim together
// with scattered and claims, and loads what package mappers makes of them.
// Loaders are in cpcds2fhir/loaders; package cmd wires everything.
package pipeline

import (
	"context"
	"errors"
	"slices"

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

	// Spans cuts the file into lanes, in order and without gaps. The cut depends only on the file,
	// not on the machine, so that a run can be resumed on another one. A format that must read the
	// whole file to count its rows does so here, once, and checks its form: a *FormatError names
	// the place.
	Spans(ctx context.Context) ([]Span, error)

	// Open reads the rows [from, to) of one span, and decodes no other columns than these.
	Open(ctx context.Context, from, to int64, columns Columns) (Source, error)

	Close() error
}

// Columns says which columns a source reads, as indices into the Fields of its file. Its
// rows have the bound ones first, then those that are kept.
type Columns struct {
	// Bound columns are what the rows are read for: a value that cannot be read is an
	// error, and the lists that hold them unfold rows.
	Bound []int

	// Kept columns are read to show rejected rows. They never stop a run: a value that cannot be
	// read is left out. One in a list is read only if the list unfolds rows.
	Kept []int
}

// ReadableColumns binds all columns of a file that can become text.
func ReadableColumns(f File) (c Columns) {
	for i, field := range f.Fields() {
		if field.Fault == "" {
			c.Bound = append(c.Bound, i)
		}
	}
	return c
}

// All returns the fields that the columns of the rows have, in order.
func (c Columns) All() []int { return slices.Concat(c.Bound, c.Kept) }

// Source yields the rows of a part of a file, in order. It is used by one
// goroutine at a time.
type Source interface {
	// Next overwrites r with the next rows; their text is valid until the next call. It returns
	// io.EOF at the end. Any other error is final: a *FormatError names file and row, never a
	// value.
	Next(ctx context.Context, r *cpcds.Rows) error

	Close() error
}

// Loader makes resources durable in one target and, atomically, records how far each lane has got.
// It is safe for concurrent use by different lanes; a lane calls it once at a time.
type Loader interface {
	// Resume returns the checkpoint that Load last made durable for the lane, and brings the target
	// back to exactly that state: what Load did afterwards, or in part, is undone or will be
	// repeated without effect. The zero Checkpoint is returned if there is none.
	Resume(ctx context.Context, lane string) (Checkpoint, error)

	// Load makes the resources of b durable, together with a checkpoint. Once it knows the outcome
	// of each resource it calls seal, and makes the Checkpoint that the last call of seal returns
	// durable atomically with them. It returns nil only when every resource and the checkpoint are
	// durable. After an error nothing is guaranteed: the caller may load the same batch again, with
	// the same result, or Resume. b may be empty, and may have deletions: a target that cannot
	// delete refuses them, and loads the rest.
	Load(ctx context.Context, lane string, b *fhir.Batch, seal Seal) error

	// Finish is called once, when all lanes are done; it completes the target
	// (manifests, the last names). total is the account of the run.
	Finish(ctx context.Context, total *Account) error

	// Close releases what is open. What Load made durable stays.
	Close() error
}

// Target is a loader whose target knows the source version of a resource; ok is false if it does
// not have the resource. It is safe for concurrent use.
type Target interface {
	SourceVersion(ctx context.Context, resource string) (version string, ok bool, err error)
}

// Voider is a target that can cancel a claim that it has. It is safe for concurrent use.
type Voider interface {
	// Void appends the resource as the target has it, but cancelled and with a new last update and
	// source version. It reports whether the target has it. patient is the expected patient, "" if
	// unknown; if the claim belongs to another one, the error is ErrOtherPatient.
	Void(ctx context.Context, out *fhir.Batch, resource, patient, lastUpdated, sourceVersion string) (found bool, err error)
}

// ErrOtherPatient says that a claim belongs to another patient than expected.
var ErrOtherPatient = errors.New("the claim is another patient's")

// Checkpoint says that everything of a lane before row Row is durable.
type Checkpoint struct {
	Row         int64 `json:"row"`            // rows of the lane, from its first, that are accounted for
	Done        bool  `json:"done,omitempty"` // the lane is finished
	Rejects     int64 `json:"rejects"`        // length in bytes of the lane's reject file
	RejectCount int64 `json:"reject_count"`   // rejects in it
	Referenced  int64 `json:"mentions"`       // length in bytes of the lane's file of referenced-only resources

	// The same of the file of what the target refused; 0 if the loader is no Refuser.
	Refused      int64 `json:"refused,omitempty"`
	RefusedCount int64 `json:"refused_count,omitempty"`

	Account Account `json:"account"` // what became of these rows
}

// Seal gets the outcome of each resource of a batch, in order, and why the target refused some of
// them. It returns the checkpoint of the lane that accounts for them. An error of seal is the error of
// Load. The arguments are only valid during the call.
//
// A loader calls seal once, unless its target is shared with other processes that change the
// outcomes meanwhile: then it calls seal again with the new ones. Only the last call counts, so a
// seal must not add to what an earlier call of it has left behind.
type Seal func(outcomes []Outcome, refusals Refusals) (Checkpoint, error)

// Outcome is what a target did with one resource.
type Outcome uint8

// The outcomes.
const (
	Created   Outcome = iota // it did not exist
	Updated                  // it existed with different content: a new version
	Unchanged                // it existed with the same content, or was already deleted: nothing was written
	Stale                    // a record with a newer source version exists: nothing was written
	Unordered                // the source version of the existing record cannot be compared: nothing was written
	Deleted                  // it existed and was deleted
	Refused                  // the target cannot do this or does not accept it: nothing was written

	NumOutcomes
)

// Refusals are the reasons of the outcomes that are Refused, by the index of the resource in the batch.
// A target that refuses everything of a kind, such as deletions, gives none. nil is no reason at all.
type Refusals map[int]*Refusal

// Refusal is why a target refused a resource. All of it but Text may be logged.
type Refusal struct {
	Rule      string   // of this package: RuleServerRefused, RuleServerChanged, …
	Status    int      // of HTTP, 0 if there is none
	Codes     []string // what the target calls the reason: OperationOutcome.issue.code and the codes of its details
	Locations []string // elements at fault: OperationOutcome.issue.expression, without values
	Text      string   // the target's own words. They may hold a member's values: only for files that nobody else can read
}

// Refuser is a loader whose target answers for each resource, and may refuse any of them. The engine
// keeps the rows of a batch for it until the batch has landed, so that what is refused becomes a reject
// that can be replayed, and loads what claims refer to before the claims.
type Refuser interface {
	Refuses() bool
}

// FormatError is a fault in the form of an input file. It names the place and
// never holds a value.
type FormatError struct {
	File   string
	Row    int64  // row, counted from 1 without the header; 0: the file as a whole
	Line   int64  // line of a text file from 1; 0 if there are no lines
	Column string // "" if no single column is at fault
	What   string // the fault: "has 12 fields, the header has 14"
	Hint   string // what to do, "" if there is no advice
}
