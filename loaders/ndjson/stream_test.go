package ndjson

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// step is one resource of a script: its version, "" to delete it.
type step struct {
	typ         fhir.Type
	id, version string
}

// streamScript is what two lanes load, one batch after the other in turns: new resources, new versions
// of what either lane has loaded, deletions, and what comes again after them.
func streamScript() (batches [][]step) {
	const eob, org = fhir.ExplanationOfBenefit, fhir.Organization
	return [][]step{
		{{eob, "a", "1"}, {org, "o", "1"}, {eob, "b", "1"}},
		{{eob, "c", "1"}, {org, "o", "1"}},
		{{eob, "a", "2"}, {eob, "b", ""}, {eob, "d", "1"}},
		{{eob, "b", "2"}, {org, "p", "1"}},
		{{org, "o", ""}, {eob, "c", ""}, {eob, "c", "2"}, {eob, "c", ""}},
		{{org, "o", "3"}, {eob, "never", ""}},
		{},
		{{eob, "c", "4"}, {eob, "a", "1"}, {eob, "e", "1"}},
		{{eob, "e", ""}, {eob, "d", "2"}},
		{{eob, "f", "1"}, {eob, "f", "2"}},
	}
}

func batchOf(steps []step) *fhir.Batch {
	b := &fhir.Batch{}
	for i, s := range steps {
		if s.version == "" {
			before := ""
			for _, x := range steps[:i] {
				if x.id == s.id {
					before = x.version
				}
			}
			b.Delete(s.typ, s.id, "", max(before, "2"))
			continue
		}
		text := fmt.Sprintf(`{"resourceType":%q,"id":%q,"version":%q,"text":"%s"}`, s.typ, s.id, s.version, strings.Repeat("ä", 60))
		b.Add(&fhir.Resource{Type: s.typ, ID: s.id, SourceVersion: s.version, JSON: []byte(text)})
	}
	return b
}

// wanted is what the script leaves.
var wanted = map[string]string{
	"ExplanationOfBenefit/a": "2", "ExplanationOfBenefit/b": "2", "ExplanationOfBenefit/c": "4", "ExplanationOfBenefit/d": "2",
	"ExplanationOfBenefit/f": "2", "Organization/o": "3", "Organization/p": "1",
}

// playStream runs the script through a fault. Each batch goes to one of two lanes, whose positions say
// how far they are.
func playStream(t *testing.T, m *memory, o StreamOptions, f fault) {
	t.Helper()
	ctx := context.Background()
	ledgerDir := t.TempDir()
	m.failFrom, m.failTo, m.killAt, m.effect = f.from, f.to, f.killAt, f.effect
	acked := 0
	for attempt := range 30 {
		if attempt == 29 {
			t.Fatal("the stream does not end")
		}
		ledger, err := storeloader.Open(ledgerDir, storeloader.Options{Run: "stream"})
		if err != nil {
			t.Fatal(err)
		}
		s, err := openStream(ctx, m, "/t/out", ledger, o)
		done := false
		if err == nil {
			done = playLanes(t, m, s, &acked)
			if err = s.Close(); done && err != nil {
				done = false
			}
		}
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err := ledger.Close(); err != nil {
			t.Fatal(err)
		}
		if done {
			return
		}
		if m.killed() {
			m.crash(f.lose, f.left)
		}
		m.locked = false
	}
}

// playLanes reports whether the script has come to its end.
func playLanes(t *testing.T, m *memory, s *Stream, acked *int) bool {
	t.Helper()
	ctx := context.Background()
	script := streamScript()
	var lanes [2]pipeline.StreamLane
	take := func(i int) int {
		l, at, err := s.Take(ctx, fmt.Sprint("lane/", i))
		if err != nil {
			t.Fatal(err)
		}
		lanes[i] = l
		return int(at.Next)
	}
	next := max(take(0), take(1))
	if next < *acked || next > *acked+1 {
		t.Fatalf("the lanes go on at %d, Load returned nil up to %d", next, *acked)
	}
	for failures := 0; next < len(script); {
		at := pipeline.Position{Next: int64(next + 1)}
		err := lanes[next%2].Load(ctx, batchOf(script[next]), func([]pipeline.Outcome, pipeline.Refusals) (pipeline.StreamCommit, error) {
			return pipeline.StreamCommit{Position: at, Put: []pipeline.Record{{Name: fmt.Sprint("made/", next), Value: []byte{1}}}}, nil
		})
		if err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			if failures++; m.killed() || failures > 20 {
				return false
			}
			if got := max(take(0), take(1)); got != next { // the ledger did not fail
				t.Fatalf("a batch that failed is durable: %d, not %d", got, next)
			}
			continue
		}
		next++
		*acked = next
	}
	return true
}

// foldFiles reads a folder as a consumer does: parts by number, the last line of an id counts.
func foldFiles(t *testing.T, m *memory) map[string]string {
	t.Helper()
	files := m.dump("/t/out")
	var names []string
	for name := range files {
		if strings.HasSuffix(name, ".ndjson") {
			names = append(names, name)
		} else if !strings.HasSuffix(name, "manifest.json") {
			t.Errorf("%s was left", name)
		}
	}
	number := func(name string) string { return name[strings.LastIndexByte(name, '-')+1:] }
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(number(a), number(b)) })
	got := map[string]string{}
	for i, name := range names {
		if i > 0 && number(name) == number(names[i-1]) {
			t.Errorf("two parts have number %s", number(name))
		}
		for line := range bytes.Lines([]byte(files[name])) {
			var x struct {
				ResourceType, ID, Version string
				Entry                     []struct{ Request struct{ Method, URL string } }
			}
			if err := json.Unmarshal(line, &x); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if x.ResourceType == "Bundle" {
				if _, ok := got[x.Entry[0].Request.URL]; !ok {
					t.Errorf("%s deletes %s, which is not there", name, x.Entry[0].Request.URL)
				}
				delete(got, x.Entry[0].Request.URL)
				continue
			}
			got[x.ResourceType+"/"+x.ID] = x.Version
		}
	}
	var list struct {
		Output, Deleted []struct {
			URL   string
			Count int
		}
	}
	if err := json.Unmarshal([]byte(files["manifest.json"]), &list); err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, o := range append(list.Output, list.Deleted...) {
		listed = append(listed, o.URL)
		if n := strings.Count(files[o.URL], "\n"); n != o.Count {
			t.Errorf("the manifest says that %s has %d lines; it has %d", o.URL, o.Count, n)
		}
	}
	slices.Sort(listed)
	slices.Sort(names)
	if diff := cmp.Diff(names, listed); diff != "" {
		t.Errorf("parts and manifest differ:\n%s", diff)
	}
	return got
}

// TestStreamFaults fails every operation of the file system once, or ends the process or the machine at
// it: the folder is then that of an undisturbed stream for whoever reads it.
func TestStreamFaults(t *testing.T) {
	o := StreamOptions{KeyFingerprint: "key-1", State: "/t/state", RollBytes: 700}
	undisturbed := newMemory()
	playStream(t, undisturbed, o, fault{})
	if diff := cmp.Diff(wanted, foldFiles(t, undisturbed)); diff != "" {
		t.Fatal(diff)
	}
	operations, every := undisturbed.ops, 2
	if testing.Short() {
		every = 29
	}
	var wait sync.WaitGroup
	slots := make(chan struct{}, 4) // most of the time is waiting for the disk
	for i := 1; i <= operations; i += every {
		for name, f := range map[string]fault{
			"try again":       {from: i, to: i + 1},
			"after success":   {from: i, to: i + 1, effect: true},
			"disk full":       {from: i, to: i + 8},
			"kill":            {killAt: i, left: 1},
			"power loss":      {killAt: i, lose: true},
			"torn data":       {killAt: i, left: 0.5},
			"kill afterwards": {killAt: i, left: 1, effect: true},
		} {
			slots <- struct{}{}
			wait.Go(func() {
				defer func() { <-slots }()
				t.Run(fmt.Sprint(name, "/", i), func(t *testing.T) {
					m := newMemory()
					playStream(t, m, o, f)
					m.failTo, m.killAt = 0, 0
					if diff := cmp.Diff(wanted, foldFiles(t, m)); diff != "" {
						t.Error(diff)
					}
				})
			})
		}
	}
	wait.Wait()
	t.Logf("%d operations", operations)
}

// TestStreamGuards proves that of two lanes that are made from the same record, and whose batches are
// committed together, one must be made again; that an owner from before can write nothing; and that
// only one process has a folder.
func TestStreamGuards(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	ledger, err := storeloader.Open(filepath.Join(dir+".state", "ledger"), storeloader.Options{Run: "stream"})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Close()
	s, err := OpenStream(t.Context(), dir, ledger, StreamOptions{Roll: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStream(t.Context(), dir, ledger, StreamOptions{}); !errors.Is(err, ErrLocked) {
		t.Errorf("the folder is open: %v", err)
	}
	old, _, err := s.Take(t.Context(), "lane")
	if err != nil {
		t.Fatal(err)
	}
	const lanes = 24
	var wait sync.WaitGroup
	var mu sync.Mutex
	again := 0
	for i := range lanes {
		wait.Go(func() {
			l, _, err := s.Take(t.Context(), fmt.Sprint("lane/", i))
			for n := 0; err == nil; n++ {
				var was [][]byte
				if was, err = s.Recall(t.Context(), []string{"counter"}); err != nil {
					break
				}
				value := append(slices.Clone(was[0]), byte(i))
				err = l.Load(t.Context(), batchOf([]step{{fhir.ExplanationOfBenefit, fmt.Sprint("e", i), "1"}}), func([]pipeline.Outcome, pipeline.Refusals) (pipeline.StreamCommit, error) {
					return pipeline.StreamCommit{Put: []pipeline.Record{{Name: "counter", Value: value}}, Guards: []pipeline.Record{{Name: "counter", Value: was[0]}}}, nil
				})
				if !errors.Is(err, pipeline.ErrChanged) {
					break
				}
				mu.Lock()
				again++
				mu.Unlock()
				err = nil
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	values, err := s.Recall(t.Context(), []string{"counter"})
	if err != nil || len(values[0]) != lanes {
		t.Errorf("%d of %d changes of a record are left (%v)", len(values[0]), lanes, err)
	}
	if again == 0 {
		t.Error("no two lanes met")
	}
	if _, _, err := s.Take(t.Context(), "lane"); err != nil {
		t.Fatal(err)
	}
	err = old.Load(t.Context(), batchOf([]step{{fhir.ExplanationOfBenefit, "late", "1"}}), func([]pipeline.Outcome, pipeline.Refusals) (pipeline.StreamCommit, error) {
		return pipeline.StreamCommit{}, nil
	})
	if !errors.Is(err, pipeline.ErrFenced) {
		t.Errorf("an owner from before has written: %v", err)
	}
	time.Sleep(60 * time.Millisecond) // the parts are complete by their age
	parts, err := filepath.Glob(filepath.Join(dir, "ExplanationOfBenefit", "part-*"))
	if err != nil || len(parts) == 0 {
		t.Errorf("no part is complete although it is old enough (%v)", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
