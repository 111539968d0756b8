package streamrun

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/schemas/fhir"
)

// batch is a set of resources that are loaded together, with all that becomes durable with them.
type batch struct {
	out      fhir.Batch
	claims   []madeClaim
	account  pipeline.Account // without the outcomes of the target
	messages MessageCount
	resolved []string // dead letters that are resources now
	dead     []DeadLetter
	put      map[string][]byte // records of what waits

	heldBytes int               // of put and of dead
	completed []string          // claims whose lines have come, to be made
	failed    []string          // claims whose lines have come and become dead letters with the next batch
	guards    map[string][]byte // of put, as they were read
	awaited   []directory.Unresolved
	releases  []release   // records that waited and are in this batch
	records   []refusable // what the target may refuse, in the order of the resources
	clearing  bool        // there are dead letters to forget that are written
	claimed   []string    // names of records that no other lane of this process lets go meanwhile

	at     pipeline.Position // up to which messages are in it
	moved  bool              // at is beyond the batch before, though there may be no message
	begun  time.Time         // when its first message came
	oldest time.Time         // of its messages
	sent   time.Time
	broken bool // something failed while it was made: it must not be loaded

	// What follows is set when the batch is sent.
	changed []pipeline.Record
	guarded []pipeline.Record
	arrived []directory.Unresolved
	window  window   // of the lane, with this batch
	cleared []string // records of dead letters that are written

	// What follows is set when the batch is sealed.
	total   pipeline.Account // of this batch, with the outcomes
	counted MessageCount     // messages, with what the target has refused
	refused []DeadLetter     // of these
}

// madeClaim is a claim with resources in a batch.
type madeClaim struct {
	from, to int // its resources
	partly   bool
	voided   bool
}

// MessageCount counts what became of messages. Read is the sum of the next five. The others
// count records that had waited: they were read, and counted as Waiting, before.
type MessageCount struct {
	Read        int64 `json:"read"`
	Records     int64 `json:"records"`      // became resources, or were older than those that the target has
	Deletions   int64 `json:"deletions"`    // without a value
	DeadLetters int64 `json:"dead_letters"` // that were read in this window
	Waiting     int64 `json:"waiting"`
	Skipped     int64 `json:"skipped"` // by a rule of the layout

	Released     int64 `json:"released"`              // records that went on when what they waited for arrived
	ReleasedDead int64 `json:"released_dead_letters"` // records that did not, because they broke another rule
	Expired      int64 `json:"expired"`               // records that waited too long, and are dead letters
}

// Add adds o to c.
func (c *MessageCount) Add(o *MessageCount) {
	c.Read += o.Read
	c.Records += o.Records
	c.Deletions += o.Deletions
	c.DeadLetters += o.DeadLetters
	c.Waiting += o.Waiting
	c.Skipped += o.Skipped
	c.Released += o.Released
	c.ReleasedDead += o.ReleasedDead
	c.Expired += o.Expired
}

// Balanced reports whether each message that was read is accounted for.
func (c *MessageCount) Balanced() bool {
	return c.Read == c.Records+c.Deletions+c.DeadLetters+c.Waiting+c.Skipped
}

func (b *batch) empty() bool {
	return b.out.Len() == 0 && len(b.dead) == 0 && len(b.put) == 0 && len(b.failed) == 0 && !b.moved && !b.clearing && b.messages == MessageCount{}
}

func (b *batch) full(bytes int) bool {
	return b.out.Size()+b.heldBytes >= bytes || b.messages.Read >= 1<<14 || len(b.put) >= 1<<13
}

// hold puts a message that waits.
func (b *batch) hold(place string, h *held, value []byte) {
	v := h.with(value)
	b.put[heldSpace+place] = v
	b.heldBytes += len(v)
}

// deadByRule counts the dead letters by their first rule.
func (b *batch) deadByRule() map[string]int64 {
	counts := map[string]int64{}
	for _, list := range [2][]DeadLetter{b.dead, b.refused} {
		for i := range list {
			counts[list[i].Problems[0].Rule]++
		}
	}
	return counts
}

// freeze collects what becomes durable with the batch. Nothing is added to it afterwards.
func (b *batch) freeze(l *lane) {
	d := l.maker.dir
	for name, v := range d.Changed() {
		b.changed = append(b.changed, pipeline.Record{Name: name, Value: v})
		// That another lane has put the same does no harm.
		b.guarded = append(b.guarded, pipeline.Record{Name: name, Value: d.Guard(name)}, pipeline.Record{Name: name, Value: v})
	}
	for name, v := range b.put {
		b.changed = append(b.changed, pipeline.Record{Name: name, Value: v})
	}
	for name, v := range b.guards {
		b.guarded = append(b.guarded, pipeline.Record{Name: name, Value: v})
	}
	b.cleared = slices.Clone(l.written)
	for _, name := range b.cleared {
		b.changed = append(b.changed, pipeline.Record{Name: name})
	}
	b.arrived = slices.Clone(d.Arrived())
	b.window = l.window.of(l.windowOf(l.Now()), l.durable)
}

// seal makes what becomes durable with the batch.
func (b *batch) seal(l *lane, outcomes []pipeline.Outcome, refusals pipeline.Refusals) (pipeline.StreamCommit, error) {
	c := pipeline.StreamCommit{Position: b.at, Put: slices.Clone(b.changed), Guards: b.guarded}
	b.total, b.counted, b.refused = pipeline.Account{}, b.messages, nil
	b.total.Add(&b.account)
	b.tally(outcomes, refusals)
	if len(refusals) > 0 && l.refuses {
		b.refuse(l, &c, outcomes, refusals)
	}
	w := b.window
	w.Account = pipeline.Account{}
	w.Account.Add(&b.window.Account)
	w.Account.Add(&b.total)
	w.Messages.Add(&b.counted)
	w.To = b.at.Next
	value, err := json.Marshal(&w)
	if err != nil {
		return c, fmt.Errorf("write account: %w", err)
	}
	c.Put = append(c.Put, pipeline.Record{Name: windowName(w.start, l.name), Value: value})
	b.window.next = &w // land takes it over
	return c, nil
}

// tally adds to the account what the target did with the batch.
func (b *batch) tally(outcomes []pipeline.Outcome, refusals pipeline.Refusals) {
	for i, r := range b.out.All() {
		b.total.AddResource(r.Type, outcomes[i])
	}
	for _, c := range b.claims {
		if anyRefused(outcomes, refusals, c.from, c.to) {
			c.partly, c.voided = false, false // it counts as rejected, and as nothing else
		}
		b.total.AddClaim(outcomes[c.from:c.to], c.partly, c.voided)
	}
}

// reset makes the batch empty and keeps its memory.
func (b *batch) reset() {
	out, claims := b.out, b.claims[:0]
	out.Reset()
	clear(b.records)
	records := b.records[:0]
	put, guards := b.put, b.guards
	clear(put)
	clear(guards)
	*b = batch{out: out, claims: claims, records: records, put: put, guards: guards}
}

// batch returns an empty batch.
func (e *Engine) batch() *batch {
	select {
	case b := <-e.spare:
		return b
	default:
		return &batch{put: map[string][]byte{}, guards: map[string][]byte{}}
	}
}

// recycle keeps the memory of a batch that has landed, for whichever lane needs one next.
func (e *Engine) recycle(b *batch) {
	if b.out.Cap() > 4*e.BatchBytes {
		return // one large record must not hold memory for good
	}
	b.reset()
	select {
	case e.spare <- b:
	default:
	}
}
