// Package arrowio reads Arrow IPC files and streams (.arrow, .arrows, Feather version 2). It reads
// the buffers of the requested columns and no others, and checks all of them. Dictionary arrays
// stay index vectors; nested lists are unfolded into rows.
//
// The package determines which columns a file has and which are read, how many rows fit into
// memory at a time, and in which file, row and column an error occurred. Each subpackage handles
// one part and does not depend on this package: package ipc locates the messages in a file,
// package array decodes the batches, and package fault defines the errors of both.
package arrowio

import (
	"context"
	"fmt"
	"os"
	"sync"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/arrowio/array"
	"cpcds2fhir/pipeline/arrowio/fault"
	"cpcds2fhir/pipeline/arrowio/ipc"
	"cpcds2fhir/schemas/cpcds"
)

// Options control how a file is read.
type Options struct {
	// Memory is the maximum size in bytes of decoded data that a source may hold; 0 means no
	// limit. Data that does not fit is written to a temporary file.
	Memory int64

	// Temp is the folder for temporary files; "" means the system's. The files have no name in it.
	Temp string

	// Share is the ratio of the process's memory limit to Memory. It is used to compute the
	// --memory value in hints. 0 means 1.
	Share int64
}

// minSpan is the minimum number of rows in a span, except for the last one: small record batches
// are joined.
const minSpan = 1_000

// A column that has more bytes than bulkBytes in one batch, with values longer than bulkValue on
// average, is not worth keeping with rejected rows.
const (
	bulkBytes = 16 << 20
	bulkValue = 256
)

// file is an open Arrow file. Its state does not change after Open, except for the dictionaries.
type file struct {
	path    string
	options Options
	os      *os.File
	size    int64
	stream  bool
	schema  *array.Schema
	leaves  []leaf
	fields  []cpcds.Field
	lists   []*array.Type

	*ipc.Index
	spans []pipeline.Span

	mu           sync.Mutex
	dictionaries map[int]*dictionary // by type ID: the dictionary that was read last
}

// Open opens an Arrow file and reads its schema and the sizes of its record batches. If the file
// is missing, the error comes from package os; a *pipeline.FormatError describes what is wrong
// with the file's format.
func Open(path string, options Options) (pipeline.File, error) {
	o, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open Arrow file: %w", err)
	}
	f := &file{path: path, options: options, os: o, dictionaries: map[int]*dictionary{}}
	if err := f.read(); err != nil {
		o.Close()
		return nil, err
	}
	return f, nil
}

func (f *file) read() error {
	info, err := f.os.Stat()
	if err != nil {
		return fmt.Errorf("open Arrow file: %w", err)
	}
	f.size = info.Size()
	if err := f.checkMagic(); err != nil {
		return err
	}
	err = fault.Guard(func() (err error) {
		if f.stream {
			f.Index, err = ipc.IndexStream(f.os, f.size, f.visit)
		} else {
			f.Index, err = ipc.IndexFile(f.os, f.size, f.visit)
		}
		if err == nil {
			err = f.readSchema(f.Index)
		}
		return err
	})
	if err != nil {
		return f.describe(0, "", err)
	}
	if len(f.leaves) == 0 {
		return f.fault("has no columns", "")
	}
	for i := range f.leaves {
		f.fields = append(f.fields, f.leaves[i].field)
	}
	f.spans = f.spansOf()
	return nil
}

// readSchema reads the schema, unless it has already been read.
func (f *file) readSchema(x *ipc.Index) (err error) {
	if f.schema != nil {
		return nil
	}
	if f.schema, err = array.ParseSchema(&x.Schema); err != nil {
		return err
	}
	f.leaves, f.lists = leavesOf(f.schema)
	return nil
}

// visit detects bulk columns in a batch.
func (f *file) visit(x *ipc.Index, m *ipc.Message) error {
	if err := f.readSchema(x); err != nil {
		return err
	}
	switch m.Kind {
	case ipc.KindRecordBatch:
		spots, err := f.schema.Locate(m)
		if err != nil {
			return err
		}
		for i := range f.leaves {
			f.leaves[i].note(spots.BytesOf(m, f.leaves[i].typ), m.Rows)
		}
	case ipc.KindDictionary:
		size := int64(0)
		for _, b := range m.Buffers {
			size += max(b.Length, 0)
		}
		for i := range f.leaves {
			if x := f.leaves[i].typ.Encoded(); x.Values != nil && x.Dict == m.ID {
				f.leaves[i].note(size, m.Rows)
			}
		}
	}
	return nil
}

// note marks the column as bulk if a batch has much data for it.
func (l *leaf) note(size, rows int64) {
	l.field.Bulk = l.field.Bulk || size > bulkBytes && size/max(rows, 1) > bulkValue
}

// checkMagic distinguishes files from streams, and detects the usual kinds of damage.
func (f *file) checkMagic() error {
	if f.size == 0 {
		return f.fault("is empty", "")
	}
	var head, tail [len(ipc.Magic)]byte
	if f.size < 2*int64(len(ipc.Magic)) {
		return f.fault("is too short to be an Arrow file", "was the copy complete?")
	}
	if _, err := f.os.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("read Arrow header: %w", err)
	}
	if _, err := f.os.ReadAt(tail[:], f.size-int64(len(ipc.Magic))); err != nil {
		return fmt.Errorf("read Arrow footer: %w", err)
	}
	switch {
	case string(head[:4]) == "FEA1":
		return f.fault("is a Feather file of version 1", "write it as version 2, which is Arrow IPC")
	case string(head[:4]) == "\xff\xff\xff\xff":
		f.stream = true
	case string(head[:]) != ipc.Magic && ipc.IsOldStream(f.os, f.size):
		f.stream = true
	case string(head[:]) != ipc.Magic:
		return f.fault("is not an Arrow file", "")
	case string(tail[:]) != ipc.Magic:
		return f.fault("is truncated: the Arrow footer is missing", "was the copy complete?")
	}
	return nil
}

// spansOf divides the rows into spans. A stream is a single span, so that lanes are the same as
// when it was not yet possible to start reading in the middle of a stream.
func (f *file) spansOf() []pipeline.Span {
	var spans []pipeline.Span
	var open pipeline.Span
	for i, b := range f.Batches {
		open.Rows += b.Rows
		last := i == len(f.Batches)-1
		if open.Rows > 0 && (last || !f.stream && open.Rows >= minSpan) {
			spans = append(spans, open)
			open = pipeline.Span{First: open.First + open.Rows}
		}
	}
	return spans
}

// Fields implements pipeline.File.
func (f *file) Fields() []cpcds.Field { return f.fields }

// Spans implements pipeline.File. It reads nothing because Open has read the sizes.
func (f *file) Spans(context.Context) ([]pipeline.Span, error) { return f.spans, nil }

// Open implements pipeline.File. Lists without a bound column are not unfolded: they add no rows.
func (f *file) Open(_ context.Context, from, to int64, columns pipeline.Columns) (pipeline.Source, error) {
	var rows int64
	if n := len(f.Batches); n > 0 {
		rows = f.Batches[n-1].First + f.Batches[n-1].Rows
	}
	if from < 0 || from > to || to > rows {
		return nil, fmt.Errorf("open %s: rows %d to %d are not in the file, which has %d", f.path, from, to, rows)
	}
	return newSource(f, from, to, columns), nil
}

// Close implements pipeline.File.
func (f *file) Close() error { return f.os.Close() }

func (f *file) fault(what, hint string) error {
	return &pipeline.FormatError{File: f.path, What: what, Hint: hint}
}
