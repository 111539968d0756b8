package messages

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"cpcds2fhir/pipeline/columnar"
)

func (a *protoProgram) decode(b []byte, from int, s *sink) error {
	s.use(&a.tree)
	r := protoReader{s: s}
	if err := r.message(b[from:], from, a.root, false); err != nil {
		return err
	}
	return nil
}

// protoReader reads one message as the Protobuf libraries do: unknown fields are passed over, the
// last value of a field counts, and objects that occur repeatedly are merged.
type protoReader struct{ s *sink }

// wireError is the error for bytes that are not Protobuf. n is the result of package protowire.
func wireError(n, at int) *Error {
	if protowire.ParseError(n).Error() == errProtoEOF {
		return broken(RuleTruncated, at)
	}
	return broken(RuleNotProtobuf, at)
}

// errProtoEOF is how package protowire says that bytes are missing.
var errProtoEOF = func() string {
	_, n := protowire.ConsumeVarint(nil)
	return protowire.ParseError(n).Error()
}()

// message reads a message. at is the position of b in the whole message. again means that it adds
// to an object that was read before.
func (r *protoReader) message(b []byte, at int, m *protoMessage, again bool) *Error {
	if !again {
		for _, f := range m.defaults {
			r.s.set(f.leaf, f.absent)
		}
	}
	var seen []*protoField // objects
	for i := 0; i < len(b); {
		number, wire, n := protowire.ConsumeTag(b[i:])
		if n < 0 {
			return wireError(n, at+i)
		}
		i += n
		n = protowire.ConsumeFieldValue(number, wire, b[i:])
		if n < 0 {
			return wireError(n, at+i)
		}
		if f := m.fields[int32(number)]; f != nil {
			before := false
			if f.kind == protoObject && f.list < 0 {
				if before = again || slices.Contains(seen, f); !before {
					seen = append(seen, f)
				}
			}
			if err := r.field(f, wire, b[i:i+n], at+i, before); err != nil {
				if err.Field == "" {
					err.Field = f.path
				}
				return err
			}
		}
		i += n
	}
	return nil
}

// field reads one occurrence of a field.
func (r *protoReader) field(f *protoField, wire protowire.Type, b []byte, at int, again bool) *Error {
	if f.kind == protoText {
		if f.list >= 0 && wire == protowire.BytesType && wireOf(f.scalar) != protowire.BytesType {
			return r.packed(f, b, at)
		}
		if wire != wireOf(f.scalar) {
			return nil // as good as an unknown field
		}
		return r.scalar(f, b, at)
	}
	if wire != protowire.BytesType {
		return nil
	}
	content, _ := protowire.ConsumeBytes(b)
	at += len(b) - len(content)
	if err := r.begin(f, at); err != nil {
		return err
	}
	switch f.kind {
	case protoObject:
		return r.message(content, at, f.message, again)
	case protoWrapper:
		return r.wrapper(f, content, at)
	}
	return r.special(f, content, at)
}

// begin begins the next element if the field is a list.
func (r *protoReader) begin(f *protoField, at int) *Error {
	if f.list >= 0 && !r.s.element(f.list) {
		return broken(RuleTooManyRows, at)
	}
	return nil
}

// packed reads several numbers.
func (r *protoReader) packed(f *protoField, b []byte, at int) *Error {
	content, _ := protowire.ConsumeBytes(b)
	at += len(b) - len(content)
	for len(content) > 0 {
		n := protowire.ConsumeFieldValue(1, wireOf(f.scalar), content)
		if n < 0 {
			return wireError(n, at)
		}
		if err := r.scalar(f, content[:n], at); err != nil {
			return err
		}
		content, at = content[n:], at+n
	}
	return nil
}

func (r *protoReader) scalar(f *protoField, b []byte, at int) *Error {
	if err := r.begin(f, at); err != nil {
		return err
	}
	text, err := r.text(f, b, at)
	if err == nil {
		r.s.set(f.leaf, text)
	}
	return err
}

// wrapper reads a message whose only field is a scalar with number 1.
func (r *protoReader) wrapper(f *protoField, b []byte, at int) *Error {
	text := (&protoField{scalar: f.scalar}).zero()
	err := eachField(b, at, func(number protowire.Number, wire protowire.Type, b []byte, at int) (err *Error) {
		if number == 1 && wire == wireOf(f.scalar) {
			text, err = r.text(f, b, at)
		}
		return err
	})
	if err == nil {
		r.s.set(f.leaf, text)
	}
	return err
}

func eachField(b []byte, at int, read func(number protowire.Number, wire protowire.Type, b []byte, at int) *Error) *Error {
	for i := 0; i < len(b); {
		number, wire, n := protowire.ConsumeTag(b[i:])
		if n < 0 {
			return wireError(n, at+i)
		}
		i += n
		n = protowire.ConsumeFieldValue(number, wire, b[i:])
		if n < 0 {
			return wireError(n, at+i)
		}
		if err := read(number, wire, b[i:i+n], at+i); err != nil {
			return err
		}
		i += n
	}
	return nil
}

func wireOf(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	}
	return protowire.VarintType
}

// text returns the text of a scalar, whose bytes are known to be complete.
func (r *protoReader) text(f *protoField, b []byte, at int) (string, *Error) {
	if f.scalar == protoreflect.StringKind {
		text, _ := protowire.ConsumeBytes(b)
		switch {
		case len(text) > r.s.limits.Text:
			return "", broken(RuleTextTooLong, at)
		case !utf8.Valid(text):
			return "", broken(RuleNotUTF8, at)
		}
		return view(text), nil
	}
	var v uint64
	switch wireOf(f.scalar) {
	case protowire.VarintType:
		v, _ = protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		v32, _ := protowire.ConsumeFixed32(b)
		v = uint64(v32)
	default:
		v, _ = protowire.ConsumeFixed64(b)
	}
	if f.scalar == protoreflect.BoolKind {
		return strconv.FormatBool(v != 0), nil
	}
	if f.scalar == protoreflect.EnumKind {
		return f.symbol(int32(v)), nil
	}
	return r.s.text.keep(appendNumber(r.s.text.room(512), f.scalar, v)), nil
}

// symbol is the name of a value of an enum, or its number if the schema does not have it.
func (f *protoField) symbol(v int32) string {
	if s, ok := f.symbols[v]; ok {
		return s
	}
	return strconv.Itoa(int(v))
}

// appendNumber appends a number as the libraries understand it: they ignore excess bits.
func appendNumber(b []byte, k protoreflect.Kind, v uint64) []byte {
	switch k {
	case protoreflect.FloatKind:
		return columnar.AppendFloat(b, float64(math.Float32frombits(uint32(v))), 32)
	case protoreflect.DoubleKind:
		return columnar.AppendFloat(b, math.Float64frombits(v), 64)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.AppendUint(b, uint64(uint32(v)), 10)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(b, v, 10)
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		return strconv.AppendInt(b, int64(int32(v)), 10)
	case protoreflect.Sint32Kind:
		return strconv.AppendInt(b, int64(int32(protowire.DecodeZigZag(v&math.MaxUint32))), 10)
	case protoreflect.Sint64Kind:
		return strconv.AppendInt(b, protowire.DecodeZigZag(v), 10)
	}
	return strconv.AppendInt(b, int64(v), 10)
}

// special reads a timestamp, a date or a decimal.
func (r *protoReader) special(f *protoField, b []byte, at int) *Error {
	var numbers [4]uint64 // by number of the field
	var bytes []byte
	err := eachField(b, at, func(number protowire.Number, wire protowire.Type, b []byte, at int) *Error {
		switch {
		case wire == protowire.VarintType && number <= 3:
			numbers[number], _ = protowire.ConsumeVarint(b)
		case wire == protowire.BytesType && number == 1:
			bytes, _ = protowire.ConsumeBytes(b)
		}
		return nil
	})
	if err != nil {
		return err
	}
	room := r.s.text.room(512)
	switch f.kind {
	case protoTimestamp:
		seconds, nanos := int64(numbers[1]), int64(int32(numbers[2]))
		const first, last = -62135596800, 253402300799 // of the years 1 to 9999
		if seconds < first || seconds > last || nanos < 0 || nanos > 999_999_999 {
			return broken(RuleNotProtobuf, at)
		}
		room = columnar.AppendInstant(room, seconds, nanos, time.UTC)
	case protoDate:
		year, month, day := int32(numbers[1]), int32(numbers[2]), int32(numbers[3])
		switch {
		case year < 0 || year > 9999 || month < 0 || month > 12 || day < 0 || day > 31 || month == 0 && day > 0 || year == 0 && month > 0:
			return broken(RuleNotProtobuf, at)
		case year > 0 && day > 0:
			room = fmt.Appendf(room, "%04d-%02d-%02d", year, month, day)
		case year > 0 && month > 0:
			room = fmt.Appendf(room, "%04d-%02d", year, month)
		case year > 0:
			room = fmt.Appendf(room, "%04d", year)
		}
	case protoDecimal:
		scale := int32(numbers[3])
		if len(bytes) == 0 || len(bytes) > maxDecimalBytes || scale < 0 || scale > columnar.MaxScale {
			return broken(RuleNotProtobuf, at)
		}
		room = columnar.AppendDecimalBytes(room, bytes, int(scale))
	}
	r.s.set(f.leaf, r.s.text.keep(room))
	return nil
}
