// Package sorted implements tables of fixed-size records sorted by key. Small tables are in memory
// and others in a file, so a table of any size takes the same amount of memory. Keys are hashes,
// so the position of a key can be estimated, and a lookup reads one or two pages.
package sorted

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
)

// Format describes the records of a table.
type Format struct {
	Name string // of the table; it is written to the file header
	Size int    // bytes per record
	Key  int    // leading bytes that form the key, at least 8; the first 8 should be random

	Memory int // maximum bytes of records in memory; larger tables are in a file; 0 means 8 MiB

	// Merge merges next, a later record with the same key, into old.
	Merge func(old, next []byte)
}

const headSize = 64

func (f *Format) memory() int {
	if f.Memory == 0 {
		return 8 << 20
	}
	return f.Memory
}

// head returns the file header: the name and version of the table.
func (f *Format) head() []byte {
	b := make([]byte, headSize)
	copy(b, fmt.Sprintf("cpcds2fhir %s 3, records of %d bytes\n", f.Name, f.Size))
	return b
}

// Table is a complete table. The zero value is an empty table. Except for Save and Close, it is
// safe for concurrent use.
type Table struct {
	format Format
	memory []byte   // all records, if file is nil
	file   *os.File // otherwise a file with n records
	n      int64
}

// ErrFormat means that a file does not contain the expected table.
var ErrFormat = errors.New("not written by this version of the program")

// Open opens the file of a table. If the file does not exist, the table is empty.
func Open(f Format, path string) (*Table, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &Table{format: f}, nil
	}
	if err != nil {
		return nil, err
	}
	t := &Table{format: f, file: file}
	head := make([]byte, headSize)
	info, err := file.Stat()
	if err == nil {
		_, err = io.ReadFull(file, head)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && (!bytes.Equal(head, f.head()) || (info.Size()-headSize)%int64(f.Size) != 0) {
		err = ErrFormat
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	t.n = (info.Size() - headSize) / int64(f.Size)
	if t.n*int64(f.Size) > int64(f.memory()) {
		return t, nil
	}
	t.memory = make([]byte, info.Size()-headSize)
	_, err = io.ReadFull(file, t.memory)
	t.file = nil
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Len returns the number of records.
func (t *Table) Len() int64 {
	if t.file != nil {
		return t.n
	}
	if t.format.Size == 0 {
		return 0
	}
	return int64(len(t.memory) / t.format.Size)
}

// Save stores the table durably and atomically at path, readable only by its owner. If the table
// is in a file of the Builder, that file is renamed to path, so both must be on the same file
// system.
func (t *Table) Save(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	from, f := path+".tmp", t.file
	if f != nil {
		if from = f.Name(); from == path {
			return nil
		}
	} else {
		var err error
		if f, err = os.OpenFile(from, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
			return err
		}
		defer f.Close()
		w := bufio.NewWriter(f)
		w.Write(t.format.head())
		w.Write(t.memory)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(from, path)
}

// Close closes the file, if there is one.
func (t *Table) Close() {
	if t.file != nil {
		t.file.Close()
	}
}

// Remove closes a table that was not saved and deletes its file.
func (t *Table) Remove() {
	t.Close()
	if t.file != nil {
		os.Remove(t.file.Name())
	}
}

// All calls f for every record, in key order. A record is valid only during the call.
func (t *Table) All(f func(record []byte) error) error {
	page := pages.Get().(*[pageSize]byte)
	defer pages.Put(page)
	for i := int64(0); i < t.Len(); i += t.perPage() {
		b, err := t.read(i, min(t.perPage(), t.Len()-i), page)
		if err != nil {
			return err
		}
		for ; len(b) > 0; b = b[t.format.Size:] {
			if err := f(b[:t.format.Size]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Find calls f for the records whose keys begin with prefix, in key order. prefix must have at
// least 8 bytes. A record is valid only during the call.
func (t *Table) Find(prefix []byte, f func(record []byte)) error {
	if t.Len() == 0 {
		return nil
	}
	page := pages.Get().(*[pageSize]byte)
	defer pages.Put(page)
	b, next, err := t.seek(prefix, page)
	for err == nil {
		for ; len(b) > 0; b = b[t.format.Size:] {
			if !bytes.HasPrefix(b, prefix) {
				return nil
			}
			f(b[:t.format.Size])
		}
		if next == t.Len() {
			return nil
		}
		n := min(t.perPage(), t.Len()-next)
		b, err = t.read(next, n, page)
		next += n
	}
	return err
}

const pageSize = 4 << 10

var pages = sync.Pool{New: func() any { return new([pageSize]byte) }}

func (t *Table) perPage() int64 { return int64(pageSize / t.format.Size) }

// read returns n records, at most a page, starting at index i.
func (t *Table) read(i, n int64, page *[pageSize]byte) ([]byte, error) {
	size := int64(t.format.Size)
	if t.file == nil {
		return t.memory[i*size : (i+n)*size], nil
	}
	b := page[:n*size]
	if _, err := t.file.ReadAt(b, headSize+i*size); err != nil {
		return nil, fmt.Errorf("read %s: %w", t.format.Name, err)
	}
	return b, nil
}

// seek returns records starting with the first one whose key is not less than key, possibly none,
// and the index of the record that follows them.
func (t *Table) seek(key []byte, page *[pageSize]byte) (b []byte, next int64, err error) {
	size, perPage := t.format.Size, t.perPage()
	before := func(b []byte, i int) bool { return bytes.Compare(b[i*size:i*size+len(key)], key) < 0 }
	x := float64(binary.BigEndian.Uint64(key))
	low, high := int64(0), t.Len() // range of indexes that contains the record
	lowKey, highKey := 0.0, float64(1<<64)
	for probe := 0; ; probe++ {
		n := min(perPage, high-low)
		at := low
		if high-low > perPage {
			share := 0.5
			if probe%4 < 3 && highKey > lowKey { // bisect now and then, in case the keys are not random enough
				share = (x - lowKey) / (highKey - lowKey)
			}
			at = min(max(low+int64(share*float64(high-low))-perPage/2, low), high-perPage)
		}
		if b, err = t.read(at, n, page); err != nil {
			return nil, 0, err
		}
		last := int(n) - 1
		switch {
		case at > low && !before(b, 0):
			high, highKey = at, float64(binary.BigEndian.Uint64(b))
		case at+n < high && before(b, last):
			low, lowKey = at+n, float64(binary.BigEndian.Uint64(b[last*size:]))
		default:
			i := sort.Search(int(n), func(i int) bool { return !before(b, i) })
			return b[i*size:], at + n, nil
		}
	}
}
