package kafkaio

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The same suite runs against the fake of franz-go, and against real brokers if there are any.

func TestFakeBrokers(t *testing.T) {
	fake := newFake(t, kfake.NumBrokers(3), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1),
		kfake.GroupMinSessionTimeout(100*time.Millisecond),
		kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "100", "group.initial.rebalance.delay.ms": "0"}))
	runSuite(t, fake.ListenAddrs())
}

func TestRealBrokers(t *testing.T) {
	brokers := os.Getenv("KAFKA_BROKERS")
	if brokers == "" {
		t.Skip("set KAFKA_BROKERS=host:port,... to run the suite against real brokers")
	}
	runSuite(t, strings.Split(brokers, ","))
}

func newFake(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// suite is one cluster under test, with our client and an independent one.
type suite struct {
	c     *Client
	franz *kgo.Client
	addrs []string
}

func runSuite(t *testing.T, addrs []string) {
	tests := []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"topics", testTopics},
		{"values", testValues},
		{"compressions", testCompressions},
		{"produce", testProduce},
		{"transactions", testTransactions},
		{"hanging transaction", testHanging},
		{"out of range", testOutOfRange},
		{"recreated topic", testRecreated},
		{"group", testGroup},
		{"fencing", testFencing},
		{"early lane", testEarlyLane},
		{"stuck lane", testStuckLane},
		{"more partitions", testGrowth},
		{"missing topic", testMissing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &suite{addrs: addrs, c: newClient(t, Config{Brokers: addrs})}
			var err error
			if s.franz, err = kgo.NewClient(kgo.SeedBrokers(addrs...)); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.franz.Close)
			tt.run(t, s)
		})
	}
}

func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// topic creates a topic with a name of its own.
func (s *suite) topic(t *testing.T, partitions int) string {
	t.Helper()
	name := "test-" + rand.Text()
	if err := s.c.CreateTopic(t.Context(), name, partitions, -1, nil); err != nil {
		t.Fatal(err)
	}
	return name
}

func (s *suite) reader(t testing.TB, topic string, partition int, offset int64) *Reader {
	r := s.c.Reader(topic, partition, offset, ReaderConfig{MaxWait: 100 * time.Millisecond, Patience: 20 * time.Second})
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// readTo reads until the position, and returns the values.
func readTo(t testing.TB, r *Reader, next int64) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var values []string
	for r.Offset() < next {
		f, err := r.Fetch(ctx)
		if err != nil {
			t.Fatalf("fetch at %d: %v", r.Offset(), err)
		}
		if f.Next != r.Offset() {
			t.Fatalf("next %d, but position %d", f.Next, r.Offset())
		}
		for _, rec := range f.Records {
			values = append(values, string(rec.Value))
		}
	}
	return values
}

func values(vs ...string) []Record {
	recs := make([]Record, len(vs))
	for i, v := range vs {
		recs[i] = Record{Key: []byte("k"), Value: []byte(v)}
	}
	return recs
}

func (s *suite) write(t testing.TB, topic string, partition int, vs ...string) {
	t.Helper()
	p := s.c.Producer(ProducerConfig{})
	if err := p.Write(t.Context(), topic, partition, values(vs...)); err != nil {
		t.Fatal(err)
	}
}

func testTopics(t *testing.T, s *suite) {
	ctx := t.Context()
	name := s.topic(t, 3)
	var exists *TopicError
	if err := s.c.CreateTopic(ctx, name, 3, -1, nil); !errors.As(err, &exists) || !exists.Exists {
		t.Errorf("second creation: %v", err)
	}
	cluster, err := s.c.Describe(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if cluster.ID == "" || cluster.Brokers == 0 || len(cluster.Topics) != 1 || cluster.Topics[0].ID == [16]byte{} {
		t.Errorf("described %+v", cluster)
	}
	for i, p := range cluster.Topics[0].Partitions {
		if p.ID != i || p.Leader < 0 || p.LeaderEpoch < 0 {
			t.Errorf("partition %d is %+v", i, p)
		}
	}
	s.write(t, name, 1, "a", "b")
	got, err := s.c.Bounds(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Bounds{{0, 0, 0, 0}, {1, 0, 2, 2}, {2, 0, 0, 0}}, got); d != "" {
		t.Errorf("bounds, -want +got:\n%s", d)
	}
	if offsets, err := s.c.Committed(ctx, "nobody-"+rand.Text()); err != nil || len(offsets) != 0 {
		t.Errorf("offsets of no group: %v, %v", offsets, err)
	}
}

func testMissing(t *testing.T, s *suite) {
	ctx := t.Context()
	name := "missing-" + rand.Text()
	check := func(what string, err error) {
		t.Helper()
		var missing *TopicError
		if !errors.As(err, &missing) || !missing.Missing || missing.Topic != name {
			t.Errorf("%s: %v, want that the topic is missing", what, err)
		}
	}
	for range 2 { // the first call must not have created it
		_, err := s.c.Describe(ctx, name)
		check("describe", err)
	}
	_, err := s.c.Bounds(ctx, name)
	check("bounds", err)
	check("consume", s.c.Consume(ctx, GroupConfig{Group: "g", Topics: []string{name}}, func(context.Context, *Assignment) {}))
	check("write by key", s.c.Producer(ProducerConfig{}).Write(ctx, name, ByKey, values("a")))
	check("write", s.c.Producer(ProducerConfig{}).Write(ctx, name, 0, values("a")))
	r := s.c.Reader(name, 0, 0, ReaderConfig{Patience: 50 * time.Millisecond})
	_, err = r.Fetch(ctx)
	check("fetch", err)
	_, err = s.c.Describe(ctx, name)
	check("describe after all", err)
}

func testValues(t *testing.T, s *suite) {
	name := s.topic(t, 1)
	at := time.UnixMilli(1_700_000_000_123)
	want := []Record{
		{Key: []byte("k0"), Value: nil, Time: at},
		{Key: []byte("k1"), Value: []byte{}, Time: at},
		{Key: nil, Value: []byte("v"), Time: at, Headers: []Header{{"a", nil}, {"a", []byte("x")}}},
		{Key: []byte{}, Value: []byte("v"), Time: at},
	}
	if err := s.c.Producer(ProducerConfig{}).Write(t.Context(), name, 0, want); err != nil {
		t.Fatal(err)
	}
	// Once more by a client that is not ours.
	for _, w := range want {
		k := &kgo.Record{Topic: name, Key: w.Key, Value: w.Value, Timestamp: at}
		for _, h := range w.Headers {
			k.Headers = append(k.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
		}
		if err := s.franz.ProduceSync(t.Context(), k).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	r := s.reader(t, name, 0, 0)
	for r.Offset() < 8 {
		f, err := r.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range f.Records {
			w := want[got.Offset%4]
			w.Offset, w.LeaderEpoch = got.Offset, got.LeaderEpoch
			if d := cmp.Diff(w, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		}
	}
}

func testCompressions(t *testing.T, s *suite) {
	long := strings.Repeat("a claim like every other claim; ", 4000)
	codecs := map[string]kgo.CompressionCodec{
		Uncompressed: kgo.NoCompression(), Gzip: kgo.GzipCompression(), Snappy: kgo.SnappyCompression(),
		LZ4: kgo.Lz4Compression(), Zstd: kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		topic := s.topic(t, 1)
		p := s.c.Producer(ProducerConfig{Compression: name})
		if err := p.Write(t.Context(), topic, 0, values("a", long)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		franz, err := kgo.NewClient(kgo.SeedBrokers(s.addrs...), kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(topic),
			kgo.ConsumeTopics(topic))
		if err != nil {
			t.Fatal(err)
		}
		defer franz.Close()
		if err := franz.ProduceSync(t.Context(), kgo.StringRecord("b"), kgo.StringRecord(long)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"a", long, "b", long}, readTo(t, s.reader(t, topic, 0, 0), 4)); d != "" {
			t.Errorf("%s, -want +got:\n%s", name, d)
		}
		// And a client that is not ours reads what we wrote.
		var n int
		for n < 4 {
			fs := franz.PollFetches(t.Context())
			if err := fs.Err(); err != nil {
				t.Fatal(err)
			}
			n += fs.NumRecords()
		}
	}
	if err := s.c.Producer(ProducerConfig{Compression: "brotli"}).Write(t.Context(), "x", 0, values("a")); err == nil {
		t.Error("an unknown compression was accepted")
	}
}

func testProduce(t *testing.T, s *suite) {
	topic := s.topic(t, 4)
	p := s.c.Producer(ProducerConfig{MaxBatchBytes: 2000}) // many batches
	var recs []Record
	for i := range 1000 {
		recs = append(recs, Record{Key: fmt.Append(nil, "key ", i%50), Value: fmt.Append(nil, i)})
	}
	if err := p.Write(t.Context(), topic, ByKey, recs); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(t.Context(), topic, ByKey, make([]Record, 4)); err != nil { // without keys: one for each partition
		t.Fatal(err)
	}
	bounds, err := s.c.Bounds(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	// franz-go's default partitioner is the Java client's.
	theirs := kgo.StickyKeyPartitioner(nil).ForTopic(topic)
	total := 0
	for _, b := range bounds {
		r := s.reader(t, topic, b.Partition, 0)
		last := map[string]string{}
		for r.Offset() < b.Latest {
			f, err := r.Fetch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range f.Records {
				total++
				if rec.Key == nil {
					continue
				}
				if want := theirs.Partition(&kgo.Record{Key: rec.Key}, 4); want != b.Partition {
					t.Fatalf("%s is in partition %d, not %d", rec.Key, b.Partition, want)
				}
				if l := last[string(rec.Key)]; len(l) > len(rec.Value) || len(l) == len(rec.Value) && l >= string(rec.Value) {
					t.Fatalf("%s follows %s", rec.Value, l)
				}
				last[string(rec.Key)] = string(rec.Value)
			}
		}
	}
	if total != 1004 {
		t.Errorf("%d records, want 1004", total)
	}
	huge := []Record{{Value: bytes.Repeat([]byte("x"), 3<<20)}}
	var w *WriteError
	if err := p.Write(t.Context(), topic, 2, huge); !errors.As(err, &w) || w.Partition != 2 || w.Records != 1 || Retriable(err) {
		t.Errorf("a record that is too large: %v", err)
	}
	_ = p.Close()
	if err := p.Write(t.Context(), topic, 0, values("a")); !errors.Is(err, ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
}

func (s *suite) latest(t *testing.T, topic string) Bounds {
	t.Helper()
	b, err := s.c.Bounds(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return b[0]
}

func testOutOfRange(t *testing.T, s *suite) {
	topic := s.topic(t, 1)
	s.write(t, topic, 0, "a", "b", "c")
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Offset = 2
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	if _, err := s.franz.Request(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{0, 100} {
		_, err := s.reader(t, topic, 0, offset).Fetch(t.Context())
		var o *OffsetOutOfRangeError
		if !errors.As(err, &o) || o.Offset != offset || o.Earliest != 2 || o.Latest != 3 || Retriable(err) {
			t.Errorf("from %d: %v", offset, err)
		}
	}
	if got := readTo(t, s.reader(t, topic, 0, 2), 3); len(got) != 1 || got[0] != "c" {
		t.Errorf("read %q", got)
	}
}

// recreate deletes a topic and creates it anew.
func (s *suite) recreate(t *testing.T, topic string) {
	t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TopicNames = []string{topic}
	rt := kmsg.NewDeleteTopicsRequestTopic()
	rt.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(t.Context(), s.franz)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := s.c.CreateTopic(t.Context(), topic, 1, -1, nil)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		pause(t.Context(), 50*time.Millisecond)
	}
}

func testRecreated(t *testing.T, s *suite) {
	topic := s.topic(t, 1)
	s.write(t, topic, 0, "a")
	r := s.reader(t, topic, 0, 0)
	readTo(t, r, 1)
	cluster, err := s.c.Describe(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	if r.TopicID() != cluster.Topics[0].ID {
		t.Error("the reader has another topic id")
	}
	consumed := make(chan error, 1)
	joined := make(chan struct{}, 10)
	go func() {
		cfg := groupConfig("g-"+rand.Text(), topic)
		cfg.Events.Joined = func(int32, string, []TopicPartition) { joined <- struct{}{} }
		consumed <- s.c.Consume(t.Context(), cfg, func(ctx context.Context, _ *Assignment) { <-ctx.Done() })
	}()
	<-joined
	s.recreate(t, topic)
	s.write(t, topic, 0, "x", "y", "z")
	// A connection to a leader that has not changed reads on; whoever looks again must refuse.
	pinned := s.c.Reader(topic, 0, 1, ReaderConfig{TopicID: r.TopicID()})
	_, err = pinned.Fetch(t.Context())
	var e *TopicError
	if !errors.As(err, &e) || !e.Recreated || Retriable(err) {
		t.Errorf("fetch: %v, want that the topic is another one", err)
	}
	select {
	case err := <-consumed:
		if e = nil; !errors.As(err, &e) || !e.Recreated {
			t.Errorf("consume: %v, want that the topic is another one", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("consume goes on with the new topic")
	}
}
