package loadertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Stream is an open target of streams.
type Stream interface {
	pipeline.StreamTarget
	Close() error
}

// StreamTarget is one empty target of streams, for one test.
type StreamTarget interface {
	// OpenStream opens the target. It is called again after the one before it was closed.
	OpenStream(t *testing.T) Stream

	// Resources reads the target, as Target.Resources does. The stream is closed by then.
	Resources(t *testing.T) map[string]string
}

// RunStream runs the suite of targets of streams. newTarget is called once for each case.
func RunStream(t *testing.T, newTarget func(t *testing.T) StreamTarget) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, StreamTarget)
	}{
		{"Positions", testPositions},
		{"Records", testRecords},
		{"Guards", testGuards},
		{"Fence", testFence},
		{"SealError", testStreamSealError},
		{"Outcomes", testStreamOutcomes},
		{"LanesMeet", testLanesMeet},
		{"Cancelled", testStreamCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, newTarget(t)) })
	}
}

// stream is an open target in a test.
type stream struct {
	Stream
	t *testing.T
}

func openStream(t *testing.T, target StreamTarget) *stream {
	t.Helper()
	return &stream{target.OpenStream(t), t}
}

func (s *stream) end() {
	s.t.Helper()
	if err := s.Close(); err != nil {
		s.t.Fatalf("close: %v", err)
	}
}

// take takes a lane and fails the test unless it goes on there.
func (s *stream) take(lane string, next int64) pipeline.StreamLane {
	s.t.Helper()
	l, at, err := s.Take(context.Background(), lane)
	if err != nil {
		s.t.Fatalf("take lane %s: %v", lane, err)
	}
	if diff := cmp.Diff(position(next), at); diff != "" {
		s.t.Fatalf("position of lane %s (-want +got):\n%s", lane, diff)
	}
	return l
}

// position is one in which everything depends on the offset.
func position(next int64) pipeline.Position {
	if next == 0 {
		return pipeline.Position{}
	}
	return pipeline.Position{Next: next, LeaderEpoch: int32(next % 7), TopicID: "topic", Last: next - 1, Digest: uint64(next) << 40}
}

// wantRecords fails the test unless the records have these values; "" is none.
func (s *stream) wantRecords(pairs ...string) {
	s.t.Helper()
	var names []string
	for i := 0; i < len(pairs); i += 2 {
		names = append(names, pairs[i])
	}
	got, err := s.Recall(context.Background(), names)
	if err != nil || len(got) != len(names) {
		s.t.Fatalf("recall %s: %q, %v", names, got, err)
	}
	for i, v := range got {
		if want := pairs[2*i+1]; string(v) != want || (v == nil) != (want == "") {
			s.t.Errorf("record %s is %q, want %q", names[i], v, want)
		}
	}
}

// commits loads a batch with a commit, and returns the outcomes.
func commits(l pipeline.StreamLane, b *fhir.Batch, c pipeline.StreamCommit) (got []pipeline.Outcome, err error) {
	err = l.Load(context.Background(), b, func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.StreamCommit, error) {
		got = slices.Clone(outcomes)
		return c, nil
	})
	if err == nil && len(got) != b.Len() {
		err = fmt.Errorf("seal was told %d outcomes of %d resources", len(got), b.Len())
	}
	return got, err
}

func mustCommit(t *testing.T, l pipeline.StreamLane, b *fhir.Batch, c pipeline.StreamCommit) []pipeline.Outcome {
	t.Helper()
	got, err := commits(l, b, c)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return got
}

func record(name, value string) pipeline.Record {
	if value == "" {
		return pipeline.Record{Name: name}
	}
	return pipeline.Record{Name: name, Value: []byte(value)}
}

// wantLeft fails the test unless the target has these resources and no others.
func wantLeft(t *testing.T, target StreamTarget, want ...*fhir.Resource) {
	t.Helper()
	wantHeld(t, target, want...)
}

func testPositions(t *testing.T, target StreamTarget) {
	s := openStream(t, target)
	a, b := s.take("topic/1", 0), s.take("topic/10", 0)
	mustCommit(t, a, batch(patient("a")), pipeline.StreamCommit{Position: position(3)})
	mustCommit(t, b, batch(patient("b")), pipeline.StreamCommit{Position: position(9)})
	mustCommit(t, a, batch(), pipeline.StreamCommit{Position: position(4)})
	s.end()

	s = openStream(t, target)
	s.take("topic/10", 9)
	a = s.take("topic/1", 4)
	s.take("topic", 0)
	mustCommit(t, a, batch(patient("c")), pipeline.StreamCommit{Position: position(5)})
	s.take("topic/1", 5)
	s.end()
	wantLeft(t, target, patient("a"), patient("b"), patient("c"))
}

func testRecords(t *testing.T, target StreamTarget) {
	s := openStream(t, target)
	l := s.take("lane", 0)
	s.wantRecords("queue/a", "", "x", "")
	mustCommit(t, l, batch(), pipeline.StreamCommit{Position: position(1), Put: []pipeline.Record{record("queue/b", "2"), record("queue/a", "1"), record("queued", "3"), record("x", "4")}})
	mustCommit(t, l, batch(patient("a")), pipeline.StreamCommit{Position: position(2), Put: []pipeline.Record{record("x", ""), record("queue/b", "5"), record("never", "")}})
	s.end()

	s = openStream(t, target)
	s.wantRecords("x", "", "queue/a", "1", "queue/b", "5", "queue/a", "1")
	var got []string
	each := func(prefix string, stop error) error {
		return s.Each(context.Background(), prefix, func(r pipeline.Record) error {
			got = append(got, r.Name+"="+string(r.Value))
			return stop
		})
	}
	if err := each("queue/", nil); err != nil || !slices.Equal(got, []string{"queue/a=1", "queue/b=5"}) {
		t.Errorf("records %q (%v)", got, err)
	}
	got = nil
	if err := errors.Join(each("x", nil), each("never", nil)); err != nil || got != nil {
		t.Errorf("records that were removed: %q (%v)", got, err)
	}
	if err := each("queue", errSeal); !errors.Is(err, errSeal) || len(got) != 1 {
		t.Errorf("Each goes on after an error: %q (%v)", got, err)
	}
	s.end()
}

func testGuards(t *testing.T, target StreamTarget) {
	s := openStream(t, target)
	l := s.take("lane", 0)
	put := func(v string) []pipeline.Record { return []pipeline.Record{record("member", v)} }
	mustCommit(t, l, batch(), pipeline.StreamCommit{Position: position(1), Put: put("1"), Guards: []pipeline.Record{record("member", "")}})
	for i, guards := range [][]pipeline.Record{{record("member", "")}, {record("member", "2")}, {record("member", "1"), record("other", "1")}} {
		_, err := commits(l, batch(patient("late")), pipeline.StreamCommit{Position: position(7), Put: put("9"), Guards: guards})
		if !errors.Is(err, pipeline.ErrChanged) {
			t.Fatalf("guards %d: %v, want ErrChanged", i, err)
		}
	}
	s.wantRecords("member", "1")
	// Several guards of one name are alternatives.
	mustCommit(t, l, batch(patient("a")), pipeline.StreamCommit{Position: position(2), Put: put("2"), Guards: []pipeline.Record{record("member", "5"), record("member", "1"), record("other", "")}})
	s.take("lane", 2)
	s.end()
	wantLeft(t, target, patient("a"))
}

func testFence(t *testing.T, target StreamTarget) {
	s := openStream(t, target)
	old, other := s.take("lane", 0), s.take("other", 0)
	mustCommit(t, old, batch(patient("a")), pipeline.StreamCommit{Position: position(1)})
	now := s.take("lane", 1)
	if _, err := commits(old, batch(patient("late")), pipeline.StreamCommit{Position: position(2), Put: []pipeline.Record{record("late", "1")}}); !errors.Is(err, pipeline.ErrFenced) {
		t.Errorf("an owner from before loads: %v, want ErrFenced", err)
	}
	s.wantRecords("late", "")
	mustCommit(t, now, batch(patient("b")), pipeline.StreamCommit{Position: position(2)})
	mustCommit(t, other, batch(patient("c")), pipeline.StreamCommit{Position: position(1)})
	s.end()
	wantLeft(t, target, patient("a"), patient("b"), patient("c"))
}

func testStreamSealError(t *testing.T, target StreamTarget) {
	s := openStream(t, target)
	l := s.take("lane", 0)
	for range 2 {
		err := l.Load(context.Background(), batch(patient("a"), patient("b")), func([]pipeline.Outcome, pipeline.Refusals) (pipeline.StreamCommit, error) {
			return pipeline.StreamCommit{}, errSeal
		})
		if !errors.Is(err, errSeal) {
			t.Fatalf("Load returns %v, want the error of seal", err)
		}
		l = s.take("lane", 0)
	}
	got := mustCommit(t, l, batch(patient("a"), patient("b")), pipeline.StreamCommit{Position: position(2)})
	if diff := cmp.Diff([]pipeline.Outcome{pipeline.Created, pipeline.Created}, got); diff != "" {
		t.Errorf("outcomes of the batch that is loaded again (-want +got):\n%s", diff)
	}
	s.end()
	wantLeft(t, target, patient("a"), patient("b"))
}

func testStreamOutcomes(t *testing.T, target StreamTarget) {
	v := func(id, name, version string) *fhir.Resource {
		r := resource(fhir.Patient, id, name)
		r.SourceVersion = version
		return r
	}
	s := openStream(t, target)
	l := s.take("lane", 0)
	mustCommit(t, l, batch(v("a", "first", "1"), v("b", "first", "5"), v("c", "first", "1"), v("d", "first", "1")), pipeline.StreamCommit{Position: position(1)})
	got := mustCommit(t, l, batch(v("a", "first", "1"), v("b", "second", "4"), v("c", "second", "2"), deletion(fhir.Patient, "d", "2"), deletion(fhir.Patient, "never", "1"), v("e", "first", "1")), pipeline.StreamCommit{Position: position(2)})
	want := []pipeline.Outcome{pipeline.Unchanged, pipeline.Stale, pipeline.Updated, pipeline.Deleted, pipeline.Unchanged, pipeline.Created}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if version, ok, err := s.SourceVersion(context.Background(), "Patient/c"); version != "2" || !ok || err != nil {
		t.Errorf("source version %q, %t, %v", version, ok, err)
	}
	if _, ok, err := s.SourceVersion(context.Background(), "Patient/none"); ok || err != nil {
		t.Errorf("a resource that is not there: %t, %v", ok, err)
	}
	s.end()
	wantLeft(t, target, v("a", "first", "1"), v("b", "first", "5"), v("c", "second", "2"), v("e", "first", "1"))
}

// testLanesMeet lets lanes change one record at once: each change is made from the one before.
func testLanesMeet(t *testing.T, target StreamTarget) {
	const lanes = 8
	s := openStream(t, target)
	var wait sync.WaitGroup
	var want []*fhir.Resource
	for i := range lanes {
		want = append(want, patient(fmt.Sprint("p", i)))
		wait.Go(func() {
			l, _, err := s.Take(context.Background(), fmt.Sprint("lane/", i))
			for n := 0; err == nil && n < 100; n++ {
				var was [][]byte
				if was, err = s.Recall(context.Background(), []string{"counter"}); err != nil {
					break
				}
				value := append(slices.Clone(was[0]), byte('a'+i))
				_, err = commits(l, batch(patient(fmt.Sprint("p", i))), pipeline.StreamCommit{Position: position(1), Put: []pipeline.Record{{Name: "counter", Value: value}}, Guards: []pipeline.Record{{Name: "counter", Value: was[0]}}})
				if !errors.Is(err, pipeline.ErrChanged) {
					break
				}
				err = nil
			}
			if err != nil {
				t.Errorf("lane %d: %v", i, err)
			}
		})
	}
	wait.Wait()
	v, err := s.Recall(context.Background(), []string{"counter"})
	if err != nil || len(v[0]) != lanes {
		t.Errorf("%d of %d changes of a record are left (%v)", len(v[0]), lanes, err)
	}
	s.end()
	wantLeft(t, target, want...)
}

func testStreamCancelled(t *testing.T, target StreamTarget) {
	s := openStream(t, target)
	l := s.take("lane", 0)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := l.Load(ctx, batch(patient("a")), func([]pipeline.Outcome, pipeline.Refusals) (pipeline.StreamCommit, error) {
		return pipeline.StreamCommit{Position: position(1)}, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Load returns %v, want context.Canceled", err)
	}
	l = s.take("lane", 0)
	mustCommit(t, l, batch(patient("a")), pipeline.StreamCommit{Position: position(1)})
	s.end()
	wantLeft(t, target, patient("a"))
}
