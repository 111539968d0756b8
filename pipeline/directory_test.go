package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline"
)

// TestLookUpInFiles loads extracts whose members and coverages are looked up in files:
// with faults, with the small tables from an earlier load, and again.
func TestLookUpInFiles(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 8, Faults: 0.2, Claims: 1000})
	want, wantAccount := load(t, dir)

	defer pipeline.LookUpInFiles()()
	got, account := load(t, dir)
	if diff := cmp.Diff(want.texts(), got.texts()); diff != "" {
		t.Errorf("other resources than from memory (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantAccount, account); diff != "" {
		t.Errorf("another account than from memory (-want +got):\n%s", diff)
	}

	tables, claims := filepath.Join(t.TempDir(), "tables"), filepath.Join(t.TempDir(), "claims")
	for _, d := range []string{tables, claims} {
		if err := os.CopyFS(d, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		paths, err := filepath.Glob(filepath.Join(d, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if strings.HasPrefix(filepath.Base(p), "claims") == (d == tables) {
				if err := os.Remove(p); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	state, m := t.TempDir(), &faulty{memory: newMemory()}
	for i, d := range []string{tables, claims, tables, claims} {
		r := openRun(t, d, "cpcds", state, false, m)
		r.ID = string(rune('a' + i))
		if _, err := r.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.lanes = map[string]pipeline.Checkpoint{} // those of a run are its own
	}
	if diff := cmp.Diff(want.texts(), m.texts()); diff != "" {
		t.Errorf("other resources than when all tables come at once (-want +got):\n%s", diff)
	}
}
