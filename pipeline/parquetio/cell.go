package parquetio

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline/columnar"
)

type cellKind uint8

const (
	noKind cellKind = iota
	textCell
	boolCell
	int32Cell
	int64Cell
	uint32Cell
	uint64Cell
	floatCell
	doubleCell
	decimal32Cell
	decimal64Cell
	decimalBytesCell
	decimalFixedCell
	dateCell
	time32Cell
	time64Cell
	timestampCell
	int96Cell
	fixedTextCell
	uuidCell
	nullCell
)

// cell is the type of a column's values.
type cell struct {
	kind      cellKind
	scale     int   // decimals of a decimal
	perSecond int64 // units of a time or timestamp in a second
}

// cellOf returns the type of a leaf, and its name for people. The kind is noKind
// if there is no text for it.
func cellOf(e *format.SchemaElement) (cell, string) {
	if !e.Type.Valid {
		return cell{}, "unknown"
	}
	physical := parquet.Kind(e.Type.V)
	switch t := e.LogicalType.Value.(type) {
	case nil:
		return convertedCell(physical, e)
	case *format.StringType, *format.EnumType, *format.JsonType:
		return physicalCell(physical, false), "string"
	case *format.DecimalType:
		return decimalCell(physical, int(t.Precision), int(t.Scale))
	case *format.DateType:
		return only(physical, parquet.Int32, cell{kind: dateCell}), "date"
	case *format.TimeType:
		return timeCell(physical, perSecond(t.Unit)), "time"
	case *format.TimestampType:
		return only(physical, parquet.Int64, cell{kind: timestampCell, perSecond: perSecond(t.Unit)}), "timestamp"
	case *format.IntType:
		name := fmt.Sprintf("int%d", t.BitWidth)
		if !t.IsSigned {
			name = "u" + name
		}
		return physicalCell(physical, !t.IsSigned), name
	case *format.UUIDType:
		return only(physical, parquet.FixedLenByteArray, cell{kind: uuidCell}), "uuid"
	case *format.NullType:
		return cell{kind: nullCell}, "null"
	default:
		return cell{}, t.String()
	}
}

// convertedCell is for writers that know no logical types.
func convertedCell(physical parquet.Kind, e *format.SchemaElement) (cell, string) {
	if e.ConvertedType.Valid {
		switch t := e.ConvertedType.V; t {
		case deprecated.UTF8, deprecated.Enum, deprecated.Json:
			return physicalCell(physical, false), "string"
		case deprecated.Decimal:
			return decimalCell(physical, int(e.Precision.V), int(e.Scale.V))
		case deprecated.Date:
			return only(physical, parquet.Int32, cell{kind: dateCell}), "date"
		case deprecated.TimeMillis:
			return timeCell(physical, 1e3), "time"
		case deprecated.TimeMicros:
			return timeCell(physical, 1e6), "time"
		case deprecated.TimestampMillis:
			return only(physical, parquet.Int64, cell{kind: timestampCell, perSecond: 1e3}), "timestamp"
		case deprecated.TimestampMicros:
			return only(physical, parquet.Int64, cell{kind: timestampCell, perSecond: 1e6}), "timestamp"
		case deprecated.Uint8, deprecated.Uint16, deprecated.Uint32, deprecated.Uint64:
			return physicalCell(physical, true), "unsigned integer"
		case deprecated.Bson:
			return cell{}, "BSON"
		case deprecated.Interval:
			return cell{}, "INTERVAL"
		}
	}
	name := physicalNames[physical]
	return physicalCell(physical, false), name
}

var physicalNames = map[parquet.Kind]string{
	parquet.Boolean: "boolean", parquet.Int32: "int32", parquet.Int64: "int64", parquet.Int96: "timestamp",
	parquet.Float: "float", parquet.Double: "double", parquet.ByteArray: "string", parquet.FixedLenByteArray: "string",
}

func physicalCell(physical parquet.Kind, unsigned bool) cell {
	switch physical {
	case parquet.Boolean:
		return cell{kind: boolCell}
	case parquet.Int32:
		if unsigned {
			return cell{kind: uint32Cell}
		}
		return cell{kind: int32Cell}
	case parquet.Int64:
		if unsigned {
			return cell{kind: uint64Cell}
		}
		return cell{kind: int64Cell}
	case parquet.Int96:
		return cell{kind: int96Cell}
	case parquet.Float:
		return cell{kind: floatCell}
	case parquet.Double:
		return cell{kind: doubleCell}
	case parquet.ByteArray:
		return cell{kind: textCell}
	case parquet.FixedLenByteArray:
		return cell{kind: fixedTextCell}
	}
	return cell{}
}

func decimalCell(physical parquet.Kind, precision, scale int) (cell, string) {
	c := cell{scale: scale}
	name := fmt.Sprintf("decimal(%d,%d)", precision, scale)
	if scale < 0 || scale > columnar.MaxScale {
		return cell{}, name
	}
	switch physical {
	case parquet.Int32:
		c.kind = decimal32Cell
	case parquet.Int64:
		c.kind = decimal64Cell
	case parquet.ByteArray:
		c.kind = decimalBytesCell
	case parquet.FixedLenByteArray:
		c.kind = decimalFixedCell
	}
	return c, name
}

func timeCell(physical parquet.Kind, perSecond int64) cell {
	if physical == parquet.Int32 {
		return cell{kind: time32Cell, perSecond: perSecond}
	}
	return only(physical, parquet.Int64, cell{kind: time64Cell, perSecond: perSecond})
}

// only returns c if the type is stored as it must be.
func only(physical, want parquet.Kind, c cell) cell {
	if physical != want {
		return cell{}
	}
	return c
}

func perSecond(u format.TimeUnit) int64 {
	switch u.Value.(type) {
	case *format.MilliSeconds:
		return 1e3
	case *format.MicroSeconds:
		return 1e6
	}
	return 1e9
}

// texts appends the text of the values from to to of a page. Text that is not in
// the page itself is written to arena, which is returned grown; strings point into
// the page or the arena.
func (c *cell) texts(dst []string, arena []byte, v encoding.Values, from, to int) ([]string, []byte) {
	switch c.kind {
	case textCell:
		data, offsets := v.ByteArray()
		for i := from; i < to; i++ {
			dst = append(dst, view(data[offsets[i]:offsets[i+1]]))
		}
		return dst, arena
	case fixedTextCell:
		data, size := v.FixedLenByteArray()
		for i := from; i < to; i++ {
			dst = append(dst, view(data[i*size:(i+1)*size]))
		}
		return dst, arena
	case boolCell:
		bits := v.Boolean()
		for i := from; i < to; i++ {
			dst = append(dst, strconv.FormatBool(bits[i/8]>>(i%8)&1 != 0))
		}
		return dst, arena
	case nullCell:
		for i := from; i < to; i++ {
			dst = append(dst, "")
		}
		return dst, arena
	case decimalBytesCell:
		data, offsets := v.ByteArray()
		return write(dst, arena, offsets[from:to], func(b []byte, i int, at uint32) []byte {
			return columnar.AppendDecimalBytes(b, data[at:offsets[from+i+1]], c.scale)
		})
	case decimalFixedCell, uuidCell:
		data, size := v.FixedLenByteArray()
		for i := from; i < to; i++ {
			start := len(arena)
			if c.kind == uuidCell {
				arena = columnar.AppendUUID(arena, data[i*size:(i+1)*size])
			} else {
				arena = columnar.AppendDecimalBytes(arena, data[i*size:(i+1)*size], c.scale)
			}
			dst = append(dst, view(arena[start:]))
		}
		return dst, arena
	}
	return c.numbers(dst, arena, v, from, to)
}

// numbers is texts for values of a fixed width.
func (c *cell) numbers(dst []string, arena []byte, v encoding.Values, from, to int) ([]string, []byte) {
	switch c.kind {
	case int32Cell:
		return write(dst, arena, v.Int32()[from:to], func(b []byte, _ int, x int32) []byte {
			return strconv.AppendInt(b, int64(x), 10)
		})
	case int64Cell:
		return write(dst, arena, v.Int64()[from:to], func(b []byte, _ int, x int64) []byte {
			return strconv.AppendInt(b, x, 10)
		})
	case uint32Cell:
		return write(dst, arena, v.Uint32()[from:to], func(b []byte, _ int, x uint32) []byte {
			return strconv.AppendUint(b, uint64(x), 10)
		})
	case uint64Cell:
		return write(dst, arena, v.Uint64()[from:to], func(b []byte, _ int, x uint64) []byte {
			return strconv.AppendUint(b, x, 10)
		})
	case floatCell:
		return write(dst, arena, v.Float()[from:to], func(b []byte, _ int, x float32) []byte {
			return columnar.AppendFloat(b, float64(x), 32)
		})
	case doubleCell:
		return write(dst, arena, v.Double()[from:to], func(b []byte, _ int, x float64) []byte {
			return columnar.AppendFloat(b, x, 64)
		})
	case decimal32Cell:
		return write(dst, arena, v.Int32()[from:to], func(b []byte, _ int, x int32) []byte {
			return columnar.AppendDecimal(b, int64(x), c.scale)
		})
	case decimal64Cell:
		return write(dst, arena, v.Int64()[from:to], func(b []byte, _ int, x int64) []byte {
			return columnar.AppendDecimal(b, x, c.scale)
		})
	case dateCell:
		return write(dst, arena, v.Int32()[from:to], func(b []byte, _ int, x int32) []byte {
			return columnar.AppendDate(b, int64(x))
		})
	case time32Cell:
		return write(dst, arena, v.Int32()[from:to], func(b []byte, _ int, x int32) []byte {
			return columnar.AppendTime(b, int64(x), c.perSecond)
		})
	case time64Cell:
		return write(dst, arena, v.Int64()[from:to], func(b []byte, _ int, x int64) []byte {
			return columnar.AppendTime(b, x, c.perSecond)
		})
	case timestampCell:
		return write(dst, arena, v.Int64()[from:to], func(b []byte, _ int, x int64) []byte {
			return columnar.AppendTimestamp(b, x, c.perSecond)
		})
	default:
		return write(dst, arena, v.Int96()[from:to], func(b []byte, _ int, x deprecated.Int96) []byte {
			return appendInt96(b, x)
		})
	}
}

// appendInt96 appends a timestamp as Impala and Hive wrote it: eight bytes of
// nanoseconds within the day, then the Julian day.
func appendInt96(b []byte, x deprecated.Int96) []byte {
	const (
		unixEpoch     = 2440588 // the Julian day of 1970-01-01
		secondsPerDay = 24 * 60 * 60
	)
	var raw [8]byte
	binary.LittleEndian.PutUint32(raw[:], x[0])
	binary.LittleEndian.PutUint32(raw[4:], x[1])
	nanos := int64(binary.LittleEndian.Uint64(raw[:]))
	days := int64(x[2]) - unixEpoch
	return columnar.AppendInstant(b, days*secondsPerDay+nanos/1e9, nanos%1e9)
}

func write[T any](dst []string, arena []byte, values []T, text func(b []byte, i int, v T) []byte) ([]string, []byte) {
	for i, v := range values {
		start := len(arena)
		arena = text(arena, i, v)
		dst = append(dst, view(arena[start:]))
	}
	return dst, arena
}

// view returns b as a string without copying it.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
