package remote

import (
	"context"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// idsOf returns the ids that the server has given to what resources refer to, by our references. One
// that is missing is not there.
func (w *work) idsOf(ctx context.Context, texts [][]byte) (map[string]string, error) {
	ids := map[string]string{}
	var ask []*thing
	for _, text := range texts {
		if text == nil {
			continue
		}
		_, err := withReferences(text, func(reference string) string {
			if _, seen := ids[reference]; !seen {
				ids[reference] = ""
				if typ, id, err := fhir.SplitReference(reference); err == nil {
					ask = append(ask, &thing{typ: typ, id: id, name: reference})
				}
			}
			return ""
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, w.l.findIDs(ctx, w, ask, ids)
}

// findIDs looks up ids: in the batch, in the index, and on the server if the index does not know.
func (l *Loader) findIDs(ctx context.Context, w *work, ask []*thing, ids map[string]string) error {
	names := make([]string, len(ask))
	for i, t := range ask {
		names[i] = t.name
	}
	known, err := l.entries(names)
	if err != nil {
		return err
	}
	var lost []*thing
	for i, t := range ask {
		switch here := w.byName[t.name]; {
		case here != nil:
			if here.now.Present && here.refusal == nil {
				ids[t.name] = here.now.ID
			} else if here.known != nil && here.known.Present {
				ids[t.name] = here.known.ID
			}
		case known[i] != nil:
			ids[t.name] = known[i].ID
		case !l.complete[t.typ].Load():
			lost = append(lost, t)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	there, err := l.read(ctx, lost)
	if err != nil {
		return err
	}
	for i, t := range lost {
		ids[t.name] = there[i].ID
	}
	return l.remember(lost, there)
}

// remember keeps our ids of what was found, so that references to it can be translated back. What the
// server has of it is not adopted: that happens when it is loaded.
func (l *Loader) remember(list []*thing, there []entry) error {
	var put []store.MetaRecord
	for i, t := range list {
		if there[i].ID != "" {
			put = append(put, store.MetaRecord{Name: ownSpace + fhir.Reference(t.typ, there[i].ID), Value: []byte(t.id)})
		}
	}
	return l.put(put)
}

// forServer returns a resource of ours as a server gets it that gives ids. gone says that something it
// refers to is not there.
func forServer(resource []byte, own, there string, ids map[string]string) (out []byte, gone bool, err error) {
	out, err = withReferences(resource, func(reference string) string {
		typ, _, err := fhir.SplitReference(reference)
		if err != nil {
			return "" // not ours
		}
		id := ids[reference]
		if id == "" {
			gone = true
			return ""
		}
		return fhir.Reference(typ, id)
	})
	if err == nil && !gone {
		out, err = identified(out, own, there)
	}
	return out, gone, err
}
