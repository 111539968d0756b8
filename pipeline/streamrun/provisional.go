package streamrun

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/referenced"
	"cpcds2fhir/schemas/fhir"
)

// latest is the provisional record of a claim or row.
type latest struct {
	Place   []byte   `json:"place"`
	For     [][]byte `json:"for"`
	Version string   `json:"version"`
}

// record names the record of a claim or row: its type and key.
func record(t fhir.Type, key fhir.Raw) []byte { return append([]byte{byte(t)}, key[:]...) }

// settle remembers that a record was loaded although some keys are unresolved, or forgets it when
// none are. of is the record, version its source version, only the resources that it and others
// mention.
func (m *maker) settle(b *batch, it *item, of []byte, version string, unresolved []directory.Unresolved, only []referenced.Resource) {
	name := lastSpace + string(of)
	var before latest
	if v := m.dir.Other(name); v != nil && json.Unmarshal(v, &before) == nil && it.waited == nil {
		if order, ok := fhir.CompareVersions(version, before.Version); ok && order < 0 {
			return // this one is older, and will be found stale
		}
		b.put[heldSpace+string(before.Place)] = nil
		for _, k := range before.For {
			b.put[waitName(k, string(before.Place))] = nil
		}
	}
	ids := mentioned(only)
	if it.waited != nil {
		m.dropOrphans(b, it.waited.Only, ids)
	}
	if len(unresolved) == 0 {
		if m.dir.Other(name) != nil {
			m.dir.Change(name, nil)
		}
		return
	}
	h, place := m.hold(b, it)
	h.Provisional, h.Record, h.Version, h.Only, h.Claim = true, of, version, ids, nil
	m.waitFor(b, &h, place, unresolved)
	b.hold(place, &h, it.Value)
	value, err := json.Marshal(&latest{[]byte(place), h.For, version})
	if err != nil {
		panic(err) // bytes and strings always marshal
	}
	m.dir.Change(name, value)
}

// mentioned lists the ids of resources.
func mentioned(list []referenced.Resource) []string {
	ids := make([]string, 0, len(list))
	for i := range list {
		if !slices.Contains(ids, list[i].ID) {
			ids = append(ids, list[i].ID)
		}
	}
	return ids
}

// dropOrphans deletes resources that only claims mentioned, and that these records do not mention any
// longer, because a table has what they meant.
func (m *maker) dropOrphans(b *batch, before, now []string) {
	for _, id := range before {
		if slices.Contains(now, id) {
			continue
		}
		name := onlySpace + id
		v := m.dir.Other(name)
		var x referenced.Resource
		if v == nil || json.Unmarshal(v, &x) != nil || m.dir.Other(agedSpace+id) != nil {
			continue
		}
		m.dir.Change(name, nil)
		raw, ok := fhir.ParseID(id)
		if p, known := m.dir.Provider(raw); !ok || known && p.ID == raw {
			continue // the table's resource has its place
		}
		b.out.Delete(x.Type(), id, x.LastUpdated(), x.LastUpdated())
	}
}

// age forgets a provisional record that has waited too long. What it mentions stays.
func (m *maker) age(b *batch, r *release) {
	place := strings.TrimPrefix(r.name, heldSpace)
	b.put[r.name] = nil
	for _, k := range r.For {
		b.put[waitName(k, place)] = nil
	}
	for _, id := range r.Only {
		b.put[agedSpace+id] = []byte{1}
	}
	m.dir.Change(lastSpace+string(r.Record), nil)
}

// referenced adds resources that only claims mention.
func (m *maker) referenced(b *batch, list []referenced.Resource) error {
	for i := range list {
		if err := m.mention(b, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

// mention adds a resource that only claims mention, unless the target has it with the same or
// greater texts.
func (m *maker) mention(b *batch, x *referenced.Resource) error {
	name := onlySpace + x.ID
	old, merged := m.dir.Other(name), *x
	if old != nil {
		var have referenced.Resource
		if err := json.Unmarshal(old, &have); err != nil {
			return stopf("read a resource that only claims mention: it is damaged")
		}
		merged = x.Merge(have)
	}
	value, err := json.Marshal(&merged)
	if err != nil {
		return fmt.Errorf("write a resource that only claims mention: %w", err)
	}
	if bytes.Equal(value, old) {
		return nil
	}
	m.dir.Change(name, value)
	merged.Map(&b.out, m.mapper, m.Layout)
	return nil
}
