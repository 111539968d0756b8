package streamrun_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline/streamrun"
)

// dyingLetters are dead letters of a process that is killed as soon as the broker has some.
type dyingLetters struct {
	*letters
	kill func()
}

func (d *dyingLetters) Write(ctx context.Context, list []streamrun.DeadLetter) error {
	if err := d.letters.Write(ctx, list); err != nil {
		return err
	}
	d.kill()
	return errors.New("killed")
}

// TestLateAfterAll proves that a record which has waited too long becomes a resource if what it waits
// for comes before its dead letter counts, and that the dead letter is removed, which a process that
// died has written.
func TestLateAfterAll(t *testing.T) {
	b := newBench(t, synth.Options{Claims: 40, Seed: 9})
	want := b.batch()
	coverage := func(m streamrun.Message) bool {
		return slices.ContainsFunc(m.Headers, func(h streamrun.Header) bool { return bytes.Equal(h.Value, []byte("coverages")) })
	}
	all := b.topic
	b.topic = slices.DeleteFunc(slices.Clone(all), coverage)
	parts := b.partitions(1)
	dir := filepath.Join(t.TempDir(), "store")
	l := openStore(t, dir)

	// No coverage comes: all claims wait.
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dead := &letters{}
	var late atomic.Int64
	setting := func(c *streamrun.Config) {
		c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
		c.Events.Blocked = func(_ string, _ int, err error) { t.Log(err) }
	}
	run := func(e *streamrun.Engine, sweep bool, until func() bool) {
		own, stop := context.WithCancel(ctx)
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := e.Lane(own, parts[0]); err != nil {
				t.Error(err)
			}
		})
		for ctx.Err() == nil && !until() {
			if sweep {
				if _, err := e.Sweep(ctx); err != nil {
					t.Error(err)
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
		stop()
		wait.Wait()
	}
	first := b.engine(l, dead, setting)
	run(first, false, func() bool { return parts[0].Committed() == int64(len(parts[0].messages)) })

	// A process finds that it is too late, and dies.
	late.Store(int64(25 * time.Hour))
	killed := make(chan struct{})
	var once sync.Once
	second := b.engine(l, dead, func(c *streamrun.Config) {
		setting(c)
		c.DeadLetters = &dyingLetters{dead, func() { once.Do(func() { close(killed) }) }}
	})
	run(second, true, func() bool {
		select {
		case <-killed:
			return true
		default:
			return false
		}
	})
	dead.mu.Lock()
	written := slices.Clone(dead.list)
	dead.mu.Unlock()
	if len(written) == 0 {
		t.Fatal("no dead letter was written")
	}

	// The coverages come before the next process.
	for _, m := range all {
		if coverage(m) {
			parts[0].add(m)
		}
	}
	third := b.engine(l, dead, setting)
	var total streamrun.MessageCount
	run(third, false, func() bool { return parts[0].Committed() == int64(len(parts[0].messages)) })
	run(third, true, func() bool {
		waiting, err := third.Sweep(ctx)
		return err == nil && waiting == 0
	})
	if err := streamrun.Accounts(t.Context(), l, "group", time.Time{}, func(a *streamrun.LaneAccount) error {
		total.Add(&a.Messages)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if total.Expired != 0 || total.Released != total.Waiting || !total.Balanced() {
		t.Errorf("the account says %+v", total)
	}
	dead.mu.Lock()
	defer dead.mu.Unlock()
	if len(dead.list) > 0 {
		t.Errorf("%d of %d dead letters stay, such as %s", len(dead.list), len(written), dead.list[0].Source())
	}
	compare(t, exported(t, l, dir), want)
}
