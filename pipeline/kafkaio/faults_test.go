package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// tap stands between a fake cluster and its clients.
type tap struct {
	mu     sync.Mutex
	conns  map[*tapConn]struct{}
	frozen bool
}

type tapListener struct {
	net.Listener
	t *tap
}

type tapConn struct {
	net.Conn
	t      *tap
	frozen atomic.Bool
}

func (t *tap) listen(network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	return &tapListener{l, t}, err
}

func (l *tapListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	tc := &tapConn{Conn: c, t: l.t}
	tc.frozen.Store(l.t.frozen)
	if l.t.conns == nil {
		l.t.conns = map[*tapConn]struct{}{}
	}
	l.t.conns[tc] = struct{}{}
	return tc, nil
}

// Write swallows what a frozen broker answers.
func (c *tapConn) Write(b []byte) (int, error) {
	if c.frozen.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *tapConn) Close() error {
	c.t.mu.Lock()
	delete(c.t.conns, c)
	c.t.mu.Unlock()
	return c.Conn.Close()
}

// cut closes all connections.
func (t *tap) cut() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.Conn.Close()
	}
	return len(t.conns)
}

// freeze lets the brokers fall silent; with thaw, for the connections of now only.
func (t *tap) freeze() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frozen = true
	for c := range t.conns {
		c.frozen.Store(true)
	}
}

func (t *tap) thaw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frozen = false
}

func fakeSuite(t *testing.T, cfg Config, opts ...kfake.Opt) (*suite, *kfake.Cluster) {
	t.Helper()
	fake := newFake(t, append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond)}, opts...)...)
	cfg.Brokers = fake.ListenAddrs()
	return &suite{c: newClient(t, cfg), addrs: cfg.Brokers}, fake
}

func TestDroppedConnections(t *testing.T) {
	var tp tap
	var retries atomic.Int32
	s, _ := fakeSuite(t, Config{Events: Events{Retrying: func(string, error) { retries.Add(1) }}}, kfake.ListenFn(tp.listen))
	topic := s.topic(t, 1)
	r := s.reader(t, topic, 0, 0)
	var want, got []string
	for i := range 20 {
		v := fmt.Sprint(i)
		want = append(want, v)
		s.write(t, topic, 0, v)
		got = append(got, readTo(t, r, int64(i+1))...)
		if tp.cut() == 0 {
			t.Fatal("there is no connection to cut")
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if retries.Load() == 0 {
		t.Error("no retry was reported")
	}
}

func TestSilentBroker(t *testing.T) {
	var tp tap
	s, _ := fakeSuite(t, Config{Timeout: 200 * time.Millisecond}, kfake.ListenFn(tp.listen))
	topic := s.topic(t, 1)
	s.write(t, topic, 0, "a")
	r := s.c.Reader(topic, 0, 0, ReaderConfig{MaxWait: 50 * time.Millisecond, Patience: time.Second})
	defer r.Close()
	readTo(t, r, 1)
	tp.freeze()
	begin := time.Now()
	if _, err := r.Fetch(t.Context()); !Retriable(err) || time.Since(begin) > 5*time.Second {
		t.Errorf("after %v: %v, want an error that says to retry", time.Since(begin), err)
	}
	begin = time.Now()
	if _, err := s.c.Describe(t.Context(), topic); err == nil || time.Since(begin) > 5*time.Second {
		t.Errorf("describe after %v: %v", time.Since(begin), err)
	}
	// A cancelled context does not wait for any deadline.
	slow := newClient(t, Config{Brokers: s.addrs, Timeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin = time.Now()
	if _, err := slow.Describe(ctx, topic); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 5*time.Second {
		t.Errorf("cancelled after %v: %v", time.Since(begin), err)
	}
	tp.thaw() // new connections work
	s.write(t, topic, 0, "b")
	if d := cmp.Diff([]string{"b"}, readTo(t, r, 2)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// scripted answers fetches from a list; the last answer is repeated. The number of fetches is counted.
func scripted(t *testing.T, fake *kfake.Cluster, end int64, answers ...[]byte) *atomic.Int32 {
	var n atomic.Int32
	fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		q := req.(*kmsg.FetchRequest)
		resp := q.ResponseKind().(*kmsg.FetchResponse)
		rt := kmsg.NewFetchResponseTopic()
		rt.Topic = q.Topics[0].Topic
		rp := kmsg.NewFetchResponseTopicPartition()
		rp.HighWatermark, rp.LastStableOffset, rp.LogStartOffset = end, end, 0
		rp.RecordBatches = answers[min(int(n.Add(1)), len(answers))-1]
		rt.Partitions = append(rt.Partitions, rp)
		resp.Topics = append(resp.Topics, rt)
		return resp, nil, true
	})
	return &n
}

func TestDamagedOnTheWay(t *testing.T) {
	good := join(t, plainBatch(0, "a"), plainBatch(1, "b"))
	bad := append([]byte(nil), good...)
	bad[len(bad)-2] ^= 1
	t.Run("once", func(t *testing.T) {
		s, fake := fakeSuite(t, Config{})
		topic := s.topic(t, 1)
		second := join(t, plainBatch(1, "b"))
		badSecond := append([]byte(nil), second...)
		badSecond[len(badSecond)-2] ^= 1
		// The first batch comes although the second is damaged; that is fetched again, once, and comes whole.
		n := scripted(t, fake, 2, bad, badSecond, second)
		if d := cmp.Diff([]string{"a", "b"}, readTo(t, s.reader(t, topic, 0, 0), 2)); d != "" || n.Load() != 3 {
			t.Errorf("%d fetches, -want +got:\n%s", n.Load(), d)
		}
	})
	t.Run("for good", func(t *testing.T) {
		s, fake := fakeSuite(t, Config{})
		topic := s.topic(t, 1)
		n := scripted(t, fake, 2, bad)
		r := s.reader(t, topic, 0, 0)
		readTo(t, r, 1)
		for range 2 {
			n.Store(0)
			_, err := r.Fetch(t.Context())
			var c *CorruptError
			if !errors.As(err, &c) || c.Offset != 1 || c.Topic != topic || n.Load() != maxDamaged {
				t.Errorf("after %d fetches: %v", n.Load(), err)
			}
			if r.Offset() != 1 {
				t.Errorf("position %d", r.Offset())
			}
		}
	})
}

func TestStandstill(t *testing.T) {
	cut := join(t, plainBatch(0, "a"))
	for name, answer := range map[string][]byte{"nothing": nil, "cut": cut[:len(cut)-1]} {
		s, fake := fakeSuite(t, Config{})
		topic := s.topic(t, 1)
		n := scripted(t, fake, 5, answer)
		r := s.reader(t, topic, 0, 0)
		var err error
		for range maxStalls - 1 {
			if _, err = r.Fetch(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		_, err = r.Fetch(t.Context())
		var st *StalledError
		if !errors.As(err, &st) || st.Offset != 0 || st.LastStable != 5 || !Retriable(err) || n.Load() != maxStalls {
			t.Errorf("%s: after %d fetches: %v", name, n.Load(), err)
		}
	}
}

// TestBudget reads an answer of many batches that unpack to more than a Reader may hold at once.
func TestBudget(t *testing.T) {
	const limit = 64 << 10
	var answer []byte
	for i := range 10 {
		m := plainBatch(int64(i), strings.Repeat("x", limit*3/4))
		m.codec = codecZstd
		answer = append(answer, m.bytes(t)...)
	}
	s, fake := fakeSuite(t, Config{})
	topic := s.topic(t, 1)
	n := scripted(t, fake, 11, append(answer, plainBatch(10, strings.Repeat("x", 2*limit)).bytes(t)...), plainBatch(10, strings.Repeat("x", 2*limit)).bytes(t))
	r := s.c.Reader(topic, 0, 0, ReaderConfig{MaxBatchBytes: limit})
	defer r.Close()
	for r.Offset() < 10 {
		f, err := r.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Records) == 0 || len(f.Records) > 2 {
			t.Errorf("%d records at once", len(f.Records))
		}
	}
	if n.Load() != 1 {
		t.Errorf("%d fetches for one answer", n.Load())
	}
	var large *TooLargeError
	if _, err := r.Fetch(t.Context()); !errors.As(err, &large) || large.Offset != 10 || r.Offset() != 10 {
		t.Errorf("batch above the limit: %v", err)
	}
}

func TestHugeAnswer(t *testing.T) {
	s, fake := fakeSuite(t, Config{})
	topic := s.topic(t, 1)
	scripted(t, fake, 1, plainBatch(0, strings.Repeat("x", 300<<10)).bytes(t))
	r := s.c.Reader(topic, 0, 0, ReaderConfig{MaxBatchBytes: 64 << 10, MaxBytes: 64 << 10})
	defer r.Close()
	var large *TooLargeError
	if _, err := r.Fetch(t.Context()); !errors.As(err, &large) || large.Offset != 0 {
		t.Errorf("answer above every limit: %v", err)
	}
}

func TestLeaderMoves(t *testing.T) {
	fake := newFake(t, kfake.NumBrokers(3))
	s := &suite{c: newClient(t, Config{Brokers: fake.ListenAddrs()})}
	topic := s.topic(t, 1)
	r := s.reader(t, topic, 0, 0)
	leaders := map[int32]bool{}
	for i := range 10 {
		s.write(t, topic, 0, "v")
		readTo(t, r, int64(i+1))
		cluster, err := s.c.Describe(t.Context(), topic)
		if err != nil {
			t.Fatal(err)
		}
		leaders[cluster.Topics[0].Partitions[0].Leader] = true
		fake.ShufflePartitionLeaders()
	}
	if len(leaders) < 2 {
		t.Error("the leader has never moved")
	}
}

// TestProduceRetries has brokers that refuse at first; acknowledgement by all replicas must have been asked for.
func TestProduceRetries(t *testing.T) {
	s, fake := fakeSuite(t, Config{})
	topic := s.topic(t, 1)
	acks := make(chan int16, 10)
	fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		acks <- req.(*kmsg.ProduceRequest).Acks
		return nil, nil, false
	})
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: 2})
	s.write(t, topic, 0, "a")
	if b := s.latest(t, topic); b.Latest != 1 || len(acks) != 3 {
		t.Errorf("%d records after %d requests", b.Latest, len(acks))
	}
	for range len(acks) {
		if a := <-acks; a != -1 {
			t.Errorf("asked for %d acknowledgements", a)
		}
	}
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	p := s.c.Producer(ProducerConfig{Patience: 300 * time.Millisecond})
	var w *WriteError
	if err := p.Write(t.Context(), topic, 0, values("b")); !errors.As(err, &w) || !Retriable(err) {
		t.Errorf("write without replicas: %v", err)
	}
}
