package array

import (
	"fmt"
	"time"

	flatbuffers "github.com/google/flatbuffers/go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowmeta"
	"cpcds2fhir/pipeline/columnar"
)

// Vtable offsets of the fields in the schema tables, limits, and extension names.
const (
	schemaEndianness       = 4  // Schema.endianness
	fieldDictionary        = 12 // Field.dictionary
	fieldMetadata          = 16 // Field.custom_metadata
	encodingID             = 4  // DictionaryEncoding.id
	encodingIndex          = 6  // DictionaryEncoding.indexType
	intWidth               = 4  // Int.bitWidth
	intSigned              = 6  // Int.is_signed
	decimalPrecision       = 4  // Decimal.precision
	decimalScale           = 6  // Decimal.scale
	decimalWidth           = 8  // Decimal.bitWidth
	typeUnit               = 4  // unit of Date, Time, Timestamp, Interval; precision of FloatingPoint; mode of Union
	timeWidth              = 6  // Time.bitWidth
	typeSize               = 4  // FixedSizeBinary.byteWidth, FixedSizeList.listSize
	maxDepth               = 64 // maximum nesting depth of fields
	minFieldSize           = 8  // minimum number of bytes that a field takes in a schema
	extensionName          = "ARROW:extension:name"
	extensionUUID          = "arrow.uuid"
	uuidSize         int64 = 16
)

// Type is the type of an array and its position in the schema. It is immutable once the schema has
// been read.
type Type struct {
	ID        int // numbers all types of the schema, from 0
	Name      string
	Extension string // the name of the extension type, or ""

	Children []*Type

	// Only for dictionary-encoded arrays, whose kind is that of the indexes:
	Values *Type // nil for other arrays
	Dict   int64 // the dictionary ID

	parent    *Type
	kind      kind
	width     int // bits per value of a fixed-width type
	unsigned  bool
	perSecond int64 // time units per second
	precision int
	scale     int
	zoneName  string
	zone      *time.Location
	size      int64 // of a fixed-size list
	dense     bool  // of a union
}

// Schema is the schema of a file. It is immutable once it has been read, so it is safe for
// concurrent use.
type Schema struct {
	Fields []*Type

	types int // number of types
	limit int // maximum number of types; a schema with more is damaged
}

// ParseSchema decodes a schema. It may panic on a damaged schema. The error is a
// *fault.CorruptError, arrowmeta.ErrLongList or a *pipeline.FormatError without a file. The schema
// does not point into t.
func ParseSchema(t *flatbuffers.Table) (*Schema, error) {
	if t.GetInt16Slot(schemaEndianness, 0) != 0 {
		return nil, &pipeline.FormatError{What: "is in big-endian byte order", Hint: "write it in little-endian byte order"}
	}
	s := &Schema{limit: len(t.Bytes) / minFieldSize}
	fields, err := arrowmeta.Tables(t, arrowmeta.SchemaFields)
	if err != nil {
		return nil, err
	}
	for i := range fields {
		x, err := s.field(&fields[i], nil, maxDepth)
		if err != nil {
			return nil, err
		}
		s.Fields = append(s.Fields, x)
	}
	return s, nil
}

func (s *Schema) add(parent *Type) (*Type, error) {
	if s.types > s.limit {
		return nil, fault.Corrupt("its schema claims more fields than it has room for")
	}
	s.types++
	return &Type{ID: s.types - 1, parent: parent}, nil
}

func (s *Schema) field(t *flatbuffers.Table, parent *Type, depth int) (*Type, error) {
	if depth == 0 {
		return nil, fault.Corrupt("its schema is nested too deeply")
	}
	x, err := s.add(parent)
	if err != nil {
		return nil, err
	}
	x.Name = arrowmeta.Text(t, arrowmeta.FieldName)
	values := x
	if encoding, ok := arrowmeta.Child(t, fieldDictionary); ok {
		if values, err = s.add(nil); err != nil {
			return nil, err
		}
		x.Values, x.Dict, x.kind, x.width = values, encoding.GetInt64Slot(encodingID, 0), kindInt, 32
		if index, ok := arrowmeta.Child(&encoding, encodingIndex); ok {
			x.setInt(&index)
		}
	}
	if values.Extension, err = arrowmeta.KeyValue(t, fieldMetadata, extensionName); err != nil {
		return nil, err
	}
	values.kind = min(kind(t.GetByteSlot(arrowmeta.FieldKind, 0)), kindNone)
	if values.kind == 0 {
		values.kind = kindNone
	}
	details, _ := arrowmeta.Child(t, arrowmeta.FieldType) // if it is missing, all fields have their defaults
	if details.Bytes == nil {
		details = flatbuffers.Table{Bytes: make([]byte, 8), Pos: 4}
		details.Bytes[0], details.Bytes[4] = 4, 4
	}
	values.setDetails(&details)
	fields, err := arrowmeta.Tables(t, arrowmeta.FieldChildren)
	if err != nil {
		return nil, err
	}
	for i := range fields {
		c, err := s.field(&fields[i], values, depth-1)
		if err != nil {
			return nil, err
		}
		values.Children = append(values.Children, c)
	}
	if x.Values != nil && x.checkIndexes() != nil {
		return nil, x.checkIndexes()
	}
	return x, values.checkChildren()
}

func (x *Type) setInt(t *flatbuffers.Table) {
	x.width, x.unsigned = int(t.GetInt32Slot(intWidth, 0)), !t.GetBoolSlot(intSigned, false)
}

// setDetails reads the attributes of a type from its table.
func (x *Type) setDetails(t *flatbuffers.Table) {
	unit := func(otherwise int16) int64 {
		return [...]int64{1, 1e3, 1e6, 1e9}[t.GetInt16Slot(typeUnit, otherwise)&3]
	}
	switch x.kind {
	case kindInt:
		x.setInt(t)
	case kindFloat:
		x.width = 16 << min(uint16(t.GetInt16Slot(typeUnit, 0)), 3)
	case kindBool:
		x.width = 1
	case kindDecimal:
		x.precision, x.scale = int(t.GetInt32Slot(decimalPrecision, 0)), int(t.GetInt32Slot(decimalScale, 0))
		x.width = int(t.GetInt32Slot(decimalWidth, 128))
	case kindDate:
		x.width = 32 << min(uint16(t.GetInt16Slot(typeUnit, 1)), 1)
	case kindTime:
		x.width, x.perSecond = int(t.GetInt32Slot(timeWidth, 32)), unit(1)
	case kindTimestamp:
		x.width, x.perSecond, x.zoneName = 64, unit(0), arrowmeta.Text(t, arrowmeta.TimestampZone)
		x.zone, _ = columnar.ZoneOf(x.zoneName)
	case kindInterval:
		x.width = 32 << min(uint16(t.GetInt16Slot(typeUnit, 0)), 2)
	case kindDuration:
		x.width = 64
	case kindUnion:
		x.dense = t.GetInt16Slot(typeUnit, 0) != 0
	case kindFixedSizeBinary:
		x.width = 8 * int(t.GetInt32Slot(typeSize, 0))
	case kindFixedSizeList:
		x.size = int64(t.GetInt32Slot(typeSize, 0))
	}
}

// checkChildren checks that a type has the number of children that its kind requires, and valid
// sizes.
func (x *Type) checkChildren() error {
	want := 0
	switch x.kind {
	case kindStruct, kindUnion, kindNone:
		return nil
	case kindList, kindLargeList, kindFixedSizeList, kindListView, kindLargeListView, kindMap:
		want = 1
	case kindRunEndEncoded:
		want = 2
	}
	if len(x.Children) != want || x.size < 0 || x.width < 0 {
		return x.corruptType()
	}
	if x.kind == kindRunEndEncoded {
		if ends := x.Children[0]; ends.kind != kindInt || ends.unsigned || ends.width == 8 || ends.Values != nil {
			return x.corruptType()
		}
		return x.Children[0].checkIndexes()
	}
	return nil
}

// checkIndexes checks that integers have a valid bit width.
func (x *Type) checkIndexes() error {
	switch x.width {
	case 8, 16, 32, 64:
		return nil
	}
	return x.corruptType()
}

func (x *Type) corruptType() error {
	return fault.Corrupt(fmt.Sprintf("the type of column %q is not a valid Arrow type", x.Name))
}
