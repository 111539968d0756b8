package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/loaders/loadertest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

type target struct{ dir string }

func (x *target) Open(t *testing.T) pipeline.Loader {
	t.Helper()
	l, err := Open(x.dir, Options{Run: "run", KeyFingerprint: "0123"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (x *target) CanUpdate() bool { return true }

func (x *target) Resources(t *testing.T) map[string]string {
	t.Helper()
	s, err := store.Open(x.dir, store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	all := exported(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

func exported(t *testing.T, s store.Handle) map[string]string {
	t.Helper()
	all := map[string]string{}
	for e, err := range s.Export(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		ref := fhir.Reference(e.Type, e.ID)
		if _, twice := all[ref]; twice {
			t.Fatalf("%s is exported twice", ref)
		}
		all[ref] = string(e.JSON)
	}
	return all
}

func TestLoader(t *testing.T) {
	loadertest.Run(t, func(t *testing.T) loadertest.Target {
		return &target{filepath.Join(t.TempDir(), "store")}
	})
}

func TestOtherKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	opens := func(fingerprint string, want bool) {
		t.Helper()
		l, err := Open(dir, Options{Run: "r", KeyFingerprint: fingerprint})
		if want {
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
		key, ok := errors.AsType[*KeyError](err)
		if !ok || key.Have != "aaaa" || key.Given != fingerprint {
			t.Fatalf("Open with another key: %v, want *KeyError", err)
		}
	}
	opens("", true) // nothing is remembered yet, and this is nothing to remember
	opens("aaaa", true)
	opens("bbbb", false)
	opens("", false)
	opens("aaaa", true) // the refusals left the store open for others
}

func TestRunMustBeNamed(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{}); err == nil {
		t.Error("a loader without a run is opened")
	}
}

func TestRunsAndForget(t *testing.T) {
	dir := t.TempDir()
	open := func(run string) *Loader {
		t.Helper()
		l, err := Open(dir, Options{Run: run})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	row := func(l *Loader, want int64) {
		t.Helper()
		cp, err := l.Resume(t.Context(), "lane")
		if err != nil || cp.Row != want {
			t.Errorf("Resume: row %d, %v, want %d", cp.Row, err, want)
		}
	}
	load := func(l *Loader, to int64, want pipeline.Outcome) {
		t.Helper()
		b := &fhir.Batch{}
		b.Add(&fhir.Resource{Type: fhir.Patient, ID: "p", JSON: []byte(`{"resourceType":"Patient","id":"p"}`)})
		err := l.Load(t.Context(), "lane", b, func(got []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
			if diff := cmp.Diff([]pipeline.Outcome{want}, got); diff != "" {
				t.Errorf("outcomes (-want +got):\n%s", diff)
			}
			return pipeline.Checkpoint{Row: to, Done: true}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	done := func(l *Loader) {
		t.Helper()
		if err := errors.Join(l.Finish(t.Context(), &pipeline.Account{}), l.Close()); err != nil {
			t.Fatal(err)
		}
	}
	l := open("run-1")
	load(l, 5, pipeline.Created)
	done(l)
	l = open("run-10")
	row(l, 0)
	load(l, 7, pipeline.Unchanged)
	done(l)
	l = open("run-1")
	row(l, 5)
	if err := l.Forget("run-1"); err != nil {
		t.Fatal(err)
	}
	row(l, 0)
	load(l, 6, pipeline.Unchanged)
	done(l)
	l = open("run-10")
	row(l, 7)
	if err := l.Forget("never-was"); err != nil {
		t.Error(err)
	}
	done(l)
}

func TestFinishSumsUp(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{Run: "nightly", KeyFingerprint: "aaaa"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(3) {
		err := l.Load(t.Context(), fmt.Sprint("lane", i), &fhir.Batch{}, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
			cp := pipeline.Checkpoint{Row: i, Done: true}
			cp.Account.Claims.Seen = i + 1
			pipeline.Count(&cp.Account.Rejects, "rule", 1)
			return cp, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var total pipeline.Account
	if err := errors.Join(l.Finish(t.Context(), &total), l.Close()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pipeline.Account{}, total); diff != "" {
		t.Errorf("Finish changed the account of the run:\n%s", diff)
	}
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.Stats(t.Context())
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	var sum Summary
	if err := json.Unmarshal(st.LastRun, &sum); err != nil {
		t.Fatal(err)
	}
	if sum.Run != "nightly" || sum.Lanes != 3 || sum.Account.Claims.Seen != 6 || sum.Account.Rejects["rule"] != 3 || st.IDKey != "aaaa" {
		t.Errorf("summary %+v, key %s", sum, st.IDKey)
	}
}

// lanes is a small load: a lane of batches, in which resources come again.
func lanes() []*fhir.Batch {
	all := make([]*fhir.Batch, 6)
	for i := range all {
		all[i] = &fhir.Batch{}
		for j := range 3 {
			all[i].Add(&fhir.Resource{
				Type: fhir.Patient, ID: fmt.Sprintf("p%d", i+j), LastUpdated: "2024-01-01T00:00:00Z", SourceVersion: fmt.Sprint(i),
				JSON: fmt.Appendf(nil, `{"resourceType":"Patient","id":"p%d","active":%v,"text":"%s"}`, i+j, i%2 == 0, strings.Repeat("x", 500)),
				Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: fmt.Sprintf("urn:m|%d", i+j)}},
			})
		}
	}
	return all
}

// runLane resumes a lane and loads the rest of it.
func runLane(fs vfs.FS, all []*fhir.Batch) error {
	l, err := Open("db", Options{Run: "run", KeyFingerprint: "aaaa", fs: fs})
	if err != nil {
		return err
	}
	if err := continueLane(l, all); err != nil {
		return errors.Join(err, l.Close())
	}
	return l.Close()
}

func continueLane(l *Loader, all []*fhir.Batch) error {
	ctx := context.Background()
	cp, err := l.Resume(ctx, "lane")
	if err != nil {
		return err
	}
	for _, b := range all[cp.Row:] {
		err := l.Load(ctx, "lane", b, func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
			cp.Row++
			n := &cp.Account.Resources[fhir.Patient]
			for _, o := range outcomes {
				switch o {
				case pipeline.Created:
					n.Created++
				case pipeline.Updated:
					n.Updated++
				default:
					return cp, fmt.Errorf("outcome %d", o)
				}
			}
			return cp, nil
		})
		if err != nil {
			return err
		}
	}
	return l.Finish(ctx, &pipeline.Account{})
}

// TestFailEveryOperation fails the i-th operation on files, for all i, cuts the
// power, resumes, and wants the resources and the account of an undisturbed run.
func TestFailEveryOperation(t *testing.T) {
	all := lanes()
	result := func(fs vfs.FS) map[string]string {
		t.Helper()
		s, err := store.Open("db", store.Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		got := exported(t, s)
		st, err := s.Stats(t.Context())
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
		var sum Summary
		if err := json.Unmarshal(st.LastRun, &sum); err != nil {
			t.Fatal(err)
		}
		got["account"] = fmt.Sprintf("%v of %d lane, key %s, %d versions", sum.Account.Resources[fhir.Patient], sum.Lanes, st.IDKey, st.Types[fhir.Patient].Versions)
		return got
	}
	calm := vfs.NewMem()
	if err := runLane(calm, all); err != nil {
		t.Fatal(err)
	}
	want := result(calm)
	if len(want) != 9 || want["account"] != "{8 10 0 0 0 0 0} of 1 lane, key aaaa, 18 versions" {
		t.Fatalf("the undisturbed run gives %d resources, account %s", len(want)-1, want["account"])
	}
	for i := int32(0); ; i++ {
		disk := vfs.NewCrashableMem()
		counter := &errorfs.Counter{Injector: errorfs.OnIndex(i)}
		done := make(chan error, 1)
		go func() { done <- runLane(errorfs.Wrap(disk, counter), all) }()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			t.Fatalf("operation %d: the load hangs", i)
		}
		if counter.Load() == 0 {
			t.Logf("%d operations", i)
			break
		}
		left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 30, RNG: rand.New(rand.NewPCG(uint64(i), 0))})
		if err := runLane(left, all); err != nil {
			t.Fatalf("operation %d: resume: %v", i, err)
		}
		if got := result(left); !maps.Equal(want, got) {
			t.Fatalf("operation %d (-want +got):\n%s", i, cmp.Diff(want, got))
		}
	}
}

// OpenStream implements loadertest.StreamTarget.
func (x *target) OpenStream(t *testing.T) loadertest.Stream {
	t.Helper()
	return x.Open(t).(*Loader)
}

func TestStream(t *testing.T) {
	loadertest.RunStream(t, func(t *testing.T) loadertest.StreamTarget {
		return &target{filepath.Join(t.TempDir(), "store")}
	})
}
