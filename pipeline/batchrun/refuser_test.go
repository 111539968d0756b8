package batchrun_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// refuser is a memory that answers for each resource, as a server does. It refuses what refers to
// something that it does not have.
type refuser struct {
	*memory
	refuse   func(ref string) *pipeline.Refusal // nil refuses nothing
	dangling []string                           // what it refused because it lacks a reference
	order    []string                           // of what it took
	fickle   bool                               // it seals twice: first as if it refused everything

	calls, failCall int
	atSeal          bool // the call that fails does so once it has sealed, before anything is durable
	afterwards      bool // or after everything is
}

func newRefuser() *refuser { return &refuser{memory: newMemory()} }

func (f *refuser) Refuses() bool { return true }

func (f *refuser) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	fail := f.calls == f.failCall
	if fail && !f.atSeal && !f.afterwards {
		return errInjected
	}
	added := map[string]memoryResource{}
	has := func(ref string) bool {
		_, known := f.resources[ref]
		_, now := added[ref]
		return known || now
	}
	var outcomes []pipeline.Outcome
	refusals := pipeline.Refusals{}
	var order []string
	for i, r := range b.All() {
		ref := strings.Clone(fhir.Reference(r.Type, r.ID))
		var why *pipeline.Refusal
		if f.refuse != nil {
			why = f.refuse(ref)
		}
		for _, to := range literals(r.JSON) {
			if why == nil && !has(to) {
				why = &pipeline.Refusal{Rule: pipeline.RuleReferenceGone, Status: 400, Codes: []string{"processing"}}
				f.dangling = append(f.dangling, ref+" to "+to)
			}
		}
		old, known := f.resources[ref]
		outcome := pipeline.Created
		switch order, _ := fhir.CompareVersions(r.SourceVersion, old.version); {
		case why != nil:
			outcome, refusals[i] = pipeline.Refused, why
		case known && bytes.Equal(old.json, r.JSON):
			outcome = pipeline.Unchanged
		case known && order < 0:
			outcome = pipeline.Stale
		case known:
			outcome = pipeline.Updated
		}
		if outcome == pipeline.Created || outcome == pipeline.Updated {
			added[ref] = memoryResource{r.Type, strings.Clone(r.SourceVersion), bytes.Clone(r.JSON)}
			order = append(order, ref)
		}
		outcomes = append(outcomes, outcome)
	}
	if f.fickle {
		all, why := make([]pipeline.Outcome, len(outcomes)), pipeline.Refusals{}
		for i := range all {
			all[i], why[i] = pipeline.Refused, &pipeline.Refusal{Rule: pipeline.RuleTooLarge, Status: 413}
		}
		if _, err := seal(all, why); err != nil {
			return err
		}
	}
	cp, err := seal(outcomes, refusals)
	if err != nil {
		return err
	}
	if fail && f.atSeal {
		return errInjected
	}
	maps.Copy(f.resources, added)
	f.order = append(f.order, order...)
	f.lanes[lane] = cp
	if fail {
		return errInjected
	}
	return nil
}

// SourceVersion implements pipeline.Target.
func (f *refuser) SourceVersion(_ context.Context, resource string) (string, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.resources[resource]
	return r.version, ok, nil
}

// literals lists the literal references of a resource.
func literals(data []byte) (refs []string) {
	const before = `"reference":"`
	for {
		_, rest, found := bytes.Cut(data, []byte(before))
		if !found {
			return refs
		}
		ref, rest, _ := bytes.Cut(rest, []byte{'"'})
		refs, data = append(refs, string(ref)), rest
	}
}

// smallPieces make many batches of a small extract.
var smallPieces = batchrun.Seams{Piece: 1 << 15}

// refused is the refusal of the tests, with all that a server may say.
func refused() *pipeline.Refusal {
	return &pipeline.Refusal{Rule: pipeline.RuleServerRefused, Status: 422, Codes: []string{"invariant", "us-core-1"}, Locations: []string{"Patient.name[0]"}, Text: "the server's words"}
}

type silent struct{ *memory }

func (s *silent) Refuses() bool { return true }

func (s *silent) Load(_ context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	outcomes := make([]pipeline.Outcome, b.Len())
	for i := range outcomes {
		outcomes[i] = pipeline.Refused
	}
	cp, err := seal(outcomes, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes[lane] = cp
	return err
}

// replayAll replays all rejects of the run with the settings of a config.
func replayAll(t *testing.T, r *batchrun.Config, state string, f *refuser) {
	t.Helper()
	store, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	var open []*pipeline.Reject
	var tags []string
	err = store.Each("run", func(r *pipeline.Reject) error {
		open, tags = append(open, r), append(tags, "run/"+r.ID)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.lanes = map[string]pipeline.Checkpoint{}
	r.ID, r.Replay, r.Inputs = "replay", new(batchrun.Replay), nil
	for _, file := range rejects.NewReplayFiles(open, tags) {
		form := r.Layout.Form(file.Table, file.Form)
		file.Complete(form.Absent(file.Fields()))
		b, err := form.Bind(file.Fields(), layouts.Options{Lenient: r.Repairs.Lenient, NoRepair: r.Repairs.Off})
		if err != nil {
			t.Fatal(err)
		}
		r.Inputs = append(r.Inputs, &rowbatch.Input{Path: file.Path, Table: file.Table, File: file, Binding: b})
	}
	engine, err := batchrun.NewWith(r, smallPieces)
	if err != nil {
		t.Fatal(err)
	}
	result, err := engine.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !result.Account.Balanced() {
		t.Errorf("the account of the replay does not balance: %+v", result.Account)
	}
	states, err := rejects.Replayed(state, r.ID, tags, result.Newer)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range open {
		there := len(r.Resources) > 0
		for _, ref := range r.Resources {
			_, ok := f.resources[ref]
			there = there && ok
		}
		resolved := states[tags[i]] == rejects.Resolved
		if len(r.Rows) == 0 && resolved || len(r.Rows) > 0 && refusedByTarget(r) && resolved != there {
			t.Errorf("%s is %q after a replay, its resources are there: %v (%d rows)", r.ID, states[tags[i]], there, len(r.Rows))
		}
	}
	if err := store.SetState(states); err != nil {
		t.Fatal(err)
	}
}

func refusedByTarget(r *pipeline.Reject) bool {
	return slices.ContainsFunc(r.Problems, func(p pipeline.RejectProblem) bool { return p.Resource != "" })
}

func closeRejects(t *testing.T, state, run string, target pipeline.Target) {
	t.Helper()
	store, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(t.Context(), run, target, func(*pipeline.Reject) {}); err != nil {
		t.Fatal(err)
	}
}

// openRefused lists the open rejects of resources that the target has refused.
func openRefused(t *testing.T, state string) (open []string) {
	t.Helper()
	store, err := rejects.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := store.Runs()
	if err != nil {
		t.Fatal(err)
	}
	for _, run := range runs {
		err := store.Heads(run, func(r *pipeline.Reject) error {
			if store.State(run, r.ID) == rejects.Open && refusedByTarget(r) {
				open = append(open, run+"/"+r.ID)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return open
}

// rejectTexts are the rejects of a state folder, as JSON with their rows, sorted.
func rejectTexts(t *testing.T, state string) (list []string) {
	t.Helper()
	for _, r := range rejectsIn(t, state) {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	slices.Sort(list)
	return list
}
