package loadertest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// memory is the smallest loader that passes the suite, with one fault of choice.
type memory struct {
	fault string
	mu    sync.Mutex
	lanes map[string]pipeline.Checkpoint
	held  map[string]held
	order map[string][]string
}

// held is what the target has of a resource; without JSON it is deleted.
type held struct{ json, version string }

func newMemory(fault string) *memory {
	return &memory{fault: fault, lanes: map[string]pipeline.Checkpoint{}, held: map[string]held{}, order: map[string][]string{}}
}

func (m *memory) Open(*testing.T) pipeline.Loader {
	if m.fault == "forgets when closed" {
		m.lanes = map[string]pipeline.Checkpoint{}
	}
	return m
}

func (m *memory) Resources(*testing.T) map[string]string {
	out := map[string]string{}
	for ref, h := range m.held {
		if h.json != "" {
			out[ref] = h.json
		}
	}
	return out
}

func (m *memory) CanUpdate() bool { return true }

func (m *memory) Sequence(_ *testing.T, lane string, typ fhir.Type) []string {
	return slices.DeleteFunc(slices.Clone(m.order[lane]), func(ref string) bool {
		return !strings.HasPrefix(ref, typ.String()+"/")
	})
}

func (m *memory) Resume(_ context.Context, lane string) (pipeline.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == "one checkpoint for all lanes" {
		lane = ""
	}
	return m.lanes[lane], nil
}

func (m *memory) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	if err := ctx.Err(); err != nil && m.fault != "ignores cancellation" {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.lanes[lane]
	next := map[string]held{}
	var order []string
	var outcomes []pipeline.Outcome
	for _, r := range b.All() {
		ref := fhir.Reference(r.Type, r.ID)
		o := m.outcome(next, ref, r)
		outcomes = append(outcomes, o)
		switch o {
		case pipeline.Created, pipeline.Updated:
			order = append(order, ref)
			fallthrough
		case pipeline.Deleted:
			next[ref] = held{string(r.JSON), r.SourceVersion}
		}
	}
	switch m.fault {
	case "writes before seal":
		m.take(lane, next, order)
	case "seals twice":
		if _, err := seal(outcomes, nil); err != nil {
			return err
		}
	case "forgets an outcome":
		if len(outcomes) > 0 {
			outcomes = outcomes[1:]
		}
	case "reverses a batch":
		slices.Reverse(order)
	}
	cp, err := seal(outcomes, nil)
	if err != nil {
		return err
	}
	m.take(lane, next, order)
	switch m.fault {
	case "one checkpoint for all lanes":
		lane = ""
	case "forgets empty batches":
		if b.Len() == 0 {
			cp = before
		}
	case "forgets counters":
		cp.Account.Rejects = nil
	}
	m.lanes[lane] = cp
	return nil
}

func (m *memory) take(lane string, next map[string]held, order []string) {
	for ref, h := range next {
		m.held[ref] = h
	}
	m.order[lane] = append(m.order[lane], order...)
}

func (m *memory) outcome(next map[string]held, ref string, r *fhir.Resource) pipeline.Outcome {
	h, ok := next[ref]
	if !ok {
		h, ok = m.held[ref]
	}
	switch {
	case r.Deleted && (!ok || h.json == "" && r.SourceVersion >= h.version):
		return pipeline.Unchanged
	case !ok, m.fault == "creates again":
		return pipeline.Created
	case r.SourceVersion < h.version && m.fault != "overwrites newer":
		return pipeline.Stale
	case r.Deleted && m.fault == "deletes nothing":
		return pipeline.Unchanged
	case r.Deleted:
		return pipeline.Deleted
	case h.json == "":
		return pipeline.Created
	case h.json == string(r.JSON):
		return pipeline.Unchanged
	}
	return pipeline.Updated
}

func (m *memory) Finish(ctx context.Context, total *pipeline.Account) error {
	if m.fault == "changes the account" {
		total.Resources[fhir.Organization].Created++
	}
	if m.fault == "loses text" {
		for ref := range m.held {
			m.held[ref] = held{`{"resourceType":"Patient"}`, ""}
		}
	}
	return ctx.Err()
}

func (m *memory) Close() error { return nil }

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) Target { return newMemory("") })
}

// faultVariable names the fault that TestFaulty is to have.
const faultVariable = "LOADERTEST_FAULT"

// TestFaulty runs the suite on a loader that is wrong, for TestFindsFaults.
func TestFaulty(t *testing.T) {
	fault := os.Getenv(faultVariable)
	if fault == "" {
		t.Skip("runs only inside TestFindsFaults")
	}
	Run(t, func(*testing.T) Target { return newMemory(fault) })
}

func TestFindsFaults(t *testing.T) {
	for _, fault := range []string{
		"forgets when closed", "one checkpoint for all lanes", "ignores cancellation", "writes before seal",
		"seals twice", "forgets an outcome", "reverses a batch", "forgets empty batches", "forgets counters",
		"creates again", "overwrites newer", "deletes nothing", "loses text", "changes the account",
	} {
		t.Run(fault, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestFaulty$")
			cmd.Env = append(os.Environ(), faultVariable+"="+fault)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestFaulty") {
				t.Errorf("the suite passes a loader that %s (%v)", fault, err)
			}
		})
	}
}
