package array

import (
	"encoding/binary"
	"math"
	"strconv"
	"unsafe"

	"cpcds2fhir/pipeline/columnar"
)

// HasOwnText reports whether the bytes of a value are its text. Such text may be empty or invalid;
// the text of other types is generated here and is always valid.
func (w *Window) HasOwnText() bool { return w.array.Type.hasOwnText() }

// Index returns value i of an integer column as a dictionary index. Negative values become larger
// than the size of any dictionary.
func (w *Window) Index(i int32) uint64 {
	x := w.array.Type
	if x.unsigned {
		return unsigned(w.values, int(i), x.width)
	}
	return uint64(signed(w.values, int(i), x.width))
}

// Texts appends the text of the values of the window at the indexes at, none of which may be null.
// Text that is not in the buffers themselves is written to arena, which is returned, possibly
// grown. The strings point into the buffers or the arena, and are valid until the window is opened
// again. The error is a *fault.CorruptError or an error reading the file.
func (w *Window) Texts(dst []string, arena []byte, at []int32) ([]string, []byte, error) {
	x := w.array.Type
	switch x.kind {
	case kindBinaryView, kindUtf8View:
		all, err := w.views(at)
		for _, b := range all {
			dst = append(dst, view(b))
		}
		return dst, arena, err
	case kindFixedSizeBinary:
		if x.Extension == extensionUUID {
			dst, arena = write(dst, arena, at, func(b []byte, i int) []byte { return columnar.AppendUUID(b, w.bytes(int32(i))) })
			return dst, arena, nil
		}
		fallthrough
	case kindBinary, kindUtf8, kindLargeBinary, kindLargeUtf8:
		for _, i := range at {
			dst = append(dst, view(w.bytes(i)))
		}
		return dst, arena, nil
	case kindBool:
		for _, i := range at {
			k := int(i) + w.bit
			dst = append(dst, strconv.FormatBool(w.values[k>>3]>>(k&7)&1 != 0))
		}
		return dst, arena, nil
	case kindNull: // all values are null
		return dst, arena, nil
	case kindInt:
		if x.unsigned {
			dst, arena = write(dst, arena, at, func(b []byte, i int) []byte { return strconv.AppendUint(b, unsigned(w.values, i, x.width), 10) })
		} else if x.width == 64 {
			dst, arena = write(dst, arena, at, func(b []byte, i int) []byte {
				return strconv.AppendInt(b, int64(binary.LittleEndian.Uint64(w.values[8*i:])), 10)
			})
		} else {
			dst, arena = write(dst, arena, at, func(b []byte, i int) []byte { return strconv.AppendInt(b, signed(w.values, i, x.width), 10) })
		}
		return dst, arena, nil
	case kindFloat:
		size := max(x.width, 32)
		dst, arena = write(dst, arena, at, func(b []byte, i int) []byte {
			return columnar.AppendFloat(b, float(unsigned(w.values, i, x.width), x.width), size)
		})
		return dst, arena, nil
	}
	dst, arena = temporals(dst, arena, w, at)
	return dst, arena, nil
}

// temporals is Texts for dates, times and decimals.
func temporals(dst []string, arena []byte, w *Window, at []int32) ([]string, []byte) {
	x := w.array.Type
	value := func(i int) int64 { return signed(w.values, i, x.width) }
	switch x.kind {
	case kindDate:
		perDay := int64(1)
		if x.width == 64 {
			perDay = 24 * 60 * 60 * 1000
		}
		return write(dst, arena, at, func(b []byte, i int) []byte {
			days := value(i) / perDay
			if value(i)%perDay < 0 {
				days--
			}
			return columnar.AppendDate(b, days)
		})
	case kindTime:
		return write(dst, arena, at, func(b []byte, i int) []byte { return columnar.AppendTime(b, value(i), x.perSecond) })
	case kindTimestamp:
		return write(dst, arena, at, func(b []byte, i int) []byte {
			return columnar.AppendTimestamp(b, value(i), x.perSecond, x.zone)
		})
	}
	size := x.width / 8
	return write(dst, arena, at, func(b []byte, i int) []byte {
		switch size {
		case 4, 8:
			return columnar.AppendDecimal(b, value(i), x.scale)
		case 16:
			v := w.values[16*i:]
			return columnar.AppendDecimal128(b, int64(binary.LittleEndian.Uint64(v[8:])), binary.LittleEndian.Uint64(v), x.scale)
		}
		var big [32]byte // big-endian
		for k, c := range w.values[size*i:][:size] {
			big[size-1-k] = c
		}
		return columnar.AppendDecimalBytes(b, big[:size], x.scale)
	})
}

func unsigned(raw []byte, i, width int) uint64 {
	switch width {
	case 8:
		return uint64(raw[i])
	case 16:
		return uint64(binary.LittleEndian.Uint16(raw[2*i:]))
	case 32:
		return uint64(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return binary.LittleEndian.Uint64(raw[8*i:])
}

func signed(raw []byte, i, width int) int64 {
	shift := 64 - width
	return int64(unsigned(raw, i, width)<<shift) >> shift
}

// float returns the floating-point number with the given bits and bit width.
func float(raw uint64, width int) float64 {
	switch width {
	case 64:
		return math.Float64frombits(raw)
	case 32:
		return float64(math.Float32frombits(uint32(raw)))
	}
	sign, exponent, fraction := float64(1), int(raw>>10&31), float64(raw&1023)
	if raw>>15 != 0 {
		sign = -1
	}
	switch {
	case exponent == 31 && fraction == 0:
		return math.Inf(int(sign))
	case exponent == 31:
		return math.NaN()
	case exponent == 0:
		return sign * math.Ldexp(fraction, -24)
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

func write(dst []string, arena []byte, at []int32, text func([]byte, int) []byte) ([]string, []byte) {
	for _, i := range at {
		start := len(arena)
		arena = text(arena, int(i))
		dst = append(dst, view(arena[start:]))
	}
	return dst, arena
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
