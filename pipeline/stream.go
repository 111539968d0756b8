package pipeline

import (
	"context"
	"errors"

	"cpcds2fhir/schemas/fhir"
)

// Record is a small fact that the target of a stream keeps beside its resources: what claims refer
// to, what waits for something, an account. A nil value means that there is none; to put it removes
// the record.
type Record struct {
	Name  string
	Value []byte
}

// SparseRecords begin the names of records that streams look for with each claim, and that few claims
// have: those of claims that wait, or were loaded without all that they refer to.
var SparseRecords = []string{"queue/", "latest/"}

// StreamTarget is a target that lanes without an end are loaded into. It is safe for concurrent use,
// also by several processes if the target can do that.
type StreamTarget interface {
	Target

	// Take makes the caller the owner of a lane until another one takes it. It returns the position
	// that the last Load of any owner made durable.
	Take(ctx context.Context, lane string) (StreamLane, Position, error)

	// Recall returns the values of records in the order of their names, nil for one that is not
	// there. The values are the caller's.
	Recall(ctx context.Context, names []string) ([][]byte, error)

	StreamRecords
}

// StreamRecords lists what streams keep in a target beside its resources.
type StreamRecords interface {
	// Each calls f for the records whose names begin with a prefix, in the order of their names,
	// until f returns an error. A value is valid during the call.
	Each(ctx context.Context, prefix string, f func(Record) error) error
}

// StreamLane is a lane that its owner loads. A lane calls it once at a time.
type StreamLane interface {
	// Load makes the resources of b durable, and atomically with them what seal returns. It calls
	// seal once it knows the outcome of each resource, and again if an outcome has changed before
	// everything was durable; the last call counts. nil means that all of it is durable. After
	// ErrChanged or ErrFenced nothing of it is. After any other error that is unknown: the caller
	// takes the lane again and goes on from its position.
	Load(ctx context.Context, b *fhir.Batch, seal StreamSeal) error
}

// StreamSeal gets the outcome of each resource of a batch, in order, and why the target refused some of
// them, and returns what becomes durable with them. The arguments are only valid during the call.
type StreamSeal func(outcomes []Outcome, refusals Refusals) (StreamCommit, error)

// StreamCommit is what becomes durable with a batch of a stream.
type StreamCommit struct {
	Position Position
	Put      []Record

	// Guards are records as the batch was made from them. If one has changed, Load fails with
	// ErrChanged. Several guards of one name are alternatives.
	Guards []Record
}

// Position says how far a lane of a stream is durable. The zero value is that of a lane that was
// never loaded.
type Position struct {
	Next        int64  `json:"next"`               // offset of the first message that is not durable
	LeaderEpoch int32  `json:"leader_epoch"`       // of the last message that is
	TopicID     string `json:"topic_id,omitempty"` // of the topic; a topic made anew under its name has another one

	// Last is the offset of the last message that is durable, and Digest the XXH3-64 of its key and
	// value: a partition that has lost messages may go on with others under their offsets. Digest is 0
	// if there was no message.
	Last   int64  `json:"last,omitempty"`
	Digest uint64 `json:"digest,omitempty"`
}

var (
	// ErrChanged says that a record that a batch was made from has changed. The batch must be made
	// again.
	ErrChanged = errors.New("a record has changed since it was read")

	// ErrTargetFailed says that a target can do nothing any longer in this process, for example after
	// its disk was full. The process must end; another start finds what is durable.
	ErrTargetFailed = errors.New("the target has failed")

	// ErrFenced says that another owner has taken a lane.
	ErrFenced = errors.New("the lane belongs to another process now")
)
