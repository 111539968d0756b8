package store

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"
)

// Streams look up several meta records for each claim, mostly the same ones: the providers, the payer,
// and the member whose claims come one after the other. A read from Pebble costs as much as mapping a
// tenth of a claim, so what was read lately stays in memory (metaCache), and so does what is not there
// (metaAbsent). Every write of a record passes here, so both are always right.

// metaCacheBytes is how much memory the cache takes: 40,000 to 80,000 records of a directory.
const metaCacheBytes = 8 << 20

// metaEntryBytes is what an entry takes besides its name and value.
const metaEntryBytes = 96

// metaCache holds meta records that were read lately. The zero value is empty. It is safe for
// concurrent use.
type metaCache struct {
	shards [64]metaShard
}

// metaShard keeps the records that were used since it was half full the last time, and those that were
// used in the half before.
type metaShard struct {
	mu       sync.Mutex
	writes   uint64 // counts dropped records, so that a reader does not bring back an old value
	now, old map[string][]byte
	bytes    int // of now
}

func (c *metaCache) shard(name string) *metaShard {
	return &c.shards[xxh3.HashString(name)%uint64(len(c.shards))]
}

// get returns a copy of a record, and otherwise what put needs after the store was read.
func (c *metaCache) get(name string) (value []byte, ok bool, writes uint64) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.now[name]
	if !ok {
		if v, ok = s.old[name]; !ok {
			return nil, false, s.writes
		}
		s.keep(name, v)
	}
	return append(make([]byte, 0, len(v)), v...), true, s.writes
}

// put keeps a record that was read after get, unless it may have been written meanwhile.
func (c *metaCache) put(name string, value []byte, writes uint64) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writes == writes {
		s.keep(strings.Clone(name), append(make([]byte, 0, len(value)), value...))
	}
}

func (s *metaShard) keep(name string, value []byte) {
	if s.now == nil {
		s.now = map[string][]byte{}
	}
	s.now[name] = value
	s.bytes += len(name) + len(value) + metaEntryBytes
	if s.bytes > metaCacheBytes/len(metaCache{}.shards)/2 {
		s.now, s.old, s.bytes = nil, s.now, 0
	}
}

// drop forgets records that were written. It is called once readers of the store see them, and before
// the writer knows that they do.
func (c *metaCache) drop(records []MetaRecord) {
	for _, r := range records {
		s := c.shard(r.Name)
		s.mu.Lock()
		s.writes++
		delete(s.now, r.Name)
		delete(s.old, r.Name)
		s.mu.Unlock()
	}
}

// metaAbsent knows which records are not there, of spaces that have few: what begins with
// Options.Sparse. It is a filter: a record that it does not know is not there. What is removed stays
// in it until the store is opened again. The zero value knows nothing.
type metaAbsent struct {
	prefixes []string
	bits     []atomic.Uint64
}

// metaAbsentBits is the size of the filter: 2 MiB, of which a million records fill a sixteenth.
const metaAbsentBits = 1 << 24

// open adds the records that a store has.
func (a *metaAbsent) open(s *Store, prefixes []string) error {
	if len(prefixes) == 0 {
		return nil
	}
	a.bits = make([]atomic.Uint64, metaAbsentBits/64)
	for _, p := range prefixes {
		for r, err := range s.AllMeta(p) {
			if err != nil {
				return err
			}
			a.set(r.Name)
		}
	}
	a.prefixes = prefixes
	return nil
}

func (a *metaAbsent) set(name string) {
	i := xxh3.HashString(name) % metaAbsentBits
	a.bits[i/64].Or(1 << (i % 64))
}

func (a *metaAbsent) covers(name string) bool {
	for _, p := range a.prefixes {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return false
}

// add notes records that are about to be written, before anybody can read them.
func (a *metaAbsent) add(records []MetaRecord) {
	for _, r := range records {
		if r.Value != nil && a.covers(r.Name) {
			a.set(r.Name)
		}
	}
}

// has reports that a record is certainly not there.
func (a *metaAbsent) has(name string) bool {
	if !a.covers(name) {
		return false
	}
	i := xxh3.HashString(name) % metaAbsentBits
	return a.bits[i/64].Load()&(1<<(i%64)) == 0
}
