package kafkaio

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/segmentio/kafka-go"
)

// Retriable reports whether trying again later may succeed without anybody changing anything. What
// is neither known to be retriable nor known not to be counts as retriable: most are faults of the network.
func Retriable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
		return false
	}
	var r interface{ Retriable() bool }
	if errors.As(err, &r) {
		return r.Retriable()
	}
	return true
}

// ErrClosed says that the Client, Reader or Producer was closed.
var ErrClosed = errors.New("closed")

// A TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int
}

func (tp TopicPartition) String() string { return tp.Topic + "/" + strconv.Itoa(tp.Partition) }

// TopicError says that a topic is not what it has to be.
type TopicError struct {
	Topic string
	// Missing: the cluster has no such topic.
	Missing bool
	// Recreated: the topic was deleted and made anew, so that positions in it mean nothing any more.
	Recreated bool
	// Exists: the topic to be created is there already.
	Exists bool
	// Err is why, when it is none of these; nil otherwise.
	Err error
}

func (e *TopicError) Error() string {
	switch {
	case e.Missing:
		return fmt.Sprintf("topic %q does not exist", e.Topic)
	case e.Recreated:
		return fmt.Sprintf("topic %q was deleted and created anew; positions in it are void", e.Topic)
	case e.Exists:
		return fmt.Sprintf("topic %q exists already", e.Topic)
	}
	return fmt.Sprintf("topic %q: %v", e.Topic, e.Err)
}

func (e *TopicError) Unwrap() error { return e.Err }

// Retriable reports whether the fault of the topic may pass by itself.
func (e *TopicError) Retriable() bool { return e.Err != nil && Retriable(e.Err) }

// BrokerError is an error code with which a broker answered.
type BrokerError struct {
	TopicPartition       // empty if the whole request failed
	Code           int16 // as in the Kafka protocol
}

func (e *BrokerError) Error() string {
	what := kafka.Error(e.Code).Title()
	if what == "" {
		what = cmp.Or(newerCodes[e.Code], "unknown error")
	}
	if e.Topic == "" {
		return fmt.Sprintf("broker answered %d (%s)", e.Code, what)
	}
	return fmt.Sprintf("broker answered %d (%s) for %v", e.Code, what, e.TopicPartition)
}

// newerCodes are codes that the library does not know, and that may pass: a leader that was just elected
// does not know its high watermark yet.
var newerCodes = map[int16]string{78: "Offset Not Available"}

// Retriable reports whether the broker may answer otherwise next time.
func (e *BrokerError) Retriable() bool {
	return kafka.Error(e.Code).Temporary() || newerCodes[e.Code] != ""
}

// AuthenticationError says that a broker did not accept the secrets, or that they could not be got. Some brokers answer a
// wrong secret by closing the connection.
type AuthenticationError struct {
	Broker string
	Err    error
}

func (e *AuthenticationError) Error() string {
	return fmt.Sprintf("authenticate to %s: %v", e.Broker, e.Err)
}

func (e *AuthenticationError) Unwrap() error { return e.Err }

// Retriable returns true: while a secret rotates, the broker and we may have different ones.
func (e *AuthenticationError) Retriable() bool { return true }

// OffsetOutOfRangeError says that the position of a Reader is not in the log: retention has
// removed it, or the log was cut below it. Where to go on is the caller's decision.
type OffsetOutOfRangeError struct {
	TopicPartition
	Offset           int64
	Earliest, Latest int64 // what the log has, Latest not included; -1 if that could not be asked
}

func (e *OffsetOutOfRangeError) Error() string {
	return fmt.Sprintf("offset %d of %v is outside the log, which has %d to %d", e.Offset, e.TopicPartition, e.Earliest, e.Latest)
}

// Retriable returns false.
func (e *OffsetOutOfRangeError) Retriable() bool { return false }

// CorruptError says that a batch is damaged. The Reader has fetched it twice.
type CorruptError struct {
	TopicPartition
	Offset int64 // the first offset of the batch, or the position if that is damaged too
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("batch at offset %d of %v is corrupt: %s", e.Offset, e.TopicPartition, e.Reason)
}

// Retriable returns false: a broker that has the batch intact must become leader first.
func (e *CorruptError) Retriable() bool { return false }

// TooLargeError says that a batch is above ReaderConfig.MaxBatchBytes.
type TooLargeError struct {
	TopicPartition
	Offset int64 // the first offset of the batch
	Limit  int64 // bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("batch at offset %d of %v unpacks to more than %d bytes", e.Offset, e.TopicPartition, e.Limit)
}

// Retriable returns false.
func (e *TooLargeError) Retriable() bool { return false }

// UnsupportedError says that a batch is in a format which this package does not read.
type UnsupportedError struct {
	TopicPartition
	Offset int64
	What   string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("batch at offset %d of %v is not supported: %s", e.Offset, e.TopicPartition, e.What)
}

// Retriable returns false.
func (e *UnsupportedError) Retriable() bool { return false }

// StalledError says that a Reader gets no further although the broker claims to have more. The
// position is kept, and Fetch may be called again.
type StalledError struct {
	TopicPartition
	Offset, LastStable int64
	Fetches            int // how many in a row brought nothing
}

func (e *StalledError) Error() string {
	return fmt.Sprintf("reading %v stands at offset %d, below the last stable offset %d, after %d fetches", e.TopicPartition, e.Offset, e.LastStable, e.Fetches)
}

// Retriable returns true.
func (e *StalledError) Retriable() bool { return true }

// FencedError says that a commit was refused because the generation of its assignment has ended: the
// partition may have another owner by now.
type FencedError struct {
	TopicPartition
	Generation int32
	Err        error // what the broker said; nil if the end was known here
}

func (e *FencedError) Error() string {
	s := fmt.Sprintf("generation %d of %v has ended", e.Generation, e.TopicPartition)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *FencedError) Unwrap() error { return e.Err }

// Retriable returns false.
func (e *FencedError) Retriable() bool { return false }

// AbandonedError says that Consume has returned although these lanes had not, because they
// did not return in time.
type AbandonedError struct {
	Lanes []TopicPartition
}

func (e *AbandonedError) Error() string {
	return fmt.Sprintf("%d lanes did not return in time: %v", len(e.Lanes), e.Lanes)
}

// WriteError says that records were not acknowledged. Those of other partitions in the
// same Write may have been, and these too may yet be in the log.
type WriteError struct {
	TopicPartition
	Records int // how many
	Err     error
}

func (e *WriteError) Error() string {
	return fmt.Sprintf("write %d records to %v: %v", e.Records, e.TopicPartition, e.Err)
}

func (e *WriteError) Unwrap() error { return e.Err }
