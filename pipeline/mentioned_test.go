package pipeline

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

// TestMentionsTakeLittleMemory puts 200,000 people together that claims name, as five
// million claims do: they must not all be in memory.
func TestMentionsTakeLittleMemory(t *testing.T) {
	const people = 200_000
	r := &Run{ID: "run", State: t.TempDir()}
	if err := os.MkdirAll(r.mentionsDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(r.spillDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	id := fhir.NewIdentity([]byte("a key for tests only"))
	f, err := os.Create(filepath.Join(r.mentionsDir(), "lane.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	e := json.NewEncoder(w)
	for i := range people {
		m := mention{Kind: mentionRelated, ID: id.ID(fhir.RelatedPerson, fmt.Sprint(i)), Key: fmt.Sprint(i), Name: fmt.Sprint("Name ", i),
			Patient: "Patient/" + id.ID(fhir.Patient, fmt.Sprint(i))}
		if err := e.Encode(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before, most, n, last := heap(), uint64(0), 0, ""
	err = r.mentioned(func(m *mention) error {
		if n++; m.ID <= last {
			t.Fatalf("%s comes after %s", m.ID, last)
		}
		if last = m.ID; n%20_000 == 1 {
			most = max(most, heap())
		}
		return nil
	})
	if err != nil || n != people {
		t.Fatalf("%d of %d (%v)", n, people, err)
	}
	if used := int64(most) - int64(before); used > 16<<20 {
		t.Errorf("%d MiB are in use for %d people", used>>20, people)
	} else {
		t.Logf("%d MiB for %d people", used>>20, people)
	}
}
