package kafkaio

import "time"

// Record is one record of a partition.
type Record struct {
	Offset      int64
	LeaderEpoch int32 // of the leader that appended the record; -1 if unknown
	// Time is the producer's clock or the broker's, as the topic says, in milliseconds; zero if there is
	// none. A producer's clock may be wrong: do not order by it.
	Time time.Time
	// Key and Value are nil for null, and not nil for empty.
	Key, Value []byte
	Headers    []Header
}

// Header is one header of a record. Keys may repeat.
type Header struct {
	Key   string
	Value []byte // nil is null
}
