package ndjson

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// TestJournalStaysShort loads until the journal must have been replaced.
func TestJournalStaysShort(t *testing.T) {
	m := newMemory()
	l, err := open(m, "/t/out", options(""))
	if err != nil {
		t.Fatal(err)
	}
	longest := 0
	b := oneClaim("e1")
	for range 1500 {
		mustLoad(t, l, "claims-00", b)
		longest = max(longest, len(m.names[l.journalPath("claims-00")].data))
	}
	if longest < compactBytes/2 || longest > compactBytes+4096*16 {
		t.Errorf("the journal grew to %d bytes", longest)
	}
	before := l.lanes["claims-00"].committed
	l.Close()
	if l, err = open(m, "/t/out", options("")); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Resume(context.Background(), "claims-00"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, l.lanes["claims-00"].committed); diff != "" {
		t.Errorf("the journal read again (-want +got):\n%s", diff)
	}
}

func journalOf(t testing.TB, rows ...int64) []byte {
	t.Helper()
	var text []byte
	for _, row := range rows {
		r := record{Checkpoint: pipeline.Checkpoint{Row: row}, Closed: []partState{{Type: typeName(fhir.Patient), Seq: int(row)}}}
		var err error
		if text, err = appendRecord(text, &r); err != nil {
			t.Fatal(err)
		}
	}
	return text
}

func TestTornJournal(t *testing.T) {
	whole := journalOf(t, 1, 2)
	first := len(journalOf(t, 1))
	for cut := range len(whole) + 1 {
		r, err := foldJournal(slices.Clone(whole[:cut]))
		want := 0
		switch {
		case cut == len(whole):
			want = 2
		case cut >= first:
			want = 1
		}
		if err != nil || int(r.Checkpoint.Row) != want || len(r.Closed) != want {
			t.Fatalf("journal of %d bytes: row %d, %d parts, %v; want row %d", cut, r.Checkpoint.Row, len(r.Closed), err, want)
		}
	}
	whole[first/2]++
	if r, err := foldJournal(whole); err == nil {
		t.Errorf("a damaged record before a whole one goes unnoticed: row %d", r.Checkpoint.Row)
	}
}

func FuzzFoldJournal(f *testing.F) {
	f.Add(journalOf(f, 1, 2, 3))
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := foldJournal(data)
		if err != nil {
			return
		}
		// What was understood must survive being written as one record.
		text, err := appendRecord(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := foldJournal(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r.Checkpoint, again.Checkpoint); diff != "" {
			t.Errorf("written again (-want +got):\n%s", diff)
		}
	})
}
