package streamrun_test

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/synth"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline/streamrun"
)

// TestOtherMessages proves that a lane stops if its partition has lost messages that were loaded, and has
// got others under their offsets; and that it goes on if compaction has removed the last one.
func TestOtherMessages(t *testing.T) {
	b := newBench(t, synth.Options{Claims: 40, Seed: 2})
	l := openStore(t, filepath.Join(t.TempDir(), "store"))
	defer l.Close()
	part := b.partitions(1)[0]
	all := part.messages
	part.messages = all[:50]
	e := b.engine(l, &letters{}, nil)
	stream(t, e, []*log{part})
	part.messages = all
	stream(t, e, []*log{part})

	part.messages = append([]streamrun.Message{}, all...)
	last := &part.messages[len(part.messages)-1]
	last.Value = append([]byte(" "), last.Value...)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := e.Lane(ctx, part)
	if err == nil || !strings.Contains(err.Error(), "another one than the one that was loaded") {
		t.Errorf("the last message has changed: %v", err)
	}

	part.messages[len(part.messages)-1].Offset++ // the one that was loaded is gone
	part.messages = append(part.messages, all[0])
	part.messages[len(all)].Offset = int64(len(all) + 1)
	own, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if err := e.Lane(own, part); err != nil {
		t.Errorf("the last message was removed: %v", err)
	}
}

// hangingTarget is a target that does not answer until it may.
type hangingTarget struct {
	*storeloader.Loader
	until chan struct{}
}

func (h *hangingTarget) Recall(ctx context.Context, names []string) ([][]byte, error) {
	<-h.until
	return h.Loader.Recall(ctx, names)
}

// TestStuck proves that a lane that works without end is seen as stuck, and that one is not whose target
// does not answer.
func TestStuck(t *testing.T) {
	b := newBench(t, synth.Options{Claims: 20, Seed: 2})
	l := openStore(t, filepath.Join(t.TempDir(), "store"))
	defer l.Close()
	target := &hangingTarget{l, make(chan struct{})}
	computes, asked := make(chan struct{}), make(chan struct{})
	var once sync.Once
	e := b.engine(l, &letters{}, func(c *streamrun.Config) {
		c.Target = target
		c.OverBudget = func(int64, int64) bool { // stands for any work of the lane itself
			once.Do(func() { close(asked) })
			<-computes
			return false
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	part := b.partitions(1)[0]
	wait.Go(func() {
		if err := e.Lane(ctx, part); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(150 * time.Millisecond)
	if d := e.Stuck(); d > 100*time.Millisecond {
		t.Errorf("the target does not answer, and the lane counts as stuck for %s", d)
	}
	close(target.until)
	<-asked
	time.Sleep(150 * time.Millisecond)
	if d := e.Stuck(); d < 100*time.Millisecond {
		t.Errorf("the lane works without end, and counts as stuck for %s", d)
	}
	close(computes)
	for part.Committed() < int64(len(part.messages)) {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	wait.Wait()
	if d := e.Stuck(); d != 0 {
		t.Errorf("no lane runs, and one counts as stuck for %s", d)
	}
}
