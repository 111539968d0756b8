package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/fhir"
)

// coverageOf is a coverage of a patient with some content.
func coverageOf(id, patient, source, content string) *fhir.Resource {
	return &fhir.Resource{
		Type: fhir.Coverage, ID: id, LastUpdated: "2024-05-06T07:08:09Z", SourceVersion: source,
		JSON: fmt.Appendf(nil, `{"resourceType":"Coverage","id":"%s","subscriberId":"%s"}`, id, content),
		Keys: []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/" + patient}, {Param: fhir.ParamIdentifier, Value: "urn:coverages|" + content}},
	}
}

// load applies resources for a run.
func load(t testing.TB, s *Store, run string, resources ...*fhir.Resource) (outcomes []Outcome) {
	t.Helper()
	err := s.Apply(context.Background(), batchOf(resources...), func(got []Outcome) (Commit, error) {
		outcomes = append(outcomes, got...)
		return Commit{Origin: run}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// undoRun corrects what a run has made, as the command does, and returns how many have changed since.
func undoRun(s *Store, run string, gone ...string) (changed int, err error) {
	name := "rollback of " + run
	var list []Correction
	for c, err := range s.MadeBy(context.Background(), run, name, gone) {
		switch {
		case err != nil:
			return changed, err
		case c.Do == Forget:
			changed++
		default:
			list = append(list, c)
		}
	}
	for i := range list {
		if _, err := s.Correct(context.Background(), name, list[i:i+1]); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// state is everything that a reader finds: newest versions with their index entries, and what searches by
// identifier find.
func state(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	for _, typ := range allTypes {
		for e, err := range s.Search(context.Background(), &Query{Type: typ}) {
			if err != nil {
				t.Fatal(err)
			}
			source, err := s.SourceVersion(context.Background(), typ, e.ID)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s/%s %s %s %v %s\n", typ, e.ID, source, e.LastUpdated, e.Keys, e.JSON)
			for _, k := range e.Keys {
				if k.Param != fhir.ParamIdentifier {
					continue
				}
				q := Query{Type: typ, Filters: []Filter{identified(t, k.Value)}}
				if n, err := Count(context.Background(), s, &q); err != nil || n != 1 {
					t.Errorf("%d resources have an identifier of %s (%v)", n, e.ID, err)
				}
			}
		}
	}
	fmt.Fprintf(&b, "%d identifiers", indexed(t, s))
	return b.String()
}

func identified(t testing.TB, value string) Filter {
	t.Helper()
	f, err := ParseFilter("identifier", value)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestRollback proves that the versions of a run are followed by the ones before: content, index entries and
// source versions; that what has changed since stays; and that undoing twice, or undoing the undoing, works.
func TestRollback(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	load(t, s, "good", coverageOf("a", "p", "1", "a1"), coverageOf("b", "p", "1", "b1"), coverageOf("e", "p", "1", "e1"))
	load(t, s, "same", coverageOf("a", "p", "2", "a1")) // the content is the same, the source version is newer
	gone := fhir.Batch{}
	gone.Delete(fhir.Coverage, "e", "2024-06-01T00:00:00Z", "2")
	apply(t, s, &gone)
	before := state(t, s)
	load(t, s, "bad", coverageOf("a", "q", "3", "a2"), coverageOf("c", "q", "3", "c1"), coverageOf("e", "p", "3", "e2"))
	load(t, s, "bad", coverageOf("a", "q", "4", "a3"), coverageOf("d", "q", "4", "d1"))
	worst := state(t, s)
	if changed, err := undoRun(s, "bad"); err != nil || changed != 0 {
		t.Fatalf("%d have changed (%v)", changed, err)
	}
	if diff := cmp.Diff(before, state(t, s)); diff != "" {
		t.Errorf("after the rollback (-want +got):\n%s", diff)
	}
	for range 2 {
		if changed, err := undoRun(s, "bad"); err != nil || changed != 0 {
			t.Errorf("again: %d have changed (%v)", changed, err)
		}
	}
	if got := versionsOf(t, s, fhir.Coverage, "a"); len(got) != 4 {
		t.Errorf("a has the versions %v", got)
	}
	account, err := s.corrected(CorrectedSpace + "rollback of bad")
	if want := (Corrected{Deleted: 3, Replaced: 1}); err != nil || account["Coverage"] != want {
		t.Errorf("the account is %+v (%v)", account, err)
	}
	// The load can be repeated once it is mended, and what was undone can be had again.
	wantOutcomes(t, load(t, s, "mended", coverageOf("c", "p", "1", "c2")), Created)
	if changed, err := undoRun(s, "rollback of bad"); err != nil || changed != 1 {
		t.Errorf("undoing the rollback: %d have changed (%v)", changed, err)
	}
	wantOutcomes(t, load(t, s, "mended", coverageOf("c", "q", "3", "c1")), Updated)
	if diff := cmp.Diff(worst, state(t, s)); diff != "" {
		t.Errorf("after the rollback of the rollback (-want +got):\n%s", diff)
	}
	// What another run has changed since is its own.
	load(t, s, "good", coverageOf("d", "p", "9", "d9"))
	if changed, err := undoRun(s, "bad"); err != nil || changed != 2 {
		t.Errorf("%d have changed since (%v)", changed, err)
	}
}

// TestRemove proves that a resource that was deleted by hand is gone for readers, and that a load brings it
// back unless it is kept out.
func TestRemove(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := context.Background()
	a := coverageOf("a", "p", "7", "a1")
	load(t, s, "r", a, coverageOf("b", "p", "1", "b1"))
	for i, want := range []Outcome{Deleted, Unchanged} {
		got, err := s.Correct(ctx, "delete", []Correction{{Type: fhir.Coverage, ID: "a"}, {Type: fhir.Coverage, ID: "none"}})
		if err != nil || got[0] != want || got[1] != Unchanged {
			t.Errorf("%d: %v (%v)", i, got, err)
		}
	}
	if err := s.KeepOut(ctx, []string{"Coverage/a"}, true); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, load(t, s, "r", a, coverageOf("b", "p", "2", "b2")), Stale, Updated)
	if err := s.KeepOut(ctx, []string{"Coverage/a"}, false); err != nil {
		t.Fatal(err)
	}
	wantOutcomes(t, load(t, s, "r", a), Created)
	for _, bad := range []string{"Coverage", "Coverage/", "x/y", "Coverage/a\x00"} {
		if s.KeepOut(ctx, []string{bad}, true) == nil {
			t.Errorf("%q can be kept out", bad)
		}
	}
}

// erasePatient erases a compartment, as the command does.
func erasePatient(t testing.TB, s *Store, patient string) {
	t.Helper()
	var list []Correction
	for c, err := range s.Compartment(context.Background(), patient) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	if _, err := s.Correct(context.Background(), "purge", list); err != nil {
		t.Fatal(err)
	}
}

// TestErase proves that no file of the store has anything of a patient who was erased: not what is there
// now, not earlier versions, not what was deleted, and not what is another patient's by now. What is left
// is a tombstone; what is kept out does not come back.
func TestErase(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{Memory: 8 << 20})
	ctx := context.Background()
	secret := func(n int) string { return fmt.Sprintf("secret%d", n) + rand.Text() }
	secrets := map[string]bool{}
	hide := func(n int) string { x := secret(n); secrets[x] = true; return x }
	person := func(id, content string) *fhir.Resource {
		return &fhir.Resource{Type: fhir.Patient, ID: id, LastUpdated: "2024-05-06T07:08:09Z", SourceVersion: "1",
			JSON: fmt.Appendf(nil, `{"resourceType":"Patient","id":"%s","name":[{"family":"%s"}]}`, id, content),
			Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: "urn:members|" + content}}}
	}
	load(t, s, "r", person("p", hide(0)), person("q", secret(0)), coverageOf("now", "p", "1", hide(1)), coverageOf("deleted", "p", "1", hide(2)), coverageOf("moved", "p", "1", hide(3)))
	for i := range 2200 { // enough for dictionaries, flushes and files of bodies
		patient := fmt.Sprint("x", i%50)
		content := secret(i)
		if i%50 == 7 {
			patient, content = "p", hide(i)
		}
		load(t, s, "r", coverageOf(fmt.Sprint("c", i), patient, "1", content+rand.Text()+strings.Repeat(" is long", 80)))
	}
	if s.codec.types[fhir.Coverage].dict.Load() == nil {
		t.Fatal("there is no dictionary")
	}
	load(t, s, "r", coverageOf("now", "p", "2", hide(4)), coverageOf("moved", "q", "2", secret(5)))
	gone := fhir.Batch{}
	gone.Delete(fhir.Coverage, "deleted", "2024-06-01T00:00:00Z", "2")
	apply(t, s, &gone)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if found := inFiles(t, dir, secrets); len(found) == 0 {
		t.Fatal("the test finds nothing in the files")
	}
	if err := s.KeepOut(ctx, []string{"Patient/p"}, true); err != nil {
		t.Fatal(err)
	}
	erasePatient(t, s, "p")
	if err := s.Scrub(ctx); err != nil {
		t.Fatal(err)
	}
	for x, file := range inFiles(t, dir, secrets) {
		t.Errorf("%s is in %s", x, file)
	}
	for _, id := range []string{"now", "deleted"} {
		e, err := s.Get(ctx, fhir.Coverage, id)
		if err != nil || !e.Deleted {
			t.Errorf("%s: %+v (%v)", id, e, err)
		}
		if got := versionsOf(t, s, fhir.Coverage, id); len(got) != 1 {
			t.Errorf("%s has the versions %v", id, got)
		}
	}
	if got := versionsOf(t, s, fhir.Coverage, "moved"); len(got) != 1 || !strings.HasPrefix(got[0], "2 ") {
		t.Errorf("what was moved has the versions %v", got)
	}
	if n, err := Count(ctx, s, &Query{Type: fhir.Coverage, Patients: []string{"p"}}); err != nil || n != 0 {
		t.Errorf("%d coverages are left (%v)", n, err)
	}
	wantOutcomes(t, load(t, s, "r", coverageOf("new", "p", "9", "x"), coverageOf("moved", "q", "3", "y"), coverageOf("now", "q", "9", "z")), Stale, Updated, Created)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	wantOutcomes(t, load(t, s, "r", coverageOf("new", "p", "9", "x")), Stale)
	for range s.Compartment(ctx, "p") {
		t.Error("there is more to erase")
	}
}

// inFiles returns the texts that files of a folder have, with the name of one.
func inFiles(t testing.TB, dir string, texts map[string]bool) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for x := range texts {
			if bytes.Contains(content, []byte(x)) {
				found[x] = e.Name()
			}
		}
	}
	return found
}

// TestCorrectFaults fails each operation of the disk in turn during a rollback and a purge: after the next
// start they can be completed, and the account counts each once.
func TestCorrectFaults(t *testing.T) {
	want, step := "", int32(1)
	if testing.Short() {
		step = 5
	}
	for n := int32(0); ; n += step {
		disk := vfs.NewCrashableMem()
		s := open(t, "store", Options{FS: disk})
		load(t, s, "good", coverageOf("a", "p", "1", "a1"), coverageOf("b", "q", "1", "b1"))
		load(t, s, "bad", coverageOf("a", "p", "2", "a2"), coverageOf("c", "p", "2", "c2"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		correct := func(fs vfs.FS) error {
			s, err := Open("store", Options{FS: fs})
			if err != nil {
				return err
			}
			defer func() { _ = s.Close() }() // fails if the disk has
			if _, err := undoRun(s, "bad"); err != nil {
				return err
			}
			for c, err := range s.Compartment(context.Background(), "q") {
				if err == nil {
					_, err = s.Correct(context.Background(), "purge", []Correction{c})
				}
				if err != nil {
					return err
				}
			}
			return s.Scrub(context.Background())
		}
		counter := &errorfs.Counter{Injector: errorfs.OnIndex(n)}
		done := make(chan error, 1)
		go func() { done <- correct(errorfs.Wrap(disk, counter)) }()
		select {
		case err := <-done:
			if err == nil && counter.Load() == 0 {
				t.Logf("%d operations", n)
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("operation %d: it hangs", n)
		}
		disk = disk.CrashClone(vfs.CrashCloneCfg{})
		if err := correct(disk); err != nil {
			t.Fatalf("after a failure of operation %d: %v", n, err)
		}
		s = open(t, "store", Options{FS: disk})
		got := state(t, s)
		for _, name := range []string{"rollback of bad", "purge"} {
			account, err := s.corrected(CorrectedSpace + name)
			got += fmt.Sprint("\n", account, err)
		}
		if want == "" {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("after a failure of operation %d (-want +got):\n%s", n, diff)
		}
	}
}

// TestRollbackKeepsWhatOthersNeed proves that a rollback leaves no reference to what it has deleted.
func TestRollbackKeepsWhatOthersNeed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	person := func(id string) *fhir.Resource {
		return &fhir.Resource{Type: fhir.Patient, ID: id, JSON: []byte(`{"resourceType":"Patient","id":"` + id + `"}`)}
	}
	claim := func(id, patient, coverage string) *fhir.Resource {
		return &fhir.Resource{Type: fhir.ExplanationOfBenefit, ID: id, JSON: []byte(`{"resourceType":"ExplanationOfBenefit","id":"` + id + `"}`),
			Keys: []fhir.Key{{Param: fhir.ParamPatient, Value: "Patient/" + patient}, {Param: fhir.ParamCoverage, Value: "Coverage/" + coverage}}}
	}
	load(t, s, "bad", organization("o", "x"), person("p"), person("q"), coverageOf("c1", "p", "1", "1"), coverageOf("c2", "p", "1", "2"), coverageOf("c3", "q", "1", "3"), claim("e1", "p", "c2"), claim("e3", "q", "c3"))
	load(t, s, "good", claim("e2", "p", "c1"))
	if _, err := undoRun(s, "bad"); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, typ := range allTypes {
		for e, err := range s.Search(context.Background(), &Query{Type: typ}) {
			if err != nil {
				t.Fatal(err)
			}
			left = append(left, e.ID)
		}
	}
	if got := fmt.Sprint(left); got != "[o p c1 e2]" {
		t.Errorf("left are %s", got)
	}
}

// TestRollbacksOfOneResource undoes two bad loads that have changed the same resource, in both orders: neither
// brings back what the other was undone for.
func TestRollbacksOfOneResource(t *testing.T) {
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		for _, first := range []string{"", "good"} {
			s := open(t, t.TempDir(), Options{})
			if first != "" {
				load(t, s, first, coverageOf("c", "p", "1", "good"))
			}
			before := state(t, s)
			load(t, s, "a", coverageOf("c", "p", "2", "bad a"))
			load(t, s, "b", coverageOf("c", "p", "3", "bad b"))
			var gone []string
			for _, run := range order {
				gone = append(gone, run)
				if _, err := undoRun(s, run, gone...); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(before, state(t, s)); diff != "" {
				t.Errorf("%v, first %q (-want +got):\n%s", order, first, diff)
			}
		}
	}
}

// TestEraseTwice erases a patient whose resource was changed and deleted: each version counts once.
func TestEraseTwice(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	load(t, s, "r", coverageOf("c", "p", "1", "1"))
	load(t, s, "r", coverageOf("c", "p", "2", "2"))
	load(t, s, "r", coverageOf("other", "q", "1", "3"))
	load(t, s, "r", coverageOf("other", "p", "2", "4"))
	load(t, s, "r", coverageOf("other", "q", "3", "5"))
	var gone fhir.Batch
	gone.Delete(fhir.Coverage, "c", "2024-06-01T00:00:00Z", "3")
	gone.Delete(fhir.Coverage, "other", "2024-06-01T00:00:00Z", "4")
	apply(t, s, &gone)
	for range 2 {
		erasePatient(t, s, "p")
	}
	account, err := s.corrected(CorrectedSpace + "purge")
	if err != nil || account["Coverage"].Erased != 3 {
		t.Errorf("%+v (%v)", account, err)
	}
	if got := versionsOf(t, s, fhir.Coverage, "other"); len(got) != 3 { // 1 and 3 are of another
		t.Errorf("versions %v", got)
	}
	st, err := s.Stats(context.Background())
	if err != nil || st.Types[fhir.Coverage].Versions != 4 {
		t.Errorf("%+v (%v)", st.Types[fhir.Coverage], err)
	}
}

// TestKeepOutBesideWrites keeps resources out while batches with many records are written: neither waits for the
// other for ever.
func TestKeepOutBesideWrites(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	done := make(chan error, 2)
	go func() {
		for i := range 30 {
			c := Commit{}
			for j := range 5000 {
				c.Put = append(c.Put, MetaRecord{fmt.Sprint("record/", j), []byte{byte(i)}})
			}
			if err := s.Apply(context.Background(), batchOf(organization(fmt.Sprint("o", i), "x")), func([]Outcome) (Commit, error) { return c, nil }); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	go func() {
		for i := range 30 {
			if err := s.KeepOut(context.Background(), []string{"Patient/p"}, i%2 == 0); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 2 {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute):
			t.Fatal("they wait for each other")
		}
	}
}
