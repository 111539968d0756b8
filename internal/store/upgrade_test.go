package store

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/schemas/fhir"
)

// withoutCommits makes of the records of a store what releases wrote before there was a change feed.
func withoutCommits(t *testing.T, s *Store) {
	t.Helper()
	batch := s.db.NewBatch()
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		k, v := it.Key(), it.Value()
		err := error(nil)
		switch k[0] {
		case headSpace:
			var h head
			if !h.decode(v) {
				t.Fatal("a head cannot be read")
			}
			h.commit = 0
			err = batch.Set(k, h.append(nil), nil)
		case bodySpace:
			var b body
			if !b.decode(v) {
				t.Fatal("a body cannot be read")
			}
			b.commit = 0
			err = batch.Set(k, append(b.append(nil), b.block...), nil)
		case rowSpace:
			var r row
			if !r.decode(v) {
				t.Fatal("a row cannot be read")
			}
			err = batch.Set(k, append(appendText(nil, r.lastUpdated), r.entries...), nil)
		case commitSpace:
			err = batch.Delete(k, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(it.Close(), batch.Commit(pebble.Sync), batch.Close()); err != nil {
		t.Fatal(err)
	}
}

// schema3 makes of a store what the release before the record of numbers wrote.
func schema3(t *testing.T, disk vfs.FS) {
	t.Helper()
	s, err := Open("new/db", Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	withoutCommits(t, s)
	if err := errors.Join(s.PutMeta(map[string][]byte{numbersName: nil}), s.Close()); err != nil {
		t.Fatal(err)
	}
	writeSchema(t, disk, "new/db", schemaPrefix+"3\n")
}

func writeSchema(t *testing.T, disk vfs.FS, dir, text string) {
	t.Helper()
	f, err := disk.Create(disk.PathJoin(dir, schemaFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte(text))
	if err := errors.Join(err, f.Sync(), f.Close(), syncFolder(disk, dir)); err != nil {
		t.Fatal(err)
	}
}

// TestUpgrade fails the i-th operation on files of an upgrade, for all i, cuts the power, and
// opens the store again: it is one of this release, with all that it had.
func TestUpgrade(t *testing.T) {
	old := vfs.NewCrashableMem()
	if err := runLoad(old, smallLoad()); err != nil {
		t.Fatal(err)
	}
	want := contents(t, old)
	schema3(t, old)

	s, err := Open("new/db", Options{FS: old.CrashClone(vfs.CrashCloneCfg{}), ReadOnly: true})
	if err != nil {
		t.Fatalf("opened for reading: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := int32(0); ; i++ {
		disk := old.CrashClone(vfs.CrashCloneCfg{})
		counter := &errorfs.Counter{Injector: errorfs.OnIndex(i)}
		done := make(chan error, 1)
		go func() {
			s, err := Open("new/db", Options{FS: errorfs.Wrap(disk, counter)})
			if err == nil {
				err = s.Close()
			}
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				failed++
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("operation %d: the upgrade hangs", i)
		}
		if counter.Load() == 0 {
			t.Logf("%d operations, %d of them make the upgrade fail", i, failed)
			break
		}
		left := disk.CrashClone(vfs.CrashCloneCfg{})
		if got := contents(t, left); !maps.Equal(want, got) {
			t.Fatalf("operation %d (-want +got):\n%s", i, cmp.Diff(want, got))
		}
		if version, err := readSchema(left, "new/db", schemaFile); err != nil || version != schemaVersion {
			t.Fatalf("operation %d: schema %d, %v", i, version, err)
		}
		checkFeed(t, left)
	}
	if failed == 0 {
		t.Error("no failure reached the caller")
	}
}

// checkFeed proves that the index of commits has the newest version of each resource, once, and that what
// was there before the upgrade was committed then.
func checkFeed(t *testing.T, disk vfs.FS) {
	t.Helper()
	s, err := Open("new/db", Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for typ := range fhir.NumTypes {
		want := map[string]uint32{}
		for h, err := range s.heads(context.Background(), s.db, typ, "") {
			if err != nil {
				t.Fatal(err)
			}
			want[h.id] = h.version
			if s.commitOf(h.commit) == 0 {
				t.Errorf("%s has no commit", h.id)
			}
		}
		got := map[string]uint32{}
		for _, c := range changes(t, s, typ, s.began, nil) {
			if c.Commit == s.began {
				got[c.ID] = c.Version
			}
		}
		if !maps.Equal(want, got) {
			t.Fatalf("%s: the change feed has %v, want %v", typ, got, want)
		}
	}
}

// TestOtherNumbers opens a store of a program that gives a type another number.
func TestOtherNumbers(t *testing.T) {
	disk := vfs.NewMem()
	s, err := Open("db", Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.PutMeta(map[string][]byte{numbersName: []byte(`{"types":{"Patient":5}}`)}), s.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("db", Options{FS: disk}); err == nil {
		t.Fatal("it is opened")
	} else if _, ok := errors.AsType[*VersionError](err); !ok {
		t.Errorf("got %v", err)
	}
}

// TestNumbers pins the numbers that stand in keys and rows: docs/formats-on-disk.md.
func TestNumbers(t *testing.T) {
	want := numbers{
		Types: map[string]int{"Organization": 0, "Practitioner": 1, "Patient": 2, "RelatedPerson": 3, "Coverage": 4, "ExplanationOfBenefit": 5},
		Params: map[string]int{"patient": 0, "identifier": 1, "type": 2, "service-date": 3, "service-start-date": 4, "billable-period-start": 5,
			"care-team": 6, "provider": 7, "coverage": 8, "insurer": 9, "payee": 10, "payor": 11},
	}
	if diff := cmp.Diff(want, ownNumbers()); diff != "" {
		t.Errorf("a number must not change (-want +got):\n%s", diff)
	}
}
