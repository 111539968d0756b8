package kafkaio

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// membership is what a Consume keeps from generation to generation.
type membership struct {
	c      *Client
	cfg    GroupConfig
	group  *kafka.ConsumerGroup
	lane   func(context.Context, *Assignment)
	topics []Topic // as last seen

	mu      sync.Mutex
	running map[TopicPartition]chan struct{} // closed when the lane has returned
}

func (m *membership) retrying(err error) {
	if m.cfg.Events.Retrying != nil {
		m.cfg.Events.Retrying(err)
	}
}

// run takes one generation after the other. The library tells errors only to those who ask for the next
// generation, and rejoins only then, so asking never stops.
func (m *membership) run(ctx context.Context) error {
	for {
		gen, err := m.group.Next(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end of ctx is no error
		}
		if err != nil {
			m.retrying(err) // the library pauses for JoinBackoff
			continue
		}
		if err := m.generation(ctx, gen); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// leave leaves the group, so that others need not wait for the session to end. It waits a little only: the
// library may be in the middle of a join, which takes as long as the slowest member.
func (m *membership) leave(d *groupDialer) {
	closed := make(chan struct{})
	go func() {
		_ = m.group.Close() // it returns no error
		close(closed)
	}()
	t := time.NewTimer(leaveTimeout)
	defer t.Stop()
	select {
	case <-closed:
	case <-t.C:
		d.close()
		<-closed // without connections it comes to its end
	}
}

// stuck returns the partitions whose lanes have not returned.
func (m *membership) stuck() []TopicPartition {
	m.mu.Lock()
	defer m.mu.Unlock()
	var tps []TopicPartition
	for tp, over := range m.running {
		select {
		case <-over:
		default:
			tps = append(tps, tp)
		}
	}
	sortPartitions(tps)
	return tps
}

func sortPartitions(tps []TopicPartition) {
	slices.SortFunc(tps, func(a, b TopicPartition) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return a.Partition - b.Partition
	})
}

// generation runs the lanes of a generation until it ends, and returns an error only if Consume must
// return it. All of it is one function of the library's generation, because the first function that returns ends
// the generation: no lane may do that.
func (m *membership) generation(ctx context.Context, gen *kafka.Generation) error {
	var err error
	over := make(chan struct{})
	gen.Start(func(genCtx context.Context) {
		defer close(over)
		err = m.session(ctx, genCtx, gen)
		if ctx.Err() == nil && err == nil {
			return
		}
		// The library would join again as soon as we return; told to close, it leaves instead.
		go func() { _ = m.group.Close() }()
		<-genCtx.Done()
	})
	<-over
	return err
}

func (m *membership) session(ctx, genCtx context.Context, gen *kafka.Generation) error {
	if genCtx.Err() != nil {
		return nil // it ended before anybody asked for it
	}
	laneCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	assignments := m.assignments(gen)
	if m.cfg.Events.Joined != nil {
		tps := make([]TopicPartition, len(assignments))
		for i, a := range assignments {
			tps[i] = a.TopicPartition
		}
		m.cfg.Events.Joined(gen.ID, gen.MemberID, tps)
	}
	var lanes sync.WaitGroup
	for _, a := range assignments {
		lanes.Go(func() { m.runLane(laneCtx, a) })
	}
	changed := make(chan error, 1)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.watch(laneCtx, changed)
	}()
	var err error
	select {
	case <-ctx.Done():
	case <-genCtx.Done():
	case err = <-changed:
	}
	cancel()
	<-watched // m.topics and the events are ours again
	stuck := m.drain(&lanes)
	for _, a := range assignments {
		close(a.over)
	}
	if m.cfg.Events.Left != nil {
		m.cfg.Events.Left(gen.ID, stuck)
	}
	return err
}

// assignments returns what the generation has for us, in order.
func (m *membership) assignments(gen *kafka.Generation) []*Assignment {
	// Of several calls at the same time, the library's connection lets all but one spin on a CPU until
	// their answers come.
	var one sync.Mutex
	commit := func(offsets map[string]map[int]int64) error {
		one.Lock()
		defer one.Unlock()
		return gen.CommitOffsets(offsets)
	}
	var as []*Assignment
	for topic, partitions := range gen.Assignments {
		for _, p := range partitions {
			a := &Assignment{
				TopicPartition: TopicPartition{topic, p.ID},
				Committed:      max(p.Offset, -1), // the library has -2 for none
				Generation:     gen.ID,
				Member:         gen.MemberID,
				commit:         commit,
				turn:           make(chan struct{}, 1),
				floor:          -1,
				over:           make(chan struct{}),
			}
			a.turn <- struct{}{}
			as = append(as, a)
		}
	}
	slices.SortFunc(as, func(a, b *Assignment) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return a.Partition - b.Partition
	})
	return as
}

// runLane runs one lane, as soon as the lane of an earlier generation that did not return in time has returned.
func (m *membership) runLane(ctx context.Context, a *Assignment) {
	m.mu.Lock()
	before := m.running[a.TopicPartition]
	m.mu.Unlock()
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	over := make(chan struct{})
	defer close(over)
	m.mu.Lock()
	m.running[a.TopicPartition] = over
	m.mu.Unlock()
	m.lane(ctx, a)
}

// drain waits for the lanes and returns those that do not come.
func (m *membership) drain(lanes *sync.WaitGroup) []TopicPartition {
	over := make(chan struct{})
	go func() {
		lanes.Wait()
		close(over)
	}()
	t := time.NewTimer(m.cfg.DrainTimeout)
	defer t.Stop()
	select {
	case <-over:
	case <-t.C:
	}
	return m.stuck()
}

// watch looks at the topics. It reports nil when the number of partitions has changed, so that the member
// rejoins, and an error when a topic is another one by now.
func (m *membership) watch(ctx context.Context, changed chan<- error) {
	for pause(ctx, m.cfg.WatchInterval) {
		cluster, err := m.c.Describe(ctx, m.cfg.Topics...)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.retrying(err)
			continue
		}
		grown := false
		for i, t := range cluster.Topics {
			if old := m.topics[i].ID; old != t.ID && old != [16]byte{} && t.ID != [16]byte{} {
				changed <- &TopicError{Topic: t.Name, Recreated: true}
				return
			}
			grown = grown || len(t.Partitions) != len(m.topics[i].Partitions)
		}
		if grown {
			m.topics = cluster.Topics
			changed <- nil
			return
		}
	}
}

// groupDialer dials for the library, and can end all of its connections.
type groupDialer struct {
	c      *Client
	mu     sync.Mutex
	closed bool
	conns  map[*groupConn]struct{}
}

type groupConn struct {
	boundedConn
	d *groupDialer
}

func (d *groupDialer) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	nc, err := d.c.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.Join(ErrClosed, nc.Close())
	}
	g := &groupConn{boundedConn{nc, d.c.cfg.Timeout}, d}
	if d.conns == nil {
		d.conns = map[*groupConn]struct{}{}
	}
	d.conns[g] = struct{}{}
	return g, nil
}

// Close closes the socket.
func (g *groupConn) Close() error {
	g.d.mu.Lock()
	delete(g.d.conns, g)
	g.d.mu.Unlock()
	return g.Conn.Close()
}

func (d *groupDialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for g := range d.conns {
		_ = g.Conn.Close()
	}
}
