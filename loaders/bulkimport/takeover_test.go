package bulkimport

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob"

	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/loaders/ndjson"
)

// other makes the bed's next load one of another extract, with a stage of its own.
func (b *bed) other() {
	b.o.Run, b.o.Events = "run-2", Events{}
	if strings.HasPrefix(b.o.Stage, "file:") {
		b.o.Stage = "file://" + b.t.TempDir()
	}
}

func filesBelow(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Another load waits for the jobs of one that was stopped, starts none for it, and removes what it has staged.
func TestAnotherLoadTakesOver(t *testing.T) {
	b := hapiBed(t, &fhirtest.Options{Import: fhirtest.Import{Time: 200 * time.Millisecond}})
	first := extract(3, 3)
	ctx, cancel := context.WithCancel(t.Context())
	b.o.Events.Started = func(string, string) { cancel() }
	if _, err := b.attempt(ctx, first); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	stage := strings.TrimPrefix(b.o.Stage, "file://")
	if len(filesBelow(t, stage)) == 0 {
		t.Fatal("nothing was staged")
	}
	b.other()
	i, index := b.must()
	if left := filesBelow(t, stage); len(left) > 0 {
		t.Errorf("there is still %s", left)
	}
	if i.Staged() || len(i.journal.Files) > 0 || i.journal.Run != "run-2" {
		t.Errorf("%+v", i.journal)
	}
	if n, there := jobsStarted(b.fhir), len(b.fhir.Resources()); n != 1 || there != 2 {
		t.Errorf("%d jobs, %d resources are there", n, there)
	}
	shut(t, i, index)
	if _, err := b.attempt(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	wantThere(t, b.fhir, first)
}

// The process may have ended before it knew that a job was started, or before it started it.
func TestAnotherLoadTakesOverAtEveryRequest(t *testing.T) {
	batches := extract(2, 2)
	for _, after := range []bool{false, true} {
		for n := 1; n < 20; n += 3 {
			b := hapiBed(t, &fhirtest.Options{Import: fhirtest.Import{Polls: 1}})
			b.around.pace.settle = 30 * time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			fault := fhirtest.ResetUnread()
			if after {
				fault = fhirtest.LoseAnswer()
			}
			nth := fhirtest.Nth(n, func(r *fhirtest.Request) bool { return r.Path != "metadata" })
			b.fhir.Inject(func(r *fhirtest.Request) bool {
				hit := nth(r)
				if hit {
					cancel()
				}
				return hit
			}, fault)
			_, _ = b.attempt(ctx, batches) // it may have been cancelled, or not
			cancel()
			stage := strings.TrimPrefix(b.o.Stage, "file://")
			b.other()
			if _, err := b.attempt(t.Context(), batches); err != nil {
				t.Fatalf("request %d, after %t: %v", n, after, err)
			}
			wantThere(t, b.fhir, batches)
			if left := filesBelow(t, stage); len(left) > 0 {
				t.Errorf("request %d, after %t: there is still %s", n, after, left)
			}
		}
	}
}

// A job that the server has forgotten is not under way, and blocks nothing.
func TestForgottenJobBlocksNothing(t *testing.T) {
	b := hapiBed(t, nil)
	i, index := b.must()
	if _, err := run(t.Context(), i.Staging(index), extract(2, 2)); err != nil {
		t.Fatal(err)
	}
	i.journal.Jobs = append(i.journal.Jobs, &job{Type: "Patient", First: i.journal.filesOf("Patient")[0].Name, State: jobRunning, Handle: b.base + "/$import-poll-status?_jobId=none"})
	if err := i.journal.save(); err != nil {
		t.Fatal(err)
	}
	shut(t, i, index)
	b.other()
	i, index = b.must()
	shut(t, i, index)
}

// What is in a bucket is removed. If it cannot be, the journal is kept that knows of it.
func TestAnotherLoadEmptiesTheBucket(t *testing.T) {
	c := azureCloud(t)
	b := c.bed("azure", azureStage, nil)
	i, index := b.must()
	if _, err := run(t.Context(), i.Staging(index), extract(4, 4)); err != nil {
		t.Fatal(err)
	}
	if err := i.upload(t.Context()); err != nil {
		t.Fatal(err)
	}
	shut(t, i, index)
	before := c.keys("azblob", "stage", "")
	if len(before) == 0 {
		t.Fatal("nothing is in the bucket")
	}
	b.other()
	buckets := b.around.buckets
	b.around.buckets = func(context.Context, string) (*blob.Bucket, error) { return nil, errors.New("the key has expired") }
	_, _, err := b.open()
	e, ok := errors.AsType[*OtherRunError](err)
	if !ok || !strings.Contains(err.Error(), "the key has expired") || !strings.Contains(err.Error(), e.Stage) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.o.State, journalName)); err != nil {
		t.Errorf("the journal is gone: %v", err)
	}
	b.around.buckets = buckets
	i, index = b.must()
	defer shut(t, i, index)
	if left := c.keys("azblob", "stage", ""); len(left) > 0 {
		t.Errorf("there is still %s", left)
	}
	if left := filesBelow(t, filepath.Join(b.o.State, filesFolder)); len(left) > 0 {
		t.Errorf("there is still %s", left)
	}
}

func TestLiveImportIsNotTakenOver(t *testing.T) {
	b, i := stagedBed(t)
	b.other()
	if _, _, err := b.open(); !errors.Is(err, ndjson.ErrLocked) {
		t.Errorf("error %v", err)
	}
	if left := filesBelow(t, i.stage.folder()); len(left) == 0 {
		t.Error("its files are gone")
	}
}
