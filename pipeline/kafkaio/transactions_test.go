package kafkaio

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

// txn is a transactional producer of franz-go.
func (s *suite) txn(t *testing.T, topic string) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(s.addrs...), kgo.TransactionalID("txn-"+rand.Text()), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	return c
}

func say(t *testing.T, c *kgo.Client, vs ...string) {
	t.Helper()
	for _, v := range vs {
		if err := c.ProduceSync(t.Context(), kgo.StringRecord(v)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func end(t *testing.T, c *kgo.Client, commit kgo.TransactionEndTry) {
	t.Helper()
	if err := c.EndTransaction(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
}

// awaitEnd waits until the log ends at an offset: markers are written after the end of the transaction was confirmed.
func (s *suite) awaitEnd(t *testing.T, topic string, offset int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; pause(t.Context(), 20*time.Millisecond) {
		switch end := s.latest(t, topic).Latest; {
		case end == offset:
			return
		case end > offset, time.Now().After(deadline):
			t.Fatalf("the log ends at %d, want %d", end, offset)
		}
	}
}

func testTransactions(t *testing.T, s *suite) {
	topic := s.topic(t, 1)
	a, b := s.txn(t, topic), s.txn(t, topic)
	say(t, a, "a1")
	say(t, b, "b1")
	say(t, a, "a2")
	end(t, b, kgo.TryCommit)
	s.write(t, topic, 0, "plain")
	say(t, a, "a3")
	end(t, a, kgo.TryAbort)
	if err := a.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	say(t, a, "a4")
	end(t, a, kgo.TryCommit)
	const latest = 9 // six records and three markers
	s.awaitEnd(t, topic, latest)
	for from, want := range [][]string{{"b1", "plain", "a4"}, {"b1", "plain", "a4"}, {"plain", "a4"}, {"plain", "a4"}} {
		if d := cmp.Diff(want, readTo(t, s.reader(t, topic, 0, int64(from)), latest)); d != "" {
			t.Errorf("from %d, -want +got:\n%s", from, d)
		}
	}
}

func testHanging(t *testing.T, s *suite) {
	topic := s.topic(t, 1)
	s.write(t, topic, 0, "before")
	a := s.txn(t, topic)
	say(t, a, "open")
	s.write(t, topic, 0, "after")
	r := s.reader(t, topic, 0, 0)
	if got := readTo(t, r, 1); len(got) != 1 {
		t.Fatalf("read %q", got)
	}
	for range 2 * maxStalls { // neither an error nor a standstill
		f, err := r.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Records) != 0 || f.Next != 1 || f.HighWatermark != 3 || f.LastStable != 1 || f.LogStart != 0 {
			t.Fatalf("behind an open transaction: %+v", f)
		}
	}
	if b := s.latest(t, topic); b.Latest != 3 || b.LastStable != 1 {
		t.Errorf("bounds %+v", b)
	}
	end(t, a, kgo.TryAbort)
	s.awaitEnd(t, topic, 4)
	if d := cmp.Diff([]string{"after"}, readTo(t, r, 4)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
