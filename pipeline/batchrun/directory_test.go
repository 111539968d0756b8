package batchrun_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/schemas/fhir"
)

// TestLookUpInFiles loads extracts whose members and coverages are looked up in files:
// with faults, with the small tables from an earlier load, and again.
func TestLookUpInFiles(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 8, Faults: 0.2, Claims: 1000})
	want, wantAccount := load(t, dir)

	inFiles := batchrun.Seams{InFiles: true}
	got := newMemory()
	account, err := loadWith(t.Context(), openRun(t, dir, "cpcds", t.TempDir(), false, got), inFiles)
	if err != nil {
		t.Fatal(err)
	}
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
		if _, err := loadWith(t.Context(), r, inFiles); err != nil {
			t.Fatal(err)
		}
		m.lanes = map[string]pipeline.Checkpoint{} // those of a run are its own
	}
	if diff := cmp.Diff(want.texts(), m.texts()); diff != "" {
		t.Errorf("other resources than when all tables come at once (-want +got):\n%s", diff)
	}
}

// ordered is a memory that notes in which order what was loaded.
type ordered struct {
	*memory
	order []string
}

func (o *ordered) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	if lane == "mentions" {
		for _, r := range b.All() {
			o.order = append(o.order, fhir.Reference(r.Type, strings.Clone(r.ID)))
		}
	}
	return o.memory.Load(ctx, lane, b, seal)
}

// TestManyReferenced puts referenced-only resources together in files and in memory, also
// beside those of an earlier run: the resources and their order are the same.
func TestManyReferenced(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	first := makeExtract(t, synth.Options{Seed: 8, Faults: 0.3, Claims: 1500})
	second := makeExtract(t, synth.Options{Seed: 9, Faults: 0.3, Claims: 1500})
	run := func(spread bool) (*ordered, []*pipeline.Account) {
		o, state := &ordered{memory: newMemory()}, t.TempDir()
		var accounts []*pipeline.Account
		for _, dir := range []string{first, second} {
			r := openRun(t, dir, "cpcds", state, false, o)
			r.ID = filepath.Base(filepath.Dir(dir))
			a, err := loadWith(t.Context(), r, batchrun.Seams{InFiles: spread})
			if err != nil {
				t.Fatal(err)
			}
			accounts = append(accounts, a)
			o.lanes = map[string]pipeline.Checkpoint{}
		}
		return o, accounts
	}
	want, wantAccounts := run(false)
	got, accounts := run(true)
	if diff := cmp.Diff(want.order, got.order); diff != "" {
		t.Errorf("other referenced-only resources than in memory (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want.texts(), got.texts()); diff != "" {
		t.Errorf("other resources than in memory (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantAccounts, accounts); diff != "" {
		t.Errorf("other accounts than in memory (-want +got):\n%s", diff)
	}
	kinds := map[string]int{}
	for _, ref := range want.order {
		kinds[ref[:strings.Index(ref, "/")]]++
	}
	if kinds["RelatedPerson"] < 40 || kinds["Practitioner"] < 2 || kinds["Organization"] < 2 {
		t.Errorf("only %v are mentioned", kinds)
	}
}
