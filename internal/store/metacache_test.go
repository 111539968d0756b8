package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"cpcds2fhir/schemas/fhir"
)

// A reader sees every write that had returned before it began, whoever else reads and writes, and whether
// records come, change or go.
func TestMetasAreCurrent(t *testing.T) {
	s := open(t, t.TempDir(), Options{Sparse: []string{"sparse/"}})
	const names, rounds = 40, 300
	var written [names]atomic.Uint64 // the last value of each whose write has returned
	name := func(i int) string {
		if i%2 == 0 {
			return fmt.Sprint("sparse/", i)
		}
		return fmt.Sprint("dense/", i)
	}
	var ended atomic.Bool
	var readers, writers errgroup.Group
	for range 3 {
		readers.Go(func() error {
			for !ended.Load() {
				var list []string
				var least []uint64
				for range 8 {
					i := rand.IntN(names)
					list, least = append(list, name(i)), append(least, written[i].Load())
				}
				values, err := s.Metas(list)
				if err != nil {
					return err
				}
				for k, v := range values {
					// Every tenth value is none, and may be there before its write returns.
					if v == nil {
						if least[k]%10 != 0 && least[k]%10 != 9 && written[atoi(list[k])].Load() == least[k] {
							return fmt.Errorf("%s is missing, want %d", list[k], least[k])
						}
						continue
					}
					if got := binary.BigEndian.Uint64(v); got < least[k] {
						return fmt.Errorf("%s is %d, want at least %d", list[k], got, least[k])
					}
				}
			}
			return nil
		})
	}
	for w := range 4 {
		writers.Go(func() error {
			for n := uint64(1); n <= rounds; n++ {
				for i := w; i < names; i += 4 {
					var v []byte
					if n%10 != 0 {
						v = binary.BigEndian.AppendUint64(nil, n)
					}
					if err := s.Apply(context.Background(), &fhir.Batch{}, commit(Commit{Put: []MetaRecord{{name(i), v}}})); err != nil {
						return err
					}
					written[i].Store(n)
				}
			}
			return nil
		})
	}
	err := writers.Wait()
	ended.Store(true)
	if err := readers.Wait(); err != nil {
		t.Error(err)
	}
	if err != nil {
		t.Error(err)
	}
}

func atoi(name string) (i int) {
	for _, c := range name {
		if c >= '0' && c <= '9' {
			i = 10*i + int(c-'0')
		}
	}
	return i
}

// A store that is opened again knows which records of a sparse space it has.
func TestSparseRecords(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{Sparse: []string{"sparse/"}})
	if err := s.PutMeta(map[string][]byte{"sparse/a": []byte("1"), "dense/a": []byte("2")}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		values, err := s.Metas([]string{"sparse/a", "sparse/b", "dense/a", "dense/b"})
		if err != nil || string(values[0]) != "1" || values[1] != nil || string(values[2]) != "2" || values[3] != nil {
			t.Errorf("records are %q (%v)", values, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, Options{Sparse: []string{"sparse/"}})
	}
	if !s.absent.has("sparse/b") || s.absent.has("sparse/a") || s.absent.has("dense/b") {
		t.Error("the filter is not about sparse records alone")
	}
}

// What was read stays in memory, within its size, and a value is the caller's.
func TestMetaCacheIsBounded(t *testing.T) {
	var c metaCache
	value := make([]byte, 100)
	for i := range 200_000 {
		n := fmt.Sprint("dir/", i)
		_, ok, writes := c.get(n)
		if ok {
			t.Fatal("a record is there that was not put")
		}
		c.put(n, value, writes)
	}
	total := 0
	for i := range c.shards {
		for _, m := range []map[string][]byte{c.shards[i].now, c.shards[i].old} {
			for n, v := range m {
				total += len(n) + len(v) + metaEntryBytes
			}
		}
	}
	if total > metaCacheBytes || total < metaCacheBytes/3 {
		t.Errorf("the cache has %d bytes of %d", total, metaCacheBytes)
	}
	v, ok, _ := c.get("dir/199999")
	if !ok {
		t.Fatal("the last record is not there")
	}
	v[0] = 1
	if v, _, _ = c.get("dir/199999"); v[0] != 0 {
		t.Error("a caller has changed the cache")
	}
}
