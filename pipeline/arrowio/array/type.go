package array

import (
	"fmt"
	"slices"

	"cpcds2fhir/pipeline/arrowio/ipc"
	"cpcds2fhir/pipeline/columnar"
)

// kind is the kind of a type, with the numbers of Schema.fbs.
type kind byte

const (
	kindNull kind = 1 + iota
	kindInt
	kindFloat
	kindBinary
	kindUtf8
	kindBool
	kindDecimal
	kindDate
	kindTime
	kindTimestamp
	kindInterval
	kindList
	kindStruct
	kindUnion
	kindFixedSizeBinary
	kindFixedSizeList
	kindMap
	kindDuration
	kindLargeBinary
	kindLargeUtf8
	kindLargeList
	kindRunEndEncoded
	kindBinaryView
	kindUtf8View
	kindListView
	kindLargeListView
	kindNone // any later type is unknown
)

// parts returns which buffers an array of a type has: whether there is a validity bitmap, the
// number of other buffers, and whether there are more, with a count given in the record batch.
func (x *Type) parts(version int16) (validity bool, others int, variadic bool) {
	switch x.kind {
	case kindNull, kindRunEndEncoded:
		return false, 0, false
	case kindStruct, kindFixedSizeList:
		return true, 0, false
	case kindBinary, kindUtf8, kindLargeBinary, kindLargeUtf8, kindListView, kindLargeListView:
		return true, 2, false
	case kindBinaryView, kindUtf8View:
		return true, 1, true
	case kindUnion:
		if x.dense {
			return version < ipc.Version5, 2, false
		}
		return version < ipc.Version5, 1, false
	}
	return true, 1, false
}

// IsList reports whether the type is a list, whose only child holds the elements. It is false for
// dictionary indexes whose values are lists.
func (x *Type) IsList() bool {
	switch x.kind {
	case kindList, kindLargeList, kindFixedSizeList, kindListView, kindLargeListView:
		return x.Values == nil
	}
	return false
}

// IsStruct reports whether the type is a struct, whose children are separate columns.
func (x *Type) IsStruct() bool {
	return x.kind == kindStruct && x.Values == nil
}

// IsBytes reports whether values are bytes that are used unchanged as text although the schema
// does not declare them as text.
func (x *Type) IsBytes() bool {
	switch x.kind {
	case kindBinary, kindLargeBinary, kindBinaryView, kindFixedSizeBinary:
		return x.Extension != extensionUUID
	}
	return false
}

// offsetWidth returns the size of an offset in bytes, for a type that has offsets.
func (x *Type) offsetWidth() int64 {
	switch x.kind {
	case kindLargeBinary, kindLargeUtf8, kindLargeList, kindLargeListView:
		return 8
	}
	return 4
}

// Content returns the type of the actual values, with run-end and dictionary encoding removed.
func (x *Type) Content() *Type {
	x = x.Encoded()
	if x.Values != nil {
		x = x.Values
	}
	return x
}

// Encoded returns the type of the values with run-end encoding removed.
func (x *Type) Encoded() *Type {
	if x.HasRuns() {
		return x.Children[1]
	}
	return x
}

// HasRuns reports whether the array is run-end encoded.
func (x *Type) HasRuns() bool {
	return x.Values == nil && x.kind == kindRunEndEncoded && x.Extension == ""
}

// HasUnknown reports whether the type is unknown or contains an unknown type.
func (x *Type) HasUnknown() bool {
	return x.kind == kindNone || slices.ContainsFunc(x.Children, (*Type).HasUnknown)
}

// Fault returns the reason why a type cannot be converted to text, or "" if it can. The reason
// completes a sentence that starts with the column.
func (x *Type) Fault() string {
	if x.Extension != "" {
		switch x.kind {
		case kindUtf8, kindLargeUtf8, kindUtf8View:
			return ""
		case kindFixedSizeBinary:
			if x.Extension == extensionUUID && int64(x.width) == 8*uuidSize {
				return ""
			}
		}
		return fmt.Sprintf("is of the extension type %q, which cannot be converted to text", x.Extension)
	}
	ok := true
	switch x.kind {
	case kindMap:
		return "is a map"
	case kindUnion:
		return "is a union"
	case kindList, kindLargeList, kindFixedSizeList, kindListView, kindLargeListView:
		return "is a list within a list"
	case kindStruct, kindInterval, kindDuration, kindRunEndEncoded, kindNone:
		ok = false
	case kindInt:
		ok = x.width == 8 || x.width == 16 || x.width == 32 || x.width == 64
	case kindFloat:
		ok = x.width <= 64
	case kindDecimal:
		ok = x.scale >= -columnar.MaxScale && x.scale <= columnar.MaxScale && x.width > 0 && x.width <= 256 && x.width%8 == 0
	case kindTime:
		ok = x.width == 32 || x.width == 64
	case kindTimestamp:
		if x.zoneName != "" && x.zone == nil {
			return fmt.Sprintf("is a timestamp in the unknown time zone %q", x.zoneName)
		}
	}
	if !ok {
		return "is of type " + x.String() + ", which cannot be converted to text"
	}
	return ""
}

// typeNames are the human-readable names of the types for which the kind alone is enough.
var typeNames = [...]string{
	kindNull: "null", kindBool: "boolean", kindDate: "date", kindTime: "time", kindInterval: "interval",
	kindList: "list", kindLargeList: "list", kindFixedSizeList: "list", kindListView: "list", kindLargeListView: "list",
	kindStruct: "struct", kindUnion: "union", kindMap: "map", kindDuration: "duration", kindRunEndEncoded: "runs",
	kindBinary: "string", kindUtf8: "string", kindFixedSizeBinary: "string", kindLargeBinary: "string",
	kindLargeUtf8: "string", kindBinaryView: "string", kindUtf8View: "string", kindNone: "unknown",
}

// String returns the human-readable name of the type.
func (x *Type) String() string {
	switch x.kind {
	case kindInt:
		if x.unsigned {
			return fmt.Sprint("uint", x.width)
		}
		return fmt.Sprint("int", x.width)
	case kindFloat:
		return fmt.Sprint("float", x.width)
	case kindDecimal:
		return fmt.Sprintf("decimal(%d,%d)", x.precision, x.scale)
	case kindTimestamp:
		if x.zoneName != "" {
			return "timestamp[" + x.zoneName + "]"
		}
		return "timestamp"
	case kindFixedSizeBinary:
		if x.Extension == extensionUUID {
			return "uuid"
		}
	}
	return typeNames[x.kind]
}

// hasOwnText implements Window.HasOwnText.
func (x *Type) hasOwnText() bool {
	switch x.kind {
	case kindBinary, kindUtf8, kindLargeBinary, kindLargeUtf8, kindBinaryView, kindUtf8View:
		return true
	case kindFixedSizeBinary:
		return x.Extension != extensionUUID
	}
	return false
}
