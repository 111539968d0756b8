package batchrun_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// TestReferencesComeFirst loads the golden claims and synthetic extracts into a target that refuses what
// refers to something that it does not have: it refuses nothing, and has in the end what a target has that
// takes things in any order, with the same account.
func TestReferencesComeFirst(t *testing.T) {
	t.Run("golden", func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "claims", "*.txtar"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no golden claims (%v)", err)
		}
		persons := 0
		for i, file := range files {
			if testing.Short() && i%5 > 0 {
				continue
			}
			g := readGolden(t, file)
			c := replayCase{g, t.TempDir()}
			c.extract(t)
			plain, f := newMemory(), newRefuser()
			want, err := loadRun(t.Context(), c.open(t, "a", t.TempDir(), g.lenient, nil, plain))
			if err != nil {
				t.Fatal(err)
			}
			r := c.open(t, "a", t.TempDir(), g.lenient, nil, f.memory)
			r.Loader = f
			got, err := loadRun(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if len(f.dangling) > 0 {
				t.Errorf("%s: refused %s", filepath.Base(file), f.dangling)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: account -any order +in order:\n%s", filepath.Base(file), diff)
			}
			if diff := cmp.Diff(plain.texts(), f.texts()); diff != "" {
				t.Errorf("%s: resources -any order +in order:\n%.2000s", filepath.Base(file), diff)
			}
			persons += len(f.references(fhir.RelatedPerson))
		}
		if persons == 0 && !testing.Short() {
			t.Error("no claim refers to a person who is in no table: nothing is tested")
		}
	})
	for name, o := range map[string]synth.Options{
		"contiguous": {Seed: 5, Faults: 0.2, RowGroup: 500},
		"scattered":  {Seed: 9, Shuffle: true},
		"clean":      {Seed: 8},
	} {
		t.Run(name, func(t *testing.T) {
			dir := makeExtract(t, o)
			want, wantAccount := load(t, dir)
			for _, workers := range []int{1, 3} {
				state, f := t.TempDir(), newRefuser()
				r := openRun(t, dir, "cpcds", state, false, f)
				r.Workers = workers
				account, err := loadWith(t.Context(), r, batchrun.Seams{Piece: 1 << 15, InFiles: workers == 3})
				if err != nil {
					t.Fatal(err)
				}
				if len(f.dangling) > 0 {
					t.Errorf("%d were refused: %s", len(f.dangling), f.dangling[0])
				}
				if diff := cmp.Diff(wantAccount, account); diff != "" {
					t.Errorf("account -any order +in order:\n%s", diff)
				}
				if diff := cmp.Diff(want.texts(), f.texts()); diff != "" {
					t.Errorf("resources -any order +in order:\n%.2000s", diff)
				}
				if n, _ := countRejects(t, state); n != rejectRecords(wantAccount) {
					t.Errorf("%d rejects are kept, want %d", n, rejectRecords(wantAccount))
				}
				if _, err := os.Stat(filepath.Join(state, "spill")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the survey has left something: %v", err)
				}
				runs, err := os.ReadDir(filepath.Join(state, "mentions"))
				if err != nil || len(runs) != 1 || runs[0].Name() != "run" {
					t.Errorf("the referenced-only resources of the run are not kept as ever: %v, %v", runs, err)
				}
			}
		})
	}
}

// TestPhasesOfRefuser holds the order of the phases and the progress of the survey: claims are made while tables are loaded, but their phase begins
// when they are let through.
func TestPhasesOfRefuser(t *testing.T) {
	dir, f := makeExtract(t, synth.Options{Seed: 8}), newRefuser()
	r := openRun(t, dir, "cpcds", t.TempDir(), false, f)
	var mu sync.Mutex
	var phases []string
	var rows, surveyed int64
	r.Events.Start = func(n []int64) {
		for _, n := range n {
			rows += n
		}
	}
	r.Events.Survey = func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		surveyed += n
	}
	r.Events.Phase = func(name string) {
		mu.Lock()
		defer mu.Unlock()
		phases = append(phases, name)
	}
	if _, err := loadWith(t.Context(), r, smallPieces); err != nil {
		t.Fatal(err)
	}
	if want := []string{"survey", "tables", "claims", "finish"}; !slices.Equal(phases, want) {
		t.Errorf("phases %q, want %q", phases, want)
	}
	if surveyed != rows || rows == 0 {
		t.Errorf("%d rows were surveyed, want all %d", surveyed, rows)
	}
	firstClaim := slices.IndexFunc(f.order, func(ref string) bool { return strings.HasPrefix(ref, "ExplanationOfBenefit/") })
	if slices.ContainsFunc(f.order[firstClaim:], func(ref string) bool { return !strings.HasPrefix(ref, "ExplanationOfBenefit/") }) {
		t.Error("a claim was loaded before what is in tables")
	}
}

// TestTwoRunsDescribeOne loads two extracts into one target in order and in any order: what both refer to
// becomes the same.
func TestTwoRunsDescribeOne(t *testing.T) {
	a, b := makeExtract(t, synth.Options{Seed: 8, Faults: 0.3}), makeExtract(t, synth.Options{Seed: 9, Faults: 0.3})
	run := func(loader pipeline.Loader, m *memory) map[string]string {
		state := t.TempDir()
		for i, dir := range []string{a, b, a} {
			r := openRun(t, dir, "cpcds", state, false, loader)
			r.ID = fmt.Sprint("run-", i)
			if _, err := loadWith(t.Context(), r, smallPieces); err != nil {
				t.Fatal(err)
			}
			m.lanes = map[string]pipeline.Checkpoint{}
		}
		return m.texts()
	}
	m, f := newMemory(), newRefuser()
	if diff := cmp.Diff(run(m, m), run(f, f.memory)); diff != "" {
		t.Errorf("resources -any order +in order:\n%.2000s", diff)
	}
	if len(f.dangling) > 0 {
		t.Errorf("%d were refused: %s", len(f.dangling), f.dangling[0])
	}
}

// checkRefused holds that what a target has refused is rejected, once, with all that is known of it.
func checkRefused(t *testing.T, what, state string, f *refuser, want map[string]string, a *pipeline.Account) {
	t.Helper()
	if !a.Balanced() {
		t.Errorf("%s: the account does not balance: %+v", what, a)
	}
	rejected, claims, rows, mentioned := map[string]int{}, int64(0), map[string]int64{}, 0
	for _, r := range rejectsIn(t, state) {
		var of []string
		for _, p := range r.Problems {
			if p.Resource == "" {
				continue
			}
			of = append(of, p.Resource)
			rejected[p.Resource]++
			if p.Rule == pipeline.RuleServerRefused && (p.Status != 422 || len(p.Codes) != 2 || len(p.Locations) != 1 || p.Text == "") {
				t.Errorf("%s: %s: the problem lacks what the target said: %+v", what, r.ID, p)
			}
			if !slices.Contains(r.Resources, p.Resource) {
				t.Errorf("%s: %s would have become %s, its resources are %s", what, r.ID, p.Resource, r.Resources)
			}
		}
		if len(of) == 0 {
			continue
		}
		for _, ref := range r.Loaded {
			if _, ok := f.resources[ref]; !ok {
				t.Errorf("%s: %s says that %s was loaded", what, r.ID, ref)
			}
		}
		if r.Version == "" {
			t.Errorf("%s: %s has no version", what, r.ID)
		}
		if r.Table == "referenced" {
			mentioned++
			if len(r.Rows) > 0 || r.RowCount > 0 {
				t.Errorf("%s: %s has rows", what, r.ID)
			}
			continue
		}
		rows[r.Table] += inputRows(r)
		if len(r.Rows) != r.RowCount || r.RowCount == 0 || r.Input == "" || r.Row != r.Rows[0].Row {
			t.Errorf("%s: %s lacks rows: %d of %d", what, r.ID, len(r.Rows), r.RowCount)
		}
		if r.Table != "claims" {
			continue
		}
		claims++
		if r.Kind == "" || r.Month == "" || r.Claim == "" {
			t.Errorf("%s: %s is not described: %q %q %q", what, r.ID, r.Kind, r.Month, r.Claim)
		}
	}
	for ref := range want {
		_, there := f.resources[ref]
		if there == (rejected[ref] > 0) {
			t.Errorf("%s: %s is there: %v, and rejected %d times", what, ref, there, rejected[ref])
		}
		if n := rejected[ref]; n > 1 {
			t.Errorf("%s: %s is rejected %d times", what, ref, n)
		}
	}
	refused := int64(0)
	for _, n := range a.Resources {
		refused += n.Refused
	}
	if refused != int64(len(rejected)) {
		t.Errorf("%s: the account has %d refused resources, %d are rejected", what, refused, len(rejected))
	}
	byRule := a.Rejects[pipeline.RuleServerRefused] + a.Rejects[pipeline.RuleReferenceGone]
	if byRule != int64(len(rejected)) { // a claim of these extracts is one resource
		t.Errorf("%s: the account has %d rejects by the target's rules, there are %d", what, byRule, len(rejected))
	}
	for table, n := range rows {
		typ, _ := cpcds.ParseTable(table)
		if got := a.Rows[typ].Rejected; got < n {
			t.Errorf("%s: %d rows of %s are refused, the account has %d rejected ones", what, n, table, got)
		}
	}
	if a.Claims.Rejected < claims {
		t.Errorf("%s: %d claims are refused, the account has %d rejected ones", what, claims, a.Claims.Rejected)
	}
}

func inputRows(r *pipeline.Reject) (n int64) {
	for _, row := range r.Rows {
		if row.Begin {
			n++
		}
	}
	return n
}

// TestRefuseEach refuses the i-th resource for all i (every so many of a larger extract), and what refers
// to it is refused by the target itself. Everything else is loaded, and a replay loads the rest once the
// target takes it.
func TestRefuseEach(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 5, Claims: 40, Format: synth.CSV, Faults: 0.1})
	clean := newRefuser()
	if _, err := loadRun(t.Context(), openRun(t, dir, "cpcds", t.TempDir(), false, clean)); err != nil {
		t.Fatal(err)
	}
	want := clean.texts()
	refs := slices.Sorted(maps.Keys(want))
	step := 1
	if testing.Short() {
		step = 7
	}
	for i := 0; i < len(refs); i += step {
		t.Run(refs[i], func(t *testing.T) {
			t.Parallel()
			refuseOne(t, dir, refs[i], want)
		})
	}
}

// refuseOne loads an extract into a target that refuses one resource, replays what is rejected, and loads
// the extract again.
func refuseOne(t *testing.T, dir, refuse string, want map[string]string) {
	state, f := t.TempDir(), newRefuser()
	f.fickle = refuse[len(refuse)-1]%2 == 0
	f.refuse = func(ref string) *pipeline.Refusal {
		if ref == refuse {
			return refused()
		}
		return nil
	}
	account, err := loadWith(t.Context(), openRun(t, dir, "cpcds", state, false, f), smallPieces)
	if err != nil {
		t.Fatal(err)
	}
	checkRefused(t, "", state, f, want, account)
	f.refuse = nil
	replayAll(t, openRun(t, dir, "cpcds", state, false, f), state, f)
	missing := 0
	for ref, text := range want {
		if got, ok := f.texts()[ref]; !ok {
			missing++
			if strings.HasPrefix(ref, "ExplanationOfBenefit/") {
				t.Errorf("the replay has not loaded %s", ref)
			}
		} else if got != text {
			t.Errorf("%s is another one after the replay", ref)
		}
	}
	if missing > 1 {
		t.Errorf("%d resources are missing after the replay", missing)
	}
	// A load of the same extract closes what the replay could not.
	f.lanes = map[string]pipeline.Checkpoint{}
	r := openRun(t, dir, "cpcds", state, false, f)
	r.ID = "later"
	if _, err := loadRun(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, f.texts()); diff != "" {
		t.Errorf("after a later load -want +got:\n%.2000s", diff)
	}
	closeRejects(t, state, "later", f)
	if open := openRefused(t, state); len(open) > 0 {
		t.Errorf("still open after everything is there: %v", open)
	}
}

// TestFaultAtEverySeal fails the i-th Load for all i: before it, once it has sealed, and after everything
// was durable; then runs again. What is loaded, counted and rejected is that of an undisturbed run, and no
// reject is there twice.
func TestFaultAtEverySeal(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 5, Claims: 60, Faults: 0.2, RowGroup: 200})
	once := func(t *testing.T, state string, f *refuser) (*pipeline.Account, error) {
		f.refuse = func(ref string) *pipeline.Refusal {
			if last := ref[len(ref)-1]; last == 'a' || last == 'e' {
				return refused()
			}
			return nil
		}
		return loadWith(t.Context(), openRun(t, dir, "cpcds", state, false, f), batchrun.Seams{Piece: 1 << 16})
	}
	clean := newRefuser()
	if _, err := loadRun(t.Context(), openRun(t, dir, "cpcds", t.TempDir(), false, clean)); err != nil {
		t.Fatal(err)
	}
	state, want := t.TempDir(), newRefuser()
	wantAccount, err := once(t, state, want)
	if err != nil {
		t.Fatal(err)
	}
	checkRefused(t, "undisturbed", state, want, clean.texts(), wantAccount)
	wantRejects := rejectTexts(t, state)
	if wantAccount.Rejects[pipeline.RuleServerRefused] < 20 || want.calls < 12 {
		t.Fatalf("the extract is too tame: %v, %d loads", wantAccount.Rejects, want.calls)
	}
	step := 1
	if testing.Short() {
		step = 4
	}
	for i := 1; i <= want.calls; i += step {
		for _, how := range []string{"before", "at seal", "afterwards"} {
			t.Run(fmt.Sprintf("load %d of %d %s", i, want.calls, how), func(t *testing.T) {
				t.Parallel() // they wait for the disk
				state, f := t.TempDir(), newRefuser()
				f.failCall, f.atSeal, f.afterwards, f.fickle = i, how == "at seal", how == "afterwards", i%2 == 0
				if _, err := once(t, state, f); !errors.Is(err, errInjected) {
					t.Fatalf("got error %v, want the injected one", err)
				}
				f.failCall = 0
				account, err := once(t, state, f)
				if err != nil {
					t.Fatalf("the run after it: %v", err)
				}
				if diff := cmp.Diff(want.texts(), f.texts()); diff != "" {
					t.Errorf("resources -want +got:\n%.2000s", diff)
				}
				if diff := cmp.Diff(wantAccount, account); diff != "" {
					t.Errorf("account -want +got:\n%s", diff)
				}
				if diff := cmp.Diff(wantRejects, rejectTexts(t, state)); diff != "" {
					t.Errorf("rejects -want +got:\n%.3000s", diff)
				}
			})
		}
	}
}

// TestWorkersRefuseTheSame loads with one worker and with four: the same is refused, counted and rejected.
func TestWorkersRefuseTheSame(t *testing.T) {
	for name, o := range map[string]synth.Options{
		"contiguous": {Seed: 5, Faults: 0.2, RowGroup: 300},
		"scattered":  {Seed: 9, Shuffle: true},
		"nested":     {Seed: 9, Grain: synth.NestedGrain, Claims: 150},
		"normalised": {Seed: 9, Grain: synth.NormalisedGrain, Claims: 150},
	} {
		t.Run(name, func(t *testing.T) {
			dir := makeExtract(t, o)
			run := func(workers, pieces int) (*pipeline.Account, map[string]string, []string) {
				state, f := t.TempDir(), newRefuser()
				f.refuse = func(ref string) *pipeline.Refusal {
					if ref[len(ref)-1] == 'a' {
						return refused()
					}
					return nil
				}
				r := openRun(t, dir, "cpcds", state, false, f)
				r.Workers, r.BatchPieces = workers, pieces
				a, err := loadWith(t.Context(), r, smallPieces)
				if err != nil {
					t.Fatal(err)
				}
				if !a.Balanced() || a.Rejects[pipeline.RuleServerRefused] == 0 {
					t.Errorf("the account does not balance, or nothing is refused: %+v", a)
				}
				return a, f.texts(), rejectTexts(t, state)
			}
			account, resources, rejected := run(1, 1)
			many := []int{4, 2}
			if testing.Short() {
				many = many[:1]
			}
			for _, workers := range many {
				a, texts, list := run(workers, workers)
				if diff := cmp.Diff(account, a); diff != "" {
					t.Errorf("%d workers: account:\n%s", workers, diff)
				}
				if diff := cmp.Diff(resources, texts); diff != "" {
					t.Errorf("%d workers: resources:\n%.2000s", workers, diff)
				}
				if diff := cmp.Diff(rejected, list); diff != "" {
					t.Errorf("%d workers: rejects:\n%.2000s", workers, diff)
				}
			}
		})
	}
}

// TestRefusedBudget holds that what the target refuses counts for the limit of rejects.
func TestRefusedBudget(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 5, Claims: 100, Format: synth.CSV})
	f := newRefuser()
	f.refuse = func(ref string) *pipeline.Refusal {
		if strings.HasPrefix(ref, "ExplanationOfBenefit/") {
			return refused()
		}
		return nil
	}
	r := openRun(t, dir, "cpcds", t.TempDir(), false, f)
	r.Budget = batchrun.Budget{Set: true, Count: 10}
	var over *batchrun.BudgetError
	if _, err := loadWith(t.Context(), r, smallPieces); !errors.As(err, &over) {
		t.Errorf("got error %v, want a *BudgetError", err)
	}
}

// TestRefusalWithoutReason is a target that refuses and does not say why: the claim counts as rejected, as
// ever, and there is no reject.
func TestRefusalWithoutReason(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 5, Claims: 30, Format: synth.CSV})
	state, f := t.TempDir(), &silent{newMemory()}
	a, err := loadRun(t.Context(), openRun(t, dir, "cpcds", state, false, f))
	if err != nil {
		t.Fatal(err)
	}
	if a.Claims.Rejected != a.Claims.Seen || a.Rows[cpcds.Claims].Rejected != 0 || !a.Balanced() {
		t.Errorf("claims %+v, rows %+v", a.Claims, a.Rows[cpcds.Claims])
	}
	if n, _ := countRejects(t, state); n != 0 {
		t.Errorf("there are %d rejects", n)
	}
}
