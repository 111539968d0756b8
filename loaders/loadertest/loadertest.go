// Package loadertest is the acceptance suite of pipeline.Loader: what every loader must do,
// whatever its target.
package loadertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Target is one empty target for one test.
type Target interface {
	// Open opens the target for the run of the test. It is called again after the
	// loader before it was closed, with or without Finish.
	Open(t *testing.T) pipeline.Loader

	// Resources reads the target without the help of the loader: "Type/id" to JSON. The loader is
	// finished and closed by then. What a server adds to a resource must be removed (see OnServer). It
	// fails the test if there is a duplicate.
	Resources(t *testing.T) map[string]string
}

// Updater is a Target that may hold other versions of a resource already.
type Updater interface {
	// CanUpdate reports whether the loader compares with what is there: the same
	// content is Unchanged, other content Updated, and a record of an older source
	// version Stale; and whether it deletes: another one refuses deletions.
	CanUpdate() bool
}

// Sequencer is a Target that remembers the order of arrival.
type Sequencer interface {
	// Sequence lists the resources of a type that a lane has loaded, as "Type/id",
	// in their order in the target.
	Sequence(t *testing.T, lane string, typ fhir.Type) []string
}

// system is that of the identifiers of all resources of the suite.
const system = "urn:test"

// Run runs the suite, and for a Server what servers make of it. newTarget is called once for each case.
func Run(t *testing.T, newTarget func(t *testing.T) Target) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Target)
	}{
		{"NoCheckpoint", testNoCheckpoint},
		{"DurableAfterNil", testDurableAfterNil},
		{"ReopenAfterEveryLoad", testReopenAfterEveryLoad},
		{"RetryAfterSealError", testRetryAfterSealError},
		{"OrderInLane", testOrderInLane},
		{"EmptyBatches", testEmptyBatches},
		{"LanesAreIndependent", testLanesAreIndependent},
		{"ConcurrentLanes", testConcurrentLanes},
		{"CancelledBefore", testCancelledBefore},
		{"CancelledDuring", testCancelledDuring},
		{"LargeBatch", testLargeBatch},
		{"Unicode", testUnicode},
		{"Update", testUpdate},
		{"Delete", testDelete},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newTarget(t)) })
	}
	if _, ok := newTarget(t).(Server); ok {
		runServer(t, func(t *testing.T) Server { return newTarget(t).(Server) })
	}
}

// resource is a Patient or an Organization that a strict server takes. Its identifier is the one of its key: servers
// that give ids find it by that.
func resource(typ fhir.Type, id, name string) *fhir.Resource {
	value, err := json.Marshal(name)
	if err != nil {
		panic(err)
	}
	text := fmt.Sprintf(`"name":[{"text":%s}]`, value)
	if typ == fhir.Organization {
		text = fmt.Sprintf(`"name":%s`, value)
	}
	const updated = "2024-05-06T07:08:09Z"
	return &fhir.Resource{
		Type: typ, ID: id, LastUpdated: updated,
		JSON: fmt.Appendf(nil, `{"resourceType":"%s","id":"%s","meta":{"lastUpdated":"%s"},"identifier":[{"system":"%s","value":"%s"}],%s}`, typ, id, updated, system, id, text),
		Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: system + "|" + id}},
	}
}

func patient(id string) *fhir.Resource { return resource(fhir.Patient, id, "name of "+id) }

func batch(resources ...*fhir.Resource) *fhir.Batch {
	b := &fhir.Batch{}
	for _, r := range resources {
		b.Add(r)
	}
	return b
}

// checkpoint is a checkpoint in which everything depends on the row.
func checkpoint(row int64) pipeline.Checkpoint {
	cp := pipeline.Checkpoint{Row: row, Rejects: 100 + row}
	cp.Account.Claims.Seen = row
	cp.Account.Rows[0].Read = 2 * row
	cp.Account.Resources[fhir.Patient].Created = 3 * row
	pipeline.Count(&cp.Account.Rejects, "rule-a", row+1)
	pipeline.Count(&cp.Account.Warnings, "rule-b", row+2)
	return cp
}

// load loads a batch and returns the outcomes.
func load(t *testing.T, l pipeline.Loader, lane string, b *fhir.Batch, cp pipeline.Checkpoint) []pipeline.Outcome {
	t.Helper()
	got, err := tryLoad(context.Background(), l, lane, b, cp)
	if err != nil {
		t.Fatalf("load lane %s: %v", lane, err)
	}
	return got
}

func tryLoad(ctx context.Context, l pipeline.Loader, lane string, b *fhir.Batch, cp pipeline.Checkpoint) ([]pipeline.Outcome, error) {
	var got []pipeline.Outcome
	calls := 0
	err := l.Load(ctx, lane, b, func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
		calls++
		got = slices.Clone(outcomes)
		return cp, nil
	})
	if err != nil {
		return nil, err
	}
	if calls != 1 {
		return nil, fmt.Errorf("seal was called %d times", calls)
	}
	if len(got) != b.Len() {
		return nil, fmt.Errorf("seal was told %d outcomes of %d resources", len(got), b.Len())
	}
	return got, nil
}

// wantResume fails the test unless the lane resumes at cp.
func wantResume(t *testing.T, l pipeline.Loader, lane string, cp pipeline.Checkpoint) {
	t.Helper()
	got, err := l.Resume(context.Background(), lane)
	if err != nil {
		t.Fatalf("resume lane %s: %v", lane, err)
	}
	if diff := cmp.Diff(cp, got); diff != "" {
		t.Fatalf("checkpoint of lane %s (-want +got):\n%s", lane, diff)
	}
}

func closeLoader(t *testing.T, l pipeline.Loader) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// finish finishes and closes the loader.
func finish(t *testing.T, l pipeline.Loader) {
	t.Helper()
	total := checkpoint(1000).Account
	if err := l.Finish(context.Background(), &total); err != nil {
		t.Fatalf("finish: %v", err)
	}
	if diff := cmp.Diff(checkpoint(1000).Account, total); diff != "" {
		t.Fatalf("Finish changed the account of the run (-want +got):\n%s", diff)
	}
	closeLoader(t, l)
}

// wantResources fails the test unless the target holds these resources and no
// others. White space and the order of members do not matter.
func wantResources(t *testing.T, target Target, resources ...*fhir.Resource) {
	t.Helper()
	wantHeld(t, target, resources...)
}

// wantHeld is wantResources for whatever can be read.
func wantHeld(t *testing.T, target interface {
	Resources(t *testing.T) map[string]string
}, resources ...*fhir.Resource) {
	t.Helper()
	got := target.Resources(t)
	want := map[string]string{}
	for _, r := range resources {
		want[fhir.Reference(r.Type, r.ID)] = string(r.JSON)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatalf("resources in the target (-want +got):\n%s", diff)
	}
	_, onServer := target.(interface{ Fhirtest() *fhirtest.Server })
	for ref, text := range want {
		a, b := parse(t, text), parse(t, got[ref])
		if onServer { // which says itself when a resource was updated
			withoutUpdate(a)
			withoutUpdate(b)
		}
		if diff := cmp.Diff(a, b); diff != "" {
			t.Errorf("%s (-want +got):\n%s", ref, diff)
		}
	}
}

func withoutUpdate(resource any) {
	r, _ := resource.(map[string]any)
	if meta, ok := r["meta"].(map[string]any); ok {
		delete(meta, "lastUpdated")
	}
}

func parse(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("parse resource: %v", err)
	}
	return v
}

var errSeal = errors.New("seal says no")
