package remote

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// reading is how many resources are read at once to settle, or found with one search.
const (
	reading = 500
	finding = 20
)

// settleAll settles what earlier processes have sent without an answer.
func (l *Loader) settleAll(ctx context.Context) error {
	var list []*thing
	sent := map[string]intent{}
	for r, err := range l.store.AllMeta(intentSpace) {
		if err != nil {
			return fmt.Errorf("read the index: %w", err)
		}
		name := strings.TrimPrefix(r.Name, intentSpace)
		typ, id, err := fhir.SplitReference(name)
		if err != nil {
			return errDamaged
		}
		if sent[name], err = decodeIntent(r.Value); err != nil {
			return err
		}
		list = append(list, &thing{typ: typ, id: id, name: name})
	}
	for _, wave := range l.inOrder(list) {
		for some := range slices.Chunk(wave, reading) {
			if err := l.settleSome(ctx, some, sent); err != nil {
				return fmt.Errorf("settle what was sent without an answer: %w", err)
			}
		}
	}
	if len(list) > 0 && l.events.Settled != nil {
		l.events.Settled(len(list))
	}
	return nil
}

func (l *Loader) settleSome(ctx context.Context, list []*thing, sent map[string]intent) error {
	names := make([]string, len(list))
	for i, t := range list {
		names[i] = t.name
	}
	known, err := l.entries(names)
	if err != nil {
		return err
	}
	for i, t := range list {
		t.known = known[i]
	}
	there, err := l.read(ctx, list)
	if err != nil {
		return err
	}
	var put []store.MetaRecord
	for i, t := range list {
		of := sent[t.name]
		put = l.settle(put, t, &of, &there[i])
	}
	return l.put(put)
}

// settle ends an intent: what was sent is there, or it never was. If it is there, the same batch will have
// the outcome that it would have had.
func (l *Loader) settle(put []store.MetaRecord, t *thing, sent *intent, there *entry) []store.MetaRecord {
	put = append(put, store.MetaRecord{Name: intentSpace + t.name})
	landed := sent.outcome
	switch {
	case !sent.done(there):
		return put
	case sent.deleted:
		gone := entry{Landed: &landed}
		return l.putEntry(put, t.typ, t.id, &gone)
	}
	there.Landed, there.Marked = &landed, sent.marked
	if sent.mayLeave(t.typ) {
		l.unaccounted.add(t.name, sent.from)
		put = append(put, store.MetaRecord{Name: unaccountedSpace + t.name, Value: sent.from.encode()})
	}
	return l.putEntry(put, t.typ, t.id, there)
}

// done reports whether the server has what was sent.
func (i *intent) done(there *entry) bool {
	if i.deleted {
		return !there.Present
	}
	return there.Present && there.Digest == i.digest
}

// read reads resources from the server, in order.
func (l *Loader) read(ctx context.Context, list []*thing) ([]entry, error) {
	answers, err := l.readAll(ctx, list)
	if err != nil {
		return nil, err
	}
	out := make([]entry, len(list))
	for i := range answers {
		if out[i], err = l.entryOf(list[i], &answers[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// entryOf is what an answer says that the server has.
func (l *Loader) entryOf(t *thing, a *fhirclient.Answer) (e entry, err error) {
	switch {
	case a.Status == 404 || a.Status == 410:
		return e, nil
	case a.Status == 400 || a.Status == 405: // a type or id that the server cannot have; it refuses what is sent
		return e, nil
	case !a.Stored():
		return e, &fhirclient.Error{Method: "GET", Path: t.typ.String(), Status: a.Status, Outcome: a.Outcome}
	}
	e.Present, e.Version = true, a.Version
	if e.Digest, err = l.digestThere(a.JSON); err != nil {
		return e, fmt.Errorf("read %s from the server: %w", t.typ, err)
	}
	if l.gives {
		e.ID = a.Location.ID
	}
	element, mark := status(t.typ)
	e.Marked = string(elementOf(a.JSON, element)) == mark && l.settings.Deletions == deletionsMark
	return e, nil
}

// readAll reads resources: by their ids, or with a search where the server gives ids and we do not know
// which.
func (l *Loader) readAll(ctx context.Context, list []*thing) ([]fhirclient.Answer, error) {
	var refs []fhirclient.Reference
	var of []int
	var lost [fhir.NumTypes][]int
	for i, t := range list {
		id := t.id
		if l.gives {
			if id = t.idThere(); id == "" {
				lost[t.typ] = append(lost[t.typ], i)
				continue
			}
		}
		refs, of = append(refs, fhirclient.Reference{Type: t.typ.String(), ID: id}), append(of, i)
	}
	out := make([]fhirclient.Answer, len(list))
	if len(refs) > 0 {
		answers, err := l.server.Read(ctx, refs)
		if err != nil {
			return nil, err
		}
		if len(answers) != len(refs) {
			return nil, fmt.Errorf("read from the server: %d answers to %d reads", len(answers), len(refs))
		}
		for i, a := range answers {
			out[of[i]] = a
		}
	}
	for typ, indices := range lost {
		for some := range slices.Chunk(indices, finding) {
			if err := l.find(ctx, fhir.Type(typ), list, some, out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// find finds resources by our ids.
func (l *Loader) find(ctx context.Context, typ fhir.Type, list []*thing, indices []int, out []fhirclient.Answer) error {
	ids := make([]string, len(indices))
	at := map[string]int{}
	for i, index := range indices {
		ids[i] = list[index].id
		at[ids[i]] = index
		out[index] = fhirclient.Answer{Status: 404}
	}
	answers, err := l.server.Find(ctx, typ.String(), searchAll(ids))
	if err != nil {
		return err
	}
	for _, a := range answers {
		if index, ok := at[idOf(a.JSON)]; ok {
			if a.Status == 0 { // of a search
				a.Status = 200
			}
			out[index] = a
		}
	}
	return nil
}

// idThere is the id that the server has given, "" if it is not known.
func (t *thing) idThere() string {
	if t.known != nil {
		return t.known.ID
	}
	return ""
}
