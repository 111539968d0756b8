package batchrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/claims"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/referenced"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/scattered"
	"cpcds2fhir/schemas/cpcds"
)

// loadClaims loads the claims: first the contiguous ones, lane by lane, then the others through the
// shuffle.
func (l *load) loadClaims(ctx context.Context, total *pipeline.Account) error {
	lanes := l.claimLanes()
	if len(lanes) == 0 {
		return nil
	}
	var shuffle *scattered.Shuffle // nil if all claims are contiguous
	if l.keys.Any() {
		shuffle = scattered.NewShuffle(l.keys, l.Inputs, l.spillDir(), l.Workers)
		defer shuffle.Remove()
	}
	if l.keys.All() {
		l.claimsGate.enter(&l.Events, "shuffle")
		if err := shuffle.GatherAll(ctx, lanes); err != nil {
			return err
		}
	} else {
		l.claimsGate.enter(&l.Events, "claims")
		err := l.accounted(ctx, len(lanes), total, func(ctx context.Context, i int, account *pipeline.Account) error {
			return l.stream(ctx, laneName(lanes, i), lanes[i], shuffle, account)
		})
		if err != nil {
			return err
		}
	}
	if shuffle != nil {
		l.claimsGate.enter(&l.Events, "shuffle")
		if err := shuffle.Seal(); err != nil {
			return err
		}
		err := l.accounted(ctx, shuffle.Partitions(), total, func(ctx context.Context, p int, account *pipeline.Account) error {
			return l.loadPartition(ctx, shuffle, p, account)
		})
		if err != nil {
			return err
		}
	}
	if total.Claims.Seen != l.keys.Distinct() {
		return fmt.Errorf("the account does not agree with the extract: %d claim keys were read, but %d are accounted for", l.keys.Distinct(), total.Claims.Seen)
	}
	return nil
}

// laneName names a lane by its input and its index among that input's lanes.
func laneName(lanes []rowbatch.Lane, i int) string {
	n := 0
	for n < i && lanes[i-n-1].Input == lanes[i].Input {
		n++
	}
	return fmt.Sprintf("claims-%03d-%05d", lanes[i].Input.Index(), n)
}

// claimLane is a lane whose rows become claims.
type claimLane struct {
	*lane
	builder *claims.Builder
	writer  *scattered.Writer // of scattered rows; nil if the lane has none
}

func (l *load) openClaims(ctx context.Context, name string, input int) (*claimLane, error) {
	a, err := l.open(ctx, name, input)
	if err != nil {
		return nil, err
	}
	a.gate = &l.claimsGate
	return &claimLane{lane: a, builder: claims.NewBuilder(&l.claims, l.lookup(l.dir), a.timer.lap)}, nil
}

// lookup is a snapshot of the directory, with what streams have put into the target.
func (l *load) lookup(dir *directory.Directory) directory.Lookup {
	if l.Streams == nil {
		return dir
	}
	return dir.With(l.Streams)
}

// stream loads one lane of contiguous claims and leaves its account.
func (l *load) stream(ctx context.Context, name string, from rowbatch.Lane, shuffle *scattered.Shuffle, account *pipeline.Account) (err error) {
	a, err := l.openClaims(ctx, name, from.Input.Index())
	if err != nil {
		return err
	}
	defer func() {
		a.close()
		account.Add(&a.durable)
	}()
	if shuffle != nil && a.row > 0 {
		if err := shuffle.Gather(ctx, from, a.row); err != nil {
			return err
		}
	}
	if a.done {
		return nil
	}
	if shuffle != nil {
		if a.writer, err = shuffle.Writer(); err != nil {
			return err
		}
		defer a.writer.Release()
	}
	rows, err := from.Input.Read(ctx, from.Span.First+a.row, from.Span.First+from.Span.Rows, a.timer.lap)
	if err != nil {
		return err
	}
	defer rows.Close()
	held := &rowbatch.Held{}
	take := func(s rowbatch.Segment) error { return a.take(ctx, s) }
	for {
		a.timer.start()
		b, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := held.Claims(b, take); err != nil {
			return err
		}
	}
	if err := held.Release(take); err != nil {
		return err
	}
	return a.finish(ctx, a.builder.Err)
}

// take accounts for the rows of one key in this lane: it makes the claim, unless
// the key has rows elsewhere and therefore goes through the shuffle.
func (a *claimLane) take(ctx context.Context, s rowbatch.Segment) error {
	rows := s.Batch.InputRows(s.From, s.To)
	key := s.Batch.Key(s.From)
	if a.keys.Has(key) {
		if err := a.writer.Add(key, s); err != nil {
			return err
		}
	} else {
		a.build(ctx, key, []rowbatch.Segment{s})
	}
	return a.advance(ctx, rows, rows, a.builder.Err)
}

// build makes the claim of a key and adds its resources to the batch.
func (a *claimLane) build(ctx context.Context, key string, rows []rowbatch.Segment) {
	n := &a.next
	if key == "" {
		for _, s := range rows {
			a.keep(a.builder.Keyless(&n.account, s), []rowbatch.Segment{s})
		}
		return
	}
	a.timer.start()
	from := n.out.Len()
	r := a.builder.Build(ctx, &n.out, a.counting(), key, rows)
	if a.refusals != nil && r.Fate == claims.Accepted && n.out.Len() > from {
		a.keepRefusable(key, from, r, rows)
	} else {
		a.keep(r, rows)
	}
	a.counted()
	if r.Fate == claims.Accepted {
		c := loadedClaim{from: from, to: n.out.Len(), partly: r.Partly, voided: r.Voided}
		if a.Replay != nil {
			c.replayed = rejects.Tag(rows[0].Batch, rows[0].From)
		}
		n.claims = append(n.claims, c)
	}
}

// keep records the reject of a claim, and the resources that it refers to but no table has.
func (a *claimLane) keep(r *claims.Result, rows []rowbatch.Segment) {
	if r.Reject != nil {
		a.reject(r.Reject, rows...)
	}
	a.referenced.Add(r.Referenced)
}

// keepRefusable keeps what becomes the reject of an accepted claim if the target refuses it. If a part of
// the claim is rejected already, that reject waits for what the target says: a claim has one reject, or a
// replay would read its rows twice.
func (a *claimLane) keepRefusable(key string, from int, r *claims.Result, rows []rowbatch.Segment) {
	reject := a.builder.Describe(key)
	if r.Reject != nil {
		*reject = *r.Reject
		reject.Claim = strings.Clone(key)
	}
	a.refusable(cpcds.Claims, from, reject, rows...)
	a.referenced.Add(r.Referenced)
}

// loadPartition assembles and loads the claims of a partition.
func (l *load) loadPartition(ctx context.Context, shuffle *scattered.Shuffle, p int, account *pipeline.Account) error {
	a, err := l.openClaims(ctx, fmt.Sprintf("shuffle-%04d", p), -1)
	if err != nil {
		return err
	}
	defer func() {
		a.close()
		account.Add(&a.durable)
	}()
	if a.done {
		return nil
	}
	var n int64
	skip := a.row // in claims, because the rows of a partition have no position in a file
	err = shuffle.Claims(p, func(key string, rows []rowbatch.Segment) error {
		if n++; n <= skip {
			return nil
		}
		a.build(ctx, key, rows)
		var all int64
		for _, s := range rows {
			all += int64(s.To - s.From)
		}
		return a.advance(ctx, 1, all, a.builder.Err)
	})
	if err != nil {
		return err
	}
	return a.finish(ctx, a.builder.Err)
}

// referencedLane is the lane of the resources that claims refer to but no table has.
const referencedLane = "mentions"

// loadReferenced loads the resources that claims refer to but no table has.
func (l *load) loadReferenced(ctx context.Context, total *pipeline.Account) error {
	l.Events.EnterPhase("referenced")
	var a *lane // opened for the first one
	var seen int64
	err := l.merge.Each(func(r *referenced.Resource) (err error) {
		if a == nil {
			if a, err = l.open(ctx, referencedLane, -1); err != nil {
				return err
			}
		}
		seen++
		return a.mention(ctx, r, seen)
	})
	if a == nil {
		return err
	}
	defer a.close()
	if err != nil {
		return err
	}
	if err := a.finish(ctx, l.dir.Err); err != nil {
		return err
	}
	total.Add(&a.durable)
	return nil
}

// mention adds a referenced-only resource, the n-th of the lane, unless it is durable.
func (a *lane) mention(ctx context.Context, r *referenced.Resource, n int64) error {
	if n <= a.row {
		return nil
	}
	r.Map(&a.next.out, a.mapper, a.Layout)
	return a.advance(ctx, 1, 0, a.dir.Err)
}
