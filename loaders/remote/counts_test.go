package remote

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

func init() { countAgain = []time.Duration{time.Millisecond} }

// TestUnknownAge loads with a new index into a server that has something newer, and something that others have
// changed: nothing is overwritten until the operator has decided.
func TestUnknownAge(t *testing.T) {
	for _, ids := range []string{"client", idsOfServer} {
		t.Run(ids, func(t *testing.T) {
			b := newBed(t)
			b.settings.IDs, b.sloppy = ids, true
			changed := 0
			b.events.Changed = func(fhir.Type, string) { changed++ }
			l := b.open(t)
			b.wants(t, l, batch(patient("a", "2", "new"), patient("b", "2", "new"), patient("c", "2", "new")), 3, created, created, created)
			shut(t, l)
			before := b.contents(t)
			b.state = t.TempDir()
			l = b.open(t)
			old := batch(patient("a", "1", "old"), patient("b", "3", ""), patient("c", "2", "new"), patient("d", "1", "old"))
			for _, first := range []bool{true, false} {
				writes, d := 1, created
				if !first {
					writes, d = 0, unchanged
					shut(t, l)
					l = b.open(t)
				}
				got := b.wants(t, l, old, writes, refused, refused, unchanged, d)
				if diff := cmp.Diff(map[int]string{0: pipeline.RuleServerChanged, 1: pipeline.RuleServerChanged}, got.rules); diff != "" {
					t.Errorf("refusals (-want +got):\n%s", diff)
				}
			}
			now := b.contents(t)
			for name, text := range before {
				if now[name] != text {
					t.Errorf("%s was written", name)
				}
			}
			if changed != 4 {
				t.Errorf("%d changes told, want 4", changed)
			}
			// What a record of the batch is equal to is as old as that record.
			b.wants(t, l, batch(patient("a", "2", "new"), patient("a", "3", "newer"), patient("c", "3", "newer")), 2, unchanged, updated, updated)
			b.wants(t, l, batch(patient("a", "1", "old")), 0, stale)
			// The operator says that everything is ours, and old.
			if err := l.Complete(t.Context(), fhir.Patient); err != nil {
				t.Fatal(err)
			}
			b.wants(t, l, batch(patient("b", "1", "old")), 1, updated)
		})
	}
}

func TestUnknownAgeIsOverwritten(t *testing.T) {
	b := newBed(t)
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "2", "new"), patient("b", "2", "new")), 2, created, created)
	shut(t, l)
	b.state, b.settings.Conflicts = t.TempDir(), "overwrite"
	l = b.open(t)
	b.wants(t, l, batch(patient("a", "1", "old"), patient("b", "3", "")), 2, updated, deleted)
	b.wants(t, l, batch(patient("a", "2", "x")), 1, updated)
}

// TestOthersLoadToo has another loader between two of ours: the server has more than the index knows then.
func TestOthersLoadToo(t *testing.T) {
	b := newBed(t)
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x")), 1, created)
	if ok, err := l.Learned(fhir.Patient); !ok || err != nil {
		t.Errorf("Learned of an empty server: %v, %v", ok, err)
	}
	shut(t, l)
	b.edit("Patient/b", `{"resourceType":"Patient","id":"b","name":"theirs"}`)
	b.edit("Patient/c", `{"resourceType":"Patient","id":"c","name":"x"}`)
	l = b.open(t)
	b.wants(t, l, batch(patient("b", "1", "x"), patient("c", "1", "x"), patient("d", "1", "x")), 1, refused, unchanged, created)
	if ok, err := l.Learned(fhir.Patient); ok || err != nil {
		t.Errorf("Learned after others have loaded: %v, %v", ok, err)
	}
	if err := l.Complete(t.Context(), fhir.Patient); err != nil {
		t.Fatal(err)
	}
	if ok, err := l.Learned(fhir.Patient); !ok || err != nil {
		t.Errorf("Learned after Complete: %v, %v", ok, err)
	}
	shut(t, l)
	reads := b.reads
	l = b.open(t)
	b.wants(t, l, batch(patient("b", "1", "x"), patient("e", "1", "x")), 2, updated, created)
	if b.reads != reads {
		t.Errorf("%d reads although the server counts what the index knows", b.reads-reads)
	}
}

// TestServerWasEmptied loses resources of the server behind the back of the index.
func TestServerWasEmptied(t *testing.T) {
	b := newBed(t)
	fewer := map[string][2]int64{}
	b.events.Fewer = func(typ fhir.Type, there, known int64) { fewer[typ.String()] = [2]int64{there, known} }
	l := b.open(t)
	list := batch(patient("a", "1", "x"), patient("b", "1", "x"), record(fhir.Organization, "o", "1", "x"))
	b.wants(t, l, list, 3, created, created, created)
	b.wants(t, l, batch(patient("gone", "1", "x"), patient("gone", "2", "")), 0, created, deleted)
	shut(t, l)
	l = b.open(t)
	if len(fewer) > 0 {
		t.Errorf("fewer %v of a server that has everything", fewer)
	}
	shut(t, l)
	clear(b.have)

	l = b.open(t)
	if diff := cmp.Diff(map[string][2]int64{"Patient": {0, 2}, "Organization": {0, 1}}, fewer); diff != "" {
		t.Errorf("fewer (-want +got):\n%s", diff)
	}
	b.bad["Patient/b"] = true
	b.wants(t, l, list, 2, updated, refused, updated)
	if _, ok, err := l.Known(t.Context(), fhir.Patient, "b"); !ok || err != nil {
		t.Errorf("what is lost, and was refused, is not missed any longer: %v, %v", ok, err)
	}
	delete(b.bad, "Patient/b")
	b.before = func(int, []Entry) error { return errLost }
	if _, err := load(t.Context(), l, "lane", 1, list); !errors.Is(err, errLost) {
		t.Fatalf("Load: %v", err)
	}
	b.before, b.after = nil, func(int, []Entry) error { return errLost }
	if _, err := load(t.Context(), l, "lane", 1, list); !errors.Is(err, errLost) {
		t.Fatalf("Load: %v", err)
	}
	b.after = nil
	shut(t, l)
	clear(fewer)
	l = b.open(t)
	b.wants(t, l, list, 0, unchanged, updated, unchanged)
	reads := b.reads
	b.wants(t, l, list, 0, unchanged, unchanged, unchanged)
	if b.reads != reads {
		t.Errorf("%d reads of what has been written again", b.reads-reads)
	}
	if len(fewer) > 0 {
		t.Errorf("fewer %v after everything was loaded again", fewer)
	}
}

// TestServerWasRestored has a server with an older copy of itself.
func TestServerWasRestored(t *testing.T) {
	b := newBed(t)
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x"), patient("b", "1", "x"), patient("c", "1", "x"), patient("d", "1", "x")), 4, created, created, created, created)
	old := *b.have["Patient/b"]
	b.wants(t, l, batch(patient("b", "2", "y")), 1, updated)
	shut(t, l)
	delete(b.have, "Patient/a")
	delete(b.have, "Patient/d")
	b.have["Patient/b"] = &old
	l = b.open(t)
	list := batch(patient("a", "1", "x"), patient("b", "2", "y"), patient("c", "1", "x"), patient("d", "2", ""))
	got := b.wants(t, l, list, 1, updated, refused, unchanged, deleted)
	if got.rules[1] != pipeline.RuleServerChanged {
		t.Errorf("refusals: %v", got.rules)
	}
	reads := b.reads
	b.wants(t, l, list, 0, unchanged, refused, unchanged, unchanged)
	if b.reads != reads+1 {
		t.Errorf("%d reads, want that of what is still in doubt", b.reads-reads)
	}
	b.wants(t, l, batch(patient("b", "1", "x")), 0, stale)
}

// TestCountIsBehind has a server whose count needs a moment.
func TestCountIsBehind(t *testing.T) {
	b := newBed(t)
	b.events.Fewer = func(typ fhir.Type, there, known int64) { t.Errorf("%d %s instead of %d", there, typ, known) }
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x")), 1, created)
	shut(t, l)
	asked := 0
	b.counts = func(typ string) (int64, error) {
		if typ != "Patient" {
			return 0, nil
		}
		asked++
		return int64(min(1, asked-1)), nil
	}
	b.wants(t, b.open(t), batch(patient("a", "1", "x")), 0, unchanged)
}

// TestDeletedAtOnce creates and deletes in one batch what others have put there meanwhile.
func TestDeletedAtOnce(t *testing.T) {
	b := newBed(t)
	b.settings.Deletions = deletionsMark
	l := b.open(t)
	b.wants(t, l, batch(patient("a", "1", "x")), 1, created)
	b.edit("Patient/b", `{"resourceType":"Patient","id":"b","name":"theirs"}`)
	got := b.wants(t, l, batch(patient("b", "1", "x"), patient("b", "2", "")), 0, refused, refused)
	if got.rules[1] != pipeline.RuleServerChanged {
		t.Errorf("refusals: %v", got.rules)
	}
}
