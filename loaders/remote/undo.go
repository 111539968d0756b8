package remote

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// A batch of a stream may have reached the server although its process was killed before it was durable, or
// although it had to be made again because another lane has changed a record. The batch that is made then can
// be another one: what only claims mentioned is not in it if a table has it by now. Nothing accounts for such
// a resource, and nothing refers to it, so once its lane is past the batch it is taken back.

// unaccountedSpace has the origin of what landed without a checkpoint, by Type/id. It is for streams alone: a
// load makes the same resources each time.
const unaccountedSpace = space + "unaccounted/"

// origin is the batch of a stream that a resource was in. The zero value is no stream.
type origin struct {
	lane string
	next int64 // offset at which the batch ended
}

func (o origin) encode() []byte {
	if o.lane == "" {
		return nil
	}
	return append(binary.BigEndian.AppendUint64(nil, uint64(o.next)), o.lane...)
}

func decodeOrigin(b []byte) (o origin, err error) {
	if len(b) == 0 {
		return o, nil
	}
	if len(b) < 9 {
		return o, errDamaged
	}
	return origin{lane: string(b[8:]), next: int64(binary.BigEndian.Uint64(b))}, nil
}

// unaccounted are the resources that landed without a checkpoint.
type unaccounted struct {
	mu   sync.Mutex
	from map[string]origin // by Type/id
}

func (u *unaccounted) add(name string, o origin) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.from[name] = o
}

func (u *unaccounted) drop(name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.from, name)
}

// past lists what came with batches of a lane that end at an offset or before it.
func (u *unaccounted) past(lane string, next int64) (names []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for name, o := range u.from {
		if o.lane == lane && o.next <= next {
			names = append(names, name)
		}
	}
	return names
}

// leave remembers what was sent, and has no checkpoint.
func (l *Loader) leave(intents map[string]intent) {
	l.opened.add(intents)
	for name, i := range intents {
		typ, _, err := fhir.SplitReference(name)
		if err == nil && i.mayLeave(typ) {
			l.unaccounted.add(name, i.from)
		}
	}
}

// mayLeave reports whether a resource that was created may be in no later batch: only organizations and
// practitioners are made of what claims mention.
func (i *intent) mayLeave(typ fhir.Type) bool {
	return i.from.lane != "" && i.outcome == pipeline.Created && (typ == fhir.Organization || typ == fhir.Practitioner)
}

// readUnaccounted reads what earlier processes have left.
func (l *Loader) readUnaccounted() error {
	for r, err := range l.store.AllMeta(unaccountedSpace) {
		if err != nil {
			return fmt.Errorf("read the index: %w", err)
		}
		o, err := decodeOrigin(r.Value)
		if err != nil {
			return err
		}
		l.unaccounted.add(strings.TrimPrefix(r.Name, unaccountedSpace), o)
	}
	return nil
}

// passed takes back what batches have brought that a lane is past, and that is in none that is durable.
func (l *Loader) passed(ctx context.Context, lane string, next int64) error {
	names := l.unaccounted.past(lane, next)
	if len(names) == 0 {
		return nil
	}
	var b fhir.Batch
	for _, name := range names {
		typ, id, err := fhir.SplitReference(name)
		if err != nil {
			return errDamaged
		}
		b.Delete(typ, id, "", "")
	}
	w, err := l.newWork(&b)
	if err == nil {
		w.undoes = true
		err = l.carry(ctx, w, &undo{l})
	}
	if err != nil {
		return fmt.Errorf("take back what a batch has brought that was made again: %w", err)
	}
	back := 0
	for i, name := range names {
		l.unaccounted.drop(name)
		if t := w.things[i]; t.send && t.refusal == nil {
			back++
		}
	}
	if back > 0 && l.events.TakenBack != nil {
		l.events.TakenBack(back)
	}
	return nil
}

// undo is the act of passed. No checkpoint accounts for it either, and the store of the index never had the
// resources.
type undo struct{ l *Loader }

func (a *undo) begin(_ context.Context, w *work) error { return a.l.put(w.begin()) }

func (a *undo) end(_ context.Context, w *work) error {
	put := w.end()
	for _, name := range w.names {
		put = append(put, store.MetaRecord{Name: unaccountedSpace + name})
	}
	return a.l.put(put)
}
