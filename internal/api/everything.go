package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// everythingOrder is the order of types in the answer to $everything: what is referred to comes first.
var everythingOrder = []fhir.Type{fhir.Patient, fhir.Organization, fhir.Practitioner, fhir.RelatedPerson, fhir.Coverage, fhir.ExplanationOfBenefit}

// everythingQuery is what $everything is asked for.
type everythingQuery struct {
	patient string
	types   []fhir.Type
	since   *store.Filter
	period  []store.Filter // of claims
	count   int
	cursor  string
	kept    []pair
}

// parseEverything reads the parameters.
func (x *exchange) parseEverything(patient string) (*everythingQuery, error) {
	q := &everythingQuery{patient: patient, types: everythingOrder, count: defaultCount}
	for _, p := range x.params {
		switch p.name {
		case "_since":
			f, err := byUpdate.filter("ge" + p.value)
			if err != nil {
				return nil, invalid("_since", "use a date or an instant")
			}
			q.since = &f
		case "start", "end":
			// A claim counts if any of its dates is in the period.
			f, err := tableOf(fhir.ExplanationOfBenefit).param("service-date").filter(map[string]string{"start": "ge", "end": "le"}[p.name] + p.value)
			if err != nil {
				return nil, invalid(p.name, "use a date")
			}
			q.period = append(q.period, f)
		case "_type":
			q.types = nil
			for name := range strings.SplitSeq(p.value, ",") {
				t := typeNamed(name)
				if t == nil {
					return nil, unsupported("_type", "the server does not have one of these types")
				}
				q.types = append(q.types, t.typ)
			}
		case "_count":
			var err error
			if q.count, err = pageSize(p.value); err != nil {
				return nil, err
			}
		case cursorParam:
			q.cursor = p.value
			continue
		case "_format", "_pretty":
			continue
		default:
			if !x.lenient() {
				return nil, unsupported(clean(p.name), "$everything has _since, start, end, _type and _count")
			}
			continue
		}
		q.kept = append(q.kept, p)
	}
	return q, nil
}

// everything answers Patient/ID/$everything: the member, what is the member's, and the organizations and
// practitioners that this refers to.
func (x *exchange) everything(id string) error {
	if _, err := x.current(fhir.Patient, id); err != nil {
		return err
	}
	q, err := x.parseEverything(id)
	if err != nil {
		return err
	}
	if err := x.room(q.count); err != nil {
		return err
	}
	links := &query{resourceType: tableOf(fhir.Patient), kept: q.kept}
	path := "Patient/" + id + "/$everything"
	signed := "everything\x00" + links.signed(id)
	watermark, err := x.Store.Watermark(x.r.Context())
	if err != nil {
		return err
	}
	all, err := x.gather(x.r.Context(), q)
	if err != nil {
		return err
	}
	total := int64(len(all))
	if q.cursor != "" {
		from, err := x.cursors.read(q.cursor, signed)
		if err != nil || len(from.keys) != 1 {
			return invalid(cursorParam, "it is not of this $everything")
		}
		all = following(all, from)
	}
	list := [][2]string{{"self", links.link(x.base, path, q.cursor)}}
	if len(all) > q.count {
		all = all[:q.count]
		list = append(list, [2]string{"next", links.link(x.base, path, x.cursors.write(&all[q.count-1], signed))})
	}
	b := x.memory.bundle(x.base, "searchset", watermark)
	f := x.finder()
	for len(all) > 0 {
		t := all[0].keys[0]
		n := slices.IndexFunc(all, func(p place) bool { return p.keys[0] != t })
		if n < 0 {
			n = len(all)
		}
		var ids []string
		for _, p := range all[:n] {
			ids = append(ids, p.id)
		}
		all = all[n:]
		found, err := f.fetch(x.r.Context(), everythingOrder[t], ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if e := found[id]; e != nil && x.access.sees(&e.Entry, mayRead) {
				if err := b.add(&e.Entry, modeMatch); err != nil {
					return err
				}
			}
		}
	}
	x.answer.Entries = b.n
	x.send(http.StatusOK, b.end(total, list))
	return nil
}

// gather lists what belongs to the answer, in its order: by the place of its type and its id.
func (x *exchange) gather(ctx context.Context, q *everythingQuery) (all []place, err error) {
	refs := map[fhir.Type]map[string]bool{}
	add := func(t fhir.Type, id string) {
		if slices.Contains(q.types, t) && x.access.may(t, mayRead) {
			all = append(all, place{[]int64{int64(slices.Index(everythingOrder, t))}, strings.Clone(id)})
		}
	}
	for _, t := range []fhir.Type{fhir.Patient, fhir.RelatedPerson, fhir.Coverage, fhir.ExplanationOfBenefit} {
		s := &store.Query{Type: t, Patients: []string{q.patient}, NoJSON: true}
		if t == fhir.ExplanationOfBenefit {
			s.Filters = q.period
		}
		for e, err := range x.finder().search(ctx, s) {
			if err != nil {
				return nil, err
			}
			if !x.access.sees(e, mayRead) {
				continue
			}
			for _, k := range e.Keys {
				if to, id, err := fhir.SplitReference(k.Value); err == nil && tableOf(to).member == none && to != fhir.Patient {
					if refs[to] == nil {
						refs[to] = map[string]bool{}
					}
					refs[to][strings.Clone(id)] = true
				}
			}
			if q.since == nil || q.since.Matches(e) {
				add(t, e.ID)
			}
		}
	}
	for t, ids := range refs {
		s := &store.Query{Type: t, IDs: slices.Collect(maps.Keys(ids)), NoJSON: true}
		for e, err := range x.finder().search(ctx, s) {
			if err != nil {
				return nil, err
			}
			if q.since == nil || q.since.Matches(e) {
				add(t, e.ID)
			}
		}
	}
	slices.SortFunc(all, comparePlaces)
	return all, nil
}
