package remote

import (
	"context"
	"errors"
	"slices"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// act is how a batch becomes durable.
type act interface {
	// begin makes what will be sent durable.
	begin(ctx context.Context, w *work) error

	// end makes everything durable in one act: what the server has now, and what seal says.
	end(ctx context.Context, w *work) error
}

// load brings a batch to the server and then into the index.
func (l *Loader) load(ctx context.Context, b *fhir.Batch, a act) error {
	w, err := l.newWork(b)
	if err != nil {
		return err
	}
	return l.carry(ctx, w, a)
}

func (l *Loader) carry(ctx context.Context, w *work, a act) error {
	began := l.stages.Now()
	release, err := w.prepare(ctx)
	if err != nil {
		return err
	}
	defer release()
	began = l.stages.Since(pipeline.StageCompare, began)
	if w.sends() {
		if err := w.bring(ctx, a); err != nil {
			l.leave(w.intents)
			return err
		}
		began = l.stages.Since(pipeline.StageWrite, began)
		ctx = context.WithoutCancel(ctx) // what has been answered should be remembered
	}
	w.refuse()
	if err := a.end(ctx, w); err != nil {
		l.leave(w.intents)
		return failed(err)
	}
	w.vouch()
	l.stages.Since(pipeline.StageSync, began)
	return nil
}

// bring sends what must be sent. Before that, it is durable what will be.
func (w *work) bring(ctx context.Context, a act) error {
	w.refuseUnknownAge()
	if err := w.readFirst(ctx); err != nil {
		return err
	}
	if !w.sends() { // nothing is left to do
		return nil
	}
	if err := a.begin(ctx, w); err != nil {
		if errors.Is(err, pipeline.ErrChanged) || errors.Is(err, pipeline.ErrFenced) {
			w.intents = nil // nothing is durable
		}
		return failed(err)
	}
	return w.sendAll(ctx)
}

// prepare takes the resources of the batch, settles what was sent of them without an answer, and asks the
// server about those that the index does not know. Then the batch is compared with what the server has.
// Nobody else sends any of them until release.
func (w *work) prepare(ctx context.Context) (release func(), err error) {
	if release, err = w.take(ctx); err != nil {
		return nil, err
	}
	asked, err := w.askServer(ctx)
	if err == nil && asked {
		err = w.look(ctx)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// take takes the resources of the batch: alone those that may be sent, together with others those that
// are only compared.
func (w *work) take(ctx context.Context) (release func(), err error) {
	alone := map[string]bool{}
	if err := w.look(ctx); err != nil {
		return nil, err
	}
	w.needed(alone)
	for {
		held := len(alone)
		if release, err = w.l.taken.take(ctx, w.names, alone); err != nil {
			return nil, err
		}
		// Others may have had them until now.
		if err := w.look(ctx); err != nil {
			release()
			return nil, err
		}
		more := map[string]bool{}
		for n := range alone {
			more[n] = true
		}
		if w.needed(more); len(more) == held {
			return release, nil
		}
		release()
		alone = more
	}
}

// needed adds the resources that the batch must have alone.
func (w *work) needed(alone map[string]bool) {
	for _, t := range w.things {
		if t.ask || t.send || t.known != nil && t.known.Landed != nil {
			alone[t.name] = true
		}
	}
}

// askServer reads the resources of which the index does not know what the server has. It reports whether
// there were any.
func (w *work) askServer(ctx context.Context) (asked bool, err error) {
	var list []*thing
	for _, t := range w.things {
		if t.ask {
			list = append(list, t)
		}
	}
	if w.l.gives && len(list) > 0 {
		// Without our ids of what they refer to, no resource of the server looks like ours.
		if _, err := w.idsOf(ctx, w.texts(list)); err != nil {
			return false, err
		}
	}
	first, rest := w.sample(list)
	for _, some := range w.l.inOrder(first) {
		if err := w.ask(ctx, some); err != nil {
			return false, err
		}
	}
	rest = slices.DeleteFunc(rest, func(t *thing) bool { return w.l.complete[t.typ].Load() })
	if len(rest) > 0 {
		if err := w.ask(ctx, rest); err != nil {
			return false, err
		}
	}
	return len(list) > 0, nil
}

// sampled is how many resources are asked of a type of which the server says that it has none.
const sampled = 10

// sample divides what the server must be asked about. Of a type of which it says that it has none, a few are
// asked first: if none of them is there either, the rest need not be asked. What was sent without an answer is
// always asked. A server that gives ids is asked type by type, so nothing of it is left for later.
func (w *work) sample(list []*thing) (first, rest []*thing) {
	if w.l.gives {
		return list, nil
	}
	var n [fhir.NumTypes]int
	for _, t := range list {
		if n[t.typ]++; n[t.typ] > sampled && w.l.counted[t.typ].Load() && !w.l.opened.has(t.name) {
			rest = append(rest, t)
		} else {
			first = append(first, t)
		}
	}
	return first, rest
}

// inOrder divides resources of a server that gives ids by type, in the order in which they refer to each
// other: what is read is only understood once the index knows the ids that its references have.
func (l *Loader) inOrder(list []*thing) [][]*thing {
	if !l.gives || len(list) == 0 {
		return [][]*thing{list}[:min(1, len(list))]
	}
	waves := make([][]*thing, fhir.NumTypes)
	for _, t := range list {
		waves[t.typ] = append(waves[t.typ], t)
	}
	return slices.DeleteFunc(waves, func(some []*thing) bool { return len(some) == 0 })
}

func (w *work) ask(ctx context.Context, list []*thing) error {
	there, err := w.l.read(ctx, list)
	if err != nil {
		return err
	}
	var put []store.MetaRecord
	var settled []string
	var adopted [fhir.NumTypes]int
	var present [fhir.NumTypes]bool // of what the index does not know
	for i, t := range list {
		known := false
		if sent, ok := w.l.opened.get(t.name); ok {
			known = sent.done(&there[i])
			put = w.l.settle(put, t, &sent, &there[i])
			settled = append(settled, t.name)
		}
		switch {
		case known:
		case t.known != nil:
			if t.known.Present {
				t.found = inDoubt(t.known, &there[i])
			}
		case there[i].Present:
			present[t.typ] = true
			if w.l.landed != nil && w.l.landed(t.typ, t.id) {
				created := pipeline.Created
				there[i].Landed = &created
			} else {
				there[i].Adopted = true
				adopted[t.typ]++
			}
			put = w.l.putEntry(put, t.typ, t.id, &there[i])
		}
	}
	if err := w.l.put(put); err != nil {
		return err
	}
	w.l.opened.drop(settled)
	if len(settled) > 0 && w.l.events.Settled != nil {
		w.l.events.Settled(len(settled))
	}
	return w.l.believe(list, &present, &adopted)
}
