package kafkaio

import (
	"context"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

// fetchRequest asks for one partition.
type fetchRequest struct {
	TopicPartition
	offset   int64
	epoch    int32 // of the leader as we know it, so that an old leader refuses
	wait     time.Duration
	minBytes int
	maxBytes int64
	limit    int64 // of the answer, in bytes
}

// fetchAnswer is what came. Its data lie in the buffer of the exchange.
type fetchAnswer struct {
	highWatermark, lastStable, logStart int64
	aborted                             []abortedTxn
	data                                []byte
}

// fetch sends the request; the buffer is used for the answer and returned, perhaps another one.
func (k *conn) fetch(ctx context.Context, q *fetchRequest, buf []byte) (*fetchAnswer, []byte, error) {
	version := k.versions[apiFetch.key]
	r, buf, err := k.exchange(ctx, apiFetch, func(e *encoder, _ int16) { q.encode(e, version) }, q.wait, q.limit, buf)
	if err != nil {
		return nil, buf, err
	}
	a, code, err := readFetch(r, version)
	if err == nil && code != 0 {
		err = &BrokerError{q.TopicPartition, code}
	}
	return a, buf, err
}

func (q *fetchRequest) encode(e *encoder, version int16) {
	e.i32(-1) // no replica
	e.i32(int32(q.wait / time.Millisecond))
	e.i32(int32(q.minBytes))
	e.i32(int32(q.maxBytes))
	e.i8(readCommitted)
	if version >= 7 {
		e.i32(0)  // no session
		e.i32(-1) // and none to be made
	}
	e.array(1)
	e.str(q.Topic)
	e.array(1)
	e.i32(int32(q.Partition))
	if version >= 9 {
		e.i32(q.epoch)
	}
	e.i64(q.offset)
	if version >= 5 {
		e.i64(-1) // log start, for replicas
	}
	e.i32(int32(q.maxBytes))
	if version >= 7 {
		e.array(0) // nothing to forget
	}
	if version >= 11 {
		e.str("") // no rack: read from the leader
	}
}

func readFetch(r *cursor, version int16) (*fetchAnswer, int16, error) {
	a := &fetchAnswer{highWatermark: -1, lastStable: -1, logStart: -1}
	r.i32() // throttle
	code := int16(kafka.Unknown)
	if version >= 7 {
		if code := r.i16(); code != 0 {
			return a, code, r.err()
		}
		r.i32() // session
	}
	// Exactly one partition was asked for.
	for n := r.array(); n > 0; n-- {
		r.str()
		for p := r.array(); p > 0; p-- {
			r.i32()
			code = r.i16()
			a.highWatermark = r.i64()
			a.lastStable = r.i64()
			if version >= 5 {
				a.logStart = r.i64()
			}
			for t := r.array(); t > 0 && !r.bad; t-- {
				a.aborted = append(a.aborted, abortedTxn{producer: r.i64(), first: r.i64()})
			}
			if version >= 11 {
				r.i32() // preferred replica
			}
			a.data = r.bytes()
		}
	}
	slices.SortFunc(a.aborted, func(x, y abortedTxn) int {
		switch {
		case x.first < y.first:
			return -1
		case x.first > y.first:
			return 1
		}
		return 0
	})
	return a, code, r.err()
}
