package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"cpcds2fhir/schemas/fhir"
)

func commit(c Commit) Seal { return func([]Outcome) (Commit, error) { return c, nil } }

func meta(t *testing.T, s *Store, name string) string {
	t.Helper()
	v, err := s.Meta(name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	return string(v)
}

// TestLease proves that a later Take ends an earlier lease, also after the store was closed, and that
// nothing of a fenced batch is written.
func TestLease(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, dir, Options{})
	first, err := s.Take(t.Context(), "lane")
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Take(t.Context(), "other lane")
	if err != nil {
		t.Fatal(err)
	}
	put := func(s *Store, l Lease, id string) error {
		return s.Apply(t.Context(), batchOf(organization(id, "x")), commit(Commit{Put: []MetaRecord{{Name: "last", Value: []byte(id)}}, Lease: l}))
	}
	if err := put(s, first, "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	second, err := s.Take(t.Context(), "lane")
	if err != nil {
		t.Fatal(err)
	}
	if second.Epoch <= first.Epoch {
		t.Errorf("the second epoch is %d, the first was %d", second.Epoch, first.Epoch)
	}
	if err := put(s, first, "b"); !errors.Is(err, ErrFenced) {
		t.Errorf("Apply under the first lease: %v, want ErrFenced", err)
	}
	if _, err := s.Get(t.Context(), fhir.Organization, "b"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of what was fenced: %v, want ErrNotFound", err)
	}
	if got := meta(t, s, "last"); got != "a" {
		t.Errorf("the record is %q, want that of the last batch that was not fenced", got)
	}
	for _, l := range []Lease{second, other, {}} {
		if err := put(s, l, "c"+strconv.Itoa(int(l.Epoch))); err != nil {
			t.Errorf("Apply under %v: %v", l, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestGuards proves that a batch fails if a record is not as it was read.
func TestGuards(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"), Options{})
	defer s.Close()
	apply := func(id string, c Commit) error {
		return s.Apply(t.Context(), batchOf(organization(id, "x")), commit(c))
	}
	record := func(v string) (list []MetaRecord) {
		for _, v := range strings.Split(v, "|") {
			r := MetaRecord{Name: "r"}
			if v != "" {
				r.Value = []byte(v)
			}
			list = append(list, r)
		}
		return list
	}
	for i, c := range []struct {
		guard, put string
		want       error
	}{
		{"1", "2", ErrChanged},
		{"", "1", nil},
		{"", "2", ErrChanged},
		{"2", "3", ErrChanged},
		{"1", "2", nil},
		{"2", "", nil},
		{"2", "3", ErrChanged},
		{"", "4", nil},
		{"3|4", "5", nil},
		{"3|4", "6", ErrChanged},
		{"|5", "", nil},
		{"|5", "7", nil},
	} {
		id := fmt.Sprint("o", i)
		before := meta(t, s, "r")
		if err := apply(id, Commit{Put: record(c.put), Guards: record(c.guard)}); !errors.Is(err, c.want) || (err != nil) != (c.want != nil) {
			t.Errorf("case %d: %v, want %v", i, err, c.want)
		}
		want := c.put
		if c.want != nil {
			want = before
		}
		if got := meta(t, s, "r"); got != want {
			t.Errorf("case %d: the record is %q, want %q", i, got, want)
		}
		if _, err := s.Get(t.Context(), fhir.Organization, id); errors.Is(err, ErrNotFound) != (c.want != nil) {
			t.Errorf("case %d: Get: %v", i, err)
		}
	}
}

// TestConcurrentGuards counts up a record from many goroutines: an update that is lost, because two
// have read the same number, would make the sum too small.
func TestConcurrentGuards(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"), Options{})
	defer s.Close()
	const lanes, rounds = 8, 25
	var wait sync.WaitGroup
	for lane := range lanes {
		wait.Go(func() {
			for n := 0; n < rounds; {
				was, err := s.Meta("sum")
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
				sum, _ := strconv.Atoi(string(was))
				c := Commit{Put: []MetaRecord{{"sum", []byte(strconv.Itoa(sum + 1))}}, Guards: []MetaRecord{{"sum", was}}}
				switch err := s.Apply(t.Context(), batchOf(organization(fmt.Sprint("o", lane), strconv.Itoa(n))), commit(c)); {
				case err == nil:
					n++
				case !errors.Is(err, ErrChanged):
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	if got := meta(t, s, "sum"); got != strconv.Itoa(lanes*rounds) {
		t.Errorf("the sum is %s, want %d", got, lanes*rounds)
	}
}
