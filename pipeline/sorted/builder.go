package sorted

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// buckets is the number of files used while a table is built. Records are assigned to them by the
// highest bits of the key.
const buckets = 64

// Builder creates a Table from records in any order. It must not be used concurrently. Records
// that exceed the format's memory limit are written to files in a folder, and Build then needs
// memory for one 64th of them.
type Builder struct {
	format Format
	dir    string
	memory []byte
	files  []*os.File
	pens   []*bufio.Writer
}

// NewBuilder returns a Builder that creates files in dir if needed. dir must exist and be
// accessible only to the owner of the records.
func NewBuilder(f Format, dir string) *Builder { return &Builder{format: f, dir: dir} }

// Add adds a copy of a record.
func (b *Builder) Add(record []byte) error {
	if b.files == nil {
		b.memory = append(b.memory, record...)
		if len(b.memory) <= b.format.memory() {
			return nil
		}
		return b.spill()
	}
	return b.put(record)
}

// AddTable adds the records of a table in order.
func (b *Builder) AddTable(t *Table) error { return t.All(b.Add) }

func (b *Builder) put(record []byte) error {
	if _, err := b.pens[record[0]/(256/buckets)].Write(record); err != nil {
		return fmt.Errorf("sort %s: %w", b.format.Name, err)
	}
	return nil
}

// spill moves the records in memory to files.
func (b *Builder) spill() error {
	for i := range buckets {
		f, err := os.CreateTemp(b.dir, fmt.Sprintf("%s-%02d-*", b.format.Name, i))
		if err != nil {
			return fmt.Errorf("sort %s: %w", b.format.Name, err)
		}
		b.files = append(b.files, f)
		b.pens = append(b.pens, bufio.NewWriterSize(f, 1<<14))
	}
	for r := range slices.Chunk(b.memory, b.format.Size) {
		if err := b.put(r); err != nil {
			return err
		}
	}
	b.memory = nil
	return nil
}

// Build returns the table and closes the Builder.
func (b *Builder) Build() (t *Table, err error) {
	defer b.Close()
	if b.files == nil {
		return &Table{format: b.format, memory: b.format.sort(b.memory)}, nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("sort %s: %w", b.format.Name, err)
		}
	}()
	// The file name is unique because the table of an earlier Builder may still be in use.
	out, err := os.CreateTemp(b.dir, b.format.Name+"-*")
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(out, 1<<16)
	w.Write(b.format.head())
	var n int64
	for i, f := range b.files {
		var records []byte
		if records, err = b.bucket(i); err != nil {
			return nil, errors.Join(err, out.Close())
		}
		records = b.format.sort(records)
		n += int64(len(records) / b.format.Size)
		w.Write(records)
		f.Close()
		os.Remove(f.Name())
	}
	if err := w.Flush(); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return &Table{format: b.format, file: out, n: n}, nil
}

func (b *Builder) bucket(i int) ([]byte, error) {
	if err := b.pens[i].Flush(); err != nil {
		return nil, err
	}
	if _, err := b.files[i].Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	info, err := b.files[i].Stat()
	if err != nil {
		return nil, err
	}
	records := make([]byte, info.Size())
	_, err = io.ReadFull(b.files[i], records)
	return records, err
}

// Close removes the files of the Builder and frees its memory. It has no effect after Build.
func (b *Builder) Close() {
	for _, f := range b.files {
		f.Close()
		os.Remove(f.Name())
	}
	b.memory, b.files = nil, nil
}

// sort returns the records in key order, with records of the same key merged.
func (f *Format) sort(records []byte) []byte {
	type place struct {
		high uint64 // first bytes of the key, which nearly always determine the order
		at   int
	}
	order := make([]place, 0, len(records)/f.Size)
	for at := 0; at < len(records); at += f.Size {
		order = append(order, place{binary.BigEndian.Uint64(records[at:]), at})
	}
	slices.SortFunc(order, func(x, y place) int {
		if c := cmp.Compare(x.high, y.high); c != 0 {
			return c
		}
		if c := bytes.Compare(records[x.at:x.at+f.Key], records[y.at:y.at+f.Key]); c != 0 {
			return c
		}
		return x.at - y.at
	})
	out := make([]byte, 0, len(records))
	for _, p := range order {
		next := records[p.at : p.at+f.Size]
		if n := len(out) - f.Size; n >= 0 && bytes.Equal(out[n:n+f.Key], next[:f.Key]) {
			f.Merge(out[n:], next)
			continue
		}
		out = append(out, next...)
	}
	return out
}
