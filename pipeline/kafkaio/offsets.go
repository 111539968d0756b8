package kafkaio

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/segmentio/kafka-go"
)

// Bounds are the offsets between which a partition can be read.
type Bounds struct {
	Partition int
	Earliest  int64 // of the first record that the log still has
	Latest    int64 // the high watermark: the next record that all replicas will have gets it
	// LastStable is where the first open transaction begins, or Latest. Readers get no further.
	LastStable int64
}

// The kinds of ListOffsets.
const (
	atLatest   = int64(-1)
	atEarliest = int64(-2)

	readUncommitted = int8(0)
	readCommitted   = int8(1)
)

// Bounds returns the bounds of all partitions of a topic, in the order of their numbers. Faults of brokers
// are retried for Config.Timeout.
func (c *Client) Bounds(ctx context.Context, topic string) ([]Bounds, error) {
	var bounds []Bounds
	err := c.retry(ctx, "list offsets", c.cfg.Timeout, func() error {
		m, err := c.metadataOnce(ctx, []string{topic})
		if err != nil {
			return err
		}
		bounds = bounds[:0]
		byLeader := map[string][]int{} // indexes in bounds
		for i, p := range m.Topics[0].Partitions {
			addr, _, err := m.leader(0, p.ID)
			if err != nil {
				return err
			}
			bounds = append(bounds, Bounds{Partition: p.ID})
			byLeader[addr] = append(byLeader[addr], i)
		}
		for addr, at := range byLeader {
			err := c.on(ctx, addr, func(k *conn) error { return k.bounds(ctx, topic, bounds, at) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list offsets: %w", err)
	}
	return bounds, nil
}

// bounds fills the bounds with the given indexes, whose leader the broker must be.
func (k *conn) bounds(ctx context.Context, topic string, bounds []Bounds, at []int) error {
	if err := k.listOffsets(ctx, topic, atEarliest, readUncommitted, bounds, at, func(b *Bounds, o int64) { b.Earliest = o }); err != nil {
		return err
	}
	if err := k.listOffsets(ctx, topic, atLatest, readUncommitted, bounds, at, func(b *Bounds, o int64) { b.Latest = o }); err != nil {
		return err
	}
	return k.listOffsets(ctx, topic, atLatest, readCommitted, bounds, at, func(b *Bounds, o int64) { b.LastStable = o })
}

func (k *conn) listOffsets(ctx context.Context, topic string, which int64, isolation int8, bounds []Bounds, at []int, set func(*Bounds, int64)) error {
	r, err := k.call(ctx, apiListOffsets, func(e *encoder, version int16) {
		e.i32(-1) // no replica
		e.i8(isolation)
		e.array(1)
		e.str(topic)
		e.array(len(at))
		for _, i := range at {
			e.i32(int32(bounds[i].Partition))
			if version >= 4 {
				e.i32(-1) // any leader epoch
			}
			e.i64(which)
		}
	})
	if err != nil {
		return err
	}
	r.i32() // throttle
	seen := 0
	for n := r.array(); n > 0; n-- {
		r.str()
		for p := r.array(); p > 0; p-- {
			partition := int(r.i32())
			code := r.i16()
			r.i64() // timestamp
			offset := r.i64()
			if k.versions[apiListOffsets.key] >= 4 {
				r.i32() // leader epoch
			}
			if code != 0 {
				return &BrokerError{TopicPartition{topic, partition}, code}
			}
			if i := slices.IndexFunc(bounds, func(b Bounds) bool { return b.Partition == partition }); i >= 0 {
				set(&bounds[i], offset)
				seen++
			}
		}
	}
	if r.bad || seen != len(at) {
		return errShort
	}
	return nil
}

// Committed returns the offsets that a group has committed, that is the next offset to read of each
// partition; partitions without one are left out. Without topics, it returns all that the group has. Faults of
// brokers are retried for Config.Timeout.
func (c *Client) Committed(ctx context.Context, group string, topics ...string) (map[TopicPartition]int64, error) {
	var offsets map[TopicPartition]int64
	err := c.retry(ctx, "fetch committed offsets", c.cfg.Timeout, func() error {
		var addr string
		err := c.onAny(ctx, func(k *conn) (err error) {
			addr, err = k.coordinator(ctx, group)
			return err
		})
		if err != nil {
			return err
		}
		return c.on(ctx, addr, func(k *conn) (err error) {
			offsets, err = k.committed(ctx, group)
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("fetch committed offsets: %w", err)
	}
	if len(topics) > 0 {
		for tp := range offsets {
			if !slices.Contains(topics, tp.Topic) {
				delete(offsets, tp)
			}
		}
	}
	return offsets, nil
}

// coordinator returns the address of the broker that keeps a group.
func (k *conn) coordinator(ctx context.Context, group string) (string, error) {
	version := k.versions[apiFindCoordinator.key]
	r, err := k.call(ctx, apiFindCoordinator, func(e *encoder, _ int16) {
		e.str(group)
		if version >= 1 {
			e.i8(0) // of a group
		}
	})
	if err != nil {
		return "", err
	}
	if version >= 1 {
		r.i32() // throttle
	}
	code := r.i16()
	if version >= 1 {
		r.str() // message
	}
	r.i32() // id
	host := r.str()
	port := int(r.i32())
	if code != 0 {
		return "", &BrokerError{Code: code}
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), r.err()
}

func (k *conn) committed(ctx context.Context, group string) (map[TopicPartition]int64, error) {
	version := k.versions[apiOffsetFetch.key]
	r, err := k.call(ctx, apiOffsetFetch, func(e *encoder, _ int16) {
		e.str(group)
		e.array(-1) // all topics
	})
	if err != nil {
		return nil, err
	}
	if version >= 3 {
		r.i32() // throttle
	}
	offsets := map[TopicPartition]int64{}
	for n := r.array(); n > 0; n-- {
		topic := r.str()
		for p := r.array(); p > 0; p-- {
			tp := TopicPartition{topic, int(r.i32())}
			offset := r.i64()
			if version >= 5 {
				r.i32() // leader epoch
			}
			r.str() // metadata
			code := r.i16()
			switch {
			case code == int16(kafka.UnknownTopicOrPartition): // deleted since
			case code != 0:
				return nil, &BrokerError{tp, code}
			case offset >= 0:
				offsets[tp] = offset
			}
		}
	}
	switch code := r.i16(); kafka.Error(code) {
	case 0, kafka.GroupIdNotFound: // some brokers say so of a group that has never been
		return offsets, r.err()
	default:
		return nil, &BrokerError{Code: code}
	}
}
