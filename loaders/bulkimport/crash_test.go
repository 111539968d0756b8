package bulkimport

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// attempt goes through the three steps of a load in one process, from where they are. cancel is called
// when the process should end.
func (b *bed) attempt(ctx context.Context, batches [][]*fhir.Resource) (all []result, err error) {
	i, index, err := b.open()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, index.Close(), i.Close()) }()
	if !i.Staged() {
		if _, err := run(ctx, i.Staging(index), batches); err != nil {
			return nil, err
		}
	}
	if err := i.Run(ctx); err != nil {
		return nil, err
	}
	return run(ctx, index, batches)
}

// TestKilledAtEveryRequest ends the process at the i-th request, before it is sent or after it was done,
// for all i, and starts another.
func TestKilledAtEveryRequest(t *testing.T) {
	batches := extract(2, 2)
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			b := hapiBed(t, &fhirtest.Options{Integrity: true, Import: fhirtest.Import{Polls: 1, Time: 5 * time.Millisecond}})
			ctx, cancel := context.WithCancel(t.Context())
			hit := false
			fault := fhirtest.ResetUnread()
			if after {
				fault = fhirtest.LoseAnswer()
			}
			nth := fhirtest.Nth(n, func(r *fhirtest.Request) bool { return r.Path != "metadata" })
			b.fhir.Inject(func(r *fhirtest.Request) bool {
				if nth(r) {
					hit = true
					cancel()
					return true
				}
				return false
			}, fault)
			_, err := b.attempt(ctx, batches)
			cancel()
			if !hit {
				if err != nil {
					t.Fatal(err)
				}
				if n < 15 {
					t.Errorf("a load has only %d requests", n)
				}
				break
			}
			if _, err := b.attempt(t.Context(), batches); err != nil {
				t.Fatalf("request %d, after %t: %v", n, after, err)
			}
			wantThere(t, b.fhir, batches)
			if t.Failed() {
				t.Fatalf("request %d, after %t", n, after)
			}
		}
	}
}

// TestEveryRequestFails lets the i-th request fail in some way, for all i, without ending the process.
func TestEveryRequestFails(t *testing.T) {
	batches := extract(2, 2)
	kind := 0
	for name, fault := range map[string]fhirtest.Fault{
		"reset": fhirtest.ResetUnread(), "lost": fhirtest.LoseAnswer(), "500": fhirtest.Status(500), "502": fhirtest.LoseWithGateway(),
		"429": fhirtest.Throttle("0.01"), "html": fhirtest.HTMLAfter(), "body": fhirtest.ResetInBody(),
	} {
		kind++
		t.Run(name, func(t *testing.T) {
			step := 7 // each kind of fault at other requests, all of them together at every one
			if os.Getenv("IMPORT_FAULTS") == "all" {
				step = 1
			}
			for n := 1 + kind%step; n < 40; n += step {
				b := hapiBed(t, &fhirtest.Options{Integrity: true, Import: fhirtest.Import{Polls: 1}})
				b.around.pace.settle = 30 * time.Millisecond
				hit := false
				nth := fhirtest.Nth(n, func(r *fhirtest.Request) bool { return r.Path != "metadata" })
				b.fhir.Inject(func(r *fhirtest.Request) bool { h := nth(r); hit = hit || h; return h }, fault)
				all, err := b.attempt(t.Context(), batches)
				for tries := 0; err != nil && tries < 3; tries++ {
					all, err = b.attempt(t.Context(), batches)
				}
				if err != nil {
					t.Fatalf("request %d: %v", n, err)
				}
				wantThere(t, b.fhir, batches)
				for k, r := range all {
					for _, o := range r.outcomes {
						if o != pipeline.Created && o != pipeline.Unchanged {
							t.Errorf("request %d, batch %d: outcomes %v", n, k, r.outcomes)
						}
					}
				}
				if t.Failed() {
					t.Fatalf("request %d", n)
				}
				if !hit {
					return
				}
			}
		})
	}
}

// TestStagingGoesOn ends the staging pass after each batch, and in the middle of one.
func TestStagingGoesOn(t *testing.T) {
	batches := extract(6, 12)
	batches[3] = append(batches[3], batches[1][0]) // it is staged already, by an earlier process
	want := ""
	for stop := -1; stop < len(batches); stop++ {
		b := hapiBed(t, nil)
		b.o.TransactionTime = time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
		if stop >= 0 {
			i, index := b.must()
			s := i.Staging(index)
			cp, err := s.Resume(t.Context(), "0")
			if err != nil {
				t.Fatal(err)
			}
			for n := cp.Row; n < int64(stop); n++ {
				if _, err := load(t.Context(), s, "0", n+1, batches[n]); err != nil {
					t.Fatal(err)
				}
			}
			// The next one breaks off, and is loaded again.
			over := errors.New("over")
			list := &fhir.Batch{}
			for _, r := range batches[stop] {
				list.Add(r)
			}
			err = s.Load(t.Context(), "0", list, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
				return pipeline.Checkpoint{}, over
			})
			if !errors.Is(err, over) {
				t.Fatal(err)
			}
			if stop%2 == 0 {
				if _, err := run(t.Context(), s, batches); err != nil {
					t.Fatal(err)
				}
			}
			shut(t, i, index)
		}
		i, index := b.must()
		if !i.Staged() {
			if _, err := run(t.Context(), i.Staging(index), batches); err != nil {
				t.Fatal(err)
			}
		}
		var got strings.Builder
		for _, f := range i.journal.Files {
			fmt.Fprintf(&got, "%s %d %s\n", f.Name, f.Lines, f.SHA256)
		}
		shut(t, i, index)
		if want == "" {
			want = got.String()
		}
		if got.String() != want {
			t.Errorf("stopped at %d, the files are\n%s\nnot\n%s", stop, got.String(), want)
		}
	}
}

// TestAddressIsKept starts another process while a job is under way: the files are where they were.
func TestAddressIsKept(t *testing.T) {
	b := hapiBed(t, &fhirtest.Options{Import: fhirtest.Import{Time: 200 * time.Millisecond}})
	batches := extract(3, 3)
	ctx, cancel := context.WithCancel(t.Context())
	b.o.Events.Started = func(string, string) { cancel() }
	if _, err := b.attempt(ctx, batches); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b.o.Events.Started = nil
	if _, err := b.attempt(t.Context(), batches); err != nil {
		t.Fatal(err)
	}
	wantThere(t, b.fhir, batches)
	if n := jobsStarted(b.fhir); n != 4 {
		t.Errorf("%d jobs", n)
	}
}
