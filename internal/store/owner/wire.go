package owner

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// A message is 4 bytes with the length of what follows, big endian, a byte that says what it is, and
// its body. Numbers in a body are uvarints; a text or value follows its length. A value that may be
// nil follows its length plus one.
//
// A connection carries one request at a time. The user sends it, the owner answers with messages of
// the kinds below, of which working and part are followed by others.

// Kinds of messages of users.
const (
	askHello byte = iota + 1
	askMetas
	askPut
	askTake
	askAllMeta
	askGet
	askSourceVersion
	askHistory
	askSearch
	askExport
	askStats
	askCompare
	askApply  // answered with outcomes or failed
	askCommit // after outcomes: write it
	askAbort  // after outcomes: forget the batch; no answer
	askWatermark
	askChanges
	askCorrect
	askKeepOut
	askCompartment
	askMadeBy
	askScrub
)

// Kinds of messages of owners.
const (
	sayHello    byte = iota + 101
	sayDone          // the answer, or the last part of it
	sayPart          // a part of the answer
	sayWorking       // the owner is alive, the answer takes time
	sayOutcomes      // of a batch, as they are now
	sayFailed        // an error
	sayFull          // instead of hello: there are too many connections
)

const (
	headerSize = 5
	maxMessage = 128 << 20 // a batch or commit
	smallSize  = 64 << 10  // messages up to this size need no share of the owner's memory
	helloSize  = 1 << 10   // what a peer may send before it is known
	chunkSize  = 128 << 10 // parts of long answers
	pieceSize  = 256 << 10 // what is read or written at once
)

// errMessage says that a peer sent what is no message of this protocol.
var errMessage = errors.New("a message is not of the protocol of stores")

// encoder appends to the body of a message, which begins with its header.
type encoder struct{ buf []byte }

func (e *encoder) begin(kind byte) { e.buf = append(e.buf[:0], 0, 0, 0, 0, kind) }

// end completes the header. more is the length of what is sent after the buffer.
func (e *encoder) end(more int) error {
	n := len(e.buf) - headerSize + 1 + more
	if n > maxMessage {
		return fmt.Errorf("a message of %d bytes is too large for the owner of the store; the limit is %d", n, maxMessage)
	}
	binary.BigEndian.PutUint32(e.buf, uint32(n))
	return nil
}

func (e *encoder) uint(v uint64) { e.buf = binary.AppendUvarint(e.buf, v) }

func (e *encoder) text(s string) {
	e.uint(uint64(len(s)))
	e.buf = append(e.buf, s...)
}

func (e *encoder) bytes(b []byte) {
	e.uint(uint64(len(b)))
	e.buf = append(e.buf, b...)
}

// optional writes a value that may be nil.
func (e *encoder) optional(b []byte) {
	if b == nil {
		e.uint(0)
		return
	}
	e.uint(uint64(len(b)) + 1)
	e.buf = append(e.buf, b...)
}

func (e *encoder) bool(b bool) {
	if b {
		e.buf = append(e.buf, 1)
	} else {
		e.buf = append(e.buf, 0)
	}
}

// decoder reads a body. After a fault it returns zero values, and end reports it.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// count reads the number of things that follow, each of which has at least size bytes.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.rest)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

// view reads a value without a copy.
func (d *decoder) view() []byte { return d.take(d.uint()) }

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	v := d.rest[:n:n]
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) text() string { return string(d.view()) }

// brief reads a text that is valid as long as the message is.
func (d *decoder) brief() string {
	v := d.view()
	return unsafe.String(unsafe.SliceData(v), len(v))
}

// optional reads a copy of a value that may be nil.
func (d *decoder) optional() []byte {
	n := d.uint()
	if n == 0 {
		return nil
	}
	v := d.take(n - 1)
	if d.bad {
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}

func (d *decoder) bool() bool {
	v := d.take(1)
	return len(v) == 1 && v[0] != 0
}

func (d *decoder) fail() { d.rest, d.bad = nil, true }

// end reports whether the body was what was expected, and all of it.
func (d *decoder) end() error {
	if d.bad || len(d.rest) > 0 {
		return errMessage
	}
	return nil
}

// readHeader reads the header of a message.
func readHeader(r *bufio.Reader) (kind byte, size int, err error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, 0, err
	}
	n := binary.BigEndian.Uint32(h[:])
	if n == 0 || n > maxMessage {
		return 0, 0, errMessage
	}
	return h[4], int(n) - 1, nil
}

// readBody reads the body of a message and appends it to buf. Memory grows with what arrives, not
// with what was announced.
func readBody(r io.Reader, buf []byte, size int) ([]byte, error) {
	for size > 0 {
		n := min(size, pieceSize)
		from := len(buf)
		if cap(buf)-from < n {
			// Doubling copies less often than append, and never allocates more than twice
			// of what has arrived.
			buf = append(make([]byte, 0, min(from+size, max(2*from, from+n))), buf...)
		}
		buf = buf[:from+n]
		if _, err := io.ReadFull(r, buf[from:]); err != nil {
			return buf, err
		}
		size -= n
	}
	return buf, nil
}
