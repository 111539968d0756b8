package store

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/fhir"
)

// TestCompareRepeated proves that Compare and Prepare know the outcomes of resources that come again
// in a batch, also after one that only moves the source version.
func TestCompareRepeated(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"), Options{})
	if err := s.Apply(t.Context(), batchOf(sourced(organization("a", "one"), "1"), sourced(organization("b", "one"), "1")), nil); err != nil {
		t.Fatal(err)
	}
	b := batchOf(sourced(organization("a", "one"), "2"), sourced(organization("a", "one"), "2"), sourced(organization("a", "two"), "1"), sourced(organization("a", "two"), "3"),
		sourced(organization("b", "one"), "0"), sourced(organization("b", "two"), "2"), sourced(organization("c", "one"), "1"), sourced(organization("c", "one"), "1"))
	want := []Outcome{Unchanged, Unchanged, Stale, Updated, Stale, Updated, Created, Unchanged}
	compared, err := s.Compare(t.Context(), b)
	if diff := cmp.Diff(want, compared); err != nil || diff != "" {
		t.Errorf("Compare: %v (-want +got):\n%s", err, diff)
	}
	p, err := s.Prepare(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	if diff := cmp.Diff(want, p.Outcomes()); diff != "" {
		t.Errorf("Prepare (-want +got):\n%s", diff)
	}
	var got []Outcome
	err = p.Apply(t.Context(), func(o []Outcome) (Commit, error) {
		got = slices.Clone(o)
		return Commit{}, nil
	})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Apply: %v (-want +got):\n%s", err, diff)
	}
}

// TestPreparedSeesOthers proves that a batch that was prepared gives the outcomes of the moment of
// Apply, and can be applied after its seal has failed.
func TestPreparedSeesOthers(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"), Options{})
	b := batchOf(organization("a", "one"), organization("b", "one"))
	p, err := s.Prepare(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Release()
	if err := s.Apply(t.Context(), batchOf(organization("a", "two")), nil); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("failed")
	for _, want := range []error{failed, failed, nil} {
		var got []Outcome
		err := p.Apply(t.Context(), func(o []Outcome) (Commit, error) {
			got = slices.Clone(o)
			return Commit{}, want
		})
		if !errors.Is(err, want) || (err != nil) != (want != nil) {
			t.Fatalf("Apply: %v, want %v", err, want)
		}
		if diff := cmp.Diff([]Outcome{Updated, Created}, got); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
	}
	for _, id := range []string{"a", "b"} {
		if e, err := s.Get(t.Context(), fhir.Organization, id); err != nil || e.Version != map[string]uint32{"a": 2, "b": 1}[id] {
			t.Errorf("%s: %+v, %v", id, e, err)
		}
	}
}

// TestMetas proves that records are found by name, none is nil, and an empty one is not.
func TestMetas(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"), Options{})
	if err := s.PutMeta(map[string][]byte{"a": []byte("1"), "empty": {}}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Metas([]string{"empty", "none", "a", "a"})
	if diff := cmp.Diff([][]byte{{}, nil, []byte("1"), []byte("1")}, got); err != nil || diff != "" {
		t.Errorf("Metas: %v (-want +got):\n%s", err, diff)
	}
}
