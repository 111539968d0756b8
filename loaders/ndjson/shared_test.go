package ndjson

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// met is a batch with one shared resource, always the same.
func met() *fhir.Batch {
	b := &fhir.Batch{}
	add(b, fhir.Organization, "met", 5, true)
	return b
}

// loadMet loads it for a lane and reports whether the lane was told that it
// created it. during runs while the outcome is told.
func loadMet(t *testing.T, l *Loader, lane string, during func() error) (created bool, err error) {
	t.Helper()
	err = l.Load(context.Background(), lane, met(), func(outcomes []pipeline.Outcome) (pipeline.Checkpoint, error) {
		created = outcomes[0] == pipeline.Created
		return pipeline.Checkpoint{Row: 1}, during()
	})
	return created, err
}

func nothing() error { return nil }

// TestSharedMetTwiceAtOnce: the second lane meets the resource, and commits,
// between the outcome and the commit of the first.
func TestSharedMetTwiceAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	l := mustOpen(t, dir, diskOptions())
	second := make(chan bool, 1)
	first, err := loadMet(t, l, "a", func() error {
		created, err := loadMet(t, l, "b", nothing)
		second <- created
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if second := <-second; !first || second {
		t.Errorf("created for the first lane %t, for the second %t; want true, false", first, second)
	}
	mustFinish(t, l)
	if got := len(readTarget(t, dir)); got != 1 {
		t.Errorf("the resource is there %d times", got)
	}
}

// TestSharedCountedByLaneThatIsSlow: the first lane commits while the second,
// which met the resource later, is still on its way.
func TestSharedCountedByLaneThatIsSlow(t *testing.T) {
	l := mustOpen(t, filepath.Join(t.TempDir(), "out"), diskOptions())
	secondMet, firstDone := make(chan struct{}), make(chan struct{})
	secondDone := make(chan error, 1)
	_, err := loadMet(t, l, "a", func() error {
		go func() {
			created, err := loadMet(t, l, "b", func() error {
				close(secondMet)
				<-firstDone
				return nil
			})
			if created {
				err = errors.New("both lanes were told that they created it")
			}
			secondDone <- err
		}()
		<-secondMet
		return nil
	})
	close(firstDone)
	if err := errors.Join(err, <-secondDone); err != nil {
		t.Fatal(err)
	}
	for _, lane := range []string{"a", "b", "c"} {
		if created, err := loadMet(t, l, lane, nothing); created || err != nil {
			t.Errorf("lane %s meets it again: created %t, %v", lane, created, err)
		}
	}
}

// TestSharedOfLostLane: the lane that was told that it created the resource is
// lost before its commit, so it must be told again.
func TestSharedOfLostLane(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "out")
		l := mustOpen(t, dir, diskOptions())
		errLost := errors.New("lost")
		_, err := loadMet(t, l, "a", func() error {
			created, err := loadMet(t, l, "b", nothing)
			if created || err != nil {
				t.Errorf("the second lane: created %t, %v", created, err)
			}
			return errLost
		})
		if !errors.Is(err, errLost) {
			t.Fatalf("Load returns %v, want the error of seal", err)
		}
		if reopen {
			l.Close()
			l = mustOpen(t, dir, diskOptions())
		}
		if created, err := loadMet(t, l, "a", nothing); !created || err != nil {
			t.Errorf("the first lane again, reopened %t: created %t, %v; want true", reopen, created, err)
		}
		mustFinish(t, l)
		names, err := os.ReadDir(dir + ".state")
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(names, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), collectedPrefix) }) {
			t.Error("resources are left in the state folder")
		}
	}
}
