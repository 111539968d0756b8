package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"cpcds2fhir/schemas/fhir"
)

// Query asks for resources of one type that are not deleted.
type Query struct {
	Type     fhir.Type
	Patients []string // ids; only what belongs to one of these patients; nil is no limit
	IDs      []string // _id: one of these; nil is no limit
	Filters  []Filter // all must hold
	After    string   // only ids greater than this, the last of the previous page
	Count    int      // at most this many; 0 is no limit
	NoJSON   bool     // leave JSON empty, to count or to follow references

	// SourceDates says that _lastUpdated is the source's date alone, not the later of that and the
	// commit.
	SourceDates bool
}

// Search yields the resources that q asks for, by id, as of the moment of the
// call, with their Keys. An error ends it.
//
// A patient, ids, or an identifier with a code limit the search to a few resources. Without any of
// them it reads every resource of the type.
func (s *Store) Search(ctx context.Context, q *Query) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(nil, err)
			return
		}
		defer s.leave()
		if q.Type >= fhir.NumTypes {
			return
		}
		snapshot := s.db.NewSnapshot()
		defer func() { _ = snapshot.Close() }() // cannot fail
		x := search{ctx: ctx, store: s, db: snapshot, query: q, yield: yield, entry: Entry{Type: q.Type}}
		if err := x.run(); err != nil {
			yield(nil, fmt.Errorf("search: %w", readError(q.Type, err)))
		}
	}
}

// Count counts the resources of a store that q asks for, on all pages together.
func Count(ctx context.Context, s Handle, q *Query) (int64, error) {
	all := *q
	all.After, all.Count, all.NoJSON = "", 0, true
	n := int64(0)
	for _, err := range s.Search(ctx, &all) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// search is one search under way.
type search struct {
	ctx   context.Context // of the call
	store *Store
	db    pebble.Reader
	query *Query
	yield func(*Entry, error) bool
	entry Entry
	known *head // of the resource that is tried, if it was read already
	found int
	key   []byte
}

func (x *search) run() error {
	q := x.query
	if q.IDs != nil {
		return x.byID(q.IDs)
	}
	switch len(q.Patients) {
	case 0:
		if q.Patients != nil {
			return nil
		}
	case 1:
		return x.byPatient(q.Patients[0], x.tryRow)
	default:
		return x.byPatients()
	}
	for i := range q.Filters {
		if ids, ok, err := x.byIdentifier(&q.Filters[i]); err != nil {
			return err
		} else if ok {
			return x.byID(ids)
		}
	}
	for h, err := range x.store.heads(x.ctx, x.db, q.Type, q.After) {
		if err != nil {
			return err
		}
		if more, err := x.tryHead(h.id, &h.head); err != nil || !more {
			return err
		}
	}
	return nil
}

// byPatients tries the resources of several patients, by id.
func (x *search) byPatients() error {
	var ids []string
	for _, p := range x.query.Patients {
		err := x.byPatient(p, func(id string, _ []byte) (bool, error) {
			ids = append(ids, id)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return x.byID(ids)
}

// byPatient calls try with the rows of a patient, in order of id, while it wants more.
func (x *search) byPatient(patient string, try func(id string, row []byte) (more bool, err error)) error {
	q := x.query
	if checkID(patient) != nil {
		return nil
	}
	prefix := appendRowPrefix(nil, patient, q.Type)
	lower := append(slices.Clone(prefix), q.After...)
	if q.After != "" {
		lower = append(lower, 0)
	}
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }() // its error is that of it.Error
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err = errors.Join(err, x.ctx.Err()); err != nil {
			return err
		}
		if more, err := try(string(it.Key()[len(prefix):]), v); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// byID tries resources by their ids.
func (x *search) byID(ids []string) error {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if id <= x.query.After || checkID(id) != nil {
			continue
		}
		if err := x.ctx.Err(); err != nil {
			return err
		}
		more := true
		x.key = appendHeadKey(x.key[:0], x.query.Type, id)
		err := view(x.db, x.key, func(v []byte) (err error) {
			var h head
			if !h.decode(v) {
				return &CorruptError{x.store.dir, "a head"}
			}
			more, err = x.tryHead(id, &h)
			return err
		})
		if err != nil && err != ErrNotFound || !more {
			return err
		}
	}
	return nil
}

// byIdentifier returns the ids of the resources with an identifier. It reports false if f is not a
// filter that the index can answer.
func (x *search) byIdentifier(f *Filter) (ids []string, ok bool, err error) {
	if !f.Indexed() {
		return nil, false, nil
	}
	for _, t := range f.tests {
		if ids, err = x.identified(ids, t.(token)); err != nil {
			return nil, false, err
		}
	}
	return ids, true, nil
}

func (x *search) identified(ids []string, want token) ([]string, error) {
	prefix := appendIdentifierPrefix(nil, x.query.Type, want)
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return nil, err
	}
	defer func() { _ = it.Close() }() // its error is that of it.Error
	for ok := it.First(); ok; ok = it.Next() {
		k := string(it.Key())
		ids = append(ids, k[strings.LastIndexByte(k, 0)+1:])
	}
	return ids, it.Error()
}

// tryHead yields a resource if its row passes. It reports whether to go on.
func (x *search) tryHead(id string, h *head) (more bool, err error) {
	if h.deleted || x.query.Patients != nil && !slices.Contains(x.query.Patients, string(h.patient)) {
		return true, nil
	}
	x.known = h
	defer func() { x.known = nil }()
	x.key = appendRowKey(x.key[:0], string(h.patient), x.query.Type, id)
	err = view(x.db, x.key, func(v []byte) (err error) {
		more, err = x.tryRow(id, v)
		return err
	})
	if err == ErrNotFound {
		return false, &CorruptError{x.store.dir, "a row"}
	}
	return more, err
}

func (x *search) tryRow(id string, v []byte) (more bool, err error) {
	var r row
	if !r.decode(v) {
		return false, &CorruptError{x.store.dir, "a row"}
	}
	for i := range x.query.Filters {
		f := &x.query.Filters[i]
		if f.param == lastUpdated && !x.query.SourceDates {
			r.lastUpdated = []byte(later(string(r.lastUpdated), x.store.commitOf(r.commit)))
		}
		if !f.matches(&r) {
			return true, nil
		}
	}
	e := &x.entry
	e.ID, e.Keys = id, e.Keys[:0]
	r.each(func(p fhir.Param, value []byte) bool {
		e.Keys = append(e.Keys, fhir.Key{Param: p, Value: string(value)})
		return true
	})
	if err := x.load(e); err != nil {
		return false, err
	}
	x.found++
	return x.yield(e, nil) && x.found != x.query.Count, nil
}

// load reads the newest body of e, unless the query wants none.
func (x *search) load(e *Entry) error {
	take := func(h *head) {
		e.Patient = string(h.patient)
		e.Version, e.LastUpdated, e.Commit = h.version, string(h.lastUpdated), x.store.commitOf(h.commit)
	}
	var key []byte
	if x.known != nil {
		take(x.known)
	} else {
		key = appendHeadKey(nil, e.Type, e.ID)
		err := view(x.db, key, func(v []byte) error {
			var h head
			if !h.decode(v) {
				return &CorruptError{x.store.dir, "a head"}
			}
			take(&h)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if x.query.NoJSON {
		return nil
	}
	key = appendBodyKey(key[:0], e.Type, e.ID, e.Version)
	return view(x.db, key, func(v []byte) error { return x.store.decodeBody(v, e) })
}
