package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	numShards     = 256
	defaultMemory = 128 << 20
	localMemory   = 1 << 20 // what a reader collects before it takes the lock
)

// index collects which resources exist and which are referred to, by TYPE/ID, in shards by id. What
// exceeds its memory goes to files of mode 0600; each shard is small enough to be resolved by
// itself, whatever the number of resources.
type index struct {
	dir    string
	memory int64
	seed   maphash.Seed

	mu     sync.Mutex
	size   int64
	shards [numShards]shard
}

type shard struct {
	tail []byte // records that are in no file
	file *os.File
}

// entry is one record of a shard.
type entry struct {
	defined bool   // the resource exists; else it is referred to
	key     []byte // TYPE/ID
	from    []byte // the resource that refers to it
	path    []byte // by which element
	at      place
}

func newIndex(temp string, memory int64) (*index, error) {
	if memory <= 0 {
		memory = defaultMemory
	}
	dir, err := os.MkdirTemp(temp, "cpcds2fhir-verify-")
	if err != nil {
		return nil, fmt.Errorf("create a folder for ids: %w", err)
	}
	return &index{dir: dir, memory: memory, seed: maphash.MakeSeed()}, nil
}

// remove removes the files.
func (x *index) remove() {
	for i := range x.shards {
		if f := x.shards[i].file; f != nil {
			f.Close()
		}
	}
	os.RemoveAll(x.dir)
}

func (x *index) shard(key string) int { return int(maphash.String(x.seed, key) % numShards) }

// local gathers the records of one reader.
type local struct {
	index  *index
	shards [numShards][]byte
	size   int
}

func (l *local) add(defined bool, key, from, path string, at place) error {
	x := l.index
	i := x.shard(key)
	b := l.shards[i]
	before := len(b)
	kind := byte(0)
	if defined {
		kind = 1
	}
	b = append(b, kind)
	for _, s := range []string{key, from, path} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	b = binary.AppendUvarint(b, uint64(at.input))
	b = binary.AppendUvarint(b, uint64(at.line))
	l.shards[i] = b
	if l.size += len(b) - before; int64(l.size) < min(localMemory, x.memory/16) {
		return nil
	}
	return l.flush()
}

// flush hands the records to the index.
func (l *local) flush() error {
	x := l.index
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, b := range l.shards {
		x.shards[i].tail = append(x.shards[i].tail, b...)
		l.shards[i] = b[:0]
	}
	x.size += int64(l.size)
	l.size = 0
	if x.size < x.memory {
		return nil
	}
	for i := range x.shards {
		if err := x.spill(i); err != nil {
			return fmt.Errorf("write ids and references: %w", err)
		}
	}
	x.size = 0
	return nil
}

// spill appends the records of a shard to its file.
func (x *index) spill(i int) error {
	s := &x.shards[i]
	if s.file == nil {
		f, err := os.OpenFile(filepath.Join(x.dir, fmt.Sprintf("shard-%03d", i)), os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		s.file = f
	}
	_, err := s.file.Write(s.tail)
	s.tail = s.tail[:0]
	return err
}

// resolve finds duplicates, unless resources may repeat, and references to missing resources.
func (x *index) resolve(ctx context.Context, workers int, repeat bool, r *Report, found *problems) error {
	var duplicates, nowhere, distinct atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for i := range x.shards {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			records, err := x.records(i)
			if err != nil {
				return fmt.Errorf("read back ids and references: %w", err)
			}
			s := newResolved()
			for len(records) > 0 {
				var e entry
				if records, err = e.decode(records); err != nil {
					return err
				}
				s.add(&e)
			}
			if repeat {
				s.again = nil
			}
			duplicates.Add(int64(len(s.again)))
			distinct.Add(int64(len(s.wanted)))
			nowhere.Add(s.report(found))
			x.shards[i].tail = nil
			return nil
		})
	}
	err := g.Wait()
	r.Duplicates, r.References.Nowhere, r.References.Distinct = duplicates.Load(), nowhere.Load(), distinct.Load()
	return err
}

func (x *index) records(i int) ([]byte, error) {
	s := &x.shards[i]
	if s.file == nil {
		return s.tail, nil
	}
	info, err := s.file.Stat()
	if err != nil {
		return nil, err
	}
	all := make([]byte, info.Size(), info.Size()+int64(len(s.tail)))
	if _, err := s.file.ReadAt(all, 0); err != nil {
		return nil, err
	}
	return append(all, s.tail...), nil
}

var errRecord = errors.New("a record of ids and references is damaged")

// decode reads a record and returns what follows it. The entry points into b.
func (e *entry) decode(b []byte) ([]byte, error) {
	number := func() uint64 {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			b = nil
			return 0
		}
		b = b[size:]
		return n
	}
	if len(b) == 0 {
		return nil, errRecord
	}
	e.defined = b[0] == 1
	b = b[1:]
	for _, s := range []*[]byte{&e.key, &e.from, &e.path} {
		n := number()
		if n > uint64(len(b)) {
			return nil, errRecord
		}
		*s, b = b[:n], b[n:]
	}
	e.at.input = int(number()) //nolint:gosec // written from an int
	if len(b) == 0 {
		return nil, errRecord
	}
	e.at.line = int64(number()) //nolint:gosec // written from an int64
	return b, nil
}

// resolved is one shard while it is resolved.
type resolved struct {
	there  map[string]place // the first place of each resource
	again  []entry          // places beyond the first
	wanted map[string]entry // the first reference to each
}

func newResolved() *resolved {
	return &resolved{there: map[string]place{}, wanted: map[string]entry{}}
}

func (s *resolved) add(e *entry) {
	if !e.defined {
		if w, ok := s.wanted[string(e.key)]; !ok || e.before(&w) {
			s.wanted[string(e.key)] = *e
		}
		return
	}
	first, ok := s.there[string(e.key)]
	if ok && first.compare(e.at) <= 0 {
		s.again = append(s.again, *e)
		return
	}
	s.there[string(e.key)] = e.at
	if ok {
		later := *e
		later.at = first
		s.again = append(s.again, later)
	}
}

// before orders references, so that the same one is reported in whatever order they were read.
func (e *entry) before(w *entry) bool {
	if c := e.at.compare(w.at); c != 0 {
		return c < 0
	}
	return bytes.Compare(e.path, w.path) < 0
}

// report adds duplicates and references to missing resources.
func (s *resolved) report(found *problems) (nowhere int64) {
	for i := range s.again {
		first := s.there[string(s.again[i].key)]
		found.add(Problem{Check: CheckDuplicate, Resource: string(s.again[i].key), Message: "duplicate", at: s.again[i].at, first: &first})
	}
	for key, w := range s.wanted {
		if _, ok := s.there[key]; !ok {
			nowhere++
			found.add(Problem{Check: CheckReference, Resource: string(w.from), Message: string(w.path) + " refers to " + key + ", which does not exist", at: w.at})
		}
	}
	return nowhere
}
