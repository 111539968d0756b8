package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// TestRecordsOfOthers puts records of somebody else in the acts of a loader and of a stream.
func TestRecordsOfOthers(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{Run: "run", Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Run: "run"}); err == nil {
		t.Fatal("another one opens a store that one has alone")
	} else if _, ok := errors.AsType[*store.InUseError](err); !ok {
		t.Errorf("Open: %v", err)
	}
	b := &fhir.Batch{}
	b.Add(&fhir.Resource{Type: fhir.Patient, ID: "p", JSON: []byte(`{"resourceType":"Patient","id":"p"}`)})
	record := func(name, value string) []store.MetaRecord {
		return []store.MetaRecord{{Name: "others/" + name, Value: []byte(value)}}
	}
	got, err := l.Compare(t.Context(), b)
	if diff := cmp.Diff([]pipeline.Outcome{pipeline.Created}, got); diff != "" || err != nil {
		t.Errorf("Compare (-want +got):\n%s%v", diff, err)
	}
	no := errors.New("no")
	for _, fail := range []error{no, nil} {
		err = l.LoadWith(t.Context(), "lane", b, func([]store.Outcome) (pipeline.Checkpoint, []store.MetaRecord, error) {
			return pipeline.Checkpoint{Row: 1}, record("a", "1"), fail
		})
		if !errors.Is(err, fail) {
			t.Fatalf("LoadWith: %v, want %v", err, fail)
		}
		values, err := l.Store().Metas([]string{"others/a"})
		if err != nil || (values[0] == nil) != (fail != nil) {
			t.Errorf("records after %v: %q (%v)", fail, values, err)
		}
	}
	lane, _, err := l.TakeLane(t.Context(), "topic/0")
	if err != nil {
		t.Fatal(err)
	}
	guard := func(value string) []pipeline.Record {
		return []pipeline.Record{{Name: "x", Value: []byte(value)}}
	}
	err = lane.LoadWith(t.Context(), b, func([]store.Outcome) (pipeline.StreamCommit, []store.MetaRecord, error) {
		return pipeline.StreamCommit{Position: pipeline.Position{Next: 1}, Put: guard("1")}, record("b", "1"), nil
	})
	if err == nil {
		err = lane.Put(t.Context(), record("c", "1"), guard("1"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := lane.Put(t.Context(), record("d", "1"), guard("2")); !errors.Is(err, pipeline.ErrChanged) {
		t.Errorf("Put with another guard: %v", err)
	}
	if _, _, err := l.Take(t.Context(), "topic/0"); err != nil {
		t.Fatal(err)
	}
	if err := lane.Put(t.Context(), record("e", "1"), nil); !errors.Is(err, pipeline.ErrFenced) {
		t.Errorf("Put of an earlier owner: %v", err)
	}
	var names []string
	for r, err := range l.Store().AllMeta("others/") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, r.Name)
	}
	if diff := cmp.Diff([]string{"others/a", "others/b", "others/c"}, names); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
