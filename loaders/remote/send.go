package remote

import (
	"context"
	"fmt"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// rounds is how often a resource is sent whose version on the server is another one each time, and
// roundPause how long before each time, times the number of the round.
const (
	rounds     = 6
	roundPause = 20 * time.Millisecond
)

// sendAll sends what must be sent. A server that gives ids gets one type after the other: only then the
// ids are known that references have.
func (w *work) sendAll(ctx context.Context) error {
	waves := [][]*thing{nil}
	if w.l.gives {
		waves = make([][]*thing, fhir.NumTypes+1)
	}
	for _, t := range w.things {
		switch {
		case !t.send:
		case !w.l.gives:
			waves[0] = append(waves[0], t)
		case t.deletes && t.json == nil:
			waves[fhir.NumTypes] = append(waves[fhir.NumTypes], t)
		default:
			waves[t.typ] = append(waves[t.typ], t)
		}
	}
	for _, list := range waves {
		if err := w.sendWave(ctx, list); err != nil {
			return err
		}
	}
	return nil
}

// sendWave sends resources until each has an end.
func (w *work) sendWave(ctx context.Context, list []*thing) error {
	for round := 1; len(list) > 0; round++ {
		if round > 1 {
			select {
			case <-time.After(roundPause * time.Duration(round)):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		entries, sent, err := w.entries(ctx, list)
		if err != nil {
			return err
		}
		conflicts, err := w.send(ctx, entries, sent)
		if err != nil {
			return err
		}
		if list, err = w.resolve(ctx, conflicts); err != nil {
			return err
		}
		if round == rounds {
			for _, t := range list {
				if t.refusal = t.conflict; !t.alike || t.conflict == nil { // somebody else writes it all the time
					t.refusal = &pipeline.Refusal{Rule: pipeline.RuleServerChanged}
				}
			}
			return nil
		}
	}
	return nil
}

// send sends entries and returns those of which the server has another version.
func (w *work) send(ctx context.Context, entries []Entry, sent []*thing) (conflicts []*thing, err error) {
	if len(entries) == 0 {
		return nil, nil
	}
	began := time.Now()
	answers, err := w.l.sender.Send(ctx, entries)
	if err != nil {
		return nil, err
	}
	if len(answers) != len(entries) {
		return nil, fmt.Errorf("send: %d answers to %d entries", len(answers), len(entries))
	}
	var stored [fhir.NumTypes]int
	for i := range answers {
		t, a := sent[i], &answers[i]
		switch a.Fate {
		case Stored:
			stored[t.typ]++
			t.stored(a.Version, a.ID, w.l.gives)
		case Conflict:
			t.conflict = a.Refusal
			conflicts = append(conflicts, t)
		default:
			if t.refusal = a.Refusal; t.refusal == nil {
				t.refusal = &pipeline.Refusal{Rule: pipeline.RuleServerRefused}
			}
		}
	}
	if w.l.events.Sent != nil {
		for typ, n := range stored {
			if n > 0 {
				w.l.events.Sent(fhir.Type(typ), n, time.Since(began))
			}
		}
	}
	return conflicts, nil
}

// stored takes over what the server says of a resource that it has stored.
func (t *thing) stored(version, id string, gives bool) {
	if !t.now.Present {
		t.now = entry{}
		return
	}
	t.now.Version = version
	if gives {
		if t.now.ID = t.idThere(); id != "" {
			t.now.ID = id
		}
	}
}

// entries makes what is sent. Resources that cannot be sent are refused.
func (w *work) entries(ctx context.Context, list []*thing) (entries []Entry, sent []*thing, err error) {
	texts := w.texts(list)
	var ids map[string]string
	if w.l.gives {
		if ids, err = w.idsOf(ctx, texts); err != nil {
			return nil, nil, err
		}
	}
	for i, t := range list {
		e := Entry{Type: t.typ, ID: t.id, Deleted: t.deletes && t.json == nil}
		if t.known != nil {
			e.There = t.known.There
		}
		if !e.Deleted {
			e.JSON = texts[i]
			if w.l.gives {
				var gone bool
				if e.JSON, gone, err = forServer(e.JSON, t.id, e.There.ID, ids); err != nil {
					return nil, nil, fmt.Errorf("write %s for the server: %w", t.typ, err)
				}
				if gone {
					t.refusal = &pipeline.Refusal{Rule: pipeline.RuleReferenceGone}
					continue
				}
			}
		}
		entries, sent = append(entries, e), append(sent, t)
	}
	return entries, sent, nil
}

// texts are the resources as we have them, in order.
func (w *work) texts(list []*thing) [][]byte {
	at := map[int]int{}
	out := make([][]byte, len(list))
	for i, t := range list {
		if out[i] = t.json; out[i] == nil && !t.deletes {
			at[t.last] = i
		}
	}
	for i, r := range w.batch.All() {
		if to, ok := at[i]; ok {
			out[to] = r.JSON
		}
	}
	return out
}

// resolve finds out why the server has another version of resources than the index. It returns those that
// are to be sent again.
func (w *work) resolve(ctx context.Context, conflicts []*thing) (again []*thing, err error) {
	if len(conflicts) == 0 {
		return nil, nil
	}
	there, err := w.l.read(ctx, conflicts)
	if err != nil {
		return nil, err
	}
	for i, t := range conflicts {
		now := &there[i]
		known := t.known
		if known == nil {
			known = &entry{}
		}
		switch {
		case now.Present == t.now.Present && now.Digest == t.now.Digest: // it was done, and the answer was lost
			t.stored(now.Version, now.ID, w.l.gives)
		case now.Present == known.Present && now.Digest == known.Digest: // another version of the same
			t.alike = now.Version == known.Version // not even that: a rule of the server has this status, too
			t.known = now
			again = append(again, t)
		case w.changed(t):
			t.alike, t.known = false, now
			again = append(again, t)
		}
	}
	return again, nil
}

// changed reports whether what somebody else has made of a resource is to be overwritten. Otherwise the
// resource is refused.
func (w *work) changed(t *thing) (overwrite bool) {
	if w.l.events.Changed != nil {
		w.l.events.Changed(t.typ, t.id)
	}
	if w.l.settings.Conflicts == "overwrite" {
		return true
	}
	t.refusal = &pipeline.Refusal{Rule: pipeline.RuleServerChanged}
	return false
}

// refuseUnknownAge refuses to overwrite what a load has found on the server, unless a record of the batch is the
// same: it may be newer than the batch, or somebody else's. Nothing but the operator can decide that.
func (w *work) refuseUnknownAge() {
	for _, t := range w.things {
		if t.send && t.known != nil && t.known.Adopted && !t.vouched && !w.changed(t) {
			t.send = false
		}
	}
}

// readFirst reads what must be known before it is written: what is gone needs no deletion, and what somebody
// else has changed is neither deleted nor overwritten without a word. Few servers compare versions when they
// delete, and none can if we do not know which version is ours, as after a bulk import. Where what is
// deleted is only marked, it makes what is sent: the resource as the server has it, as entered in error, or
// inactive.
func (w *work) readFirst(ctx context.Context) error {
	var list []*thing
	for _, t := range w.things {
		unknown := w.l.settings.IfMatch && t.known != nil && t.known.Present && t.known.Version == ""
		if t.send && (t.deletes || unknown) {
			list = append(list, t)
		}
	}
	if len(list) == 0 {
		return nil
	}
	answers, err := w.l.readAll(ctx, list)
	if err != nil {
		return err
	}
	for i, t := range list {
		there, err := w.l.entryOf(t, &answers[i])
		if err != nil {
			return err
		}
		if !t.deletes {
			w.renew(t, &there)
			continue
		}
		if err := w.delete(t, &there, answers[i].JSON); err != nil {
			return fmt.Errorf("delete %s: %w", t.typ, err)
		}
	}
	return nil
}

// renew takes over what the server has of a resource that is to be written.
func (w *work) renew(t *thing, there *entry) {
	switch {
	case there.Present == t.now.Present && there.Digest == t.now.Digest: // it is written already
		t.send = false
		t.stored(there.Version, there.ID, w.l.gives)
	case there.Present == t.known.Present && there.Digest == t.known.Digest || w.changed(t):
		t.known = there
	default:
		t.send = false
	}
}

// delete decides how a resource is deleted that the server has as there.
func (w *work) delete(t *thing, there *entry, resource []byte) error {
	switch {
	case !there.Present:
		t.now, t.send = entry{}, false
		return nil
	case there.Marked:
		t.now, t.send = *there, false
		return nil
	case (t.known == nil || there.Digest != t.known.Digest) && !w.changed(t):
		t.send = false
		return nil
	}
	t.known = there
	if !t.now.Marked {
		return nil
	}
	text, err := w.l.ours(resource, t.id, "")
	if err == nil {
		t.json, _, err = marked(t.typ, text)
	}
	if err == nil {
		t.now.Digest, err = w.l.digester.of(t.json, nil)
	}
	return err
}

// ours returns a resource of the server as we would write it.
func (l *Loader) ours(resource []byte, id, lastUpdated string) ([]byte, error) {
	text, err := asOurs(resource, id, lastUpdated)
	if err != nil || !l.gives {
		return text, err
	}
	return withReferences(text, l.own)
}
