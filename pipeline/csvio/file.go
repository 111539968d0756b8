// Package csvio reads delimited text: RFC 4180 with any delimiter and quote, with LF or CRLF, plain
// or compressed. It has its own scanner, which returns views into its buffer where encoding/csv
// makes a string per record.
package csvio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// file is an open CSV file.
type file struct {
	path     string
	os       *os.File
	opts     Options
	packed   packing
	charset  charset
	form     form
	fields   []cpcds.Field
	header   header
	data     mark // where the first row begins
	surplus  int  // 1 if rows have an empty field after those of the columns
	hasIndex bool // a lane can begin in the middle, at a mark

	scan  sync.Mutex // held while the file is scanned; guards what follows
	index *index
}

// Open opens a delimited text file and reads its header line. A missing file is an error of package
// os, invalid options are an *OptionError, and a *pipeline.FormatError says what is wrong with the
// form of a file.
func Open(path string, opts Options) (pipeline.File, error) {
	charset, err := opts.complete(path)
	if err != nil {
		return nil, err
	}
	o, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open CSV file: %w", err)
	}
	f := &file{path: path, os: o, opts: opts, packed: packingOf(path), charset: charset}
	f.hasIndex = f.packed == unpacked && !f.charset.wide()
	if err := f.readHeader(); err != nil {
		o.Close()
		return nil, err
	}
	return f, nil
}

// Fields implements pipeline.File.
func (f *file) Fields() []cpcds.Field { return f.fields }

// Spans implements pipeline.File. The first call reads the whole file and checks
// its form: every row has the fields of the header, every quote is closed, and
// everything is text.
func (f *file) Spans(ctx context.Context) ([]pipeline.Span, error) {
	x, err := f.scanOnce(ctx)
	if err != nil {
		return nil, err
	}
	return x.spans, nil
}

func (f *file) scanOnce(ctx context.Context) (*index, error) {
	f.scan.Lock()
	defer f.scan.Unlock()
	if f.index == nil {
		x, err := f.buildIndex(ctx)
		if err != nil {
			return nil, err
		}
		f.index = x
	}
	return f.index, nil
}

// Open implements pipeline.File. A lane that does not begin at row 0 needs the index of Spans,
// except in compressed files and UTF-16: they are read from the beginning and rows are skipped. A
// lane that begins at row 0 needs no index; a file that then has fewer rows than to ends early.
func (f *file) Open(ctx context.Context, from, to int64, columns pipeline.Columns) (pipeline.Source, error) {
	if from < 0 || to < from {
		return nil, fmt.Errorf("open %s: rows %d to %d are not a range", f.path, from, to)
	}
	var s *scanner
	var err error
	if from > 0 && f.hasIndex {
		x, scanErr := f.scanOnce(ctx)
		if scanErr != nil {
			return nil, scanErr
		}
		s, err = f.scanner(x.before(from, f.data))
	} else {
		s, err = f.rows()
	}
	if err != nil {
		return nil, err
	}
	src := newSource(s, to, columns)
	if err := src.skipTo(ctx, from); err != nil {
		return nil, errors.Join(err, src.Close())
	}
	return src, nil
}

// Close implements pipeline.File.
func (f *file) Close() error { return f.os.Close() }
