package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/store/owner"
	"cpcds2fhir/loaders/loadertest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// ownerVariable names the store that TestOwner is to own.
const ownerVariable = "STORE_LOADER_OWNER"

// TestOwner is another process that owns a store until its standard input ends.
func TestOwner(t *testing.T) {
	dir := os.Getenv(ownerVariable)
	if dir == "" {
		t.Skip("runs only inside TestLoaderOfOtherProcess")
	}
	s, err := owner.Open(dir, store.Options{}, owner.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("\nowns")
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// through is a target whose store belongs to another process.
type through struct{ target }

func newThrough(t *testing.T) *through {
	dir := filepath.Join(t.TempDir(), "store")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOwner$")
	cmd.Env = append(os.Environ(), ownerVariable+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	for s := bufio.NewScanner(out); ; {
		if !s.Scan() {
			t.Fatal("the other process does not own the store")
		}
		if s.Text() == "owns" {
			break
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return &through{target{dir}}
}

func (x *through) Open(t *testing.T) pipeline.Loader {
	t.Helper()
	l := x.target.Open(t).(*Loader)
	if _, own := l.store.(*owner.Shared).Owner(); own {
		t.Fatal("the loader owns the store itself")
	}
	return l
}

func (x *through) Resources(t *testing.T) map[string]string {
	t.Helper()
	s, err := owner.OpenReader(x.dir, store.Options{}, owner.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return exported(t, s)
}

func TestLoaderOfOtherProcess(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Target { return newThrough(t) })
}

// TestTwoLoaders proves that two loaders can load into one store at once, and that a lane that both
// load is refused to the one that has not seen the other's batch.
func TestTwoLoaders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var loaders [2]*Loader
	var wait sync.WaitGroup
	var errs [2]error
	for i := range loaders {
		wait.Go(func() { loaders[i], errs[i] = Open(dir, Options{Run: "run", KeyFingerprint: "0123"}) })
	}
	wait.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	a, b := loaders[0], loaders[1]
	defer a.Close()
	defer b.Close()
	if a.Identity() == "" || a.Identity() != b.Identity() {
		t.Errorf("one store has the identities %q and %q", a.Identity(), b.Identity())
	}
	if a.Fresh() == b.Fresh() {
		t.Errorf("both loaders find the store fresh: %v", a.Fresh())
	}
	if _, err := Open(dir, Options{Run: "run", KeyFingerprint: "4567"}); err == nil {
		t.Error("another key is taken")
	}
	load := func(l *Loader, lane, id string, row int64) error {
		batch := &fhir.Batch{}
		batch.Add(&fhir.Resource{Type: fhir.Patient, ID: id, JSON: []byte(`{"resourceType":"Patient"}`)})
		return l.Load(t.Context(), lane, batch, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
			return pipeline.Checkpoint{Row: row}, nil
		})
	}
	for i, l := range loaders {
		for _, lane := range []string{"own" + fmt.Sprint(i), "both"} {
			if _, err := l.Resume(t.Context(), lane); err != nil {
				t.Fatal(err)
			}
		}
		if err := load(l, "own"+fmt.Sprint(i), "p", 1); err != nil {
			t.Error(err)
		}
	}
	if err := load(a, "both", "x", 1); err != nil {
		t.Error(err)
	}
	if err := load(b, "both", "y", 1); !errors.Is(err, store.ErrChanged) {
		t.Errorf("Load of a lane of another process: %v, want ErrChanged", err)
	}
	if _, ok, err := a.SourceVersion(t.Context(), "Patient/y"); ok || err != nil {
		t.Errorf("what was refused is there: %v, %v", ok, err)
	}
	if cp, err := b.Resume(t.Context(), "both"); err != nil || cp.Row != 1 {
		t.Errorf("Resume: %+v, %v", cp, err)
	}
	if err := load(b, "both", "y", 2); err != nil {
		t.Errorf("Load after Resume: %v", err)
	}
}

// TestComparerBesideLoader proves that a dry run reads a store that is being loaded.
func TestComparerBesideLoader(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	l, err := Open(dir, Options{Run: "run", KeyFingerprint: "0123"})
	if err != nil {
		t.Fatal(err)
	}
	batch := &fhir.Batch{}
	batch.Add(&fhir.Resource{Type: fhir.Patient, ID: "a", JSON: []byte(`{"resourceType":"Patient"}`)})
	if err := l.Load(t.Context(), "lane", batch, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
		return pipeline.Checkpoint{}, nil
	}); err != nil {
		t.Fatal(err)
	}
	c, err := OpenComparer(dir, "0123", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := pipeline.Unchanged
	compare := func() {
		t.Helper()
		err := c.Load(t.Context(), "lane", batch, func(o []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
			if o[0] != want {
				t.Errorf("the outcome is %d, want %d", o[0], want)
			}
			return pipeline.Checkpoint{}, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	compare()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	compare() // now it reads the store itself
}
