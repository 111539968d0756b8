package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"cpcds2fhir/schemas/fhir"
)

// Handle is what the users of a store need. A *Store implements it for the process that has the
// store open; *owner.Shared also for others, with the same contracts. Its methods are safe for
// concurrent use and keep the contracts of the methods of Store.
//
// What differs if the store belongs to another process: Apply may call seal several times, each
// operation may fail because the owner is lost, and Apply and PutMeta may then fail with
// *UnknownError.
type Handle interface {
	Apply(ctx context.Context, b *fhir.Batch, seal Seal) error
	Compare(ctx context.Context, b *fhir.Batch) ([]Outcome, error)
	Take(ctx context.Context, name string) (Lease, error)

	Meta(name string) ([]byte, error)
	Metas(names []string) ([][]byte, error)
	PutMeta(records map[string][]byte) error
	AllMeta(prefix string) iter.Seq2[MetaRecord, error]

	Get(ctx context.Context, t fhir.Type, id string) (*Entry, error)
	GetVersion(ctx context.Context, t fhir.Type, id string, version uint32) (*Entry, error)
	SourceVersion(ctx context.Context, t fhir.Type, id string) (string, error)
	History(ctx context.Context, t fhir.Type, id string) iter.Seq2[*Entry, error]
	Search(ctx context.Context, q *Query) iter.Seq2[*Entry, error]
	Export(ctx context.Context, types ...fhir.Type) iter.Seq2[*Entry, error]
	Stats(ctx context.Context) (*Stats, error)
	Watermark(ctx context.Context) (time.Time, error)
	Changes(ctx context.Context, t fhir.Type, since int64, after *Change) iter.Seq2[Change, error]

	Close() error
}

var _ Handle = (*Store)(nil)

// UnknownError says that the owner of a store was lost while it wrote: all of the call was written
// or nothing. The caller reads what the store has, for example a checkpoint that it put in the same
// Apply, and goes on from there. A *Store never returns it.
type UnknownError struct {
	Err error // how the owner was lost
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("the store's owner was lost, and whether it has written is unknown: %v", e.Err)
}

func (e *UnknownError) Unwrap() error { return e.Err }

// Metas returns the meta records with these names, in order; nil if there is none. A record that is
// empty is not nil. The values are the caller's. Each is as it was at some moment during the call,
// but not all at the same one.
func (s *Store) Metas(names []string) ([][]byte, error) {
	if err := s.enter(context.Background()); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.current(names)
}

// current is Metas without the counting of users.
func (s *Store) current(names []string) ([][]byte, error) {
	values := make([][]byte, len(names))
	unknown := make([]unknownMeta, 0, len(names))
	for i, n := range names {
		if s.absent.has(n) {
			continue
		}
		v, ok, writes := s.metas.get(n)
		if values[i] = v; !ok {
			unknown = append(unknown, unknownMeta{i, writes})
		}
	}
	if err := s.readMetas(names, unknown, values); err != nil {
		return nil, fmt.Errorf("read meta records: %w", withoutKeys(err))
	}
	for _, u := range unknown {
		if v := values[u.index]; len(v) > 0 && len(v) <= maxCachedMeta {
			s.metas.put(names[u.index], v, u.writes)
		}
	}
	return values, nil
}

// maxCachedMeta is the size of the largest record that is kept in memory: those of a directory are
// smaller, messages that wait are not and are read once.
const maxCachedMeta = 512

// unknownMeta is a record that is to be read.
type unknownMeta struct {
	index  int    // of its name
	writes uint64 // see metaCache.get
}

// readMetas reads records in key order with one iterator, as applier.findAll does.
func (s *Store) readMetas(names []string, unknown []unknownMeta, values [][]byte) (err error) {
	if len(unknown) == 0 {
		return nil
	}
	slices.SortFunc(unknown, func(x, y unknownMeta) int { return strings.Compare(names[x.index], names[y.index]) })
	space := metaKey("")
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: space, UpperBound: after(space), UseL6Filters: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for _, u := range unknown {
		i := u.index
		if !it.SeekPrefixGE(metaKey(names[i])) {
			if err := it.Error(); err != nil {
				return err
			}
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		values[i] = append(make([]byte, 0, len(v)), v...)
	}
	return nil
}
