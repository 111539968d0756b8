package remote

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// complete is the value of the records of completeSpace.
const complete = "complete"

// countAgain is how long a server that counts fewer resources than the index knows gets to catch up: counts may
// come from a search index that is behind what was written last.
var countAgain = []time.Duration{500 * time.Millisecond, time.Second}

// counts are the numbers of resources of a type.
type counts struct{ there, known int64 }

// compareCounts finds out how far the index can be believed.
func (l *Loader) compareCounts(ctx context.Context) error {
	numbers := map[fhir.Type]counts{}
	for t := range fhir.NumTypes {
		there, ok, err := l.count(ctx, t)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		known, err := l.countKnown(ctx, t)
		if err != nil {
			return err
		}
		numbers[t] = counts{there, known}
	}
	if err := l.recount(ctx, numbers); err != nil {
		return err
	}
	for t := range fhir.NumTypes {
		n, ok := numbers[t]
		switch {
		case !ok || n.there > n.known:
		case n.there < n.known:
			l.doubts.begin(t)
			if l.events.Fewer != nil {
				l.events.Fewer(t, n.there, n.known)
			}
		case n.known == 0:
			l.counted[t].Store(true)
		default:
			l.complete[t].Store(true)
		}
	}
	return nil
}

// recount counts again where the server has fewer than the index knows.
func (l *Loader) recount(ctx context.Context, numbers map[fhir.Type]counts) error {
	for _, wait := range countAgain {
		var behind []fhir.Type
		for t, n := range numbers {
			if n.there < n.known {
				behind = append(behind, t)
			}
		}
		if len(behind) == 0 {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, t := range behind {
			there, ok, err := l.count(ctx, t)
			if err != nil {
				return err
			}
			if ok {
				numbers[t] = counts{there, numbers[t].known}
			}
		}
	}
	return nil
}

// count asks how many resources of a type the server has; ok is false if it does not say.
func (l *Loader) count(ctx context.Context, t fhir.Type) (n int64, ok bool, err error) {
	n, err = l.server.Count(ctx, t.String())
	if err == nil {
		return n, true, nil
	}
	if e, ok := errors.AsType[*fhirclient.Error](err); ok && e.Status != 0 && !e.Retriable && !errors.Is(err, fhirclient.ErrAuthentication) {
		return 0, false, nil
	}
	return 0, false, fmt.Errorf("count %s: %w", t, err)
}

// countKnown is how many resources of a type the index knows to be there.
func (l *Loader) countKnown(ctx context.Context, t fhir.Type) (n int64, err error) {
	for r, err := range l.store.AllMeta(thereSpace + t.String() + "/") {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return 0, fmt.Errorf("read the index: %w", err)
		}
		if len(r.Value) == 0 {
			return 0, errDamaged
		}
		if r.Value[0]&flagPresent != 0 {
			n++
		}
	}
	return n, nil
}

// believe tells what was adopted, and whether what a server has counted was true: none of what was read, and the
// index does not know, is there. An index that adopts has not learned everything.
func (l *Loader) believe(read []*thing, present *[fhir.NumTypes]bool, adopted *[fhir.NumTypes]int) error {
	var seen [fhir.NumTypes]bool
	for _, t := range read {
		seen[t.typ] = true
	}
	l.believing.Lock()
	defer l.believing.Unlock()
	var put []store.MetaRecord
	for t := range fhir.NumTypes {
		if adopted[t] > 0 {
			put = append(put, store.MetaRecord{Name: completeSpace + t.String()})
			if l.events.Adopted != nil {
				l.events.Adopted(t, adopted[t])
			}
		}
		if seen[t] && !present[t] && l.counted[t].Load() {
			put = append(put, store.MetaRecord{Name: completeSpace + t.String(), Value: []byte(complete)})
		}
	}
	if err := l.put(put); err != nil {
		return err
	}
	for t := range fhir.NumTypes {
		switch {
		case present[t]:
			l.counted[t].Store(false)
			l.complete[t].Store(false)
		case seen[t] && l.counted[t].Swap(false):
			l.complete[t].Store(true)
		}
	}
	return nil
}

// Learned reports whether the index has learned of every resource of a type that the server had: because there
// were none when it was made, or by Complete. What it does not know of such a type, and the server has, others
// have put there since.
func (l *Loader) Learned(typ fhir.Type) (bool, error) {
	value, err := l.store.Meta(completeSpace + typ.String())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read the index: %w", err)
	}
	return string(value) == complete, nil
}

// Complete says that the index has learned of every resource of these types that the server has: until it is
// closed, what it does not know is not there, and is sent without asking. What loads have adopted of them is taken
// for ours from now on, and older than whatever is loaded next.
func (l *Loader) Complete(ctx context.Context, types ...fhir.Type) error {
	var put []store.MetaRecord
	for _, t := range types {
		if err := l.ownAdopted(ctx, t); err != nil {
			return err
		}
		put = append(put, store.MetaRecord{Name: completeSpace + t.String(), Value: []byte(complete)})
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.put(put); err != nil {
		return err
	}
	for _, t := range types {
		l.complete[t].Store(true)
	}
	return nil
}

// ownAdopted makes ours what loads have adopted of a type.
func (l *Loader) ownAdopted(ctx context.Context, typ fhir.Type) error {
	const most = 1000
	prefix := thereSpace + typ.String() + "/"
	var names []string
	for r, err := range l.store.AllMeta(prefix) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read the index: %w", err)
		}
		if len(r.Value) == 0 {
			return errDamaged
		}
		if r.Value[0]&flagAdopted != 0 {
			names = append(names, r.Name[len(thereSpace):])
		}
	}
	for some := range slices.Chunk(names, most) {
		if err := l.ownSome(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

func (l *Loader) ownSome(ctx context.Context, names []string) error {
	alone := map[string]bool{}
	for _, n := range names {
		alone[n] = true
	}
	release, err := l.taken.take(ctx, names, alone)
	if err != nil {
		return err
	}
	defer release()
	known, err := l.entries(names)
	if err != nil {
		return err
	}
	var put []store.MetaRecord
	for i, e := range known {
		if e != nil && e.Adopted {
			e.Adopted = false
			put = append(put, store.MetaRecord{Name: thereSpace + names[i], Value: e.encode()})
		}
	}
	return l.put(put)
}

// doubts are the types of which a server has fewer resources than the index knows. Each of them is asked about
// before it is believed to be there, once while the index is open: 8 bytes of memory for each.
type doubts struct {
	mu   sync.Mutex
	of   [fhir.NumTypes]map[uint64]struct{} // what is known to be there again, nil of a type that is not in doubt
	seed maphash.Seed
}

func (d *doubts) begin(t fhir.Type) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seed, d.of[t] = maphash.MakeSeed(), map[uint64]struct{}{}
}

// about reports whether it is in doubt that a resource is there which the index has as there.
func (d *doubts) about(t *thing) bool {
	if t.index == nil || !t.index.Present {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.of[t.typ] == nil {
		return false
	}
	_, sure := d.of[t.typ][maphash.String(d.seed, t.name)]
	return !sure
}

// inDoubt is what the server has of a resource that the index knows. Other content than that has an age that
// nobody knows: the server may have been restored.
func inDoubt(known, there *entry) *entry {
	found := *there
	switch {
	case !there.Present:
		found.lost = true
	case there.Digest == known.Digest:
		found.Marked, found.Landed, found.Adopted = known.Marked, known.Landed, known.Adopted
	default:
		found.Adopted = true
	}
	return &found
}

// vouch says that what the batch has found or written is there.
func (w *work) vouch() {
	d := &w.l.doubts
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range w.things {
		if t.found != nil && t.last >= 0 && t.refusal == nil && d.of[t.typ] != nil {
			d.of[t.typ][maphash.String(d.seed, t.name)] = struct{}{}
		}
	}
}
