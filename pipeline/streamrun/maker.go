package streamrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/claims"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/messages"
	"cpcds2fhir/pipeline/referenced"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// maker makes batches of messages: what each of them becomes. It belongs to one lane.
type maker struct {
	*Engine
	Target pipeline.StreamTarget // of the lane
	part   Partition
	lane   string // its name
	pulse  *pulse
	dir    *directory.Live
	kit    *kit // while messages are made
	raw    directory.Keys
	flight *batch // on its way to the target; nil if there is none

	names  []string // to prefetch
	looked map[lookup]bool

	due map[string]time.Time // when to look at claims whose lines are messages of their own
}

// recall reads records of the target for a directory.
type recall struct {
	ctx    context.Context
	target pipeline.StreamTarget
}

// recallTries is how often a record is read until the batch that needs it is given up: a batch makes many
// reads, and would have to be made again from its first message.
const recallTries = 4

// Recall implements directory.Records.
func (r recall) Recall(names []string) (values [][]byte, err error) {
	pause := backoff{}
	for range recallTries {
		if values, err = r.target.Recall(r.ctx, names); err == nil || !passing(err) || r.ctx.Err() != nil {
			break
		}
		pause.wait(r.ctx)
	}
	return values, err
}

// Each implements directory.Records.
func (r recall) Each(prefix string, f func(name string, value []byte) error) error {
	return r.target.Each(r.ctx, prefix, func(x pipeline.Record) error { return f(x.Name, x.Value) })
}

func newMaker(work context.Context, l *lane) *maker {
	e := l.Engine
	m := &maker{Engine: e, part: l.part, lane: l.name, Target: l.Target, pulse: &l.pulse, raw: directory.NewKeys(e.Identity, e.Layout), due: map[string]time.Time{}, looked: map[lookup]bool{}}
	m.dir = directory.NewLive(e.base, recall{work, l.Target})
	return m
}

// item is a message on its way to a batch.
type item struct {
	*Message
	table   cpcds.Table
	place   messages.Place
	fault   *DeadLetter // why it cannot be read
	waited  *release    // it is a record that waited
	expired bool        // and waits no longer
	replay  bool        // it was a dead letter before
}

// source is the dead letter that the message was, "" if it was none. One that has waited too long may
// have become one of a process that died before it could say so, and what it waited for has come since.
func (it *item) source() string {
	s, ok := it.header(SourceHeader)
	if r := it.waited; !ok && r != nil && r.expired && !r.Provisional {
		return sourceOf(r.Topic, r.Partition, r.Offset)
	}
	return s
}

// source is item.source. A record that is made again may have been refused by the target before.
func (m *maker) source(it *item) string {
	if s := it.source(); s != "" || !m.refuses || !it.again() {
		return s
	}
	return sourceOf(it.waited.Topic, it.waited.Partition, it.waited.Offset)
}

// sourceOf names the dead letter of a message.
func sourceOf(topic string, partition int, offset int64) string {
	return fmt.Sprintf("%s/%d/%d", topic, partition, offset)
}

// again reports whether the record is made again because something that it refers to has arrived.
func (it *item) again() bool { return it.waited != nil && it.waited.Provisional }

// messages adds messages to a batch. An error of the format that may pass, such as that of a registry
// that is down, leaves those before it in the batch.
func (m *maker) messages(ctx, work context.Context, b *batch, list []Message) error {
	if err := m.takeKit(ctx); err != nil {
		return err
	}
	defer m.returnKit()
	items := make([]item, 0, len(list))
	var failed error
	for i := range list {
		it := item{Message: &list[i]}
		if failed = m.read(ctx, &it); failed != nil {
			break
		}
		items = append(items, it)
	}
	if err := m.make(work, b, items); err != nil {
		return err
	}
	for i := range items {
		x := &items[i]
		b.messages.Read++
		b.at.Next, b.at.LeaderEpoch, b.at.TopicID = x.Offset+1, x.LeaderEpoch, m.part.TopicID()
		if i == len(items)-1 {
			b.at.Last, b.at.Digest = x.Offset, x.digest()
		}
		if !x.Time.IsZero() && (b.oldest.IsZero() || x.Time.Before(b.oldest)) {
			b.oldest = x.Time
		}
	}
	return failed
}

// takeKit waits for a kit.
func (m *maker) takeKit(ctx context.Context) error {
	m.pulse.resting(func() {
		select {
		case m.kit = <-m.kits:
		case <-ctx.Done():
		}
	})
	if m.kit == nil {
		return ctx.Err()
	}
	m.kit.use(m.Engine, m.dir)
	return nil
}

// returnKit lets another lane use the kit.
func (m *maker) returnKit() {
	m.kit.reset()
	m.kits <- m.kit
	m.kit = nil
}

// make makes items, which were read with the kit.
func (m *maker) make(ctx context.Context, b *batch, items []item) error {
	if len(items) > 0 && b.begun.IsZero() {
		b.begun = time.Now()
	}
	m.kit.convert()
	m.prefetch(items)
	b.broken = true // until it has all of the items
	for i := range items {
		dead := len(b.dead)
		if err := m.item(ctx, b, &items[i]); err != nil {
			return err
		}
		if source := m.source(&items[i]); source != "" && len(b.dead) == dead {
			b.resolved = append(b.resolved, source)
		}
	}
	if len(b.completed) > 0 {
		m.kit.reset()
		if err := m.assemble(ctx, b); err != nil {
			return err
		}
	}
	if err := m.dir.Err(); err != nil {
		return err
	}
	b.broken = false
	return nil
}

// topicOf is the topic of a message: a record that waited may be one of another lane.
func (m *maker) topicOf(it *item) string {
	if it.waited != nil {
		return it.waited.Topic
	}
	return m.part.Topic()
}

// read finds the table of a message and reads its fields.
func (m *maker) read(ctx context.Context, it *item) error {
	var known bool
	it.table, known = m.table(m.topicOf(it), it.Message)
	_, it.replay = it.header(ReplayHeader)
	if !known {
		it.fault = m.letter(it, StageRoute, pipeline.RejectProblem{Rule: RuleUnknownTable})
		return nil
	}
	if it.Value == nil {
		return nil
	}
	format := m.format(m.topicOf(it))
	var place messages.Place
	err := messages.CheckHeaders(format, func(name string) bool { _, ok := it.header(name); return ok })
	if err == nil {
		place, err = m.kit.readers[it.table].add(ctx, format, it.Value, it.Offset)
	}
	var bad *messages.Error
	var unfit *layoutError
	switch {
	case err == nil:
		it.place = place
	case errors.As(err, &unfit):
		it.fault = m.letter(it, StageLayout, pipeline.RejectProblem{Rule: RuleLayout, Columns: unfit.columns})
	case messages.IsRetriable(err) || !errors.As(err, &bad):
		return err
	default:
		p := pipeline.RejectProblem{Rule: bad.Rule}
		if bad.Field != "" {
			p.Columns = []string{bad.Field}
		}
		it.fault = m.letter(it, StageDecode, p)
	}
	return nil
}

func (m *maker) format(topic string) messages.Format {
	if f := m.Topics[topic].Format; f != nil {
		return f
	}
	return messages.JSON()
}

// item adds a message to a batch.
func (m *maker) item(ctx context.Context, b *batch, it *item) error {
	switch {
	case it.fault != nil:
		m.bury(b, it, it.fault)
		return nil
	case it.Value == nil:
		return m.tombstone(ctx, b, it)
	case it.table == cpcds.Claims:
		return m.claim(ctx, b, it)
	}
	return m.row(ctx, b, it)
}

// claim makes the claim of a message.
func (m *maker) claim(ctx context.Context, b *batch, it *item) error {
	rows := m.kit.readers[cpcds.Claims].batch(it.place.Group)
	from, to := it.place.From, it.place.To
	for i := from + 1; i < to; i++ {
		if !rows.SameKey(from, i) {
			m.bury(b, it, m.letter(it, StageRules, pipeline.RejectProblem{Rule: RuleSeveral}))
			return nil
		}
	}
	key := rows.Key(from)
	if l, count := m.lines(it, rows); l != nil && key != "" && it.waited == nil {
		return m.line(b, it, key, l, count)
	}
	if key != "" && it.waited == nil {
		if deps := m.ahead(m.raw.Raw(fhir.ExplanationOfBenefit, key)); deps != nil {
			m.wait(b, it, key, deps)
			return nil
		}
	}
	var a pipeline.Account
	m.kit.scratch.Reset()
	segment := []rowbatch.Segment{{Batch: rows, From: from, To: to}}
	var r *claims.Result
	if key == "" {
		r = m.kit.claims.Keyless(&a, segment[0])
	} else {
		r = m.kit.claims.Build(ctx, &m.kit.scratch, &a, key, segment)
	}
	if err := m.kit.claims.Err(); err != nil {
		return err
	}
	it.expired = it.expired && r.Reject != nil // what it waited for may have come all the same
	if r.Reject != nil && !it.expired {
		if deps := awaited(r.Reject.Problems, m.kit.claims.Unresolved()); deps != nil && r.Fate == claims.Rejected {
			m.wait(b, it, key, deps)
			return nil
		}
	}
	m.went(b, it)
	switch r.Fate {
	case claims.Accepted:
		if err := m.referenced(b, r.Referenced); err != nil {
			return err
		}
		again := m.refusedBefore(record(fhir.ExplanationOfBenefit, m.raw.Raw(fhir.ExplanationOfBenefit, key)), it)
		if it.replay && !again {
			old, err := m.outdated(ctx)
			if err != nil {
				return err
			}
			if old {
				a.Claims.Stale++
				m.count(b, it, func(c *MessageCount) { c.Records++ })
				break
			}
		}
		c := m.made(b, key, r)
		version := ""
		for _, x := range m.kit.scratch.All() {
			version = x.SourceVersion // they all have that of the claim
		}
		m.settle(b, it, record(fhir.ExplanationOfBenefit, m.raw.Raw(fhir.ExplanationOfBenefit, key)), strings.Clone(version), m.kit.claims.Unresolved(), r.Referenced)
		m.refusable(b, refusable{from: c.from, to: c.to, how: m.countedAs(it, asRecord), account: accountOf(&a, it),
			marks: record(fhir.ExplanationOfBenefit, m.raw.Raw(fhir.ExplanationOfBenefit, key))}, it, r.Reject)
		if it.again() {
			return nil // it was counted when it was loaded
		}
		b.claims = append(b.claims, c)
		m.count(b, it, func(c *MessageCount) { c.Records++ })
	case claims.Skipped:
		m.count(b, it, func(c *MessageCount) { c.Skipped++ })
	}
	if r.Reject != nil {
		m.reject(b, it, r.Reject, r.Fate == claims.Rejected)
	}
	b.account.Add(&a)
	return nil
}

// made adds the resources of a claim to a batch.
func (m *maker) made(b *batch, key string, r *claims.Result) madeClaim {
	c := madeClaim{from: b.out.Len(), partly: r.Partly, voided: r.Voided}
	m.keepParts(key)
	for _, x := range m.kit.scratch.All() {
		b.out.Add(x)
	}
	c.to = b.out.Len()
	return c
}

// row makes the resources of the rows of a message of a small table.
func (m *maker) row(ctx context.Context, b *batch, it *item) error {
	rows, t := m.kit.readers[it.table].batch(it.place.Group), m.kit.tables[it.table]
	// The directory is about to change, so claims must look again.
	m.kit.forget()
	var a pipeline.Account
	m.kit.scratch.Reset()
	var rejected *pipeline.Reject
	var deps, unresolved []directory.Unresolved
	var only []referenced.Resource
	for i := it.place.From; i < it.place.To; i++ {
		if it.replay {
			old, err := m.outdatedBy(ctx, t, rows, i)
			if err != nil {
				return err
			}
			if old && !m.refusedBefore(rowRecord(t, rows, i), it) {
				a.Rows[it.table].Read++
				a.Rows[it.table].Skipped++
				pipeline.Count(&a.Skips, it.table.String()+pipeline.RuleDuplicateKey, 1)
				continue
			}
		}
		if err := t.Index(m.dir, rows, i, 0, it.Offset); err != nil {
			return err
		}
		mentioned, reject := t.Build(&m.kit.scratch, &a, rows, i, 0, it.Offset, m.dir)
		if err := m.dir.Err(); err != nil {
			return err
		}
		if reject != nil {
			rejected = reject
			deps = append(deps, awaited(reject.Problems, t.Unresolved())...)
			continue
		}
		if err := m.referenced(b, mentioned); err != nil {
			return err
		}
		unresolved, only = append(unresolved, t.Unresolved()...), append(only, mentioned...)
	}
	if len(deps) > 0 && it.place.To == it.place.From+1 && !it.expired {
		m.wait(b, it, "", deps)
		return nil
	}
	it.expired = it.expired && rejected != nil
	m.went(b, it)
	of := refusable{from: b.out.Len(), to: b.out.Len() + m.kit.scratch.Len(), table: it.table, how: m.countedAs(it, asRecord), account: accountOf(&a, it)}
	if rejected != nil {
		of.how = asNothing // it is a dead letter anyway
	}
	if m.refuses && it.place.To == it.place.From+1 {
		of.marks = rowRecord(t, rows, it.place.From)
		m.refusedBefore(of.marks, it) // it is not any longer, unless it is again
	}
	m.refusable(b, of, it, rejected)
	for _, x := range m.kit.scratch.All() {
		b.out.Add(x)
		if raw, ok := fhir.ParseID(x.ID); ok && m.kit.scratch.Len() == 1 {
			m.settle(b, it, record(x.Type, raw), strings.Clone(x.SourceVersion), unresolved, only)
		}
	}
	if it.again() {
		m.kit.forget()
		return nil
	}
	b.account.Add(&a)
	switch {
	case rejected != nil:
		m.reject(b, it, rejected, true)
	case m.kit.scratch.Len() == 0 && a.Rows[it.table].Skipped > 0 && len(a.Skips) > 0 && a.Skips[it.table.String()+pipeline.RuleDuplicateKey] == 0:
		m.count(b, it, func(c *MessageCount) { c.Skipped++ })
	default:
		m.count(b, it, func(c *MessageCount) { c.Records++ })
	}
	m.kit.forget()
	return nil
}

// count counts what became of a message; a record that had waited was counted before.
func (m *maker) count(b *batch, it *item, f func(*MessageCount)) {
	if it.waited == nil {
		f(&b.messages)
	}
}

// reject makes a dead letter of a record that broke rules. whole says that nothing of it was loaded.
func (m *maker) reject(b *batch, it *item, r *pipeline.Reject, whole bool) {
	stage := StageRules
	if it.expired {
		stage = StageLate
	}
	problems := r.Problems
	if it.expired {
		problems = append([]pipeline.RejectProblem{{Rule: RuleLate}}, problems...)
	}
	d := m.letter(it, stage, problems...)
	if whole {
		m.bury(b, it, d)
	} else {
		b.dead = append(b.dead, *d)
	}
}

// bury adds a dead letter.
func (m *maker) bury(b *batch, it *item, d *DeadLetter) {
	b.dead = append(b.dead, *d)
	b.heldBytes += len(d.Message.Value)
	m.count(b, it, func(c *MessageCount) { c.DeadLetters++ })
	m.died(b, it)
}

// letter makes the dead letter of a message. Its memory is its own.
func (m *maker) letter(it *item, stage Stage, problems ...pipeline.RejectProblem) *DeadLetter {
	d := &DeadLetter{Topic: m.part.Topic(), Partition: m.part.Number(), Message: it.clone(), Stage: stage, Problems: slices.Clone(problems)}
	if stage != StageRoute {
		d.Table = it.table.String()
	}
	if it.waited != nil {
		d.Topic, d.Partition = it.waited.Topic, it.waited.Partition
	}
	for i := range d.Problems {
		d.Problems[i].Input, d.Problems[i].Row = "", 0 // they are the message
	}
	return d
}

// clone copies a message.
func (m *Message) clone() Message {
	c := *m
	c.Key, c.Value = bytes.Clone(m.Key), bytes.Clone(m.Value)
	c.Headers = make([]Header, len(m.Headers))
	for i, h := range m.Headers {
		c.Headers[i] = Header{strings.Clone(h.Key), bytes.Clone(h.Value)}
	}
	return c
}
