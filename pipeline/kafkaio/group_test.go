package kafkaio

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func groupConfig(group, topic string) GroupConfig {
	return GroupConfig{
		Group: group, Topics: []string{topic},
		SessionTimeout: 2 * time.Second, RebalanceTimeout: 2 * time.Second, HeartbeatInterval: 50 * time.Millisecond,
		JoinBackoff: 50 * time.Millisecond, WatchInterval: 100 * time.Millisecond,
	}
}

// member is a Consume under test.
type member struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every change
	joins      int
	generation int32
	partitions []TopicPartition
	live       map[TopicPartition]*Assignment // of lanes that run
	left       [][]TopicPartition
}

// join starts a member. Its lanes run until their context ends, or do what lane says.
func (s *suite) join(t *testing.T, cfg GroupConfig, lane func(context.Context, *Assignment)) *member {
	ctx, cancel := context.WithCancel(t.Context())
	m := &member{t: t, cancel: cancel, done: make(chan error, 1), changed: make(chan struct{}), live: map[TopicPartition]*Assignment{}}
	cfg.Events.Joined = func(generation int32, _ string, tps []TopicPartition) {
		m.change(func() { m.joins++; m.generation, m.partitions = generation, tps })
	}
	cfg.Events.Left = func(_ int32, stuck []TopicPartition) {
		m.change(func() { m.partitions = nil; m.left = append(m.left, stuck) })
	}
	go func() {
		m.done <- s.c.Consume(ctx, cfg, func(ctx context.Context, a *Assignment) {
			m.change(func() {
				if m.live[a.TopicPartition] != nil {
					t.Errorf("two lanes of %v run at once", a.TopicPartition)
				}
				m.live[a.TopicPartition] = a
			})
			if lane != nil {
				lane(ctx, a)
			} else {
				<-ctx.Done()
			}
			m.change(func() { delete(m.live, a.TopicPartition) })
		})
	}()
	t.Cleanup(func() { m.cancel() })
	return m
}

func (m *member) change(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

// await waits until something is so. It is asked under the lock.
func (m *member) await(what string, f func() bool) {
	m.t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		m.mu.Lock()
		ok, changed := f(), m.changed
		m.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			m.t.Fatalf("%s: not in time; %d joins, %d lanes", what, m.joins, len(m.live))
		}
	}
}

func (m *member) owns(n int) func() bool {
	return func() bool { return len(m.partitions) == n && len(m.live) == n }
}

func (m *member) assignment(partition int) *Assignment {
	m.mu.Lock()
	defer m.mu.Unlock()
	for tp, a := range m.live {
		if tp.Partition == partition {
			return a
		}
	}
	m.t.Fatalf("partition %d is not assigned", partition)
	return nil
}

func (m *member) stop() error {
	m.t.Helper()
	m.cancel()
	select {
	case err := <-m.done:
		return err
	case <-time.After(20 * time.Second):
		m.t.Fatal("consume does not end")
		return nil
	}
}

// testGroup moves partitions between two members that read, commit and stop: each record is read once.
func testGroup(t *testing.T, s *suite) {
	topic := s.topic(t, 4)
	var recs []Record
	for i := range 400 {
		recs = append(recs, Record{Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)})
	}
	group := "g-" + rand.Text()
	var mu sync.Mutex
	seen := map[string]int{}
	lane := func(ctx context.Context, a *Assignment) {
		r := s.reader(t, topic, a.Partition, max(a.Committed, 0))
		for ctx.Err() == nil {
			f, err := r.Fetch(ctx)
			if err != nil {
				if ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			for _, rec := range f.Records {
				seen[string(rec.Value)]++
			}
			mu.Unlock()
			if len(f.Records) > 0 {
				// The lane's context may have ended: a commit while draining must work.
				if err := a.Commit(t.Context(), f.Next); err != nil {
					t.Errorf("commit of %v in generation %d: %v", a.TopicPartition, a.Generation, err)
				}
			}
		}
	}
	total := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	await := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); total() < n; pause(t.Context(), 10*time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d records", total(), n)
			}
		}
	}
	p := s.c.Producer(ProducerConfig{})
	write := func(recs []Record) {
		t.Helper()
		if err := p.Write(t.Context(), topic, ByKey, recs); err != nil {
			t.Fatal(err)
		}
	}
	a := s.join(t, groupConfig(group, topic), lane)
	a.await("first member", a.owns(4))
	write(recs[:100])
	await(100)
	b := s.join(t, groupConfig(group, topic), lane)
	write(recs[100:200]) // in the middle of the rebalance
	b.await("second member", b.owns(2))
	a.await("first member, half", a.owns(2))
	write(recs[200:300])
	await(300)
	if err := a.stop(); err != nil {
		t.Errorf("first member: %v", err)
	}
	b.await("second member, all", b.owns(4)) // at once, because the first has left
	write(recs[300:])
	await(400)
	if err := b.stop(); err != nil {
		t.Errorf("second member: %v", err)
	}
	for v, n := range seen {
		if n != 1 {
			t.Errorf("record %s was read %d times", v, n)
		}
	}
	bounds, err := s.c.Bounds(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	want := map[TopicPartition]int64{}
	for _, b := range bounds {
		want[TopicPartition{topic, b.Partition}] = b.Latest // the next offset, not that of the last record
	}
	got, err := s.c.Committed(t.Context(), group, topic)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("committed, -want +got:\n%s", d)
	}
	if other, err := s.c.Committed(t.Context(), group, "other"); err != nil || len(other) != 0 {
		t.Errorf("committed of another topic: %v, %v", other, err)
	}
}

func testFencing(t *testing.T, s *suite) {
	topic := s.topic(t, 2)
	s.write(t, topic, 0, "a", "b", "c")
	group := "g-" + rand.Text()
	a := s.join(t, groupConfig(group, topic), nil)
	a.await("first member", a.owns(2))
	old := a.assignment(0)
	if old.Committed != -1 || old.Member == "" || old.Generation != a.generation {
		t.Errorf("assignment %+v", old)
	}
	committed := func(want int64) {
		t.Helper()
		got, err := s.c.Committed(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		if got[TopicPartition{topic, 0}] != want {
			t.Errorf("committed %v, want %d", got, want)
		}
	}
	for _, next := range []int64{2, 1, 2} { // lower ones change nothing
		if err := old.Commit(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		committed(2)
	}
	if err := old.Commit(t.Context(), -1); err == nil {
		t.Error("committed -1")
	}
	b := s.join(t, groupConfig(group, topic), nil)
	b.await("second member", b.owns(1))
	a.await("first member, half", a.owns(1))
	var fenced *FencedError
	if err := old.Commit(t.Context(), 3); !errors.As(err, &fenced) || fenced.Generation != old.Generation || Retriable(err) {
		t.Errorf("commit of the old generation: %v", err)
	}
	// The broker must refuse it too: this is what a process does that was stopped and does not know of the end.
	zombie := *old
	zombie.over, zombie.commit = make(chan struct{}), s.commitAs(t, group, old.Generation, old.Member)
	if err := zombie.Commit(t.Context(), 3); !errors.As(err, &fenced) || fenced.Err == nil {
		t.Errorf("commit of a zombie: %v", err)
	}
	committed(2)
	owner := a
	if slices.Contains(b.partitions, TopicPartition{topic, 0}) {
		owner = b
	}
	fresh := owner.assignment(0)
	if fresh.Committed != 2 || fresh.Generation <= old.Generation {
		t.Errorf("new assignment %+v", fresh)
	}
	if err := fresh.Commit(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	committed(3)
	for _, m := range []*member{a, b} {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}
	if err := fresh.Commit(t.Context(), 4); !errors.As(err, &fenced) {
		t.Errorf("commit after the end: %v", err)
	}
}

func testEarlyLane(t *testing.T, s *suite) {
	topic := s.topic(t, 2)
	returned := make(chan struct{})
	a := s.join(t, groupConfig("g-"+rand.Text(), topic), func(ctx context.Context, a *Assignment) {
		if a.Partition == 0 {
			close(returned) // a second call would panic
			return
		}
		<-ctx.Done()
	})
	a.await("one lane", func() bool { return len(a.partitions) == 2 && len(a.live) == 1 })
	<-returned
	pause(t.Context(), 500*time.Millisecond) // ten heartbeats
	a.mu.Lock()
	if a.joins != 1 || len(a.live) != 1 {
		t.Errorf("%d joins, %d lanes", a.joins, len(a.live))
	}
	a.mu.Unlock()
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

// testStuckLane has a lane that ignores its context: the group must go on without it.
func testStuckLane(t *testing.T, s *suite) {
	topic := s.topic(t, 2)
	group := "g-" + rand.Text()
	cfg := groupConfig(group, topic)
	cfg.DrainTimeout = 300 * time.Millisecond
	release := make(chan struct{})
	a := s.join(t, cfg, func(ctx context.Context, _ *Assignment) {
		<-ctx.Done()
		<-release
	})
	a.await("first member", a.owns(2))
	b := s.join(t, groupConfig(group, topic), nil)
	b.await("second member", b.owns(1))
	a.await("first member again", func() bool { return a.joins >= 2 })
	a.mu.Lock()
	if d := cmp.Diff([]TopicPartition{{topic, 0}, {topic, 1}}, a.left[0]); d != "" {
		t.Errorf("stuck, -want +got:\n%s", d)
	}
	a.mu.Unlock()
	err := a.stop()
	var abandoned *AbandonedError
	if !errors.As(err, &abandoned) || len(abandoned.Lanes) != 2 {
		t.Errorf("consume: %v, want two abandoned lanes", err)
	}
	b.await("second member, all", b.owns(2))
	close(release)
	if err := b.stop(); err != nil {
		t.Error(err)
	}
}

func testGrowth(t *testing.T, s *suite) {
	topic := s.topic(t, 1)
	group := "g-" + rand.Text()
	a := s.join(t, groupConfig(group, topic), nil)
	a.await("first member", a.owns(1))
	b := s.join(t, groupConfig(group, topic), nil)
	b.await("second member", func() bool { return b.joins > 0 })
	req := kmsg.NewPtrCreatePartitionsRequest()
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = topic, 4
	req.Topics = append(req.Topics, rt)
	req.TimeoutMillis = 5000
	if _, err := req.RequestWith(t.Context(), s.franz); err != nil {
		t.Fatal(err)
	}
	a.await("first member, half", a.owns(2))
	b.await("second member, half", b.owns(2))
	for _, m := range []*member{a, b} {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	}
}

// commitAs commits as a member of a generation, whether that exists or not.
func (s *suite) commitAs(t *testing.T, group string, generation int32, member string) func(map[string]map[int]int64) error {
	return func(offsets map[string]map[int]int64) error {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Group, req.Generation, req.MemberID = group, generation, member
		for topic, ps := range offsets {
			rt := kmsg.NewOffsetCommitRequestTopic()
			rt.Topic = topic
			cluster, err := s.c.Describe(t.Context(), topic)
			if err != nil {
				return err
			}
			rt.TopicID = cluster.Topics[0].ID
			for p, o := range ps {
				rp := kmsg.NewOffsetCommitRequestTopicPartition()
				rp.Partition, rp.Offset = int32(p), o
				rt.Partitions = append(rt.Partitions, rp)
			}
			req.Topics = append(req.Topics, rt)
		}
		resp, err := req.RequestWith(t.Context(), s.franz)
		if err != nil {
			return err
		}
		if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
			return kafka.Error(code) // as Generation.CommitOffsets
		}
		return nil
	}
}
