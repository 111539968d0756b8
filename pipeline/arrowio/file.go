// Package arrowio reads Arrow IPC files and streams (.arrow, .arrows, Feather
// version 2).
// Dictionary arrays stay index vectors; nested lists are unfolded into rows.
package arrowio

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
)

// Options say how a file is read. There is nothing to choose yet.
type Options struct{}

// minSpan is the least number of rows of a span, but for the last one: small
// record batches are joined.
const minSpan = 1_000

// file is an open Arrow file. But for the idle readers its state does not change
// after Open.
type file struct {
	path   string
	os     *os.File
	size   int64
	stream bool
	leaves []leaf
	fields []cpcds.Field
	lists  int

	batches []batch
	spans   []pipeline.Span

	mu   sync.Mutex
	idle []*fileReader // of the file format; a reader keeps the dictionaries of the file
}

// batch is where the rows of one record batch are.
type batch struct{ first, rows int64 }

// Open opens an Arrow file and reads its schema and the sizes of its record
// batches. A missing file is an error of package os; a *pipeline.FormatError says
// what is wrong with the form of a file, or which column has a type that cannot
// become text.
func Open(path string, _ Options) (pipeline.File, error) {
	o, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open Arrow file: %w", err)
	}
	f := &file{path: path, os: o}
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
	// The sizes first: reading them checks what the library trusts.
	rows, err := f.batchRows()
	if err != nil {
		return f.describe(0, err)
	}
	schema, err := f.readSchema()
	if err != nil {
		return f.describe(0, err)
	}
	if f.leaves, f.lists, err = leavesOf(schema); err != nil {
		var fault *pipeline.FormatError
		if errors.As(err, &fault) {
			fault.File = f.path
		}
		return err
	}
	if len(f.leaves) == 0 {
		return f.fault("has no columns", "")
	}
	for i := range f.leaves {
		f.fields = append(f.fields, f.leaves[i].field)
	}
	var first int64
	for _, n := range rows {
		f.batches = append(f.batches, batch{first, n})
		first += n
	}
	f.spans = f.spansOf()
	return nil
}

const magic = "ARROW1"

// checkMagic tells the forms, and the usual accidents, apart.
func (f *file) checkMagic() error {
	if f.size == 0 {
		return f.fault("is empty", "")
	}
	var head, tail [len(magic)]byte
	if f.size < 2*int64(len(magic)) {
		return f.fault("is too short to be an Arrow file", "was the copy complete?")
	}
	if _, err := f.os.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("read Arrow header: %w", err)
	}
	if _, err := f.os.ReadAt(tail[:], f.size-int64(len(magic))); err != nil {
		return fmt.Errorf("read Arrow footer: %w", err)
	}
	switch {
	case string(head[:4]) == "FEA1":
		return f.fault("is a Feather file of version 1", "write it as version 2, which is Arrow IPC")
	case string(head[:4]) == "\xff\xff\xff\xff":
		f.stream = true
	case string(head[:]) != magic:
		return f.fault("is not an Arrow file", "")
	case string(tail[:]) != magic:
		return f.fault("is truncated: the Arrow footer is missing", "was the copy complete?")
	}
	return nil
}

func (f *file) readSchema() (*arrow.Schema, error) {
	var schema *arrow.Schema
	err := guard(func() error {
		if f.stream {
			r, err := ipc.NewReader(f.section(), ipc.WithAllocator(&allocator{}))
			if err != nil {
				return err
			}
			defer r.Release()
			schema = r.Schema()
			return nil
		}
		r, err := f.borrow()
		if err != nil {
			return err
		}
		schema = r.arrow.Schema()
		f.giveBack(r)
		return nil
	})
	return schema, err
}

// batchRows returns the rows of each record batch.
func (f *file) batchRows() (rows []int64, err error) {
	err = guard(func() error {
		if f.stream {
			rows, err = streamRows(f.os, f.size)
		} else {
			rows, err = fileRows(f.os, f.size)
		}
		return err
	})
	return rows, err
}

// section reads the file from its beginning. Streams are read in small pieces, so
// it is buffered.
func (f *file) section() io.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(f.os, 0, f.size), 1<<16)
}

// spansOf cuts the rows into spans. A stream cannot be entered in the middle.
func (f *file) spansOf() []pipeline.Span {
	var spans []pipeline.Span
	var open pipeline.Span
	for i, b := range f.batches {
		open.Rows += b.rows
		last := i == len(f.batches)-1
		if open.Rows > 0 && (last || !f.stream && open.Rows >= minSpan) {
			spans = append(spans, open)
			open = pipeline.Span{First: open.First + open.Rows}
		}
	}
	return spans
}

// Fields implements pipeline.File.
func (f *file) Fields() []cpcds.Field { return f.fields }

// Spans implements pipeline.File. It costs nothing: Open has read the sizes.
func (f *file) Spans(context.Context) ([]pipeline.Span, error) { return f.spans, nil }

// Open implements pipeline.File. Lists of which no column is asked for are not
// unfolded: they add no rows. A lane of a stream reads it from its beginning.
func (f *file) Open(_ context.Context, from, to int64, columns []int) (pipeline.Source, error) {
	if columns == nil {
		for i := range f.leaves {
			columns = append(columns, i)
		}
	}
	var rows int64
	if n := len(f.batches); n > 0 {
		rows = f.batches[n-1].first + f.batches[n-1].rows
	}
	if from < 0 || from > to || to > rows {
		return nil, fmt.Errorf("open %s: rows %d to %d are not in the file, which has %d", f.path, from, to, rows)
	}
	return newSource(f, from, to, columns), nil
}

// Close implements pipeline.File.
func (f *file) Close() error {
	for _, r := range f.idle {
		r.arrow.Close()
	}
	return f.os.Close()
}

func (f *file) fault(what, hint string) error {
	return &pipeline.FormatError{File: f.path, What: what, Hint: hint}
}

// describe turns an error of the library into one that names the place. What the
// library says is left out: it may quote the data. row counts from 1; 0 means the
// file as a whole.
func (f *file) describe(row int64, err error) error {
	var disk *os.PathError
	var fault *pipeline.FormatError
	if errors.As(err, &disk) || errors.As(err, &fault) {
		return err
	}
	what := "is corrupt: a part of it cannot be decoded"
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		what = "is truncated: it ends within a record batch or before the end mark"
	}
	return &pipeline.FormatError{File: f.path, Row: row, What: what, Hint: "was the copy complete?"}
}

// errCorrupt stands for a panic of the library, which checks little of what it
// reads.
var errCorrupt = errors.New("corrupt Arrow data")

func guard(call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errCorrupt
		}
	}()
	return call()
}
