package ndjson

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func TestOpenRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	if _, err := Open(dir, diskOptions()); !errors.Is(err, ErrLocked) {
		t.Errorf("second Open returns %v, want ErrLocked", err)
	}
	mustLoad(t, l, "claims-00", oneClaim("e1"))
	l.Close()

	otherRun := func(err error) bool { return errors.As(err, new(*OtherRunError)) }
	otherKey := func(err error) bool { return errors.As(err, new(*KeyError)) }
	check := func(what string, change func(*Options), right func(error) bool) {
		t.Helper()
		opts := diskOptions()
		change(&opts)
		l, err := Open(dir, opts)
		if err == nil {
			l.Close()
		}
		if !right(err) {
			t.Errorf("with %s Open returns %v", what, err)
		}
	}
	for range 2 { // while the load is unfinished, and after
		check("the same options", func(*Options) {}, func(err error) bool { return err == nil })
		check("another run", func(o *Options) { o.Run = "run-2" }, otherRun)
		check("another key", func(o *Options) { o.KeyFingerprint = "key-2" }, otherKey)
		check("another key and run", func(o *Options) { o.Run, o.KeyFingerprint = "run-2", "key-2" }, otherKey)
		check("other compression", func(o *Options) { o.Compress = "zstd" }, otherRun)
		check("another size of parts", func(o *Options) { o.RollBytes = 77 }, otherRun)
		check("no state folder", func(o *Options) { o.State = dir + ".elsewhere" }, func(err error) bool {
			return err != nil && !otherRun(err)
		})
		check("unknown compression", func(o *Options) { o.Compress = "lzma" }, func(err error) bool { return err != nil })
		mustFinish(t, mustOpen(t, dir, diskOptions()))
	}
	if _, err := os.Stat(dir + ".elsewhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a refused Open left its state folder: %v", err)
	}
}

// TestOtherRunTakesEmptyFolder: a load that wrote nothing does not hold its folder.
func TestOtherRunTakesEmptyFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	err := l.Load(context.Background(), "claims-00", &fhir.Batch{}, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
		return pipeline.Checkpoint{Row: 5}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	other := filepath.Join(dir+".state", "mentions", "run-1")
	if err := os.MkdirAll(other, 0o700); err != nil {
		t.Fatal(err)
	}
	opts := diskOptions()
	opts.Run, opts.KeyFingerprint = "run-2", "key-2"
	l = mustOpen(t, dir, opts)
	if _, err := os.Stat(other); err != nil {
		t.Errorf("what others keep in the state folder is gone: %v", err)
	}
	cp, err := l.Resume(context.Background(), "claims-00")
	if err != nil || cp.Row != 0 {
		t.Errorf("the other run resumes at row %d (%v), want 0", cp.Row, err)
	}
}

// TestOtherRunAfterRemoval: a finished load of which the folder was removed does
// not hold the state folder.
func TestOtherRunAfterRemoval(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	mustLoad(t, l, "claims-00", oneClaim("e1"))
	mustFinish(t, l)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	opts := diskOptions()
	opts.Run = "run-2"
	l = mustOpen(t, dir, opts)
	mustLoad(t, l, "claims-00", oneClaim("e2"))
	mustFinish(t, l)
	if got := readTarget(t, dir); len(got) != 1 || got[0].id != "e2" {
		t.Errorf("%d resources in the target, want the one of the other run", len(got))
	}
}

// TestFinishTwice holds that a second Finish changes nothing.
func TestFinishTwice(t *testing.T) {
	l := mustOpen(t, filepath.Join(t.TempDir(), "out"), diskOptions())
	mustLoad(t, l, "claims-00", oneClaim("e1"))
	for seen := range int64(2) {
		var total pipeline.Account
		total.Claims.Seen = seen + 1
		if err := l.Finish(context.Background(), &total); err != nil {
			t.Fatal(err)
		}
	}
	if sum, ok := l.Finished(); !ok || sum.Account.Claims.Seen != 1 {
		t.Errorf("finished %t, with the account of another Finish", ok)
	}
}

// TestReplay adds to a finished folder, with a lane of the same name: the parts
// that are there stay, and the manifest names old and new parts.
func TestReplay(t *testing.T) {
	for _, compress := range []string{"", "zstd", "gzip"} {
		dir := filepath.Join(t.TempDir(), "out")
		opts := diskOptions()
		opts.Compress = compress
		replay := opts
		replay.Part, replay.Run = "replay-0001", "run-2"

		if _, err := Open(dir, replay); err == nil {
			t.Fatal("a load adds to a folder without a load")
		}
		l := mustOpen(t, dir, opts)
		b := oneClaim("e1")
		add(b, fhir.Organization, "o1", 0)
		mustLoad(t, l, "claims-00", b)
		l.Close()
		if _, err := Open(dir, replay); err == nil {
			t.Fatal("a load adds to a load that is not finished")
		}
		mustFinish(t, mustOpen(t, dir, opts))

		l = mustOpen(t, dir, replay)
		b = oneClaim("e2")
		add(b, fhir.Organization, "o2", 0)
		var told []pipeline.Outcome
		err := l.Load(context.Background(), "claims-00", b, func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
			told = slices.Clone(outcomes)
			return pipeline.Checkpoint{Row: 4}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]pipeline.Outcome{pipeline.Created, pipeline.Created}, told); diff != "" {
			t.Errorf("outcomes of the replay (-want +got):\n%s", diff)
		}
		l.Close()
		l = mustOpen(t, dir, replay)
		if cp, err := l.Resume(context.Background(), "claims-00"); err != nil || cp.Row != 4 {
			t.Fatalf("the replay resumes at row %d (%v), want 4", cp.Row, err)
		}
		mustFinish(t, l)

		var got []string
		for _, line := range readTarget(t, dir) {
			got = append(got, strings.TrimSuffix(line.file, l.codec.suffix)+" "+line.id)
		}
		want := []string{
			"Organization/part-claims-00-00001.ndjson o1",
			"Organization/part-replay-0001-claims-00-00001.ndjson o2",
			"ExplanationOfBenefit/part-claims-00-00001.ndjson e1",
			"ExplanationOfBenefit/part-replay-0001-claims-00-00001.ndjson e2",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("target (-want +got):\n%s", diff)
		}
		replay.Run = "run-3"
		if _, err := Open(dir, replay); !errors.As(err, new(*OtherRunError)) {
			t.Errorf("another replay under the same name: got %v, want an *OtherRunError", err)
		}
		for _, o := range []Options{opts, {Compress: compress, Run: "run-2", KeyFingerprint: "key-1", Part: "replay-0001"}} {
			l := mustOpen(t, dir, o)
			if sum, ok := l.Finished(); !ok || len(sum.Parts) != len(want) {
				t.Errorf("load %q is finished: %t", o.Part, ok)
			}
			l.Close()
		}
	}
}

// TestEarlierPartsStay: no name of a later load may fall on a part that is there.
func TestEarlierPartsStay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	mustLoad(t, l, "replay-1-claims", oneClaim("e1"))
	mustFinish(t, l)
	opts := diskOptions()
	opts.Part = "replay-1"
	l = mustOpen(t, dir, opts)
	if err := loadBatch(l, "claims", oneClaim("e2")); err == nil {
		t.Error("a part of an earlier load is written again")
	}
}
