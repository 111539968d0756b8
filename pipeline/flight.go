package pipeline

import (
	"context"
	"errors"
	"fmt"

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// flight is a batch on its way to the target, with all that its checkpoint will say.
// The worker makes the next batch meanwhile, so that a lane need not wait for the disk.
// There is one flight at a time: checkpoints become durable in their order.
type flight struct {
	out     fhir.Batch
	pending []pendingClaim
	delta   Account
	fresh   int64
	cp      Checkpoint // without the account until it is sealed
	landed  chan error // nil if there is no flight
}

// pendingClaim is a claim with resources in the batch.
type pendingClaim struct {
	from, to int // its resources
	partly   bool
	replayed string // the reject that is replayed, if one is
}

// flush sends the batch off, once the one before has landed.
func (w *worker) flush(ctx context.Context, done bool) error {
	if err := errors.Join(w.land(), w.run.dir.err()); err != nil {
		return err
	}
	f := &w.flight
	f.cp = Checkpoint{Row: w.row, Done: done, RejectCount: w.rejects.n}
	var err error
	if f.cp.Rejects, err = w.rejects.file.flush(); err != nil {
		return err
	}
	if f.cp.Mentions, err = w.mentions.log.flush(); err != nil {
		return err
	}
	f.out, w.out = w.out, f.out
	f.pending, w.pending = w.pending, f.pending[:0]
	f.delta, w.delta = w.delta, Account{}
	f.fresh, w.fresh = w.fresh, 0
	w.pieceStart, w.pieceFresh = 0, 0
	w.out.Reset()
	w.run.Stages.encoded(f.out.Size())
	landed := make(chan error, 1)
	f.landed = landed
	go func() { landed <- w.load(ctx, f) }()
	return nil
}

// load makes a flight durable. Of the worker it uses what does not change before the
// flight has landed.
func (w *worker) load(ctx context.Context, f *flight) error {
	seal := func(outcomes []Outcome) (Checkpoint, error) {
		f.cp.Account = Account{}
		f.cp.Account.Add(&w.base)
		f.cp.Account.Add(&f.delta)
		w.settle(&f.cp.Account, f, outcomes)
		if err := w.rejects.file.sync(); err != nil {
			return f.cp, err
		}
		return f.cp, w.mentions.log.sync()
	}
	if err := w.run.Loader.Load(ctx, w.lane, &f.out, seal); err != nil {
		return fmt.Errorf("load lane %s: %w", w.lane, err)
	}
	return nil
}

// land waits for the flight, if there is one, and takes over what it made durable.
func (w *worker) land() error {
	f := &w.flight
	if f.landed == nil {
		return nil
	}
	err := <-f.landed
	f.landed = nil
	if err != nil {
		return err
	}
	w.base, w.done = f.cp.Account, f.cp.Done
	seen, refused := f.delta.Claims.Seen, f.delta.Claims.Rejected
	for t := range cpcds.Claims {
		seen += f.delta.Rows[t].Read
		refused += f.delta.Rows[t].Rejected
	}
	w.run.Events.progress(w.input, f.fresh, f.delta.Claims.Seen, refused)
	return w.run.overBudget(seen, refused)
}

// settle adds to an account what the target did with the batch.
func (w *worker) settle(a *Account, f *flight, outcomes []Outcome) {
	for i, r := range f.out.All() {
		a.Resources[r.Type].count(outcomes[i])
	}
	for _, p := range f.pending {
		var n [numOutcomes]int
		for _, o := range outcomes[p.from:p.to] {
			n[o]++
		}
		switch {
		case n[Created]+n[Updated] > 0:
			a.Claims.Loaded++
		case n[Stale] > 0:
			a.Claims.Stale++
			if p.replayed != "" {
				w.run.obsolete.Store(p.replayed, struct{}{})
			}
		default:
			a.Claims.Unchanged++
		}
		if p.partly {
			a.Claims.PartlyRejected++
		}
	}
}
