package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/schemas/fhir"
)

func changes(t testing.TB, s *Store, typ fhir.Type, since int64, after *Change) (list []Change) {
	t.Helper()
	for c, err := range s.Changes(context.Background(), typ, since, after) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// TestChanges proves that each version has the instant of its commit, that instants do not go back with
// the clock or with a restart, and that the index has each version once, in their order.
func TestChanges(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	clock := time.UnixMilli(1_800_000_000_000)
	s.instants.now = func() time.Time { return clock }
	put(t, s, organization("a", "1"), organization("b", "1"))
	clock = clock.Add(-time.Hour) // somebody sets the clock back
	put(t, s, organization("a", "2"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	s.instants.now = func() time.Time { return clock }
	put(t, s, organization("c", "1"), organization("a", "2")) // a is unchanged
	clock = clock.Add(2 * time.Hour)
	var b fhir.Batch
	b.Delete(fhir.Organization, "b", "2024-01-01T00:00:00Z", "")
	apply(t, s, &b)
	all := changes(t, s, fhir.Organization, 0, nil)
	var got string
	last := int64(0)
	for _, c := range all {
		got += fmt.Sprint(c.ID, c.Version, " ")
		if c.Commit < last {
			t.Errorf("%s has %d, after %d", c.ID, c.Commit, last)
		}
		last = c.Commit
	}
	if got != "a1 a2 b1 c1 b2 " {
		t.Errorf("changes are %s", got)
	}
	if since := changes(t, s, fhir.Organization, last, nil); len(since) != 1 || since[0].ID != "b" {
		t.Errorf("since the last: %v", since)
	}
	for i := range all {
		if rest := changes(t, s, fhir.Organization, 0, &all[i]); len(rest) != len(all)-i-1 {
			t.Errorf("after %d: %v", i, rest)
		}
	}
	e, err := s.Get(context.Background(), fhir.Organization, "a")
	if err != nil || e.Commit != 1_800_000_000_000 || e.Updated() != "2027-01-15T08:00:00.000Z" || e.LastUpdated != "2024-05-06T07:08:09Z" {
		t.Errorf("%+v (%v)", e, err)
	}
	for e, err := range s.Search(context.Background(), &Query{Type: fhir.Organization, IDs: []string{"a"}}) {
		if err != nil || e.Commit != 1_800_000_000_000 {
			t.Errorf("search: %+v (%v)", e, err)
		}
	}
}

// TestLater proves that the later of the source's date and the commit counts.
func TestLater(t *testing.T) {
	commit := time.Date(2024, 6, 1, 12, 0, 0, 5e6, time.UTC).UnixMilli()
	for source, want := range map[string]string{
		"2024-06-01T11:59:59Z": "2024-06-01T12:00:00.005Z", "2024-06-01T12:00:01Z": "2024-06-01T12:00:01Z", "2024-06-01T14:00:00+02:00": "2024-06-01T12:00:00.005Z",
		"2099-01-01": "2099-01-01", "": "2024-06-01T12:00:00.005Z",
	} {
		if got := later(source, commit); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
	if got := later("2020-01-01", 0); got != "2020-01-01" {
		t.Error(got)
	}
}

// TestWatermark proves that nobody who asks for what has changed since the watermark of a search misses a
// commit that was under way then.
func TestWatermark(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	ctx := context.Background()
	const lanes, commits = 6, 60
	var loads, poll sync.WaitGroup
	done := make(chan struct{})
	seen := map[string]bool{}
	poll.Go(func() {
		since := int64(0)
		for more := true; more; {
			select {
			case <-done:
				more = false // once more, for what came last
			default:
			}
			at, err := s.Watermark(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for c, err := range s.Changes(ctx, fhir.Organization, since, nil) {
				if err != nil {
					t.Error(err)
					return
				}
				seen[c.ID] = true
			}
			since = at.UnixMilli()
		}
	})
	for l := range lanes {
		loads.Go(func() {
			for i := range commits {
				if err := s.Apply(ctx, batchOf(organization(fmt.Sprintf("o%d-%d", l, i), "x")), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	loads.Wait()
	close(done)
	poll.Wait()
	if len(seen) != lanes*commits {
		t.Errorf("%d of %d changes were seen", len(seen), lanes*commits)
	}
}
