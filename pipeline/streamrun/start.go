package streamrun

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/zeebo/xxh3"

	"cpcds2fhir/pipeline"
)

// start returns the offset to read from.
func (l *lane) start(ctx context.Context) (int64, error) {
	first, end, err := l.part.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	from, err := Start(l.durable, Bounds{first, end, l.part.TopicID()}, l.Recreated, l.Gap)
	if err == nil && from == l.durable.Next {
		err = l.checkLast(ctx, first, end)
	}
	return from, err
}

// Positions returns how far a group has loaded each partition into a target, by TOPIC/PARTITION.
func Positions(ctx context.Context, t pipeline.StreamRecords, group string) (map[string]pipeline.Position, error) {
	at := map[string]pipeline.Position{}
	prefix := "at/" + group + "/"
	err := t.Each(ctx, prefix, func(r pipeline.Record) error {
		var p pipeline.Position
		if err := json.Unmarshal(r.Value, &p); err != nil {
			return fmt.Errorf("read position: %w", err)
		}
		if name := r.Name[len(prefix):]; strings.Contains(name, "/") && p.Next > 0 {
			at[name] = p
		}
		return nil
	})
	return at, err
}

// Bounds are what a partition has.
type Bounds struct {
	First, End int64 // offsets of the first message, and after the last
	TopicID    string
}

// Start returns the offset from which a lane goes on whose target is at a position. recreated and gap are
// those of Config. It fails if the lane cannot go on without losing something.
func Start(at pipeline.Position, has Bounds, recreated, gap bool) (int64, error) {
	switch {
	case at.TopicID == "" || has.TopicID == "" || at.TopicID == has.TopicID:
	case !recreated:
		return 0, stopf("the topic was made anew since this target was loaded from it: its offsets mean other messages; set recreated: restart to load the new topic from its beginning")
	default:
		at = pipeline.Position{}
	}
	switch {
	case at.Next == 0:
		return has.First, nil
	case at.Next < has.First && !gap:
		return 0, stopf("the messages from offset %d to %d are gone and were never loaded: the topic keeps messages for too short a time; set gap: skip to go on without them", at.Next, has.First-1)
	case at.Next < has.First:
		return has.First, nil
	case at.Next > has.End:
		return 0, stopf("the target has messages up to offset %d, but the partition ends at %d: it has lost messages; load it into a new target, or use another group", at.Next, has.End)
	}
	return at.Next, nil
}

// checkLast looks whether the partition still has the last message that is durable, if it has that offset
// at all: after an election in which brokers lost messages, it may have others at the same offsets.
func (l *lane) checkLast(ctx context.Context, first, end int64) error {
	at := &l.durable
	if at.Digest == 0 || at.Last < first || at.Last >= end {
		return nil
	}
	feed := l.part.Open(at.Last)
	defer func() { _ = feed.Close() }() // it was only read
	list, _, _, err := feed.Fetch(ctx)
	if err != nil {
		return err
	}
	if len(list) > 0 && list[0].Offset == at.Last && list[0].digest() != at.Digest {
		return stopf("the message at offset %d is another one than the one that was loaded: the partition has lost messages and went on with others; load it into a new target, or use another group", at.Last)
	}
	return nil
}

// digest is the digest of a message in positions. It is never 0.
func (m *Message) digest() uint64 {
	h := xxh3.New()
	fmt.Fprintf(h, "%d/", len(m.Key))
	_, _ = h.Write(m.Key) // a hash takes everything
	_, _ = h.Write(m.Value)
	return max(h.Sum64(), 1)
}
