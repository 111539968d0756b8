package pipeline

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

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

// scanKeys reads the claim key column of all lanes, and nothing else of them.
func (r *Run) scanKeys(ctx context.Context, lanes []claimLane) (*keySet, error) {
	k := &keySet{seed: maphash.MakeSeed()}
	runs := newHashBuckets(r.spillDir())
	defer runs.close()
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(r.Workers, 1))
	for _, lane := range lanes {
		g.Go(func() error {
			var batch []uint64
			give := func() error {
				mu.Lock()
				defer mu.Unlock()
				err := runs.add(batch)
				batch = batch[:0]
				return err
			}
			rows, err := r.eachKey(gctx, lane, func(key string, _, _ int64) error {
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
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var err error
	if k.repeated, k.distinct, err = runs.repeated(); err != nil {
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

// hashBuckets finds the repeated among any number of hashes in bounded memory:
// beyond a limit, they lie in files by their low bits.
type hashBuckets struct {
	dir     string
	memory  []uint64
	files   []*os.File
	writers []*bufio.Writer
}

const (
	hashesInMemory = 1 << 20
	hashFiles      = 64
)

func newHashBuckets(dir string) *hashBuckets { return &hashBuckets{dir: dir} }

func (h *hashBuckets) add(hashes []uint64) error {
	if h.files == nil && len(h.memory)+len(hashes) <= hashesInMemory {
		h.memory = append(h.memory, hashes...)
		return nil
	}
	if h.files == nil {
		for i := range hashFiles {
			f, err := os.OpenFile(filepath.Join(h.dir, fmt.Sprintf("keys-%02d", i)), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
			if err != nil {
				return fmt.Errorf("spill claim keys: %w", err)
			}
			h.files = append(h.files, f)
			h.writers = append(h.writers, bufio.NewWriterSize(f, 1<<15))
		}
		if err := h.spill(h.memory); err != nil {
			return err
		}
		h.memory = nil
	}
	return h.spill(hashes)
}

func (h *hashBuckets) spill(hashes []uint64) error {
	var b [8]byte
	for _, x := range hashes {
		binary.LittleEndian.PutUint64(b[:], x)
		if _, err := h.writers[x%hashFiles].Write(b[:]); err != nil {
			return fmt.Errorf("spill claim keys: %w", err)
		}
	}
	return nil
}

// repeated returns the hashes that were added more than once, and the number of
// different ones.
func (h *hashBuckets) repeated() (map[uint64]struct{}, int64, error) {
	set := map[uint64]struct{}{}
	var distinct int64
	count := func(hashes []uint64) {
		slices.Sort(hashes)
		for i, x := range hashes {
			if i == 0 || x != hashes[i-1] {
				distinct++
			} else {
				set[x] = struct{}{}
			}
		}
	}
	if h.files == nil {
		count(h.memory)
		return set, distinct, nil
	}
	for i, f := range h.files {
		if err := h.writers[i].Flush(); err != nil {
			return nil, 0, fmt.Errorf("spill claim keys: %w", err)
		}
		info, err := f.Stat()
		if err != nil {
			return nil, 0, err
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, 0, err
		}
		hashes := make([]uint64, info.Size()/8)
		if err := binary.Read(bufio.NewReaderSize(f, 1<<16), binary.LittleEndian, hashes); err != nil {
			return nil, 0, fmt.Errorf("read spilled claim keys: %w", err)
		}
		count(hashes)
	}
	return set, distinct, nil
}

func (h *hashBuckets) close() {
	for _, f := range h.files {
		f.Close()
		os.Remove(f.Name())
	}
}
