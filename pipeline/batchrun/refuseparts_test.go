package batchrun_test

import (
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// TestRefuseParts refuses each claim of the golden cases, among which are claims that become several, and
// of which a part is rejected anyway: there is one reject, and a replay makes of it what a load makes.
func TestRefuseParts(t *testing.T) {
	if testing.Short() {
		t.Skip("loads every golden case once for each claim")
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "claims", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden claims (%v)", err)
	}
	var several atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for _, file := range files {
			t.Run(filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				c := replayCase{readGolden(t, file), t.TempDir()}
				c.extract(t)
				clean := newRefuser()
				r := c.open(t, "run", t.TempDir(), c.lenient, nil, clean.memory)
				r.Loader = clean
				wantAccount, err := loadRun(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				for _, refuse := range clean.references(fhir.ExplanationOfBenefit) {
					several.Add(int64(c.refusePart(t, refuse, clean.texts(), wantAccount)))
				}
			})
		}
	})
	if several.Load() < 3 {
		t.Errorf("only %d parts of claims were refused", several.Load())
	}
}

// refusePart returns how many other parts a claim has of which one is refused.
func (c *replayCase) refusePart(t *testing.T, refuse string, want map[string]string, wantAccount *pipeline.Account) (others int) {
	t.Helper()
	state, f := t.TempDir(), newRefuser()
	f.refuse = func(ref string) *pipeline.Refusal {
		if ref == refuse {
			return refused()
		}
		return nil
	}
	r := c.open(t, "run", state, c.lenient, nil, f.memory)
	r.Loader = f
	account, err := loadRun(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if !account.Balanced() || account.Claims.Rejected != wantAccount.Claims.Rejected+1 || account.Rejects[pipeline.RuleServerRefused] != 1 {
		t.Errorf("%s refused: the account is %+v", refuse, account.Claims)
	}
	found, claims := 0, map[string]int{}
	for _, x := range rejectsIn(t, state) {
		if claims[x.Claim]++; x.Claim != "" && claims[x.Claim] > 1 {
			t.Errorf("%s refused: a claim has several rejects", refuse)
		}
		if !slices.Contains(x.Resources, refuse) {
			continue
		}
		found++
		others += len(x.Loaded) + len(x.Resources) - 1
		for _, ref := range x.Loaded {
			if _, ok := f.resources[ref]; !ok || ref == refuse {
				t.Errorf("%s refused: the reject says that %s was loaded", refuse, ref)
			}
		}
	}
	if found != 1 {
		t.Errorf("%s refused: it has %d rejects", refuse, found)
	}
	f.refuse = nil
	again := c.open(t, "replay", state, c.lenient, nil, f.memory)
	again.Loader = f
	replayAll(t, again, state, f)
	if diff := cmp.Diff(want, f.texts()); diff != "" {
		t.Errorf("%s refused: after the replay -want +got:\n%.2000s", refuse, diff)
	}
	return others
}
