package arrowio

import (
	"math/big"
	"strconv"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/decimal128"
	"github.com/apache/arrow/go/v17/arrow/decimal256"
	"github.com/apache/arrow/go/v17/arrow/float16"

	"cpcds2fhir/pipeline/columnar"
)

// supported reports whether texts knows a type.
func supported(t arrow.DataType) bool {
	switch t.ID() {
	case arrow.NULL, arrow.BOOL, arrow.UINT8, arrow.INT8, arrow.UINT16, arrow.INT16, arrow.UINT32, arrow.INT32,
		arrow.UINT64, arrow.INT64, arrow.FLOAT16, arrow.FLOAT32, arrow.FLOAT64, arrow.STRING, arrow.BINARY,
		arrow.LARGE_STRING, arrow.LARGE_BINARY, arrow.STRING_VIEW, arrow.BINARY_VIEW, arrow.FIXED_SIZE_BINARY,
		arrow.DATE32, arrow.DATE64, arrow.TIMESTAMP, arrow.TIME32, arrow.TIME64:
		return true
	case arrow.DECIMAL128, arrow.DECIMAL256:
		scale := t.(arrow.DecimalType).GetScale()
		return scale >= -columnar.MaxScale && scale <= columnar.MaxScale
	}
	return false
}

// texts appends the text of the values at the places at, none of which is null.
// Text that is not in the array itself is written to arena, which is returned
// grown; strings point into the array or the arena.
func texts(dst []string, arena []byte, a arrow.Array, at []int32) ([]string, []byte) {
	switch a := a.(type) {
	case *array.String:
		return strs(dst, a, at), arena
	case *array.LargeString:
		return strs(dst, a, at), arena
	case *array.StringView:
		return strs(dst, a, at), arena
	case *array.Binary:
		return byteses(dst, a, at), arena
	case *array.LargeBinary:
		return byteses(dst, a, at), arena
	case *array.BinaryView:
		return byteses(dst, a, at), arena
	case *array.FixedSizeBinary:
		return byteses(dst, a, at), arena
	case *array.Boolean:
		for _, i := range at {
			dst = append(dst, strconv.FormatBool(a.Value(int(i))))
		}
		return dst, arena
	case *array.Int8:
		return integers(dst, arena, a, at)
	case *array.Int16:
		return integers(dst, arena, a, at)
	case *array.Int32:
		return integers(dst, arena, a, at)
	case *array.Int64:
		return integers(dst, arena, a, at)
	case *array.Uint8:
		return integers(dst, arena, a, at)
	case *array.Uint16:
		return integers(dst, arena, a, at)
	case *array.Uint32:
		return integers(dst, arena, a, at)
	case *array.Uint64:
		return write(dst, arena, a, at, func(b []byte, v uint64) []byte { return strconv.AppendUint(b, v, 10) })
	case *array.Float16:
		return write(dst, arena, a, at, func(b []byte, v float16.Num) []byte { return columnar.AppendFloat(b, float64(v.Float32()), 32) })
	case *array.Float32:
		return write(dst, arena, a, at, func(b []byte, v float32) []byte { return columnar.AppendFloat(b, float64(v), 32) })
	case *array.Float64:
		return write(dst, arena, a, at, func(b []byte, v float64) []byte { return columnar.AppendFloat(b, v, 64) })
	}
	return temporals(dst, arena, a, at)
}

// temporals is texts for dates, times and decimals.
func temporals(dst []string, arena []byte, a arrow.Array, at []int32) ([]string, []byte) {
	switch a := a.(type) {
	case *array.Date32:
		return write(dst, arena, a, at, func(b []byte, v arrow.Date32) []byte { return columnar.AppendDate(b, int64(v)) })
	case *array.Date64:
		const perDay = 24 * 60 * 60 * 1000
		return write(dst, arena, a, at, func(b []byte, v arrow.Date64) []byte {
			days := int64(v) / perDay
			if int64(v)%perDay < 0 {
				days--
			}
			return columnar.AppendDate(b, days)
		})
	case *array.Time32:
		unit := perSecond(a.DataType().(*arrow.Time32Type).Unit)
		return write(dst, arena, a, at, func(b []byte, v arrow.Time32) []byte { return columnar.AppendTime(b, int64(v), unit) })
	case *array.Time64:
		unit := perSecond(a.DataType().(*arrow.Time64Type).Unit)
		return write(dst, arena, a, at, func(b []byte, v arrow.Time64) []byte { return columnar.AppendTime(b, int64(v), unit) })
	case *array.Timestamp:
		unit := perSecond(a.DataType().(*arrow.TimestampType).Unit)
		return write(dst, arena, a, at, func(b []byte, v arrow.Timestamp) []byte {
			return columnar.AppendTimestamp(b, int64(v), unit)
		})
	case *array.Decimal128:
		scale := int(a.DataType().(*arrow.Decimal128Type).Scale)
		return write(dst, arena, a, at, func(b []byte, v decimal128.Num) []byte {
			return columnar.AppendDecimal128(b, v.HighBits(), v.LowBits(), scale)
		})
	case *array.Decimal256:
		scale := int(a.DataType().(*arrow.Decimal256Type).Scale)
		return write(dst, arena, a, at, func(b []byte, v decimal256.Num) []byte {
			return columnar.AppendDecimalBytes(b, twosComplement(v.BigInt()), scale)
		})
	}
	for range at { // an array of nulls
		dst = append(dst, "")
	}
	return dst, arena
}

// twosComplement returns v as 32 bytes, the most significant first.
func twosComplement(v *big.Int) []byte {
	if v.Sign() < 0 {
		v = new(big.Int).Add(v, new(big.Int).Lsh(big.NewInt(1), 256))
	}
	return v.FillBytes(make([]byte, 32))
}

func perSecond(u arrow.TimeUnit) int64 {
	switch u {
	case arrow.Second:
		return 1
	case arrow.Millisecond:
		return 1e3
	case arrow.Microsecond:
		return 1e6
	}
	return 1e9
}

func strs(dst []string, a interface{ Value(int) string }, at []int32) []string {
	for _, i := range at {
		dst = append(dst, a.Value(int(i)))
	}
	return dst
}

func byteses(dst []string, a interface{ Value(int) []byte }, at []int32) []string {
	for _, i := range at {
		dst = append(dst, view(a.Value(int(i))))
	}
	return dst
}

func integers[T int8 | int16 | int32 | int64 | uint8 | uint16 | uint32](dst []string, arena []byte, a interface{ Value(int) T }, at []int32) ([]string, []byte) {
	return write(dst, arena, a, at, func(b []byte, v T) []byte { return strconv.AppendInt(b, int64(v), 10) })
}

func write[T any](dst []string, arena []byte, a interface{ Value(int) T }, at []int32, text func([]byte, T) []byte) ([]string, []byte) {
	for _, i := range at {
		start := len(arena)
		arena = text(arena, a.Value(int(i)))
		dst = append(dst, view(arena[start:]))
	}
	return dst, arena
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
