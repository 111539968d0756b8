package fhir_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/fhir"
)

// contents copies a batch out of its buffer.
func contents(b *fhir.Batch) []fhir.Resource {
	var list []fhir.Resource
	for _, r := range b.All() {
		c := fhir.Resource{Type: r.Type, ID: strings.Clone(r.ID), LastUpdated: strings.Clone(r.LastUpdated),
			SourceVersion: strings.Clone(r.SourceVersion), JSON: append([]byte(nil), r.JSON...)}
		for _, k := range r.Keys {
			c.Keys = append(c.Keys, fhir.Key{Param: k.Param, Value: strings.Clone(k.Value)})
		}
		list = append(list, c)
	}
	return list
}

func put(b *fhir.Batch, t fhir.Type, id, json string) {
	b.End(append(b.Begin(t, id, "2025-01-01", "7"), json...))
}

func TestBatch(t *testing.T) {
	patient := fhir.Resource{Type: fhir.Patient, ID: "p1", LastUpdated: "2025-01-01", SourceVersion: "7", JSON: []byte(`{"a":1}`),
		Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: "urn:x|1"}, {Param: fhir.ParamPatient, Value: "Patient/p1"}}}
	organization := fhir.Resource{Type: fhir.Organization, ID: "o1", LastUpdated: "2025-01-01", SourceVersion: "7", JSON: []byte(`{}`)}
	want := []fhir.Resource{patient, organization}

	var b fhir.Batch
	for range 2 { // a batch is used again
		b.Reset()
		put(&b, fhir.Patient, "p1", `{"a":1}`)
		b.Key(fhir.ParamIdentifier, "urn:x", "|", "1")
		b.Key(fhir.ParamPatient, "Patient/p1")
		put(&b, fhir.Organization, "o1", `{}`)
		if diff := cmp.Diff(want, contents(&b)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}

	var c fhir.Batch
	for _, r := range b.All() {
		c.Add(r)
	}
	b.Reset()
	put(&b, fhir.Coverage, "overwritten", strings.Repeat("x", 200))
	if diff := cmp.Diff(want, contents(&c)); diff != "" {
		t.Errorf("added resources are not copies of their own (-want +got):\n%s", diff)
	}
	if c.Len() != 2 {
		t.Errorf("Len is %d, want 2", c.Len())
	}
}

func TestBatchGrowsWithoutLoss(t *testing.T) {
	var b fhir.Batch
	for i := range 1000 {
		put(&b, fhir.Patient, "p"+string(rune('a'+i%26)), strings.Repeat("x", i))
		b.Key(fhir.ParamPatient, strings.Repeat("k", i%7))
	}
	for i, r := range b.All() {
		if len(r.JSON) != i || r.ID != "p"+string(rune('a'+i%26)) || len(r.Keys) != 1 || len(r.Keys[0].Value) != i%7 {
			t.Fatalf("resource %d is damaged", i)
		}
	}
}

func TestRewind(t *testing.T) {
	var b fhir.Batch
	put(&b, fhir.Patient, "p1", `{"a":1}`)
	b.Key(fhir.ParamPatient, "Patient/p1")
	before, mark := contents(&b), b.Mark()

	put(&b, fhir.Patient, "p2", `{"b":2}`)
	b.Key(fhir.ParamPatient, "Patient/p2")
	b.Begin(fhir.Patient, "p3", "", "") // and one that is not finished
	b.Rewind(mark)
	if diff := cmp.Diff(before, contents(&b)); diff != "" {
		t.Errorf("after Rewind (-want +got):\n%s", diff)
	}
	put(&b, fhir.Coverage, "c1", `{}`)
	if got := contents(&b); len(got) != 2 || got[1].ID != "c1" || len(got[1].Keys) != 0 {
		t.Errorf("what follows a Rewind is %+v", got)
	}
}

// A piece may end without a resource, where rows yield none: Reset forgets it, too.
func TestCut(t *testing.T) {
	var b fhir.Batch
	for range 3 {
		if n := b.Cut(); n != 1 {
			t.Fatalf("%d pieces have ended, want 1", n)
		}
		b.End(append(b.Begin(fhir.Patient, "p", "", ""), "{}"...))
		mark := b.Mark()
		if n := b.Cut(); n != 2 || !b.IsCut(1) || b.IsCut(2) {
			t.Fatalf("%d pieces have ended, after the first resource: %v", n, b.IsCut(1))
		}
		b.Rewind(mark)
		if b.IsCut(1) || !b.IsCut(0) {
			t.Error("Rewind keeps other pieces than those that ended before the mark")
		}
		b.Reset()
	}
}

func TestBeginTwicePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Begin without End did not panic")
		}
	}()
	var b fhir.Batch
	b.Begin(fhir.Patient, "p1", "", "")
	b.Begin(fhir.Patient, "p2", "", "")
}

// TestAllAppendCannotOverwrite appends to the JSON that All yields: that must not
// reach the next resource.
func TestAllAppendCannotOverwrite(t *testing.T) {
	var b fhir.Batch
	put(&b, fhir.Patient, "p1", `{}`)
	put(&b, fhir.Patient, "p2", `{"b":2}`)
	for _, r := range b.All() {
		_ = append(r.JSON, "overwritten"...)
	}
	if got := contents(&b); got[1].ID != "p2" || string(got[1].JSON) != `{"b":2}` {
		t.Errorf("the second resource became %+v", got[1])
	}
}

func TestNames(t *testing.T) {
	for typ := range fhir.NumTypes {
		if got, ok := fhir.ParseType(typ.String()); !ok || got != typ {
			t.Errorf("ParseType(%q) = %v, %v", typ, got, ok)
		}
		ref := fhir.Reference(typ, "x1")
		if got, id, err := fhir.SplitReference(ref); err != nil || got != typ || id != "x1" {
			t.Errorf("SplitReference(%q) = %v, %q, %v", ref, got, id, err)
		}
	}
	for p := range fhir.NumParams {
		if got, ok := fhir.ParseParam(p.String()); !ok || got != p {
			t.Errorf("ParseParam(%q) = %v, %v", p, got, ok)
		}
	}
	if _, ok := fhir.ParseType("patient"); ok {
		t.Error("a type in lower case was accepted")
	}
	if _, ok := fhir.ParseParam("subject"); ok {
		t.Error("an unknown parameter was accepted")
	}
	for _, ref := range []string{"", "Patient", "Medication/1", "http://x/Patient/1"} {
		if _, _, err := fhir.SplitReference(ref); err == nil {
			t.Errorf("SplitReference(%q) gave no error", ref)
		}
	}
}
