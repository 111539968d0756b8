package batchrun_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// TestReplayIsALoad rejects the claims of every golden case for every reason that a
// decision of the user mends, replays the rejects after it, and compares what they become
// with a load that was made with the decision: strict mode is given up, or a repair that
// was switched off is switched on.
func TestReplayIsALoad(t *testing.T) {
	if testing.Short() {
		t.Skip("loads every golden case once for each repair")
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "testdata", "claims", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden claims (%v)", err)
	}
	replayed := 0
	for _, file := range files {
		g := readGolden(t, file)
		c := replayCase{g, t.TempDir()}
		c.extract(t)
		replayed += c.compare(t, "strict", false, nil)
		for _, repair := range pipeline.KnownRepairs(g.layout) {
			replayed += c.compare(t, "without "+repair, true, map[string]bool{repair: true})
		}
	}
	if replayed < 20 {
		t.Errorf("only %d claims were rejected and loaded by a replay", replayed)
	}
	t.Logf("%d claims were rejected and loaded by a replay", replayed)
}

type replayCase struct {
	*golden
	dir string
}

// extract writes the input files of the case.
func (c *replayCase) extract(t *testing.T) {
	t.Helper()
	for _, f := range c.archive.Files {
		if strings.HasSuffix(f.Name, ".csv") {
			if err := os.WriteFile(filepath.Join(c.dir, f.Name), f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (c *replayCase) open(t *testing.T, id, state string, lenient bool, off map[string]bool, m *memory) *batchrun.Config {
	t.Helper()
	r := openRun(t, c.dir, c.setting("layout", "cpcds"), state, lenient, m)
	if t := c.layout.Table(cpcds.Coverages); t != nil && t.Collapse != nil {
		// What the coverages have become is not for the claims to change.
		off = maps.Clone(off)
		if off == nil {
			off = map[string]bool{}
		}
		off[t.Collapse.Repair] = true
	}
	r.ID, r.Version, r.Repairs.Off = id, c.version, off
	for _, in := range r.Inputs {
		var err error
		if in.Binding, err = in.Binding.Table().Bind(in.File.Fields(), layouts.Options{Lenient: lenient, NoRepair: off}); err != nil {
			t.Fatal(err)
		}
	}
	m.lanes = map[string]pipeline.Checkpoint{}
	return r
}

// compare returns how many claims a replay has loaded.
func (c *replayCase) compare(t *testing.T, what string, lenient bool, off map[string]bool) (loaded int) {
	name := filepath.Base(c.file) + ", " + what
	direct := newMemory()
	if _, err := loadRun(t.Context(), c.open(t, "direct", t.TempDir(), true, nil, direct)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	state, m := t.TempDir(), newMemory()
	if _, err := loadRun(t.Context(), c.open(t, "first", state, lenient, off, m)); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	store, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := store.Runs()
	if err != nil || !slices.Contains(runs, "first") {
		return 0 // nothing was rejected
	}
	var rejected []*pipeline.Reject
	var tags []string
	concerned := map[string]bool{}
	err = store.Each("first", func(r *pipeline.Reject) error {
		if r.Table == cpcds.Claims.String() {
			rejected, tags = append(rejected, r), append(tags, "first/"+r.ID)
			for _, ref := range slices.Concat(r.Resources, r.Loaded) {
				concerned[ref] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	before := maps.Clone(m.texts())
	r := c.open(t, "replay", state, true, nil, m)
	r.Replay, r.Inputs = new(batchrun.Replay), nil
	for _, f := range rejects.NewReplayFiles(rejected, tags) {
		form := r.Layout.Form(f.Table, f.Form)
		f.Complete(form.Absent(f.Fields()))
		b, err := form.Bind(f.Fields(), layouts.Options{Lenient: true})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r.Inputs = append(r.Inputs, &rowbatch.Input{Path: f.Path, Table: f.Table, File: f, Binding: b})
	}
	if len(r.Inputs) == 0 {
		return 0
	}
	if _, err := loadRun(t.Context(), r); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	after, want := m.texts(), direct.texts()
	for ref, text := range after {
		if !strings.HasPrefix(ref, "ExplanationOfBenefit/") || !concerned[ref] && before[ref] == text {
			continue
		}
		if text != want[ref] {
			t.Errorf("%s: %s is other than loaded directly:\n%s\n%s", name, ref, text, want[ref])
		}
		if before[ref] != text {
			loaded++
		}
	}
	for ref := range want {
		if _, ok := after[ref]; !ok && (strings.HasPrefix(ref, "ExplanationOfBenefit/") || len(rejected) == 0) {
			t.Errorf("%s: %s is loaded directly and not by the replay", name, ref)
		}
	}
	return loaded
}
