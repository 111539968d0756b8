package kafkaio

import (
	"encoding/binary"
	"errors"
	"math"
)

// errShort says that an answer or a batch ends before its contents do, or that a length in it is impossible.
var errShort = errors.New("contents are cut off or malformed")

// encoder appends what the protocol calls primitive types. Flexible messages (KIP-482) have compact
// lengths and tagged fields.
type encoder struct {
	b        []byte
	flexible bool
}

func (e *encoder) i8(v int8)   { e.b = append(e.b, byte(v)) }
func (e *encoder) i16(v int16) { e.b = binary.BigEndian.AppendUint16(e.b, uint16(v)) }
func (e *encoder) i32(v int32) { e.b = binary.BigEndian.AppendUint32(e.b, uint32(v)) }
func (e *encoder) i64(v int64) { e.b = binary.BigEndian.AppendUint64(e.b, uint64(v)) }

func (e *encoder) boolean(v bool) {
	if v {
		e.i8(1)
	} else {
		e.i8(0)
	}
}

func (e *encoder) str(s string) {
	if e.flexible {
		e.b = binary.AppendUvarint(e.b, uint64(len(s))+1)
	} else {
		e.i16(int16(len(s)))
	}
	e.b = append(e.b, s...)
}

// null appends the null of a string.
func (e *encoder) null() {
	if e.flexible {
		e.b = append(e.b, 0)
	} else {
		e.i16(-1)
	}
}

// array begins an array of n elements; -1 is null.
func (e *encoder) array(n int) {
	if e.flexible {
		e.b = binary.AppendUvarint(e.b, uint64(n+1))
	} else {
		e.i32(int32(n))
	}
}

// tags ends a structure: we send no tagged fields.
func (e *encoder) tags() {
	if e.flexible {
		e.b = append(e.b, 0)
	}
}

// varint appends a zigzag varint, as records have them.
func (e *encoder) varint(v int64) { e.b = binary.AppendVarint(e.b, v) }

// varbytes appends bytes of a record; nil is null.
func (e *encoder) varbytes(b []byte) {
	if b == nil {
		e.varint(-1)
		return
	}
	e.varint(int64(len(b)))
	e.b = append(e.b, b...)
}

// cursor reads what encoder writes. It returns zeros after the first fault and keeps
// that in bad. It allocates nothing but strings that are really there, so that no length in the input
// can make it ask for memory.
type cursor struct {
	b        []byte
	flexible bool
	bad      bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.b) {
		c.bad, c.b = true, nil
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) err() error {
	if c.bad {
		return errShort
	}
	return nil
}

func (c *cursor) i8() int8 {
	if b := c.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

func (c *cursor) i16() int16 {
	if b := c.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (c *cursor) i32() int32 {
	if b := c.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (c *cursor) i64() int64 {
	if b := c.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if c.bad || n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// varint reads a zigzag varint of at most 64 bits.
func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if c.bad || n <= 0 {
		c.bad, c.b = true, nil
		return 0
	}
	c.b = c.b[n:]
	return v
}

// varint32 reads a zigzag varint that must fit 32 bits.
func (c *cursor) varint32() int {
	v := c.varint()
	if v < math.MinInt32 || v > math.MaxInt32 {
		c.bad, c.b = true, nil
		return 0
	}
	return int(v)
}

// varbytes reads bytes of a record: nil is null, and empty bytes are not nil.
func (c *cursor) varbytes() []byte {
	n := c.varint32()
	if n == -1 || c.bad {
		return nil
	}
	return c.take(n)
}

// compact reads a compact length; -1 is null.
func (c *cursor) compact() int {
	n := c.uvarint()
	if n > math.MaxInt32 {
		c.bad, c.b = true, nil
		return 0
	}
	return int(n) - 1
}

// str reads a string; null is empty.
func (c *cursor) str() string {
	var n int
	if c.flexible {
		n = c.compact()
	} else {
		n = int(c.i16())
	}
	if n == -1 {
		return ""
	}
	return string(c.take(n))
}

// array reads the number of elements of an array; null is 0. Each element takes at least a byte, so that
// a number above the rest of the message is a fault and nobody allocates by it.
func (c *cursor) array() int {
	var n int
	if c.flexible {
		n = c.compact()
	} else {
		n = int(c.i32())
	}
	switch {
	case c.bad || n == -1:
		return 0
	case n < 0 || n > len(c.b):
		c.bad, c.b = true, nil
		return 0
	}
	return n
}

// bytes reads bytes with a 32-bit length; null is nil. It is for messages that are not flexible.
func (c *cursor) bytes() []byte {
	n := int(c.i32())
	if n == -1 || c.bad {
		return nil
	}
	return c.take(n)
}

// tags skips the tagged fields at the end of a structure.
func (c *cursor) tags() {
	if !c.flexible {
		return
	}
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		c.uvarint()
		size := c.uvarint()
		if size > math.MaxInt32 {
			size = math.MaxInt32
		}
		c.take(int(size))
	}
}
