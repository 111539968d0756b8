package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"cpcds2fhir/pipeline/spill"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// A batch is Run.BatchPieces pieces. A piece ends where it has pieceBytes, or pieceRows if its
// rows yield few resources: where that is depends on the lane's content alone, so that a
// resumed run writes the same bytes, whatever its memory and workers.
const (
	pieceBytes = 4 << 20
	pieceRows  = 1 << 17
)

// worker turns the claims of one lane into batches. It belongs to one goroutine.
type worker struct {
	run      *Run
	lane     string
	input    int // index of the input; -1 if there is no single one
	rejects  rejectLog
	mentions *mentions
	resolve  *resolver
	repair   repairer

	asm     assembled
	amounts carin.AmountTable // of the claim at hand
	verdict carin.Verdict
	out     fhir.Batch
	parts   []part

	undivided []cpcds.Element // of the claim that is split

	row     int64   // rows of the lane that are accounted for with this batch
	base    Account // of the checkpoint that is durable
	delta   Account // of the batch
	pending []pendingClaim
	fresh   int64 // rows since the last flush

	pieceStart int   // size of the batch where the present piece begins
	pieceFresh int64 // fresh there

	done bool // the lane is durable to its end

	flight flight

	shuffle *shuffler // of a lane, if it has scattered rows to give; else nil
	spill   *spill.Writer
}

// newWorker resumes a lane.
func (r *Run) newWorker(ctx context.Context, lane string, input int) (*worker, error) {
	cp, err := r.Loader.Resume(ctx, lane)
	if err != nil {
		return nil, fmt.Errorf("resume lane %s: %w", lane, err)
	}
	rejects, err := openStateFile(filepath.Join(rejectsDir(r.State, r.ID), lane+".ndjson"), cp.Rejects)
	if err != nil {
		return nil, err
	}
	log, err := openStateFile(filepath.Join(r.mentionsDir(), lane+".ndjson"), cp.Mentions)
	if err != nil {
		return nil, err
	}
	w := &worker{run: r, lane: lane, input: input, row: cp.Row, base: cp.Account, done: cp.Done}
	w.rejects = rejectLog{file: rejects, lane: lane, n: cp.RejectCount}
	if b, ok := r.batches.Get().(*[2]fhir.Batch); ok { // grown to their size by a lane before
		w.out, w.flight.out = b[0], b[1]
	}
	w.asm.dropCopies = r.repairs(repairDuplicateLine)
	w.mentions = newMentions(log)
	w.resolve = newResolver(r.dir, r.Identity, r.Layout.Source, r.repairs, w.mentions, r.Layout.Claims.MentionIDs)
	w.repair = repairer{&r.Layout.Claims, r.repairs}
	var rows int64
	for _, c := range cp.Account.Rows {
		rows += c.Read
	}
	r.Events.progress(input, rows, cp.Account.Claims.Seen, cp.RejectCount)
	return w, nil
}

// close ends the worker. What is on its way to the target gets there or does not;
// base says which.
func (w *worker) close() {
	_ = w.land() // whoever closes without finishing has an error of his own
	w.rejects.file.close()
	w.mentions.log.close()
	w.out.Reset()
	w.flight.out.Reset()
	w.run.batches.Put(&[2]fhir.Batch{w.out, w.flight.out})
	w.out, w.flight.out = fhir.Batch{}, fhir.Batch{}
}

// streamLane loads one lane of contiguous claims and leaves its account.
func (r *Run) streamLane(ctx context.Context, lane claimLane, shuffle *shuffler, account *Account) (err error) {
	w, err := r.newWorker(ctx, lane.name, lane.input)
	if err != nil {
		return err
	}
	defer func() {
		w.close()
		account.Add(&w.base)
	}()
	if shuffle != nil && w.row > 0 {
		if err := shuffle.gather(ctx, lane, w.row); err != nil {
			return err
		}
	}
	if w.done {
		return nil
	}
	if shuffle != nil {
		if w.spill, err = shuffle.writer(); err != nil {
			return err
		}
		w.shuffle = shuffle
		defer shuffle.release(w.spill)
	}
	in := r.Inputs[lane.input]
	src, err := in.File.Open(ctx, lane.span.First+w.row, lane.span.First+lane.span.Rows, in.columns())
	if err != nil {
		return err
	}
	defer src.Close()
	binding := in.Binding.Clone()
	cur, held := &bound{input: in}, &bound{}
	for {
		began := r.Stages.Now()
		err := src.Next(ctx, &cur.rows)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		began = r.Stages.Since(StageDecode, began)
		binding.Convert(&cur.batch, &cur.rows)
		if cur.plan == nil {
			cur.plan = newPlan(&cur.batch, binding)
		}
		cur.sift()
		r.Stages.Since(StageLayout, began)
		if err := w.slab(ctx, cur, held); err != nil {
			return err
		}
	}
	if err := w.release(ctx, held); err != nil {
		return err
	}
	return w.finish(ctx)
}

// slab takes the claims out of a slab of rows. The last one may go on in the next
// slab, so its rows are held.
func (w *worker) slab(ctx context.Context, cur, held *bound) error {
	n := cur.batch.N
	for i := 0; i < n; {
		j := i + 1
		for j < n && cur.sameKey(i, j) {
			j++
		}
		switch {
		case i == 0 && held.rows.N > 0 && held.key(0) == cur.key(0):
			held.hold(cur, 0, j)
			if j < n {
				if err := w.release(ctx, held); err != nil {
					return err
				}
			}
		case i == 0 && held.rows.N > 0:
			if err := w.release(ctx, held); err != nil {
				return err
			}
			continue
		case j == n:
			held.hold(cur, i, j)
		default:
			if err := w.take(ctx, segment{cur, i, j}); err != nil {
				return err
			}
		}
		i = j
	}
	return nil
}

// release takes the held claim, if there is one.
func (w *worker) release(ctx context.Context, held *bound) error {
	if held.rows.N == 0 {
		return nil
	}
	held.sift()
	err := w.take(ctx, segment{held, 0, held.rows.N})
	held.reset()
	return err
}

// take accounts for the rows of one key in this lane: it makes the claim, unless
// the key has rows elsewhere and therefore goes through the shuffle.
func (w *worker) take(ctx context.Context, s segment) error {
	rows := s.b.inputRows(s.from, s.to)
	key := s.b.key(s.from)
	switch {
	case w.run.keys.scattered(key):
		if err := w.shuffle.spread(w.spill, w.input, key, &s.b.rows, s.from, s.to); err != nil {
			return err
		}
	case key == "":
		w.keyless(s)
	default:
		w.claim(key, []segment{s})
	}
	w.row += rows
	w.fresh += rows
	return w.flushIfFull(ctx)
}

func (w *worker) flushIfFull(ctx context.Context) error {
	if w.out.Size()-w.pieceStart < cmp.Or(w.run.pieceLimit, pieceBytes) && w.fresh-w.pieceFresh < pieceRows {
		return nil
	}
	w.pieceStart, w.pieceFresh = w.out.Size(), w.fresh
	if w.out.Cut() < w.run.BatchPieces {
		return nil
	}
	return w.flush(ctx, false)
}

// finish loads what is left and marks the lane done.
func (w *worker) finish(ctx context.Context) error {
	if w.done {
		return nil
	}
	if err := w.flush(ctx, true); err != nil {
		return err
	}
	return w.land()
}

func (c *ResourceCount) count(o Outcome) {
	switch o {
	case Created:
		c.Created++
	case Updated:
		c.Updated++
	case Unchanged:
		c.Unchanged++
	case Stale:
		c.Stale++
	}
}
