package page

import (
	"errors"
	"hash/crc32"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline/parquetio/guarded"
)

// Header is the part of a page header that a reader needs. In headers returned by a Walk the
// lengths are not negative, and the part required by the page type is present. The counts of
// levels and values are unverified.
type Header struct {
	Type         format.PageType                          `thrift:"1,optional"`
	Uncompressed int32                                    `thrift:"2,optional"`
	Compressed   int32                                    `thrift:"3,optional"`
	CRC          thrift.Null[int32]                       `thrift:"4,optional"`
	V1           thrift.Null[HeaderV1]                    `thrift:"5,optional"`
	Dictionary   thrift.Null[format.DictionaryPageHeader] `thrift:"7,optional"`
	V2           thrift.Null[HeaderV2]                    `thrift:"8,optional"`
}

// HeaderV1 is the header of a version 1 data page, in which levels and values are compressed
// together.
type HeaderV1 struct {
	Values      int32           `thrift:"1,optional"`
	Encoding    format.Encoding `thrift:"2,optional"`
	Definitions format.Encoding `thrift:"3,optional"`
	Repetitions format.Encoding `thrift:"4,optional"`
}

// HeaderV2 is the header of a version 2 data page. Its levels come first and are not compressed.
// Packed tells whether the values are compressed; if it is missing, they are.
type HeaderV2 struct {
	Values          int32             `thrift:"1,optional"`
	Encoding        format.Encoding   `thrift:"4,optional"`
	DefinitionBytes int32             `thrift:"5,optional"`
	RepetitionBytes int32             `thrift:"6,optional"`
	Packed          thrift.Null[bool] `thrift:"7,optional"`
}

// Entries returns the number of levels of a data page: one for each value, null and empty list.
func (h *Header) Entries() int {
	switch {
	case h.V1.Valid:
		return int(h.V1.V.Values)
	case h.V2.Valid:
		return int(h.V2.V.Values)
	}
	return 0
}

// IsData reports whether this is a data page, not a dictionary page or a page of an unknown type.
func (h *Header) IsData() bool { return h.Type == format.DataPage || h.Type == format.DataPageV2 }

// valid reports whether the numbers in the header are consistent with each other.
func (h *Header) valid() bool {
	if h.Compressed < 0 || h.Uncompressed < 0 || h.Entries() < 0 {
		return false
	}
	switch h.Type {
	case format.DataPage:
		return h.V1.Valid
	case format.DataPageV2:
		v := &h.V2.V
		return h.V2.Valid && v.DefinitionBytes >= 0 && v.RepetitionBytes >= 0 &&
			int64(v.DefinitionBytes)+int64(v.RepetitionBytes) <= int64(min(h.Compressed, h.Uncompressed))
	case format.DictionaryPage:
		return h.Dictionary.Valid && h.Dictionary.V.NumValues >= 0
	}
	return true
}

// Walk iterates over the pages of a column chunk, from header to header. Nothing else is used to
// locate pages because some writers store wrong offsets in every index that could be used for
// that. A Walk must not be used concurrently.
type Walk struct {
	Most   int64  // maximum header size; some writers store whole values in headers
	Window []byte // bytes of the file; the buffer may be reused from a finished Walk

	in      io.ReaderAt
	at, end int64 // offset of the next header; limit of the chunk
	last    int64 // claimed end of the chunk
	from    int64 // offset of the window
}

const (
	// firstWindow is the number of bytes read to parse a header. It often includes a whole small
	// page as well.
	firstWindow = 4 << 10
	maxHeader   = 256 << 20

	// forgottenHeader is a margin for the dictionary page header, which old writers leave out of
	// the length of a chunk.
	forgottenHeader = 128
)

// NewWalk returns a Walk over the chunk that begins at start and claims to have size bytes. It
// does not read past limit, the end of the data in the file.
func NewWalk(in io.ReaderAt, start, size, limit int64) Walk {
	last := start + size
	return Walk{in: in, at: start, end: min(last+forgottenHeader, limit), last: min(last, limit), Most: maxHeader}
}

// More reports whether the walk is still before the claimed end of the chunk.
func (w *Walk) More() bool { return w.at < w.last }

// Header reads the next header into h and moves on to the bytes of the page, which must be
// consumed with Body or Pass before the next call. The error is parquet.ErrCorrupted,
// io.ErrUnexpectedEOF if the chunk ends too early, a *SizeError, or an error reading the file. h
// does not point into memory owned by the Walk.
func (w *Walk) Header(h *Header) error {
	for size := int64(firstWindow); ; size *= 2 {
		have, err := w.look(size)
		if err != nil {
			return err
		}
		*h = Header{}
		n, err := guarded.Thrift(have, h)
		if err == nil {
			if !h.valid() {
				return parquet.ErrCorrupted
			}
			w.at += int64(n)
			return nil
		}
		switch {
		case int64(len(have)) == w.end-w.at:
			return io.ErrUnexpectedEOF
		case size >= w.Most:
			return &SizeError{Size: size}
		}
	}
}

// look returns the next size bytes, or fewer if the chunk or the window ends before.
func (w *Walk) look(size int64) ([]byte, error) {
	size = min(size, w.end-w.at)
	if size <= 0 {
		return nil, io.ErrUnexpectedEOF
	}
	if skip := w.at - w.from; len(w.Window) > 0 && skip >= 0 && int64(len(w.Window))-skip >= min(size, 256) && size <= firstWindow {
		return w.Window[skip:], nil
	}
	if int64(cap(w.Window)) < size {
		w.Window = make([]byte, size)
	}
	w.Window, w.from = w.Window[:size], w.at
	n, err := w.in.ReadAt(w.Window, w.at)
	w.Window = w.Window[:n]
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return w.Window, nil
}

// Body reads the bytes of the page whose header was just read, and verifies the checksum. dst is
// overwritten and returned, possibly grown. The errors are those of Header.
func (w *Walk) Body(dst []byte, h *Header) ([]byte, error) {
	size := int64(h.Compressed)
	if size > w.end-w.at {
		return nil, io.ErrUnexpectedEOF
	}
	dst = room(dst, int(size))
	have := 0
	if skip := w.at - w.from; skip < int64(len(w.Window)) {
		have = copy(dst, w.Window[skip:])
	}
	if have < len(dst) {
		if n, err := w.in.ReadAt(dst[have:], w.at+int64(have)); have+n < len(dst) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	w.at += size
	if h.CRC.Valid && h.CRC.V != 0 && crc32.ChecksumIEEE(dst) != uint32(h.CRC.V) {
		return nil, parquet.ErrCorrupted
	}
	return dst, nil
}

// Pass skips the bytes of the page whose header was just read. The error is io.ErrUnexpectedEOF if
// the chunk ends before the page does.
func (w *Walk) Pass(h *Header) error {
	if int64(h.Compressed) > w.end-w.at {
		return io.ErrUnexpectedEOF
	}
	w.at += int64(h.Compressed)
	return nil
}
