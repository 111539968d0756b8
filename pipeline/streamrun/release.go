package streamrun

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
)

// release is a record that waited.
type release struct {
	held
	name    string // of its record
	expired bool
	message Message
}

// released adds records that waited to a batch.
func (m *maker) released(ctx context.Context, b *batch, list []release) error {
	if len(list) == 0 {
		return nil
	}
	if err := m.takeKit(ctx); err != nil {
		return err
	}
	defer m.returnKit()
	var items []item
	for i := range list {
		r := &list[i]
		if r.Provisional && r.expired {
			m.age(b, r)
			continue
		}
		it := item{Message: &r.message, waited: r, expired: r.expired}
		if err := m.read(ctx, &it); err != nil {
			return err
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil
	}
	return m.make(ctx, b, items)
}

// release lets the records go that wait for keys which have arrived, as long as the batch has room for
// them: half of it is for messages. More of them may wait than fit into memory.
func (l *lane) release(ctx context.Context) error {
	for len(l.due) > 0 && !l.next.full(l.room()/2) {
		names, keys, err := l.waiting(ctx)
		if err == nil && len(names) > 0 {
			var list []release
			if list, err = l.readHeld(ctx, names, l.Now().Add(-l.Late)); err == nil {
				err = l.maker.released(ctx, l.next, list)
			}
		}
		if err != nil {
			l.giveBack(names)
			return err
		}
		l.next.claimed = append(l.next.claimed, names...)
		l.due = l.due[keys:]
	}
	return nil
}

// waiting claims records that wait for the first keys that are due, and returns for how many keys these
// are all.
func (l *lane) waiting(ctx context.Context) (names []string, keys int, err error) {
	for _, u := range l.due {
		err := l.Target.Each(ctx, waitSpace+string(keyOf(u))+"/", func(r pipeline.Record) error {
			if len(names) >= releaseAtOnce {
				return errEnough
			}
			place := strings.Clone(r.Name[len(waitSpace)+keySize+1:])
			if name := heldSpace + place; l.isOf(place) && l.claim(name) {
				names = append(names, name)
			}
			return nil
		})
		if errors.Is(err, errEnough) {
			break // the rest of this key later
		}
		if err != nil {
			return names, keys, err
		}
		keys++
	}
	return names, keys, nil
}

// handOver leaves the keys that are due to other lanes. A sweep finds those that none of them takes.
func (l *lane) handOver() {
	for _, u := range l.due {
		select {
		case l.arrivals <- u:
		default:
			l.due = nil
			return
		}
	}
	l.due = nil
}

// claim makes this lane the one of this process that lets a record go. It fails if another lane, or
// this one, is about to.
func (l *lane) claim(name string) bool {
	_, taken := l.going.LoadOrStore(name, l)
	return !taken
}

// giveBack ends claims.
func (l *lane) giveBack(names []string) {
	for _, n := range names {
		l.going.Delete(n)
	}
}

// look finds those of the keys that have arrived in the meantime.
func (l *lane) look(ctx context.Context, keys []directory.Unresolved) error {
	for len(keys) > 0 {
		n := min(256, len(keys))
		present, err := present(ctx, l.Target, keys[:n])
		if err != nil {
			return err
		}
		l.due = append(l.due, present...)
		keys = keys[n:]
	}
	return nil
}

// present returns those of the keys that a target has.
func present(ctx context.Context, t pipeline.StreamTarget, keys []directory.Unresolved) (list []directory.Unresolved, err error) {
	var names []string
	for _, k := range keys {
		names = append(names, k.Names()...)
	}
	values, err := t.Recall(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		n := len(k.Names())
		if slices.ContainsFunc(values[:n], func(v []byte) bool { return v != nil }) && !slices.Contains(list, k) {
			list = append(list, k)
		}
		values = values[n:]
	}
	return list, nil
}

// releaseAtOnce is how many records that waited are read together.
const releaseAtOnce = 128

var errEnough = errors.New("enough records")

// readHeld reads messages that wait. Those that wait since before expired have waited too long.
func (l *lane) readHeld(ctx context.Context, names []string, expired time.Time) (list []release, err error) {
	for len(names) > 0 {
		n := min(64, len(names))
		values, err := l.Target.Recall(ctx, names[:n])
		if err != nil {
			return nil, err
		}
		for i, v := range values {
			if v == nil {
				continue // another lane has let it go
			}
			r, err := readHeld(names[i], v)
			if err != nil {
				return nil, err
			}
			r.expired = r.Since.Before(expired)
			list = append(list, *r)
		}
		names = names[n:]
	}
	return list, nil
}

func readHeld(name string, v []byte) (*release, error) {
	head, value, ok := bytes.Cut(v, []byte{'\n'})
	r := &release{name: name}
	if !ok || json.Unmarshal(head, &r.held) != nil {
		return nil, stopf("read a record that waits: it is damaged")
	}
	r.message = Message{Offset: r.Offset, LeaderEpoch: r.LeaderEpoch, Time: r.Time, Key: r.Key, Value: value, Headers: r.Headers}
	if r.Deletes {
		r.message.Value = nil
	}
	return r, nil
}

// Sweep looks through all that waits, and lets go what can go on or has waited too long. A process
// that was killed may have left such records. It returns how many records wait.
func (e *Engine) Sweep(ctx context.Context) (waiting int64, err error) {
	expired := e.Now().Add(-e.Late).UTC()
	var keys []directory.Unresolved // not yet looked up
	var due []directory.Unresolved
	lookUp := func() error {
		present, err := present(ctx, e.Target, keys)
		due = append(due, present...)
		keys = keys[:0]
		return err
	}
	var last, overdue []byte
	err = e.Target.Each(ctx, waitSpace, func(r pipeline.Record) error {
		key := []byte(r.Name[len(waitSpace):][:keySize])
		if !e.isOf(r.Name[len(waitSpace)+keySize+1:]) {
			return nil
		}
		kind, text, _ := strings.Cut(string(r.Value), " ")
		since, err := time.Parse(time.RFC3339, text)
		if kind == "waits" {
			waiting++
		}
		if err != nil {
			return stopf("read a record that waits: it is damaged")
		}
		if since.Before(expired) && !bytes.Equal(key, overdue) {
			overdue = key
			due = append(due, unresolvedOf(key))
		}
		if bytes.Equal(key, last) {
			return nil
		}
		last = key
		if keys = append(keys, unresolvedOf(key)); len(keys) >= 128 {
			return lookUp()
		}
		return nil
	})
	if err == nil && len(keys) > 0 {
		err = lookUp()
	}
	for _, u := range due {
		select {
		case e.arrivals <- u:
		case <-ctx.Done():
			return waiting, ctx.Err()
		default: // the next sweep finds it
		}
	}
	if e.Events.Waiting != nil && err == nil {
		e.Events.Waiting(waiting)
	}
	return waiting, err
}
