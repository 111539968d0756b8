package owner

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// A receipt is a meta record that a user puts in the same act as what it writes, and guards at its
// old value. If the owner is lost before it has answered, the receipt tells whether it has written.
// To be sure that it will not do so later, because it is another connection that broke and the owner
// is busy with the request, the user puts a receipt of its own: only one of the two writes can
// succeed.
//
// A receipt has 8 bytes that rise with each write, one that tells the write of a request from that
// of a user who asks, and 8 with the time in seconds, for addOldReceipts.

const (
	receiptSpace = "owner/receipt/" // followed by the id of a user and a number
	receiptSize  = 17
	receiptAge   = 7 * 24 * time.Hour // of receipts that users that were killed have left behind

	written byte = 'w'
	settled byte = 's'
)

// receipts are the receipts of a user. Each is of one write at a time.
type receipts struct {
	id    string
	mutex sync.Mutex
	free  []*receipt
	made  int
}

type receipt struct {
	name  string
	value []byte // as the store has it; nil if it must be made
	doubt []byte // as it would be if a write has succeeded whose answer was lost
	asked []byte // as it would be if that was settled, and the answer to this was lost
}

// take returns a receipt that no other write uses.
func (r *receipts) take() *receipt {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if n := len(r.free); n > 0 {
		x := r.free[n-1]
		r.free = r.free[:n-1]
		return x
	}
	r.made++
	return &receipt{name: receiptSpace + r.id + "/" + strconv.Itoa(r.made)}
}

// giveBack lets other writes use a receipt, unless a write is in doubt.
func (r *receipts) giveBack(x *receipt) {
	if x.doubt != nil {
		return
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.free = append(r.free, x)
}

// next is the value after the present one.
func (x *receipt) next(by byte) []byte {
	n := uint64(0)
	if x.value != nil {
		n = binary.BigEndian.Uint64(x.value)
	}
	v := append(binary.BigEndian.AppendUint64(nil, n+1), by)
	return binary.BigEndian.AppendUint64(v, uint64(time.Now().Unix()))
}

// add adds the next receipt to a commit, which it does not change.
func (x *receipt) add(c store.Commit, next []byte) *store.Commit {
	c.Put = append(c.Put[:len(c.Put):len(c.Put)], store.MetaRecord{Name: x.name, Value: next})
	c.Guards = append(c.Guards[:len(c.Guards):len(c.Guards)], store.MetaRecord{Name: x.name, Value: x.value})
	return &c
}

// writer is what settles a write: a connection to the owner or the store itself.
type writer interface {
	metas(names []string) ([][]byte, error)
	put(ctx context.Context, c *store.Commit) error
}

// make makes the receipt in the store, so that one that is missing later has been removed.
func (x *receipt) make(ctx context.Context, w writer) error {
	v := x.next(settled)
	if err := w.put(ctx, &store.Commit{Put: []store.MetaRecord{{Name: x.name, Value: v}}}); err != nil {
		return err
	}
	x.value = v
	return nil
}

// settle finds out whether the write in doubt has happened. If it has not, it never will.
func (x *receipt) settle(ctx context.Context, w writer) (happened bool, err error) {
	for {
		values, err := w.metas([]string{x.name})
		if err != nil {
			return false, err
		}
		switch v := values[0]; {
		case bytes.Equal(v, x.doubt):
			x.value, x.doubt, x.asked = v, nil, nil
			return true, nil
		case x.asked != nil && bytes.Equal(v, x.asked):
			x.value, x.doubt, x.asked = v, nil, nil
			return false, nil
		case !bytes.Equal(v, x.value):
			return false, &store.UnknownError{Err: errors.New("the store has no receipt of it")}
		}
		if x.asked == nil {
			x.asked = x.next(settled)
		}
		err = w.put(ctx, x.add(store.Commit{}, x.asked))
		if err != nil && !errors.Is(err, store.ErrChanged) {
			return false, err
		}
	}
}

// missing reports whether the store no longer has the receipt, so that a guard has failed for it.
func (x *receipt) missing(w writer) (bool, error) {
	values, err := w.metas([]string{x.name})
	return err == nil && !bytes.Equal(values[0], x.value), err
}

// dropReceipts removes the receipts of this user from the store. They cost little, so it does not
// wait for an owner.
func (s *Shared) dropReceipts() {
	st, c := s.ready()
	if c == nil && st == nil {
		return
	}
	var commit store.Commit
	for i := range s.receipts.made {
		commit.Put = append(commit.Put, store.MetaRecord{Name: receiptSpace + s.receipts.id + "/" + strconv.Itoa(i+1)})
	}
	if commit.Put == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	// If this fails, a later owner removes them.
	if st != nil {
		_ = apply(ctx, st, &commit)
		return
	}
	defer c.bind(ctx)()
	_ = c.put(ctx, &commit)
}

// addOldReceipts adds to records the removal of receipts that are too old to be asked for.
func addOldReceipts(st *store.Store, records map[string][]byte, now time.Time) error {
	for r, err := range st.AllMeta(receiptSpace) {
		if err != nil {
			return fmt.Errorf("remove old receipts: %w", err)
		}
		if len(r.Value) != receiptSize || now.Sub(time.Unix(int64(binary.BigEndian.Uint64(r.Value[9:])), 0)) > receiptAge {
			records[r.Name] = nil
		}
	}
	return nil
}

// direct is the writer of a store that this process owns.
type direct struct{ st *store.Store }

func (d direct) metas(names []string) ([][]byte, error) { return d.st.Metas(names) }

func (d direct) put(ctx context.Context, c *store.Commit) error { return apply(ctx, d.st, c) }

// apply makes a commit durable.
func apply(ctx context.Context, st *store.Store, c *store.Commit) error {
	return st.Apply(ctx, &fhir.Batch{}, func([]store.Outcome) (store.Commit, error) { return *c, nil })
}
