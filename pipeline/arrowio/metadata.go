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
	footerBatches    = 10 // Footer.recordBatches
	messageKind      = 6  // Message.header_type
	messageHeader    = 8  // Message.header
	messageBody      = 10 // Message.bodyLength
	batchLength      = 4  // RecordBatch.length
	kindRecordBatch  = 3
	blockSize        = 24 // struct Block: offset, length of metadata, padding, length of body
	continuation     = 0xffffffff
	maxMetadata      = 1 << 30
	trailer          = 4 + len(magic) // the length of the footer, then the magic
	blockMetadataAt  = 8
	lengthPrefixSize = 4
)

// fileRows returns the rows of the record batches that a footer lists. It may
// panic on a broken one.
func fileRows(r io.ReaderAt, size int64) ([]int64, error) {
	var tail [trailer]byte
	if _, err := r.ReadAt(tail[:], size-int64(trailer)); err != nil {
		return nil, err
	}
	footer := make([]byte, binary.LittleEndian.Uint32(tail[:]))
	if _, err := r.ReadAt(footer, size-int64(trailer)-int64(len(footer))); err != nil {
		return nil, err
	}
	t := root(footer)
	at := flatbuffers.UOffsetT(t.Offset(footerBatches))
	if at == 0 {
		return nil, nil // no batches
	}
	rows := make([]int64, t.VectorLen(at))
	for i := range rows {
		block := t.Vector(at) + flatbuffers.UOffsetT(i*blockSize)
		offset := t.GetInt64(block)
		length := t.GetInt32(block + blockMetadataAt)
		m, err := readMetadata(r, offset, int64(length))
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
		var prefix [2 * lengthPrefixSize]byte
		if _, err := r.ReadAt(prefix[:], at); err != nil {
			return nil, err
		}
		if binary.LittleEndian.Uint32(prefix[:]) != continuation {
			return nil, errCorrupt
		}
		length := int64(binary.LittleEndian.Uint32(prefix[lengthPrefixSize:]))
		if length == 0 {
			return rows, nil
		}
		m, err := readMetadata(r, at, length+int64(len(prefix)))
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
func readMetadata(r io.ReaderAt, at, length int64) (metadata, error) {
	if length < 2*lengthPrefixSize || length > maxMetadata {
		return metadata{}, errCorrupt
	}
	raw := make([]byte, length)
	if _, err := r.ReadAt(raw, at); err != nil {
		return metadata{}, err
	}
	// Files of before version 0.15 have no continuation mark before the length.
	if binary.LittleEndian.Uint32(raw) == continuation {
		raw = raw[lengthPrefixSize:]
	}
	t := root(raw[lengthPrefixSize:])
	m := metadata{kind: t.GetByteSlot(messageKind, 0), body: t.GetInt64Slot(messageBody, 0)}
	if at := t.Offset(messageHeader); at != 0 && m.kind == kindRecordBatch {
		var header flatbuffers.Table
		t.Union(&header, flatbuffers.UOffsetT(at))
		m.rows = header.GetInt64Slot(batchLength, 0)
	}
	return m, nil
}

func root(raw []byte) *flatbuffers.Table {
	return &flatbuffers.Table{Bytes: raw, Pos: flatbuffers.GetUOffsetT(raw)}
}
