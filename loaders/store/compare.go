package store

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/store/owner"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// Comparer is a pipeline.Loader that loads nothing and finds out what a load would do: its
// outcomes are those of the store as it is. It remembers no checkpoints.
type Comparer struct{ store store.Handle }

var _ pipeline.Loader = (*Comparer)(nil)

// OpenComparer opens the store in dir for reading, also while a process loads into it. If there is
// no store, everything would be created. It fails with *KeyError, or as owner.OpenReader does.
func OpenComparer(dir, keyFingerprint string, memory int64) (*Comparer, error) {
	c, err := openComparer(dir, memory)
	if err != nil || c.store == nil {
		return c, err
	}
	if err := CheckKey(c.store, dir, keyFingerprint); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func openComparer(dir string, memory int64) (*Comparer, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return &Comparer{}, nil
	}
	s, err := owner.OpenReader(dir, store.Options{Memory: memory}, owner.Options{})
	if err != nil {
		return nil, err
	}
	return &Comparer{s}, nil
}

// CheckKey fails with *KeyError if a store was loaded with another id key than that of the fingerprint.
func CheckKey(s store.Handle, dir, keyFingerprint string) error {
	have, err := s.Meta(store.MetaIDKey)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case err != nil:
		return err
	case string(have) != keyFingerprint:
		return &KeyError{Dir: dir, Have: string(have), Given: keyFingerprint}
	}
	return nil
}

// KeyOf returns the fingerprint of the id key that the store in dir was loaded with, "" if there is no store. It
// fails as owner.OpenReader does.
func KeyOf(dir string, memory int64) (fingerprint string, err error) {
	c, err := openComparer(dir, memory)
	if err != nil || c.store == nil {
		return "", err
	}
	have, err := c.store.Meta(store.MetaIDKey)
	if errors.Is(err, store.ErrNotFound) {
		have, err = nil, nil
	}
	return string(have), errors.Join(err, c.Close())
}

// Resume implements pipeline.Loader.
func (c *Comparer) Resume(context.Context, string) (pipeline.Checkpoint, error) {
	return pipeline.Checkpoint{}, nil
}

// Load implements pipeline.Loader.
func (c *Comparer) Load(ctx context.Context, _ string, b *fhir.Batch, seal pipeline.Seal) error {
	outcomes := make([]pipeline.Outcome, b.Len()) // all of them Created
	if c.store != nil {
		got, err := c.store.Compare(ctx, b)
		if err != nil {
			return err
		}
		for i, o := range got {
			outcomes[i] = outcomeOf[o]
		}
	} else if err := ctx.Err(); err != nil {
		return err
	}
	_, err := seal(outcomes, nil)
	return err
}

// Finish implements pipeline.Loader.
func (c *Comparer) Finish(context.Context, *pipeline.Account) error { return nil }

// Close implements pipeline.Loader.
func (c *Comparer) Close() error {
	if c.store == nil {
		return nil
	}
	return c.store.Close()
}
