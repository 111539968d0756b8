package bundle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cpcds2fhir/internal/fhirclient"
)

const (
	maxTries    = 6 // how often an entry is sent again of which a server does not say what became of it
	maxFailures = 3 // how often a bundle is sent again on which a server fails, before it is divided
	maxTimeouts = 2 // how often an entry that stands alone is sent again after the client has given it up for time-outs
)

// deliver sends a bundle, and finds an answer for each of its entries, in smaller bundles if it must.
func (c *call) deliver(ctx context.Context, b bundle) error {
	how := c.kind(&c.settings)
	answers, err := c.server.Send(ctx, how, b.writes)
	switch {
	case err == nil && how == transaction:
		c.believe()
	case how == transaction && c.refusedWhole(err) && (!b.halving || b.len() == 1):
		answers, err = c.asBatch(ctx, &b, err)
	}
	if err != nil {
		return c.failed(ctx, b, err)
	}
	return c.judge(ctx, b, answers)
}

// asBatch sends a bundle as a batch whose transaction was refused, so that each entry is answered.
func (c *call) asBatch(ctx context.Context, b *bundle, whole error) ([]fhirclient.Answer, error) {
	answers, err := c.server.Send(ctx, batch, b.writes)
	if err != nil {
		b.halving = true
		if unsupported(err) {
			return nil, whole
		}
		return nil, err
	}
	for i := range answers {
		if !answers[i].Stored() {
			c.believe()
			return answers, nil
		}
	}
	c.doubts.Add(1) // no entry was at fault
	return answers, nil
}

// believe notes that the server knows transactions: one was done, or refused for the fault of an entry.
// Once it is taken not to know them, that is for good.
func (c *call) believe() {
	if n := c.doubts.Load(); n > 0 && n < maxDoubts {
		c.doubts.CompareAndSwap(n, 0)
	}
}

// refusedWhole reports whether a server has refused a bundle because of what is in it, or because of its
// kind. If an earlier attempt of it may have been done, that only matters where it cannot be repeated.
func (c *call) refusedWhole(err error) bool {
	var e *fhirclient.Error
	if !errors.As(err, &e) || e.Unknown && !c.settings.SameVersion || denied(err) {
		return false
	}
	switch e.Meaning {
	case fhirclient.Conflict, fhirclient.Dangling, fhirclient.Refused, fhirclient.Absent:
		return true
	}
	return false
}

// denied reports whether a server does not let us in: that is no fault of what was sent.
func denied(err error) bool {
	var e *fhirclient.Error
	return errors.Is(err, fhirclient.ErrAuthentication) ||
		errors.As(err, &e) && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

// unsupported reports whether the server says that it does not know such requests.
func unsupported(err error) bool {
	var e *fhirclient.Error
	return errors.As(err, &e) &&
		(e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented)
}

// failed goes on with a bundle that was not answered entry by entry.
func (c *call) failed(ctx context.Context, b bundle, err error) error {
	var e *fhirclient.Error
	if ctx.Err() != nil || !errors.As(err, &e) || denied(err) {
		return err
	}
	switch {
	case e.Unknown && !c.settings.SameVersion:
		return c.lost(ctx, b, e)
	case e.Meaning == fhirclient.Split || c.refusedWhole(err):
		return c.divide(ctx, b, e)
	}
	return err // the patience has run out
}

// divide goes on with the halves of a bundle that was refused as a whole. Of a single entry, the refusal is
// its answer.
func (c *call) divide(ctx context.Context, b bundle, e *fhirclient.Error) error {
	if b.len() == 1 {
		return c.judge(ctx, b, []fhirclient.Answer{{Status: e.Status, Outcome: e.Outcome, Meaning: e.Meaning}})
	}
	return c.halve(ctx, b)
}

func (c *call) halve(ctx context.Context, b bundle) error {
	middle := b.len() / 2
	if err := c.deliver(ctx, b.part(0, middle)); err != nil {
		return err
	}
	return c.deliver(ctx, b.part(middle, b.len()))
}

// lost goes on with a bundle of which any write may have been done, on a server that would make a new
// version of what is written again: it is read first. The client leaves all further attempts to us.
func (c *call) lost(ctx context.Context, b bundle, e *fhirclient.Error) error {
	left, err := c.settle(ctx, b)
	if err != nil {
		return errors.Join(e, err)
	}
	if left.len() == 0 {
		return nil
	}
	left.halving, left.tries, left.since = b.halving, b.tries+1, b.since
	if left.since.IsZero() {
		left.since = time.Now()
	}
	switch {
	case e.Meaning == fhirclient.Split, e.Status == http.StatusInternalServerError && b.tries >= maxFailures:
		e.Meaning = fhirclient.Split // one poisonous entry can be the reason
		return c.divide(ctx, left, e)
	case time.Since(left.since) > c.settings.Patience:
		return e
	}
	if err := pause(ctx, b.tries); err != nil {
		return err
	}
	return c.deliver(ctx, left)
}

// again sends the entries of a bundle that were not done.
func (c *call) again(ctx context.Context, b, left bundle) error {
	left.halving = b.halving
	switch {
	case left.len() == 0:
		return nil
	case left.len() < b.len():
		return c.deliver(ctx, left)
	case left.len() > 1:
		return c.halve(ctx, left)
	case b.tries >= maxTries:
		return &fhirclient.Error{
			Method: http.MethodPost, Path: c.kind(&c.settings), Meaning: fhirclient.Unclear, Retriable: true, Unknown: true,
			Err: fmt.Errorf("the server does not answer an entry of type %s", left.writes[0].Type),
		}
	}
	if err := pause(ctx, b.tries); err != nil {
		return err
	}
	left.tries = b.tries + 1
	return c.deliver(ctx, left)
}

// pause waits before something is sent again, longer each time.
func pause(ctx context.Context, tries int) error {
	t := time.NewTimer(min(20*time.Millisecond<<min(2*tries, 10), 5*time.Second))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
