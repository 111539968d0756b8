// Package arrowmeta reads Arrow metadata, which consists of FlatBuffers tables. It is found in
// Arrow files, and in Parquet files from writers based on Arrow. From the latter only the time
// zones of timestamps are needed, and Zones extracts them. The readers of Arrow files decode the
// tables themselves.
//
// The functions read data written by other programs and check only that a list is not longer than
// the metadata. They may panic on any other damage, so callers must recover.
package arrowmeta

import (
	"errors"

	flatbuffers "github.com/google/flatbuffers/go"
)

// Offsets in the vtables of the fields that lead to a schema.
const (
	MessageHeader = 8  // Message.header
	SchemaFields  = 6  // Schema.fields
	FieldName     = 4  // Field.name
	FieldKind     = 8  // Field.type_type
	FieldType     = 10 // Field.type
	FieldChildren = 14 // Field.children
	TimestampZone = 6  // Timestamp.timezone
	keyValueKey   = 4  // KeyValue.key
	keyValueValue = 6  // KeyValue.value
)

// ErrLongList means that the length of a list exceeds the size of the metadata.
var ErrLongList = errors.New("a list in its metadata is longer than the metadata itself")

// Root returns the root table of the metadata.
func Root(raw []byte) *flatbuffers.Table {
	return &flatbuffers.Table{Bytes: raw, Pos: flatbuffers.GetUOffsetT(raw)}
}

// Child returns the table that a field of a table refers to, and whether there is one.
func Child(t *flatbuffers.Table, slot flatbuffers.VOffsetT) (flatbuffers.Table, bool) {
	at := flatbuffers.UOffsetT(t.Offset(slot))
	if at == 0 {
		return flatbuffers.Table{}, false
	}
	return flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Pos + at)}, true
}

// Entries returns the position of the first entry of a list, whose entries have size bytes each,
// and the number of entries.
func Entries(t *flatbuffers.Table, slot flatbuffers.VOffsetT, size int) (flatbuffers.UOffsetT, int, error) {
	at := flatbuffers.UOffsetT(t.Offset(slot))
	if at == 0 {
		return 0, 0, nil
	}
	first, n := t.Vector(at), t.VectorLen(at)
	if int64(first)+int64(n)*int64(size) > int64(len(t.Bytes)) {
		return 0, 0, ErrLongList
	}
	return first, n, nil
}

// Tables returns the tables in a list of tables.
func Tables(t *flatbuffers.Table, slot flatbuffers.VOffsetT) ([]flatbuffers.Table, error) {
	at, n, err := Entries(t, slot, flatbuffers.SizeUOffsetT)
	if err != nil {
		return nil, err
	}
	all := make([]flatbuffers.Table, n)
	for i := range all {
		all[i] = flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(at + flatbuffers.UOffsetT(i*flatbuffers.SizeUOffsetT))}
	}
	return all, nil
}

// Text returns a copy of a string field, or "" if it is missing.
func Text(t *flatbuffers.Table, slot flatbuffers.VOffsetT) string {
	at := flatbuffers.UOffsetT(t.Offset(slot))
	if at == 0 {
		return ""
	}
	return string(t.ByteVector(t.Pos + at))
}

// KeyValue returns the value of a key in custom metadata, or "" if the key is missing. slot is the
// field that contains the list of key-value pairs.
func KeyValue(t *flatbuffers.Table, slot flatbuffers.VOffsetT, key string) (string, error) {
	all, err := Tables(t, slot)
	if err != nil {
		return "", err
	}
	for i := range all {
		if Text(&all[i], keyValueKey) == key {
			return Text(&all[i], keyValueValue), nil
		}
	}
	return "", nil
}
