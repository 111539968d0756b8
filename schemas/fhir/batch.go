// Package fhir holds the parts of FHIR R4 that the program needs: batches of encoded resources, the
// fragment encoder, ids and references, dates and money.
package fhir

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Type is a resource type, in the order in which types must be loaded so that
// references always point backwards.
type Type uint8

// The types that the program writes. Their numbers are in the keys of stores, so a number is never
// reused.
const (
	Organization         Type = 0
	Practitioner         Type = 1
	Patient              Type = 2
	RelatedPerson        Type = 3
	Coverage             Type = 4
	ExplanationOfBenefit Type = 5

	NumTypes Type = 6
)

var typeNames = [NumTypes]string{"Organization", "Practitioner", "Patient", "RelatedPerson", "Coverage", "ExplanationOfBenefit"}

func (t Type) String() string { return typeNames[t] }

// ParseType returns the type of a name.
func ParseType(name string) (Type, bool) {
	for t, n := range typeNames {
		if n == name {
			return Type(t), true
		}
	}
	return 0, false
}

// Param is a search parameter for which a resource has index entries.
type Param uint8

// The search parameters of the CARIN CapabilityStatement, and payee, for which it requires an
// _include but defines no parameter. Values are:
//
//	patient, coverage, insurer, provider, care-team, payee, payor   relative reference, "Type/id"
//	identifier, type                                                "system|code" (identifier without system: "|value")
//	service-date                                                    "start/end", both YYYY-MM-DD, end may be empty
//	service-start-date, billable-period-start                       YYYY-MM-DD
//
// _lastUpdated is Resource.LastUpdated. Their numbers are in the rows of stores, so a number is
// never reused.
const (
	ParamPatient             Param = 0
	ParamIdentifier          Param = 1
	ParamType                Param = 2
	ParamServiceDate         Param = 3
	ParamServiceStartDate    Param = 4
	ParamBillablePeriodStart Param = 5
	ParamCareTeam            Param = 6
	ParamProvider            Param = 7
	ParamCoverage            Param = 8
	ParamInsurer             Param = 9
	ParamPayee               Param = 10
	ParamPayor               Param = 11

	NumParams Param = 12
)

var paramNames = [NumParams]string{"patient", "identifier", "type", "service-date", "service-start-date",
	"billable-period-start", "care-team", "provider", "coverage", "insurer", "payee", "payor"}

func (p Param) String() string { return paramNames[p] }

// ParseParam returns the parameter of a name.
func ParseParam(name string) (Param, bool) {
	for p, n := range paramNames {
		if n == name {
			return Param(p), true
		}
	}
	return 0, false
}

// Key is one index entry of a resource.
type Key struct {
	Param Param
	Value string
}

// Resource is one encoded resource of a batch. Its byte slices and strings are
// views into the batch and hold until the batch is reset.
type Resource struct {
	Type          Type
	ID            string // without the type
	LastUpdated   string // meta.lastUpdated as encoded
	SourceVersion string // orders two records of this resource, as fhir.CompareVersions does; "" is oldest
	JSON          []byte // one line, without the newline; empty of a deletion
	Keys          []Key
	Deleted       bool // to be deleted, as the source says
}

// Batch is a sequence of encoded resources with contiguous lines. It is reused and not safe for
// concurrent use.
type Batch struct {
	json []byte // a line for each resource
	text []byte // ids, dates and keys
	recs []record
	keys []keyRecord
	cuts []int // resources before which a piece ends, ascending
	open bool
}

type record struct {
	typ              Type
	id, updated, ver span // in Batch.text
	json             span // in Batch.json, without the newline
	deleted          bool
	keys             int // where its keys begin in Batch.keys; they end where the next resource's begin
}

type keyRecord struct {
	param Param
	value span // in Batch.text
}

type span struct{ from, to int }

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() { b.Rewind(Mark{}) }

// Cap is the number of bytes that Size can grow to without new memory.
func (b *Batch) Cap() int { return cap(b.json) + cap(b.text) }

// Len is the number of resources, Size the number of bytes of their JSON and keys.
func (b *Batch) Len() int  { return len(b.recs) }
func (b *Batch) Size() int { return len(b.json) + len(b.text) }

// Mark is a saved state of a batch, for Rewind.
type Mark struct{ json, text, recs, keys, cuts int }

// Mark returns the current end of the batch.
func (b *Batch) Mark() Mark {
	return Mark{len(b.json), len(b.text), len(b.recs), len(b.keys), len(b.cuts)}
}

// Rewind drops everything added since the mark.
func (b *Batch) Rewind(m Mark) {
	b.json, b.text, b.recs, b.keys, b.cuts, b.open = b.json[:m.json], b.text[:m.text], b.recs[:m.recs], b.keys[:m.keys], b.cuts[:m.cuts], false
}

// Cut ends a piece of the batch with the last resource. Targets do not compress across a cut, so
// their bytes are the same whether a batch has one piece or several. Cut returns how many pieces
// have ended.
func (b *Batch) Cut() int {
	b.cuts = append(b.cuts, len(b.recs))
	return len(b.cuts)
}

// IsCut reports whether a piece ends before resource i.
func (b *Batch) IsCut(i int) bool { return slices.Contains(b.cuts, i) }

// Begin starts a resource and returns the buffer to append its JSON to. The
// caller hands the grown buffer to End. id, lastUpdated and sourceVersion are
// copied.
func (b *Batch) Begin(t Type, id, lastUpdated, sourceVersion string) []byte {
	if b.open {
		panic("fhir: Begin without End")
	}
	b.open = true
	r := record{typ: t}
	r.id = b.put(id)
	r.updated = b.put(lastUpdated)
	r.ver = b.put(sourceVersion)
	r.json.from = len(b.json)
	r.keys = len(b.keys)
	b.recs = append(b.recs, r)
	return b.json
}

// End finishes the JSON of the resource that Begin started.
func (b *Batch) End(buf []byte) {
	b.json = append(buf, '\n')
	r := &b.recs[len(b.recs)-1]
	r.json.to = len(buf)
	b.open = false
}

// Key adds an index entry to the last resource, after End. Its parts, which are canonical text as
// in JSON, are joined; the entry is the unescaped text, as in a search.
func (b *Batch) Key(p Param, parts ...string) {
	from := len(b.text)
	for _, s := range parts {
		for {
			before, after, escaped := strings.Cut(s, `\`)
			b.text = append(b.text, before...)
			if !escaped || after == "" {
				break
			}
			b.text = append(b.text, after[0]) // canonical text escapes only quotes and backslashes
			s = after[1:]
		}
	}
	b.keys = append(b.keys, keyRecord{p, span{from, len(b.text)}})
}

// Delete appends a deletion. Everything is copied.
func (b *Batch) Delete(t Type, id, lastUpdated, sourceVersion string) {
	b.Begin(t, id, lastUpdated, sourceVersion)
	r := &b.recs[len(b.recs)-1]
	r.deleted, r.json.to = true, r.json.from
	b.open = false
}

// Add appends an already encoded resource, or a deletion. Everything is copied.
func (b *Batch) Add(r *Resource) {
	if r.Deleted {
		b.Delete(r.Type, r.ID, r.LastUpdated, r.SourceVersion)
		return
	}
	b.End(append(b.Begin(r.Type, r.ID, r.LastUpdated, r.SourceVersion), r.JSON...))
	for _, k := range r.Keys {
		b.keys = append(b.keys, keyRecord{k.Param, b.put(k.Value)})
	}
}

func (b *Batch) put(s string) span {
	from := len(b.text)
	b.text = append(b.text, s...)
	return span{from, len(b.text)}
}

// Type is the type of a resource, counted from 0.
func (b *Batch) Type(i int) Type { return b.recs[i].typ }

// Deleted reports whether resource i, counted from 0, is a deletion.
func (b *Batch) Deleted(i int) bool { return b.recs[i].deleted }

// Lines returns the JSON of the resources [from, to), at least one and no deletions, each with its
// newline. It is a view, like those of a Resource.
func (b *Batch) Lines(from, to int) []byte {
	first, last := b.recs[from].json.from, b.recs[to-1].json.to+1
	return b.json[first:last:last]
}

// All iterates over the resources in the order in which they were added. The
// Resource is reused between steps.
func (b *Batch) All() iter.Seq2[int, *Resource] {
	return func(yield func(int, *Resource) bool) {
		var r Resource
		text := func(s span) string { return view(b.text[s.from:s.to]) }
		for i := range b.recs {
			rec := &b.recs[i]
			r.Type, r.Deleted = rec.typ, rec.deleted
			r.ID, r.LastUpdated, r.SourceVersion = text(rec.id), text(rec.updated), text(rec.ver)
			r.JSON = b.json[rec.json.from:rec.json.to:rec.json.to]
			r.Keys = r.Keys[:0]
			to := len(b.keys)
			if i+1 < len(b.recs) {
				to = b.recs[i+1].keys
			}
			for _, k := range b.keys[rec.keys:to] {
				r.Keys = append(r.Keys, Key{k.param, text(k.value)})
			}
			if !yield(i, &r) {
				return
			}
		}
	}
}

// Reference is "Type/id".
func Reference(t Type, id string) string { return typeNames[t] + "/" + id }

// SplitReference is the reverse of Reference.
func SplitReference(ref string) (Type, string, error) {
	for t, n := range typeNames {
		if len(ref) > len(n)+1 && ref[len(n)] == '/' && ref[:len(n)] == n {
			return Type(t), ref[len(n)+1:], nil
		}
	}
	return 0, "", fmt.Errorf("not a relative reference to a known type")
}
