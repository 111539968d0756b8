package api

import (
	"context"
	"maps"
	"slices"
	"strings"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// include adds what a search asks to include: each resource once, and none that is found itself.
func (f *finder) include(ctx context.Context, q *query, p *page) error {
	if len(q.includes)+len(q.reverses) == 0 || len(p.entries) == 0 {
		return nil
	}
	have := map[string]bool{}
	for _, e := range p.entries {
		have[fhir.Reference(e.Type, e.ID)] = true
	}
	matches := len(p.entries)
	for _, r := range q.reverses {
		if err := f.reverse(ctx, r, p, matches, have); err != nil {
			return err
		}
	}
	for from, first := 0, true; from < len(p.entries); first = false {
		level := p.entries[from:]
		wanted := map[fhir.Type][]string{}
		for _, e := range level {
			for _, in := range q.includes {
				if e.Type != in.from || e.included && !in.iterate || !first && !in.iterate {
					continue
				}
				in.follow(e, func(ref string) {
					t, id, err := fhir.SplitReference(ref)
					if err == nil && !have[ref] && f.access.may(t, mayRead) {
						have[ref] = true
						wanted[t] = append(wanted[t], id)
					}
				})
			}
		}
		from = len(p.entries)
		if err := f.addIncluded(ctx, p, wanted); err != nil {
			return err
		}
	}
	return nil
}

// follow calls yield with the references of a resource that an include names.
func (in *include) follow(e *entry, yield func(ref string)) {
	t := tableOf(e.Type)
	for i := range t.params {
		s := &t.params[i]
		if !s.include || in.param != nil && s.index != in.param.index {
			continue
		}
		for _, k := range e.Keys {
			if k.Param != s.index {
				continue
			}
			if in.any || strings.HasPrefix(k.Value, in.target.String()+"/") {
				yield(k.Value)
			}
		}
	}
}

func (f *finder) addIncluded(ctx context.Context, p *page, wanted map[fhir.Type][]string) error {
	for _, t := range slices.Sorted(maps.Keys(wanted)) {
		found, err := f.fetch(ctx, t, wanted[t])
		if err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(found)) {
			if e := found[id]; f.access.sees(&e.Entry, mayRead) {
				e.included = true
				p.entries = append(p.entries, e)
			}
		}
	}
	return nil
}

// reverse adds the resources that refer to those found.
func (f *finder) reverse(ctx context.Context, r include, p *page, matches int, have map[string]bool) error {
	if !f.access.may(r.from, maySearch) {
		return nil
	}
	var patients []string
	for _, e := range p.entries[:matches] {
		patients = append(patients, e.ID)
	}
	added := 0
	for e, err := range f.search(ctx, &store.Query{Type: r.from, Patients: patients}) {
		if err != nil {
			return err
		}
		ref := fhir.Reference(e.Type, e.ID)
		if have[ref] || !f.access.sees(e, maySearch) {
			continue
		}
		if added++; added > f.limits.Included {
			return costly("_revinclude", "more than %d resources refer to what was found; search for them instead, or use $everything", f.limits.Included)
		}
		have[ref] = true
		c := f.memory.clone(e)
		c.included = true
		p.entries = append(p.entries, c)
	}
	return nil
}
