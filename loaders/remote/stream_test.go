package remote

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// loadStream loads a batch of a stream to a position, with records and guards.
func loadStream(t *testing.T, lane pipeline.StreamLane, next int64, b *fhir.Batch, put, guards []pipeline.Record) (outcomes []pipeline.Outcome, err error) {
	t.Helper()
	err = lane.Load(t.Context(), b, func(got []pipeline.Outcome, _ pipeline.Refusals) (pipeline.StreamCommit, error) {
		outcomes = slices.Clone(got)
		return pipeline.StreamCommit{Position: pipeline.Position{Next: next}, Put: put, Guards: guards}, nil
	})
	return outcomes, err
}

func TestStream(t *testing.T) {
	b := newBed(t)
	b.sloppy = true
	l := b.open(t)
	lane, at, err := l.Take(t.Context(), "topic/0")
	if err != nil || at != (pipeline.Position{}) {
		t.Fatalf("Take: %v, %v", at, err)
	}
	member := pipeline.Record{Name: "member/a", Value: []byte("1")}
	got, err := loadStream(t, lane, 5, batch(patient("a", "1", "x")), []pipeline.Record{member}, nil)
	if diff := cmp.Diff([]pipeline.Outcome{created}, got); diff != "" || err != nil {
		t.Fatalf("outcomes (-want +got):\n%s%v", diff, err)
	}

	// A batch that was made from something that has changed is not sent.
	sends := b.sends
	old := []pipeline.Record{{Name: "member/a", Value: []byte("0")}}
	if _, err = loadStream(t, lane, 6, batch(patient("b", "1", "x")), nil, old); !errors.Is(err, pipeline.ErrChanged) || b.sends != sends {
		t.Errorf("Load: %v, %d sends", err, b.sends-sends)
	}
	// Nothing is sent, and it fails all the same.
	if _, err = loadStream(t, lane, 6, batch(patient("a", "1", "x")), nil, old); !errors.Is(err, pipeline.ErrChanged) {
		t.Errorf("Load: %v", err)
	}

	// It changes while the batch is sent: the batch is made again.
	other, _, err := l.Take(t.Context(), "topic/1")
	if err != nil {
		t.Fatal(err)
	}
	b.before = func(int, []Entry) error {
		b.before = nil
		_, err := loadStream(t, other, 1, batch(), []pipeline.Record{{Name: "member/a", Value: []byte("2")}}, nil)
		return err
	}
	if _, err = loadStream(t, lane, 6, batch(patient("b", "1", "x")), nil, []pipeline.Record{member}); !errors.Is(err, pipeline.ErrChanged) {
		t.Errorf("Load: %v", err)
	}
	now := []pipeline.Record{{Name: "member/a", Value: []byte("2")}}
	got, err = loadStream(t, lane, 6, batch(patient("b", "1", "y")), nil, now)
	if diff := cmp.Diff([]pipeline.Outcome{created}, got); diff != "" || err != nil {
		t.Errorf("outcomes (-want +got):\n%s%v", diff, err)
	}

	// Another owner has the lane.
	again, at, err := l.Take(t.Context(), "topic/0")
	if err != nil || at.Next != 6 {
		t.Fatalf("Take: %v, %v", at, err)
	}
	sends = b.sends
	if _, err = loadStream(t, lane, 7, batch(patient("c", "1", "x")), nil, nil); !errors.Is(err, pipeline.ErrFenced) || b.sends != sends {
		t.Errorf("Load: %v, %d sends", err, b.sends-sends)
	}

	// An answer is lost.
	b.after = func(int, []Entry) error { return errLost }
	if _, err = loadStream(t, again, 7, batch(patient("c", "1", "x")), nil, nil); !errors.Is(err, errLost) {
		t.Errorf("Load: %v", err)
	}
	b.after = nil
	shut(t, l)
	l = b.open(t)
	if again, at, err = l.Take(t.Context(), "topic/0"); err != nil || at.Next != 6 {
		t.Fatalf("Take: %v, %v", at, err)
	}
	writes := b.writes
	got, err = loadStream(t, again, 7, batch(patient("c", "1", "x")), nil, nil)
	if diff := cmp.Diff([]pipeline.Outcome{created}, got); diff != "" || err != nil || b.writes != writes {
		t.Errorf("outcomes (-want +got):\n%s%v, %d writes", diff, err, b.writes-writes)
	}

	values, err := l.Recall(t.Context(), []string{"member/a", "member/b"})
	if diff := cmp.Diff([][]byte{[]byte("2"), nil}, values); diff != "" || err != nil {
		t.Errorf("Recall (-want +got):\n%s%v", diff, err)
	}
	var names []string
	err = l.Each(t.Context(), "", func(r pipeline.Record) error { names = append(names, r.Name); return nil })
	if diff := cmp.Diff([]string{"at/topic/0", "at/topic/1", "member/a"}, names); diff != "" || err != nil {
		t.Errorf("Each (-want +got):\n%s%v", diff, err)
	}
	if version, ok, err := l.SourceVersion(t.Context(), "Patient/c"); version != "1" || !ok || err != nil {
		t.Errorf("SourceVersion: %q %v %v", version, ok, err)
	}
}
