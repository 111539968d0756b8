package batchrun_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// memory is a target that keeps everything in memory: the smallest loader that
// obeys the contract of pipeline.Loader. It notes what a real target would hide,
// such as a resource that one run loads twice.
type memory struct {
	mu        sync.Mutex
	lanes     map[string]pipeline.Checkpoint
	resources map[string]memoryResource // by reference
	twice     []string                  // references that came again
	finished  *pipeline.Account
}

type memoryResource struct {
	typ     fhir.Type
	version string
	json    []byte
}

func newMemory() *memory {
	return &memory{lanes: map[string]pipeline.Checkpoint{}, resources: map[string]memoryResource{}}
}

// Resume implements pipeline.Loader. What Load did not complete never becomes part
// of the target, so there is nothing to undo.
func (m *memory) Resume(_ context.Context, lane string) (pipeline.Checkpoint, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lanes[lane], nil
}

// Load implements pipeline.Loader.
func (m *memory) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	added := map[string]memoryResource{}
	var outcomes []pipeline.Outcome
	var twice []string
	for _, r := range b.All() {
		ref := strings.Clone(fhir.Reference(r.Type, r.ID))
		old, known := added[ref]
		if !known {
			old, known = m.resources[ref]
		}
		outcome := pipeline.Created
		order, ok := fhir.CompareVersions(r.SourceVersion, old.version)
		switch {
		case known && bytes.Equal(old.json, r.JSON):
			outcome = pipeline.Unchanged
		case known && !ok:
			outcome = pipeline.Unordered
		case known && order < 0:
			outcome = pipeline.Stale
		case known:
			outcome = pipeline.Updated
		}
		outcomes = append(outcomes, outcome)
		if known {
			twice = append(twice, ref)
		}
		if outcome == pipeline.Created || outcome == pipeline.Updated {
			added[ref] = memoryResource{r.Type, strings.Clone(r.SourceVersion), bytes.Clone(r.JSON)}
		}
	}
	cp, err := seal(outcomes, nil)
	if err != nil {
		return err
	}
	for ref, r := range added {
		m.resources[ref] = r
	}
	m.twice = append(m.twice, twice...)
	m.lanes[lane] = cp
	return nil
}

// Finish implements pipeline.Loader.
func (m *memory) Finish(_ context.Context, total *pipeline.Account) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.finished = total
	return nil
}

// Close implements pipeline.Loader.
func (m *memory) Close() error { return nil }

// references lists the resources of a type, sorted by id.
func (m *memory) references(t fhir.Type) []string {
	var refs []string
	for ref, r := range m.resources {
		if r.typ == t {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	return refs
}
