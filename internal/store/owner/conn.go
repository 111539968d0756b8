package owner

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"cpcds2fhir/schemas/fhir"
)

// protocolVersion rises with every change that an older program would misread. The messages of
// greeting keep their form forever, so that two programs can tell each other that they differ.
const protocolVersion = 3

// magic begins both messages of greeting.
const magic = "cpcds2fhir store"

// greeting is what both sides say first.
type greeting struct {
	protocol uint32
	program  string
	epoch    uint64 // of the owner
}

func (e *encoder) greeting(g greeting) {
	e.begin(sayHello)
	e.text(magic)
	e.uint(uint64(g.protocol))
	e.text(g.program)
	e.uint(g.epoch)
}

// greeting reads a message of greeting. Later versions may add to it.
func (d *decoder) greeting() (g greeting, err error) {
	if d.text() != magic {
		return g, errMessage
	}
	g = greeting{uint32(min(d.uint(), 1<<32-1)), d.text(), d.uint()}
	if d.bad {
		return g, errMessage
	}
	return g, nil
}

// conn is a user's connection to the owner. One goroutine at a time uses it.
type conn struct {
	net     *net.UnixConn
	r       *bufio.Reader
	enc     encoder
	body    []byte // of the last message
	epoch   uint64
	pid     int
	kept    bool            // it has waited for its next request: the owner may have closed it
	pending bool            // the answer to a request is not read to its end
	ctx     context.Context // of the request
	stall   time.Duration
	stalled func(pid int, silent time.Duration)
	waits   atomic.Int64 // since when it waits for the owner, in nanoseconds; 0 if it does not
}

// bind lets ctx end what the connection waits for, until release is called.
func (c *conn) bind(ctx context.Context) (release func()) {
	c.ctx = ctx
	if ctx.Done() == nil {
		return func() {}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.net.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}

// Read waits for the owner as long as the request may. It never sets a time limit itself, because an
// owner that is stopped still has the lock: there is nobody else to ask.
func (c *conn) Read(p []byte) (int, error) {
	return c.patiently(c.net.SetReadDeadline, func() (int, error) { return c.net.Read(p) })
}

// Write is like Read.
func (c *conn) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := c.patiently(c.net.SetWriteDeadline, func() (int, error) { return c.net.Write(p[n:]) })
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (c *conn) patiently(limit func(time.Time) error, do func() (int, error)) (int, error) {
	since := time.Now()
	c.waits.Store(since.UnixNano())
	defer c.waits.Store(0)
	for {
		if err := limit(time.Now().Add(c.stall)); err != nil {
			return 0, err
		}
		if err := c.ctx.Err(); err != nil { // after limit, which would undo what bind does
			return 0, err
		}
		n, err := do()
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			if n > 0 {
				err = nil // it comes again
			}
			return n, err
		}
		if err := c.ctx.Err(); err != nil {
			return 0, err
		}
		c.stalled(c.pid, time.Since(since))
	}
}

// send sends a request or the next message of one, whose body is in c.enc.
func (c *conn) send() error {
	if err := c.enc.end(0); err != nil {
		return err
	}
	c.pending = true
	if _, err := c.Write(c.enc.buf); err != nil {
		return &brokenError{err}
	}
	return nil
}

// sendBatch sends a request with a batch, whose JSON is not copied.
func (c *conn) sendBatch(kind byte, b *fhir.Batch) error {
	c.enc.begin(kind)
	if err := c.enc.end(c.enc.batch(b)); err != nil {
		return err
	}
	c.pending = true
	_, err := c.Write(c.enc.buf)
	if err == nil {
		err = lines(b, func(piece []byte) error {
			_, err := c.Write(piece)
			return err
		})
	}
	if err != nil {
		return &brokenError{err}
	}
	return nil
}

// answer reads the next message of the answer; more says that it is not the last. The error is the
// owner's, or a *brokenError. What d refers to is valid until the next message.
func (c *conn) answer() (kind byte, d *decoder, err error) {
	for {
		kind, size, err := readHeader(c.r)
		if err == nil {
			c.body, err = readBody(c.r, c.body[:0], size)
		}
		if err != nil {
			return 0, nil, &brokenError{err}
		}
		d := &decoder{rest: c.body}
		switch kind {
		case sayWorking:
			continue
		case sayDone, sayHello:
			c.pending = false
		case sayPart, sayOutcomes:
		case sayFull:
			return 0, nil, &brokenError{errFull}
		case sayFailed:
			err := d.error()
			if errors.Is(err, errMessage) || errors.Is(err, errEnding) {
				return 0, nil, &brokenError{err}
			}
			c.pending = false
			return 0, nil, err
		default:
			return 0, nil, &brokenError{errMessage}
		}
		return kind, d, nil
	}
}

// ask sends the request in c.enc and reads an answer of one message.
func (c *conn) ask(read func(d *decoder)) error {
	if err := c.send(); err != nil {
		return err
	}
	return c.finish(read)
}

// finish reads an answer of one message.
func (c *conn) finish(read func(d *decoder)) error {
	kind, d, err := c.answer()
	if err != nil {
		return err
	}
	if kind != sayDone {
		return &brokenError{errMessage}
	}
	if read != nil {
		read(d)
	}
	if err := d.end(); err != nil {
		return &brokenError{err}
	}
	return nil
}

// parts sends the request in c.enc and calls each for all parts of the answer, until it reports that
// it wants no more.
func (c *conn) parts(each func(d *decoder) (more bool)) error {
	if err := c.send(); err != nil {
		return err
	}
	for {
		kind, d, err := c.answer()
		if err != nil {
			return err
		}
		if kind != sayDone && kind != sayPart {
			return &brokenError{errMessage}
		}
		for len(d.rest) > 0 {
			if !each(d) {
				return nil
			}
		}
		if d.bad {
			return &brokenError{errMessage}
		}
		if kind == sayDone {
			return nil
		}
	}
}

// greet says hello to the owner and hears who it is.
func (c *conn) greet(own greeting, dir string) error {
	c.enc.greeting(own)
	c.enc.buf[headerSize-1] = askHello
	if err := c.send(); err != nil {
		return err
	}
	kind, d, err := c.answer()
	if err != nil {
		return err
	}
	if kind != sayHello {
		return &brokenError{errMessage}
	}
	g, err := d.greeting()
	if err != nil {
		return &brokenError{err}
	}
	if g.protocol != own.protocol {
		return &ProtocolError{Dir: dir, Own: own.protocol, Owner: g.protocol, Program: own.program, OwnersProgram: g.program}
	}
	c.epoch = g.epoch
	return nil
}
