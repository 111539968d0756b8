package store

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"cpcds2fhir/schemas/fhir"
)

// stripes lock resources, so that if two batches write one resource at once, the later sees what
// the earlier wrote. There are so many that two batches of a few hundred different resources rarely
// share one.
type stripes struct {
	seed  maphash.Seed
	locks [1 << 14]stripe
}

// stripe counts how often it was unlocked. What was read without the lock, after reading the count,
// is still valid under the lock if the count is unchanged.
type stripe struct {
	sync.Mutex
	unlocked atomic.Uint64
}

func (s *stripes) of(t fhir.Type, id string) uint16 {
	return uint16((maphash.String(s.seed, id) + uint64(t)) % uint64(len(s.locks)))
}

// lock takes the stripes in ascending order, which keeps two batches from waiting
// for each other. It sorts held and drops duplicates; the result is for unlock.
func (s *stripes) lock(held []uint16) []uint16 {
	slices.Sort(held)
	held = slices.Compact(held)
	for _, i := range held {
		s.locks[i].Lock()
	}
	return held
}

func (s *stripes) unlock(held []uint16) {
	for _, i := range held {
		s.locks[i].unlocked.Add(1)
		s.locks[i].Unlock()
	}
}

// barrier returns once every batch that held a stripe when it was called has ended.
func (s *stripes) barrier() {
	for i := range s.locks {
		s.locks[i].Lock()
		s.locks[i].Unlock() //nolint:staticcheck // waiting for the others is all that it is for
	}
}
