package directory

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// TestInEffect compares the coverage that is found for a day with what the rule says: of
// those in effect, or else of all, the one that began last; of these the one that ends
// last. The order in which they were learned does not matter.
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
		var list []Coverage
		for i := range r.IntN(5) {
			e := Coverage{start: dateOf(day()), end: dateOf(day())}
			e.ID[0], e.ID[15], e.stamp[0] = byte(i), byte(i+1), byte(i)
			list = append(list, e)
		}
		on := day()
		want, holds := -1, false
		for i := range list {
			in := list[i].InEffect(on)
			switch {
			case want < 0, in && !holds:
			case in != holds:
				continue
			case date(list[i].start) != date(list[want].start):
				if date(list[i].start) < date(list[want].start) {
					continue
				}
			case date(list[i].end) != date(list[want].end):
				if date(list[want].end) == "" || date(list[i].end) != "" && date(list[i].end) < date(list[want].end) {
					continue
				}
			default: // the keys decide, and they ascend
				continue
			}
			want, holds = i, in
		}
		periods, coverages := sorted.NewBuilder(periodRecords, t.TempDir()), sorted.NewBuilder(coverageRecords, t.TempDir())
		for _, i := range r.Perm(len(list)) {
			e := &list[i]
			p := period{e.ID, e.stamp}
			if err := periods.Add(p.record(member)); err != nil {
				t.Fatal(err)
			}
			// A row that a newer one has replaced says nothing.
			old := period{e.ID, Stamp{200}}
			var other fhir.Raw
			other[0] = 9
			if err := periods.Add(old.record(other)); err != nil {
				t.Fatal(err)
			}
			if err := coverages.Add(e.record(e.ID)); err != nil {
				t.Fatal(err)
			}
		}
		d := &Directory{shared: &shared{}}
		var err error
		if d.periods, err = periods.Build(); err != nil {
			t.Fatal(err)
		}
		if d.coverages, err = coverages.Build(); err != nil {
			t.Fatal(err)
		}
		got, found := d.CoverageOn(member, on)
		if found != (want >= 0) || found && got.ID != list[want].ID {
			t.Fatalf("on %q of %v: got coverage %d (%v), want %d", on, list, got.ID[15], found, want+1)
		}
		var other fhir.Raw
		other[0] = 9
		if _, found := d.CoverageOn(other, on); found {
			t.Fatal("a period is found that a newer row has replaced")
		}
	}
}

// TestOldDirectory opens the directory that a release before stamps wrote.
func TestOldDirectory(t *testing.T) {
	state, spill := t.TempDir(), t.TempDir()
	dir := filepath.Join(state, folder)
	raw := func(b byte) (r fhir.Raw) { r[0], r[15] = b, b; return r }
	save := func(f sorted.Format, records ...[]byte) {
		f.Merge = func(old, next []byte) { copy(old, next) }
		b := sorted.NewBuilder(f, spill)
		for _, record := range records {
			if err := b.Add(pad(record, f)); err != nil {
				t.Fatal(err)
			}
		}
		if err := saveTable(b, filepath.Join(dir, f.Name)); err != nil {
			t.Fatal(err)
		}
	}
	join := func(parts ...any) (b []byte) {
		for _, p := range parts {
			switch p := p.(type) {
			case fhir.Raw:
				b = append(b, p[:]...)
			case string:
				b = append(b, p...)
			case byte:
				b = append(b, p)
			}
		}
		return b
	}
	const number = "\x00\x00\x00\x00\x00\x00\x00\x01"
	save(memberRecords, join(raw(1)))
	save(oldCoverageRecords, join(raw(2), raw(2), raw(3), raw(1), byte(0)), join(raw(4), raw(4), raw(3), raw(1), byte(1)))
	save(oldProviderRecords, join(raw(5), raw(5), byte(1)))
	save(oldPeriodRecords, join(raw(6), raw(2), number, "2024-01-01", "2024-06-30"))

	for range 2 { // it is of this release the second time
		d, err := Open(state, spill, 0)
		if err != nil {
			t.Fatal(err)
		}
		e, found := d.CoverageOn(raw(6), "2024-03-01")
		if !found || !e.InEffect("2024-03-01") || e.ID != raw(2) || e.Insurer != raw(3) || e.Member != raw(1) || e.Skip {
			t.Errorf("coverage %v, found %v", e, found)
		}
		if e, _ := d.CoverageOn(raw(6), "2024-07-01"); e.InEffect("2024-07-01") {
			t.Error("a coverage that has ended is in effect")
		}
		if e, ok := d.Coverage(raw(4)); !ok || !e.Skip || !e.InEffect("2030-01-01") {
			t.Errorf("coverage without a period: %v, %v", e, ok)
		}
		if p, ok := d.Provider(raw(5)); !ok || !p.Practitioner {
			t.Errorf("provider: %v, %v", p, ok)
		}
		if !d.HasMember(raw(1)) {
			t.Error("the member is gone")
		}
		d.Close()
	}
}

// TestNumbers holds that every column of the small tables has a number of its own.
func TestNumbers(t *testing.T) {
	seen := map[uint16]string{}
	for table := range cpcds.Claims {
		for _, e := range cpcds.Columns(table) {
			n := numberOf[e]
			if name := table.String() + "." + e.Column(); n == 0 || seen[n] != "" {
				t.Errorf("%s needs a number of its own: it has %d", name, n)
			} else {
				seen[n] = name
			}
		}
	}
	if len(seen) != len(numbers) {
		t.Errorf("%d columns have %d numbers", len(seen), len(numbers))
	}
	if numberOf[cpcds.MembersMemberID] != 158 {
		t.Errorf("a number has changed: %d", numberOf[cpcds.MembersMemberID])
	}
}
