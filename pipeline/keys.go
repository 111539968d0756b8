package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"sync"

	"cpcds2fhir/pipeline/sorted"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// keySet knows which claim keys have rows in more than one place of an extract.
// A claim can be streamed if all its rows stand together in one lane; the others
// are gathered by the shuffle. Two keys with the same hash are gathered too,
// which does no harm, as the shuffle compares the keys themselves.
type keySet struct {
	seed     maphash.Seed
	repeated map[uint64]struct{} // hashes of keys that come more than once
	all      bool                // so many do that everything is gathered
	distinct int64               // distinct claim keys
	rows     int64               // rows of the claims table
}

// scattered reports whether the rows of a key are gathered by the shuffle.
func (k *keySet) scattered(key string) bool {
	if k.all {
		return true
	}
	if len(k.repeated) == 0 || key == "" {
		return false
	}
	_, ok := k.repeated[maphash.String(k.seed, key)]
	return ok
}

// any reports whether the shuffle has anything to do.
func (k *keySet) any() bool { return k.all || len(k.repeated) > 0 }

const keyRecordSize = 9

// A record is the hash of a key, and whether it came more than once.
var keyRecords = sorted.Format{Name: "keys", Size: keyRecordSize, Key: 8, Merge: func(old, _ []byte) { old[8] = 1 }}

// scanKeys reads the claim key column of all lanes, and nothing else of them.
func (r *Run) scanKeys(ctx context.Context, lanes []claimLane) (*keySet, error) {
	k := &keySet{seed: maphash.MakeSeed()}
	runs := sorted.NewBuilder(keyRecords, r.spillDir())
	defer runs.Close()
	var mu sync.Mutex
	err := r.parallel(ctx, len(lanes), func(ctx context.Context, i int) error {
		var batch []uint64
		var record [keyRecordSize]byte
		give := func() error {
			mu.Lock()
			defer mu.Unlock()
			for _, hash := range batch {
				binary.BigEndian.PutUint64(record[:], hash)
				if err := runs.Add(record[:]); err != nil {
					return err
				}
			}
			batch = batch[:0]
			return nil
		}
		rows, err := r.eachKey(ctx, lanes[i], func(key string, _, _ int64) error {
			if key == "" {
				return nil
			}
			if batch = append(batch, maphash.String(k.seed, key)); len(batch) == 1<<14 {
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
	})
	if err != nil {
		return nil, err
	}
	hashes, err := runs.Build()
	if err != nil {
		return nil, err
	}
	defer hashes.Remove()
	k.distinct, k.repeated = hashes.Len(), map[uint64]struct{}{}
	err = hashes.All(func(record []byte) error {
		if record[8] != 0 {
			k.repeated[binary.BigEndian.Uint64(record)] = struct{}{}
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

// keyReader finds the claim key of rows, and converts nothing else of them.
type keyReader struct {
	bound
	binding *layouts.Binding
	places  []int // where slabs have the columns that the binding needs
}

func (r *Run) newKeyReader(in *Input) *keyReader {
	k := &keyReader{bound: bound{input: in}, binding: in.Binding.Only(in.Binding.Table().Key)}
	for _, c := range k.binding.Source() {
		k.places = append(k.places, slices.Index(in.columns(), c))
	}
	return k
}

// read finds the keys of rows. Keys hold as long as its text.
func (k *keyReader) read(rows *cpcds.Rows) {
	k.rows = *rows
	k.binding.Convert(&k.batch, rows)
	if k.plan == nil {
		k.plan = newPlan(&k.batch, k.binding)
	}
}

// readWide finds the keys of rows that have all columns of a slab.
func (k *keyReader) readWide(rows *cpcds.Rows) {
	narrow := *rows
	narrow.Columns = nil
	for _, place := range k.places {
		narrow.Columns = append(narrow.Columns, rows.Columns[place])
	}
	k.read(&narrow)
}

// runs calls f for every run of rows with the same key.
func (k *keyReader) runs(f func(key string, from, to int) error) error {
	for i := 0; i < k.batch.N; {
		j := i + 1
		for j < k.batch.N && k.sameKey(i, j) {
			j++
		}
		if err := f(k.key(i), i, j); err != nil {
			return err
		}
		i = j
	}
	return nil
}

// eachKey calls f for every run of rows of a lane with the same claim key: the
// key and the input rows [from, to) within the input. It returns the rows read.
func (r *Run) eachKey(ctx context.Context, lane claimLane, f func(key string, from, to int64) error) (int64, error) {
	k := r.newKeyReader(r.Inputs[lane.input])
	src, err := k.input.File.Open(ctx, lane.span.First, lane.span.First+lane.span.Rows, k.binding.Source())
	if err != nil {
		return 0, err
	}
	defer src.Close()
	var narrow cpcds.Rows
	last, from, at := "", lane.span.First, lane.span.First
	some := false
	for {
		err := src.Next(ctx, &narrow)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		k.read(&narrow)
		err = k.runs(func(key string, i, j int) error {
			if !some || key != last {
				if some {
					if err := f(last, from, at); err != nil {
						return err
					}
				}
				last, from, some = strings.Clone(key), at, true
			}
			at += k.inputRows(i, j)
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
	return at - lane.span.First, nil
}
