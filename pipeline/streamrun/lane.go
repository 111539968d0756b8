package streamrun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/messages"
)

// lane loads one partition while the caller owns it. It belongs to one goroutine.
type lane struct {
	*Engine
	Target pipeline.StreamTarget // during whose calls the lane rests
	part   Partition
	name   string
	target pipeline.StreamLane
	maker  *maker
	pulse  pulse

	durable pipeline.Position
	window  window // as it is durable
	next    *batch // being made
	flight  *batch // on its way to the target; nil if there is none
	landed  chan error

	chunk int                    // messages to read together next
	limit int                    // size of a batch; smaller while other lanes change what batches are made from
	again []string               // names of held records that were in a batch that did not arrive
	due   []directory.Unresolved // keys that have arrived: what waits for them can go on

	written []string // records of dead letters that are written, to be removed with the next batch
}

func (e *Engine) newLane(p Partition) *lane {
	l := &lane{Engine: e, part: p, name: fmt.Sprintf("%s/%s/%d", e.Group, p.Topic(), p.Number()), chunk: firstChunk, limit: e.BatchBytes}
	l.Target = restingTarget{e.Target, &l.pulse}
	return l
}

// Lane loads a partition until ctx ends: then it loads what it has, within Config.Drain, and returns
// nil. Any other return is an error with which the lane cannot go on. What the caller can wait for,
// such as a target that is down, is no error: the lane waits, and Events.Blocked says so.
func (e *Engine) Lane(ctx context.Context, p Partition) (err error) {
	l := e.newLane(p)
	e.lanes.Add(1)
	defer e.lanes.Add(-1)
	defer l.handOver()
	e.pulses.Store(&l.pulse, nil)
	defer e.pulses.Delete(&l.pulse)
	defer func() {
		if e.Events.Ended != nil {
			e.Events.Ended(p.Topic(), p.Number(), err)
		}
	}()
	// What is on its way when ctx ends may still arrive.
	work, cancel := drained(ctx, e.Drain)
	defer cancel()
	pause := backoff{}
	for ctx.Err() == nil {
		before := l.durable.Next
		err := l.run(ctx, work)
		if l.durable.Next > before {
			pause = backoff{}
		}
		switch {
		case err == nil, ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
			return nil
		case errors.Is(err, pipeline.ErrFenced):
			return fmt.Errorf("lane %s: %w", l.name, err)
		case !passing(err):
			return fmt.Errorf("%s, partition %d: %w", p.Topic(), p.Number(), err)
		}
		if e.Events.Blocked != nil {
			e.Events.Blocked(p.Topic(), p.Number(), err)
		}
		l.pulse.rest()
		l.shrink() // a small batch may get through where a large one meets a fault each time
		pause.wait(ctx)
	}
	return nil
}

// drained returns a context that ends some time after another one.
func drained(ctx context.Context, after time.Duration) (context.Context, func()) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(after, cancel) })
	return work, func() { stop(); cancel() }
}

// StopError is an error that waiting does not mend.
type StopError struct{ error }

// Unwrap returns the error.
func (e StopError) Unwrap() error { return e.error }

func stopf(format string, args ...any) error { return StopError{fmt.Errorf(format, args...)} }

// passing reports whether an error may pass by waiting: all but those that are known not to.
func passing(err error) bool {
	var stop StopError
	var budget *BudgetError
	return !errors.As(err, &stop) && !errors.As(err, &budget) && !errors.Is(err, pipeline.ErrTargetFailed)
}

// backoff waits longer with every failure.
type backoff struct{ last time.Duration }

func (b *backoff) wait(ctx context.Context) {
	b.last = min(max(2*b.last, 100*time.Millisecond), 10*time.Second)
	select {
	case <-ctx.Done():
	case <-time.After(b.last):
	}
}

// run takes the lane and loads it until ctx ends or something fails.
func (l *lane) run(ctx, work context.Context) error {
	if err := l.take(work); err != nil {
		return err
	}
	defer l.settle()
	from, err := l.start(ctx)
	if err != nil {
		return err
	}
	if l.Events.Opened != nil {
		l.Events.Opened(l.part.Topic(), l.part.Number(), from, l.part.Committed())
	}
	committed := newCommitter(work, l.part, l.Events.Committed)
	defer committed.close()
	if l.durable.Next > 0 && l.durable.Next == from {
		committed.durable(l.durable.Next)
	}
	l.next.at.Next = from
	for {
		if err = l.read(ctx, work, committed); !errors.Is(err, pipeline.ErrChanged) || ctx.Err() != nil {
			break
		}
		// Another lane has changed what a batch was made from: it is made again.
		if l.Events.Again != nil {
			l.Events.Again(l.part.Topic(), l.part.Number())
		}
		l.shrink()
		l.forget()
		if err = l.maker.readDue(work); err != nil {
			break
		}
		l.next.at.Next = max(l.next.at.Next, from)
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || messages.IsRetriable(err) {
		return errors.Join(l.end(work, committed), err)
	}
	return err
}

// read reads the partition from where the next batch begins.
func (l *lane) read(ctx, work context.Context, committed *committer) error {
	if err := l.resume(work); err != nil {
		return err
	}
	fetched := newFetcher(ctx, l.part.Open(l.next.at.Next), l.Now)
	defer fetched.close()
	return l.loop(ctx, work, fetched, committed)
}

// settle waits for the batch on its way, which uses the lane's memory, and remembers the records that
// waited and did not arrive.
func (l *lane) settle() {
	if l.flight != nil {
		if landed := <-l.landed; landed != nil {
			l.lost(l.flight)
		} else {
			l.giveBack(l.flight.claimed)
		}
	}
	l.flight, l.landed, l.maker.flight = nil, nil, nil
	l.lost(l.next)
}

// forget begins anew after what is durable.
func (l *lane) forget() {
	l.settle()
	l.begin()
}

func (l *lane) begin() {
	l.maker.dir.Reset() // what was made and did not arrive is forgotten
	l.next = l.batch()
	l.next.at, l.next.clearing = l.durable, len(l.written) > 0
}

// resume puts the records that waited, and were in a batch that did not arrive, into the next one.
func (l *lane) resume(work context.Context) error {
	// Another lane may be faster with some of them.
	names := slices.DeleteFunc(slices.Clone(l.again), func(name string) bool { return !l.claim(name) })
	list, err := l.readHeld(work, names, l.Now().Add(-l.Late))
	if err == nil {
		err = l.maker.released(work, l.next, list)
	}
	if err != nil {
		l.giveBack(names)
		return err
	}
	l.next.claimed, l.again = append(l.next.claimed, names...), nil
	return nil
}

// lost remembers the records that waited and are in a batch that does not arrive.
func (l *lane) lost(b *batch) {
	l.giveBack(b.claimed)
	for _, r := range b.releases {
		if !slices.Contains(l.again, r.name) {
			l.again = append(l.again, r.name)
		}
	}
}

// take becomes the owner of the lane, and begins where the target says.
func (l *lane) take(work context.Context) (err error) {
	if l.target, l.durable, err = l.Target.Take(work, l.name); err != nil {
		return err
	}
	if l.maker == nil {
		l.maker = newMaker(work, l)
	}
	l.begin()
	if err := l.maker.readDue(work); err != nil {
		return err
	}
	if err := l.readWindow(work); err != nil || !l.refuses {
		return err
	}
	return l.buryLeft(work)
}

// loop makes batches and sends them.
func (l *lane) loop(ctx, work context.Context, fetched *fetcher, committed *committer) error {
	var due <-chan time.Time // when the batch must be sent
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	defer l.pulse.rest()
	for {
		l.pulse.work()
		if err := l.release(work); err != nil {
			return err
		}
		if l.flight == nil && !l.next.empty() {
			switch age := time.Since(l.next.begun); {
			case l.Linger <= age || l.full():
				l.send(work)
			case due == nil:
				due = time.After(l.Linger - age)
			}
		}
		list, arrivals := fetched.list, l.arrivals
		if l.full() {
			list, arrivals = nil, nil // it waits until the batch before has landed
		}
		l.pulse.rest()
		select {
		case f := <-list:
			l.pulse.work()
			if f.err != nil {
				return f.err
			}
			if err := l.messages(ctx, work, f, committed); err != nil {
				return err
			}
			fetched.done()
		case err := <-l.landed:
			l.pulse.work()
			if err := l.land(work, err, committed); err != nil {
				return err
			}
		case u := <-arrivals:
			l.due = append(l.due, u)
		case <-due:
			due = nil
		case <-tick.C:
			l.pulse.work()
			if err := l.maker.quiet(work, l.next, fetched.readUntil()); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leastBatch is the size that a batch may have however many lanes there are.
const leastBatch = 64 << 10

// full reports whether the batch has its size: each lane has one that is made and one on its way.
func (l *lane) full() bool { return l.next.full(l.room()) }

// room is the size that a batch may have now.
func (l *lane) room() int {
	if l.InFlight == 0 {
		return l.limit
	}
	return min(l.limit, max(leastBatch, l.InFlight/int(2*max(l.lanes.Load(), 1))))
}

// shrink makes the next batches smaller; each one that arrives makes them larger again.
func (l *lane) shrink() { l.limit = max(l.limit/4, min(leastBatch, l.BatchBytes)) }

// quietEvery is how often a lane looks for claims whose lines have come.
const quietEvery = 200 * time.Millisecond

// chunk is how many messages are read together, so that a batch does not become much larger than it
// should. The first ones are few, because the fields of messages are learned from them.
const (
	firstChunk = 4
	chunk      = 128
)

// messages makes what one fetch brought.
func (l *lane) messages(ctx, work context.Context, f fetch, committed *committer) error {
	for list := f.messages; len(list) > 0; {
		if l.full() {
			if err := l.await(ctx, work, committed); err != nil {
				return err
			}
			l.send(work)
		}
		n := min(l.chunk, len(list))
		l.chunk = min(2*l.chunk, chunk)
		if err := l.maker.messages(ctx, work, l.next, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	l.next.at.Next, l.next.moved = f.next, l.next.moved || f.next != l.next.at.Next
	if l.Events.Fetched != nil {
		var oldest time.Time
		if len(f.messages) > 0 {
			oldest = f.messages[0].Time
		}
		l.Events.Fetched(l.part.Topic(), l.part.Number(), f.next, f.end, oldest)
	}
	return nil
}

// await waits for the batch on its way.
func (l *lane) await(ctx, work context.Context, committed *committer) error {
	if l.flight == nil {
		return nil
	}
	l.pulse.rest()
	defer l.pulse.work()
	select {
	case err := <-l.landed:
		return l.land(work, err, committed)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends the batch.
func (l *lane) send(work context.Context) {
	b := l.next
	b.freeze(l)
	l.flight, l.next = b, l.batch()
	l.maker.flight = b
	l.next.at = b.at
	l.maker.dir.Begin()
	landed := make(chan error, 1)
	l.landed = landed
	go func() { landed <- l.deliver(work, b) }()
}

// deliver makes a batch durable: first its dead letters, then the rest.
func (l *lane) deliver(work context.Context, b *batch) error {
	b.sent = time.Now()
	if len(b.dead) > 0 {
		if err := l.DeadLetters.Write(work, b.dead); err != nil {
			return fmt.Errorf("write dead letters: %w", err)
		}
	}
	if len(b.resolved) > 0 {
		if err := l.DeadLetters.Resolve(work, b.resolved); err != nil {
			return fmt.Errorf("remove dead letters: %w", err)
		}
	}
	return l.target.Load(work, &b.out, func(outcomes []pipeline.Outcome, refusals pipeline.Refusals) (pipeline.StreamCommit, error) {
		return b.seal(l, outcomes, refusals)
	})
}

// land takes over what became durable.
func (l *lane) land(work context.Context, err error, committed *committer) error {
	b := l.flight
	l.flight, l.landed, l.maker.flight = nil, nil, nil
	if err != nil {
		l.lost(b)
		return err
	}
	l.giveBack(b.claimed)
	l.limit = min(2*l.limit, l.BatchBytes)
	l.maker.dir.Landed()
	l.durable, l.window = b.at, *b.window.next
	committed.durable(l.durable.Next)
	if l.Events.Loaded != nil {
		l.Events.Loaded(l.part.Topic(), l.part.Number(), Batch{Next: b.at.Next, Oldest: b.oldest, Took: time.Since(b.sent), Bytes: b.out.Size(),
			Messages: b.counted, Account: &b.total, Dead: b.deadByRule()})
	}
	if err := l.judge(b.window.start, &b.total); err != nil {
		return err
	}
	l.due = append(l.due, b.arrived...)
	if err := l.look(work, b.awaited); err != nil {
		return err
	}
	if err := l.buryRefused(work, b); err != nil {
		return err
	}
	l.recycle(b)
	return nil
}

// end loads what the lane has, and what that lets go if it is not too much, and commits it, before it
// gives the partition away.
func (l *lane) end(work context.Context, committed *committer) error {
	until := time.Now().Add(l.Drain / 4)
	for {
		if l.flight != nil {
			if err := l.land(work, <-l.landed, committed); err != nil {
				return err
			}
		}
		if time.Now().Before(until) {
			if err := l.release(work); err != nil {
				return err
			}
		}
		if l.next.broken || l.next.empty() {
			return nil
		}
		l.send(work)
	}
}

// isOf reports whether a name is one of a lane of the group.
func (e *Engine) isOf(lane string) bool { return strings.HasPrefix(lane, e.Group+"/") }

// Stop marks an error as one that waiting does not mend: the lane ends with it.
func Stop(err error) error { return StopError{err} }
