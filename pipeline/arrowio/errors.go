package arrowio

import (
	"errors"
	"io"
	"os"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowmeta"
)

// errNotText means that a value is not UTF-8.
var errNotText = errors.New("not text")

// describe converts an error into one that names the location. The message of a library is left
// out because it may quote the data. row counts from 1; 0 means the file as a whole. column is ""
// if no single column is at fault.
func (f *file) describe(row int64, column string, err error) error {
	var disk *os.PathError
	if errors.As(err, &disk) {
		return err
	}
	var form *pipeline.FormatError
	if errors.As(err, &form) {
		named := *form
		named.File = f.path
		return &named
	}
	named := &pipeline.FormatError{File: f.path, Row: row, Column: column, Hint: "was the copy complete?"}
	var c *fault.CorruptError
	var size *fault.SizeError
	switch {
	case errors.As(err, &c):
		named.What = c.Error()
	case errors.Is(err, arrowmeta.ErrLongList):
		named.What = "is corrupt: " + arrowmeta.ErrLongList.Error()
	case errors.As(err, &size):
		named.What, named.Hint = size.What, size.Hint(f.options.Share)
	case errors.Is(err, errNotText):
		named.What, named.Hint = "is not valid UTF-8 text, here or in the rows that follow", ""
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		named.What = "is truncated: it ends within a record batch or before the end-of-stream marker"
	default:
		named.What = "is corrupt: a part of it cannot be decoded"
	}
	return named
}
