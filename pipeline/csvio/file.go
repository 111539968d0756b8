// Package csvio reads delimited text: RFC 4180 with any delimiter and quote, with
// LF or CRLF, plain or compressed. It has a scanner of its own, which hands out
// views into its buffer where encoding/csv makes a string per record.
package csvio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// Options say how a file is read. The zero value is a comma-like delimiter that
// the header line tells, double quotes, UTF-8 and a header line.
type Options struct {
	Delimiter byte   // 0: the one of , ; | and tab that the first line has most of
	Quote     byte   // 0: "
	NoQuote   bool   // quotes are text like any other
	Encoding  string // "utf-8", "latin1", "windows-1252" or "utf-16"; "": utf-8

	// NoHeader says that the first line is data; Columns then names its fields.
	NoHeader bool
	Columns  []string

	// ShortRows accepts rows that have fewer fields than the header; the missing
	// ones are absent.
	ShortRows bool

	// MaxField is the longest field in bytes, 0 for 1 MiB. A longer one is a fault:
	// it is nearly always an unclosed quote.
	MaxField int
}

const defaultMaxField = 1 << 20

// file is an open CSV file.
type file struct {
	path     string
	os       *os.File
	opts     Options
	packed   packing
	charset  charset
	form     form
	fields   []cpcds.Field
	data     mark // where the first row begins
	hasIndex bool // a lane can begin in the middle, at a mark

	scan  sync.Mutex // held while the file is scanned; guards what follows
	index *index
}

// Open opens a delimited text file and reads its header line. A missing file is
// an error of package os; a *pipeline.FormatError says what is wrong with the
// form of a file.
func Open(path string, opts Options) (pipeline.File, error) {
	if opts.Quote == 0 {
		opts.Quote = '"'
	}
	if opts.MaxField == 0 {
		opts.MaxField = defaultMaxField
	}
	if opts.NoHeader && len(opts.Columns) == 0 {
		return nil, fmt.Errorf("open %s: neither a header line nor names of columns", path)
	}
	charset, err := charsetOf(opts.Encoding)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	o, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open CSV file: %w", err)
	}
	f := &file{path: path, os: o, opts: opts, packed: packingOf(path), charset: charset}
	f.hasIndex = f.packed == unpacked && f.charset != utf16
	if err := f.readHeader(); err != nil {
		o.Close()
		return nil, err
	}
	return f, nil
}

// readHeader finds the delimiter, the columns and where the first row begins.
func (f *file) readHeader() error {
	s, err := f.scanner(mark{line: 1})
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.skipBOM(); err != nil {
		return err
	}
	begin := s.at()
	f.form = form{delimiter: f.opts.Delimiter, quote: f.opts.Quote, quoted: !f.opts.NoQuote}
	if f.form.delimiter == 0 {
		f.form.delimiter = f.form.detect(s.firstLine())
	}
	s.form = f.form
	rec, err := s.next(true)
	switch {
	case err == io.EOF:
		return &pipeline.FormatError{File: f.path, What: "is empty", Hint: "a header line at least is expected"}
	case err != nil:
		return f.inHeader(err)
	}
	if f.opts.NoHeader {
		f.data = begin
		return f.nameColumns(f.opts.Columns)
	}
	names := make([]string, len(rec.fields))
	for i := range rec.fields {
		names[i] = strings.Clone(s.text(&rec, i))
	}
	f.data = s.at()
	f.data.line += rec.lines
	return f.nameColumns(names)
}

// nameColumns takes over the names. Faults name positions only: where a file has
// no header line, these names are data.
func (f *file) nameColumns(names []string) error {
	fault := func(format string, args ...any) error {
		return &pipeline.FormatError{File: f.path, Line: f.headerLine(), What: "the header " + fmt.Sprintf(format, args...),
			Hint: "is the first line really a header?"}
	}
	seen := map[string]int{}
	for i, name := range names {
		if strings.TrimSpace(name) == "" {
			return fault("has no name for column %d", i+1)
		}
		if k, ok := seen[name]; ok {
			return fault("has the same name for columns %d and %d", k, i+1)
		}
		seen[name] = i + 1
		f.fields = append(f.fields, cpcds.Field{Name: name, Type: "string"})
	}
	return nil
}

func (f *file) headerLine() int64 {
	if f.opts.NoHeader {
		return 0
	}
	return 1
}

// inHeader corrects a fault that the scanner found in the header line: it counts
// rows and does not know that this is none.
func (f *file) inHeader(err error) error {
	var fault *pipeline.FormatError
	if errors.As(err, &fault) && !f.opts.NoHeader {
		fault.Row, fault.Line = 0, 1
	}
	return err
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

// Open implements pipeline.File. A lane that does not begin at row 0 needs the
// index of Spans, but for compressed files and UTF-16: they are read from their
// beginning and rows are skipped. A lane that begins at row 0 needs no index; a
// file that then has fewer rows than to ends early.
func (f *file) Open(ctx context.Context, from, to int64, columns []int) (pipeline.Source, error) {
	if from < 0 || to < from {
		return nil, fmt.Errorf("open %s: rows %d to %d are not a range", f.path, from, to)
	}
	if columns == nil {
		for i := range f.fields {
			columns = append(columns, i)
		}
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
