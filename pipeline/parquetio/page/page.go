// Package page reads the pages of a column chunk and decodes their contents.
//
// A column chunk is a sequence of pages, each preceded by a header. A Walk goes from header to
// header and reads the bytes of each page. An Unpacker decompresses them. The decompressed data
// starts with the repetition and definition levels, which separate values from nulls and one list
// from the next, followed by the values. Levels and LevelsV1 read the levels, Indexes reads
// dictionary indexes, and a Decoder reads values.
//
// Nothing in a page is trusted: sizes are checked before memory is allocated, and the result is
// checked after decoding. Damage is reported as parquet.ErrCorrupted. Errors reading the file are
// passed on unchanged.
//
// The package depends only on the Parquet library and an io.ReaderAt. It knows nothing about
// schemas, row groups, rows or the meaning of values. Package cell interprets values, and package
// parquetio assembles the pages.
package page

import "errors"

// ErrEncoding means that the encoding of a page is not supported.
var ErrEncoding = errors.New("unknown encoding")

// SizeError means that a page is too large for the memory limit of the load.
type SizeError struct {
	Size int64 // minimum number of bytes that would have to be in memory
}

func (e *SizeError) Error() string { return "page too large" }
