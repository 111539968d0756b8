package streamrun

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/claims"
	"cpcds2fhir/pipeline/messages"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// Lines says how the lines of a claim come together if each is a message of its own. They must be in
// one partition. A message may instead name the number of lines in its header LinesHeader.
type Lines struct {
	Count string        // column that has the number of messages of the claim; "" if there is none
	Quiet time.Duration // without a count, the claim is complete when no line was published for so long; 0 is 2 seconds
}

// LinesHeader is the header of a message that is one line of a claim: how many messages the claim has.
const LinesHeader = "cpcds-lines"

// The lines of a claim stand in the target until they are complete, and then as long as a late line
// may come, which makes the claim again:
//
//	lines/<claim>          the messages (type lined)
//	open/<lane>/<claim>    when to look at the claim again
const (
	linesSpace = "lines/"
	openSpace  = "open/"
)

// lined is the messages of a claim that came so far.
type lined struct {
	Key      string      `json:"key"`
	Since    time.Time   `json:"since"`
	Last     time.Time   `json:"last"`
	Done     bool        `json:"done,omitempty"`   // the claim had its lines, and was made or rejected
	Made     bool        `json:"made,omitempty"`   // it became a resource
	Failed   bool        `json:"failed,omitempty"` // it broke a rule: its messages may be dead letters
	Looks    int         `json:"looks,omitempty"`  // since the last line, for what it refers to and no table has
	Only     []string    `json:"only,omitempty"`   // ids of resources that it and other claims mention
	Messages []lineOfOne `json:"messages"`
}

type lineOfOne struct {
	Offset  int64     `json:"offset"`
	Time    time.Time `json:"time"`
	Key     []byte    `json:"key"`
	Headers []Header  `json:"headers,omitempty"`
	Value   []byte    `json:"value"`
}

// lines returns how a claim's lines come together, nil if the message is a whole claim, and how many
// messages there will be; 0 is unknown.
func (m *maker) lines(it *item, rows *rowbatch.Batch) (*Lines, int) {
	l := m.Topics[m.topicOf(it)].Lines
	count, ok := it.header(LinesHeader)
	if ok {
		l = cmp.Or(l, &Lines{})
	}
	if l == nil {
		return nil, 0
	}
	if l.Count != "" && count == "" {
		for _, c := range rows.Input.RawColumns() {
			if _, name, grouped := strings.Cut(c.Name, "\x1f"); name == l.Count || !grouped && c.Name == l.Count {
				count = rows.Raw(c, it.place.From)
			}
		}
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 {
		n = 0
	}
	return l, n
}

// line adds a line to its claim.
func (m *maker) line(b *batch, it *item, key string, l *Lines, count int) error {
	raw := m.raw.Raw(fhir.ExplanationOfBenefit, key)
	name := linesSpace + string(raw[:])
	now := m.Now().UTC()
	x := lined{Key: strings.Clone(key), Since: now}
	if v := m.dir.Other(name); v != nil {
		if err := json.Unmarshal(v, &x); err != nil {
			return stopf("read the lines of a claim: they are damaged")
		}
	}
	b.messages.Records++
	if slices.ContainsFunc(x.Messages, func(o lineOfOne) bool { return bytes.Equal(o.Value, it.Value) }) {
		return m.dir.Err() // it was published twice
	}
	c := it.clone()
	x.Messages = append(x.Messages, lineOfOne{c.Offset, c.Time, c.Key, c.Headers, c.Value})
	x.Last, x.Looks = now, 0
	m.keepLines(name, &x)
	if x.Done || count > 0 && len(x.Messages) >= count {
		b.complete(name)
		return nil
	}
	m.openLines(name, now.Add(cmp.Or(l.Quiet, 2*time.Second)))
	return m.dir.Err()
}

func (m *maker) keepLines(name string, x *lined) {
	v, err := json.Marshal(x)
	if err != nil {
		panic(err) // texts, bytes and times always marshal
	}
	m.dir.Change(name, v)
}

// openLines says when to look at a claim again.
func (m *maker) openLines(name string, at time.Time) {
	m.dir.Change(m.openName(name), []byte(at.Format(time.RFC3339Nano)))
	m.due[name] = at
}

func (m *maker) openName(lines string) string {
	return openSpace + m.lane + "/" + strings.TrimPrefix(lines, linesSpace)
}

// complete says that a claim has all its lines.
func (b *batch) complete(name string) {
	if !slices.Contains(b.completed, name) {
		b.completed = append(b.completed, name)
	}
}

// readDue finds the claims of the lane whose lines an owner before was waiting for.
func (m *maker) readDue(ctx context.Context) error {
	clear(m.due)
	prefix := openSpace + m.lane + "/"
	return m.Target.Each(ctx, prefix, func(r pipeline.Record) error {
		at, err := time.Parse(time.RFC3339Nano, string(r.Value))
		if err != nil {
			return stopf("read the lines of a claim: they are damaged")
		}
		m.due[linesSpace+strings.Clone(r.Name[len(prefix):])] = at
		return nil
	})
}

// quiet makes the claims for which no line was published for long enough. until is a time up to which
// the lane has all messages: a lane that is behind does not take its own delay for that of the source.
func (m *maker) quiet(ctx context.Context, b *batch, until time.Time) error {
	for name, at := range m.due {
		if !at.After(until) && !slices.Contains(b.failed, name) {
			delete(m.due, name)
			b.complete(name)
		}
	}
	if len(b.completed) == 0 {
		return nil
	}
	if err := m.takeKit(ctx); err != nil {
		return err
	}
	defer m.returnKit()
	b.broken = true
	if err := m.assemble(ctx, b); err != nil {
		return err
	}
	b.broken = false
	return m.dir.Err()
}

// assemble makes the claims that have their lines, with an empty kit.
func (m *maker) assemble(ctx context.Context, b *batch) error {
	list := b.completed
	b.completed = nil
	var found []lined
	var names []string
	var places [][]messages.Place
	r := m.kit.readers[cpcds.Claims]
	for _, name := range list {
		v := m.dir.Other(name)
		var x lined
		if v == nil || json.Unmarshal(v, &x) != nil {
			continue
		}
		if x.Done && m.Now().Sub(x.Last) >= m.Late { // no late line will come
			m.closeLines(name)
			continue
		}
		var at []messages.Place
		for _, o := range x.Messages {
			p, err := r.add(ctx, m.format(m.part.Topic()), o.Value, o.Offset)
			if err != nil {
				return err // it was read when it came
			}
			at = append(at, p)
		}
		found, names, places = append(found, x), append(names, name), append(places, at)
	}
	m.kit.convert()
	for i := range found {
		var segments []rowbatch.Segment
		for _, p := range places[i] {
			segments = append(segments, rowbatch.Segment{Batch: r.batch(p.Group), From: p.From, To: p.To})
		}
		if err := m.assembled(ctx, b, names[i], &found[i], segments); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) closeLines(name string) {
	m.dir.Change(name, nil)
	m.dir.Change(m.openName(name), nil)
	delete(m.due, name)
}

// assembled makes the claim of several messages.
func (m *maker) assembled(ctx context.Context, b *batch, name string, x *lined, segments []rowbatch.Segment) error {
	var a pipeline.Account
	m.kit.scratch.Reset()
	r := m.kit.claims.Build(ctx, &m.kit.scratch, &a, x.Key, segments)
	if err := m.kit.claims.Err(); err != nil {
		return err
	}
	now := m.Now().UTC()
	if r.Reject != nil && r.Fate == claims.Rejected && now.Sub(x.Since) < m.Late && awaited(r.Reject.Problems, m.kit.claims.Unresolved()) != nil {
		m.openLines(name, now.Add(retryLines)) // its member or coverage may still arrive
		return nil
	}
	first := !x.Made
	if r.Reject != nil && (!x.Failed || slices.Contains(b.failed, name)) {
		// That dead letters are about to be written must be durable before they are: if the batch with
		// them does not arrive, and a missing line does, its claim must remove them.
		if !x.Failed {
			x.Failed = true
			b.failed = append(b.failed, name)
		}
		m.keepLines(name, x)
		m.openLines(name, now)
		return m.dir.Err()
	}
	if r.Reject != nil {
		stage := StageRules
		if now.Sub(x.Since) >= m.Late && first {
			stage = StageLate
		}
		for _, o := range x.Messages {
			it := &item{Message: &Message{Offset: o.Offset, Time: o.Time, Key: o.Key, Headers: o.Headers, Value: o.Value}, table: cpcds.Claims}
			b.dead = append(b.dead, *m.letter(it, stage, r.Reject.Problems...))
		}
	}
	if r.Fate == claims.Accepted {
		if err := m.referenced(b, r.Referenced); err != nil {
			return err
		}
		ids := mentioned(r.Referenced)
		m.dropOrphans(b, x.Only, ids)
		x.Only = ids
		c := m.made(b, x.Key, r)
		if first {
			b.claims = append(b.claims, c)
		}
		m.refusableLines(b, c, x, r, &a, first)
		x.Made = true
		if (x.Failed || m.refuses && !first) && r.Reject == nil { // a line was missing, or the target has refused it before
			for _, o := range x.Messages {
				b.resolved = append(b.resolved, fmt.Sprintf("%s/%d/%d", m.part.Topic(), m.part.Number(), o.Offset))
			}
			x.Failed = false
		}
	}
	if first && (x.Made || !x.Done) {
		b.account.Add(&a)
	}
	x.Done = true
	again := x.Last.Add(m.Late)
	if len(m.kit.claims.Unresolved()) > 0 { // it may mean something else when a provider or payer arrives
		if look := now.Add(retryLines << min(x.Looks, 20)); look.Before(again) {
			again = look
		}
		x.Looks++
	}
	m.keepLines(name, x)
	m.openLines(name, again)
	return m.dir.Err()
}

// retryLines is how long a claim of several messages waits before it looks for its member again.
const retryLines = 3 * time.Second
