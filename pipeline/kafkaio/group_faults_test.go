package kafkaio

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestLostHeartbeat fails one heartbeat: the library ends the generation, and Consume must come back.
func TestLostHeartbeat(t *testing.T) {
	s, fake := fakeSuite(t, Config{})
	topic := s.topic(t, 1)
	a := s.join(t, groupConfig("g-"+rand.Text(), topic), nil)
	a.await("joined", a.owns(1))
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.NotCoordinator, TopLevel: true})
	a.await("joined again", func() bool { return a.joins == 2 && len(a.live) == 1 })
	// Joins that fail are reported and repeated.
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorNotAvailable, TopLevel: true, Count: 2})
	fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.NotCoordinator, TopLevel: true})
	a.await("joined after failures", func() bool { return a.joins == 3 && len(a.live) == 1 })
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

// TestGroupDroppedConnections cuts all connections of a member again and again.
func TestGroupDroppedConnections(t *testing.T) {
	var tp tap
	s, _ := fakeSuite(t, Config{}, kfake.ListenFn(tp.listen))
	topic := s.topic(t, 2)
	a := s.join(t, groupConfig("g-"+rand.Text(), topic), nil)
	for i := range 3 {
		a.await("joined", func() bool { return a.joins > i && len(a.live) == 2 })
		tp.cut()
	}
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

// TestSilentGroup ends a Consume whose broker does not answer: nothing may wait for ever.
func TestSilentGroup(t *testing.T) {
	var tp tap
	s, _ := fakeSuite(t, Config{Timeout: 300 * time.Millisecond}, kfake.ListenFn(tp.listen))
	topic := s.topic(t, 1)
	a := s.join(t, groupConfig("g-"+rand.Text(), topic), nil)
	a.await("joined", a.owns(1))
	tp.freeze()
	a.await("left", func() bool { return len(a.left) > 0 })
	begin := time.Now()
	if err := a.stop(); err != nil || time.Since(begin) > leaveTimeout+5*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
}

func TestCommitErrors(t *testing.T) {
	a := &Assignment{TopicPartition: testTP, turn: make(chan struct{}, 1), over: make(chan struct{}), floor: -1}
	a.turn <- struct{}{}
	block := make(chan struct{})
	a.commit = func(map[string]map[int]int64) error { <-block; return nil }
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for range 2 { // the second waits for the first
		if err := a.Commit(ctx, 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("commit that hangs: %v", err)
		}
	}
	close(block)
	if err := a.Commit(t.Context(), 5); err != nil { // has been committed after all
		t.Error(err)
	}
	a.commit = func(map[string]map[int]int64) error { return kafka.RequestTimedOut }
	var fenced *FencedError
	if err := a.Commit(t.Context(), 6); err == nil || errors.As(err, &fenced) || !Retriable(err) {
		t.Errorf("commit that times out: %v", err)
	}
}
