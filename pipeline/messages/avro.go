package messages

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"cpcds2fhir/pipeline/columnar"
)

const maxDecimalBytes = 64

func (a *avroProgram) decode(b []byte, from int, s *sink) error {
	s.use(&a.tree)
	r := avroReader{b: b, i: from, s: s, skips: len(b) + s.limits.Rows}
	if err := r.node(&a.root); err != nil {
		return err
	}
	if r.i < len(b) {
		return broken(RuleTrailing, r.i)
	}
	return nil
}

// avroReader reads one message. Nothing is allocated because of a count or a length in the message
// before as many bytes are known to be there.
type avroReader struct {
	b     []byte
	i     int
	s     *sink
	skips int // elements that may still be skipped: some take no bytes
}

func (r *avroReader) invalid() *Error { return broken(RuleNotAvro, r.i) }

// node reads a value and adds it to the sink.
func (r *avroReader) node(n *avroNode) *Error {
	err := r.present(n)
	if err != nil && err.Field == "" {
		err.Field = n.path
	}
	return err
}

func (r *avroReader) present(n *avroNode) *Error {
	if n.wrap > 0 {
		at := r.i
		branch, err := r.long()
		if err != nil {
			return err
		}
		if branch == int64(n.null) {
			return nil
		}
		if branch < 0 || branch >= int64(n.wrap) {
			r.i = at
			return r.invalid()
		}
	}
	switch {
	case n.skip:
		return r.skip(n.typ, 0)
	case n.typ.kind == avroRecord:
		for i := range n.fields {
			if err := r.node(&n.fields[i]); err != nil {
				return err
			}
		}
		return nil
	case n.typ.kind == avroArray:
		return r.blocks(func() *Error {
			if !r.s.element(n.list) {
				return broken(RuleTooManyRows, r.i)
			}
			return r.node(n.item)
		})
	}
	text, err := r.text(n.typ)
	if err == nil {
		r.s.put(n.leaf, text)
	}
	return err
}

// blocks reads the blocks of an array or a map and calls element for each element.
func (r *avroReader) blocks(element func() *Error) *Error {
	for {
		at := r.i
		count, err := r.long()
		if err != nil {
			return err
		}
		if count == 0 {
			return nil
		}
		end := -1
		if count < 0 {
			if count == math.MinInt64 {
				r.i = at
				return r.invalid()
			}
			count = -count
			size, err := r.length()
			if err != nil {
				return err
			}
			end = r.i + size
		}
		for range count {
			if err := element(); err != nil {
				return err
			}
		}
		if end >= 0 && r.i != end {
			r.i = at
			return r.invalid()
		}
	}
}

func (r *avroReader) long() (int64, *Error) {
	v, n := binary.Uvarint(r.b[r.i:])
	if n == 0 {
		return 0, broken(RuleTruncated, len(r.b))
	}
	if n < 0 {
		return 0, r.invalid()
	}
	r.i += n
	return int64(v>>1) ^ -int64(v&1), nil
}

func (r *avroReader) int() (int64, *Error) {
	at := r.i
	v, err := r.long()
	if err == nil && (v < math.MinInt32 || v > math.MaxInt32) {
		r.i = at
		return 0, r.invalid()
	}
	return v, err
}

// length reads a length in bytes, all of which are there.
func (r *avroReader) length() (int, *Error) {
	at := r.i
	v, err := r.long()
	if err != nil {
		return 0, err
	}
	if v < 0 {
		r.i = at
		return 0, r.invalid()
	}
	if v > int64(len(r.b)-r.i) {
		return 0, broken(RuleTruncated, len(r.b))
	}
	return int(v), nil
}

func (r *avroReader) take(n int) ([]byte, *Error) {
	if n > len(r.b)-r.i {
		return nil, broken(RuleTruncated, len(r.b))
	}
	b := r.b[r.i : r.i+n]
	r.i += n
	return b, nil
}

// bytes reads a string, bytes or a fixed.
func (r *avroReader) bytes(t *avroType) ([]byte, *Error) {
	if t.kind == avroFixed {
		return r.take(t.size)
	}
	n, err := r.length()
	if err != nil {
		return nil, err
	}
	return r.take(n)
}

// text reads a value of a type that can become text.
func (r *avroReader) text(t *avroType) (string, *Error) {
	at := r.i
	switch t.kind {
	case avroNull:
		return "", nil
	case avroBoolean:
		b, err := r.take(1)
		if err != nil {
			return "", err
		}
		if b[0] > 1 {
			r.i = at
			return "", r.invalid()
		}
		return strconv.FormatBool(b[0] == 1), nil
	case avroString:
		b, err := r.bytes(t)
		switch {
		case err != nil:
			return "", err
		case len(b) > r.s.limits.Text:
			return "", broken(RuleTextTooLong, at)
		case !utf8.Valid(b):
			return "", broken(RuleNotUTF8, at)
		}
		return view(b), nil
	case avroEnum:
		i, err := r.int()
		if err != nil {
			return "", err
		}
		if i < 0 || i >= int64(len(t.symbols)) {
			r.i = at
			return "", r.invalid()
		}
		return t.symbols[i], nil
	case avroBytes, avroFixed:
		b, err := r.bytes(t)
		if err != nil {
			return "", err
		}
		room := r.s.text.room(512)
		if t.logical == "uuid" {
			return r.s.text.keep(columnar.AppendUUID(room, b)), nil
		}
		if len(b) == 0 || len(b) > maxDecimalBytes {
			r.i = at
			return "", r.invalid()
		}
		return r.s.text.keep(columnar.AppendDecimalBytes(room, b, t.scale)), nil
	}
	return r.number(t)
}

func (r *avroReader) number(t *avroType) (string, *Error) {
	room := r.s.text.room(512) // enough for any number
	var err *Error
	var v int64
	switch t.kind {
	case avroFloat, avroDouble:
		size := 4 << (t.kind - avroFloat)
		b, err := r.take(size)
		if err != nil {
			return "", err
		}
		if size == 4 {
			f := math.Float32frombits(binary.LittleEndian.Uint32(b))
			return r.s.text.keep(columnar.AppendFloat(room, float64(f), 32)), nil
		}
		f := math.Float64frombits(binary.LittleEndian.Uint64(b))
		return r.s.text.keep(columnar.AppendFloat(room, f, 64)), nil
	case avroInt:
		v, err = r.int()
	default:
		v, err = r.long()
	}
	if err != nil {
		return "", err
	}
	switch t.logical {
	case "date":
		room = columnar.AppendDate(room, v)
	case "time-millis":
		room = columnar.AppendTime(room, v, 1e3)
	case "time-micros":
		room = columnar.AppendTime(room, v, 1e6)
	case "timestamp-millis":
		room = columnar.AppendTimestamp(room, v, 1e3, time.UTC)
	case "timestamp-micros":
		room = columnar.AppendTimestamp(room, v, 1e6, time.UTC)
	case "timestamp-nanos":
		room = columnar.AppendTimestamp(room, v, 1e9, time.UTC)
	case "local-timestamp-millis":
		room = columnar.AppendTimestamp(room, v, 1e3, nil)
	case "local-timestamp-micros":
		room = columnar.AppendTimestamp(room, v, 1e6, nil)
	case "local-timestamp-nanos":
		room = columnar.AppendTimestamp(room, v, 1e9, nil)
	default:
		room = strconv.AppendInt(room, v, 10)
	}
	return r.s.text.keep(room), nil
}

// skip passes a value.
func (r *avroReader) skip(t *avroType, depth int) *Error {
	if depth > r.s.limits.Depth {
		return broken(RuleTooDeep, r.i)
	}
	var err *Error
	switch t.kind {
	case avroNull:
	case avroBoolean:
		_, err = r.take(1)
	case avroInt, avroLong, avroEnum:
		_, err = r.long()
	case avroFloat:
		_, err = r.take(4)
	case avroDouble:
		_, err = r.take(8)
	case avroBytes, avroString, avroFixed:
		_, err = r.bytes(t)
	case avroRecord:
		for _, f := range t.fields {
			if err := r.skipOne(f.typ, depth+1); err != nil {
				return err
			}
		}
	case avroArray, avroMap:
		return r.blocks(func() *Error {
			if t.kind == avroMap {
				if _, err := r.bytes(&avroType{kind: avroString}); err != nil {
					return err
				}
			}
			return r.skipOne(t.of[0], depth+1)
		})
	case avroUnion:
		branch, err := r.long()
		if err != nil {
			return err
		}
		if branch < 0 || branch >= int64(len(t.of)) {
			return r.invalid()
		}
		return r.skip(t.of[branch], depth+1)
	}
	return err
}

// skipOne passes an element or a field. There may be many that take no bytes.
func (r *avroReader) skipOne(t *avroType, depth int) *Error {
	if r.skips--; r.skips < 0 {
		return broken(RuleTooManyRows, r.i)
	}
	return r.skip(t, depth)
}
