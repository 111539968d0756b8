package remote

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// work is a batch on its way to the server.
type work struct {
	l        *Loader
	batch    *fhir.Batch
	sums     []Digest    // of the batch's resources
	compared *fhir.Batch // the batch with digests as JSON
	digests  fhir.Batch  // the same without what was refused
	things   []*thing
	names    []string          // of things
	byName   map[string]*thing // things by Type/id
	of       []*thing          // by index in the batch
	outcomes []pipeline.Outcome
	refusals pipeline.Refusals
	intents  map[string]intent // what was or will be sent, by Type/id
	from     origin
	undoes   bool // it deletes what has no checkpoint, however old it is, and leaves the rest
}

// thing is one resource of a batch, of which the batch may have several records.
type thing struct {
	typ     fhir.Type
	id      string // ours
	name    string // Type/id
	records []int  // indices in the batch

	index   *entry // as the index has it; nil: nothing is known
	found   *entry // what the server had of it when it was asked, because the index was in doubt
	known   *entry // what the server has, as far as is known; nil: nothing is known
	ask     bool   // the server must be asked first what it has
	vouched bool   // a record of the batch is what the server has: so it is ours, and as old as that
	last    int    // the record that decides what the server has in the end; -1 is none
	send    bool
	json    []byte // of what is sent, if it is not the record's: a resource that is marked as deleted
	deletes bool   // what is sent is a deletion
	outcome pipeline.Outcome
	now     entry // what the server has afterwards
	refusal *pipeline.Refusal

	conflict *pipeline.Refusal // what the server said at the last conflict
	alike    bool              // although it had what the index knew
}

// newWork digests a batch.
func (l *Loader) newWork(b *fhir.Batch) (*work, error) {
	w := &work{l: l, batch: b, compared: &fhir.Batch{}, byName: map[string]*thing{}}
	w.sums = make([]Digest, b.Len())
	w.outcomes = make([]pipeline.Outcome, b.Len())
	for i, r := range b.All() {
		if r.Type >= fhir.NumTypes {
			return w, fmt.Errorf("resource %d: its type is unknown", i)
		}
		if !r.Deleted {
			var err error
			if w.sums[i], err = l.digester.of(r.JSON, nil); err != nil {
				return w, fmt.Errorf("resource %d: %w", i, err)
			}
		}
		addDigest(w.compared, r, &w.sums[i])
		name := fhir.Reference(r.Type, r.ID)
		t := w.byName[name]
		if t == nil {
			t = &thing{typ: r.Type, id: name[len(name)-len(r.ID):], name: name}
			w.byName[name] = t
			w.things, w.names = append(w.things, t), append(w.names, name)
		}
		t.records = append(t.records, i)
		w.of = append(w.of, t)
	}
	return w, nil
}

func addDigest(b *fhir.Batch, r *fhir.Resource, sum *Digest) {
	if r.Deleted {
		b.Delete(r.Type, r.ID, r.LastUpdated, r.SourceVersion)
		return
	}
	b.End(append(b.Begin(r.Type, r.ID, r.LastUpdated, r.SourceVersion), sum[:]...))
}

// look finds out what the index knows, what becomes of each record, and what must be sent.
func (w *work) look(ctx context.Context) error {
	known, err := w.l.entries(w.names)
	if err != nil {
		return err
	}
	compared, err := w.l.index.Compare(ctx, w.compared)
	if err != nil {
		return fmt.Errorf("compare with the index: %w", failed(err))
	}
	for i, t := range w.things {
		t.index, t.known = known[i], known[i]
		if t.found != nil {
			t.known = t.found
		}
		t.ask = w.l.opened.has(t.name) || t.known == nil && !w.l.complete[t.typ].Load() || t.found == nil && w.l.doubts.about(t)
		w.decide(t, compared)
	}
	return nil
}

// decide follows the records of a resource, in order, from what the server has to what it will have.
func (w *work) decide(t *thing, compared []pipeline.Outcome) {
	var before entry
	if t.known != nil {
		before = *t.known
	}
	t.now, t.last, t.json, t.deletes, t.refusal, t.vouched = before, -1, nil, false, nil, false
	if w.undoes && (t.index == nil || !is(t.index.Landed, pipeline.Created)) {
		t.send = false
		return
	}
	for _, i := range t.records {
		o := compared[i]
		if (o == pipeline.Stale || o == pipeline.Unordered) && !w.undoes {
			w.outcomes[i] = o
			continue
		}
		t.last = i
		if w.batch.Deleted(i) {
			w.outcomes[i] = t.delete(o, w.l.settings.Deletions == deletionsMark)
		} else {
			w.outcomes[i] = t.write(&w.sums[i])
			t.vouched = t.vouched || before.Present && before.Digest == w.sums[i]
		}
	}
	t.send = t.last >= 0 && (t.now.Present != before.Present || t.now.Marked != before.Marked || t.now.Digest != before.Digest)
	if t.last >= 0 {
		t.deletes = w.batch.Deleted(t.last)
		t.outcome = w.outcomes[t.last]
		// Whatever the records say, for the server it is one step.
		switch {
		case t.deletes:
		case before.lost:
			t.outcome = pipeline.Updated
		case !before.Present || before.Marked || is(before.Landed, pipeline.Created):
			t.outcome = pipeline.Created
		case t.send:
			t.outcome = pipeline.Updated
		}
	}
}

// deletionsMark is Settings.Deletions of a server where what is deleted is marked.
const deletionsMark = "mark"

func is(o *pipeline.Outcome, want pipeline.Outcome) bool { return o != nil && *o == want }

// delete is the outcome of a deletion that the store of the index compares with outcome o.
func (t *thing) delete(o pipeline.Outcome, mark bool) pipeline.Outcome {
	landed := t.now.Landed
	t.now.Landed, t.now.Adopted, t.now.lost = nil, false, false
	switch {
	case t.now.Present && !t.now.Marked:
		if t.now.Marked = mark; !mark {
			t.now = entry{}
		}
		return pipeline.Deleted
	case is(landed, pipeline.Deleted):
		return pipeline.Deleted
	}
	return o
}

// write is the outcome of a record with a digest.
func (t *thing) write(sum *Digest) pipeline.Outcome {
	before := t.now
	t.now.Landed, t.now.Present, t.now.Marked, t.now.Digest = nil, true, false, *sum
	t.now.Adopted, t.now.lost = false, false
	switch {
	case before.lost:
		return pipeline.Updated
	case !before.Present || before.Marked && before.Digest != *sum:
		return pipeline.Created
	case before.Digest == *sum && before.Landed != nil:
		return *before.Landed
	case before.Digest == *sum:
		return pipeline.Unchanged
	case is(before.Landed, pipeline.Created):
		return pipeline.Created
	}
	return pipeline.Updated
}

// sends reports whether anything must be sent.
func (w *work) sends() bool {
	return slices.ContainsFunc(w.things, func(t *thing) bool { return t.send })
}

// begin are the records of what will be sent.
func (w *work) begin() (put []store.MetaRecord) {
	w.intents = map[string]intent{}
	for _, t := range w.things {
		if !t.send {
			continue
		}
		i := intent{t.now.Digest, t.outcome, !t.now.Present, t.now.Marked, w.from}
		w.intents[t.name] = i
		put = append(put, store.MetaRecord{Name: intentSpace + t.name, Value: i.encode()})
	}
	return put
}

// refuse makes the outcomes of what the server has refused, and leaves it out of what becomes durable.
func (w *work) refuse() {
	w.refusals = nil
	w.digests.Reset()
	for i, r := range w.batch.All() {
		t, o := w.of[i], w.outcomes[i]
		if t.refusal == nil {
			addDigest(&w.digests, r, &w.sums[i])
			continue
		}
		if o == pipeline.Stale || o == pipeline.Unordered {
			continue
		}
		if w.refusals == nil {
			w.refusals = pipeline.Refusals{}
		}
		w.outcomes[i], w.refusals[i] = pipeline.Refused, t.refusal
	}
}

// end are the records of what the server has now.
func (w *work) end() (put []store.MetaRecord) {
	for _, t := range w.things {
		if t.last < 0 || t.refusal != nil {
			continue
		}
		if t.index == nil && t.now == (entry{}) || t.index != nil && *t.index == t.now {
			continue
		}
		put = w.l.putEntry(put, t.typ, t.id, &t.now)
	}
	for name := range maps.Keys(w.intents) {
		put = append(put, store.MetaRecord{Name: intentSpace + name})
	}
	return put
}
