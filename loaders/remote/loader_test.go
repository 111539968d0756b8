package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/store"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// bed is a server with a state folder.
type bed struct {
	*server
	state  string
	events Events
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{server: newServer(), state: t.TempDir()}
	b.settings.IfMatch = true
	return b
}

func (b *bed) options() *Options {
	return &Options{State: b.state, URL: "http://server/fhir", Run: "run", KeyFingerprint: "key", Server: b.server, Sender: b.server, Events: b.events}
}

func (b *bed) open(t *testing.T) *Loader {
	t.Helper()
	l, err := Open(t.Context(), b.options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func shut(t *testing.T, l *Loader) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// record is a resource of a test: a type and id, a source version, and a name; no name is a deletion.
func record(typ fhir.Type, id, version, name string) *fhir.Resource {
	r := &fhir.Resource{Type: typ, ID: id, SourceVersion: version, LastUpdated: "2024-05-06T07:08:09Z"}
	if name == "" {
		r.Deleted = true
		return r
	}
	r.JSON = fmt.Appendf(nil, `{"resourceType":"%s","id":"%s","meta":{"lastUpdated":"%s"},"name":%q}`, typ, id, r.LastUpdated, name)
	return r
}

func patient(id, version, name string) *fhir.Resource { return record(fhir.Patient, id, version, name) }

func batch(list ...*fhir.Resource) *fhir.Batch {
	b := &fhir.Batch{}
	for _, r := range list {
		b.Add(r)
	}
	return b
}

// result is what a load came to.
type result struct {
	outcomes []pipeline.Outcome
	rules    map[int]string
}

func load(ctx context.Context, l *Loader, lane string, row int64, b *fhir.Batch) (r result, err error) {
	err = l.Load(ctx, lane, b, func(outcomes []pipeline.Outcome, refusals pipeline.Refusals) (pipeline.Checkpoint, error) {
		r = result{outcomes: slices.Clone(outcomes)}
		for i, why := range refusals {
			if r.rules == nil {
				r.rules = map[int]string{}
			}
			r.rules[i] = why.Rule
		}
		return pipeline.Checkpoint{Row: row}, nil
	})
	return r, err
}

// wants loads a batch and wants these outcomes and so many writes on the server.
func (b *bed) wants(t *testing.T, l *Loader, batch *fhir.Batch, writes int, want ...pipeline.Outcome) result {
	t.Helper()
	before := b.writes
	got, err := load(t.Context(), l, "lane", 1, batch)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.outcomes); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if n := b.writes - before; n != writes {
		t.Errorf("%d writes, want %d", n, writes)
	}
	return got
}

const (
	created   = pipeline.Created
	updated   = pipeline.Updated
	unchanged = pipeline.Unchanged
	stale     = pipeline.Stale
	deleted   = pipeline.Deleted
	refused   = pipeline.Refused
)

func TestLoadTwice(t *testing.T) { // V43
	b := newBed(t)
	b.sloppy = true
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "x")), 2, created, created)
	sends := b.sends
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "2", "x")), 0, unchanged, unchanged)
	shut(t, l)
	l = b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "y"), patient("a", "2", "z")), 1, unchanged, stale, updated)
	if b.sends != sends+1 {
		t.Errorf("%d sends, want one", b.sends-sends)
	}
	if v := b.have["Patient/a"].version; v != 2 {
		t.Errorf("version %d, want 2", v)
	}
}

func TestIndexLost(t *testing.T) {
	b := newBed(t)
	b.sloppy = true
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "x"), patient("c", "1", "x")), 3, created, created, created)
	shut(t, l)
	before := b.contents(t)
	b.state = t.TempDir()
	adopted := 0
	b.events.Adopted = func(_ fhir.Type, n int) { adopted += n }
	l = b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "x")), 0, unchanged, unchanged)
	if diff := cmp.Diff(before, b.contents(t)); diff != "" {
		t.Errorf("the server after a load with a new index (-want +got):\n%s", diff)
	}
	b.wants(t, l, batch(patient("c", "1", "x"), patient("c", "2", "y"), patient("d", "1", "x")), 2, unchanged, updated, created)
	if adopted != 3 {
		t.Errorf("%d adopted, want 3", adopted)
	}
	reads := b.reads
	b.wants(t, l, batch(patient("a", "2", ""), patient("e", "1", "")), 1, deleted, unchanged)
	if b.reads != reads+2 { // of e, which the index does not know, and of a before it is deleted
		t.Errorf("%d reads, want 2", b.reads-reads)
	}
}

// TestWrongCount has a server that counts nothing, although it has something.
func TestWrongCount(t *testing.T) { // V39
	b := newBed(t)
	b.sloppy = true
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "x")), 2, created, created)
	shut(t, l)
	b.state = t.TempDir()
	b.counts = func(string) (int64, error) { return 0, nil }
	l = b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x")), 0, unchanged)
	b.wants(t, l, batch(patient("b", "1", "x")), 0, unchanged)
}

// TestNewServerIsNotAsked says that a server that has nothing is asked once.
func TestNewServerIsNotAsked(t *testing.T) {
	b := newBed(t)
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x")), 1, created)
	reads := b.reads
	b.wants(t, l, batch(patient("b", "1", "x"), patient("c", "1", "x")), 2, created, created)
	shut(t, l)
	b.wants(t, b.open(t), batch(patient("d", "1", "x")), 1, created)
	if b.reads != reads {
		t.Errorf("%d reads, want none", b.reads-reads)
	}
}

func TestOrderOfRecords(t *testing.T) { // V8
	b := newBed(t)
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("a", "3", "y"), patient("a", "2", "z"), patient("b", "1", "x"), patient("b", "2", "")),
		1, created, updated, stale, created, deleted)
	b.wants(t, l, batch(patient("a", "4", ""), patient("a", "5", "y"), patient("b", "1", "x")), 0, deleted, created, stale)
	b.wants(t, l, batch(patient("a", "6", ""), patient("c", "1", "")), 1, deleted, unchanged)
	b.wants(t, l, batch(patient("a", "7", ""), patient("a", "8", "y")), 1, unchanged, created)
	want := map[string]string{"Patient/a": `3 {"id":"a","meta":{"lastUpdated":"2024-05-06T07:08:09Z"},"name":"y","resourceType":"Patient"}`}
	if diff := cmp.Diff(want, b.contents(t)); diff != "" {
		t.Errorf("the server (-want +got):\n%s", diff)
	}
}

func TestRefused(t *testing.T) {
	b := newBed(t)
	b.bad["Patient/b"] = true
	l := b.open(t)
	list := batch(patient("a", "1", "x"), patient("b", "1", "x"), patient("b", "0", "x"), patient("c", "1", "x"))
	got := b.wants(t, l, list, 2, created, refused, stale, created)
	if diff := cmp.Diff(map[int]string{1: pipeline.RuleServerRefused}, got.rules); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
	if _, ok, err := l.Known(t.Context(), fhir.Patient, "b"); ok || err != nil {
		t.Errorf("the index knows what was refused: %v, %v", ok, err)
	}
	shut(t, l)
	l = b.open(t)
	b.wants(t, l, list, 0, unchanged, refused, stale, unchanged)
	b.bad = nil
	b.wants(t, l, list, 1, unchanged, created, stale, unchanged)
}

func TestConflictThatIsNobodysEdit(t *testing.T) { // V10
	b := newBed(t)
	b.settings.IfMatch = true
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x")), 1, created)
	b.taken = map[string]bool{"Patient/a": true, "Patient/b": true}
	got := b.wants(t, l, batch(patient("a", "2", "y"), patient("b", "1", "x"), patient("c", "1", "x")), 1, refused, refused, created)
	if diff := cmp.Diff(map[int]string{0: pipeline.RuleServerRefused, 1: pipeline.RuleServerRefused}, got.rules); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
	b.taken = nil
	b.wants(t, l, batch(patient("a", "2", "y"), patient("b", "1", "x")), 2, updated, created)
}

func TestSomebodyElsesEdit(t *testing.T) { // V10
	b := newBed(t)
	var changed []string
	b.events.Changed = func(_ fhir.Type, id string) { changed = append(changed, id) }
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "x"), patient("c", "1", "x")), 3, created, created, created)
	b.edit("Patient/a", `{"resourceType":"Patient","id":"a","name":"theirs"}`)
	b.edit("Patient/b", `{"resourceType":"Patient","id":"b","name":"x"}`) // a new version of the same
	b.edit("Patient/c", `{"resourceType":"Patient","id":"c","name":"z"}`) // what we are about to write
	got := b.wants(t, l, batch(patient("a", "2", "y"), patient("b", "2", "y"), patient("c", "2", "z")), 1, refused, updated, updated)
	if diff := cmp.Diff(map[int]string{0: pipeline.RuleServerChanged}, got.rules); diff != "" {
		t.Errorf("refusals (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a"}, changed); diff != "" {
		t.Errorf("edits (-want +got):\n%s", diff)
	}
	got = b.wants(t, l, batch(patient("a", "3", "")), 0, refused)
	if got.rules[0] != pipeline.RuleServerChanged {
		t.Errorf("refusals of a deletion: %v", got.rules)
	}
	shut(t, l)
	b.settings.Conflicts = "overwrite"
	l = b.open(t)
	b.wants(t, l, batch(patient("a", "2", "y")), 1, updated)
	b.wants(t, l, batch(patient("a", "2", "y")), 0, unchanged)
	if len(changed) != 3 {
		t.Errorf("%d edits, want 3", len(changed))
	}
}

func TestLostAnswer(t *testing.T) { // V17
	for _, reopen := range []bool{false, true} {
		t.Run(fmt.Sprint("reopen=", reopen), func(t *testing.T) {
			b := newBed(t)
			b.sloppy = true
			l := b.open(t)
			b.wants(t, l, batch(patient("u", "1", "x"), patient("d", "1", "x"), patient("n", "1", "x")), 3, created, created, created)
			settled := 0
			b.events.Settled = func(n int) { settled += n }
			list := batch(patient("new", "1", "x"), patient("u", "2", "y"), patient("d", "2", ""), patient("n", "2", "x"))
			want := []pipeline.Outcome{created, updated, deleted, unchanged}
			shut(t, l)
			l = b.open(t)
			b.after = func(int, []Entry) error { return errLost }
			if _, err := load(t.Context(), l, "lane", 2, list); !errors.Is(err, errLost) {
				t.Fatalf("Load returns %v", err)
			}
			b.after = nil
			before := b.contents(t)
			if reopen {
				shut(t, l)
				l = b.open(t)
			}
			if cp, err := l.Resume(t.Context(), "lane"); err != nil || cp.Row != 1 {
				t.Fatalf("Resume: row %d, %v", cp.Row, err)
			}
			b.wants(t, l, list, 0, want...)
			if settled != 3 {
				t.Errorf("%d settled, want 3", settled)
			}
			if diff := cmp.Diff(before, b.contents(t)); diff != "" {
				t.Errorf("the server (-want +got):\n%s", diff)
			}
			b.wants(t, l, list, 0, unchanged, unchanged, unchanged, unchanged)
		})
	}
}

// TestLostThenOther loads something else after a lost answer.
func TestLostThenOther(t *testing.T) {
	b := newBed(t)
	l := b.open(t)
	b.after = func(int, []Entry) error { return errLost }
	if _, err := load(t.Context(), l, "lane", 1, batch(patient("a", "1", "x"))); !errors.Is(err, errLost) {
		t.Fatalf("Load returns %v", err)
	}
	b.after = nil
	b.wants(t, l, batch(patient("a", "2", "y")), 1, created)
	if v := b.have["Patient/a"].version; v != 2 {
		t.Errorf("version %d, want 2", v)
	}
}

func TestSealFails(t *testing.T) {
	b := newBed(t)
	l := b.open(t)
	no := errors.New("no")
	for range 2 {
		err := l.Load(t.Context(), "lane", batch(patient("a", "1", "x")), func([]pipeline.Outcome, pipeline.Refusals) (pipeline.Checkpoint, error) {
			return pipeline.Checkpoint{}, no
		})
		if !errors.Is(err, no) {
			t.Fatalf("Load returns %v", err)
		}
	}
	b.wants(t, l, batch(patient("a", "1", "x")), 0, created)
}

func TestMark(t *testing.T) { // V41
	b := newBed(t)
	b.settings.Deletions = deletionsMark
	l := b.open(t)
	claim := func(id, version, name string) *fhir.Resource {
		r := record(fhir.ExplanationOfBenefit, id, version, name)
		if name != "" {
			r.JSON = fmt.Appendf(nil, `{"resourceType":"ExplanationOfBenefit","id":"%s","status":"active","type":%q}`, id, name)
		}
		return r
	}
	b.wants(t, l, batch(patient("a", "1", "x"), claim("e", "1", "x")), 2, created, created)
	b.wants(t, l, batch(patient("a", "2", ""), claim("e", "2", "")), 2, deleted, deleted)
	want := map[string]string{
		"Patient/a":              `2 {"active":false,"id":"a","name":"x","resourceType":"Patient"}`,
		"ExplanationOfBenefit/e": `2 {"id":"e","resourceType":"ExplanationOfBenefit","status":"entered-in-error","type":"x"}`,
	}
	if diff := cmp.Diff(want, b.contents(t)); diff != "" {
		t.Errorf("the server (-want +got):\n%s", diff)
	}
	b.wants(t, l, batch(patient("a", "3", ""), claim("e", "3", "")), 0, unchanged, unchanged)
	b.wants(t, l, batch(claim("e", "4", "y")), 1, created)
	shut(t, l)
	b.state = t.TempDir()
	l = b.open(t)
	b.wants(t, l, batch(patient("a", "3", ""), claim("e", "5", "")), 0, unchanged, refused)
	b.wants(t, l, batch(claim("e", "4", "y"), claim("e", "5", "")), 1, unchanged, deleted)
}

func TestDeleteWhatIsGone(t *testing.T) { // V41, V42
	b := newBed(t)
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "x"), patient("c", "1", "x")), 3, created, created, created)
	b.edit("Patient/c", `{"resourceType":"Patient","id":"c","name":"theirs"}`)
	b.settings.IfMatch = false // as with HAPI, where deletions have no version
	b.wants(t, l, batch(patient("c", "2", "")), 0, refused)
	b.have["Patient/a"].json = nil
	b.have["Patient/a"].version++
	b.wants(t, l, batch(patient("a", "2", "")), 0, deleted)
	b.wants(t, l, batch(patient("a", "3", "x"), patient("b", "2", "")), 2, created, deleted)
	b.wants(t, l, batch(patient("b", "2", "")), 0, unchanged)
}

func TestIndexBelongsToOneServer(t *testing.T) {
	b := newBed(t)
	l := b.open(t)
	if _, err := Open(t.Context(), b.options()); err == nil {
		t.Fatal("the index is opened twice")
	} else if _, ok := errors.AsType[*store.InUseError](err); !ok {
		t.Errorf("Open twice: %v", err)
	}
	shut(t, l)
	o := b.options()
	o.URL = "http://other/fhir"
	if _, err := Open(t.Context(), o); err == nil {
		t.Fatal("the index of another server is opened")
	} else if _, ok := errors.AsType[*ServerError](err); !ok {
		t.Errorf("Open of another server: %v", err)
	}
	o = b.options()
	o.KeyFingerprint = "other"
	if _, err := Open(t.Context(), o); err == nil {
		t.Fatal("the index of another key is opened")
	} else if _, ok := errors.AsType[*storeloader.KeyError](err); !ok {
		t.Errorf("Open with another key: %v", err)
	}
	o = b.options()
	o.URL += "/"
	l, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	shut(t, l)
	b.settings.IDs = idsOfServer
	if _, err := Open(t.Context(), b.options()); err == nil {
		t.Error("the index of other ids is opened")
	}
}

func TestLearn(t *testing.T) {
	b := newBed(t)
	b.sloppy = true
	l := b.open(t)
	list := batch(patient("a", "1", "x"), patient("b", "1", "x"), patient("c", "1", "x"))
	b.wants(t, l, list, 3, created, created, created)
	delete(b.have, "Patient/a")
	b.edit("Patient/b", `{"resourceType":"Patient","id":"b","name":"theirs"}`)
	b.wants(t, l, list, 0, unchanged, unchanged, unchanged)
	theirs, err := DigestOf(b.have["Patient/b"].json, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = l.Learn(t.Context(), []Finding{{Type: fhir.Patient, ID: "a"}, {Type: fhir.Patient, ID: "b", There: There{Digest: theirs, Version: "2"}}})
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	err = l.EachKnown(t.Context(), fhir.Patient, func(id string, there There) error {
		known = append(known, id+" "+there.Version)
		return nil
	})
	if diff := cmp.Diff([]string{"b 2", "c 1"}, known); diff != "" || err != nil {
		t.Errorf("known (-want +got):\n%s%v", diff, err)
	}
	b.wants(t, l, list, 2, created, updated, unchanged)
	b.wants(t, l, list, 0, unchanged, unchanged, unchanged)
}
