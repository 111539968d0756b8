package referenced

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

// TestMergeTakesLittleMemory puts 200,000 people together that claims name, as five
// million claims do: they must not all be in memory.
func TestMergeTakesLittleMemory(t *testing.T) {
	const people = 200_000
	x := &Merge{Root: t.TempDir(), Run: "run", Spill: t.TempDir()}
	if err := os.MkdirAll(x.Dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	id := fhir.NewIdentity([]byte("a key for tests only"))
	f, err := os.Create(x.Path("lane"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	e := json.NewEncoder(w)
	for i := range people {
		m := Resource{Kind: RelatedPerson, ID: id.Raw(fhir.RelatedPerson, fmt.Sprint(i)).ID(fhir.RelatedPerson), Key: fmt.Sprint(i), Name: fmt.Sprint("Name ", i),
			Patient: "Patient/" + id.Raw(fhir.Patient, fmt.Sprint(i)).ID(fhir.Patient)}
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
	err = x.Each(func(m *Resource) error {
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
