package owner

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// Compare implements store.Handle.
func (s *Shared) Compare(ctx context.Context, b *fhir.Batch) (outcomes []store.Outcome, err error) {
	err = s.run(ctx, func(st *store.Store) (err error) {
		outcomes, err = st.Compare(ctx, b)
		return err
	}, func(c *conn) error {
		if err := c.sendBatch(askCompare, b); err != nil {
			return err
		}
		return c.finish(func(d *decoder) { outcomes = d.outcomes(make([]store.Outcome, 0, b.Len())) })
	})
	return outcomes, err
}

// Meta implements store.Handle.
func (s *Shared) Meta(name string) ([]byte, error) {
	values, err := s.Metas([]string{name})
	if err != nil {
		return nil, err
	}
	if values[0] == nil {
		return nil, store.ErrNotFound
	}
	return values[0], nil
}

// Metas implements store.Handle. It is one round trip to the owner.
func (s *Shared) Metas(names []string) (values [][]byte, err error) {
	err = s.run(context.Background(), func(st *store.Store) (err error) {
		values, err = st.Metas(names)
		return err
	}, func(c *conn) (err error) {
		values, err = c.metas(names)
		return err
	})
	return values, err
}

// AllMeta implements store.Handle.
func (s *Shared) AllMeta(prefix string) iter.Seq2[store.MetaRecord, error] {
	return stream(context.Background(), s, func(st *store.Store) iter.Seq2[store.MetaRecord, error] { return st.AllMeta(prefix) },
		func(e *encoder) {
			e.begin(askAllMeta)
			e.text(prefix)
		},
		func(d *decoder) store.MetaRecord { return store.MetaRecord{Name: d.text(), Value: d.view()} })
}

// Get implements store.Handle.
func (s *Shared) Get(ctx context.Context, t fhir.Type, id string) (*store.Entry, error) {
	return s.get(ctx, t, id, 0, func(st *store.Store) (*store.Entry, error) { return st.Get(ctx, t, id) })
}

// GetVersion implements store.Handle.
func (s *Shared) GetVersion(ctx context.Context, t fhir.Type, id string, version uint32) (*store.Entry, error) {
	if version == 0 { // the first is 1
		return nil, store.ErrNotFound
	}
	return s.get(ctx, t, id, version, func(st *store.Store) (*store.Entry, error) { return st.GetVersion(ctx, t, id, version) })
}

// get asks for a version, 0 for the newest.
func (s *Shared) get(ctx context.Context, t fhir.Type, id string, version uint32, local func(st *store.Store) (*store.Entry, error)) (entry *store.Entry, err error) {
	err = s.run(ctx, func(st *store.Store) (err error) {
		entry, err = local(st)
		return err
	}, func(c *conn) error {
		c.enc.begin(askGet)
		c.enc.resource(t, id)
		c.enc.uint(uint64(version))
		return c.ask(func(d *decoder) {
			entry = &store.Entry{}
			d.entry(entry)
		})
	})
	if err != nil {
		return nil, err
	}
	return entry, nil
}

// SourceVersion implements store.Handle.
func (s *Shared) SourceVersion(ctx context.Context, t fhir.Type, id string) (version string, err error) {
	err = s.run(ctx, func(st *store.Store) (err error) {
		version, err = st.SourceVersion(ctx, t, id)
		return err
	}, func(c *conn) error {
		c.enc.begin(askSourceVersion)
		c.enc.resource(t, id)
		return c.ask(func(d *decoder) { version = d.text() })
	})
	return version, err
}

// Watermark implements store.Handle.
func (s *Shared) Watermark(ctx context.Context) (at time.Time, err error) {
	err = s.run(ctx, func(st *store.Store) (err error) {
		at, err = st.Watermark(ctx)
		return err
	}, func(c *conn) error {
		c.enc.begin(askWatermark)
		return c.ask(func(d *decoder) { at = time.UnixMilli(int64(d.uint())) })
	})
	return at, err
}

// Changes implements store.Handle.
func (s *Shared) Changes(ctx context.Context, t fhir.Type, since int64, after *store.Change) iter.Seq2[store.Change, error] {
	return stream(ctx, s, func(st *store.Store) iter.Seq2[store.Change, error] { return st.Changes(ctx, t, since, after) },
		func(e *encoder) {
			e.begin(askChanges)
			e.uint(uint64(t))
			e.uint(uint64(max(since, 0)))
			e.bool(after != nil)
			if after != nil {
				e.change(*after)
			}
		},
		func(d *decoder) store.Change { return d.change() })
}

// History implements store.Handle.
func (s *Shared) History(ctx context.Context, t fhir.Type, id string) iter.Seq2[*store.Entry, error] {
	return s.entries(ctx, func(st *store.Store) iter.Seq2[*store.Entry, error] { return st.History(ctx, t, id) }, func(e *encoder) {
		e.begin(askHistory)
		e.resource(t, id)
	})
}

// Search implements store.Handle.
func (s *Shared) Search(ctx context.Context, q *store.Query) iter.Seq2[*store.Entry, error] {
	return s.entries(ctx, func(st *store.Store) iter.Seq2[*store.Entry, error] { return st.Search(ctx, q) }, func(e *encoder) {
		e.begin(askSearch)
		e.query(q)
	})
}

// Export implements store.Handle.
func (s *Shared) Export(ctx context.Context, types ...fhir.Type) iter.Seq2[*store.Entry, error] {
	return s.entries(ctx, func(st *store.Store) iter.Seq2[*store.Entry, error] { return st.Export(ctx, types...) }, func(e *encoder) {
		e.begin(askExport)
		e.uint(uint64(len(types)))
		for _, t := range types {
			e.buf = append(e.buf, byte(t))
		}
	})
}

// Stats implements store.Handle.
func (s *Shared) Stats(ctx context.Context) (stats *store.Stats, err error) {
	err = s.run(ctx, func(st *store.Store) (err error) {
		stats, err = st.Stats(ctx)
		return err
	}, func(c *conn) error {
		c.enc.begin(askStats)
		return c.ask(func(d *decoder) {
			stats = new(store.Stats)
			if json.Unmarshal(d.view(), stats) != nil {
				d.fail()
			}
		})
	})
	if err != nil {
		return nil, err
	}
	return stats, nil
}

func (e *encoder) resource(t fhir.Type, id string) {
	e.buf = append(e.buf, byte(t))
	e.text(id)
}

func (d *decoder) resource() (t fhir.Type, id string) {
	if v := d.take(1); len(v) == 1 {
		t = fhir.Type(v[0])
	}
	return t, d.text()
}

// entries yields the entries of an answer; each overwrites the one before.
func (s *Shared) entries(ctx context.Context, local func(st *store.Store) iter.Seq2[*store.Entry, error], ask func(e *encoder)) iter.Seq2[*store.Entry, error] {
	var entry store.Entry
	return stream(ctx, s, local, ask, func(d *decoder) *store.Entry {
		d.entry(&entry)
		return &entry
	})
}

// stream yields what an owner answers in parts. The owner waits while the caller is busy with a
// part, but not forever. An error ends it.
func stream[T any](ctx context.Context, s *Shared, local func(st *store.Store) iter.Seq2[T, error], ask func(e *encoder), read func(d *decoder) T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		yielded := false
		err := s.run(ctx, func(st *store.Store) error {
			for x, err := range local(st) {
				if !yield(x, err) {
					break
				}
			}
			return nil
		}, func(c *conn) error {
			ask(&c.enc)
			err := c.parts(func(d *decoder) bool {
				x := read(d)
				if d.bad {
					return true
				}
				yielded = true
				return yield(x, nil)
			})
			if broken, ok := errors.AsType[*brokenError](err); ok && yielded && ctx.Err() == nil {
				return &LostError{broken.err}
			}
			return err
		})
		if err != nil {
			var none T
			yield(none, err)
		}
	}
}
