package arrowmeta

import (
	"encoding/base64"
	"slices"

	flatbuffers "github.com/google/flatbuffers/go"
)

// kindTimestamp is the number of the timestamp type in Schema.fbs.
const kindTimestamp = 10

// listKinds are the types whose only child is the list element. The name of the element is
// ignored.
var listKinds = []byte{12, 16, 21} // List, FixedSizeList, LargeList

// maxDepth is the maximum nesting depth of fields. Deeper fields are ignored and have no zone.
const maxDepth = 64

// Zones returns the time zones in a base64-encoded schema, as stored in Parquet files. The keys
// are the paths of the columns: the names of the fields, separated by NUL. A list adds one name to
// the path, that of its field. A timestamp without a zone has the zone "". The result is nil if
// the schema cannot be read. Zones may panic on a damaged schema.
func Zones(text string) map[string]string {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) < 8 {
		return nil
	}
	if string(raw[:4]) == "\xff\xff\xff\xff" {
		raw = raw[4:]
	}
	message := Root(raw[4:]) // after the length
	schema, ok := Child(message, MessageHeader)
	if !ok {
		return nil
	}
	zones := map[string]string{}
	if addZones(zones, &schema, SchemaFields, "", maxDepth) != nil {
		return nil
	}
	return zones
}

// addZones adds the zones of the fields in a table.
func addZones(zones map[string]string, t *flatbuffers.Table, slot flatbuffers.VOffsetT, above string, depth int) error {
	if depth == 0 {
		return nil
	}
	fields, err := Tables(t, slot)
	if err != nil {
		return err
	}
	for i := range fields {
		f := &fields[i]
		if err := addZone(zones, f, above+Text(f, FieldName), depth); err != nil {
			return err
		}
	}
	return nil
}

// addZone adds the zone of a field, or those of its descendants.
func addZone(zones map[string]string, field *flatbuffers.Table, path string, depth int) error {
	kind := field.GetByteSlot(FieldKind, 0)
	if kind == kindTimestamp {
		if typ, ok := Child(field, FieldType); ok {
			zones[path] = Text(&typ, TimestampZone)
		}
		return nil
	}
	if slices.Contains(listKinds, kind) && depth > 0 {
		children, err := Tables(field, FieldChildren)
		if err != nil {
			return err
		}
		if len(children) == 1 {
			return addZone(zones, &children[0], path, depth-1)
		}
	}
	return addZones(zones, field, FieldChildren, path+"\x00", depth-1)
}
