package batchrun

import (
	"context"
	"fmt"

	"cpcds2fhir/pipeline"
)

// inFlight is a batch on its way to the target, with what its checkpoint will hold. Meanwhile the
// lane makes the next batch, so it does not wait for the disk. There is one at a time, so
// checkpoints become durable in order.
type inFlight struct {
	batch
	checkpoint pipeline.Checkpoint // without the account until it is sealed
	landed     chan error          // nil if there is no batch
}

// deliver makes a batch durable. It uses only fields of the lane that do not change before the
// batch has landed.
func (a *lane) deliver(ctx context.Context, f *inFlight) error {
	if err := a.gate.pass(ctx); err != nil {
		return err
	}
	seal := func(outcomes []pipeline.Outcome, refusals pipeline.Refusals) (pipeline.Checkpoint, error) {
		account := &f.checkpoint.Account
		*account = pipeline.Account{}
		account.Add(&a.durable)
		account.Add(&f.account)
		a.tally(account, f, outcomes, refusals)
		if a.refusals != nil {
			if err := a.rejectRefused(f, outcomes, refusals); err != nil {
				return f.checkpoint, err
			}
		}
		if err := a.rejects.Sync(); err != nil {
			return f.checkpoint, err
		}
		return f.checkpoint, a.referenced.Sync()
	}
	if err := a.Loader.Load(ctx, a.name, &f.out, seal); err != nil {
		return fmt.Errorf("load lane %s: %w", a.name, err)
	}
	return nil
}

// land waits for the batch in flight, if there is one, and takes over what it made durable.
func (a *lane) land() error {
	f := &a.inFlight
	if f.landed == nil {
		return nil
	}
	err := <-f.landed
	f.landed = nil
	if err != nil {
		return err
	}
	seen, refused := f.account.Judged()
	if a.refusals != nil { // the target has a say in it
		seenBefore, refusedBefore := a.durable.Judged()
		seen, refused = f.checkpoint.Account.Judged()
		seen, refused = seen-seenBefore, refused-refusedBefore
	}
	a.durable, a.done = f.checkpoint.Account, f.checkpoint.Done
	a.refused = refusedEnd{f.checkpoint.Refused, f.checkpoint.RefusedCount}
	a.Events.Advance(a.input, f.rows, f.account.Claims.Seen, refused)
	return a.overBudget(seen, refused)
}

// tally adds to an account what the target did with the batch.
func (a *lane) tally(account *pipeline.Account, f *inFlight, outcomes []pipeline.Outcome, refusals pipeline.Refusals) {
	for i, r := range f.out.All() {
		account.AddResource(r.Type, outcomes[i])
	}
	for _, c := range f.claims {
		if a.refusals != nil && anyRefused(outcomes, refusals, c.from, c.to) {
			c.partly, c.voided = false, false // it counts as rejected, and as nothing else
		}
		if account.AddClaim(outcomes[c.from:c.to], c.partly, c.voided) && c.replayed != "" {
			a.newer.Store(c.replayed, struct{}{})
		}
	}
}
