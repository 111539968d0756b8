package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"cpcds2fhir/schemas/fhir"
)

// Every version has the instant of its commit, in milliseconds since 1970. Whoever asks for what has
// changed since some moment must see a claim that was loaded late, whatever date the source gives it.
// Instants never go back in a store, whatever the system's clock does, and an index has the versions
// in their order.

// instants gives commits their instants. It is safe for concurrent use.
type instants struct {
	mu     sync.Mutex
	last   int64
	flying map[int64]int // commits that readers do not see yet, by instant
	now    func() time.Time
}

// begin returns the instant of a commit that begins.
func (i *instants) begin() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.tick()
	i.flying[t]++
	return t
}

func (i *instants) tick() int64 {
	i.last = max(i.last, i.now().UnixMilli())
	return i.last
}

// end says that readers see a commit, or never will.
func (i *instants) end(t int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.flying[t]--; i.flying[t] == 0 {
		delete(i.flying, t)
	}
}

// watermark returns an instant so that readers see all commits before it, and no commit before it will
// come.
func (i *instants) watermark() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.tick()
	for f := range i.flying {
		t = min(t, f)
	}
	return t
}

// Watermark returns a moment so that a search which begins now sees everything that was committed before
// it, and everything that is committed later has this moment or a later one.
func (s *Store) Watermark(ctx context.Context) (time.Time, error) {
	if err := s.enter(ctx); err != nil {
		return time.Time{}, err
	}
	defer s.leave()
	if s.readOnly {
		return time.UnixMilli(s.instants.last), nil
	}
	return time.UnixMilli(s.instants.watermark()), nil
}

// Updated is when a version became what it is for whoever reads the store: the source's date or the
// commit, whichever is later, as a FHIR instant.
func (e *Entry) Updated() string { return later(e.LastUpdated, e.Commit) }

// UpdatedAt is Updated in milliseconds since 1970, 0 if the source's date cannot be read and the commit is not
// known.
func (e *Entry) UpdatedAt() int64 {
	p, ok := parseDate(e.LastUpdated)
	if !ok {
		return e.Commit
	}
	return max(p.begin, e.Commit)
}

func later(updated string, commit int64) string {
	if p, ok := parseDate(updated); commit == 0 || ok && p.begin >= commit {
		return updated
	}
	return time.UnixMilli(commit).UTC().Format("2006-01-02T15:04:05.000Z")
}

// openFeed finds the last instant of the store, and the one of versions from before there were any.
func (s *Store) openFeed() error {
	s.instants.flying, s.instants.now = map[int64]int{}, time.Now
	for t := range fhir.NumTypes {
		if err := s.lastCommit(t); err != nil {
			return fmt.Errorf("read the last commit: %w", err)
		}
	}
	err := view(s.db, metaKey(feedBeganName), func(v []byte) error {
		if len(v) != 8 {
			return &CorruptError{s.dir, "the beginning of the change feed"}
		}
		s.began = int64(binary.BigEndian.Uint64(v))
		return nil
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("read the beginning of the change feed: %w", err)
	}
	s.instants.last = max(s.instants.last, s.began)
	return nil
}

// lastCommit reads the last instant of a type.
func (s *Store) lastCommit(t fhir.Type) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{commitSpace, byte(t)}, UpperBound: []byte{commitSpace, byte(t) + 1}})
	if err != nil {
		return err
	}
	if it.Last() {
		if c, ok := decodeCommitKey(it.Key()); ok {
			s.instants.last = max(s.instants.last, c.Commit)
		}
	}
	return errors.Join(it.Error(), it.Close())
}

// feedBeganName is the meta record with the instant at which an earlier release's store was upgraded: all
// versions without an instant have this one.
const feedBeganName = "feed-began"

// commitOf is the instant of a version whose record says n.
func (s *Store) commitOf(n int64) int64 {
	if n == 0 {
		return s.began
	}
	return n
}

// Change is a version of a resource, in the order of commits.
type Change struct {
	Commit  int64 // milliseconds since 1970
	Type    fhir.Type
	ID      string
	Version uint32
	Origin  string // see Commit.Origin; "" if it is not known

	// Restored is the version whose content a correction has brought back with this one; 0 if none.
	Restored uint32
}

// appendOrigin appends what the change feed says of a version: what made it and, after a zero byte, which version
// was restored.
func (c *Change) appendOrigin(b []byte, origin string) []byte {
	if b = append(b, origin...); c.Restored > 0 {
		b = binary.AppendUvarint(append(b, 0), uint64(c.Restored))
	}
	return b
}

func (c *Change) readOrigin(v []byte) {
	origin, rest, _ := bytes.Cut(v, []byte{0})
	n, _ := binary.Uvarint(rest)
	c.Origin, c.Restored = string(origin), uint32(n)
}

// Changes yields the versions of a type that were committed at an instant or later, in the order of their
// commits; those of one instant by id. after, unless it is nil, is the last one that the caller knows.
// An error ends it.
func (s *Store) Changes(ctx context.Context, t fhir.Type, since int64, after *Change) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := s.enter(ctx); err != nil {
			yield(Change{}, err)
			return
		}
		defer s.leave()
		lower := appendCommitPrefix(nil, t, since)
		if after != nil && after.Commit >= since {
			lower = append(appendCommitKey(nil, t, after.ID, after.Version, after.Commit), 0)
		}
		it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: []byte{commitSpace, byte(t) + 1}})
		if err != nil {
			yield(Change{}, readError(t, err))
			return
		}
		defer func() { _ = it.Close() }() // its error is that of it.Error
		for ok := it.First(); ok; ok = it.Next() {
			c, ok := decodeCommitKey(it.Key())
			v, err := it.ValueAndErr()
			if err != nil {
				yield(Change{}, readError(t, err))
				return
			}
			if c.readOrigin(v); !ok {
				yield(Change{}, &CorruptError{s.dir, "the key of a commit"})
				return
			}
			if err := ctx.Err(); err != nil {
				yield(Change{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(Change{}, readError(t, err))
		}
	}
}

// The keys of the index of commits: c . <type> . <instant, 8 BE> . <id> . 00 . <version, 4 BE>.

func appendCommitPrefix(k []byte, t fhir.Type, commit int64) []byte {
	return binary.BigEndian.AppendUint64(append(k, commitSpace, byte(t)), uint64(max(commit, 0)))
}

func appendCommitKey(k []byte, t fhir.Type, id string, version uint32, commit int64) []byte {
	return appendUint32(append(append(appendCommitPrefix(k, t, commit), id...), 0), version)
}

func decodeCommitKey(k []byte) (c Change, ok bool) {
	if len(k) < 2+8+1+1+4 || k[len(k)-5] != 0 {
		return c, false
	}
	c.Type = fhir.Type(k[1])
	c.Commit = int64(binary.BigEndian.Uint64(k[2:]))
	c.ID = string(k[10 : len(k)-5])
	c.Version = binary.BigEndian.Uint32(k[len(k)-4:])
	return c, c.Commit <= math.MaxInt64/2
}
