// Package ipc locates the messages in an Arrow IPC file or stream.
//
// Files and streams consist of messages: a schema, record batches, and dictionary batches. A
// message has metadata, which are FlatBuffers tables, and a body with buffers. A stream is a
// sequence of messages; a file also has a footer with their locations. ReadMessage reads the
// metadata of one message, and IndexFile and IndexStream find all messages.
//
// Metadata is not trusted: the messages are checked to be within the file, not to overlap, and to
// be in a valid order. What a message says about its own body is not checked here but by the code
// that reads the body, in package array.
//
// The package depends on package arrowmeta for FlatBuffers, and on an io.ReaderAt. It does not
// read bodies, and knows nothing about types, columns or sources.
package ipc

import (
	"cmp"
	"encoding/binary"
	"io"
	"math"
	"slices"

	flatbuffers "github.com/google/flatbuffers/go"

	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowmeta"
)

// Index holds the locations of everything in a file. It is immutable once it is complete, so it is
// safe for concurrent use.
type Index struct {
	Schema  flatbuffers.Table
	Batches []Batch
	chains  map[int64][]*Chain // by dictionary ID, in file order
}

// Batch is one record batch: its rows and the location of its message.
type Batch struct {
	First, Rows int64
	Place       Place
}

// Chain is one version of a dictionary, until it is replaced: its values and those added by delta
// batches. Added values come at the end, so the whole Chain can also be used for batches that
// precede an addition. The pointer is the same for all batches that use the same version.
type Chain struct {
	Places []Place // locations of its messages, in the order of the values
	Orphan bool    // the first batch is a delta, so the values that it extends are missing

	from    int64 // offset of the first dictionary batch in the file
	already bool  // in the file format: it is also valid for the batches before it
}

// ChainOf returns the dictionary with the given ID that a batch uses, or nil if there is none.
func (x *Index) ChainOf(id int64, b *Batch) *Chain {
	var found *Chain
	for _, c := range x.chains[id] {
		if c.from < b.Place.At || c.already {
			found = c
		}
	}
	return found
}

// addDictionary adds a dictionary batch to the index.
func (x *Index) addDictionary(m *Message, p Place) {
	all := x.chains[m.ID]
	if m.delta && len(all) > 0 {
		last := all[len(all)-1]
		last.Places = append(last.Places, p)
		return
	}
	x.chains[m.ID] = append(all, &Chain{from: p.At, Places: []Place{p}, Orphan: m.delta})
}

// addBatch adds a record batch to the index.
func (x *Index) addBatch(m *Message, p Place) error {
	b := Batch{Rows: m.Rows, Place: p}
	if n := len(x.Batches); n > 0 {
		b.First = x.Batches[n-1].First + x.Batches[n-1].Rows
	}
	if m.Rows > math.MaxInt64-b.First {
		return fault.Corrupt("it has more rows than can be counted")
	}
	x.Batches = append(x.Batches, b)
	return nil
}

// Visit is called for the schema of a stream, and for each record batch and dictionary batch as it
// is found. The index contains what has been found so far, and always a schema. An error stops the
// walk.
type Visit func(x *Index, m *Message) error

// IndexFile reads the footer of a file and the metadata that it refers to. Like everything that
// reads metadata, it may panic on damage. The error is one returned by visit or one of those of
// ReadMessage.
func IndexFile(r io.ReaderAt, size int64, visit Visit) (*Index, error) {
	var tail [trailer]byte
	if _, err := r.ReadAt(tail[:], size-int64(trailer)); err != nil {
		return nil, err
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	end := size - int64(trailer) - length
	if end < 0 {
		return nil, fault.Corrupt("its footer is longer than the file")
	}
	raw := make([]byte, length)
	if _, err := r.ReadAt(raw, end); err != nil {
		return nil, err
	}
	footer := arrowmeta.Root(raw)
	x := &Index{chains: map[int64][]*Chain{}}
	var ok bool
	if x.Schema, ok = arrowmeta.Child(footer, footerSchema); !ok {
		return nil, fault.Corrupt("its footer has no schema")
	}
	dictionaries, err := blocks(footer, footerDictionaries, end)
	if err != nil {
		return nil, err
	}
	batches, err := blocks(footer, footerBatches, end)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(dictionaries, batches)
	if err := checkApart(all); err != nil {
		return nil, err
	}
	if err := checkWhole(r, end, all); err != nil {
		return nil, err
	}
	for _, b := range dictionaries {
		m, err := readBlock(r, end, b, KindDictionary)
		if err != nil {
			return nil, err
		}
		x.addDictionary(m, b.place)
		if err := visit(x, m); err != nil {
			return nil, err
		}
	}
	for _, b := range batches {
		m, err := readBlock(r, end, b, KindRecordBatch)
		if err != nil {
			return nil, err
		}
		if err := x.addBatch(m, b.place); err != nil {
			return nil, err
		}
		if err := visit(x, m); err != nil {
			return nil, err
		}
	}
	for _, all := range x.chains {
		slices.SortStableFunc(all, func(a, b *Chain) int { return cmp.Compare(a.from, b.from) })
		all[0].already = true
	}
	return x, nil
}

// block is a block entry in the footer.
type block struct {
	place Place
	body  int64
}

func readBlock(r io.ReaderAt, end int64, b block, kind byte) (*Message, error) {
	m, err := ReadMessage(r, end, b.place)
	if err != nil {
		return nil, err
	}
	if m.Kind != kind || m.Length > b.body {
		return nil, fault.Corrupt("its footer and its blocks do not match")
	}
	return m, nil
}

// blocks returns a list of blocks, after checking that all of them are before end.
func blocks(footer *flatbuffers.Table, slot flatbuffers.VOffsetT, end int64) ([]block, error) {
	at, n, err := arrowmeta.Entries(footer, slot, blockSize)
	if err != nil {
		return nil, err
	}
	all := make([]block, n)
	for i := range all {
		p := at + flatbuffers.UOffsetT(i*blockSize)
		b := block{Place{footer.GetInt64(p), int64(footer.GetInt32(p + blockLength))}, footer.GetInt64(p + blockBody)}
		if b.place.At < 0 || b.place.Length < 0 || b.body < 0 || b.place.At > end || b.place.Length > end-b.place.At ||
			b.body > end-b.place.At-b.place.Length {
			return nil, fault.Corrupt("a block is outside the file")
		}
		all[i] = b
	}
	return all, nil
}

// checkApart checks that blocks do not overlap, because rows would be read twice.
func checkApart(all []block) error {
	slices.SortFunc(all, func(a, b block) int { return cmp.Compare(a.place.At, b.place.At) })
	for i := 1; i < len(all); i++ {
		if b := all[i-1]; all[i].place.At < b.place.At+b.place.Length+b.body {
			return fault.Corrupt("its blocks overlap")
		}
	}
	return nil
}

// checkWhole checks that the last block ends where the footer begins, except for the
// end-of-stream marker and padding. Otherwise there are rows that the footer does not know, as in
// two files joined together. all is in file order; without blocks, the schema comes last.
func checkWhole(r io.ReaderAt, end int64, all []block) error {
	last := int64(len(Magic)+7) &^ 7 // the schema begins at a multiple of 8 bytes
	if n := len(all); n > 0 {
		last = all[n-1].place.At + all[n-1].place.Length + all[n-1].body
	} else if prefix, length, err := readPrefix(r, last); err == nil {
		last += prefix + length
	}
	const padding = 128 // more than any writer adds, and less than the smallest file
	if end-last > padding {
		return fault.Corrupt("its footer does not cover all of it, as if two Arrow files were joined together")
	}
	return nil
}

// IndexStream walks the messages of a stream. A stream must end with an end-of-stream marker;
// without it, the end of the stream may be missing. Panics and errors are those of IndexFile.
func IndexStream(r io.ReaderAt, size int64, visit Visit) (*Index, error) {
	x := &Index{chains: map[int64][]*Chain{}}
	for at, first := int64(0), true; ; first = false {
		prefix, length, err := readPrefix(r, at)
		if err != nil {
			return nil, err
		}
		if length == 0 {
			if first {
				return nil, fault.Corrupt("it has no schema")
			}
			if at+prefix != size {
				return nil, fault.Corrupt("there is data after the end-of-stream marker") // rows there would be lost
			}
			return x, nil
		}
		p := Place{at, prefix + length}
		m, err := ReadMessage(r, size, p)
		if err != nil {
			return nil, err
		}
		switch {
		case first != (m.Kind == KindSchema):
			return nil, fault.Corrupt("its messages are not in order")
		case first:
			x.Schema = m.schema
		case m.Kind == KindDictionary:
			x.addDictionary(m, p)
		case m.Kind == KindRecordBatch:
			err = x.addBatch(m, p)
		default:
			return nil, fault.Corrupt("a message is neither a record batch nor a dictionary")
		}
		if err == nil {
			err = visit(x, m)
		}
		if err != nil {
			return nil, err
		}
		at = m.Body + m.Length
	}
}

// readPrefix reads the prefix of a message, and returns the sizes of the prefix and of the
// metadata.
func readPrefix(r io.ReaderAt, at int64) (prefix, length int64, err error) {
	var raw [2 * prefixSize]byte
	if _, err := r.ReadAt(raw[:prefixSize], at); err != nil {
		return 0, 0, err
	}
	prefix = prefixSize
	if binary.LittleEndian.Uint32(raw[:]) == continuation {
		if _, err := r.ReadAt(raw[:prefixSize], at+prefix); err != nil {
			return 0, 0, err
		}
		prefix += prefixSize
	}
	length = int64(int32(binary.LittleEndian.Uint32(raw[:])))
	if length < 0 {
		return 0, 0, fault.Corrupt("a message has a negative length")
	}
	return prefix, length, nil
}

// IsOldStream reports whether a file of the given size begins with a schema message in the stream
// format before Arrow 0.15, which had no continuation marker.
func IsOldStream(r io.ReaderAt, size int64) bool {
	var raw [prefixSize]byte
	if _, err := r.ReadAt(raw[:], 0); err != nil {
		return false
	}
	length := int64(int32(binary.LittleEndian.Uint32(raw[:])))
	if length <= 0 || length > size-prefixSize {
		return false
	}
	return fault.Guard(func() error {
		m, err := ReadMessage(r, size, Place{0, prefixSize + length})
		if err == nil && m.Kind != KindSchema {
			err = fault.Corrupt("it does not begin with a schema")
		}
		return err
	}) == nil
}
