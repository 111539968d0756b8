package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/fhir"
)

// organization makes a small resource; name varies its content.
func organization(id, name string) *fhir.Resource {
	return &fhir.Resource{
		Type: fhir.Organization, ID: id, LastUpdated: "2024-05-06T07:08:09Z",
		JSON: fmt.Appendf(nil, `{"resourceType":"Organization","id":"%s","name":"%s"}`, id, name),
		Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: "urn:names|" + name}},
	}
}

func sourced(r *fhir.Resource, version string) *fhir.Resource {
	r.SourceVersion = version
	return r
}

func batchOf(resources ...*fhir.Resource) *fhir.Batch {
	b := &fhir.Batch{}
	for _, r := range resources {
		b.Add(r)
	}
	return b
}

func apply(t testing.TB, s *Store, b *fhir.Batch) []Outcome {
	t.Helper()
	var got []Outcome
	err := s.Apply(context.Background(), b, func(outcomes []Outcome) (Commit, error) {
		got = slices.Clone(outcomes)
		return Commit{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func put(t testing.TB, s *Store, resources ...*fhir.Resource) []Outcome {
	t.Helper()
	return apply(t, s, batchOf(resources...))
}

func wantOutcomes(t *testing.T, got []Outcome, want ...Outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

// versions lists what History shows, newest first, as "version content".
func versions(t *testing.T, s *Store, id string) []string {
	t.Helper()
	return versionsOf(t, s, fhir.Organization, id)
}

func versionsOf(t *testing.T, s *Store, typ fhir.Type, id string) []string {
	t.Helper()
	var all []string
	for e, err := range s.History(t.Context(), typ, id) {
		if err != nil {
			t.Fatal(err)
		}
		text := string(e.JSON)
		if e.Deleted {
			text = "deleted " + e.LastUpdated
		}
		all = append(all, fmt.Sprintf("%d %s", e.Version, text))
	}
	return all
}

// named lists the ids of the organizations that the index finds under a name.
func named(t *testing.T, s *Store, name string) []string {
	t.Helper()
	return found(t, s, &Query{Type: fhir.Organization}, "identifier", "urn:names|"+name)
}

// indexed counts the identifiers in the index. A search cannot: it compares the
// row, and so hides an identifier that was left behind.
func indexed(t *testing.T, s *Store) int {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{identifierSpace}, UpperBound: []byte{identifierSpace + 1}})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOutcomes(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	wantOutcomes(t, put(t, s, sourced(organization("a", "one"), "2")), Created)
	wantOutcomes(t, put(t, s, sourced(organization("a", "one"), "2")), Unchanged)
	wantOutcomes(t, put(t, s, sourced(organization("a", "two"), "1")), Stale)
	wantOutcomes(t, put(t, s, sourced(organization("a", "two"), "2")), Updated)
	if n := indexed(t, s); n != 1 {
		t.Errorf("%d identifiers in the index, want the new one alone", n)
	}
	if diff := cmp.Diff([]string{"a"}, named(t, s, "two")); diff != "" {
		t.Errorf("by the new identifier:\n%s", diff)
	}
	// Unchanged content moves the source version forward, which makes the next stale.
	wantOutcomes(t, put(t, s, sourced(organization("a", "two"), "5")), Unchanged)
	wantOutcomes(t, put(t, s, sourced(organization("a", "three"), "4")), Stale)
	want := []string{
		`2 {"resourceType":"Organization","id":"a","name":"two"}`,
		`1 {"resourceType":"Organization","id":"a","name":"one"}`,
	}
	if diff := cmp.Diff(want, versions(t, s, "a")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

func TestSameResourceInOneBatch(t *testing.T) {
	one := func() *fhir.Resource { return organization("a", "one") }
	two := func() *fhir.Resource { return organization("a", "two") }
	f := func(want []Outcome, version uint32, resources ...*fhir.Resource) {
		t.Helper()
		// In one batch and one by one must come to the same.
		for _, together := range []bool{true, false} {
			s := open(t, t.TempDir(), Options{})
			put(t, s, sourced(one(), "1"))
			var got []Outcome
			if together {
				got = put(t, s, resources...)
			} else {
				for _, r := range resources {
					got = append(got, put(t, s, r)...)
				}
			}
			wantOutcomes(t, got, want...)
			e, err := s.Get(t.Context(), fhir.Organization, "a")
			if err != nil {
				t.Fatal(err)
			}
			if e.Version != version {
				t.Errorf("version %d, want %d", e.Version, version)
			}
			both := append(named(t, s, "one"), named(t, s, "two")...)
			if diff := cmp.Diff([]string{"a"}, both); diff != "" {
				t.Errorf("identifiers (-want +got):\n%s", diff)
			}
		}
	}
	f([]Outcome{Updated, Updated}, 3, sourced(two(), "1"), sourced(one(), "1"))
	f([]Outcome{Updated, Updated, Updated}, 4, sourced(two(), "1"), sourced(one(), "1"), sourced(two(), "1"))
	f([]Outcome{Unchanged, Updated, Unchanged}, 2, sourced(one(), "1"), sourced(two(), "1"), sourced(two(), "1"))
	f([]Outcome{Updated, Stale}, 2, sourced(two(), "3"), sourced(one(), "2"))
	f([]Outcome{Unchanged, Stale}, 1, sourced(one(), "3"), sourced(two(), "2"))
}

func TestDelete(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	remove := func(source string, want Outcome) {
		t.Helper()
		r := &fhir.Resource{Type: fhir.Organization, ID: "a", LastUpdated: "2024-06-01T00:00:00Z", SourceVersion: source, Deleted: true}
		wantOutcomes(t, put(t, s, r), want)
	}
	remove("9", Unchanged)
	put(t, s, sourced(organization("a", "one"), "5"))
	remove("4", Stale)
	remove("10", Deleted) // numbers, not texts
	remove("11", Unchanged)
	e, err := s.Get(t.Context(), fhir.Organization, "a")
	if err != nil || !e.Deleted || e.Version != 2 || len(e.JSON) != 0 {
		t.Errorf("Get: %+v, %v", e, err)
	}
	if n := indexed(t, s); n != 0 {
		t.Errorf("%d identifiers of a deleted resource are left in the index", n)
	}
	if got := found(t, s, &Query{Type: fhir.Organization}, "", ""); got != nil {
		t.Errorf("a search finds the deleted %v", got)
	}
	wantOutcomes(t, put(t, s, sourced(organization("a", "one"), "9")), Stale)
	wantOutcomes(t, put(t, s, sourced(organization("a", "one"), "11")), Created)
	want := []string{
		`3 {"resourceType":"Organization","id":"a","name":"one"}`,
		`2 deleted 2024-06-01T00:00:00Z`,
		`1 {"resourceType":"Organization","id":"a","name":"one"}`,
	}
	if diff := cmp.Diff(want, versions(t, s, "a")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if v, err := s.GetVersion(t.Context(), fhir.Organization, "a", 1); err != nil || v.Deleted {
		t.Errorf("GetVersion 1: %+v, %v", v, err)
	}
	if _, err := s.GetVersion(t.Context(), fhir.Organization, "a", 4); !errors.Is(err, ErrNotFound) {
		t.Errorf("GetVersion 4: %v, want ErrNotFound", err)
	}
}

func TestSealErrorWritesNothing(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	no := errors.New("no")
	b := batchOf(organization("a", "one"))
	err := s.Apply(t.Context(), b, func([]Outcome) (Commit, error) { return Commit{Put: []MetaRecord{{Name: "x", Value: []byte("y")}}}, no })
	if err != no {
		t.Fatalf("Apply returns %v, want the error of seal", err)
	}
	if _, err := s.Get(t.Context(), fhir.Organization, "a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
	if _, err := s.Meta("x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Meta: %v, want ErrNotFound", err)
	}
	wantOutcomes(t, apply(t, s, b), Created)
}

func TestBadResourceIsRefused(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	for _, id := range []string{"", "a b", "a\x00b", "a/b", "0123456789012345678901234567890123456789012345678901234567890123456789"} {
		err := s.Apply(t.Context(), batchOf(organization("ok", "x"), organization(id, "x")), nil)
		if err == nil {
			t.Errorf("an id of %d characters is taken", len(id))
		}
	}
	if _, err := s.Get(t.Context(), fhir.Organization, "ok"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v, want ErrNotFound", err)
	}
}

// TestConcurrentApply lets lanes write the same resources at once: each resource
// is created once, and each version comes from one Updated.
func TestConcurrentApply(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	const lanes, rounds, resources = 8, 30, 20
	var mu sync.Mutex
	total := map[Outcome]int{}
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			b := &fhir.Batch{}
			for round := range rounds {
				b.Reset()
				for i := range resources {
					// Lanes go through the resources in different orders.
					id := (i*(2*lane+1) + lane) % resources
					b.Add(organization(fmt.Sprintf("o%d", id), fmt.Sprint((lane+round)%3)))
				}
				err := s.Apply(t.Context(), b, func(outcomes []Outcome) (Commit, error) {
					mu.Lock()
					defer mu.Unlock()
					for _, o := range outcomes {
						total[o]++
					}
					return Commit{Put: []MetaRecord{{Name: fmt.Sprintf("lane/%d", lane), Value: fmt.Append(nil, round+1)}}}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() { // a reader beside them
		for range 50 {
			for e, err := range s.Search(t.Context(), &Query{Type: fhir.Organization}) {
				if err != nil || len(e.Keys) != 1 {
					t.Errorf("search: %v with %d keys", err, len(e.Keys))
					return
				}
			}
		}
	})
	wg.Wait()

	if total[Created] != resources {
		t.Errorf("%d resources created, want %d", total[Created], resources)
	}
	if n := total[Created] + total[Updated] + total[Unchanged]; n != lanes*rounds*resources {
		t.Errorf("%d outcomes, want %d", n, lanes*rounds*resources)
	}
	st, err := s.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := st.Types[fhir.Organization].Versions, int64(total[Created]+total[Updated]); got != want {
		t.Errorf("%d versions, but %d resources were created or updated", got, want)
	}
	if st.Types[fhir.Organization].Resources != resources {
		t.Errorf("%d resources, want %d", st.Types[fhir.Organization].Resources, resources)
	}
	if n := indexed(t, s); n != resources {
		t.Errorf("%d identifiers in the index, want %d", n, resources)
	}
	n := 0
	for rec, err := range s.AllMeta("lane/") {
		if err != nil || string(rec.Value) != fmt.Sprint(rounds) {
			t.Errorf("%s: %s, %v", rec.Name, rec.Value, err)
		}
		n++
	}
	if n != lanes {
		t.Errorf("%d meta records, want %d", n, lanes)
	}
}
