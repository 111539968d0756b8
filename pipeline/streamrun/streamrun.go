// Package streamrun loads topics that never end: messages of partitions go in, and for each of them
// a resource is durable in the target, or it waits there for what it refers to, or it is a dead
// letter, before its offset is committed. It wires the packages of the engine together as batchrun
// does for extracts. What a message becomes is decided by the same packages: claims, tables and
// mappers.
//
// An Engine is made from a Config. Its Lane method runs one partition for as long as the caller owns
// it. The package knows no Kafka client: package cmd connects it with kafkaio.
package streamrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cpcds2fhir/mappers"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/claims"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/messages"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// Config describes a stream. Zero values mean defaults where a field says so.
type Config struct {
	Group    string // names the checkpoints and accounts of the stream in the target
	Layout   *layouts.Layout
	Version  *carin.Version
	Identity *fhir.Identity
	Repairs  pipeline.Repairs // zero is strict mode

	Target      pipeline.StreamTarget
	Voider      pipeline.Voider // of a target that can cancel its claims; nil is none
	DeadLetters DeadLetters
	Scratch     string // folder for temporary files

	Topics map[string]Topic // by name; a topic that is missing here has the zero value

	BatchBytes int           // a batch is loaded when its resources have this size; 0 is 1 MiB
	InFlight   int           // what the batches of all lanes may take together; with many lanes each is smaller; 0: no limit
	Linger     time.Duration // or this long after its first message, if the target is idle; 0: at once
	Late       time.Duration // how long a record waits for what it refers to; 0 is 24 hours
	Window     time.Duration // of accounts; 0 is an hour
	Drain      time.Duration // how long a lane that ends may take to load what it has; 0 is 5 seconds

	// Recreated and Gap say that a lane goes on if its topic was made anew, or if messages that were
	// never loaded are gone. By default it stops with an error.
	Recreated, Gap bool

	// OverBudget reports whether too much was rejected in a window; nil never does.
	OverBudget func(seen, rejected int64) bool

	Events Events
	Now    func() time.Time // nil is time.Now
}

// Topic says how the messages of a topic are written.
type Topic struct {
	Format messages.Format // nil is JSON
	Table  string          // the table of all messages, if it is not in their header; "" is found by the name of the topic
	Lines  *Lines          // each line of a claim is a message of its own; nil if a message is a claim
}

// TableHeader is the header of a message that names the table of its record: claims, members,
// coverages, providers or organizations.
const TableHeader = "cpcds-table"

// RecordHeader is the header of a message whose key is not that of its record: the record's own key. A
// message without a value deletes that record.
const RecordHeader = "cpcds-record"

// SourceHeader is the header of a message that was a dead letter: which one.
const SourceHeader = "cpcds-source"

// Message is one message of a partition.
type Message struct {
	Offset      int64
	LeaderEpoch int32
	Time        time.Time // the producer's clock, or the broker's
	Key, Value  []byte    // nil is null
	Headers     []Header
}

// header returns the value of a message's header, and whether it has one. The first of a name counts.
func (m *Message) header(key string) (value string, ok bool) {
	for _, h := range m.Headers {
		if h.Key == key {
			return string(h.Value), true
		}
	}
	return "", false
}

// Header is one header of a message.
type Header struct {
	Key   string
	Value []byte
}

// Partition is a partition that the caller owns. Its methods are safe for concurrent use.
type Partition interface {
	Topic() string
	Number() int
	TopicID() string
	Committed() int64 // the group's offset when the ownership began, -1 if there is none

	// Bounds returns the offsets of the first message and of the one after the last.
	Bounds(ctx context.Context) (first, end int64, err error)

	// Open reads the partition from an offset.
	Open(offset int64) Feed

	// Commit tells the broker how far everything is durable.
	Commit(ctx context.Context, next int64) error
}

// Feed reads messages. It belongs to one goroutine.
type Feed interface {
	// Fetch waits for messages for a short time; it may return none. Next is the offset to read from
	// afterwards, which may be beyond the last message; end is the offset after the last message of
	// the partition. The messages are valid until the next call.
	Fetch(ctx context.Context) (list []Message, next, end int64, err error)

	Close() error
}

// DeadLetters keeps messages that cannot become resources. Write returns nil once they are durable.
// It may be called again with the same ones. It is safe for concurrent use.
type DeadLetters interface {
	Write(ctx context.Context, letters []DeadLetter) error

	// Resolve removes dead letters that were replayed and are resources now, by the values of their
	// SourceHeader.
	Resolve(ctx context.Context, sources []string) error
}

// DeadLetter is a message that cannot become a resource, and why.
type DeadLetter struct {
	Topic     string
	Partition int
	Message   Message
	Table     string // "" if unknown
	Stage     Stage
	Problems  []pipeline.RejectProblem // names and places, never values; the first is the reason
}

// Source names the message that became the dead letter, also if it is a replay of that message.
func (d *DeadLetter) Source() string {
	if s, ok := d.Message.header(SourceHeader); ok {
		return s
	}
	return sourceOf(d.Topic, d.Partition, d.Message.Offset)
}

// Stage is where a message failed.
type Stage string

// The stages.
const (
	StageRoute  Stage = "route"  // which table it belongs to
	StageDecode Stage = "decode" // reading the message
	StageLayout Stage = "layout" // its fields do not fit the layout
	StageRules  Stage = "rules"  // the record breaks a rule
	StageLate   Stage = "late"   // what it refers to did not arrive in time
	StageTarget Stage = "target" // the target refuses it
)

// The rules of streams.
const (
	RuleUnknownTable = "message-of-unknown-table" // the header names no table of the layout
	RuleLayout       = "message-fits-no-layout"   // the fields do not fit the table
	RuleSeveral      = "message-with-several"     // claims
	RuleLate         = "waited-too-long"
	RuleTombstone    = "tombstone-ambiguous" // records of several tables have its key
	RuleTombstoneKey = "tombstone-without-key"
)

// Rules are the texts of the rules of streams.
var Rules = map[string]string{
	RuleUnknownTable: "the header " + TableHeader + " must name a table of the layout: claims, members, coverages, providers or organizations",
	RuleLayout:       "the fields of a message must fit the columns of its table in the layout",
	RuleSeveral:      "a message is one claim: all its lines must have the same claim key",
	RuleLate:         "what the record refers to must arrive in the time that the setting late gives it",
	RuleTombstone:    "a message without a value deletes the record that it keys; if records of several tables have the key, its header " + TableHeader + " must name the table",
	RuleTombstoneKey: "a message without a value must have a key: the record to delete",
}

// Events report what a stream does, so that cmd can turn it into logs and metrics. Every field may be
// nil. The functions are called from several goroutines at once and must be fast; they get names
// and numbers, never values.
type Events struct {
	// Opened says where a lane begins, and where the group's committed offset is.
	Opened func(topic string, partition int, from, committed int64)
	// Fetched says how far a lane has read, where the partition ends, and how old the first of the
	// messages is; zero if there are none.
	Fetched func(topic string, partition int, next, end int64, oldest time.Time)
	// Loaded says that a batch is durable.
	Loaded func(topic string, partition int, b Batch)
	// Blocked says that a lane cannot go on, why, and that it tries again.
	Blocked func(topic string, partition int, err error)
	// Committed says how long it took to commit an offset.
	Committed func(topic string, partition int, took time.Duration)
	// Again says that a batch is made again, because another lane changed what it was made from.
	Again func(topic string, partition int)
	// Ended says that a lane has ended, with its error.
	Ended func(topic string, partition int, err error)
	// Waiting says how many records wait for something.
	Waiting func(n int64)
}

// Batch describes a batch that is durable.
type Batch struct {
	Next     int64         // offset from which on nothing is durable
	Oldest   time.Time     // of its messages; zero if none has a time
	Took     time.Duration // to load it
	Bytes    int           // of its resources
	Messages MessageCount
	Account  *pipeline.Account
	Dead     map[string]int64 // dead letters by rule
}

// Engine runs the lanes of a stream.
type Engine struct {
	Config
	mapper  *mappers.Mapper
	claims  claims.Config
	tables  tables.Config
	base    *directory.Directory
	nothing *directory.Directory // an empty one
	refuses bool                 // the target may refuse any resource

	lanes    atomic.Int64
	kits     chan *kit
	spare    chan *batch // empty ones, with their memory
	pulses   sync.Map    // of the lanes
	going    sync.Map    // names of records that waited and that a lane is about to load
	learned  [cpcds.NumTables]learned
	arrivals chan directory.Unresolved // what arrived, for whatever lane has time

	mu       sync.Mutex
	window   time.Time
	seen     int64
	rejected int64
}

// New makes an engine. Close it.
func New(c *Config) (*Engine, error) {
	for name, missing := range map[string]bool{"Group": c.Group == "", "Layout": c.Layout == nil, "Version": c.Version == nil,
		"Identity": c.Identity == nil, "Target": c.Target == nil, "DeadLetters": c.DeadLetters == nil, "Scratch": c.Scratch == ""} {
		if missing {
			return nil, fmt.Errorf("the config of the stream has no %s", name)
		}
	}
	if strings.ContainsAny(c.Group, "/\x00") {
		return nil, errors.New("the name of the group has a slash")
	}
	e := &Engine{Config: *c, arrivals: make(chan directory.Unresolved, 1024)}
	e.BatchBytes = cmp.Or(c.BatchBytes, 1<<20)
	e.Late, e.Window, e.Drain = cmp.Or(c.Late, 24*time.Hour), cmp.Or(c.Window, time.Hour), cmp.Or(c.Drain, 5*time.Second)
	if e.Now == nil {
		e.Now = time.Now
	}
	if r, ok := c.Target.(pipeline.Refuser); ok {
		e.refuses = r.Refuses()
	}
	e.spare = make(chan *batch, 2*runtime.GOMAXPROCS(0)+2)
	e.kits = make(chan *kit, runtime.GOMAXPROCS(0)+1)
	for range cap(e.kits) {
		e.kits <- e.newKit()
	}
	e.mapper = mappers.New(c.Version, mappers.Systems(c.Layout.Systems))
	checker := carin.NewChecker(c.Version)
	e.claims = claims.Config{Layout: c.Layout, Version: c.Version, Rules: checker, Mapper: e.mapper, Repairs: c.Repairs, Identity: c.Identity, Voider: c.Voider}
	// A row that is older than what the directory has changes nothing, as in a replay.
	e.tables = tables.Config{Layout: c.Layout, Rules: checker, Mapper: e.mapper, Repairs: c.Repairs, Identity: c.Identity, Replay: true}
	var err error
	if e.nothing, err = directory.Open(c.Scratch+"/none", c.Scratch, 0); err != nil {
		return nil, err
	}
	if e.base, err = e.constants(e.nothing); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Close releases what the engine has open.
func (e *Engine) Close() error {
	e.nothing.Close()
	return nil
}

// windowOf is the window that accounts what becomes durable now.
func (e *Engine) windowOf(at time.Time) time.Time { return at.UTC().Truncate(e.Window) }

// BudgetError says that a stream was stopped because too much was rejected.
type BudgetError struct{ Rejected, Seen int64 }

func (e *BudgetError) Error() string {
	return fmt.Sprintf("%d of the %d records of this window were rejected, more than max_rejects allows", e.Rejected, e.Seen)
}

// judge checks the budget after a batch.
func (e *Engine) judge(window time.Time, a *pipeline.Account) error {
	if e.OverBudget == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if window.After(e.window) {
		e.window, e.seen, e.rejected = window, 0, 0
	}
	seen, rejected := a.Judged()
	e.seen, e.rejected = e.seen+seen, e.rejected+rejected
	if e.OverBudget(e.seen, e.rejected) {
		return &BudgetError{e.rejected, e.seen}
	}
	return nil
}

// table finds the table of a message. known is false if its header names none.
func (e *Engine) table(topic string, m *Message) (t cpcds.Table, known bool) {
	if name, ok := m.header(TableHeader); ok {
		t, known = cpcds.ParseTable(name)
		return t, known && e.Layout.Table(t) != nil
	}
	name := cmp.Or(e.Topics[topic].Table, topic)
	for t := range cpcds.NumTables {
		if e.Layout.Table(t) != nil && (name == t.String() || strings.HasSuffix(name, t.String())) {
			return t, true
		}
	}
	return cpcds.Claims, e.Layout.Table(cpcds.Claims) != nil
}
