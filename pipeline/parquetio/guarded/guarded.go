// Package guarded wraps calls to the Parquet library, which trusts much of what a file says: it
// panics on some broken input and allocates memory for however many elements a list claims to
// have. Here both are reported as parquet.ErrCorrupted.
//
// The package depends only on the library and nothing in this module. It does not know what a
// footer, a page or a checkpoint is; the code that decodes them calls the library through it.
package guarded

import (
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
)

// Call runs a function that calls into the library, which panics on some broken input. A panic is
// returned as parquet.ErrCorrupted, and an error is returned unchanged. After an error, the output
// of the call may be partially filled.
func Call(call func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = parquet.ErrCorrupted
		}
	}()
	return call()
}

// Thrift decodes a struct in the compact protocol from the start of b and returns its encoded
// length. Strings and byte slices in it point into b. It is safe for concurrent use.
func Thrift(b []byte, to any) (n int, err error) {
	err = Call(func() error {
		var protocol thrift.CompactProtocol
		r := &checkedReader{protocol.NewReaderFromBytes(b), len(b)}
		err := thrift.NewDecoder(r).Decode(to)
		n = r.BytesRead()
		return err
	})
	return n, err
}

// checkedReader rejects lists that claim more elements than there are bytes left, because the
// library allocates memory for all elements before it reads the first.
type checkedReader struct {
	thrift.BytesReader
	size int
}

func (r *checkedReader) ReadList() (thrift.List, error) {
	l, err := r.BytesReader.ReadList()
	if err == nil && (l.Size < 0 || int(l.Size) > r.size-r.BytesRead()) {
		return l, parquet.ErrCorrupted
	}
	return l, err
}

// Discard skips n bytes. The library expects this method of its own readers.
func (r *checkedReader) Discard(n int) (int, error) {
	return r.BytesReader.(interface{ Discard(int) (int, error) }).Discard(n)
}
