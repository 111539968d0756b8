package streamrun

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/claims"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// What a target refuses becomes dead letters. It says so when a batch is sealed, and may seal it again, so
// the dead letters stand in the target first, durable together with the position:
//
//	refused/<lane>/<source>   a dead letter that may not be written yet (type refusedLetter)
//
// Then the lane writes them, and removes the records with the next batch. The next owner of the lane writes
// what is left.
//
//	again/<type><key>         the source of the last refused message of a claim or row
//
// A replay replaces nothing that is as new as itself. But what was refused may be as new as what the target
// has, because a record is also made again when something arrives; so its replay may.
const (
	refusedSpace = "refused/"
	againSpace   = "again/"
)

// refusable is what messages have become that the target may refuse.
type refusable struct {
	from, to int // its resources in the batch
	table    cpcds.Table
	how      countedAs
	account  *pipeline.Account // its rows and repairs, if they are in the account of the batch
	letters  []DeadLetter      // if the target refuses it; without what that says
	marks    []byte            // the record of which it will be said that it was refused; nil is none
	restore  []pipeline.Record // what it has removed, to be put back if the target refuses it
}

// countedAs says as what messages were counted that become dead letters.
type countedAs uint8

const (
	asNothing  countedAs = iota // before, or as dead letters anyway
	asRecord                    // MessageCount.Records
	asDeletion                  // .Deletions
	asReleased                  // .Released
)

// countedAs says as what a message is counted that is counted as how if it did not wait.
func (m *maker) countedAs(it *item, how countedAs) countedAs {
	switch {
	case it.waited == nil:
		return how
	case it.waited.Provisional || it.expired:
		return asNothing
	}
	return asReleased
}

// accountOf is the account of a record, nil if it was counted when it was made before.
func accountOf(a *pipeline.Account, it *item) *pipeline.Account {
	if it.again() {
		return nil
	}
	return a
}

// refusable keeps a message until the target has not refused what it has become. reject is that of its
// rejected part; nil is none.
func (m *maker) refusable(b *batch, x refusable, it *item, reject *pipeline.Reject) {
	if !m.refuses {
		return
	}
	if x.from == x.to {
		return
	}
	if it.table == cpcds.Claims {
		x.table = cpcds.Claims
	}
	x.letters = []DeadLetter{*m.refusedLetter(it, reject)}
	b.heldBytes += len(it.Value)
	b.records = append(b.records, x)
}

// refusedBefore reports whether the target has refused this message of a record, and no other message of it
// came since. From now on it counts as not refused.
func (m *maker) refusedBefore(record []byte, it *item) bool {
	if !m.refuses || record == nil {
		return false
	}
	name := againSpace + string(record)
	v := m.dir.Other(name)
	if v == nil {
		return false
	}
	source := string(v)
	m.dir.Change(name, nil)
	return source == m.letterSource(it)
}

// letterSource names the dead letter that a message becomes.
func (m *maker) letterSource(it *item) string {
	if s, ok := it.header(SourceHeader); ok {
		return s
	}
	if it.waited != nil {
		return sourceOf(it.waited.Topic, it.waited.Partition, it.Offset)
	}
	return sourceOf(m.part.Topic(), m.part.Number(), it.Offset)
}

// rowRecord is the record of a row of a small table, nil if it has no key.
func rowRecord(t *tables.Builder, rows *rowbatch.Batch, i int) []byte {
	resource, _ := t.Identify(rows, i)
	typ, id, err := fhir.SplitReference(resource)
	if err != nil {
		return nil
	}
	raw, ok := fhir.ParseID(id)
	if !ok {
		return nil
	}
	return record(typ, raw)
}

// refusableLines is refusable for a claim of several messages.
func (m *maker) refusableLines(b *batch, c madeClaim, x *lined, r *claims.Result, a *pipeline.Account, first bool) {
	if !m.refuses || c.from == c.to {
		return
	}
	of := refusable{from: c.from, to: c.to, table: cpcds.Claims}
	if first {
		of.account = a
	}
	for _, o := range x.Messages {
		it := &item{Message: &Message{Offset: o.Offset, Time: o.Time, Key: o.Key, Headers: o.Headers, Value: o.Value}, table: cpcds.Claims}
		of.letters = append(of.letters, *m.refusedLetter(it, r.Reject))
		b.heldBytes += len(o.Value)
	}
	b.records = append(b.records, of)
}

func (m *maker) refusedLetter(it *item, reject *pipeline.Reject) *DeadLetter {
	if reject == nil {
		return m.letter(it, StageTarget)
	}
	return m.letter(it, StageTarget, reject.Problems...)
}

// anyRefused reports whether the target has refused one of the resources [from, to), and says why.
func anyRefused(outcomes []pipeline.Outcome, refusals pipeline.Refusals, from, to int) bool {
	for i := from; i < to && len(refusals) > 0; i++ {
		if outcomes[i] == pipeline.Refused && refusals[i] != nil {
			return true
		}
	}
	return false
}

// refuse adds to the commit of a batch what the target has refused.
func (b *batch) refuse(l *lane, c *pipeline.StreamCommit, outcomes []pipeline.Outcome, refusals pipeline.Refusals) {
	var resources []string
	var ids []string
	for _, r := range b.out.All() {
		resources, ids = append(resources, fhir.Reference(r.Type, r.ID)), append(ids, strings.Clone(r.ID))
	}
	var undone []string
	var restored []pipeline.Record
	mentioned := func(from, to int) { // resources that only claims mention are in none of the records
		for i := from; i < to; i++ {
			if anyRefused(outcomes, refusals, i, i+1) {
				pipeline.Count(&b.total.Rejects, refusals[i].Rule, 1)
				undone = append(undone, onlySpace+ids[i]) // so that the next claim that mentions it tries again
			}
		}
	}
	marked := func(x *refusable) {
		restored = append(restored, x.restore...)
		if x.marks != nil && len(x.letters) == 1 {
			restored = append(restored, pipeline.Record{Name: againSpace + string(x.marks), Value: []byte(x.letters[0].Source())})
		}
	}
	next := 0
	for i := range b.records {
		x := &b.records[i]
		mentioned(next, x.from)
		next = x.to
		var problems []pipeline.RejectProblem
		for k := x.from; k < x.to; k++ {
			if anyRefused(outcomes, refusals, k, k+1) {
				p := refusals[k].Problem(resources[k])
				p.Codes, p.Locations, p.Text = slices.Clone(p.Codes), slices.Clone(p.Locations), "" // it may hold values
				problems = append(problems, p)
			}
		}
		if len(problems) > 0 {
			marked(x)
			b.refuseRecord(x, problems)
		}
	}
	mentioned(next, b.out.Len())
	for _, r := range restored {
		undone = append(undone, r.Name)
	}
	c.Put = slices.DeleteFunc(c.Put, func(r pipeline.Record) bool { return slices.Contains(undone, r.Name) })
	c.Put = append(c.Put, restored...)
	for i := range b.refused {
		d := &b.refused[i]
		c.Put = append(c.Put, pipeline.Record{Name: l.refusedName(d), Value: recordOf(d)})
	}
}

// refuseRecord makes dead letters of what has become refused resources.
func (b *batch) refuseRecord(x *refusable, problems []pipeline.RejectProblem) {
	for _, d := range x.letters {
		d.Problems = slices.Concat(problems, d.Problems)
		b.refused = append(b.refused, d)
	}
	switch x.how {
	case asRecord:
		b.counted.Records--
		b.counted.DeadLetters++
	case asDeletion:
		b.counted.Deletions--
		b.counted.DeadLetters++
	case asReleased:
		b.counted.Released--
		b.counted.ReleasedDead++
	}
	var rules []string
	for _, p := range problems {
		if !slices.Contains(rules, p.Rule) {
			rules = append(rules, p.Rule)
			pipeline.Count(&b.total.Rejects, p.Rule, 1)
		}
	}
	if x.account == nil {
		return
	}
	rows := &b.total.Rows[x.table]
	n := x.account.Rows[x.table].InClaims
	if x.table != cpcds.Claims { // each row is a resource
		n = min(n, int64(len(problems)))
	}
	rows.InClaims -= n
	rows.Rejected += n
	if n < x.account.Rows[x.table].InClaims {
		return
	}
	for name, n := range x.account.Repairs {
		if b.total.Repairs[name] -= n; b.total.Repairs[name] == 0 {
			delete(b.total.Repairs, name)
		}
	}
}

// buryRefused writes the dead letters of what the target has refused of a batch that is durable.
func (l *lane) buryRefused(work context.Context, b *batch) error {
	l.written = slices.DeleteFunc(l.written, func(name string) bool { return slices.Contains(b.cleared, name) })
	var names []string
	for i := range b.refused {
		names = append(names, l.refusedName(&b.refused[i]))
	}
	return l.bury(work, b.refused, names)
}

// bury writes dead letters that stand in the target under names, and has the next batch remove them there.
func (l *lane) bury(work context.Context, letters []DeadLetter, names []string) error {
	if len(letters) == 0 {
		return nil
	}
	if err := l.DeadLetters.Write(work, letters); err != nil {
		return fmt.Errorf("write dead letters: %w", err)
	}
	l.written = append(l.written, names...)
	l.next.clearing = true
	return nil
}

// buryLeft writes the dead letters that an owner before has left in the target.
func (l *lane) buryLeft(work context.Context) error {
	prefix := l.name
	if _, settles := l.part.(nowhere); settles {
		prefix = l.Group // the lanes have ended
	}
	var letters []DeadLetter
	var names []string
	err := l.Target.Each(work, refusedSpace+prefix+"/", func(r pipeline.Record) error {
		d, err := readRefused(r.Value)
		if err == nil {
			letters, names = append(letters, *d), append(names, strings.Clone(r.Name))
		}
		return err
	})
	if err != nil {
		return err
	}
	l.written = nil
	return l.bury(work, letters, names)
}

func (l *lane) refusedName(d *DeadLetter) string { return refusedSpace + l.name + "/" + d.Source() }

// refusedLetter is a dead letter as it stands in the target: this header as a line of JSON, then the value
// of the message.
type refusedLetter struct {
	held
	Table    string                   `json:"table"`
	Problems []pipeline.RejectProblem `json:"problems"`
}

func recordOf(d *DeadLetter) []byte {
	m := &d.Message
	head, err := json.Marshal(&refusedLetter{held: held{Topic: d.Topic, Partition: d.Partition, Offset: m.Offset, LeaderEpoch: m.LeaderEpoch,
		Time: m.Time, Key: m.Key, Headers: m.Headers, Deletes: m.Value == nil}, Table: d.Table, Problems: d.Problems})
	if err != nil {
		panic(err) // strings, bytes and times always marshal
	}
	return append(append(head, '\n'), m.Value...)
}

func readRefused(v []byte) (*DeadLetter, error) {
	var x refusedLetter
	head, value, ok := bytes.Cut(v, []byte{'\n'})
	if !ok || json.Unmarshal(head, &x) != nil || len(x.Problems) == 0 {
		return nil, stopf("read a dead letter: it is damaged")
	}
	d := &DeadLetter{Topic: x.Topic, Partition: x.Partition, Table: x.Table, Stage: StageTarget, Problems: x.Problems,
		Message: Message{Offset: x.Offset, LeaderEpoch: x.LeaderEpoch, Time: x.Time, Key: x.Key, Headers: x.Headers, Value: bytes.Clone(value)}}
	if x.Deletes {
		d.Message.Value = nil
	}
	return d, nil
}
