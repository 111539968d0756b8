package loadertest

import (
	"context"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// testStreamRefusals: the seal of a stream is told what the server refuses, too.
func testStreamRefusals(t *testing.T, s Server) {
	l := s.Open(t)
	target, ok := l.(pipeline.StreamTarget)
	if !ok {
		t.Skip("the loader is no target of streams")
	}
	refuseID(s, "pbad")
	lane, at, err := target.Take(context.Background(), "topic/0")
	if err != nil || at != (pipeline.Position{}) {
		t.Fatalf("take: %v, %v", at, err)
	}
	var got told
	b := batch(marked(fhir.Patient, "p1", "1", "1"), marked(fhir.Patient, "pbad", "1", "1"), deletion(fhir.Patient, "never", "1"))
	err = lane.Load(context.Background(), b, func(outcomes []pipeline.Outcome, refusals pipeline.Refusals) (pipeline.StreamCommit, error) {
		got = newTold(outcomes, refusals)
		return pipeline.StreamCommit{Position: pipeline.Position{Next: 3}, Put: []pipeline.Record{{Name: "refused", Value: []byte("1")}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got.wantOutcomes(t, []pipeline.Outcome{pipeline.Created, pipeline.Refused, pipeline.Unchanged}, pipeline.RuleServerRefused)
	wantThere(t, s, fhir.Patient, "p1", "1")
	closeLoader(t, l)

	l = s.Open(t)
	target = l.(pipeline.StreamTarget)
	if _, at, err = target.Take(context.Background(), "topic/0"); err != nil || at.Next != 3 {
		t.Errorf("the lane goes on at %v (%v)", at, err)
	}
	if v, err := target.Recall(context.Background(), []string{"none", "refused"}); err != nil || v[0] != nil || string(v[1]) != "1" {
		t.Errorf("records %q (%v)", v, err)
	}
	closeLoader(t, l)
}
