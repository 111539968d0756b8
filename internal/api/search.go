package api

import (
	"cmp"
	"context"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// entry is a resource of a page, with memory of its own.
type entry struct {
	store.Entry
	included bool
}

// page is the answer to a search.
type page struct {
	entries []*entry
	total   int64 // -1 if it is not known
	next    *place
}

// finder runs one search for one access.
type finder struct {
	store       store.Handle
	access      *Access
	limits      *Limits
	sourceDates bool
	memory      *memory
	direct      *bundle // takes what is found, in its order; nil: it is in the page
}

// memory is what a request copies resources into, and what it writes its answer into. It is used again: a
// page of claims is a megabyte.
type memory struct {
	resources, answer []byte
	shown             []Shown
}

// show notes that the answer has a resource.
func (m *memory) show(e *store.Entry) { m.shown = append(m.shown, Shown{e.Type, e.ID, e.Patient}) }

var memories = sync.Pool{New: func() any { return new(memory) }}

// memoryMax is how much of it is kept for other requests.
const memoryMax = 8 << 20

func (m *memory) release() {
	if cap(m.resources)+cap(m.answer) > memoryMax {
		return
	}
	clear(m.shown)
	m.resources, m.answer, m.shown = m.resources[:0], m.answer[:0], m.shown[:0]
	memories.Put(m)
}

// search searches the store. Entries say when they were updated as the server does.
func (f *finder) search(ctx context.Context, q *store.Query) iter.Seq2[*store.Entry, error] {
	q.SourceDates = f.sourceDates
	return dated(f.store.Search(ctx, q), f.sourceDates)
}

// dated leaves out when entries were committed if the source's dates are served.
func dated(entries iter.Seq2[*store.Entry, error], sourceDates bool) iter.Seq2[*store.Entry, error] {
	if !sourceDates {
		return entries
	}
	return func(yield func(*store.Entry, error) bool) {
		for e, err := range entries {
			if e != nil {
				e.Commit = 0
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// permit applies what the access may see to a search, and refuses what no index answers.
func (f *finder) permit(q *query) error {
	a := f.access
	if !a.may(q.typ, maySearch) {
		return forbidden("the scopes do not allow to search %s", q.typ)
	}
	if a.Patient == "" {
		return nil
	}
	switch {
	case q.typ == fhir.Patient:
		q.ids = among(q.ids, []string{a.Patient})
	case q.member == fhir.ParamPatient:
		q.patients = among(q.patients, []string{a.Patient})
	case q.ids == nil:
		return costly("", "name the %s by _id, or include it in a search of claims or coverages", q.typ)
	}
	return nil
}

// run finds a page. from is where it begins, nil is at the beginning.
func (f *finder) run(ctx context.Context, q *query, from *place) (*page, error) {
	if err := f.permit(q); err != nil {
		return nil, err
	}
	p := &page{total: -1}
	var err error
	switch {
	case q.counts:
		p.total, err = f.count(ctx, q)
		return p, err
	case len(q.sort) > 0:
		err = f.sorted(ctx, q, from, p)
	case q.indexed():
		err = f.byID(ctx, q, from, p)
	default:
		if since, ok := q.since(); ok && !f.sourceDates && f.access.Patient == "" {
			err = f.changed(ctx, q, since, from, p)
		} else {
			err = f.scan(ctx, q, from, p)
		}
	}
	if err != nil {
		return nil, err
	}
	if p.total < 0 && q.total == "accurate" {
		if p.total, err = f.count(ctx, q); err != nil {
			return nil, err
		}
	}
	if q.total == "none" {
		p.total = -1
	}
	return p, f.include(ctx, q, p)
}

// count counts what a search finds on all pages.
func (f *finder) count(ctx context.Context, q *query) (n int64, err error) {
	rows := 0
	s := q.search()
	s.NoJSON = true
	if !q.indexed() {
		s.Filters = nil // so that rows that do not pass are counted, too
	}
	for e, err := range f.search(ctx, s) {
		if err != nil {
			return 0, err
		}
		if rows++; !q.indexed() && rows > f.limits.Rows {
			return 0, costly("", "it would have to read more than %d resources; add a patient, ids, or an identifier", f.limits.Rows)
		}
		if f.passes(q, e) {
			n++
		}
	}
	return n, nil
}

// passes reports whether a resource passes all filters and may be seen.
func (f *finder) passes(q *query, e *store.Entry) bool {
	for i := range q.filters {
		if !q.filters[i].Matches(e) {
			return false
		}
	}
	return f.access.sees(e, maySearch)
}

// clone copies an entry that the store yields into the memory of the request.
func (m *memory) clone(e *store.Entry) *entry {
	c := &entry{Entry: *e}
	c.ID, c.LastUpdated = strings.Clone(e.ID), strings.Clone(e.LastUpdated)
	from := len(m.resources)
	m.resources = append(m.resources, e.JSON...)
	c.JSON = m.resources[from:len(m.resources):len(m.resources)]
	c.Keys = slices.Clone(e.Keys)
	return c
}

// take adds what was found to the answer.
func (f *finder) take(p *page, e *store.Entry) error {
	if f.direct != nil {
		return f.direct.add(e, modeMatch)
	}
	p.entries = append(p.entries, f.memory.clone(e))
	return nil
}

// byID finds a page of what an index finds, by id.
func (f *finder) byID(ctx context.Context, q *query, from *place, p *page) error {
	s := q.search()
	if from != nil {
		s.After = from.id
	}
	found, last := 0, ""
	for e, err := range f.search(ctx, s) {
		if err != nil {
			return err
		}
		if !f.access.sees(e, maySearch) {
			continue
		}
		if found == q.count {
			p.next = &place{id: last}
			break
		}
		found++
		if last = e.ID; found == q.count {
			last = strings.Clone(last)
		}
		if err := f.take(p, e); err != nil {
			return err
		}
	}
	if from == nil && p.next == nil {
		p.total = int64(found)
		return nil
	}
	var err error
	if q.total != "none" {
		p.total, err = f.count(ctx, q)
	}
	return err
}

// changed finds a page of what has changed in a type, in the order of commits, for whoever follows it: by
// the change feed, without reading what has not changed. A resource that changes again moves to the end.
func (f *finder) changed(ctx context.Context, q *query, since int64, from *place, p *page) error {
	var after *store.Change
	if from != nil && len(from.keys) == 2 {
		after = &store.Change{Commit: from.keys[0], Type: q.typ, ID: from.id, Version: uint32(from.keys[1])}
	}
	var list []store.Change
	more := false
	for c, err := range f.store.Changes(ctx, q.typ, since, after) {
		if err != nil {
			return err
		}
		if len(list) == q.count {
			more = true
			break
		}
		list = append(list, c)
	}
	ids := make([]string, len(list))
	for i, c := range list {
		ids[i] = c.ID
	}
	found, err := f.fetch(ctx, q.typ, ids)
	for _, c := range list {
		// An older version stands where the resource was then; its newest one comes later.
		if e := found[c.ID]; e != nil && e.Version == c.Version && f.passes(q, &e.Entry) {
			p.entries = append(p.entries, e)
		}
	}
	if more {
		last := list[len(list)-1]
		p.next = &place{keys: []int64{last.Commit, int64(last.Version)}, id: last.ID}
	}
	return err
}

// scan reads resources of a type, one after the other, at most Limits.Rows for a page: it may have few
// resources or none and still be followed by others.
func (f *finder) scan(ctx context.Context, q *query, from *place, p *page) error {
	if f.access.Patient != "" {
		return costly("", "name the patient, ids, or an identifier")
	}
	s := q.search()
	s.Filters, s.NoJSON = nil, true
	if from != nil {
		s.After = from.id
	}
	var ids []string
	rows, last := 0, ""
	for e, err := range f.search(ctx, s) {
		if err != nil {
			return err
		}
		if len(ids) == q.count || rows == f.limits.Rows {
			p.next = &place{id: last}
			break
		}
		rows++
		last = strings.Clone(e.ID)
		if f.passes(q, e) {
			ids = append(ids, last)
		}
	}
	return f.addFound(ctx, q, p, ids)
}

// addFound adds resources in the order of their ids' list, those that still pass.
func (f *finder) addFound(ctx context.Context, q *query, p *page, ids []string) error {
	found, err := f.fetch(ctx, q.typ, ids)
	for _, id := range ids {
		if e := found[id]; e != nil && f.passes(q, &e.Entry) {
			p.entries = append(p.entries, e)
		}
	}
	return err
}

// fetch reads resources by their ids, those that are there.
func (f *finder) fetch(ctx context.Context, t fhir.Type, ids []string) (map[string]*entry, error) {
	found := make(map[string]*entry, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	for e, err := range f.search(ctx, &store.Query{Type: t, IDs: ids}) {
		if err != nil {
			return nil, err
		}
		c := f.memory.clone(e)
		found[c.ID] = c
	}
	return found, nil
}

// sorted finds a page of a sorted search: it reads the index entries of all that it finds, and the
// resources of the page.
func (f *finder) sorted(ctx context.Context, q *query, from *place, p *page) error {
	if !q.indexed() {
		return costly("_sort", "sorting needs a patient, ids, or an identifier")
	}
	if from != nil && len(from.keys) != len(q.sort) {
		return invalid(cursorParam, "it is of a search that was sorted in another way")
	}
	s := q.search()
	s.NoJSON = true
	var all []place
	for e, err := range f.search(ctx, s) {
		if err != nil {
			return err
		}
		if f.access.sees(e, maySearch) {
			all = append(all, place{q.sortKeys(e), strings.Clone(e.ID)})
		}
		if len(all) > f.limits.Rows {
			return costly("_sort", "more than %d resources cannot be sorted; search for less", f.limits.Rows)
		}
	}
	p.total = int64(len(all))
	slices.SortFunc(all, comparePlaces)
	if from != nil {
		all = following(all, from)
	}
	if len(all) > q.count {
		all = all[:q.count]
		p.next = &all[q.count-1]
	}
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].id
	}
	return f.addFound(ctx, q, p, ids)
}

// comparePlaces orders places: what ascends has its key as it is, what descends its negative, and what
// has no key comes last.
func comparePlaces(a, b place) int {
	return cmp.Or(slices.Compare(a.keys, b.keys), strings.Compare(a.id, b.id))
}

// following are those of sorted places that come after one, which may be gone by now.
func following(all []place, from *place) []place {
	i, found := slices.BinarySearchFunc(all, *from, comparePlaces)
	if found {
		i++
	}
	return all[i:]
}

// sortKeys are what a resource is sorted by: its earliest moment if the order ascends, its latest one if
// it descends.
func (q *query) sortKeys(e *store.Entry) []int64 {
	keys := make([]int64, 0, len(q.sort))
	for _, s := range q.sort {
		key := int64(math.MaxInt64)
		consider := func(value string) {
			begin, _, ok := store.Period(value)
			if !ok || begin == math.MinInt64 {
				return
			}
			if s.down {
				begin = -begin
			}
			key = min(key, begin)
		}
		if s.param.name == "_lastUpdated" {
			consider(e.Updated())
		}
		for _, k := range e.Keys {
			if k.Param == s.param.index {
				consider(k.Value)
			}
		}
		keys = append(keys, key)
	}
	return keys
}
