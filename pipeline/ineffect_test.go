package pipeline

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/fhir"
)

// TestInEffect compares the coverage that is found for a day with what the rule says:
// the first whose period holds the day, else of those that began last the first.
func TestInEffect(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	day := func() string {
		if r.IntN(5) == 0 {
			return ""
		}
		return fmt.Sprintf("2024-01-%02d", 1+r.IntN(9))
	}
	for range 2000 {
		var member fhir.Raw
		member[0] = 7
		var list []period
		periods, coverages := sorted.NewBuilder(periodRecords, t.TempDir()), sorted.NewBuilder(coverageRecords, t.TempDir())
		for i := range r.IntN(5) {
			p := period{number: uint64(i), start: dateOf(day()), end: dateOf(day())}
			p.coverage[0], p.coverage[15] = byte(r.Uint32()), byte(i+1)
			list = append(list, p)
			if err := periods.Add(p.record(member)); err != nil {
				t.Fatal(err)
			}
			e := coverageEntry{id: p.coverage}
			if err := coverages.Add(e.record(p.coverage)); err != nil {
				t.Fatal(err)
			}
		}
		d := &directory{}
		var err error
		if d.periods, err = periods.Build(); err != nil {
			t.Fatal(err)
		}
		if d.coverages, err = coverages.Build(); err != nil {
			t.Fatal(err)
		}
		on := day()
		want := -1
		for i, p := range list {
			if start, end := date(p.start), date(p.end); on != "" && start <= on && (end == "" || on <= end) {
				want = i
				break
			}
			if want < 0 || date(p.start) > date(list[want].start) {
				want = i
			}
		}
		got, ok := d.inEffect(member, on)
		if ok != (want >= 0) || ok && got.id != list[want].coverage {
			t.Fatalf("on %q of %v: got coverage %d (%v), want %d", on, list, got.id[15], ok, want+1)
		}
	}
}
