package arrowio

import (
	"encoding/binary"
	"io"

	flatbuffers "github.com/google/flatbuffers/go"
)

// The library tells the rows of a record batch only once it has decoded all of
// it. Here they are read from the metadata alone: tables of FlatBuffers, of which
// these are the fields and their places.
const (
	footerSchema    = 6  // Footer.schema
	footerBatches   = 10 // Footer.recordBatches
	messageKind     = 6  // Message.header_type
	messageHeader   = 8  // Message.header
	messageBody     = 10 // Message.bodyLength
	batchLength     = 4  // RecordBatch.length
	schemaFields    = 6  // Schema.fields
	schemaMetadata  = 8  // Schema.custom_metadata
	fieldChildren   = 14 // Field.children
	fieldMetadata   = 16 // Field.custom_metadata
	kindSchema      = 1
	kindRecordBatch = 3

	blockSize    = 24 // struct Block: offset, length of metadata, padding, length of body
	blockLength  = 8  // Block.metaDataLength
	continuation = 0xffffffff
	prefixSize   = 4              // the continuation mark, and the length of metadata
	trailer      = 4 + len(magic) // the length of the footer, then the magic
	maxDepth     = 64             // of nested fields
)

// fileRows returns the rows of the record batches that a footer lists. It may
// panic on a broken one.
func fileRows(r io.ReaderAt, size int64) ([]int64, error) {
	var tail [trailer]byte
	if _, err := r.ReadAt(tail[:], size-int64(trailer)); err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	if length > size-int64(trailer) {
		return nil, errCorrupt
	}
	footer := make([]byte, length)
	if _, err := r.ReadAt(footer, size-int64(trailer)-int64(len(footer))); err != nil {
		return nil, err
	}
	t := root(footer)
	if at := t.Offset(footerSchema); at != 0 {
		schema := flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Pos + flatbuffers.UOffsetT(at))}
		if err := checkSchema(&schema); err != nil {
			return nil, err
		}
	}
	at := flatbuffers.UOffsetT(t.Offset(footerBatches))
	if at == 0 {
		return nil, nil // no batches
	}
	n := t.VectorLen(at)
	if n > len(footer)/blockSize {
		return nil, errCorrupt
	}
	rows := make([]int64, n)
	for i := range rows {
		block := t.Vector(at) + flatbuffers.UOffsetT(i*blockSize)
		offset := t.GetInt64(block)
		length := t.GetInt32(block + blockLength)
		m, err := readMetadata(r, size, offset, int64(length))
		if err != nil {
			return nil, err
		}
		if m.kind != kindRecordBatch || m.rows < 0 {
			return nil, errCorrupt
		}
		rows[i] = m.rows
	}
	return rows, nil
}

// streamRows returns the rows of the record batches of a stream. Streams end with
// a mark; without it, the end of the stream may be missing.
func streamRows(r io.ReaderAt, size int64) ([]int64, error) {
	var rows []int64
	for at := int64(0); ; {
		var prefix [2 * prefixSize]byte
		if _, err := r.ReadAt(prefix[:], at); err != nil {
			return nil, err
		}
		if binary.LittleEndian.Uint32(prefix[:]) != continuation {
			return nil, errCorrupt
		}
		length := int64(binary.LittleEndian.Uint32(prefix[prefixSize:]))
		if length == 0 {
			if at+int64(len(prefix)) != size {
				return nil, errCorrupt // rows behind the end mark would be lost
			}
			return rows, nil
		}
		m, err := readMetadata(r, size, at, length+int64(len(prefix)))
		if err != nil {
			return nil, err
		}
		if m.body < 0 || m.rows < 0 {
			return nil, errCorrupt
		}
		if m.kind == kindRecordBatch {
			rows = append(rows, m.rows)
		}
		at += int64(len(prefix)) + length + m.body
		if at > size {
			return nil, io.ErrUnexpectedEOF
		}
	}
}

// metadata is what a message says of itself.
type metadata struct {
	kind byte
	rows int64
	body int64
}

// readMetadata reads the metadata of a message, length bytes with its prefix.
func readMetadata(r io.ReaderAt, size, at, length int64) (metadata, error) {
	if length > size-at {
		return metadata{}, io.ErrUnexpectedEOF
	}
	if length < 2*prefixSize {
		return metadata{}, errCorrupt
	}
	raw := make([]byte, length)
	if _, err := r.ReadAt(raw, at); err != nil {
		return metadata{}, err
	}
	// Files of before version 0.15 have no continuation mark before the length.
	if binary.LittleEndian.Uint32(raw) == continuation {
		raw = raw[prefixSize:]
	}
	t := root(raw[prefixSize:])
	m := metadata{kind: t.GetByteSlot(messageKind, 0), body: t.GetInt64Slot(messageBody, 0)}
	at32 := flatbuffers.UOffsetT(t.Offset(messageHeader))
	if at32 == 0 {
		return m, nil
	}
	var header flatbuffers.Table
	t.Union(&header, at32)
	switch m.kind {
	case kindRecordBatch:
		m.rows = header.GetInt64Slot(batchLength, 0)
	case kindSchema:
		return m, checkSchema(&header)
	}
	return m, nil
}

// checkSchema checks that the lists of a schema fit into it: the library makes
// room for as many entries as a list claims to have.
func checkSchema(t *flatbuffers.Table) error {
	if err := checkVector(t, schemaMetadata); err != nil {
		return err
	}
	return checkFields(t, schemaFields, maxDepth)
}

func checkFields(t *flatbuffers.Table, slot flatbuffers.VOffsetT, depth int) error {
	if depth == 0 {
		return errCorrupt
	}
	if err := checkVector(t, slot); err != nil {
		return err
	}
	at := flatbuffers.UOffsetT(t.Offset(slot))
	if at == 0 {
		return nil
	}
	for i := range t.VectorLen(at) {
		field := flatbuffers.Table{Bytes: t.Bytes, Pos: t.Indirect(t.Vector(at) + flatbuffers.UOffsetT(i*flatbuffers.SizeUOffsetT))}
		if err := checkVector(&field, fieldMetadata); err != nil {
			return err
		}
		if err := checkFields(&field, fieldChildren, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// checkVector checks the length of a list of tables.
func checkVector(t *flatbuffers.Table, slot flatbuffers.VOffsetT) error {
	at := flatbuffers.UOffsetT(t.Offset(slot))
	if at != 0 && t.VectorLen(at) > len(t.Bytes)/flatbuffers.SizeUOffsetT {
		return errCorrupt
	}
	return nil
}

func root(raw []byte) *flatbuffers.Table {
	return &flatbuffers.Table{Bytes: raw, Pos: flatbuffers.GetUOffsetT(raw)}
}
