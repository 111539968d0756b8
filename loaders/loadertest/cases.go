package loadertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func testNoCheckpoint(t *testing.T, target Target) {
	l := target.Open(t)
	wantResume(t, l, "claims-00-0000", pipeline.Checkpoint{})
	closeLoader(t, l)
	l = target.Open(t)
	wantResume(t, l, "claims-00-0000", pipeline.Checkpoint{})
	finish(t, l)
	wantResources(t, target)
}

func testDurableAfterNil(t *testing.T, target Target) {
	l := target.Open(t)
	load(t, l, "members-00", batch(patient("a"), patient("b")), checkpoint(2))
	closeLoader(t, l)

	l = target.Open(t)
	wantResume(t, l, "members-00", checkpoint(2))
	load(t, l, "members-00", batch(patient("c")), checkpoint(3))
	wantResume(t, l, "members-00", checkpoint(3))
	finish(t, l)
	wantResources(t, target, patient("a"), patient("b"), patient("c"))
}

func testReopenAfterEveryLoad(t *testing.T, target Target) {
	var want []*fhir.Resource
	last := pipeline.Checkpoint{}
	for i := range int64(5) {
		l := target.Open(t)
		wantResume(t, l, "members-00", last)
		r := patient(fmt.Sprintf("p%d", i))
		want = append(want, r)
		last = checkpoint(i + 1)
		last.Done = i == 4
		load(t, l, "members-00", batch(r), last)
		closeLoader(t, l)
	}
	l := target.Open(t)
	wantResume(t, l, "members-00", last)
	finish(t, l)
	wantResources(t, target, want...)
}

func testRetryAfterSealError(t *testing.T, target Target) {
	l := target.Open(t)
	load(t, l, "members-00", batch(patient("a")), checkpoint(1))
	b := batch(patient("b"), patient("c"))
	for range 2 {
		err := l.Load(context.Background(), "members-00", b, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
			return pipeline.Checkpoint{}, errSeal
		})
		if !errors.Is(err, errSeal) {
			t.Fatalf("Load returns %v, want the error of seal", err)
		}
	}
	wantResume(t, l, "members-00", checkpoint(1))
	got := load(t, l, "members-00", b, checkpoint(3))
	if diff := cmp.Diff([]pipeline.Outcome{pipeline.Created, pipeline.Created}, got); diff != "" {
		t.Errorf("outcomes of the batch that is loaded again (-want +got):\n%s", diff)
	}
	finish(t, l)
	wantResources(t, target, patient("a"), patient("b"), patient("c"))
}

func testOrderInLane(t *testing.T, target Target) {
	l := target.Open(t)
	var want []string
	for i := range int64(4) {
		b := &fhir.Batch{}
		for j := 9; j >= 0; j-- {
			r := patient(fmt.Sprintf("p%d-%d", 9-i, j))
			b.Add(r)
			want = append(want, fhir.Reference(r.Type, r.ID))
		}
		load(t, l, "members-00", b, checkpoint(i+1))
		wantResume(t, l, "members-00", checkpoint(i+1))
	}
	finish(t, l)
	if s, ok := target.(Sequencer); ok {
		if diff := cmp.Diff(want, s.Sequence(t, "members-00", fhir.Patient)); diff != "" {
			t.Errorf("order in the target (-want +got):\n%s", diff)
		}
	}
	if got := len(target.Resources(t)); got != len(want) {
		t.Errorf("%d resources in the target, want %d", got, len(want))
	}
}

func testEmptyBatches(t *testing.T, target Target) {
	l := target.Open(t)
	load(t, l, "claims-00-0000", batch(), checkpoint(7))
	load(t, l, "claims-00-0001", batch(patient("a")), checkpoint(1))
	done := checkpoint(9)
	done.Done = true
	load(t, l, "claims-00-0001", batch(), done)
	closeLoader(t, l)

	l = target.Open(t)
	wantResume(t, l, "claims-00-0000", checkpoint(7))
	wantResume(t, l, "claims-00-0001", done)
	finish(t, l)
	wantResources(t, target, patient("a"))
}

func testLanesAreIndependent(t *testing.T, target Target) {
	// Names that begin with each other must not be confused.
	lanes := []string{"claims", "claims-00", "claims-00-0001", "claims-00-00010"}
	l := target.Open(t)
	var want []*fhir.Resource
	for i, lane := range lanes {
		for j := range int64(i + 1) {
			r := patient(fmt.Sprintf("p-%d-%d", i, j))
			want = append(want, r)
			load(t, l, lane, batch(r), checkpoint(10*int64(i)+j))
		}
	}
	closeLoader(t, l)

	l = target.Open(t)
	for i, lane := range lanes {
		wantResume(t, l, lane, checkpoint(11*int64(i)))
	}
	extra := patient("extra")
	load(t, l, lanes[1], batch(extra), checkpoint(99))
	wantResume(t, l, lanes[0], checkpoint(0))
	wantResume(t, l, lanes[2], checkpoint(22))
	wantResume(t, l, "claims-01", pipeline.Checkpoint{})
	finish(t, l)
	wantResources(t, target, append(want, extra)...)
}

func testConcurrentLanes(t *testing.T, target Target) {
	const lanes, batches, each = 6, 8, 5
	var want []*fhir.Resource
	for lane := range lanes {
		for i := range batches * each {
			want = append(want, patient(fmt.Sprintf("p%d-%d", lane, i)))
		}
	}
	l := target.Open(t)
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			name := fmt.Sprintf("members-%02d", lane)
			if _, err := l.Resume(context.Background(), name); err != nil {
				t.Errorf("resume lane %s: %v", name, err)
			}
			b := &fhir.Batch{}
			for i := range batches {
				b.Reset()
				for j := range each {
					b.Add(patient(fmt.Sprintf("p%d-%d", lane, i*each+j)))
				}
				cp := checkpoint(int64(i + 1))
				cp.Done = i == batches-1
				if _, err := tryLoad(context.Background(), l, name, b, cp); err != nil {
					t.Errorf("load lane %s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	closeLoader(t, l)

	l = target.Open(t)
	cp := checkpoint(batches)
	cp.Done = true
	for lane := range lanes {
		wantResume(t, l, fmt.Sprintf("members-%02d", lane), cp)
	}
	finish(t, l)
	wantResources(t, target, want...)
}

func testCancelledBefore(t *testing.T, target Target) {
	l := target.Open(t)
	load(t, l, "members-00", batch(patient("a")), checkpoint(1))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := tryLoad(ctx, l, "members-00", batch(patient("b")), checkpoint(2)); !errors.Is(err, context.Canceled) {
		t.Fatalf("Load returns %v, want context.Canceled", err)
	}
	if err := l.Finish(ctx, &pipeline.Account{}); err == nil {
		t.Fatal("Finish succeeds with a context that is cancelled")
	}
	wantResume(t, l, "members-00", checkpoint(1))
	load(t, l, "members-00", batch(patient("b")), checkpoint(2))
	finish(t, l)
	wantResources(t, target, patient("a"), patient("b"))
}

// testCancelledDuring allows Load to fail or to succeed: what counts is that
// Resume and the target agree with each other.
func testCancelledDuring(t *testing.T, target Target) {
	l := target.Open(t)
	load(t, l, "members-00", batch(patient("a")), checkpoint(1))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b := batch(patient("b"), patient("c"))
	err := l.Load(ctx, "members-00", b, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
		cancel()
		return checkpoint(2), nil
	})
	closeLoader(t, l)

	l = target.Open(t)
	cp, errResume := l.Resume(context.Background(), "members-00")
	if errResume != nil {
		t.Fatalf("resume: %v", errResume)
	}
	switch {
	case cp.Row == 1 && err != nil:
		load(t, l, "members-00", b, checkpoint(2))
	case cp.Row == 2:
	default:
		t.Fatalf("Load returned %v, Resume says row %d", err, cp.Row)
	}
	finish(t, l)
	wantResources(t, target, patient("a"), patient("b"), patient("c"))
}

func testLargeBatch(t *testing.T, target Target) {
	var want []*fhir.Resource
	name := strings.Repeat("long name ", 200)
	for i := range 2000 {
		want = append(want, resource(fhir.Patient, fmt.Sprintf("p%d", i), name))
	}
	l := target.Open(t)
	load(t, l, "members-00", batch(want...), checkpoint(2000))
	finish(t, l)
	wantResources(t, target, want...)
}

func testUnicode(t *testing.T, target Target) {
	var want []*fhir.Resource
	for i, name := range []string{"Ærøskøbing", "王小明", "🏥 clinic", "e\u0301 and é", "line\u2028separator", `"quoted" \ back`, "<&>", "\u200f\u200fשלום"} {
		want = append(want, resource(fhir.Patient, fmt.Sprintf("p%d", i), name))
		want = append(want, resource(fhir.Organization, fmt.Sprintf("o%d", i), name))
	}
	l := target.Open(t)
	load(t, l, "members-00", batch(want...), checkpoint(1))
	finish(t, l)
	wantResources(t, target, want...)
}

func testUpdate(t *testing.T, target Target) {
	if u, ok := target.(Updater); !ok || !u.CanUpdate() {
		t.Skip("the target takes each resource once")
	}
	version := func(id, name, source string) *fhir.Resource {
		r := resource(fhir.Patient, id, name)
		r.SourceVersion = source
		return r
	}
	l := target.Open(t)
	load(t, l, "members-00", batch(version("a", "first", "1"), version("b", "first", "5"), version("c", "first", "")), checkpoint(1))
	closeLoader(t, l)

	l = target.Open(t)
	got := load(t, l, "members-01", batch(
		version("a", "first", "1"),  // the same record
		version("b", "second", "4"), // an older one
		version("c", "second", "1"), // a newer one
		version("d", "first", "1"),
	), checkpoint(1))
	want := []pipeline.Outcome{pipeline.Unchanged, pipeline.Stale, pipeline.Updated, pipeline.Created}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	load(t, l, "members-01", batch(version("d", "second", "2")), checkpoint(2))
	load(t, l, "members-01", batch(version("d", "third", "3")), checkpoint(3))
	finish(t, l)
	wantResources(t, target, version("a", "first", "1"), version("b", "first", "5"), version("c", "second", "1"), version("d", "third", "3"))
}

func testDelete(t *testing.T, target Target) {
	gone := func(id, source string) *fhir.Resource {
		return &fhir.Resource{Type: fhir.Patient, ID: id, LastUpdated: "2024-06-07T08:09:10Z", SourceVersion: source, Deleted: true}
	}
	version := func(id, source string) *fhir.Resource {
		r := patient(id)
		r.SourceVersion = source
		return r
	}
	u, ok := target.(Updater)
	l := target.Open(t)
	if !ok || !u.CanUpdate() {
		got := load(t, l, "members-00", batch(version("a", "1"), gone("b", "1"), version("c", "1"), gone("a", "2")), checkpoint(4))
		want := []pipeline.Outcome{pipeline.Created, pipeline.Refused, pipeline.Created, pipeline.Refused}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		load(t, l, "members-00", batch(gone("c", "2")), checkpoint(5))
		finish(t, l)
		wantResources(t, target, version("a", "1"), version("c", "1"))
		return
	}
	load(t, l, "members-00", batch(version("a", "1"), version("b", "5"), version("c", "1"), version("d", "1")), checkpoint(1))
	closeLoader(t, l)

	l = target.Open(t)
	got := load(t, l, "members-01", batch(
		gone("a", "2"),                    // of what is there
		gone("b", "4"),                    // an older one
		gone("e", "1"),                    // of what is not there
		version("f", "1"), gone("f", "2"), // of what came before in the batch
		gone("d", "2"), version("d", "3"), // and the other way round
	), checkpoint(1))
	want := []pipeline.Outcome{pipeline.Deleted, pipeline.Stale, pipeline.Unchanged, pipeline.Created, pipeline.Deleted, pipeline.Deleted, pipeline.Created}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	got = load(t, l, "members-01", batch(gone("a", "2"), version("a", "1"), version("a", "3"), gone("c", "7"), version("c", "6")), checkpoint(2))
	want = []pipeline.Outcome{pipeline.Unchanged, pipeline.Stale, pipeline.Created, pipeline.Deleted, pipeline.Stale}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes of the next batch (-want +got):\n%s", diff)
	}
	finish(t, l)
	wantResources(t, target, version("a", "3"), version("b", "5"), version("d", "3"))
}
