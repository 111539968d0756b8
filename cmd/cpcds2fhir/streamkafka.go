package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"cpcds2fhir/pipeline/kafkaio"
	"cpcds2fhir/pipeline/streamrun"
)

// kafkaPartition is a partition that the consumer group has assigned to this process.
type kafkaPartition struct {
	*kafkaio.Assignment
	client   *kafkaio.Client
	maxBytes int

	mu      sync.Mutex
	topicID [16]byte // as Bounds has found it
}

var _ streamrun.Partition = (*kafkaPartition)(nil)

func (p *kafkaPartition) Topic() string    { return p.Assignment.Topic }
func (p *kafkaPartition) Number() int      { return p.Assignment.Partition }
func (p *kafkaPartition) Committed() int64 { return p.Assignment.Committed }

func (p *kafkaPartition) TopicID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return topicID(p.topicID)
}

// topicID is the id of a topic in positions, "" if it has none.
func topicID(id [16]byte) string {
	if id == [16]byte{} {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// Bounds implements streamrun.Partition.
func (p *kafkaPartition) Bounds(ctx context.Context) (first, end int64, err error) {
	list, err := p.client.Bounds(ctx, p.Topic())
	if err != nil {
		return 0, 0, err
	}
	d, err := p.client.Describe(ctx, p.Topic())
	if err != nil {
		return 0, 0, err
	}
	p.mu.Lock()
	p.topicID = d.Topics[0].ID
	p.mu.Unlock()
	for _, b := range list {
		if b.Partition == p.Number() {
			return b.Earliest, b.Latest, nil
		}
	}
	return 0, 0, fmt.Errorf("topic %s has no partition %d", p.Topic(), p.Number())
}

// Open implements streamrun.Partition.
func (p *kafkaPartition) Open(offset int64) streamrun.Feed {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.client.Reader(p.Topic(), p.Number(), offset, kafkaio.ReaderConfig{MaxBytes: p.maxBytes, MaxFetchBytes: int64(p.maxBytes), TopicID: p.topicID})
	return &kafkaFeed{reader: r}
}

// Commit implements streamrun.Partition.
func (p *kafkaPartition) Commit(ctx context.Context, next int64) error {
	return p.Assignment.Commit(ctx, next)
}

// kafkaFeed reads a partition.
type kafkaFeed struct {
	reader   *kafkaio.Reader
	messages []streamrun.Message
	headers  []streamrun.Header
}

// Fetch implements streamrun.Feed.
func (f *kafkaFeed) Fetch(ctx context.Context) (list []streamrun.Message, next, end int64, err error) {
	got, err := f.reader.Fetch(ctx)
	if err != nil {
		if !kafkaio.Retriable(err) && ctx.Err() == nil {
			err = streamrun.Stop(err)
		}
		return nil, 0, 0, err
	}
	clear(f.messages)
	f.messages, f.headers = f.messages[:0], f.headers[:0]
	for _, r := range got.Records {
		from := len(f.headers)
		for _, h := range r.Headers {
			f.headers = append(f.headers, streamrun.Header(h))
		}
		f.messages = append(f.messages, streamrun.Message{Offset: r.Offset, LeaderEpoch: r.LeaderEpoch, Time: r.Time, Key: r.Key, Value: r.Value,
			Headers: f.headers[from:len(f.headers):len(f.headers)]})
	}
	return f.messages, got.Next, max(got.LastStable, got.Next), nil
}

// Close implements streamrun.Feed.
func (f *kafkaFeed) Close() error { return f.reader.Close() }

// Headers of dead letters. The message's own headers stay.
const (
	deadPrefix    = "cpcds-dead-"
	deadTopic     = deadPrefix + "topic"
	deadPartition = deadPrefix + "partition"
	deadOffset    = deadPrefix + "offset"
	deadKey       = deadPrefix + "key" // of the message; absent if it has none
	deadTable     = deadPrefix + "table"
	deadStage     = deadPrefix + "stage"
	deadRule      = deadPrefix + "rule"
	deadElement   = deadPrefix + "element"
	deadProblems  = deadPrefix + "problems" // all of them, as JSON
	deadTime      = deadPrefix + "time"     // of the message
	deadSize      = deadPrefix + "size"     // of a value that is too large for the topic of dead letters, and stays in its own
	deadSource    = streamrun.SourceHeader  // of a replayed message: where it first was, the key of its dead letter
)

// deadLetters writes dead letters to a topic. The key is the position of the message, so that a
// compacted topic has each once.
type deadLetters struct {
	producer *kafkaio.Producer
	topic    string
}

var _ streamrun.DeadLetters = (*deadLetters)(nil)

// Write implements streamrun.DeadLetters.
func (d *deadLetters) Write(ctx context.Context, letters []streamrun.DeadLetter) error {
	records := make([]kafkaio.Record, 0, len(letters))
	for i := range letters {
		records = append(records, deadRecord(&letters[i]))
	}
	err := d.producer.Write(ctx, d.topic, kafkaio.ByKey, records)
	if !tooLarge(err) {
		return err
	}
	// One by one, and without the value of one that does not fit: the source topic has it.
	for i := range records {
		err := d.producer.Write(ctx, d.topic, kafkaio.ByKey, records[i:i+1])
		if tooLarge(err) {
			r := &records[i]
			r.Headers = append(r.Headers, kafkaio.Header{Key: deadSize, Value: []byte(strconv.Itoa(len(r.Value)))})
			r.Value = []byte{}
			err = d.producer.Write(ctx, d.topic, kafkaio.ByKey, records[i:i+1])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Resolve implements streamrun.DeadLetters.
func (d *deadLetters) Resolve(ctx context.Context, sources []string) error {
	var records []kafkaio.Record
	for _, s := range sources {
		records = append(records, kafkaio.Record{Key: []byte(s)})
	}
	return d.producer.Write(ctx, d.topic, kafkaio.ByKey, records)
}

// tooLarge reports whether the broker found a record too large.
func tooLarge(err error) bool {
	const messageTooLarge, recordListTooLarge = 10, 18
	b, ok := errors.AsType[*kafkaio.BrokerError](err)
	return ok && (b.Code == messageTooLarge || b.Code == recordListTooLarge)
}

// deadRecord is the record of a dead letter.
func deadRecord(d *streamrun.DeadLetter) kafkaio.Record {
	m := &d.Message
	key := d.Source()
	var headers []kafkaio.Header
	for _, h := range m.Headers {
		switch {
		case h.Key == deadSource:
		case strings.HasPrefix(h.Key, deadPrefix):
			continue
		}
		headers = append(headers, kafkaio.Header(h))
	}
	add := func(name string, value string) {
		if value != "" {
			headers = append(headers, kafkaio.Header{Key: name, Value: []byte(value)})
		}
	}
	add(deadTopic, d.Topic)
	add(deadPartition, strconv.Itoa(d.Partition))
	add(deadOffset, strconv.FormatInt(m.Offset, 10))
	if m.Key != nil {
		headers = append(headers, kafkaio.Header{Key: deadKey, Value: m.Key})
	}
	add(deadTable, d.Table)
	add(deadStage, string(d.Stage))
	add(deadRule, d.Problems[0].Rule)
	add(deadElement, d.Problems[0].Element)
	if problems, err := json.Marshal(firstProblems(d)); err == nil {
		add(deadProblems, string(problems))
	}
	if !m.Time.IsZero() {
		add(deadTime, m.Time.UTC().Format(time.RFC3339Nano))
	}
	value := m.Value
	if value == nil { // an empty value, because null would delete the dead letter itself
		value = []byte{}
		add(deadPrefix+"null", "true")
	}
	return kafkaio.Record{Key: []byte(key), Value: value, Headers: headers}
}

// firstProblems limits the problems in a header: a claim may have thousands of lines at fault.
func firstProblems(d *streamrun.DeadLetter) any { return d.Problems[:min(len(d.Problems), 20)] }
