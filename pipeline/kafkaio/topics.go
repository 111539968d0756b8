package kafkaio

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

// CreateTopic creates a topic and waits, for at most Config.Timeout, until every broker knows it and its partitions
// have leaders. Partitions and replication may be -1 for the broker's defaults (from 2.4 on). If the topic
// is there already, the error is a *TopicError that says so.
func (c *Client) CreateTopic(ctx context.Context, name string, partitions, replication int, configs map[string]string) error {
	err := c.retry(ctx, "create topic", c.cfg.Timeout, func() error {
		m, err := c.metadataOnce(ctx, nil)
		if err != nil {
			return err
		}
		addr, ok := m.addrs[m.controller]
		if !ok {
			return &BrokerError{Code: int16(kafka.NotController)}
		}
		return c.on(ctx, addr, func(k *conn) error { return k.createTopic(ctx, name, partitions, replication, configs) })
	})
	if err != nil {
		return fmt.Errorf("create topic: %w", err)
	}
	if err := c.awaitTopic(ctx, name); err != nil {
		return fmt.Errorf("await new topic: %w", err)
	}
	return nil
}

func (k *conn) createTopic(ctx context.Context, name string, partitions, replication int, configs map[string]string) error {
	r, err := k.call(ctx, apiCreateTopics, func(e *encoder, _ int16) {
		e.array(1)
		e.str(name)
		e.i32(int32(partitions))
		e.i16(int16(replication))
		e.array(0) // no assignment by hand
		e.array(len(configs))
		for _, key := range slices.Sorted(maps.Keys(configs)) {
			e.str(key)
			e.str(configs[key])
		}
		e.i32(int32(k.timeout / 2 / time.Millisecond))
		e.boolean(false) // do not merely validate
	})
	if err != nil {
		return err
	}
	r.i32() // throttle
	code := int16(kafka.Unknown)
	for n := r.array(); n > 0; n-- {
		r.str()
		code = r.i16()
		r.str() // the message, which quotes configs
	}
	if err := r.err(); err != nil {
		return err
	}
	switch kafka.Error(code) {
	case 0:
		return nil
	case kafka.TopicAlreadyExists:
		return &TopicError{Topic: name, Exists: true}
	}
	return &TopicError{Topic: name, Err: &BrokerError{Code: code}}
}

var errNoLeader = errors.New("some partitions have no leader yet")

// awaitTopic waits until all brokers know a topic. Without it, the first who asks another broker than we
// did would hear that the topic does not exist.
func (c *Client) awaitTopic(ctx context.Context, name string) error {
	deadline := time.Now().Add(c.cfg.Timeout)
	for {
		err := c.allKnow(ctx, name)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return err
		}
		if !pause(ctx, firstPause/2) {
			return ctx.Err()
		}
	}
}

func (c *Client) allKnow(ctx context.Context, name string) error {
	m, err := c.metadataOnce(ctx, nil)
	if err != nil {
		return err
	}
	for _, addr := range m.addrs {
		err := c.on(ctx, addr, func(k *conn) error {
			m, err := k.metadata(ctx, []string{name})
			if err != nil {
				return err
			}
			for _, p := range m.Topics[0].Partitions {
				if p.Leader < 0 {
					return errNoLeader
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
