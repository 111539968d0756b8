package ipc

import (
	"encoding/binary"
	"io"
	"strings"

	flatbuffers "github.com/google/flatbuffers/go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowmeta"
)

// The metadata of a file are FlatBuffers tables. These are the vtable offsets of the fields that
// are read here.
const (
	footerSchema       = 6  // Footer.schema
	footerDictionaries = 8  // Footer.dictionaries
	footerBatches      = 10 // Footer.recordBatches
	messageVersion     = 4  // Message.version
	messageKind        = 6  // Message.header_type
	messageBody        = 10 // Message.bodyLength
	messageMetadata    = 12 // Message.custom_metadata
	dictionaryID       = 4  // DictionaryBatch.id
	dictionaryData     = 6  // DictionaryBatch.data
	dictionaryDelta    = 8  // DictionaryBatch.isDelta
	batchLength        = 4  // RecordBatch.length
	batchNodes         = 6  // RecordBatch.nodes
	batchBuffers       = 8  // RecordBatch.buffers
	batchCompression   = 10 // RecordBatch.compression
	batchVariadic      = 12 // RecordBatch.variadicBufferCounts
	compressionCodec   = 4  // BodyCompression.codec
	compressionMethod  = 6  // BodyCompression.method

	version4 = 3 // Arrow 0.8 to 0.17; earlier versions have other buffers

	pairSize     = 16 // struct FieldNode: length, null count; struct Buffer: offset, length
	blockSize    = 24 // struct Block: offset, length of metadata, padding, length of body
	blockLength  = 8  // Block.metaDataLength
	blockBody    = 16 // Block.bodyLength
	continuation = 0xffffffff
	prefixSize   = 4              // of the continuation marker, and of the metadata length
	trailer      = 4 + len(Magic) // the footer length, then the magic number
)

// Magic is the magic number at the start and end of a file. Streams have none.
const Magic = "ARROW1"

// The kinds of messages that are read. A Message may have another kind.
const (
	KindSchema      = 1
	KindDictionary  = 2
	KindRecordBatch = 3
)

// Version5 is the message version since Arrow 1.0. In earlier versions, unions have a validity
// bitmap.
const Version5 = 4

// Node holds the length and the null count of an array in a batch. Neither is checked.
type Node struct{ Length, Nulls int64 }

// Buffer holds the offset of a buffer in the body of a message, and its length there. Neither is
// checked.
type Buffer struct{ Offset, Length int64 }

// Codec is the compression of buffers.
type Codec int

// The compression codecs of Arrow.
const (
	CodecNone Codec = iota
	CodecLZ4        // LZ4 frame format
	CodecZstd
	CodecUnknown
)

// Message is the metadata of a message. It does not point into the file, except for schema, which
// points into the metadata of the message.
type Message struct {
	Kind    byte
	Version int16
	schema  flatbuffers.Table // only for KindSchema

	Body, Length int64 // offset and length of the body, which is within the file

	// Only for record batches and dictionary batches:
	Rows     int64    // not negative
	Nodes    []Node   // for each array
	Buffers  []Buffer // for each array in turn
	Variadic []int64  // for each view array, the number of buffers with values
	Codec    Codec

	ID    int64 // of the dictionary
	delta bool  // the values are appended to the existing values of the dictionary
}

// Place is the location of a message in the file. Length is that of the metadata, including the
// prefix.
type Place struct{ At, Length int64 }

// ReadMessage reads the metadata of a message and checks that its body ends before offset end. It
// may panic on damaged metadata. The error is a *fault.CorruptError, arrowmeta.ErrLongList, a
// *pipeline.FormatError without a file, io.ErrUnexpectedEOF if the file ends before the message
// does, or an error reading the file.
func ReadMessage(r io.ReaderAt, end int64, p Place) (*Message, error) {
	if p.At < 0 || p.Length < prefixSize {
		return nil, fault.Corrupt("a block is outside the file")
	}
	if p.At > end || p.Length > end-p.At {
		return nil, io.ErrUnexpectedEOF
	}
	raw := make([]byte, p.Length)
	if _, err := r.ReadAt(raw, p.At); err != nil {
		return nil, err
	}
	// Before Arrow 0.15 there was no continuation marker before the length.
	if binary.LittleEndian.Uint32(raw) == continuation {
		raw = raw[prefixSize:]
	}
	t := arrowmeta.Root(raw[prefixSize:])
	m := &Message{Kind: t.GetByteSlot(messageKind, 0), Version: t.GetInt16Slot(messageVersion, 0),
		Body: p.At + p.Length, Length: t.GetInt64Slot(messageBody, 0)}
	if m.Version < version4 {
		return nil, &pipeline.FormatError{What: "was written by a version of Arrow before 0.8", Hint: "write it with a newer one"}
	}
	if m.Length < 0 {
		return nil, fault.Corrupt("a message has a negative length")
	}
	if m.Length > end-m.Body {
		return nil, io.ErrUnexpectedEOF
	}
	header, ok := arrowmeta.Child(t, arrowmeta.MessageHeader)
	if !ok {
		return nil, fault.Corrupt("a message has no header")
	}
	switch m.Kind {
	case KindSchema:
		m.schema = header
	case KindDictionary:
		m.ID = header.GetInt64Slot(dictionaryID, 0)
		m.delta = header.GetBoolSlot(dictionaryDelta, false)
		if header, ok = arrowmeta.Child(&header, dictionaryData); !ok {
			return nil, fault.Corrupt("a dictionary has no values")
		}
		return m, m.readBatch(t, &header)
	case KindRecordBatch:
		return m, m.readBatch(t, &header)
	}
	return m, nil
}

// readBatch reads the header of a record batch, or of the record batch in a dictionary batch.
func (m *Message) readBatch(t, header *flatbuffers.Table) error {
	if m.Rows = header.GetInt64Slot(batchLength, 0); m.Rows < 0 {
		return fault.Corrupt("a record batch has a negative number of rows")
	}
	var err error
	if m.Nodes, err = pairs(header, batchNodes, func(a, b int64) Node { return Node{a, b} }); err != nil {
		return err
	}
	if m.Buffers, err = pairs(header, batchBuffers, func(a, b int64) Buffer { return Buffer{a, b} }); err != nil {
		return err
	}
	at, n, err := arrowmeta.Entries(header, batchVariadic, flatbuffers.SizeInt64)
	if err != nil {
		return err
	}
	for i := range n {
		m.Variadic = append(m.Variadic, header.GetInt64(at+flatbuffers.UOffsetT(i*flatbuffers.SizeInt64)))
	}
	if c, ok := arrowmeta.Child(header, batchCompression); ok {
		m.Codec = CodecUnknown
		if c.GetByteSlot(compressionMethod, 0) == 0 {
			switch c.GetByteSlot(compressionCodec, 0) {
			case 0:
				m.Codec = CodecLZ4
			case 1:
				m.Codec = CodecZstd
			}
		}
		return nil
	}
	// Arrow 0.17 stored the codec in the metadata of the message.
	name, err := arrowmeta.KeyValue(t, messageMetadata, "ARROW:experimental_compression")
	switch strings.ToLower(name) {
	case "", "uncompressed":
	case "lz4", "lz4_frame":
		m.Codec = CodecLZ4
	case "zstd":
		m.Codec = CodecZstd
	default:
		m.Codec = CodecUnknown
	}
	return err
}

// pairs reads a list of structs that consist of two 64-bit integers.
func pairs[T any](t *flatbuffers.Table, slot flatbuffers.VOffsetT, of func(a, b int64) T) ([]T, error) {
	at, n, err := arrowmeta.Entries(t, slot, pairSize)
	if err != nil {
		return nil, err
	}
	all := make([]T, n)
	for i := range all {
		p := at + flatbuffers.UOffsetT(i*pairSize)
		all[i] = of(t.GetInt64(p), t.GetInt64(p+flatbuffers.SizeInt64))
	}
	return all, nil
}
