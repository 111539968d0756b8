// Package parquetio reads Parquet files column by column. A dictionary-encoded page stays an index
// vector: the text of a dictionary entry is produced once per column chunk. Nested lists are
// unfolded into rows.
//
// The package handles files as a whole: their footers, the columns of their schemas, and the row
// groups that a source reads within its memory limit. Each subpackage handles one part and does
// not depend on this package: package page decodes pages, package cell converts values to text,
// package deltacheckpoint reads checkpoints of Delta tables, and package guarded wraps calls to
// the library.
package parquetio

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"weak"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/parquetio/page"
	"cpcds2fhir/schemas/cpcds"
)

// Options control how a file is read.
type Options struct {
	// Like is a file that was opened before, or nil. If this file has the same columns, the two
	// share their descriptions.
	Like pipeline.File

	// Memory is the maximum size in bytes of decoded data that a source may hold; 0 means no
	// limit. Data that does not fit is written to a temporary file.
	Memory int64

	// Temp is the folder for temporary files; "" means the system's. The files have no name in it.
	Temp string

	// Share is the ratio of the process's memory limit to Memory. It is used to compute the
	// --memory value in hints. 0 means 1.
	Share int64

	// Footer is the maximum size of a file's footer in bytes; 0 means no limit.
	Footer int64
}

// A row group becomes a span. One with more than maxGroup rows is split into equal parts of at
// most cutGroup rows; small row groups are joined until they have minSpan rows.
const (
	maxGroup = 1_000_000
	cutGroup = 500_000
	minSpan  = 1_000
)

// file is an open Parquet file. It keeps little of the footer because an extract may have
// thousands of files; a source parses the footer again.
type file struct {
	path    string
	options Options
	os      *os.File
	groups  []group
	leaves  []leaf
	fields  []cpcds.Field
	lists   int
	spans   []pipeline.Span

	elements int // number of schema elements

	mu     sync.Mutex
	parsed weak.Pointer[footer] // set while a source uses it
}

// group is the row range of one row group.
type group struct{ first, rows int64 }

// Open opens a Parquet file and reads its footer. If the file is missing, the error comes from
// package os; a *pipeline.FormatError describes what is wrong with the file's format. A column
// that cannot be converted to text has a Fault in its field.
func Open(path string, o Options) (pipeline.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open Parquet file: %w", err)
	}
	p := &file{path: path, os: f, options: o}
	p.options.Like = nil
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
	p, err := f.parse()
	if err != nil {
		return err
	}
	if err := f.check(p); err != nil {
		return err
	}
	if f.leaves, f.lists, err = leavesOf(p); err != nil {
		return f.fault("has a footer that cannot be read", "was the file written to the end and copied as binary?")
	}
	f.elements = len(p.Schema)
	f.remember(p) // if there are few files, the first source is opened soon
	if len(f.leaves) == 0 {
		return f.fault("has no columns", "")
	}
	for i := range f.leaves {
		f.judge(&f.leaves[i], p)
		f.fields = append(f.fields, f.leaves[i].field)
	}
	var first int64
	for _, g := range p.Groups.list {
		f.groups = append(f.groups, group{first, g.rows})
		first += g.rows
	}
	f.spans = spansOf(f.groups)
	return nil
}

// A column is bulk if one of its chunks has more bytes than bulk and its values are longer than
// bulkValue on average. Bulk columns are not kept with rejects.
const (
	bulk      = 16 << 20
	bulkValue = 256
)

// judge sets the fault of a column whose chunks cannot be read, and detects bulk columns.
func (f *file) judge(l *leaf, p *footer) {
	for g := range p.Groups.list {
		c := &p.Groups.list[g].chunks[l.chunk]
		switch {
		case l.field.Fault != "":
		case c.encrypted:
			l.field.Fault = "is encrypted"
		case !page.Readable(c.codec):
			l.field.Fault = "is compressed with " + c.codec.String() + ", which is not supported"
		}
		l.field.Bulk = l.field.Bulk || c.uncompressed > bulk && c.uncompressed/max(c.values, 1) > bulkValue
	}
}

// footer returns the footer for a source, which must keep a reference to it.
func (f *file) footer() (*footer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.parsed.Value(); p != nil {
		return p, nil
	}
	p, err := f.parse()
	if err != nil {
		return nil, err
	}
	same := slices.EqualFunc(p.Groups.list, f.groups, func(g rowGroup, was group) bool { return g.rows == was.rows })
	if !same || len(p.Schema) != f.elements {
		return nil, f.fault("has changed since the load began", "load it again when it is complete")
	}
	f.remember(p)
	return p, nil
}

// remember lets other sources share a footer as long as one source refers to it.
func (f *file) remember(p *footer) {
	p.Schema, p.Values = nil, nil // these point into the raw footer
	f.parsed = weak.Make(p)
}

func (f *file) fault(what, hint string) error {
	return &pipeline.FormatError{File: f.path, What: what, Hint: hint}
}

// spansOf divides the rows of a file into spans, based only on its row groups.
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

// Spans implements pipeline.File. It reads nothing because the footer has the row counts.
func (f *file) Spans(context.Context) ([]pipeline.Span, error) { return f.spans, nil }

// Open implements pipeline.File. Lists without a requested column are not unfolded: they add no
// rows. If a column is stored in a way that cannot be read, the error is a *pipeline.FormatError.
func (f *file) Open(_ context.Context, from, to int64, columns pipeline.Columns) (pipeline.Source, error) {
	var rows int64
	if n := len(f.groups); n > 0 {
		rows = f.groups[n-1].first + f.groups[n-1].rows
	}
	if from < 0 || from > to || to > rows {
		return nil, fmt.Errorf("open %s: rows %d to %d are not in the file, which has %d", f.path, from, to, rows)
	}
	for _, c := range columns.Bound {
		if l := &f.leaves[c]; l.field.Fault != "" {
			return nil, &pipeline.FormatError{File: f.path, Column: l.field.Name, What: l.field.Fault, Hint: "write it as text"}
		}
	}
	footer, err := f.footer()
	if err != nil {
		return nil, err
	}
	return newSource(f, footer, from, to, columns), nil
}

// Close implements pipeline.File.
func (f *file) Close() error { return f.os.Close() }
