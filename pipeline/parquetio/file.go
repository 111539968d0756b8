// Package parquetio reads Parquet files column by column. A dictionary-encoded
// page stays what it is, an index vector: the text of an entry is made once per
// column chunk. Nested lists are unfolded into rows.
package parquetio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"weak"

	"github.com/parquet-go/parquet-go"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// Options say how a file is read.
type Options struct {
	// Like is a file that was opened before, or nil. If this one has the same columns,
	// the two share what describes them.
	Like pipeline.File
}

// A row group becomes a span. One with more than maxGroup rows is cut into equal
// parts of at most cutGroup rows; small ones are joined until they have minSpan.
const (
	maxGroup = 1_000_000
	cutGroup = 500_000
	minSpan  = 1_000
)

// file is an open Parquet file. What it keeps of the footer is little: that of a file
// of 200 columns takes a megabyte when it is parsed, and an extract may have thousands
// of files. A source has it parsed again.
type file struct {
	path   string
	os     *os.File
	groups []group
	leaves []leaf
	fields []cpcds.Field
	lists  int
	spans  []pipeline.Span

	columns int // at the top of the schema

	mu     sync.Mutex
	parsed weak.Pointer[parquet.File] // the footer, while a source has it
}

// group is the rows of one row group.
type group struct{ first, rows int64 }

// Open opens a Parquet file and reads its footer. A missing file is an error of
// package os; a *pipeline.FormatError says what is wrong with the form of a file,
// or which column has a type that cannot become text.
func Open(path string, o Options) (pipeline.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open Parquet file: %w", err)
	}
	p := &file{path: path, os: f}
	if err := p.readFooter(); err != nil {
		f.Close()
		return nil, err
	}
	if like, ok := o.Like.(*file); ok && slices.Equal(p.leaves, like.leaves) {
		p.leaves, p.fields = like.leaves, like.fields
	}
	return p, nil
}

// readFooter reads the schema and the row groups.
func (f *file) readFooter() error {
	opened, err := f.parse()
	if err != nil {
		return err
	}
	if f.leaves, f.lists, err = leavesOf(opened); err != nil {
		var fault *pipeline.FormatError
		if errors.As(err, &fault) {
			fault.File = f.path
		}
		return err
	}
	f.columns = len(opened.Root().Columns())
	f.parsed = weak.Make(opened) // the first source comes soon, if there are few files
	if len(f.leaves) == 0 {
		return f.fault("has no columns", "")
	}
	for i := range f.leaves {
		f.fields = append(f.fields, f.leaves[i].field)
	}
	var first int64
	for _, g := range opened.RowGroups() {
		if g.NumRows() < 0 {
			return f.fault("has a row group with a negative number of rows", "")
		}
		f.groups = append(f.groups, group{first, g.NumRows()})
		first += g.NumRows()
	}
	f.spans = spansOf(f.groups)
	return nil
}

// parse reads the whole footer.
func (f *file) parse() (*parquet.File, error) {
	info, err := f.os.Stat()
	if err != nil {
		return nil, fmt.Errorf("open Parquet file: %w", err)
	}
	if err := f.checkMagic(info.Size()); err != nil {
		return nil, err
	}
	opened, err := openFooter(io.NewSectionReader(f.os, 0, info.Size()), info.Size())
	var disk *os.PathError
	switch {
	case errors.As(err, &disk):
		return nil, fmt.Errorf("read Parquet footer: %w", err)
	case err != nil:
		return nil, f.fault("has a footer that cannot be read", "was the file written to the end and copied as binary?")
	}
	return opened, nil
}

// footer returns the footer for a source, which must keep it.
func (f *file) footer() (*parquet.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.parsed.Value(); p != nil {
		return p, nil
	}
	p, err := f.parse()
	if err != nil {
		return nil, err
	}
	same := slices.EqualFunc(p.RowGroups(), f.groups, func(g parquet.RowGroup, was group) bool { return g.NumRows() == was.rows })
	if !same || len(p.Root().Columns()) != f.columns {
		return nil, f.fault("has changed since the load began", "load it again when it is complete")
	}
	f.parsed = weak.Make(p)
	return p, nil
}

const magic = "PAR1"

// checkMagic tells the usual accidents apart before the footer is parsed.
func (f *file) checkMagic(size int64) error {
	if size == 0 {
		return f.fault("is empty", "")
	}
	var head [len(magic)]byte
	var tail [4 + len(magic)]byte // the length of the footer, then the magic
	if size < int64(len(head)+len(tail)) {
		return f.fault("is too short to be a Parquet file", "was the copy complete?")
	}
	if _, err := f.os.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("read Parquet header: %w", err)
	}
	if _, err := f.os.ReadAt(tail[:], size-int64(len(tail))); err != nil {
		return fmt.Errorf("read Parquet footer: %w", err)
	}
	switch {
	case string(head[:]) == "PARE" || string(tail[4:]) == "PARE":
		return f.fault("is encrypted", "decrypt it first")
	case string(head[:]) != magic:
		return f.fault("is not a Parquet file", "")
	case string(tail[4:]) != magic:
		return f.fault("is truncated: the Parquet footer is missing", "was the copy complete?")
	case int64(binary.LittleEndian.Uint32(tail[:])) > size-int64(len(head)+len(tail)):
		return f.fault("has a footer that cannot be read", "was the copy complete?")
	}
	return nil
}

// openFooter parses the footer. The library panics on some broken ones.
func openFooter(r io.ReaderAt, size int64) (f *parquet.File, err error) {
	defer func() {
		if recover() != nil {
			err = parquet.ErrCorrupted
		}
	}()
	// Of the page indexes only the offsets are of use, and only to a lane that
	// begins within a row group: they are read then. Values are never looked up, so
	// bloom filters are not read at all.
	return parquet.OpenFile(r, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
}

func (f *file) fault(what, hint string) error {
	return &pipeline.FormatError{File: f.path, What: what, Hint: hint}
}

// spansOf cuts the rows of a file into spans, by its row groups alone.
func spansOf(groups []group) []pipeline.Span {
	var spans []pipeline.Span
	var open pipeline.Span
	flush := func() {
		if open.Rows > 0 {
			spans = append(spans, open)
		}
		open = pipeline.Span{First: open.First + open.Rows}
	}
	for _, g := range groups {
		if g.rows <= maxGroup {
			open.Rows += g.rows
			if open.Rows >= minSpan {
				flush()
			}
			continue
		}
		flush()
		parts := (g.rows + cutGroup - 1) / cutGroup
		for i := range parts {
			open.Rows = g.rows*(i+1)/parts - g.rows*i/parts
			flush()
		}
	}
	flush()
	return spans
}

// Fields implements pipeline.File.
func (f *file) Fields() []cpcds.Field { return f.fields }

// Spans implements pipeline.File. It costs nothing: the footer has the numbers.
func (f *file) Spans(context.Context) ([]pipeline.Span, error) { return f.spans, nil }

// Open implements pipeline.File. Lists of which no column is asked for are not
// unfolded: they add no rows. A column that is stored in a way that cannot be read
// is a *pipeline.FormatError.
func (f *file) Open(_ context.Context, from, to int64, columns []int) (pipeline.Source, error) {
	if columns == nil {
		for i := range f.leaves {
			columns = append(columns, i)
		}
	}
	var rows int64
	if n := len(f.groups); n > 0 {
		rows = f.groups[n-1].first + f.groups[n-1].rows
	}
	if from < 0 || from > to || to > rows {
		return nil, fmt.Errorf("open %s: rows %d to %d are not in the file, which has %d", f.path, from, to, rows)
	}
	footer, err := f.footer()
	if err != nil {
		return nil, err
	}
	for i, g := range f.groups {
		if g.first >= to || g.first+g.rows <= from {
			continue
		}
		for _, c := range columns {
			l := &f.leaves[c]
			if err := f.checkChunk(l, &footer.Metadata().RowGroups[i].Columns[l.chunk].MetaData); err != nil {
				return nil, err
			}
		}
	}
	return newSource(f, footer, from, to, columns), nil
}

// Close implements pipeline.File.
func (f *file) Close() error { return f.os.Close() }
