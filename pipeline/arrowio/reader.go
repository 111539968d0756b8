package arrowio

import (
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// reader hands out record batches by number, which does not go down. A record
// holds until release.
type reader interface {
	record(i int) (arrow.Record, error)
	close()
}

// fileReader reads batches of the file format. It is not safe for concurrent use,
// as the library's is not; lanes borrow one from the file.
type fileReader struct {
	of    *file
	arrow *ipc.FileReader
}

// borrow returns a reader that nobody uses.
func (f *file) borrow() (*fileReader, error) {
	f.mu.Lock()
	if n := len(f.idle); n > 0 {
		r := f.idle[n-1]
		f.idle = f.idle[:n-1]
		f.mu.Unlock()
		return r, nil
	}
	f.mu.Unlock()
	r, err := ipc.NewFileReader(io.NewSectionReader(f.os, 0, f.size), ipc.WithAllocator(&allocator{}))
	if err != nil {
		return nil, err
	}
	return &fileReader{of: f, arrow: r}, nil
}

func (f *file) giveBack(r *fileReader) {
	f.mu.Lock()
	f.idle = append(f.idle, r)
	f.mu.Unlock()
}

func (r *fileReader) record(i int) (arrow.Record, error) { return r.arrow.RecordAt(i) }

func (r *fileReader) close() { r.of.giveBack(r) }

// streamReader reads the batches of a stream one after the other.
type streamReader struct {
	arrow *ipc.Reader
	next  int
}

func (r *streamReader) record(i int) (arrow.Record, error) {
	for {
		if !r.arrow.Next() {
			if err := r.arrow.Err(); err != nil {
				return nil, err
			}
			return nil, io.ErrUnexpectedEOF
		}
		r.next++
		if r.next > i {
			rec := r.arrow.Record()
			rec.Retain()
			return rec, nil
		}
	}
}

func (r *streamReader) close() { r.arrow.Release() }

// allocator allocates buffers of record batches. It refuses sizes that only a
// corrupt file asks for; the panic becomes an error in guard.
type allocator struct{ memory.GoAllocator }

const maxBuffer = 1 << 30

func (a *allocator) Allocate(size int) []byte {
	checkSize(size)
	return a.GoAllocator.Allocate(size)
}

func (a *allocator) Reallocate(size int, b []byte) []byte {
	checkSize(size)
	return a.GoAllocator.Reallocate(size, b)
}

func checkSize(size int) {
	if size < 0 || size > maxBuffer {
		panic(errCorrupt)
	}
}

// reader opens the batches of the file.
func (f *file) reader() (reader, error) {
	if !f.stream {
		return f.borrow()
	}
	r, err := ipc.NewReader(f.section(), ipc.WithAllocator(&allocator{}))
	if err != nil {
		return nil, err
	}
	return &streamReader{arrow: r}, nil
}
