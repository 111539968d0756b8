package batchrun_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/csvio"
	"cpcds2fhir/pipeline/parquetio"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// faulty is a memory of which the i-th call of Load fails, before or after the
// batch is durable.
type faulty struct {
	*memory
	calls      int
	failCall   int  // 0: none
	afterwards bool // the batch is durable all the same: the answer was lost
}

var errInjected = errors.New("injected")

func (f *faulty) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	f.mu.Lock()
	f.calls++
	fail := f.calls == f.failCall
	f.mu.Unlock()
	if fail && !f.afterwards {
		return errInjected
	}
	if err := f.memory.Load(ctx, lane, b, seal); err != nil {
		return err
	}
	if fail {
		return errInjected
	}
	return nil
}

// texts are the resources by reference.
func (m *memory) texts() map[string]string {
	out := map[string]string{}
	for ref, r := range m.resources {
		out[ref] = string(r.json)
	}
	return out
}

// loadRun makes the run of a config.
func loadRun(ctx context.Context, c *batchrun.Config) (*pipeline.Account, error) {
	return loadWith(ctx, c, batchrun.Seams{})
}

// loadWith makes the run of a config with other parts than the engine's own.
func loadWith(ctx context.Context, c *batchrun.Config, s batchrun.Seams) (*pipeline.Account, error) {
	e, err := batchrun.NewWith(c, s)
	if err != nil {
		return nil, err
	}
	r, err := e.Load(ctx)
	return r.Account, err
}

// openRun opens an extract with a layout and sets up a run with its state in state.
func openRun(t testing.TB, dir, layout, state string, lenient bool, loader pipeline.Loader) *batchrun.Config {
	t.Helper()
	l, err := layouts.Open(layout)
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in %s (%v)", dir, err)
	}
	var files []layouts.File
	var opened []pipeline.File
	for _, p := range paths {
		var f pipeline.File
		if strings.HasSuffix(p, ".parquet") {
			f, err = parquetio.Open(p, parquetio.Options{})
		} else {
			f, err = csvio.Open(p, csvio.Options{ShortRows: l.CSV.ShortRows})
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		opened = append(opened, f)
		files = append(files, layouts.File{Path: p, Fields: f.Fields()})
	}
	places, err := l.Assign(files)
	if err != nil {
		t.Fatal(err)
	}
	r := &batchrun.Config{ID: "run", Layout: l, Repairs: pipeline.Repairs{Lenient: lenient}, Version: carin.V220, Identity: fhir.NewIdentity([]byte("a key for tests only")),
		State: state, Workers: 2, Loader: loader}
	for i, p := range paths {
		for _, table := range places[i].Tables {
			b, err := table.Bind(opened[i].Fields(), layouts.Options{Lenient: lenient})
			if err != nil {
				t.Fatal(err)
			}
			r.Inputs = append(r.Inputs, &rowbatch.Input{Path: p, Table: table.Table, File: opened[i], Binding: b})
		}
	}
	return r
}

func makeExtract(t *testing.T, o synth.Options) string {
	t.Helper()
	o.Dir = filepath.Join(t.TempDir(), "extract")
	if o.Format == "" {
		o.Format = synth.Parquet
	}
	if o.Claims == 0 {
		o.Claims = 400
	}
	if _, err := synth.Write(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o.Dir
}

// load runs to the end and returns the target and the account.
func load(t *testing.T, dir string) (*faulty, *pipeline.Account) {
	t.Helper()
	m := &faulty{memory: newMemory()}
	a, err := loadRun(t.Context(), openRun(t, dir, "cpcds", t.TempDir(), false, m))
	if err != nil {
		t.Fatal(err)
	}
	if !a.Balanced() {
		t.Fatalf("the account does not balance: %+v", a)
	}
	return m, a
}

// TestFaultAtEveryLoad fails the i-th Load for all i, before and after the batch
// is durable, then runs again: the target and the account are those of an
// undisturbed run, so nothing is lost and nothing counted twice.
func TestFaultAtEveryLoad(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 5, Faults: 0.2, RowGroup: 500})
	want, wantAccount := load(t, dir)
	if wantAccount.Claims.Rejected == 0 || want.calls < 8 {
		t.Fatalf("the extract is too tame: %d rejected claims, %d loads", wantAccount.Claims.Rejected, want.calls)
	}
	for _, afterwards := range []bool{false, true} {
		for i := 1; i <= want.calls; i++ {
			state := t.TempDir()
			m := &faulty{memory: newMemory(), failCall: i, afterwards: afterwards}
			if _, err := loadRun(t.Context(), openRun(t, dir, "cpcds", state, false, m)); !errors.Is(err, errInjected) {
				t.Fatalf("load %d: got error %v, want the injected one", i, err)
			}
			m.failCall = 0
			account, err := loadRun(t.Context(), openRun(t, dir, "cpcds", state, false, m))
			if err != nil {
				t.Fatalf("load %d failed, the run after it: %v", i, err)
			}
			if diff := cmp.Diff(want.texts(), m.texts()); diff != "" {
				t.Fatalf("load %d failed (afterwards %v): resources -want +got:\n%.2000s", i, afterwards, diff)
			}
			if diff := cmp.Diff(wantAccount, account); diff != "" {
				t.Fatalf("load %d failed (afterwards %v): account -want +got:\n%s", i, afterwards, diff)
			}
			rejects, _ := countRejects(t, state)
			if wantRejects := rejectRecords(wantAccount); rejects != wantRejects {
				t.Fatalf("load %d failed: %d rejects are kept, want %d", i, rejects, wantRejects)
			}
		}
	}
}

func rejectRecords(a *pipeline.Account) (n int) {
	for _, r := range a.Resources {
		n += int(r.Rejected)
	}
	return n
}

// rejectsIn reads the rejects of a state folder, of all runs.
func rejectsIn(t *testing.T, state string) (list []*pipeline.Reject) {
	t.Helper()
	s, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := s.Runs()
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		err := s.Each(run, func(r *pipeline.Reject) error {
			list = append(list, r)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// countRejects counts the rejects of a state folder, and their rows.
func countRejects(t *testing.T, state string) (kept, rows int) {
	t.Helper()
	for _, r := range rejectsIn(t, state) {
		kept++
		rows += len(r.Rows)
	}
	return kept, rows
}

// TestFormsGiveTheSameResources loads the same claims as CSV, as line-grain,
// nested and normalised Parquet: the resources are the same, byte for byte.
func TestFormsGiveTheSameResources(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	want, account := load(t, makeExtract(t, synth.Options{Seed: 9}))
	for _, o := range []synth.Options{
		{Seed: 9, Format: synth.CSV},
		{Seed: 9, Grain: synth.NestedGrain},
		{Seed: 9, Grain: synth.NormalisedGrain},
		{Seed: 9, RowGroup: 100},
	} {
		t.Run(fmt.Sprintf("%s-%s-%d", o.Format, o.Grain, o.RowGroup), func(t *testing.T) {
			got, gotAccount := load(t, makeExtract(t, o))
			if diff := cmp.Diff(want.texts(), got.texts()); diff != "" {
				t.Errorf("resources -line grain +this:\n%.3000s", diff)
			}
			if got, want := gotAccount.Claims, account.Claims; got != want {
				t.Errorf("claims %+v, want %+v", got, want)
			}
		})
	}
}

// TestSyntheticResourcesAreStrictFHIR reads the resources of a synthetic extract
// with and without faults, in both modes, with a strict FHIR reader.
func TestSyntheticResourcesAreStrictFHIR(t *testing.T) {
	if testing.Short() {
		t.Skip("parses every resource with google/fhir")
	}
	for _, faults := range []float64{0, 0.5} {
		dir := makeExtract(t, synth.Options{Seed: 31, Faults: faults})
		for _, lenient := range []bool{false, true} {
			m := newMemory()
			if _, err := loadRun(t.Context(), openRun(t, dir, "cpcds", t.TempDir(), lenient, m)); err != nil {
				t.Fatal(err)
			}
			if len(m.twice) > 0 {
				t.Errorf("loaded twice: %v", m.twice)
			}
			checkResources(t, m, carin.V220.Name)
		}
	}
}

// TestScatteredRows loads an extract whose rows are in random order: every claim
// is there with the same lines.
func TestScatteredRows(t *testing.T) {
	want, _ := load(t, makeExtract(t, synth.Options{Seed: 9}))
	got, account := load(t, makeExtract(t, synth.Options{Seed: 9, Shuffle: true}))
	if account.Claims.Rejected != 0 {
		t.Errorf("%d claims were rejected", account.Claims.Rejected)
	}
	if len(got.resources) != len(want.resources) {
		t.Errorf("%d resources, want %d", len(got.resources), len(want.resources))
	}
	same := 0
	texts := got.texts()
	for ref, json := range want.texts() {
		other, ok := texts[ref]
		if !ok {
			t.Fatalf("%s is missing", ref)
		}
		if other == json {
			same++
		} else if len(other) != len(json) {
			// Rows without a line number come in the order of the extract, so
			// diagnoses may change places; nothing may come or go.
			t.Errorf("%s has %d bytes, want %d", ref, len(other), len(json))
		}
	}
	if same < len(want.resources)*9/10 {
		t.Errorf("only %d of %d resources are the same", same, len(want.resources))
	}
}

// TestNestedClaimsInTwoFiles loads nested rows of which two files have the same
// claims: they go through the shuffle, which must keep their input rows apart.
func TestNestedClaimsInTwoFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long, and one goroutine does most of it")
	}
	dir := makeExtract(t, synth.Options{Seed: 9, Grain: synth.NestedGrain, Claims: 1500})
	want, wantAccount := load(t, dir)
	src := filepath.Join(dir, "claims-00000.parquet")
	data, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "claims-again.parquet"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, account := load(t, dir)
	if got := account.Rows[cpcds.Claims].Read; got != 2*wantAccount.Rows[cpcds.Claims].Read {
		t.Errorf("%d rows were read, want twice %d", got, wantAccount.Rows[cpcds.Claims].Read)
	}
	if account.Claims.Seen != wantAccount.Claims.Seen || account.Claims.Loaded+account.Claims.Rejected != account.Claims.Seen {
		t.Errorf("claims %+v, want those of one file: %+v", account.Claims, wantAccount.Claims)
	}
	if account.Rejects["duplicate-line"] == 0 || len(want.resources) == 0 {
		t.Errorf("the rows of a claim that two files have are lines of the same number; rejects are %v", account.Rejects)
	}
}

// TestSpillOfKilledRun kills a run, as it were, in the midst of its shuffle: its
// spill files stay. The run that follows does not read them, and leaves none.
func TestSpillOfKilledRun(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 9, Shuffle: true})
	want, wantAccount := load(t, dir)
	state, left := t.TempDir(), t.TempDir()
	spilled := filepath.Join(state, "spill")
	killed := &atShuffle{memory: newMemory(), do: func() error {
		// The run removes its files even when it fails; a killed one cannot.
		if err := os.CopyFS(left, os.DirFS(spilled)); err != nil {
			return err
		}
		return errInjected
	}}
	if _, err := loadRun(t.Context(), openRun(t, dir, "cpcds", state, false, killed)); !errors.Is(err, errInjected) {
		t.Fatalf("got error %v, want the injected one", err)
	}
	if err := os.RemoveAll(spilled); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(spilled, os.DirFS(left)); err != nil {
		t.Fatal(err)
	}
	if files, err := os.ReadDir(spilled); err != nil || len(files) == 0 {
		t.Fatalf("%d spill files were left (%v): nothing is tested", len(files), err)
	}
	account, err := loadRun(t.Context(), openRun(t, dir, "cpcds", state, false, killed.memory))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.texts(), (&faulty{memory: killed.memory}).texts()); diff != "" {
		t.Errorf("resources -want +got:\n%.2000s", diff)
	}
	if diff := cmp.Diff(wantAccount, account); diff != "" {
		t.Errorf("account -want +got:\n%s", diff)
	}
	if _, err := os.Stat(spilled); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the spill folder is still there (%v)", err)
	}
}

// atShuffle is a memory that does something when the shuffle's first lane resumes.
type atShuffle struct {
	*memory
	do func() error
}

func (m *atShuffle) Resume(ctx context.Context, lane string) (pipeline.Checkpoint, error) {
	if strings.HasPrefix(lane, "shuffle-") {
		if err := m.do(); err != nil {
			return pipeline.Checkpoint{}, err
		}
	}
	return m.memory.Resume(ctx, lane)
}

// TestAgainIsUnchanged loads twice: the second time nothing is new.
func TestAgainIsUnchanged(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 2})
	m, first := load(t, dir)
	m.lanes = map[string]pipeline.Checkpoint{}
	second, err := loadRun(t.Context(), openRun(t, dir, "cpcds", t.TempDir(), false, m))
	if err != nil {
		t.Fatal(err)
	}
	if second.Claims.Unchanged != first.Claims.Loaded || second.Claims.Loaded != 0 {
		t.Errorf("claims of the second load %+v, of the first %+v", second.Claims, first.Claims)
	}
	for typ, r := range second.Resources {
		if r.Created+r.Updated+r.Stale != 0 {
			t.Errorf("%s: %+v", fhir.Type(typ), r)
		}
	}
}

// TestBudgetStopsTheRun sets a budget below what the extract's faults need.
func TestBudgetStopsTheRun(t *testing.T) {
	small := makeExtract(t, synth.Options{Seed: 5, Faults: 0.5, Claims: 100})
	r := openRun(t, small, "cpcds", t.TempDir(), false, newMemory())
	r.Budget = batchrun.Budget{Set: true, Share: 0.01}
	var atEnd *batchrun.BudgetError
	if _, err := loadRun(t.Context(), r); !errors.As(err, &atEnd) {
		t.Errorf("a small extract over its share: got error %v, want a *BudgetError", err)
	}
	dir := makeExtract(t, synth.Options{Seed: 5, Faults: 0.5, Claims: 2000, RowGroup: 500})
	for _, b := range []batchrun.Budget{{Set: true, Count: 5}, {Set: true, Share: 0.01}} {
		r := openRun(t, dir, "cpcds", t.TempDir(), false, newMemory())
		r.Budget = b
		var over *batchrun.BudgetError
		if _, err := loadRun(t.Context(), r); !errors.As(err, &over) {
			t.Errorf("budget %+v: got error %v, want a *BudgetError", b, err)
		}
	}
}

// TestReplay replays the rejects of a faulty extract with nothing changed: all
// stay open and the account balances; then against a target that has something
// newer.
func TestReplay(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 5, Faults: 0.4})
	state := t.TempDir()
	m := newMemory()
	first := openRun(t, dir, "cpcds", state, false, m)
	account, err := loadRun(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	store, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	var rejected []*pipeline.Reject
	var tags []string
	err = store.Each("run", func(r *pipeline.Reject) error {
		rejected, tags = append(rejected, r), append(tags, "run/"+r.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rejected) != rejectRecords(account) || len(rejected) == 0 {
		t.Fatalf("%d rejects, the account has %d", len(rejected), rejectRecords(account))
	}
	replay := func(lenient bool) (*pipeline.Account, map[string]rejects.State) {
		t.Helper()
		m.lanes = map[string]pipeline.Checkpoint{} // another run has none
		r := openRun(t, dir, "cpcds", state, lenient, m)
		r.ID, r.Replay, r.Inputs = fmt.Sprint("replay-", lenient), new(batchrun.Replay), nil
		for _, f := range rejects.NewReplayFiles(rejected, tags) {
			b, err := r.Layout.Bind(f.Table, f.Fields(), layouts.Options{Lenient: lenient})
			if err != nil {
				t.Fatal(err)
			}
			r.Inputs = append(r.Inputs, &rowbatch.Input{Path: f.Path, Table: f.Table, File: f, Binding: b})
		}
		engine, err := batchrun.New(r)
		if err != nil {
			t.Fatal(err)
		}
		result, err := engine.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a := result.Account
		if !a.Balanced() {
			t.Errorf("the account of the replay does not balance: %+v", a)
		}
		states, err := rejects.Replayed(state, r.ID, tags, result.Newer)
		if err != nil {
			t.Fatal(err)
		}
		return a, states
	}
	again, states := replay(false)
	if len(states) != 0 || again.Claims.Loaded != 0 {
		t.Errorf("nothing was fixed, yet %d rejects changed state and %d claims were loaded", len(states), again.Claims.Loaded)
	}
	mended, states := replay(true)
	resolved := 0
	for _, s := range states {
		if s == rejects.Resolved {
			resolved++
		}
	}
	if int64(resolved) != mended.Claims.Loaded || resolved == 0 {
		t.Errorf("%d rejects are resolved, %d claims were loaded by repairs", resolved, mended.Claims.Loaded)
	}
}
