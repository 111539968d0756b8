package parquetio

import (
	"slices"

	"github.com/parquet-go/parquet-go/format"

	"cpcds2fhir/pipeline"
)

// codecs are the compressions that are read. LZ4 is not among them: version 0.32
// of the library leaves pages of little compression undecoded and hands out
// whatever its buffer held before.
var codecs = []format.CompressionCodec{format.Uncompressed, format.Snappy, format.Gzip, format.Brotli, format.Zstd}

// checkChunk refuses a column chunk that the library would read wrongly or not at
// all, before a row of it is seen.
func (f *file) checkChunk(l *leaf, m *format.ColumnMetaData) error {
	fault := &pipeline.FormatError{File: f.path, Column: l.field.Name}
	switch {
	case !slices.Contains(codecs, m.Codec):
		fault.What = "is compressed with " + m.Codec.String() + ", which is not supported"
		fault.Hint = "write the file with zstd or snappy"
	case l.cell.kind == boolCell && runLengths(m):
		// The library takes each run for a multiple of eight values.
		fault.What = "holds booleans as run lengths, which is not supported"
		fault.Hint = "write the file with data pages of version 1, or the column as text"
	default:
		return nil
	}
	return fault
}

// runLengths reports whether values, and not only levels, are stored as run
// lengths.
func runLengths(m *format.ColumnMetaData) bool {
	if len(m.EncodingStats) == 0 {
		return !slices.Contains(m.Encoding, format.Plain)
	}
	return slices.ContainsFunc(m.EncodingStats, func(s format.PageEncodingStats) bool {
		return s.Encoding == format.RLE && s.PageType != format.DictionaryPage
	})
}
