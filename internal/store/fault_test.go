package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/fhir"
)

// ledger is a checkpoint as a loader keeps it: how many batches are done, and
// what came of their resources.
type ledger struct {
	Batches  int
	Outcomes [4]int
}

// smallLoad is a load of some batches with creations, updates, repeats and an
// older record, which flushes and compacts in between.
func smallLoad() []*fhir.Batch {
	c := newClaims(7)
	all := make([]*fhir.Batch, 8)
	for i := range all {
		all[i] = &fhir.Batch{}
		for j := range 4 {
			c.add(all[i], i*2+j, c.money()) // two of the four are in the batch before
		}
		all[i].Add(&fhir.Resource{
			Type: fhir.Organization, ID: "payer", LastUpdated: "2024-01-01T00:00:00Z", SourceVersion: fmt.Sprint(9 - i),
			JSON: fmt.Appendf(nil, `{"resourceType":"Organization","id":"payer","name":"%d"}`, i),
			Keys: []fhir.Key{{Param: fhir.ParamIdentifier, Value: "urn:payers|1"}},
		})
		all[i].Add(&fhir.Resource{
			Type: fhir.Practitioner, ID: "npi", LastUpdated: "2024-01-01T00:00:00Z",
			JSON: []byte(`{"resourceType":"Practitioner","id":"npi"}`),
		})
	}
	return all
}

// runLoad resumes the load on fs and ends it.
func runLoad(fs vfs.FS, all []*fhir.Batch) error {
	s, err := Open("new/db", Options{FS: fs})
	if err != nil {
		return err
	}
	if err := continueLoad(s, all); err != nil {
		return errors.Join(err, s.Close())
	}
	return s.Close()
}

func continueLoad(s *Store, all []*fhir.Batch) error {
	var l ledger
	text, err := s.Meta("ledger")
	if err == nil {
		err = json.Unmarshal(text, &l)
	} else if errors.Is(err, ErrNotFound) {
		err = nil
	}
	if err != nil {
		return err
	}
	for _, b := range all[l.Batches:] {
		err := s.Apply(context.Background(), b, func(outcomes []Outcome) (Commit, error) {
			for _, o := range outcomes {
				l.Outcomes[o]++
			}
			l.Batches++
			text, err := json.Marshal(l)
			return Commit{Put: []MetaRecord{{Name: "ledger", Value: text}}}, err
		})
		if err != nil {
			return err
		}
		if l.Batches == len(all)/2 {
			if err := s.Compact(context.Background()); err != nil {
				return err
			}
		}
	}
	return nil
}

// contents is all that a reader can see.
func contents(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	s, err := Open("new/db", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for e, err := range s.Export(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		for v, err := range s.History(t.Context(), e.Type, e.ID) {
			if err != nil {
				t.Fatal(err)
			}
			all[fmt.Sprintf("%s/%s/%d", v.Type, v.ID, v.Version)] = v.LastUpdated + string(v.JSON)
		}
		q := Query{Type: e.Type, IDs: []string{e.ID}}
		for r, err := range s.Search(t.Context(), &q) {
			if err != nil {
				t.Fatal(err)
			}
			all[fmt.Sprintf("%s/%s keys", r.Type, r.ID)] = fmt.Sprint(r.Keys)
		}
	}
	text, err := s.Meta("ledger")
	if err != nil {
		t.Fatal(err)
	}
	all["ledger"] = string(text)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestFailEveryOperation fails the i-th operation on files, for all i, cuts the
// power, loads again on what was synced by then (and a part of what was not), and
// wants to see what an undisturbed load gives.
func TestFailEveryOperation(t *testing.T) {
	all := smallLoad()
	calm := vfs.NewCrashableMem()
	if err := runLoad(calm, all); err != nil {
		t.Fatal(err)
	}
	synced := calm.CrashClone(vfs.CrashCloneCfg{})
	want := contents(t, calm)
	if diff := cmp.Diff(want, contents(t, synced)); diff != "" {
		t.Fatalf("after a power cut at the end (-want +got):\n%s", diff)
	}
	var l ledger
	if err := json.Unmarshal([]byte(want["ledger"]), &l); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([4]int{20, 7, 7, 14}, l.Outcomes); diff != "" {
		t.Fatalf("outcomes of the undisturbed load (-want +got):\n%s", diff)
	}

	step := int32(1)
	if testing.Short() {
		step = 7
	}
	failed := 0
	for i := int32(0); ; i += step {
		disk := vfs.NewCrashableMem()
		index := errorfs.OnIndex(i)
		counter := &errorfs.Counter{Injector: index}
		done := make(chan error, 1)
		go func() { done <- runLoad(errorfs.Wrap(disk, counter), all) }()
		select {
		case err := <-done:
			if err != nil {
				failed++
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("operation %d: the load hangs", i)
		}
		if counter.Load() == 0 {
			t.Logf("%d operations, %d of them make the load fail", i, failed)
			break
		}
		for _, part := range []int{0, 60} {
			left := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: part, RNG: rand.New(rand.NewPCG(uint64(i), 0))})
			if err := runLoad(left, all); err != nil {
				t.Fatalf("operation %d: load again: %v", i, err)
			}
			if got := contents(t, left); !maps.Equal(want, got) {
				t.Fatalf("operation %d, %d%% of what was not synced survives (-want +got):\n%s", i, part, cmp.Diff(want, got))
			}
		}
	}
	if failed == 0 {
		t.Error("no failure reached the caller")
	}
}
