package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"golang.org/x/sync/errgroup"
)

// keySpaces are the key spaces of the store that a load writes. See
// internal/store/layout.go.
const keySpaces = "bhip"

// floorPebble writes the same number of keys and bytes as a load, in sorted batches with the
// same number of syncs. Its arguments are DIR BATCHES, followed by COUNT KEYBYTES VALUEBYTES
// for each key space.
func floorPebble(dir string, args []string) error {
	var n []int64
	for _, a := range args {
		v, err := strconv.ParseInt(a, 10, 64)
		if err != nil {
			return err
		}
		n = append(n, v)
	}
	if len(n) != 1+3*len(keySpaces) {
		return errors.New("floor pebble needs DIR BATCHES, and COUNT KEYBYTES VALUEBYTES for each key space")
	}
	db, err := pebble.Open(dir, pebbleOptions())
	if err != nil {
		return err
	}
	batches := n[0]
	var g errgroup.Group
	for worker := range int64(2) {
		g.Go(func() error {
			rnd := rand.New(rand.NewPCG(1, uint64(worker))) //nolint:gosec // random keys for a benchmark
			noise := make([]byte, 1<<20)
			for i := range noise {
				noise[i] = byte(rnd.Uint32())
			}
			for i := worker; i < batches; i += 2 {
				if err := writeBatch(db, rnd, noise, n[1:], i, batches); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return errors.Join(g.Wait(), db.Flush(), db.Close())
}

func writeBatch(db *pebble.DB, rnd *rand.Rand, noise []byte, sizes []int64, i, batches int64) error {
	b := db.NewBatch()
	for s := range len(keySpaces) {
		count, keyBytes, valueBytes := sizes[3*s], sizes[3*s+1], sizes[3*s+2]
		if count == 0 {
			continue
		}
		here := count*(i+1)/batches - count*i/batches
		var keys [][]byte
		for range here {
			k := make([]byte, 0, keyBytes/count)
			k = append(k, keySpaces[s], 5)
			for len(k) < cap(k) {
				k = append(k, "abcdefghijklmnopqrstuvwxyz234567"[rnd.Uint32()%32])
			}
			keys = append(keys, k)
		}
		slices.SortFunc(keys, bytes.Compare)
		for _, k := range keys {
			size := valueBytes / count
			at := rnd.Int64N(int64(len(noise)) - size)
			if err := b.Set(k, noise[at:at+size], nil); err != nil {
				return err
			}
		}
	}
	return db.Apply(b, pebble.Sync)
}

// countKeys counts a store's keys and the bytes of its keys and values. The result is in the
// form of the arguments of floorPebble.
func countKeys(dir string) (args []string, err error) {
	o := pebbleOptions()
	o.ReadOnly = true
	db, err := pebble.Open(dir, o)
	if err != nil {
		return nil, err
	}
	for _, space := range []byte(keySpaces) {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{space}, UpperBound: []byte{space + 1}})
		if err != nil {
			return nil, errors.Join(err, db.Close())
		}
		var count, keyBytes, valueBytes int64
		for ok := it.First(); ok; ok = it.Next() {
			count++
			keyBytes += int64(len(it.Key()))
			valueBytes += int64(len(it.Value()))
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return nil, errors.Join(err, db.Close())
		}
		args = append(args, fmt.Sprint(count), fmt.Sprint(keyBytes), fmt.Sprint(valueBytes))
	}
	return args, db.Close()
}

// pebbleOptions are the options of internal/store/tune.go, so that the floor runs on Pebble
// with the same settings.
func pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		FormatMajorVersion:          pebble.FormatValueSeparation,
		Logger:                      quiet{},
		CacheSize:                   112 << 20,
		MemTableSize:                16 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       16,
		L0StopWritesThreshold:       64,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                1 << 20,
	}
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 512, MaxBlobReferenceDepth: 200, TargetGarbageRatio: 0.2}
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].IndexBlockSize = 256 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	return o
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, args ...any) {
	panic(fmt.Sprintf(f, args...))
}
