package remote

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// smallLoad is a load with creations, updates, repeats, an older record and deletions.
func smallLoad() []*fhir.Batch {
	return []*fhir.Batch{
		batch(record(fhir.Organization, "payer", "1", "x"), patient("a", "1", "x"), patient("b", "1", "x")),
		batch(record(fhir.Organization, "payer", "1", "x"), patient("a", "2", "y"), patient("c", "1", "x"), patient("bad", "1", "x")),
		batch(patient("b", "2", ""), patient("c", "0", "z"), patient("d", "1", "x"), patient("d", "2", "y")),
		batch(patient("b", "3", "x"), patient("a", "2", "y"), patient("c", "2", "")),
	}
}

// account adds up outcomes in checkpoints, as the engine does.
func account(outcomes []pipeline.Outcome, before pipeline.Account) pipeline.Account {
	sum := before
	for _, o := range outcomes {
		r := &sum.Resources[fhir.Patient]
		switch o {
		case created:
			r.Created++
		case updated:
			r.Updated++
		case unchanged:
			r.Unchanged++
		case stale:
			r.Stale++
		case deleted:
			r.Deleted++
		}
	}
	return sum
}

// runLoad resumes the load and ends it.
func runLoad(ctx context.Context, o *Options, all []*fhir.Batch) (sum pipeline.Account, err error) {
	l, err := Open(ctx, o)
	if err != nil {
		return sum, err
	}
	cp, err := l.Resume(ctx, "lane")
	for err == nil && cp.Row < int64(len(all)) {
		next := cp
		err = l.Load(ctx, "lane", all[cp.Row], func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
			next = pipeline.Checkpoint{Row: cp.Row + 1, Account: account(outcomes, cp.Account)}
			return next, nil
		})
		if err == nil {
			cp = next
		}
	}
	if err == nil {
		err = l.Finish(ctx, &cp.Account)
	}
	return cp.Account, errors.Join(err, l.Close())
}

func undisturbed(t *testing.T, ids string) (want map[string]string, sum pipeline.Account) {
	t.Helper()
	b := newBed(t)
	b.settings.IDs, b.sloppy = ids, true
	b.bad["Patient/bad"] = true
	sum, err := runLoad(t.Context(), b.options(), smallLoad())
	if err != nil {
		t.Fatal(err)
	}
	return b.contents(t), sum
}

// TestFailEverySend loses the i-th request, or its answer, for all i; then the load is run again.
func TestFailEverySend(t *testing.T) { // V17
	for _, ids := range []string{"client", idsOfServer} {
		want, sum := undisturbed(t, ids)
		for _, answer := range []bool{false, true} {
			for i := 1; ; i++ {
				b := newBed(t)
				b.settings.IDs, b.sloppy = ids, true
				b.bad["Patient/bad"] = true
				fail := func(n int, _ []Entry) error {
					if n == i {
						return errLost
					}
					return nil
				}
				if b.before = fail; answer {
					b.before, b.after = nil, fail
				}
				name := fmt.Sprintf("ids %s, send %d, answer lost: %v", ids, i, answer)
				got, err := runLoad(t.Context(), b.options(), smallLoad())
				done := err == nil
				if !done {
					if !errors.Is(err, errLost) {
						t.Fatalf("%s: %v", name, err)
					}
					if got, err = runLoad(t.Context(), b.options(), smallLoad()); err != nil {
						t.Fatalf("%s: load again: %v", name, err)
					}
				}
				if diff := cmp.Diff(want, b.contents(t)); diff != "" {
					t.Errorf("%s: the server (-want +got):\n%s", name, diff)
				}
				if diff := cmp.Diff(sum, got); diff != "" {
					t.Errorf("%s: account (-want +got):\n%s", name, diff)
				}
				if done {
					if i < 4 {
						t.Errorf("%s: only %d sends", name, i)
					}
					break
				}
			}
		}
	}
}

// TestFailEveryOperation fails the i-th operation on the files of the index, for all i, cuts the power, and
// loads again: the server has each version once.
func TestFailEveryOperation(t *testing.T) {
	want, sum := undisturbed(t, "client")
	step := int32(3)
	if testing.Short() {
		step = 17
	}
	failed := 0
	for i := int32(0); ; i += step {
		disk := vfs.NewCrashableMem()
		index := errorfs.OnIndex(i)
		counter := &errorfs.Counter{Injector: index}
		b := newBed(t)
		b.sloppy = true
		b.bad["Patient/bad"] = true
		on := func(fs vfs.FS) *Options {
			o := b.options()
			o.index = func(so storeloader.Options) storeloader.Options { return so.On(fs) }
			return o
		}
		done := make(chan error, 1)
		go func() {
			_, err := runLoad(context.Background(), on(errorfs.Wrap(disk, counter)), smallLoad())
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				failed++
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("operation %d: the load hangs", i)
		}
		if counter.Load() == 0 {
			t.Logf("%d operations, %d of them make the load fail", i, failed)
			break
		}
		left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(i%2) * 60, RNG: rand.New(rand.NewPCG(uint64(i), 0))})
		got, err := runLoad(t.Context(), on(left), smallLoad())
		if err != nil {
			t.Fatalf("operation %d: load again: %v", i, err)
		}
		if diff := cmp.Diff(want, b.contents(t)); diff != "" {
			t.Errorf("operation %d: the server (-want +got):\n%s", i, diff)
		}
		if diff := cmp.Diff(sum, got); diff != "" {
			t.Errorf("operation %d: account (-want +got):\n%s", i, diff)
		}
	}
	if failed == 0 {
		t.Error("no failure reached the caller")
	}
}
