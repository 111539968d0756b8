package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// GroupConfig configures Consume. Zero fields mean defaults.
type GroupConfig struct {
	// Group is the id of the group. It must not be empty, and no program of another kind may share it.
	Group string
	// Topics are what the group reads. All must exist.
	Topics []string
	// Target identifies what the lanes are loaded into. Members with another target than the leader of
	// the group get no partitions; "" does not say.
	Target string
	// SessionTimeout is how long the broker waits for a heartbeat before it gives the partitions to others. The
	// default is 30 seconds.
	SessionTimeout time.Duration
	// RebalanceTimeout is how long the broker waits for the members to come to a rebalance. The default is 30 seconds.
	RebalanceTimeout time.Duration
	// HeartbeatInterval is the time between heartbeats. The default is 3 seconds, or a third of SessionTimeout if that
	// is less.
	HeartbeatInterval time.Duration
	// JoinBackoff is the pause after a join that failed. The default is 1 second.
	JoinBackoff time.Duration
	// DrainTimeout is how long lanes may take to return after their context has ended. No heartbeats are sent
	// in a rebalance, so that it must be well under the other two timeouts; the default is two thirds
	// of the shorter.
	DrainTimeout time.Duration
	// WatchInterval is how often the topics are looked at, for new partitions and for being created anew. The
	// default is 30 seconds.
	WatchInterval time.Duration

	Events GroupEvents
}

// GroupEvents report what happens to the membership. Every field may be nil. They are called one at a
// time, and must be fast.
type GroupEvents struct {
	// Joined says that a generation began, and what it assigned to this member; possibly nothing. The sum over
	// all members may be less than all partitions, for example when the leader of the group could not see a topic.
	Joined func(generation int32, member string, partitions []TopicPartition)
	// Left says that the generation is over for this member. The lanes of stuck have not returned in time; until they do,
	// their partitions get no new lane in this process.
	Left func(generation int32, stuck []TopicPartition)
	// Others says that this member leads the group, and how many members load into another target.
	Others func(members int)
	// Retrying says that joining failed, or that the topics could not be looked at, and will be tried again.
	Retrying func(err error)
}

const (
	defaultSessionTimeout = 30 * time.Second
	defaultHeartbeat      = 3 * time.Second
	defaultJoinBackoff    = time.Second
	defaultWatchInterval  = 30 * time.Second

	// leaveTimeout is how long leaving the group may take. After it, the broker notices by the session.
	leaveTimeout = 5 * time.Second
)

func (g *GroupConfig) complete() error {
	if g.Group == "" {
		return errors.New("the group has no id")
	}
	if len(g.Topics) == 0 {
		return errors.New("no topics are given")
	}
	defaults := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	defaults(&g.SessionTimeout, defaultSessionTimeout)
	defaults(&g.RebalanceTimeout, defaultSessionTimeout)
	defaults(&g.HeartbeatInterval, min(defaultHeartbeat, g.SessionTimeout/3))
	defaults(&g.JoinBackoff, defaultJoinBackoff)
	defaults(&g.DrainTimeout, min(g.SessionTimeout, g.RebalanceTimeout)*2/3)
	defaults(&g.WatchInterval, defaultWatchInterval)
	if g.HeartbeatInterval > g.SessionTimeout/2 {
		return fmt.Errorf("a heartbeat every %v is too seldom for a session of %v", g.HeartbeatInterval, g.SessionTimeout)
	}
	if limit := min(g.SessionTimeout, g.RebalanceTimeout); g.DrainTimeout >= limit {
		return fmt.Errorf("lanes may take %v to return, but the group waits for %v only", g.DrainTimeout, limit)
	}
	return nil
}

// Consume joins a consumer group and calls lane for each partition that the group assigns to this member, in
// a goroutine of its own, again in each generation, until ctx ends.
//
// The context of a lane ends with ctx or at the moment when its generation ends. The lane must then
// stop taking in, may finish and commit what it has, and must return within DrainTimeout: the group waits for it, and
// after SessionTimeout the partition has another owner. Commit still works in that time, with another context than
// the ended one. A lane that returns earlier is not called again before the next generation, and does not end its own;
// so a lane should retry inside.
// Never do two lanes of a partition run at once in this process.
//
// Consume returns nil when ctx has ended and all lanes have returned; *AbandonedError if some have not in DrainTimeout;
// *TopicError if a topic is missing at the start, or is made anew while it is consumed. Everything else is retried.
func (c *Client) Consume(ctx context.Context, cfg GroupConfig, lane func(ctx context.Context, a *Assignment)) error {
	if err := cfg.complete(); err != nil {
		return fmt.Errorf("configure group: %w", err)
	}
	cluster, err := c.Describe(ctx, cfg.Topics...)
	if err != nil {
		return fmt.Errorf("join group %q: %w", cfg.Group, err)
	}
	m := &membership{c: c, cfg: cfg, lane: lane, topics: cluster.Topics, running: map[TopicPartition]chan struct{}{}}
	d := &groupDialer{c: c}
	dialer := &kafka.Dialer{ClientID: c.cfg.ClientID, Timeout: c.cfg.Timeout, DialFunc: d.dial}
	if c.cfg.SASL.Mechanism != "" {
		dialer.SASLMechanism = mechanism{c.cfg.SASL}
	}
	m.group, err = kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: cfg.Group, Topics: cfg.Topics, Brokers: c.cfg.Brokers, Dialer: dialer, Timeout: c.cfg.Timeout,
		SessionTimeout: cfg.SessionTimeout, RebalanceTimeout: cfg.RebalanceTimeout,
		HeartbeatInterval: cfg.HeartbeatInterval, JoinGroupBackoff: cfg.JoinBackoff,
		GroupBalancers: []kafka.GroupBalancer{targetBalancer{target: cfg.Target, others: cfg.Events.Others}},
		// The library's own watch would let brokers create topics; see membership.watch.
	})
	if err != nil {
		return fmt.Errorf("configure group: %w", err)
	}
	err = m.run(ctx)
	m.leave(d)
	if stuck := m.stuck(); len(stuck) > 0 {
		err = errors.Join(err, &AbandonedError{stuck})
	}
	if err != nil {
		return fmt.Errorf("consume as group %q: %w", cfg.Group, err)
	}
	return nil
}

// Assignment is a partition that belongs to this member for one generation. It is safe for concurrent use.
type Assignment struct {
	TopicPartition
	// Committed is the group's offset when the generation began; -1 if it has none, because it never had or because
	// the offsets of an idle group have expired. A store's own position is better.
	Committed  int64
	Generation int32
	Member     string

	commit func(map[string]map[int]int64) error
	turn   chan struct{} // holds a token: commits go one after the other
	floor  int64         // the last offset committed; guarded by turn
	over   chan struct{} // closed when nothing may be committed any more
}

// Commit commits the position of the partition: the offset of the next record to read, so that of the last one done
// plus one, or Fetched.Next. A position that is not above the last one committed here is
// ignored, so that acknowledgements which come late never take the group back. After the end of the
// generation the error is a *FencedError. When ctx ends early, the commit may still happen.
func (a *Assignment) Commit(ctx context.Context, next int64) error {
	if next < 0 {
		return fmt.Errorf("commit offset of %v: %d is no offset", a.TopicPartition, next)
	}
	select {
	case <-a.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-a.over:
		a.turn <- struct{}{}
		return &FencedError{TopicPartition: a.TopicPartition, Generation: a.Generation}
	default:
	}
	if next <= a.floor {
		a.turn <- struct{}{}
		return nil
	}
	// The library knows no contexts; its own timeout ends the call.
	done := make(chan error, 1)
	go func() {
		err := a.commit(map[string]map[int]int64{a.Topic: {a.Partition: next}})
		if err == nil {
			a.floor = next
		}
		a.turn <- struct{}{}
		done <- err
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		return a.explain(err)
	}
}

// explain tells the end of a generation from other faults.
func (a *Assignment) explain(err error) error {
	if err == nil {
		return nil
	}
	var code kafka.Error
	if errors.As(err, &code) {
		switch code {
		case kafka.IllegalGeneration, kafka.UnknownMemberId, kafka.RebalanceInProgress, kafka.FencedInstanceID:
			return &FencedError{a.TopicPartition, a.Generation, code}
		}
		err = &BrokerError{a.TopicPartition, int16(code)}
	}
	return fmt.Errorf("commit offset: %w", err)
}
