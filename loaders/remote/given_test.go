package remote

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func claimOf(id, version, patient, status string) *fhir.Resource {
	return &fhir.Resource{Type: fhir.ExplanationOfBenefit, ID: id, SourceVersion: version,
		JSON: fmt.Appendf(nil, `{"resourceType":"ExplanationOfBenefit","id":"%s","status":"%s","identifier":[{"value":"c"}],"patient":{"reference":"Patient/%s"}}`, id, status, patient)}
}

func newGivingBed(t *testing.T) *bed {
	t.Helper()
	b := newBed(t)
	b.settings.IDs = idsOfServer
	b.sloppy = true
	return b
}

// TestServerGivesIDs loads into a server that makes its own ids. V1, V6
func TestServerGivesIDs(t *testing.T) {
	b := newGivingBed(t)
	l := b.open(t)
	list := batch(claimOf("e1", "1", "p1", "active"), patient("p1", "1", "x"), patient("p2", "1", "x"))
	b.wants(t, l, list, 3, created, created, created)
	ours := func(own string) string {
		return `{"system":"` + IdentifierSystem + `","value":"` + own + `"}`
	}
	there, ok, err := l.Known(t.Context(), fhir.Patient, "p1")
	if !ok || err != nil || !strings.HasPrefix(there.ID, "s") {
		t.Fatalf("Known: %v %v %v", there, ok, err)
	}
	if own, ok, err := l.Own(t.Context(), fhir.Patient, there.ID); own != "p1" || !ok || err != nil {
		t.Errorf("Own: %q %v %v", own, ok, err)
	}
	claim, _, err := l.Known(t.Context(), fhir.ExplanationOfBenefit, "e1")
	if err != nil {
		t.Fatal(err)
	}
	want := `1 {"identifier":[` + ours("e1") + `,{"value":"c"}],"patient":{"reference":"Patient/` + there.ID + `"},"resourceType":"ExplanationOfBenefit","status":"active"}`
	if diff := cmp.Diff(want, b.contents(t)["ExplanationOfBenefit/"+claim.ID]); diff != "" {
		t.Errorf("claim (-want +got):\n%s", diff)
	}
	b.wants(t, l, list, 0, unchanged, unchanged, unchanged)
	b.wants(t, l, batch(claimOf("e1", "2", "p2", "active"), claimOf("e2", "1", "p1", "active")), 2, updated, created)
	if id := b.have["ExplanationOfBenefit/"+claim.ID]; id.version != 2 {
		t.Errorf("version %d of an update, want 2", id.version)
	}

	// The index is lost: everything is found again by our ids.
	shut(t, l)
	b.state = t.TempDir()
	before := b.contents(t)
	l = b.open(t)
	b.wants(t, l, batch(claimOf("e1", "2", "p2", "active"), claimOf("e2", "1", "p1", "active")), 0, unchanged, unchanged)
	if diff := cmp.Diff(before, b.contents(t)); diff != "" {
		t.Errorf("the server (-want +got):\n%s", diff)
	}
}

func TestReferenceIsGone(t *testing.T) {
	b := newGivingBed(t)
	b.bad["Patient/p1"] = true
	l := b.open(t)
	got := b.wants(t, l, batch(claimOf("e1", "1", "p1", "active"), claimOf("e2", "1", "nobody", "active"), patient("p1", "1", "x")), 0, refused, refused, refused)
	want := map[int]string{0: pipeline.RuleReferenceGone, 1: pipeline.RuleReferenceGone, 2: pipeline.RuleServerRefused}
	if diff := cmp.Diff(want, got.rules); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
}

func TestLostAnswerWithGivenIDs(t *testing.T) {
	b := newGivingBed(t)
	l := b.open(t)
	list := batch(claimOf("e1", "1", "p1", "active"), patient("p1", "1", "x"))
	b.after = func(n int, _ []Entry) error {
		if n == 2 { // the second wave, of the claim
			return errLost
		}
		return nil
	}
	if _, err := load(t.Context(), l, "lane", 1, list); !errors.Is(err, errLost) {
		t.Fatalf("Load returns %v", err)
	}
	shut(t, l)
	l = b.open(t)
	b.wants(t, l, list, 0, created, created)
	for name, k := range b.have {
		if k.version != 1 {
			t.Errorf("%s has version %d", name, k.version)
		}
	}
}

func TestVoidAndMarkWithGivenIDs(t *testing.T) {
	b := newGivingBed(t)
	b.settings.Deletions = deletionsMark
	l := b.open(t)
	b.wants(t, l, batch(claimOf("e1", "1", "p1", "active"), claimOf("e2", "1", "p1", "active"), patient("p1", "1", "x")), 3, created, created, created)
	out := &fhir.Batch{}
	if found, err := l.Void(t.Context(), out, "ExplanationOfBenefit/e1", "Patient/p1", "2025-01-01T00:00:00Z", "2"); !found || err != nil {
		t.Fatalf("Void: %v, %v", found, err)
	}
	b.wants(t, l, out, 1, updated)
	b.wants(t, l, out, 0, unchanged)
	b.wants(t, l, batch(claimOf("e1", "3", "p1", "cancelled"), &fhir.Resource{Type: fhir.ExplanationOfBenefit, ID: "e2", SourceVersion: "2", Deleted: true}), 1, unchanged, deleted)
	statuses := map[string]int{}
	for _, k := range b.have {
		statuses[string(elementOf(k.json, "status"))]++
	}
	if diff := cmp.Diff(map[string]int{`"cancelled"`: 1, `"entered-in-error"`: 1, "": 1}, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}
