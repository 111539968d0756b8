package owner

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// batch writes everything of a batch but the JSON, and returns the length of the JSON, which follows
// the message: the lines of the resources that are no deletions, in order.
func (e *encoder) batch(b *fhir.Batch) (json int) {
	e.uint(uint64(b.Len()))
	for _, r := range b.All() {
		e.buf = append(e.buf, byte(r.Type))
		e.bool(r.Deleted)
		e.text(r.ID)
		e.text(r.LastUpdated)
		e.text(r.SourceVersion)
		e.keys(r.Keys)
		e.uint(uint64(len(r.JSON)))
		if !r.Deleted {
			json += len(r.JSON) + 1
		}
	}
	e.uint(uint64(json))
	return json
}

// lines yields the JSON of a batch in pieces that are views into it.
func lines(b *fhir.Batch, yield func(piece []byte) error) error {
	for from := 0; from < b.Len(); {
		to := from
		for to < b.Len() && !b.Deleted(to) {
			to++
		}
		if to > from {
			if err := yield(b.Lines(from, to)); err != nil {
				return err
			}
		}
		from = to + 1
	}
	return nil
}

// decodeBatch adds to b, which must be empty, what batch and lines wrote. The batch copies it.
func decodeBatch(d *decoder, b *fhir.Batch) {
	// The first pass finds where the JSON begins.
	first := *d
	var r fhir.Resource
	for range first.count(7) {
		first.resourceOf(&r)
	}
	json := int(min(first.uint(), maxMessage))
	if first.bad || json != len(first.rest) {
		d.fail()
		return
	}
	text := first.rest
	for range d.count(7) {
		size := d.resourceOf(&r)
		r.JSON = nil
		if !r.Deleted {
			if size >= len(text) {
				d.fail()
				return
			}
			r.JSON, text = text[:size], text[size+1:]
		}
		if b.Len() == 0 && !r.Deleted { // make room for all at once
			b.End(slices.Grow(b.Begin(r.Type, "", "", ""), json))
			b.Reset()
		}
		b.Add(&r)
	}
	if d.rest = nil; len(text) > 0 {
		d.fail()
	}
}

// resourceOf reads a resource without its JSON, whose length it returns.
func (d *decoder) resourceOf(r *fhir.Resource) (json int) {
	t := d.take(1)
	r.Deleted = d.bool()
	r.ID, r.LastUpdated, r.SourceVersion = d.brief(), d.brief(), d.brief()
	r.Keys = d.keys(r.Keys[:0], d.brief)
	json = int(min(d.uint(), maxMessage))
	if !d.bad {
		r.Type = fhir.Type(t[0])
	}
	return json
}

func (e *encoder) keys(keys []fhir.Key) {
	e.uint(uint64(len(keys)))
	for _, k := range keys {
		e.buf = append(e.buf, byte(k.Param))
		e.text(k.Value)
	}
}

// keys reads what keys wrote, with text for the values, and appends it.
func (d *decoder) keys(keys []fhir.Key, text func() string) []fhir.Key {
	for range d.count(2) {
		p := d.take(1)
		value := text()
		if d.bad {
			break
		}
		keys = append(keys, fhir.Key{Param: fhir.Param(p[0]), Value: value})
	}
	return keys
}

func (e *encoder) outcomes(outcomes []store.Outcome) {
	e.uint(uint64(len(outcomes)))
	for _, o := range outcomes {
		e.buf = append(e.buf, byte(o))
	}
}

func (d *decoder) outcomes(out []store.Outcome) []store.Outcome {
	for _, o := range d.view() {
		if store.Outcome(o) > store.Deleted {
			d.fail()
			break
		}
		out = append(out, store.Outcome(o))
	}
	return out
}

func (e *encoder) commit(c *store.Commit) {
	for _, list := range [][]store.MetaRecord{c.Put, c.Guards} {
		e.uint(uint64(len(list)))
		for _, r := range list {
			e.text(r.Name)
			e.optional(r.Value)
		}
	}
	e.text(c.Lease.Name)
	e.uint(c.Lease.Epoch)
	e.text(c.Origin)
}

func (d *decoder) commit() (c store.Commit) {
	for _, list := range []*[]store.MetaRecord{&c.Put, &c.Guards} {
		for range d.count(2) {
			*list = append(*list, store.MetaRecord{Name: d.text(), Value: d.optional()})
		}
	}
	c.Lease = store.Lease{Name: d.text(), Epoch: d.uint()}
	c.Origin = d.text()
	return c
}

func (e *encoder) entry(x *store.Entry) {
	e.buf = append(e.buf, byte(x.Type))
	e.text(x.ID)
	e.text(x.Patient)
	e.uint(uint64(x.Version))
	e.text(x.LastUpdated)
	e.uint(uint64(x.Commit))
	e.bool(x.Deleted)
	e.optional(x.JSON)
	e.keys(x.Keys)
}

// entry reads an entry and reuses the memory of x.
func (d *decoder) entry(x *store.Entry) {
	t := d.take(1)
	x.ID, x.Patient = d.text(), d.text()
	x.Version, x.LastUpdated, x.Commit, x.Deleted = uint32(d.uint()), d.text(), int64(d.uint()), d.bool()
	if n := d.uint(); n == 0 {
		x.JSON = x.JSON[:0]
	} else {
		x.JSON = append(x.JSON[:0], d.take(n-1)...)
	}
	x.Keys = d.keys(x.Keys[:0], d.text)
	if !d.bad {
		x.Type = fhir.Type(t[0])
	}
}

func (e *encoder) query(q *store.Query) {
	e.uint(uint64(q.Type))
	e.texts(q.Patients)
	e.texts(q.IDs)
	e.uint(uint64(len(q.Filters)))
	for i := range q.Filters {
		name, value := q.Filters[i].Text()
		e.text(name)
		e.text(value)
	}
	e.text(q.After)
	e.uint(uint64(q.Count))
	e.bool(q.NoJSON)
	e.bool(q.SourceDates)
}

func (d *decoder) query() (*store.Query, error) {
	q := &store.Query{Type: fhir.Type(min(d.uint(), uint64(fhir.NumTypes))), Patients: d.texts(), IDs: d.texts()}
	for range d.count(2) {
		name, value := d.text(), d.text()
		if d.bad {
			break
		}
		f, err := store.ParseFilter(name, value)
		if err != nil {
			return nil, err
		}
		q.Filters = append(q.Filters, f)
	}
	q.After, q.Count, q.NoJSON, q.SourceDates = d.text(), int(min(d.uint(), 1<<31-1)), d.bool(), d.bool()
	return q, d.end()
}

func (e *encoder) change(c store.Change) {
	e.uint(uint64(c.Commit))
	e.buf = append(e.buf, byte(c.Type))
	e.text(c.ID)
	e.uint(uint64(c.Version))
	e.text(c.Origin)
	e.uint(uint64(c.Restored))
}

func (d *decoder) change() (c store.Change) {
	c.Commit = int64(d.uint())
	if t := d.take(1); len(t) == 1 {
		c.Type = fhir.Type(t[0])
	}
	c.ID, c.Version, c.Origin, c.Restored = d.text(), uint32(d.uint()), d.text(), uint32(d.uint())
	return c
}

// texts writes a list that may be nil, which is not the same as empty.
func (e *encoder) texts(list []string) {
	e.bool(list != nil)
	e.uint(uint64(len(list)))
	for _, s := range list {
		e.text(s)
	}
}

func (d *decoder) texts() (list []string) {
	if d.bool() {
		list = []string{}
	}
	for range d.count(1) {
		list = append(list, d.text())
	}
	return list
}

// named are the errors that keep their identity. Their numbers are part of the protocol.
var named = [...]error{
	1: store.ErrNotFound,
	2: store.ErrChanged,
	3: store.ErrFenced,
	4: store.ErrReadOnly,
	5: context.Canceled,
	6: context.DeadlineExceeded,
	7: errEnding,
	8: errMessage,
}

// ofCorrupt and ofSystem are numbers of errors that have fields.
const (
	ofCorrupt = 100
	ofSystem  = 101
)

func (e *encoder) error(err error) {
	e.text(err.Error())
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		e.uint(ofCorrupt)
		e.text(c.Dir)
		e.text(c.What)
		return
	}
	if n, ok := errors.AsType[syscall.Errno](err); ok {
		e.uint(ofSystem)
		e.uint(uint64(n))
		return
	}
	for number, is := range named {
		if is != nil && errors.Is(err, is) {
			e.uint(uint64(number))
			return
		}
	}
	e.uint(0)
}

// error reads the error of an owner. If what was sent is none, it returns errMessage.
func (d *decoder) error() error {
	text := d.text()
	var is error
	switch number := d.uint(); {
	case number == ofCorrupt:
		is = &store.CorruptError{Dir: d.text(), What: d.text()}
	case number == ofSystem:
		is = syscall.Errno(d.uint())
	case number < uint64(len(named)):
		is = named[number]
	}
	if err := d.end(); err != nil {
		return err
	}
	if is != nil && is.Error() == text {
		return is
	}
	return &ownerError{text, is}
}

// ownerError is an error of the owner: its text, and what it is.
type ownerError struct {
	text string
	is   error // nil if nothing that callers know
}

func (e *ownerError) Error() string { return e.text }
func (e *ownerError) Unwrap() error { return e.is }
