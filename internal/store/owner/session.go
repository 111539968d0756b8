package owner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

// session is the owner's side of a connection.
type session struct {
	*server
	net  *net.UnixConn
	r    *bufio.Reader
	pid  int
	body []byte // of small requests

	writing sync.Mutex // of what follows, between an answer and signs of life
	enc     encoder
	working bool   // a request is under way
	gone    func() // ends it
	beats   *time.Timer
}

// converse answers requests until the user closes the connection, which is no error, or breaks the
// rules.
func (c *session) converse() (err error) {
	if c.pid, err = checkPeer(c.net); err != nil {
		return err
	}
	if err := c.greet(); err != nil {
		return err
	}
	for {
		kind, size, err := c.header(c.limits.idle)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil // it connects again when it needs to
		case err != nil:
			return err
		}
		if err := c.handle(kind, size); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				return nil // the user has ended, or its caller wants no more
			}
			return err
		}
	}
}

// greet hears who the user is. Both sides get the version of the other, even if they differ.
func (c *session) greet() error {
	kind, size, err := c.header(c.limits.greet)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && (kind != askHello || size > helloSize) {
		err = errMessage
	}
	if err != nil {
		return err
	}
	if c.body, err = readBody(c.r, c.body[:0], size); err != nil {
		return err
	}
	g, err := (&decoder{rest: c.body}).greeting()
	if err != nil {
		return err
	}
	c.enc.greeting(c.self)
	if err := c.send(); err != nil {
		return err
	}
	if g.protocol != c.self.protocol {
		return fmt.Errorf("a program has store protocol %d (version %s), this one has %d", g.protocol, orUnknown(g.program), c.self.protocol)
	}
	return nil
}

// header reads the header of the next message within a time.
func (c *session) header(within time.Duration) (kind byte, size int, err error) {
	c.allow(within)
	return readHeader(c.r)
}

// allow gives the user time for the next piece of a message, unless the owner is ending.
func (c *session) allow(within time.Duration) {
	_ = c.net.SetReadDeadline(time.Now().Add(within)) // fails only if it is closed
	if c.ctx.Err() != nil {
		_ = c.net.SetReadDeadline(time.Unix(1, 0))
	}
}

// slowest is how many bytes of a large message a user must send in a second.
const slowest = 1 << 20

// read reads the body of a message into buf, which it may replace. A large one first waits for a
// share of memory, which release gives back.
func (c *session) read(buf *[]byte, size int, memory *semaphore.Weighted) (release func(), err error) {
	release = func() {}
	if size > smallSize {
		share := min(int64(size), c.limits.memory)
		if err := memory.Acquire(c.ctx, share); err != nil {
			return release, err
		}
		release = func() { memory.Release(share) }
	}
	c.allow(c.limits.read + time.Duration(size/slowest)*time.Second)
	*buf, err = readBody(c.r, (*buf)[:0], size)
	if err != nil {
		release()
		return func() {}, err
	}
	return release, nil
}

// handle answers a request. Its error ends the connection.
func (c *session) handle(kind byte, size int) error {
	if kind == askApply || kind == askCompare {
		return c.load(kind, size)
	}
	memory := c.memory
	if kind == askPut {
		memory = c.commits
	}
	release, err := c.read(&c.body, size, memory)
	if err != nil {
		return err
	}
	defer func() {
		if size > smallSize {
			c.body = nil
		}
		release()
	}()
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	c.work(cancel)
	defer c.pause()
	d := &decoder{rest: c.body}
	switch kind {
	case askMetas:
		names := make([]string, d.count(1))
		for i := range names {
			names[i] = d.text()
		}
		return c.answer(d, func() error {
			values, err := c.st.Metas(names)
			c.enc.uint(uint64(len(values)))
			for _, v := range values {
				c.enc.optional(v)
			}
			return err
		})
	case askPut:
		commit := d.commit()
		return c.answer(d, func() error { return apply(ctx, c.st, &commit) })
	case askTake:
		name := d.text()
		return c.answer(d, func() error {
			l, err := c.st.Take(ctx, name)
			c.enc.uint(l.Epoch)
			return err
		})
	case askAllMeta:
		prefix := d.text()
		return answerAll(c, d, c.st.AllMeta(prefix), func(r store.MetaRecord) {
			c.enc.text(r.Name)
			c.enc.bytes(r.Value)
		})
	case askGet:
		t, id := d.resource()
		version := uint32(d.uint())
		return c.answer(d, func() error { return c.get(ctx, t, id, version) })
	case askSourceVersion:
		t, id := d.resource()
		return c.answer(d, func() error {
			version, err := c.st.SourceVersion(ctx, t, id)
			c.enc.text(version)
			return err
		})
	case askWatermark:
		return c.answer(d, func() error {
			at, err := c.st.Watermark(ctx)
			c.enc.uint(uint64(at.UnixMilli()))
			return err
		})
	case askChanges:
		t, since := fhir.Type(min(d.uint(), uint64(fhir.NumTypes))), int64(d.uint())
		var after *store.Change
		if d.bool() {
			x := d.change()
			after = &x
		}
		return answerAll(c, d, c.st.Changes(ctx, t, since, after), c.enc.change)
	case askCorrect, askKeepOut, askCompartment, askMadeBy, askScrub:
		return c.correct(ctx, kind, d)
	case askHistory:
		t, id := d.resource()
		return answerAll(c, d, c.st.History(ctx, t, id), c.enc.entry)
	case askSearch:
		q, err := d.query()
		if err != nil && !d.bad {
			return c.fail(err)
		}
		return answerAll(c, d, c.st.Search(ctx, q), c.enc.entry)
	case askExport:
		var types []fhir.Type
		for _, t := range d.view() {
			types = append(types, fhir.Type(t))
		}
		return answerAll(c, d, c.st.Export(ctx, types...), c.enc.entry)
	case askStats:
		return c.answer(d, func() error {
			stats, err := c.st.Stats(ctx)
			if err != nil {
				return err
			}
			text, err := json.Marshal(stats)
			c.enc.bytes(text)
			return err
		})
	}
	return errMessage
}

func (c *session) get(ctx context.Context, t fhir.Type, id string, version uint32) (err error) {
	var e *store.Entry
	if version == 0 {
		e, err = c.st.Get(ctx, t, id)
	} else {
		e, err = c.st.GetVersion(ctx, t, id, version)
	}
	if err == nil {
		c.enc.entry(e)
	}
	return err
}

// load reads a batch and compares or applies it.
func (c *session) load(kind byte, size int) error {
	w := c.takeLoad()
	defer c.giveBack(w)
	release, err := c.read(&w.body, size, c.memory)
	if err != nil {
		return err
	}
	defer release()
	w.batch.Reset()
	d := &decoder{rest: w.body}
	if decodeBatch(d, &w.batch); d.end() != nil {
		return d.end()
	}
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	c.work(cancel)
	defer c.pause()
	if kind == askCompare {
		return c.answer(d, func() error {
			outcomes, err := c.st.Compare(ctx, &w.batch)
			c.enc.outcomes(outcomes)
			return err
		})
	}
	return c.apply(ctx, cancel, &w.batch)
}

// errDiffer ends an Apply whose outcomes are not those that the user made its commit for.
var errDiffer = errors.New("the outcomes have changed")

// apply answers the outcomes of a batch and waits, without a lock, for the commit that the user makes
// of them.
func (c *session) apply(ctx context.Context, gone func(), b *fhir.Batch) error {
	p, err := c.st.Prepare(ctx, b)
	if err != nil {
		return c.fail(err)
	}
	defer p.Release()
	outcomes := p.Outcomes()
	for {
		c.pause()
		c.enc.begin(sayOutcomes)
		c.enc.outcomes(outcomes)
		if err := c.send(); err != nil {
			return err
		}
		kind, size, err := c.header(c.limits.seal)
		if err != nil {
			return err
		}
		if kind == askAbort && size == 0 {
			return nil
		}
		if kind != askCommit {
			return errMessage
		}
		release, err := c.read(&c.body, size, c.commits)
		if err != nil {
			return err
		}
		d := &decoder{rest: c.body}
		commit := d.commit()
		if size > smallSize {
			c.body = nil
		}
		if d.end() != nil {
			release()
			return d.end()
		}
		c.work(gone)
		err = p.Apply(ctx, func(now []store.Outcome) (store.Commit, error) {
			if !slices.Equal(now, outcomes) {
				outcomes = slices.Clone(now)
				return store.Commit{}, errDiffer
			}
			return commit, nil
		})
		release()
		if errors.Is(err, errDiffer) {
			continue
		}
		return c.answer(d, func() error { return err })
	}
}

// work begins to send signs of life, until pause. If one finds the user gone, it calls gone.
func (c *session) work(gone func()) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.working, c.gone = true, gone
	c.beats.Reset(c.limits.beat)
}

// beat sends a sign of life, if a request is under way and nothing is being sent.
func (c *session) beat() {
	if !c.writing.TryLock() {
		c.beats.Reset(c.limits.beat)
		return
	}
	defer c.writing.Unlock()
	if !c.working {
		return
	}
	if c.writeNow([]byte{0, 0, 0, 1, sayWorking}) != nil {
		c.gone()
		return
	}
	c.beats.Reset(c.limits.beat)
}

// pause ends signs of life.
func (c *session) pause() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.working = false
	c.beats.Stop()
}

// answer answers what do adds to the message, or its error. d is the request.
func (c *session) answer(d *decoder, do func() error) error {
	if err := d.end(); err != nil {
		return err
	}
	c.enc.begin(sayDone)
	if err := do(); err != nil {
		return c.fail(err)
	}
	c.pause()
	if err := c.enc.end(0); err != nil {
		return c.fail(err)
	}
	return c.send()
}

// fail answers an error.
func (c *session) fail(err error) error {
	if c.ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
		err = errEnding
	}
	c.pause()
	c.enc.begin(sayFailed)
	c.enc.error(err)
	return c.send()
}

// answerAll answers a sequence, in parts. The store waits while the user does not read.
func answerAll[T any](c *session, d *decoder, all iter.Seq2[T, error], add func(T)) error {
	if err := d.end(); err != nil {
		return err
	}
	c.enc.begin(sayPart)
	for x, err := range all {
		if err != nil {
			return c.fail(err)
		}
		if add(x); len(c.enc.buf) < chunkSize {
			continue
		}
		if err := c.send(); err != nil {
			return err
		}
		c.enc.begin(sayPart)
	}
	c.pause()
	c.enc.buf[headerSize-1] = sayDone
	return c.send()
}

// send sends the message in c.enc.
func (c *session) send() error {
	if err := c.enc.end(0); err != nil {
		return err
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	err := c.writeNow(c.enc.buf)
	if cap(c.enc.buf) > 1<<20 {
		c.enc.buf = nil
	}
	return err
}

// writeNow writes a message, for which the user has limited time.
func (c *session) writeNow(message []byte) error {
	_ = c.net.SetWriteDeadline(time.Now().Add(c.limits.write)) // fails only if it is closed
	if c.ctx.Err() != nil {
		_ = c.net.SetWriteDeadline(time.Now().Add(endWrite))
	}
	_, err := c.net.Write(message)
	return err
}
