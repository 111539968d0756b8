package batchrun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/referenced"
	"cpcds2fhir/pipeline/rejects"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/fhir"
)

// A batch is Config.BatchPieces pieces. A piece ends at pieceBytes, or at pieceRows if its rows
// yield few resources. That depends only on the lane's content, so a resumed run writes the same
// bytes, whatever its memory and workers.
const (
	pieceBytes = 4 << 20
	pieceRows  = 1 << 17

	// keptPieces is how many times as large as a piece the rows may be that are kept with it.
	keptPieces = 4
)

// lane makes batches of the resources from the rows of one lane, and loads them. It belongs to one
// goroutine.
type lane struct {
	*load
	name       string
	input      int // index of the input; -1 if there is no single one
	rejects    *rejects.Log
	refusals   *rejects.Log // of what the target refused; nil if it refuses nothing. It belongs to the batch in flight
	referenced *referenced.Log
	gate       *gate // that holds its batches back; nil if there is none
	timer      timer

	row     int64            // rows of the lane that are accounted for with this batch
	durable pipeline.Account // of the checkpoint that is durable
	done    bool             // the lane is durable to its end
	refused refusedEnd       // that is durable
	own     pipeline.Account // of the current claim or row, see counting

	next     batch // being made
	inFlight inFlight
}

// batch is a set of resources that are loaded together, with what to report about them.
type batch struct {
	out     fhir.Batch
	claims  []loadedClaim
	account pipeline.Account
	rows    int64 // since the previous batch

	records []refusable   // what the target may refuse, in the order of the resources
	kept    rowbatch.Kept // their rows

	pieceStart int   // size of the batch where the current piece begins
	pieceRows  int64 // rows there
	pieceKept  int   // size of the kept rows there
}

// loadedClaim is a claim with resources in a batch.
type loadedClaim struct {
	from, to int // its resources
	partly   bool
	voided   bool   // cancelled by a record without lines, if the target has nothing newer
	replayed string // tag of the reject that is replayed, "" if none is
}

// open resumes a lane.
func (l *load) open(ctx context.Context, name string, input int) (*lane, error) {
	cp, err := l.Loader.Resume(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("resume lane %s: %w", name, err)
	}
	a := &lane{load: l, name: name, input: input, row: cp.Row, durable: cp.Account, done: cp.Done, timer: timer{stages: l.Stages}}
	if a.rejects, err = rejects.OpenLog(l.State, l.ID, name, cp.Rejects, cp.RejectCount); err != nil {
		return nil, err
	}
	if a.referenced, err = referenced.OpenLog(l.merge.Path(name), cp.Referenced); err != nil {
		a.rejects.Close()
		return nil, err
	}
	if l.refuses {
		a.refused = refusedEnd{cp.Refused, cp.RefusedCount}
		if a.refusals, err = rejects.OpenLog(l.State, l.ID, name+refusedLog, cp.Refused, cp.RefusedCount); err != nil {
			a.rejects.Close()
			a.referenced.Close()
			return nil, err
		}
	}
	if b, ok := l.batches.Get().(*[2]fhir.Batch); ok { // already grown by an earlier lane
		a.next.out, a.inFlight.out = b[0], b[1]
	}
	var rows int64
	for _, c := range cp.Account.Rows {
		rows += c.Read
	}
	l.Events.Advance(input, rows, cp.Account.Claims.Seen, cp.RejectCount+cp.RefusedCount)
	// What an earlier start rejected counts too, or repeated starts would evade the limit.
	if err := l.overBudget(cp.Account.Judged()); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// close ends the lane. A batch in flight may or may not reach the target; durable says which.
func (a *lane) close() {
	_ = a.land() // a caller that closes without finishing has its own error
	a.closed(&a.durable)
	a.rejects.Close()
	a.referenced.Close()
	if a.refusals != nil {
		a.refusals.Close()
	}
	a.next.out.Reset()
	a.inFlight.out.Reset()
	a.batches.Put(&[2]fhir.Batch{a.next.out, a.inFlight.out})
	a.next.out, a.inFlight.out = fhir.Batch{}, fhir.Batch{}
}

// advance counts rows that the batch accounts for, and sends it when it is full.
func (a *lane) advance(ctx context.Context, rows, input int64, check func() error) error {
	a.row += rows
	n := &a.next
	n.rows += input
	if n.out.Size()-n.pieceStart < a.pieceBytes && n.rows-n.pieceRows < pieceRows && n.kept.Size()-n.pieceKept < keptPieces*a.pieceBytes {
		return nil
	}
	n.pieceStart, n.pieceRows, n.pieceKept = n.out.Size(), n.rows, n.kept.Size()
	if n.out.Cut() < a.BatchPieces {
		return nil
	}
	return a.send(ctx, false, check)
}

// finish loads what is left and marks the lane done.
func (a *lane) finish(ctx context.Context, check func() error) error {
	if a.done {
		return nil
	}
	if err := a.send(ctx, true, check); err != nil {
		return err
	}
	return a.land()
}

// send sends the batch once the previous one has landed. check says whether it may be loaded.
func (a *lane) send(ctx context.Context, done bool, check func() error) error {
	if err := errors.Join(a.land(), check()); err != nil {
		return err
	}
	f := &a.inFlight
	f.checkpoint = pipeline.Checkpoint{Row: a.row, Done: done, RejectCount: a.rejects.Count()}
	var err error
	if f.checkpoint.Rejects, err = a.rejects.Flush(); err != nil {
		return err
	}
	if f.checkpoint.Referenced, err = a.referenced.Flush(); err != nil {
		return err
	}
	f.batch, a.next = a.next, f.batch
	a.next.out.Reset()
	a.next.kept.Reset()
	clear(a.next.records)
	a.next = batch{out: a.next.out, claims: a.next.claims[:0], records: a.next.records[:0], kept: a.next.kept}
	a.Stages.Encoded(f.out.Size())
	landed := make(chan error, 1)
	f.landed = landed
	go func() { landed <- a.deliver(ctx, f) }()
	return nil
}

// timer adds up the time of a lane by stage.
type timer struct {
	stages *pipeline.Stages
	last   time.Time
}

// start begins the first stage.
func (t *timer) start() { t.last = t.stages.Now() }

// lap ends a stage and begins the next one.
func (t *timer) lap(s pipeline.Stage) { t.last = t.stages.Since(s, t.last) }
