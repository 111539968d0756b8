package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// The values of ProducerConfig.Compression.
const (
	Uncompressed = "none"
	Gzip         = "gzip"
	Snappy       = "snappy"
	LZ4          = "lz4"
	Zstd         = "zstd"
)

var codecs = map[string]int{
	"":           codecNone,
	Uncompressed: codecNone,
	Gzip:         codecGzip,
	Snappy:       codecSnappy,
	LZ4:          codecLZ4,
	Zstd:         codecZstd,
}

// ProducerConfig configures a Producer. Zero fields mean defaults.
type ProducerConfig struct {
	// Compression is Uncompressed, Gzip, Snappy, LZ4 or Zstd; empty means Uncompressed. With another value
	// every Write fails.
	Compression string
	// MaxBatchBytes bounds the bytes of a batch before it is compressed; a larger record goes alone. The default is
	// 900,000, so that a batch fits the brokers' default of a little over 1 MiB.
	MaxBatchBytes int
	// Patience is how long a Write goes on trying when brokers fail. The default is one minute.
	Patience time.Duration
}

const (
	defaultBatchBytes = 900_000
	// recordOverhead is more than a record of a batch has besides its contents.
	recordOverhead = 40
	// maxWriters bounds the requests that a Write has under way.
	maxWriters = 8
	// layoutLife is how long the partitions of a topic are remembered.
	layoutLife = time.Minute
)

// Producer writes records. It is safe for concurrent use, and uses the connections of its Client.
type Producer struct {
	c      *Client
	cfg    ProducerConfig
	turn   atomic.Uint32 // for records without a key
	mu     sync.Mutex
	closed bool
	layout map[string]layout // by topic
}

// layout is what is remembered of a topic.
type layout struct {
	m     *metadata
	until time.Time
}

// Producer returns a Producer.
func (c *Client) Producer(cfg ProducerConfig) *Producer {
	if cfg.MaxBatchBytes <= 0 {
		cfg.MaxBatchBytes = defaultBatchBytes
	}
	if cfg.Patience <= 0 {
		cfg.Patience = defaultPatience
	}
	return &Producer{c: c, cfg: cfg, layout: map[string]layout{}}
}

// ByKey as the partition of a Write lets the key of each record decide, as with the Java client. Records
// with a null key are spread evenly.
const ByKey = -1

// Close lets further Writes fail with ErrClosed. It does not end those under way.
func (p *Producer) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// Write writes records to a topic and returns nil only when all are acknowledged by all replicas in sync. Within a
// partition they keep their order. Offset and LeaderEpoch are ignored, and a zero Time is now. The records
// must not change until Write returns.
//
// An error does not mean that nothing was written: it joins a *WriteError for each partition
// that failed, and even there the records may be in the log, as they may be there twice after a retry. A missing topic is
// a *TopicError and is not created.
func (p *Producer) Write(ctx context.Context, topic string, partition int, records []Record) error {
	codec, ok := codecs[p.cfg.Compression]
	if !ok {
		return fmt.Errorf("write records: compression %q is unknown", p.cfg.Compression)
	}
	if len(records) == 0 {
		return nil
	}
	parts, err := p.divide(ctx, topic, partition, records)
	if err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	var g errgroup.Group
	g.SetLimit(maxWriters)
	errs := make([]error, 0, len(parts))
	var mu sync.Mutex
	for id, recs := range parts {
		g.Go(func() error {
			if err := p.writePartition(ctx, TopicPartition{topic, id}, recs, codec); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no errors
	return errors.Join(errs...)
}

// divide gives each record its partition.
func (p *Producer) divide(ctx context.Context, topic string, partition int, records []Record) (map[int][]Record, error) {
	if partition >= 0 {
		return map[int][]Record{partition: records}, nil
	}
	m, err := p.look(ctx, topic)
	if err != nil {
		return nil, err
	}
	ids := m.Topics[0].Partitions
	if len(ids) == 0 {
		return nil, &TopicError{Topic: topic, Err: errNoLeader}
	}
	parts := map[int][]Record{}
	for _, r := range records {
		var i int
		if r.Key == nil {
			i = int(p.turn.Add(1) % uint32(len(ids)))
		} else {
			i = PartitionOf(r.Key, len(ids))
		}
		parts[ids[i].ID] = append(parts[ids[i].ID], r)
	}
	return parts, nil
}

// look returns the partitions of a topic and their leaders, from memory if they are there.
func (p *Producer) look(ctx context.Context, topic string) (*metadata, error) {
	p.mu.Lock()
	l, closed := p.layout[topic], p.closed
	p.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if l.m != nil && time.Now().Before(l.until) {
		return l.m, nil
	}
	m, err := p.c.metadata(ctx, topic)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.layout[topic] = layout{m, time.Now().Add(layoutLife)}
	return m, nil
}

func (p *Producer) forget(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.layout, topic)
}

// writePartition writes batch after batch, so that a batch which is tried again cannot overtake the next.
func (p *Producer) writePartition(ctx context.Context, tp TopicPartition, recs []Record, codec int) error {
	var buf []byte
	for len(recs) > 0 {
		n, size := 0, 0
		for n < len(recs) {
			size += recordBytes(&recs[n])
			if n > 0 && size > p.cfg.MaxBatchBytes {
				break
			}
			n++
		}
		var err error
		if buf, err = appendBatch(buf[:0], recs[:n], codec, time.Now()); err == nil {
			err = p.c.retry(ctx, "produce", p.cfg.Patience, func() error {
				err := p.send(ctx, tp, buf)
				if err != nil {
					p.forget(tp.Topic) // the leader may have changed
				}
				return err
			})
		}
		if err != nil {
			return &WriteError{tp, len(recs), err}
		}
		recs = recs[n:]
	}
	return nil
}

func recordBytes(r *Record) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += 2*5 + len(h.Key) + len(h.Value)
	}
	return n
}

func (p *Producer) send(ctx context.Context, tp TopicPartition, batch []byte) error {
	m, err := p.look(ctx, tp.Topic)
	if err != nil {
		return err
	}
	addr, _, err := m.leader(0, tp.Partition)
	if err != nil {
		return err
	}
	// A connection that the broker has closed while it was idle makes on send the batch again, at once. What
	// the first sending might have done is the same as with any other retry.
	return p.c.on(ctx, addr, func(k *conn) error { return k.produce(ctx, tp, batch) })
}

// produce writes a batch and waits until all replicas in sync have it.
func (k *conn) produce(ctx context.Context, tp TopicPartition, batch []byte) error {
	version := k.versions[apiProduce.key]
	r, _, err := k.exchange(ctx, apiProduce, func(e *encoder, _ int16) {
		e.null()  // no transaction
		e.i16(-1) // all replicas in sync
		e.i32(int32(k.timeout / time.Millisecond))
		e.array(1)
		e.str(tp.Topic)
		e.array(1)
		e.i32(int32(tp.Partition))
		e.i32(int32(len(batch)))
		e.b = append(e.b, batch...)
	}, k.timeout, maxAnswer, nil)
	if err != nil {
		return err
	}
	answered := false
	for n := r.array(); n > 0; n-- {
		r.str()
		for q := r.array(); q > 0; q-- {
			answered = int(r.i32()) == tp.Partition
			if code := r.i16(); code != 0 {
				return &BrokerError{tp, code}
			}
			r.i64() // base offset
			r.i64() // time
			if version >= 5 {
				r.i64() // log start
			}
			if version >= 8 {
				for f := r.array(); f > 0; f-- {
					r.i32()
					r.str()
				}
				r.str()
			}
		}
	}
	if r.bad || !answered {
		return errShort
	}
	return nil
}
