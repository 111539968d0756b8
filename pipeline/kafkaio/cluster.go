package kafkaio

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

	"github.com/segmentio/kafka-go"
)

// Cluster is what Describe found.
type Cluster struct {
	ID      string // empty if the broker does not tell
	Brokers int    // how many are alive
	Topics  []Topic
}

// Topic describes a topic.
type Topic struct {
	Name string
	// ID is new whenever a topic is created, also under an old name. It is zero if the broker is older than 2.8.
	ID         [16]byte
	Partitions []Partition // in the order of their numbers
}

// Partition describes a partition.
type Partition struct {
	ID          int
	Leader      int32 // broker id; -1 if there is no leader now
	LeaderEpoch int32 // -1 if the broker is older than 2.1
}

// Describe returns the cluster and the given topics, in the order given; without topics, the cluster only. It
// never lets the broker create a topic: a missing one is a *TopicError. Faults of brokers are retried for
// Config.Timeout.
func (c *Client) Describe(ctx context.Context, topics ...string) (*Cluster, error) {
	m, err := c.metadata(ctx, topics...)
	if err != nil {
		return nil, fmt.Errorf("describe topics: %w", err)
	}
	return &m.Cluster, nil
}

// metadata is a Cluster with what requests need.
type metadata struct {
	Cluster
	controller int32
	addrs      map[int32]string // of brokers
}

// leader returns the address and the epoch of the leader of a partition of m's topic i.
func (m *metadata) leader(i, partition int) (addr string, epoch int32, err error) {
	t := &m.Topics[i]
	at := slices.IndexFunc(t.Partitions, func(p Partition) bool { return p.ID == partition })
	if at < 0 {
		return "", 0, &BrokerError{TopicPartition{t.Name, partition}, int16(kafka.UnknownTopicOrPartition)}
	}
	p := t.Partitions[at]
	addr, ok := m.addrs[p.Leader]
	if !ok {
		return "", 0, &BrokerError{TopicPartition{t.Name, partition}, int16(kafka.LeaderNotAvailable)}
	}
	return addr, p.LeaderEpoch, nil
}

func (c *Client) metadata(ctx context.Context, topics ...string) (*metadata, error) {
	var m *metadata
	err := c.retry(ctx, "describe topics", c.cfg.Timeout, func() (err error) {
		m, err = c.metadataOnce(ctx, topics)
		return err
	})
	return m, err
}

func (c *Client) metadataOnce(ctx context.Context, topics []string) (*metadata, error) {
	var m *metadata
	err := c.onAny(ctx, func(k *conn) (err error) {
		m, err = k.metadata(ctx, topics)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = c.known[:0]
	for _, a := range m.addrs {
		c.known = append(c.known, a)
	}
	return m, nil
}

// metadata asks one broker what it knows.
func (k *conn) metadata(ctx context.Context, topics []string) (*metadata, error) {
	r, err := k.call(ctx, apiMetadata, func(e *encoder, version int16) {
		e.array(len(topics))
		for _, t := range topics {
			if version >= 10 {
				e.b = append(e.b, make([]byte, 16)...) // by name, not by id
			}
			e.str(t)
			e.tags()
		}
		e.boolean(false) // do not create what is missing
		if version >= 8 && version <= 10 {
			e.boolean(false)
		}
		if version >= 8 {
			e.boolean(false)
		}
		e.tags()
	})
	if err != nil {
		return nil, err
	}
	return readMetadata(r, k.versions[apiMetadata.key], topics)
}

func readMetadata(r *cursor, version int16, topics []string) (*metadata, error) {
	m := &metadata{addrs: map[int32]string{}}
	r.i32() // throttle
	for n := r.array(); n > 0; n-- {
		id := r.i32()
		host := r.str()
		m.addrs[id] = net.JoinHostPort(host, strconv.Itoa(int(r.i32())))
		r.str() // rack
		r.tags()
	}
	m.Brokers = len(m.addrs)
	m.ID = r.str()
	m.controller = r.i32()
	found := map[string]Topic{}
	codes := map[string]int16{}
	for n := r.array(); n > 0; n-- {
		code := r.i16()
		t := Topic{Name: r.str()}
		if version >= 10 {
			copy(t.ID[:], r.take(16))
		}
		r.i8() // internal
		for p := r.array(); p > 0; p-- {
			t.Partitions = append(t.Partitions, readPartition(r, version))
		}
		if version >= 8 {
			r.i32() // operations
		}
		r.tags()
		slices.SortFunc(t.Partitions, func(a, b Partition) int { return a.ID - b.ID })
		found[t.Name] = t
		codes[t.Name] = code
	}
	if err := r.err(); err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	for _, name := range topics {
		t, ok := found[name]
		switch code := kafka.Error(codes[name]); {
		case !ok, code == kafka.UnknownTopicOrPartition:
			return nil, &TopicError{Topic: name, Missing: true}
		case code != 0:
			return nil, &TopicError{Topic: name, Err: &BrokerError{Code: int16(code)}}
		}
		m.Topics = append(m.Topics, t)
	}
	return m, nil
}

func readPartition(r *cursor, version int16) Partition {
	r.i16() // its code says what the leader -1 says
	p := Partition{ID: int(r.i32()), Leader: r.i32(), LeaderEpoch: -1}
	if version >= 7 {
		p.LeaderEpoch = r.i32()
	}
	lists := 2 // replicas, in sync
	if version >= 5 {
		lists = 3 // offline
	}
	for range lists {
		for n := r.array(); n > 0; n-- {
			r.i32()
		}
	}
	r.tags()
	return p
}
