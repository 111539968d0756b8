package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"
)

// Lease is the right to write for a lane of a stream. A later Take of the same name ends it, so that
// an owner that was stopped and wakes up late can write nothing. The zero value is no lease.
type Lease struct {
	Name  string
	Epoch uint64 // rises with every Take, also across restarts
}

// leasePrefix begins the names of the meta records that have the epochs of leases, 8 bytes each.
const leasePrefix = "lease/"

// Take makes the caller the only owner of a lease. It returns once every Apply under an earlier
// lease of this name has ended.
func (s *Store) Take(ctx context.Context, name string) (Lease, error) {
	if err := s.enterWriter(ctx); err != nil {
		return Lease{}, err
	}
	defer s.leave()
	unlock := s.guards.lock([]string{leasePrefix + name})
	defer unlock()
	epoch, err := s.epoch(name)
	if err != nil {
		return Lease{}, err
	}
	batch := s.db.NewBatch()
	put := []MetaRecord{{leasePrefix + name, binary.BigEndian.AppendUint64(nil, epoch+1)}}
	if err := s.setMeta(batch, put); err != nil {
		return Lease{}, errors.Join(err, batch.Close())
	}
	if err := s.commit(batch, func() { s.metas.drop(put) }); err != nil {
		return Lease{}, fmt.Errorf("take lease: %w", err)
	}
	return Lease{name, epoch + 1}, batch.Close()
}

// epoch is the epoch of a lease, 0 if it was never taken.
func (s *Store) epoch(name string) (epoch uint64, err error) {
	err = view(s.db, metaKey(leasePrefix+name), func(v []byte) error {
		if len(v) != 8 {
			return &CorruptError{s.dir, "a lease"}
		}
		epoch = binary.BigEndian.Uint64(v)
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("read lease: %w", err)
	}
	return epoch, nil
}

// guard locks the meta records of a commit and checks its lease and guards.
func (s *Store) guard(c *Commit) (unlock func(), err error) {
	var names []string
	if c.Lease != (Lease{}) {
		names = append(names, leasePrefix+c.Lease.Name)
	}
	for _, list := range [][]MetaRecord{c.Guards, c.Put} {
		for _, r := range list {
			names = append(names, r.Name)
		}
	}
	unlock = s.guards.lock(names)
	if c.Lease != (Lease{}) {
		epoch, err := s.epoch(c.Lease.Name)
		if err != nil {
			return unlock, err
		}
		if epoch != c.Lease.Epoch {
			return unlock, ErrFenced
		}
	}
	if len(c.Guards) == 0 {
		return unlock, nil
	}
	names = names[:0]
	for i, g := range c.Guards {
		if i == 0 || g.Name != c.Guards[i-1].Name { // alternatives usually stand together
			names = append(names, g.Name)
		}
	}
	values, err := s.current(names)
	if err != nil {
		return unlock, fmt.Errorf("guards: %w", err)
	}
	failed := map[string]bool{} // by name: no guard has matched
	for i, g := range c.Guards {
		if i > 0 && g.Name != c.Guards[i-1].Name {
			values = values[1:]
		}
		if same(values[0], g.Value) {
			failed[g.Name] = false
		} else if _, matched := failed[g.Name]; !matched {
			failed[g.Name] = true
		}
	}
	for _, none := range failed {
		if none {
			return unlock, ErrChanged
		}
	}
	return unlock, nil
}

// same reports whether two values are the same; nil is none.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// nameLocks lock meta records by name, from the check of a guard until later batches can see what
// was written. A call takes them after those of its resources.
type nameLocks struct {
	seed  maphash.Seed
	locks [1 << 12]sync.Mutex
}

// lock locks names, in an order that keeps two calls from waiting for each other.
func (l *nameLocks) lock(names []string) (unlock func()) {
	held := make([]uint16, len(names))
	for i, n := range names {
		held[i] = uint16(maphash.String(l.seed, n) % uint64(len(l.locks)))
	}
	slices.Sort(held)
	held = slices.Compact(held)
	for _, i := range held {
		l.locks[i].Lock()
	}
	return func() {
		for _, i := range held {
			l.locks[i].Unlock()
		}
	}
}
