package streamrun

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// doomed is a resource to delete.
type doomed struct {
	table cpcds.Table
	key   fhir.Raw
	id    string
}

// tombstone deletes the record that a message without a value keys.
func (m *maker) tombstone(ctx context.Context, b *batch, it *item) error {
	key, ok := it.header(RecordHeader)
	if !ok {
		key = string(it.Key)
	}
	if key == "" {
		m.bury(b, it, m.letter(it, StageRoute, pipeline.RejectProblem{Rule: RuleTombstoneKey}))
		return nil
	}
	list := []cpcds.Table{it.table}
	if _, named := it.header(TableHeader); !named && m.Topics[m.topicOf(it)].Table == "" {
		list = append(slices.Clone(tables.Order), cpcds.Claims)
	}
	var found []doomed
	several := false
	for _, t := range list {
		if t == cpcds.Claims && it.waited == nil {
			if deps := m.ahead(m.raw.Raw(fhir.ExplanationOfBenefit, key)); deps != nil {
				m.wait(b, it, key, deps) // behind the claim that it deletes
				return nil
			}
		}
		these, err := m.doomed(ctx, b, t, key)
		if err != nil {
			return err
		}
		several = several || len(found) > 0 && len(these) > 0
		found = append(found, these...)
	}
	if several {
		m.bury(b, it, m.letter(it, StageRoute, pipeline.RejectProblem{Rule: RuleTombstone}))
		return nil
	}
	it.expired = false // it is late, and deletes all the same
	m.went(b, it)
	from := b.out.Len()
	var removed []pipeline.Record
	for _, x := range found {
		version, _, err := m.versionOf(ctx, b, tables.ResourceOf[x.table], x.id)
		if err != nil {
			return err
		}
		at := it.Time
		if now := m.Now(); at.IsZero() || at.After(now) {
			at = now // the producer's clock may be wrong
		}
		b.out.Delete(tables.ResourceOf[x.table], x.id, at.UTC().Format(time.RFC3339), version)
		if name, value := m.dir.Remove(x.table, x.key); name != "" {
			removed = append(removed, pipeline.Record{Name: name, Value: value})
		}
		m.kit.forget()
	}
	m.refusable(b, refusable{from: from, to: b.out.Len(), how: m.countedAs(it, asDeletion), restore: removed}, it, nil)
	if err := m.dir.Err(); err != nil {
		return err
	}
	m.count(b, it, func(c *MessageCount) { c.Deletions++ })
	return nil
}

// versionOf returns the source version of a resource: as the batch has it, or the one on its way, or the
// target.
func (m *maker) versionOf(ctx context.Context, b *batch, t fhir.Type, id string) (version string, ok bool, err error) {
	for _, x := range [2]*batch{b, m.flight} {
		if x == nil {
			continue
		}
		for _, r := range x.out.All() {
			if r.Type == t && r.ID == id {
				version, ok = strings.Clone(r.SourceVersion), !r.Deleted
			}
		}
		if ok {
			return version, true, nil
		}
	}
	return m.Target.SourceVersion(ctx, fhir.Reference(t, id))
}

// doomed finds the resources of a record.
func (m *maker) doomed(ctx context.Context, b *batch, t cpcds.Table, key string) (list []doomed, err error) {
	for _, raw := range m.tableKeys(t, key) {
		ids := []string{raw.ID(tables.ResourceOf[t])}
		own := raw
		switch t {
		case cpcds.Claims:
			if v := m.dir.Other(partsSpace + string(raw[:])); v != nil {
				if err := json.Unmarshal(v, &ids); err != nil {
					return nil, stopf("read the parts of a claim: they are damaged")
				}
			}
		case cpcds.Providers, cpcds.Organizations:
			p, ok := m.dir.Provider(raw)
			if !ok || p.Practitioner != (t == cpcds.Providers) {
				continue
			}
			own, ids = p.ID, []string{p.ID.ID(tables.ResourceOf[t])}
		}
		for _, id := range ids {
			_, ok, err := m.versionOf(ctx, b, tables.ResourceOf[t], id)
			if err != nil {
				return nil, err
			}
			if ok && !slices.ContainsFunc(list, func(x doomed) bool { return x.id == id }) {
				list = append(list, doomed{t, own, id})
			}
		}
	}
	return list, m.dir.Err()
}

// keepParts remembers which resources a claim has become, if they are several or have ids of their
// own: a later message may delete it.
func (m *maker) keepParts(key string) {
	raw := m.raw.Raw(fhir.ExplanationOfBenefit, key)
	var ids []string
	for _, r := range m.kit.scratch.All() {
		if r.Type == fhir.ExplanationOfBenefit {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 || len(ids) == 1 && ids[0] == raw.ID(fhir.ExplanationOfBenefit) {
		return
	}
	value, err := json.Marshal(ids)
	if err != nil {
		panic(err) // strings always marshal
	}
	name := partsSpace + string(raw[:])
	if old := m.dir.Other(name); string(old) != string(value) {
		m.dir.Change(name, value)
	}
}

// tableKeys returns the keys of what a key of a message may mean in a table.
func (m *maker) tableKeys(t cpcds.Table, key string) []fhir.Raw {
	raw := m.raw.Raw
	switch t {
	case cpcds.Claims:
		return []fhir.Raw{raw(fhir.ExplanationOfBenefit, key)}
	case cpcds.Members:
		return []fhir.Raw{raw(fhir.Patient, key)}
	case cpcds.Coverages:
		return []fhir.Raw{raw(fhir.Coverage, key)}
	case cpcds.Providers:
		return []fhir.Raw{raw(fhir.Practitioner, directory.ByNPI, key), raw(fhir.Practitioner, directory.ByID, key), raw(fhir.Practitioner, directory.ByTax, key)}
	}
	return []fhir.Raw{raw(fhir.Organization, directory.ByNPI, key), raw(fhir.Organization, directory.ByPayer, key), raw(fhir.Organization, directory.ByID, key)}
}
