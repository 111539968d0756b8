package rejects_test

import (
	"context"
	"os"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rejects"
)

// target has resources of source versions.
type target map[string]string

func (t target) SourceVersion(_ context.Context, resource string) (string, bool, error) {
	v, ok := t[resource]
	return v, ok, nil
}

// TestCloseRefused closes what a target has refused once it has it: it is obsolete after a load, and resolved after
// a replay. What somebody else has changed there is there in the same version: only a newer one closes that.
func TestCloseRefused(t *testing.T) {
	const then, later = "2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"
	for _, x := range []struct {
		rule, there string
		want        rejects.State
	}{
		{pipeline.RuleServerRefused, "", rejects.Open},
		{pipeline.RuleServerRefused, then, rejects.Obsolete},
		{pipeline.RuleServerChanged, then, rejects.Open},
		{pipeline.RuleServerChanged, later, rejects.Obsolete},
	} {
		state, of := t.TempDir(), "Organization/o1"
		log, err := rejects.OpenLog(state, "run", "mentions-refused", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		log.Add(&pipeline.Reject{Table: "referenced", Resources: []string{of}, Version: then, Problems: []pipeline.RejectProblem{{Rule: x.rule, Resource: of}}})
		if _, err := log.Flush(); err != nil {
			t.Fatal(err)
		}
		log.Close()
		replayed := t.TempDir()
		if err := os.CopyFS(replayed, os.DirFS(state)); err != nil {
			t.Fatal(err)
		}
		s, err := rejects.OpenStore(state)
		if err != nil {
			t.Fatal(err)
		}
		has := target{}
		if x.there != "" {
			has[of] = x.there
		}
		if err := s.Close(t.Context(), "another", has, func(*pipeline.Reject) {}); err != nil {
			t.Fatal(err)
		}
		if got := s.State("run", "mentions-refused-000001"); got != x.want {
			t.Errorf("%s, the target has %q: %s, want %s", x.rule, x.there, got, x.want)
		}
		r, err := rejects.OpenStore(replayed)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Arrived(t.Context(), has); err != nil {
			t.Fatal(err)
		}
		want := x.want
		if want == rejects.Obsolete {
			want = rejects.Resolved
		}
		if got := r.State("run", "mentions-refused-000001"); got != want {
			t.Errorf("%s, replayed, the target has %q: %s, want %s", x.rule, x.there, got, want)
		}
		states, err := rejects.Replayed(state, "replay", []string{"run/mentions-refused-000001"}, func(string) bool { return false })
		if err != nil || len(states) > 0 {
			t.Errorf("a reject without rows was not replayed, and becomes %v (%v)", states, err)
		}
	}
}

// TestRewind cuts a file of rejects to an earlier length, and goes on from there.
func TestRewind(t *testing.T) {
	state := t.TempDir()
	log, err := rejects.OpenLog(state, "run", "lane", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(version string) int64 {
		t.Helper()
		log.Add(&pipeline.Reject{Version: version})
		size, err := log.Flush()
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	first := add("first")
	add("wrong")
	log.Add(&pipeline.Reject{Version: "not written"})
	if err := log.Rewind(first, 1); err != nil {
		t.Fatal(err)
	}
	add("second")
	log.Close()
	s, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = s.Each("run", func(r *pipeline.Reject) error { got = append(got, r.ID+" "+r.Version); return nil })
	if err != nil || len(got) != 2 || got[0] != "lane-000001 first" || got[1] != "lane-000002 second" {
		t.Errorf("%q (%v)", got, err)
	}
}
