package owner

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// TestCorrectThroughSocket proves that a user corrects a store as its owner does.
func TestCorrectThroughSocket(t *testing.T) {
	own, user := pair(t)
	ctx := t.Context()
	ofPatient := func(id string) *fhir.Resource {
		return &fhir.Resource{Type: fhir.Coverage, ID: id, LastUpdated: "2024-05-06T07:08:09Z", JSON: []byte(`{"resourceType":"Coverage","id":"` + id + `"}`),
			Keys: []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/p"}}}
	}
	for _, c := range []struct {
		run  string
		with *fhir.Resource
	}{{"good", organization("o1", "one")}, {"bad", organization("o1", "two")}, {"bad", ofPatient("c1")}, {"good", ofPatient("c2")}} {
		if err := user.Apply(ctx, batchOf(c.with), commit(store.Commit{Origin: c.run})); err != nil {
			t.Fatal(err)
		}
	}
	correct := func(h store.Corrector, name string, all func(yield func(store.Correction, error) bool), want ...store.Outcome) {
		t.Helper()
		var list []store.Correction
		for c, err := range all {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, c)
		}
		got, err := h.Correct(ctx, name, list)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	correct(user, "undo", user.MadeBy(ctx, "bad", "undo", nil), store.Deleted, store.Updated)
	for c := range own.MadeBy(ctx, "bad", "undo", nil) {
		t.Errorf("%+v is left", c)
	}
	if err := user.KeepOut(ctx, []string{"Patient/p"}, true); err != nil {
		t.Fatal(err)
	}
	correct(user, "purge", user.Compartment(ctx, "p"), store.Deleted, store.Updated) // of c1, which was deleted, only an older version
	if err := user.Scrub(ctx); err != nil {
		t.Error(err)
	}
	err := own.Apply(ctx, batchOf(ofPatient("c3")), func(o []store.Outcome) (store.Commit, error) {
		if o[0] != store.Stale {
			t.Errorf("what is kept out is %v", o)
		}
		return store.Commit{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	e, err := user.Get(ctx, fhir.Organization, "o1")
	if err != nil || e.Version != 3 || string(e.JSON) != string(organization("o1", "one").JSON) {
		t.Errorf("%+v (%v)", e, err)
	}
	var origins []string
	for c, err := range user.Changes(ctx, fhir.Organization, 0, nil) {
		if err != nil {
			t.Fatal(err)
		}
		origins = append(origins, c.Origin)
	}
	if diff := cmp.Diff([]string{"good", "bad", "undo"}, origins); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
	reader, err := OpenReader(user.dir, store.Options{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeIt(t, reader)
	_, errCorrect := reader.Correct(ctx, "x", nil)
	for _, err := range []error{errCorrect, reader.KeepOut(ctx, nil, true), reader.Scrub(ctx)} {
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("a reader corrects: %v", err)
		}
	}
}
