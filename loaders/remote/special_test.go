package remote

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/fhirclient"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func TestVoid(t *testing.T) {
	b := newBed(t)
	l := b.open(t)
	claim := &fhir.Resource{Type: fhir.ExplanationOfBenefit, ID: "e", SourceVersion: "1", LastUpdated: "2024-05-06T07:08:09Z",
		JSON: []byte(`{"resourceType":"ExplanationOfBenefit","id":"e","meta":{"lastUpdated":"2024-05-06T07:08:09Z","profile":["p"]},"status":"active","item":[{"status":"active"}],"patient":{"reference":"Patient/a"},"total":[{"amount":{"value":1.00}}]}`)}
	b.wants(t, l, batch(claim), 1, created)
	out := &fhir.Batch{}
	if _, err := l.Void(t.Context(), out, "ExplanationOfBenefit/e", "Patient/b", "2025-01-01T00:00:00Z", "2"); !errors.Is(err, pipeline.ErrOtherPatient) {
		t.Errorf("Void of another's claim: %v", err)
	}
	if found, err := l.Void(t.Context(), out, "ExplanationOfBenefit/f", "", "2025-01-01T00:00:00Z", "2"); found || err != nil {
		t.Errorf("Void of what is not there: %v, %v", found, err)
	}
	if found, err := l.Void(t.Context(), out, "ExplanationOfBenefit/e", "Patient/a", "2025-01-01T00:00:00Z", "2"); !found || err != nil {
		t.Fatalf("Void: %v, %v", found, err)
	}
	b.wants(t, l, out, 1, updated)
	want := map[string]string{"ExplanationOfBenefit/e": `2 {"id":"e","item":[{"status":"active"}],"meta":{"lastUpdated":"2025-01-01T00:00:00Z","profile":["p"]},"patient":{"reference":"Patient/a"},"resourceType":"ExplanationOfBenefit","status":"cancelled","total":[{"amount":{"value":1}}]}`}
	if diff := cmp.Diff(want, b.contents(t)); diff != "" {
		t.Errorf("the server (-want +got):\n%s", diff)
	}
	if bytes.ContainsAny(b.have["ExplanationOfBenefit/e"].json, "\n ") {
		t.Errorf("not on one line: %s", b.have["ExplanationOfBenefit/e"].json)
	}
}

// TestOneAtATime loads one resource from many lanes: no two have it in hand at once.
func TestOneAtATime(t *testing.T) { // V9
	b := newBed(t)
	var mu sync.Mutex
	hand := map[string]bool{}
	b.before = func(_ int, entries []Entry) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range entries {
			if hand[e.ID] {
				t.Errorf("%s is sent twice at once", e.ID)
			}
			hand[e.ID] = true
		}
		return nil
	}
	b.after = func(_ int, entries []Entry) error {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range entries {
			delete(hand, e.ID)
		}
		return nil
	}
	l := b.open(t)
	var wait sync.WaitGroup
	for lane := range 8 {
		wait.Go(func() {
			for i := range 10 {
				list := batch(record(fhir.Organization, "payer", "1", "x"), patient(fmt.Sprintf("p%d-%d", lane, i), "1", "x"), patient("shared", fmt.Sprint(i), fmt.Sprint(i)))
				if _, err := load(t.Context(), l, fmt.Sprint("lane", lane), int64(i), list); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if n := len(b.contents(t)); n != 82 {
		t.Errorf("%d resources, want 82", n)
	}
	if k := b.have["Organization/payer"]; k.version != 1 {
		t.Errorf("version %d of what all lanes load, want 1", k.version)
	}
	if k := b.have["Patient/shared"]; k.version > 10 {
		t.Errorf("version %d of what changes 10 times", k.version)
	}
}

// TestVersionIsNotKnown updates what an import has loaded, which says no versions.
func TestVersionIsNotKnown(t *testing.T) {
	b := newBed(t)
	b.silent = true
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "x"), patient("c", "1", "x")), 3, created, created, created)
	b.edit("Patient/a", `{"resourceType":"Patient","id":"a","name":"theirs"}`)
	b.edit("Patient/c", `{"resourceType":"Patient","id":"c","name":"y"}`)
	got := b.wants(t, l, batch(patient("a", "2", "y"), patient("b", "2", "y"), patient("c", "2", "y")), 1, refused, updated, updated)
	if got.rules[0] != pipeline.RuleServerChanged {
		t.Errorf("refusals: %v", got.rules)
	}
	b.wants(t, l, batch(patient("b", "2", "y"), patient("c", "2", "y")), 0, unchanged, unchanged)
}

// TestTypeThatTheServerLacks has a server that cannot count or read a type, and refuses it.
func TestTypeThatTheServerLacks(t *testing.T) {
	b := newBed(t)
	b.counts = func(string) (int64, error) { return 0, &fhirclient.Error{Method: "GET", Status: 400} }
	b.lacks = "RelatedPerson/"
	b.bad["RelatedPerson/r"] = true
	l := b.open(t)
	b.wants(t, l, batch(record(fhir.RelatedPerson, "r", "1", "x"), patient("a", "1", "x")), 1, refused, created)
}

// TestServerIsDown opens an index whose server does not answer.
func TestServerIsDown(t *testing.T) {
	b := newBed(t)
	down := &fhirclient.Error{Method: "GET", Err: errors.New("connection refused"), Retriable: true}
	b.counts = func(string) (int64, error) { return 0, down }
	if _, err := Open(t.Context(), b.options()); !errors.Is(err, down) {
		t.Fatalf("Open: %v", err)
	}
	b.counts = nil
	b.edit("Patient/a", `{"resourceType":"Patient","id":"a","name":"x"}`)
	l := b.open(t) // it is as new as before
	if adopted := l.counted[fhir.Patient].Load(); adopted {
		t.Error("the index takes the server to have no patients")
	}
}
