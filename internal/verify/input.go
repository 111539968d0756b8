package verify

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/store/owner"
)

const (
	batchSize = 256 << 10 // bytes of resources that a reader gets at a time
	maxLine   = 64 << 20  // no resource of ours is longer
)

// input is one stream of resources.
type input struct {
	name   string
	path   string // a file; "-" is standard input
	store  string // or the folder of a store
	folder string // the resource type that the folder of the file is named after, if any
}

// batch is a run of resources of one input.
type batch struct {
	input     *input
	first     place
	resources [][]byte
	size      int
}

// openInputs turns arguments into inputs, in order. It opens only folders.
func openInputs(args []string) ([]*input, error) {
	var list []*input
	for _, arg := range args {
		if dir, ok := strings.CutPrefix(arg, "store:"); ok {
			list = append(list, &input{name: arg, store: dir})
			continue
		}
		if arg == "-" {
			list = append(list, &input{name: "standard input", path: arg})
			continue
		}
		path, isTarget := strings.CutPrefix(arg, "ndjson:")
		path, _, _ = strings.Cut(path, "?compress=")
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if isTarget {
				return nil, fmt.Errorf("%w: %s is a file, not a folder", ErrNoInput, arg)
			}
			list = append(list, fileInput(path))
			continue
		}
		files, err := filesOf(path)
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%w: folder %s has no .ndjson or .json files, plain or with .gz or .zst (write a store as store:DIR)", ErrNoInput, path)
		}
		list = append(list, files...)
	}
	return list, nil
}

// fileInput is a file; one below a folder that is named after a resource type must
// hold that type, as FHIR bulk data has it.
func fileInput(path string) *input {
	f := &input{name: path, path: path}
	if parent := filepath.Base(filepath.Dir(path)); known[parent] != nil {
		f.folder = parent
	}
	return f
}

// filesOf lists the NDJSON files of a folder and of those below it, in order; if
// there are none, the JSON files, so that a bulk manifest is not taken for a resource.
func filesOf(dir string) ([]*input, error) {
	var lines, values []*input
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case form(path) == "ndjson":
			lines = append(lines, fileInput(path))
		case form(path) == "json":
			values = append(values, fileInput(path))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(lines) > 0 {
		return lines, nil
	}
	return values, nil
}

// form is the suffix of a file's name, without that of its compression.
func form(path string) string {
	for _, end := range []string{".gz", ".zst"} {
		path = strings.TrimSuffix(path, end)
	}
	return strings.TrimPrefix(filepath.Ext(path), ".")
}

// feed reads the inputs one after the other and hands them out in batches. It returns nil when ctx
// is cancelled.
func feed(ctx context.Context, inputs []*input, batches chan<- *batch) error {
	for i, in := range inputs {
		f := &feeder{ctx: ctx, batches: batches, input: in, next: place{i, 1}}
		err := f.run()
		if err == nil {
			err = f.flush()
		}
		if errors.Is(err, errStopped) {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", in.name, err)
		}
	}
	return ctx.Err()
}

var errStopped = errors.New("stopped")

type feeder struct {
	ctx     context.Context //nolint:containedctx // the life of one input
	batches chan<- *batch
	input   *input
	next    place
	batch   *batch
}

// add hands out a resource; its bytes are copied.
func (f *feeder) add(resource []byte) error {
	if f.batch == nil {
		f.batch = &batch{input: f.input, first: f.next}
	}
	f.batch.resources = append(f.batch.resources, bytes.Clone(resource))
	f.batch.size += len(resource)
	f.next.line++
	if f.batch.size < batchSize {
		return nil
	}
	return f.flush()
}

func (f *feeder) flush() error {
	if f.batch == nil {
		return nil
	}
	select {
	case f.batches <- f.batch:
		f.batch = nil
		return nil
	case <-f.ctx.Done():
		return errStopped
	}
}

func (f *feeder) run() error {
	if f.input.store != "" {
		return f.readStore()
	}
	r, end, err := Open(f.input.path)
	if err != nil {
		return err
	}
	defer end()
	if form(f.input.path) == "json" {
		return f.readValues(r)
	}
	return f.readLines(r)
}

// readStore reads the newest version of every resource.
func (f *feeder) readStore() error {
	if _, err := os.Stat(f.input.store); err != nil {
		return err
	}
	s, err := owner.OpenReader(f.input.store, store.Options{}, owner.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	for e, err := range s.Export(f.ctx) {
		if err != nil {
			return err
		}
		if err := f.add(e.JSON); err != nil {
			return err
		}
	}
	return nil
}

// readLines reads NDJSON. The last line must end with a line feed, or the file may have been cut
// off.
func (f *feeder) readLines(r io.Reader) error {
	lines := bufio.NewReaderSize(r, 1<<20)
	var long []byte
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			if long = append(long, line...); len(long) > maxLine {
				return fmt.Errorf("line %d is longer than %d bytes", f.next.line, maxLine)
			}
			continue
		}
		if len(long) > 0 {
			line = append(long, line...)
			long = line[:0]
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("line %d has no line end; the file may be truncated", f.next.line)
		default:
			return fmt.Errorf("line %d: %w", f.next.line, err)
		}
		if err := f.add(line); err != nil {
			return err
		}
	}
}

// readValues reads JSON values, which may take many lines.
func (f *feeder) readValues(r io.Reader) error {
	d := json.NewDecoder(r)
	for {
		var value json.RawMessage
		err := d.Decode(&value)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return fmt.Errorf("invalid JSON at byte %d", syntax.Offset)
		}
		if err != nil {
			return err
		}
		if err := f.add(value); err != nil {
			return err
		}
	}
}

// Open opens a file of resources and decompresses it by the suffix of its name; "-" is standard
// input. end closes it.
func Open(path string) (r io.Reader, end func(), err error) {
	if path == "-" {
		return os.Stdin, func() {}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	switch filepath.Ext(path) {
	case ".zst":
		z, err := zstd.NewReader(f)
		if err != nil {
			return nil, nil, errors.Join(err, f.Close())
		}
		return z, func() { z.Close(); f.Close() }, nil
	case ".gz":
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("decompress: %w", err), f.Close())
		}
		return z, func() { f.Close() }, nil
	}
	return f, func() { f.Close() }, nil
}
