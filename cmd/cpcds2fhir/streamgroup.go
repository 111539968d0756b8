package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/pipeline/streamrun"
)

// consume reads the partitions that the group assigns to this process, until ctx ends.
func (s *streamSetup) consume(ctx context.Context, e *streamrun.Engine, t *streamTarget, cluster *kafkaio.Cluster) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	wait.Go(func() { s.sweep(ctx, e) })
	wait.Go(func() { s.manifests(ctx, t) })
	partitions := 0
	for _, topic := range cluster.Topics {
		partitions += len(topic.Partitions)
	}
	group := kafkaio.GroupConfig{Group: s.Group, Topics: s.topicNames(), Target: t.id, SessionTimeout: s.Sessions.Timeout, RebalanceTimeout: s.Sessions.Rebalance,
		DrainTimeout: s.Sessions.Drain + s.Sessions.Drain/8,
		Events: kafkaio.GroupEvents{
			Joined: func(generation int32, member string, list []kafkaio.TopicPartition) {
				s.status.join(len(list))
				s.log.Info("joined the group", zap.Int32("generation", generation), zap.String("member", member), zap.Int("partitions", len(list)))
			},
			Left: func(generation int32, stuck []kafkaio.TopicPartition) {
				s.status.leave()
				s.log.Info("left the generation", zap.Int32("generation", generation), zap.Int("stuck", len(stuck)))
			},
			Others: func(members int) {
				s.log.Error("some processes of the group load into another store, on this machine or another one; they get no partitions", zap.Int("processes", members))
			},
			Retrying: func(err error) { s.log.Warn("joining again", zap.String("error", message(err))) },
		}}
	maxBytes := int(max(256<<10, min(1<<20, s.memory/64/int64(max(partitions, 1)))))
	var err error
	for {
		membership, leave := context.WithCancelCause(ctx)
		err = s.client.Consume(membership, group, func(ctx context.Context, a *kafkaio.Assignment) {
			p := &kafkaPartition{Assignment: a, client: s.client, maxBytes: maxBytes}
			switch err := e.Lane(ctx, p); {
			case err == nil, errors.Is(err, pipeline.ErrFenced):
			case recreated(err) != nil:
				leave(err)
			default:
				cancel(err)
			}
		})
		if cause := context.Cause(membership); err == nil && recreated(cause) != nil {
			err = cause
		}
		leave(nil)
		anew := recreated(err)
		if anew == nil {
			break
		}
		if s.Recreated != "restart" {
			err = fmt.Errorf("%w; set recreated: restart to load the new topic from its beginning", err)
			break
		}
		s.log.Warn("the topic was made anew; it is loaded from its beginning", zap.String("topic", anew.Topic))
	}
	cause := context.Cause(ctx)
	cancel(nil)
	wait.Wait()
	settling, done := context.WithTimeout(context.WithoutCancel(ctx), s.Sessions.Drain)
	if err2 := e.Settle(settling); err2 != nil && settling.Err() == nil && cause == nil {
		s.log.Warn("some records that can go on still wait; the next start loads them", zap.String("error", message(err2)))
	}
	done()
	if err2 := s.writeManifests(context.WithoutCancel(ctx), t, true); err2 != nil {
		err = errors.Join(err, err2)
	}
	if cause != nil && !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, err)
	}
	if err == nil {
		s.log.Info("stopped; everything that was read is durable and committed")
	}
	return err
}

// recreated returns the error of a topic that was made anew, nil if it is another one.
func recreated(err error) *kafkaio.TopicError {
	if t, ok := errors.AsType[*kafkaio.TopicError](err); ok && t.Recreated {
		return t
	}
	return nil
}

// sweepEvery is how often a stream looks for records that can go on although nobody has noticed, or
// that have waited too long.
const sweepEvery = 20 * time.Second

func (s *streamSetup) sweep(ctx context.Context, e *streamrun.Engine) {
	for {
		if _, err := e.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("looking for records that wait failed", zap.String("error", message(err)))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(sweepEvery):
		}
	}
}

// manifests writes the manifest of each window when it has ended.
func (s *streamSetup) manifests(ctx context.Context, t pipeline.StreamRecords) {
	for {
		next := time.Now().Truncate(s.Window).Add(s.Window + 10*time.Second)
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
		if err := s.writeManifests(ctx, t, false); err != nil && ctx.Err() == nil {
			s.log.Warn("writing manifests failed", zap.String("error", message(err)))
		}
	}
}

// writeManifests writes the manifests of the last windows, from the accounts that the target has.
func (s *streamSetup) writeManifests(ctx context.Context, t pipeline.StreamRecords, end bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := os.MkdirAll(s.state, 0o700); err != nil {
		return environmentf("make state folder: %w", err)
	}
	list, err := streamrun.Manifests(ctx, t, s.Group, time.Now().Add(-s.Window-24*time.Hour), s.Window)
	if err != nil {
		return err
	}
	for _, m := range list {
		m.Target, m.ToolVersion = s.target.String(), toolVersion()
		if err := m.Write(s.state); err != nil {
			return err
		}
		if end && !m.Balanced {
			s.log.Error("the account of a window does not balance; this is a bug, please report it with the manifest", zap.String("window", m.Window))
		}
	}
	return nil
}
