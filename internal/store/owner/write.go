package owner

import (
	"context"
	"errors"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// Apply implements store.Handle.
//
// If another process owns the store, the batch goes there first, and comes back as its outcomes: no
// lock is held while seal runs. The commit goes there with the next message; the owner writes it if
// the outcomes are still the same, else it answers the new ones and seal is called again.
func (s *Shared) Apply(ctx context.Context, b *fhir.Batch, seal store.Seal) error {
	if seal == nil {
		seal = func([]store.Outcome) (store.Commit, error) { return store.Commit{}, nil }
	}
	return s.write(ctx, func(st *store.Store) error { return st.Apply(ctx, b, seal) }, func(c *conn, x *receipt) error {
		began := time.Now()
		if err := c.sendBatch(askApply, b); err != nil {
			return err
		}
		kind, d, err := c.answer()
		for step := store.Comparing; err == nil && kind == sayOutcomes; step = store.Writing {
			outcomes := d.outcomes(make([]store.Outcome, 0, b.Len()))
			if d.end() != nil || len(outcomes) != b.Len() {
				return &brokenError{errMessage}
			}
			began = s.observe(step, began)
			commit, err := seal(outcomes)
			if err != nil {
				c.abort()
				return err
			}
			next := x.next(written)
			if err := c.sendCommit(askCommit, x.add(commit, next), func() { x.doubt = next }); err != nil {
				return err
			}
			if kind, d, err = c.answer(); err == nil && kind == sayOutcomes {
				x.doubt = nil // not written, so far
				continue
			}
			if err == nil && kind != sayDone {
				err = &brokenError{errMessage}
			}
			s.observe(store.Syncing, began)
			return x.result(err)
		}
		if err == nil {
			err = &brokenError{errMessage}
		}
		return err
	})
}

// observe reports a step as Apply of a store does.
func (s *Shared) observe(step store.Step, began time.Time) time.Time {
	now := time.Now()
	if s.store.Observe != nil {
		s.store.Observe(step, now.Sub(began))
	}
	return now
}

// result is the result of a write whose answer is err.
func (x *receipt) result(err error) error {
	if _, broken := errors.AsType[*brokenError](err); broken {
		return err
	}
	if err == nil {
		x.value = x.doubt
	}
	x.doubt = nil
	return err
}

// PutMeta implements store.Handle.
func (s *Shared) PutMeta(records map[string][]byte) error {
	var commit store.Commit
	for name, value := range records {
		commit.Put = append(commit.Put, store.MetaRecord{Name: name, Value: value})
	}
	return s.write(context.Background(), func(st *store.Store) error { return st.PutMeta(records) }, func(c *conn, x *receipt) error {
		next := x.next(written)
		err := c.sendCommit(askPut, x.add(commit, next), func() { x.doubt = next })
		if err != nil {
			return err
		}
		return x.result(c.finish(nil))
	})
}

// Take implements store.Handle. If the owner is lost meanwhile it takes the lease again, with a
// later epoch.
func (s *Shared) Take(ctx context.Context, name string) (lease store.Lease, err error) {
	if s.readOnly {
		return lease, store.ErrReadOnly
	}
	err = s.run(ctx, func(st *store.Store) (err error) {
		lease, err = st.Take(ctx, name)
		return err
	}, func(c *conn) error {
		c.enc.begin(askTake)
		c.enc.text(name)
		return c.ask(func(d *decoder) { lease = store.Lease{Name: name, Epoch: d.uint()} })
	})
	return lease, err
}

// write does a write exactly once, with a receipt if another process does it.
func (s *Shared) write(ctx context.Context, local func(st *store.Store) error, remote func(c *conn, x *receipt) error) error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	var x *receipt
	err := s.run(ctx, func(st *store.Store) error {
		if x != nil && x.doubt != nil {
			if happened, err := x.settle(ctx, direct{st}); happened || err != nil {
				return err
			}
		}
		return local(st)
	}, func(c *conn) error {
		if x == nil {
			x = s.receipts.take()
		}
		if x.doubt != nil {
			if happened, err := x.settle(ctx, c); happened || err != nil {
				return err
			}
		}
		for {
			if x.value == nil {
				if err := x.make(ctx, c); err != nil {
					return err
				}
			}
			err := remote(c, x)
			if !errors.Is(err, store.ErrChanged) {
				return err
			}
			if missing, errRead := x.missing(c); errRead != nil || !missing {
				return errors.Join(err, errRead)
			}
			x.value = nil // it was too old
		}
	})
	if x == nil {
		return err
	}
	unknown, ok := errors.AsType[*store.UnknownError](err)
	if x.doubt != nil && err != nil && !ok {
		unknown, ok = &store.UnknownError{Err: err}, true
	}
	if ok {
		return unknown
	}
	s.receipts.giveBack(x)
	return err
}

// put makes a commit durable, without a receipt.
func (c *conn) put(_ context.Context, commit *store.Commit) error {
	if err := c.sendCommit(askPut, commit, func() {}); err != nil {
		return err
	}
	return c.finish(nil)
}

// sendCommit sends a request with a commit, and calls sending once it is known to be small enough.
func (c *conn) sendCommit(kind byte, commit *store.Commit, sending func()) error {
	c.enc.begin(kind)
	c.enc.commit(commit)
	if err := c.enc.end(0); err != nil {
		if kind == askCommit {
			c.abort()
		}
		return err
	}
	sending()
	return c.send()
}

// abort lets the owner forget the batch.
func (c *conn) abort() {
	c.enc.begin(askAbort)
	if c.send() == nil { // else the connection is not used again
		c.pending = false
	}
}

// metas asks for meta records.
func (c *conn) metas(names []string) (values [][]byte, err error) {
	c.enc.begin(askMetas)
	c.enc.uint(uint64(len(names)))
	for _, name := range names {
		c.enc.text(name)
	}
	err = c.ask(func(d *decoder) {
		values = make([][]byte, len(names))
		if d.count(1) != len(names) {
			d.fail()
		}
		for i := range values {
			values[i] = d.optional()
		}
	})
	return values, err
}
