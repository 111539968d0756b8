package synth

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"unsafe"
)

// shuffler puts the rows of the claims tables into random order: each row has a random place, which
// determines its bucket, a file; a bucket is then read, sorted by place and written as one part.
// The result does not depend on the order in which rows arrive.
type shuffler struct {
	dir    string
	pages  *pages
	tables [][]*bucket // parallel to pages.tables
}

// bucket is a file of rows to be sorted.
type bucket struct {
	mu   sync.Mutex
	file *os.File
	buf  *bufio.Writer
}

// mostBuckets limits the open files of a table. Up to that number, a bucket has about as many rows
// as the options say, which limits the memory for sorting it.
const mostBuckets = 256

// rowsPerClaim is the number of rows of a table per ten claims, to choose the number of buckets.
var rowsPerClaim = map[string]int{claimsTable: 70, headersTable: 10, "claim_lines": 65, "claim_diagnoses": 25, "claim_procedures": 2, "claim_care_team": 2}

func newShuffler(opt *Options) (*shuffler, error) {
	dir, err := os.MkdirTemp(opt.Dir, ".shuffle-")
	if err != nil {
		return nil, fmt.Errorf("create a folder for the shuffle: %w", err)
	}
	s := &shuffler{dir: dir, pages: newPages(opt)}
	for t, table := range s.pages.tables {
		n := min(max(opt.Claims*rowsPerClaim[table]/10/opt.bucketRows, 1), mostBuckets)
		s.tables = append(s.tables, nil)
		for i := range n {
			f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%s-%05d", table, i)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				s.remove()
				return nil, fmt.Errorf("create a file for the shuffle: %w", err)
			}
			s.tables[t] = append(s.tables[t], &bucket{file: f, buf: bufio.NewWriterSize(f, 1<<16)})
		}
	}
	return s, nil
}

// remove closes and removes all files.
func (s *shuffler) remove() {
	for _, buckets := range s.tables {
		for _, b := range buckets {
			b.file.Close()
		}
	}
	os.RemoveAll(s.dir)
}

// writer returns a writer for the rows of one part.
func (s *shuffler) writer() pageWriter { return &rowScatterer{shuffler: s} }

// rowScatterer writes rows to their buckets.
type rowScatterer struct {
	shuffler *shuffler
	record   []byte
}

func (r *rowScatterer) close() error { return nil }

func (r *rowScatterer) write(p *pages) error {
	for t, columnBuffer := range p.columnBuffers {
		buckets := r.shuffler.tables[t]
		for row, key := range columnBuffer.keys {
			r.encode(columnBuffer, row, key)
			if err := buckets[key%uint64(len(buckets))].write(r.record); err != nil {
				return fmt.Errorf("write shuffled row: %w", err)
			}
		}
	}
	return nil
}

// encode makes the record of a row: its place, its length, and the filled cells,
// each with the distance to the cell before it.
func (r *rowScatterer) encode(s *columnBuffer, row int, key uint64) {
	b := binary.LittleEndian.AppendUint64(r.record[:0], key)
	b = append(b, 0, 0, 0, 0)
	last := -1
	for c := range s.cells {
		v := s.cells[c][row]
		if v == "" {
			continue
		}
		b = binary.AppendUvarint(b, uint64(c-last))
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
		last = c
	}
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-12))
	r.record = b
}

func (b *bucket) write(record []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, err := b.buf.Write(record)
	return err
}

// jobs are the jobs that write the buckets as parts of w.
func (s *shuffler) jobs(w *writer) []func(context.Context) error {
	var jobs []func(context.Context) error
	for t := range s.tables {
		for i := range s.tables[t] {
			jobs = append(jobs, func(ctx context.Context) error { return s.gather(ctx, w, t, i) })
		}
	}
	return jobs
}

// gather writes the rows of one bucket in the order of their places.
func (s *shuffler) gather(ctx context.Context, w *writer, t, part int) (err error) {
	rows, err := s.tables[t][part].sorted()
	if err != nil {
		return fmt.Errorf("read shuffled rows: %w", err)
	}
	elements := s.pages.columnBuffers[t].elements
	out, err := w.open(s.pages.tables[t], part, elements)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.close()) }()
	columnBuffer := newColumnBuffer(elements)
	for chunk := range slices.Chunk(rows, batchRows) {
		columnBuffer.reset()
		for _, r := range chunk {
			r.decode(columnBuffer)
		}
		if err := out.write(columnBuffer); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// setAside is a row read from a bucket.
type setAside struct {
	key   uint64
	cells []byte
}

// sorted reads the bucket and frees its space on disk.
func (b *bucket) sorted() ([]setAside, error) {
	if err := b.buf.Flush(); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(b.file.Name())
	if err != nil {
		return nil, err
	}
	if err := b.file.Truncate(0); err != nil {
		return nil, err
	}
	var rows []setAside
	for len(data) > 0 {
		n := 12 + binary.LittleEndian.Uint32(data[8:])
		rows = append(rows, setAside{binary.LittleEndian.Uint64(data), data[12:n]})
		data = data[n:]
	}
	slices.SortFunc(rows, func(x, y setAside) int { return cmp.Compare(x.key, y.key) })
	return rows, nil
}

// decode appends the row to a columnBuffer. The cells point into the row.
func (r setAside) decode(s *columnBuffer) {
	at := -1
	for b := r.cells; len(b) > 0; {
		gap, n := binary.Uvarint(b)
		b = b[n:]
		size, n := binary.Uvarint(b)
		b = b[n:]
		for c := at + 1; c < at+int(gap); c++ {
			s.cells[c] = append(s.cells[c], "")
		}
		at += int(gap)
		s.cells[at] = append(s.cells[at], unsafe.String(unsafe.SliceData(b), int(size)))
		b = b[size:]
	}
	for c := at + 1; c < len(s.cells); c++ {
		s.cells[c] = append(s.cells[c], "")
	}
}
