package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// ReaderConfig configures a Reader. Zero fields mean defaults.
type ReaderConfig struct {
	// MaxWait is how long the broker may wait for MinBytes of data; the default is 500 ms.
	MaxWait time.Duration
	// MinBytes is what the broker should wait for; the default is 1.
	MinBytes int
	// MaxBytes bounds the bytes of one answer. A first batch that is larger comes whole all the same. The default is 4 MiB.
	MaxBytes int
	// MaxBatchBytes bounds what one batch may take in memory, unpacked and with its Records. The default is
	// 64 MiB. A Reader holds up to twice that and the answer.
	MaxBatchBytes int64
	// MaxFetchBytes is the memory at which a Fetch returns what it has unpacked; the rest of the answer comes with the
	// next ones. A batch is never cut. The default is MaxBatchBytes.
	MaxFetchBytes int64
	// Patience is how long a Fetch goes on trying when brokers fail, before it returns the last error. The default
	// is one minute.
	Patience time.Duration
	// TopicID is the ID that the topic must have; zero accepts the first that is seen. With another one, Fetch returns
	// a *TopicError that says Recreated.
	TopicID [16]byte
}

// Fetched is what Fetch returns. Its memory belongs to the Reader and is valid until the next Fetch or Close.
type Fetched struct {
	Records []Record // committed records, in the order of their offsets
	// Next is the position after everything that was seen: records, holes left by compaction, markers and
	// records of aborted transactions. It is the offset to commit once the Records are durable.
	Next int64
	// HighWatermark, LastStable and LogStart are the partition's bounds at the time of the answer; -1 if the broker
	// does not tell. A HighWatermark above LastStable for long means a transaction that nobody ends.
	HighWatermark, LastStable, LogStart int64
}

// Reader reads one partition. It is for one goroutine.
type Reader struct {
	c   *Client
	tp  TopicPartition
	cfg ReaderConfig

	offset  int64
	closed  bool
	k       *conn
	epoch   int32 // of the leader that k goes to
	topicID [16]byte

	buf     []byte // of the answer that walk is in
	walk    walker
	records []Record
	bounds  fetchAnswer // for its bounds

	need    int64 // bytes of a first batch that did not fit
	damaged int   // how often the batch at offset was fetched damaged
	stalls  int   // how many answers in a row brought nothing although there is something
}

const (
	defaultMaxWait       = 500 * time.Millisecond
	defaultMaxBytes      = 4 << 20
	defaultMaxBatchBytes = 64 << 20
	defaultPatience      = time.Minute

	maxStalls  = 5
	maxDamaged = 2
)

// Reader returns a Reader of a partition that begins at offset, which must be absolute (see Bounds). It
// connects with the first Fetch. Close it.
func (c *Client) Reader(topic string, partition int, offset int64, cfg ReaderConfig) *Reader {
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = defaultMaxWait
	}
	if cfg.MinBytes <= 0 {
		cfg.MinBytes = 1
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.MaxBatchBytes <= 0 {
		cfg.MaxBatchBytes = defaultMaxBatchBytes
	}
	if cfg.MaxFetchBytes <= 0 {
		cfg.MaxFetchBytes = cfg.MaxBatchBytes
	}
	if cfg.Patience <= 0 {
		cfg.Patience = defaultPatience
	}
	tp := TopicPartition{topic, partition}
	return &Reader{
		c: c, tp: tp, cfg: cfg, offset: offset, topicID: cfg.TopicID,
		walk: walker{tp: tp, unpack: unpacker{limit: cfg.MaxBatchBytes}},
	}
}

// Offset returns the position: where the next Fetch begins.
func (r *Reader) Offset() int64 { return r.offset }

// TopicID returns the ID of the topic that is read; zero before the first Fetch, and if the brokers do not tell.
func (r *Reader) TopicID() [16]byte { return r.topicID }

// Close closes the connection. The memory of what was fetched is void.
func (r *Reader) Close() error {
	r.closed = true
	r.drop()
	r.walk.unpack.close()
	return nil
}

// drop gives up the connection; the next fetch looks for the leader.
func (r *Reader) drop() {
	if r.k != nil {
		r.k.close()
		r.k = nil
	}
}

// Fetch returns what comes next, after at most about MaxWait if there is nothing: no records and no error then.
// Lost connections, new leaders, expired sessions and rotated secrets are its own affair, for Patience.
// After an error the position is as before, and Fetch may be called again; without Retriable, the same error
// will most likely return. The errors that callers should know are *OffsetOutOfRangeError,
// *CorruptError, *TooLargeError, *UnsupportedError, *StalledError, *TopicError, *BrokerError and the context's.
func (r *Reader) Fetch(ctx context.Context) (Fetched, error) {
	if r.closed {
		return Fetched{}, ErrClosed
	}
	clear(r.records)
	r.records = r.records[:0]
	r.walk.recycle()
	if len(r.walk.data) > 0 {
		if f, err := r.decode(); err == nil {
			return f, nil
		}
		// The batch will be fetched again, and its fault counted then.
		r.walk.data = nil
	}
	var b backoff
	for deadline := time.Now().Add(r.cfg.Patience); ; {
		f, err := r.once(ctx)
		if err == nil {
			return f, nil
		}
		if ctx.Err() != nil {
			return Fetched{}, ctx.Err()
		}
		if r.again(err) {
			continue
		}
		r.drop()
		d := b.next()
		if !passing(err) || time.Now().Add(d).After(deadline) {
			return Fetched{}, fmt.Errorf("fetch %v at offset %d: %w", r.tp, r.offset, err)
		}
		r.c.cfg.Events.retrying("fetch", err)
		if !pause(ctx, d) {
			return Fetched{}, ctx.Err()
		}
	}
}

// passing reports whether Fetch itself should try again. It differs from Retriable in two: a missing topic may
// turn up, and of a standstill the caller must know.
func passing(err error) bool {
	var t *TopicError
	if errors.As(err, &t) && t.Missing {
		return true // a broker that has just started does not know its topics yet
	}
	var s *StalledError
	return !errors.As(err, &s) && Retriable(err)
}

// again reports whether to fetch a damaged batch a second time: most damage happens on the way.
func (r *Reader) again(err error) bool {
	var c *CorruptError
	if !errors.As(err, &c) {
		return false
	}
	if r.damaged++; r.damaged < maxDamaged {
		r.drop()
		r.c.cfg.Events.retrying("fetch", err)
		return true
	}
	r.damaged = 0
	return false
}

// brokerCode returns the code of a *BrokerError, or 0.
func brokerCode(err error) int16 {
	var b *BrokerError
	if errors.As(err, &b) {
		return b.Code
	}
	return 0
}

// once sends one request and decodes what comes.
func (r *Reader) once(ctx context.Context) (Fetched, error) {
	if r.stalls > 0 && !pause(ctx, firstPause) {
		return Fetched{}, ctx.Err() // a broker that answers at once must not end our patience at once
	}
	if err := r.connect(ctx); err != nil {
		return Fetched{}, err
	}
	q := &fetchRequest{
		TopicPartition: r.tp, offset: r.offset, epoch: r.epoch,
		wait: r.cfg.MaxWait, minBytes: r.cfg.MinBytes, maxBytes: max(int64(r.cfg.MaxBytes), r.need),
		limit: int64(r.cfg.MaxBytes) + r.cfg.MaxBatchBytes + 1<<16,
	}
	if cap(r.buf) > 4*r.cfg.MaxBytes {
		r.buf = nil // one huge batch does not make every answer expensive
	}
	a, buf, err := r.k.fetch(ctx, q, r.buf)
	r.buf = buf
	var size *answerSizeError
	switch {
	case errors.As(err, &size) && size.size > size.limit:
		return Fetched{}, &TooLargeError{r.tp, r.offset, r.cfg.MaxBatchBytes}
	case brokerCode(err) == int16(kafka.OffsetOutOfRange):
		return Fetched{}, r.outOfRange(ctx)
	case brokerCode(err) == int16(kafka.InvalidMessage):
		return Fetched{}, &CorruptError{r.tp, r.offset, "the broker says so"}
	case err != nil:
		return Fetched{}, err
	}
	r.bounds = *a
	r.walk.begin(a.data, a.aborted, a.highWatermark)
	return r.decode()
}

// connect finds the leader and connects to it, unless that is done.
func (r *Reader) connect(ctx context.Context) error {
	if r.k != nil && !r.k.stale() {
		return nil
	}
	r.drop()
	m, err := r.c.metadataOnce(ctx, []string{r.tp.Topic})
	if err != nil {
		return err
	}
	switch id := m.Topics[0].ID; {
	case id == [16]byte{}:
	case r.topicID == [16]byte{}:
		r.topicID = id
	case r.topicID != id:
		return &TopicError{Topic: r.tp.Topic, Recreated: true}
	}
	addr, epoch, err := m.leader(0, r.tp.Partition)
	if err != nil {
		return err
	}
	r.epoch = epoch
	r.k, err = r.c.connect(ctx, addr)
	return err
}

func (r *Reader) outOfRange(ctx context.Context) error {
	e := &OffsetOutOfRangeError{r.tp, r.offset, -1, -1}
	b := []Bounds{{Partition: r.tp.Partition}}
	if err := r.k.bounds(ctx, r.tp.Topic, b, []int{0}); err == nil {
		e.Earliest, e.Latest = b[0].Earliest, b[0].Latest
	}
	return e
}

// decode takes batches from the answer until their records take as much memory as one batch may. The rest
// waits for the next Fetch.
func (r *Reader) decode() (Fetched, error) {
	begin := r.offset
	var used int64
	for len(r.walk.data) > 0 && used < r.cfg.MaxFetchBytes {
		recs, s, err := r.walk.batch(r.records, r.offset)
		if err != nil && r.offset > begin {
			break // what came before it comes first
		}
		if err != nil {
			r.walk.data = nil
			return Fetched{}, err
		}
		r.records = recs
		if s.cut > 0 && r.offset == begin {
			if s.cut > r.cfg.MaxBatchBytes {
				return Fetched{}, &TooLargeError{r.tp, r.offset, r.cfg.MaxBatchBytes}
			}
			r.need = s.cut
		}
		used += s.size
		r.offset = s.next
	}
	if err := r.watch(begin); err != nil {
		return Fetched{}, err
	}
	return Fetched{
		Records: r.records, Next: r.offset,
		HighWatermark: r.bounds.highWatermark, LastStable: r.bounds.lastStable, LogStart: r.bounds.logStart,
	}, nil
}

// watch notices when the position stands although the broker claims to have more.
func (r *Reader) watch(begin int64) error {
	if r.offset > begin {
		r.need, r.damaged, r.stalls = 0, 0, 0
		return nil
	}
	if r.offset >= r.bounds.lastStable {
		r.stalls = 0
		return nil
	}
	if r.stalls++; r.stalls < maxStalls {
		return nil
	}
	e := &StalledError{r.tp, r.offset, r.bounds.lastStable, r.stalls}
	r.stalls = 0
	r.drop() // perhaps another broker leads by now
	return e
}
