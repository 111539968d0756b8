package loadertest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// streaming is the smallest target of streams that passes the suite, with one fault of choice. What it keeps
// outlives its being closed.
type streaming struct {
	m         *memory
	fault     string
	positions map[string]pipeline.Position
	records   map[string][]byte
	owners    map[string]int
}

func newStreaming(fault string) *streaming {
	return &streaming{m: newMemory(""), fault: fault, positions: map[string]pipeline.Position{}, records: map[string][]byte{}, owners: map[string]int{}}
}

func (s *streaming) OpenStream(*testing.T) Stream {
	if s.fault == "forgets positions" {
		clear(s.positions)
	}
	return s
}

func (s *streaming) Resources(t *testing.T) map[string]string { return s.m.Resources(t) }
func (s *streaming) Close() error                             { return nil }

func (s *streaming) SourceVersion(_ context.Context, resource string) (string, bool, error) {
	h, ok := s.m.held[resource]
	return h.version, ok, nil
}

func (s *streaming) Take(_ context.Context, lane string) (pipeline.StreamLane, pipeline.Position, error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.owners[lane]++
	return &streamingLane{s, lane, s.owners[lane]}, s.positions[lane], nil
}

func (s *streaming) Recall(_ context.Context, names []string) (out [][]byte, err error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	for _, n := range names {
		out = append(out, bytes.Clone(s.records[n]))
	}
	return out, nil
}

func (s *streaming) Each(_ context.Context, prefix string, f func(pipeline.Record) error) error {
	for _, n := range slices.Sorted(maps.Keys(s.records)) {
		if strings.HasPrefix(n, prefix) {
			if err := f(pipeline.Record{Name: n, Value: s.records[n]}); err != nil {
				return err
			}
		}
	}
	return nil
}

type streamingLane struct {
	s     *streaming
	name  string
	owner int
}

func (l *streamingLane) Load(ctx context.Context, b *fhir.Batch, seal pipeline.StreamSeal) error {
	s := l.s
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	next := map[string]held{}
	var outcomes []pipeline.Outcome
	for _, r := range b.All() {
		ref := fhir.Reference(r.Type, r.ID)
		o := s.m.outcome(next, ref, r)
		outcomes = append(outcomes, o)
		if o == pipeline.Created || o == pipeline.Updated || o == pipeline.Deleted {
			next[ref] = held{string(r.JSON), r.SourceVersion}
		}
	}
	if s.fault == "writes before seal" {
		s.m.take(l.name, next, nil)
	}
	c, err := seal(outcomes, nil)
	switch {
	case err != nil:
		return err
	case l.owner != s.owners[l.name] && s.fault != "has no fences":
		return pipeline.ErrFenced
	case !s.holds(c.Guards) && s.fault != "looks at no guards":
		return pipeline.ErrChanged
	}
	s.m.take(l.name, next, nil)
	s.positions[l.name] = c.Position
	for _, r := range c.Put {
		if r.Value == nil && s.fault != "removes no records" {
			delete(s.records, r.Name)
			continue
		}
		s.records[r.Name] = bytes.Clone(r.Value)
	}
	return nil
}

// holds reports whether of the guards of each name one is what is there.
func (s *streaming) holds(guards []pipeline.Record) bool {
	fits := map[string]bool{}
	for _, g := range guards {
		fits[g.Name] = fits[g.Name] || bytes.Equal(g.Value, s.records[g.Name]) && (g.Value == nil) == (s.records[g.Name] == nil)
		if s.fault == "takes guards of one name together" && !fits[g.Name] {
			return false
		}
	}
	for _, ok := range fits {
		if !ok {
			return false
		}
	}
	return true
}

func TestStreaming(t *testing.T) {
	RunStream(t, func(*testing.T) StreamTarget { return newStreaming("") })
}

const streamFaultVariable = "LOADERTEST_STREAM_FAULT"

// TestFaultyStream runs the suite on a target that is wrong, for TestFindsStreamFaults.
func TestFaultyStream(t *testing.T) {
	fault := os.Getenv(streamFaultVariable)
	if fault == "" {
		t.Skip("runs only inside TestFindsStreamFaults")
	}
	RunStream(t, func(*testing.T) StreamTarget { return newStreaming(fault) })
}

func TestFindsStreamFaults(t *testing.T) {
	for _, fault := range []string{"forgets positions", "writes before seal", "has no fences", "looks at no guards", "removes no records", "takes guards of one name together"} {
		t.Run(fault, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestFaultyStream$")
			cmd.Env = append(os.Environ(), streamFaultVariable+"="+fault)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), "--- FAIL: TestFaultyStream") {
				t.Errorf("the suite passes a target that %s (%v)\n%s", fault, err, out)
			}
		})
	}
}
