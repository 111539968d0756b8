package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

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
// empty is not nil. The values are the caller's. Records that one Apply wrote are seen together.
func (s *Store) Metas(names []string) ([][]byte, error) {
	if err := s.enter(context.Background()); err != nil {
		return nil, err
	}
	defer s.leave()
	values := make([][]byte, len(names))
	if err := s.metas(names, values); err != nil {
		return nil, fmt.Errorf("read meta records: %w", withoutKeys(err))
	}
	return values, nil
}

// metas reads records in key order with one iterator, as applier.findAll does.
func (s *Store) metas(names []string, values [][]byte) (err error) {
	order := make([]int, len(names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(names[i], names[j]) })
	space := metaKey("")
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: space, UpperBound: after(space), UseL6Filters: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for _, i := range order {
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
