// Package cell converts the values of a Parquet column to text.
//
// A column has one of eight physical types. Most columns also have a logical type, or the
// converted type of old writers, that defines the meaning of the values. Of combines them into a
// Type, and Texts converts values decoded by package page: numbers to decimal digits, dates and
// times to ISO 8601; bytes are returned unchanged.
//
// The package uses only the schema element of a single column. It knows nothing about pages, files
// or rows, and does not check whether bytes are valid text.
package cell

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline/columnar"
)

// Kind determines how a value is converted to text. Only code that reads pages needs to
// distinguish kinds, and only the exported ones.
type Kind uint8

const (
	None Kind = iota // cannot be converted to text
	Text             // bytes of variable length
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
	Timestamp // units since 1970-01-01
	Int96     // the deprecated 12-byte timestamp
	FixedText // bytes of fixed length
	uuidCell
	Null // all values are null
)

// Type is the type of a column's values. Types can be compared with ==.
type Type struct {
	Kind     Kind
	Physical parquet.Kind
	Size     int // bytes per value of a fixed-length type

	scale     int   // decimal places of a decimal
	perSecond int64 // units of a time or timestamp per second

	// Zone is the time zone in which timestamps are written, so it determines their date. It is
	// nil if they are local wall-clock times.
	Zone *time.Location
}

// Of returns the type of a leaf and its human-readable name. The kind is None if the type cannot
// be converted to text.
func Of(e *format.SchemaElement) (Type, string) {
	c, name := typedCell(e)
	c.Physical, c.Size = parquet.Kind(e.Type.V), int(e.TypeLength.V)
	if c.Physical == parquet.FixedLenByteArray && c.Size <= 0 {
		return Type{}, name
	}
	return c, name
}

func typedCell(e *format.SchemaElement) (Type, string) {
	physical := parquet.Kind(e.Type.V)
	switch t := e.LogicalType.Value.(type) {
	case nil:
		return convertedCell(physical, e)
	case *format.StringType, *format.EnumType, *format.JsonType:
		return physicalCell(physical, false), "string"
	case *format.DecimalType:
		return decimalCell(physical, int(t.Precision), int(t.Scale))
	case *format.DateType:
		return only(physical, parquet.Int32, Type{Kind: dateCell}), "date"
	case *format.TimeType:
		return timeCell(physical, perSecond(t.Unit)), "time"
	case *format.TimestampType:
		c := Type{Kind: Timestamp, perSecond: perSecond(t.Unit)}
		if t.IsAdjustedToUTC {
			c.Zone = time.UTC
			return only(physical, parquet.Int64, c), "timestamp[UTC]"
		}
		return only(physical, parquet.Int64, c), "timestamp"
	case *format.IntType:
		name := fmt.Sprintf("int%d", t.BitWidth)
		if !t.IsSigned {
			name = "u" + name
		}
		return physicalCell(physical, !t.IsSigned), name
	case *format.UUIDType:
		if e.TypeLength.V != 16 {
			return Type{}, "uuid"
		}
		return only(physical, parquet.FixedLenByteArray, Type{Kind: uuidCell}), "uuid"
	case *format.NullType:
		return Type{Kind: Null}, "null"
	default:
		return Type{}, t.String()
	}
}

// convertedCell handles writers that do not support logical types.
func convertedCell(physical parquet.Kind, e *format.SchemaElement) (Type, string) {
	if e.ConvertedType.Valid {
		switch t := e.ConvertedType.V; t {
		case deprecated.UTF8, deprecated.Enum, deprecated.Json:
			return physicalCell(physical, false), "string"
		case deprecated.Decimal:
			return decimalCell(physical, int(e.Precision.V), int(e.Scale.V))
		case deprecated.Date:
			return only(physical, parquet.Int32, Type{Kind: dateCell}), "date"
		case deprecated.TimeMillis:
			return timeCell(physical, 1e3), "time"
		case deprecated.TimeMicros:
			return timeCell(physical, 1e6), "time"
		case deprecated.TimestampMillis:
			return only(physical, parquet.Int64, Type{Kind: Timestamp, perSecond: 1e3, Zone: time.UTC}), "timestamp[UTC]"
		case deprecated.TimestampMicros:
			return only(physical, parquet.Int64, Type{Kind: Timestamp, perSecond: 1e6, Zone: time.UTC}), "timestamp[UTC]"
		case deprecated.Uint8, deprecated.Uint16, deprecated.Uint32, deprecated.Uint64:
			return physicalCell(physical, true), "unsigned integer"
		case deprecated.Bson:
			return Type{}, "BSON"
		case deprecated.Interval:
			return Type{}, "INTERVAL"
		}
	}
	name := physicalNames[physical]
	return physicalCell(physical, false), name
}

var physicalNames = map[parquet.Kind]string{
	parquet.Boolean: "boolean", parquet.Int32: "int32", parquet.Int64: "int64", parquet.Int96: "timestamp",
	parquet.Float: "float", parquet.Double: "double", parquet.ByteArray: "string", parquet.FixedLenByteArray: "string",
}

func physicalCell(physical parquet.Kind, unsigned bool) Type {
	switch physical {
	case parquet.Boolean:
		return Type{Kind: boolCell}
	case parquet.Int32:
		if unsigned {
			return Type{Kind: uint32Cell}
		}
		return Type{Kind: int32Cell}
	case parquet.Int64:
		if unsigned {
			return Type{Kind: uint64Cell}
		}
		return Type{Kind: int64Cell}
	case parquet.Int96:
		return Type{Kind: Int96}
	case parquet.Float:
		return Type{Kind: floatCell}
	case parquet.Double:
		return Type{Kind: doubleCell}
	case parquet.ByteArray:
		return Type{Kind: Text}
	case parquet.FixedLenByteArray:
		return Type{Kind: FixedText}
	}
	return Type{}
}

func decimalCell(physical parquet.Kind, precision, scale int) (Type, string) {
	c := Type{scale: scale}
	name := fmt.Sprintf("decimal(%d,%d)", precision, scale)
	if scale < 0 || scale > columnar.MaxScale {
		return Type{}, name
	}
	switch physical {
	case parquet.Int32:
		c.Kind = decimal32Cell
	case parquet.Int64:
		c.Kind = decimal64Cell
	case parquet.ByteArray:
		c.Kind = decimalBytesCell
	case parquet.FixedLenByteArray:
		c.Kind = decimalFixedCell
	}
	return c, name
}

func timeCell(physical parquet.Kind, perSecond int64) Type {
	if physical == parquet.Int32 {
		return Type{Kind: time32Cell, perSecond: perSecond}
	}
	return only(physical, parquet.Int64, Type{Kind: time64Cell, perSecond: perSecond})
}

// only returns c if the physical type is the required one.
func only(physical, want parquet.Kind, c Type) Type {
	if physical != want {
		return Type{}
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

// Texts appends the text of the values [from, to) of a page. Text that is not in the page itself
// is written to arena, which is returned, possibly grown. The strings point into the page or the
// arena, and neither may be modified while the strings are in use. Texts panics if the page has
// fewer values, or values of another physical type.
func (c *Type) Texts(dst []string, arena []byte, v encoding.Values, from, to int) ([]string, []byte) {
	switch c.Kind {
	case Text:
		data, offsets := v.ByteArray()
		for i := from; i < to; i++ {
			dst = append(dst, view(data[offsets[i]:offsets[i+1]]))
		}
		return dst, arena
	case FixedText:
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
	case Null:
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
			if c.Kind == uuidCell {
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

// numbers is Texts for fixed-width values.
func (c *Type) numbers(dst []string, arena []byte, v encoding.Values, from, to int) ([]string, []byte) {
	switch c.Kind {
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
	case Timestamp:
		return write(dst, arena, v.Int64()[from:to], func(b []byte, _ int, x int64) []byte {
			return columnar.AppendTimestamp(b, x, c.perSecond, c.Zone)
		})
	default:
		return write(dst, arena, v.Int96()[from:to], func(b []byte, _ int, x deprecated.Int96) []byte {
			return appendInt96(b, x, c.Zone)
		})
	}
}

// appendInt96 appends a timestamp in the format of Impala and Hive: eight bytes with the
// nanoseconds within the day, followed by the Julian day number.
func appendInt96(b []byte, x deprecated.Int96, zone *time.Location) []byte {
	const (
		unixEpoch     = 2440588 // the Julian day of 1970-01-01
		secondsPerDay = 24 * 60 * 60
	)
	var raw [8]byte
	binary.LittleEndian.PutUint32(raw[:], x[0])
	binary.LittleEndian.PutUint32(raw[4:], x[1])
	nanos := int64(binary.LittleEndian.Uint64(raw[:]))
	days := int64(x[2]) - unixEpoch
	return columnar.AppendInstant(b, days*secondsPerDay+nanos/1e9, nanos%1e9, zone)
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
