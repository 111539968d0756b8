// Package scattered finds the claims of an extract whose rows are not contiguous and gathers these
// rows, in files if there are many. Lanes pass rows to it, and it returns them claim by claim. It
// handles only rows and their keys and does not know how claims are processed.
package scattered

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/cpcds"
)

// Keys records which claim keys have rows in more than one place of an extract. A claim can be
// streamed if all its rows are contiguous in one lane; the others are scattered. Two keys with the
// same hash also count as scattered, which is harmless because a Shuffle compares the keys
// themselves. Keys is safe for concurrent use.
type Keys struct {
	seed     uint64
	repeated map[keyHash]struct{} // hashes of keys that occur more than once
	all      bool                 // so many keys are scattered that all rows are gathered
	distinct int64                // distinct claim keys
	rows     int64                // rows of the claims table
}

// Has reports whether the rows of a key are scattered.
func (k *Keys) Has(key string) bool {
	if k.all {
		return true
	}
	if len(k.repeated) == 0 || key == "" {
		return false
	}
	_, ok := k.repeated[k.hash(key)]
	return ok
}

// Any reports whether any rows are scattered.
func (k *Keys) Any() bool { return k.all || len(k.repeated) > 0 }

// All reports whether so many keys are scattered that no claim is streamed.
func (k *Keys) All() bool { return k.all }

// Distinct returns the number of distinct claim keys.
func (k *Keys) Distinct() int64 { return k.distinct }

// keyHash identifies claim keys: the probability that any two of a billion keys have the same hash
// is 10^-21. A key has the same hash in every process that uses the same id key.
type keyHash [16]byte

func (k *Keys) hash(key string) keyHash { return xxh3.HashString128Seed(key, k.seed).Bytes() }

const keyRecordSize = len(keyHash{}) + 1

// A record is the hash of a key, followed by a byte that tells whether it occurred more than once.
var keyRecords = sorted.Format{Name: "keys", Size: keyRecordSize, Key: len(keyHash{}), Merge: func(old, _ []byte) { old[len(keyHash{})] = 1 }}

// Scan reads the claim key column of all lanes, and no other columns. seed keys the hashes; spill
// is the folder for temporary files.
func Scan(ctx context.Context, lanes []rowbatch.Lane, seed uint64, spill string, workers int) (*Keys, error) {
	k := &Keys{seed: seed}
	runs := sorted.NewBuilder(keyRecords, spill)
	defer runs.Close()
	var mu sync.Mutex
	err := pipeline.Parallel(ctx, workers, len(lanes), func(ctx context.Context, i int) error {
		return k.scan(ctx, lanes[i], &mu, runs)
	})
	if err != nil {
		return nil, err
	}
	hashes, err := runs.Build()
	if err != nil {
		return nil, err
	}
	defer hashes.Remove()
	k.distinct, k.repeated = hashes.Len(), map[keyHash]struct{}{}
	err = hashes.All(func(record []byte) error {
		if record[len(keyHash{})] != 0 {
			k.repeated[keyHash(record)] = struct{}{}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if n := int64(len(k.repeated)); n > 1000 && n > k.distinct/2 {
		k.all, k.repeated = true, nil
	}
	return k, nil
}

// scan adds the keys of a lane to runs, which is guarded by mu.
func (k *Keys) scan(ctx context.Context, lane rowbatch.Lane, mu *sync.Mutex, runs *sorted.Builder) error {
	var batch []keyHash
	var record [keyRecordSize]byte
	give := func() error {
		mu.Lock()
		defer mu.Unlock()
		for _, hash := range batch {
			copy(record[:], hash[:])
			if err := runs.Add(record[:]); err != nil {
				return err
			}
		}
		batch = batch[:0]
		return nil
	}
	rows, err := eachKey(ctx, lane, func(key string, _, _ int64) error {
		if key == "" {
			return nil
		}
		if batch = append(batch, k.hash(key)); len(batch) == 1<<14 {
			return give()
		}
		return nil
	})
	if err != nil {
		return err
	}
	mu.Lock()
	k.rows += rows
	mu.Unlock()
	return give()
}

// eachKey calls f for every run of consecutive rows of a lane with the same claim key. It passes
// the key and the range [from, to) of input rows. It returns the number of input rows read.
func eachKey(ctx context.Context, lane rowbatch.Lane, f func(key string, from, to int64) error) (int64, error) {
	k := rowbatch.NewKeyReader(lane.Input)
	src, err := lane.Input.File.Open(ctx, lane.Span.First, lane.Span.First+lane.Span.Rows, k.Columns())
	if err != nil {
		return 0, err
	}
	defer src.Close()
	var rows cpcds.Rows
	last, from, at := "", lane.Span.First, lane.Span.First
	some := false
	for {
		err := src.Next(ctx, &rows)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		err = k.Read(&rows, func(key string, _, _ int, inputRows int64) error {
			if !some || key != last {
				if some {
					if err := f(last, from, at); err != nil {
						return err
					}
				}
				last, from, some = strings.Clone(key), at, true
			}
			at += inputRows
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if some {
		if err := f(last, from, at); err != nil {
			return 0, err
		}
	}
	return at - lane.Span.First, nil
}
