package parquetio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/pipeline/parquetio/page"
)

// errNotText means that a value is not UTF-8.
var errNotText = errors.New("not text")

// errUneven means that the columns of a list have different list lengths.
var errUneven = errors.New("lists of different lengths")

// errShort means that a column chunk ends before its row group does.
var errShort = errors.New("short column chunk")

// errLong means that a page has more rows than its row group.
var errLong = errors.New("long column chunk")

// describe converts an error from a page into one that names the location. The library's own
// message is left out because it may quote the data.
func describe(file *file, l *leaf, row int64, err error) error {
	var disk *os.PathError
	if errors.As(err, &disk) || errors.Is(err, context.Canceled) {
		return err
	}
	var size *page.SizeError
	f := &pipeline.FormatError{File: file.path, Row: row + 1, Column: l.field.Name, Hint: "was the copy complete?"}
	switch {
	case errors.Is(err, errNotText):
		f.What, f.Hint = "is not valid UTF-8 text, here or in the rows that follow", ""
		if l.field.Bulk {
			f.What = "is not valid UTF-8 text or holds a NUL, here or in the rows that follow"
		}
	case errors.As(err, &size):
		f.What = fmt.Sprintf("has a page of %s, too large for the memory limit of the load", columnar.Mebibytes(size.Size))
		f.Hint = "write smaller pages or row groups, or set --memory to about " + columnar.Mebibytes(max(file.options.Share, 1)*size.Size*11/10)
	case errors.Is(err, page.ErrEncoding):
		f.What, f.Hint = "has a page in an unsupported encoding", "write the file with a different encoding"
	case errors.Is(err, errLong):
		f.What = "is corrupt: a page has more rows than its row group"
	case errors.Is(err, errUneven):
		f.What = "is corrupt: its lists differ in length from those of the other columns in the list"
	case errors.Is(err, errShort), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		f.What = "is truncated: the data ends before the row group does"
	case errors.Is(err, parquet.ErrCorrupted):
		f.What = "is corrupt: a page does not agree with its header or its checksum"
	default:
		f.What = "has a page that cannot be decoded"
	}
	return f
}
