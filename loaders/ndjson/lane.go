package ndjson

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// lane is the state of one lane: what is committed, and the files that are open.
// One goroutine uses it at a time.
type lane struct {
	l    *Loader
	name string

	// committed is the sum of the journal. Nothing else survives a failed Load.
	committed record
	read      bool // committed has been read
	live      bool // the files are open and agree with committed
	external  bool // whoever uses the lane keeps committed, not a journal

	parts   [numTypes]*partWriter // nil: none open
	lastSeq [numTypes]int
	rolled  []*partWriter // complete since the last commit
	unnamed []partState   // complete and committed, still under their temporary name
	temps   map[string]bool

	journal      file
	journalBytes int64
	line         []byte // memory for a record
}

// load makes a batch durable, with its checkpoint. After an error the lane must be restored: files
// and digests may be ahead of committed.
func (ln *lane) load(ctx context.Context, b *fhir.Batch, cp pipeline.Checkpoint, s *scratch) error {
	ln.live = false
	if err := ln.write(b, s); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	began := ln.l.opts.Stages.Now()
	if err := ln.sync(); err != nil {
		return err
	}
	if err := ln.commit(cp); err != nil {
		return err
	}
	ln.l.opts.Stages.Since(pipeline.StageSync, began)
	ln.live = true
	// The commit holds. If a rename fails here, the next Load or Finish repeats it and reports the
	// error.
	_ = ln.nameParts()
	return nil
}

// write writes the lines of a batch to the files: consecutive lines of one type at once, or only
// those of one piece if they are compressed. It starts a new part when one is full; where that is
// depends only on the lines, not on how they were batched.
func (ln *lane) write(b *fhir.Batch, s *scratch) error {
	from := 0 // first line not yet written
	for i := range b.Len() {
		t := b.Type(i)
		if b.Deleted(i) {
			if i > from {
				if err := ln.append(b, from, i, s); err != nil {
					return err
				}
			}
			from = i + 1
			continue
		}
		w := ln.parts[typeName(t)]
		full := w != nil && w.Raw+int64(waiting(b, from, i, t)) >= ln.l.opts.RollBytes
		if i > from && (full || t != b.Type(from) || s.compress != nil && b.IsCut(i)) {
			if err := ln.append(b, from, i, s); err != nil {
				return err
			}
			from = i
		}
		if full {
			ln.roll(typeName(t))
		}
		if ln.parts[typeName(t)] == nil {
			if err := ln.create(typeName(t)); err != nil {
				return err
			}
		}
	}
	if from == b.Len() {
		return nil
	}
	return ln.append(b, from, b.Len(), s)
}

// waiting is how many bytes are waiting for the file of a type.
func waiting(b *fhir.Batch, from, to int, t fhir.Type) int {
	if from == to || b.Type(from) != t {
		return 0
	}
	return len(b.Lines(from, to))
}

// append writes the lines [from, to), which are of one type, to its part.
func (ln *lane) append(b *fhir.Batch, from, to int, s *scratch) error {
	var err error
	s.packed, err = ln.parts[typeName(b.Type(from))].append(b.Lines(from, to), int64(to-from), s.compress, s.packed)
	return err
}

func (ln *lane) create(t typeName) error {
	return ln.createAs(t, ln.lastSeq[t]+1)
}

func (ln *lane) createAs(t typeName, seq int) error {
	ln.temps[tempPath(ln.l.partPath(t, ln.name, seq))] = true // also if it fails, which may leave a file
	w, err := ln.l.createPart(t, ln.name, seq)
	if err != nil {
		return err
	}
	ln.parts[t], ln.lastSeq[t] = w, seq
	return nil
}

// roll completes a part. Its name changes after the commit.
func (ln *lane) roll(t typeName) {
	ln.rolled = append(ln.rolled, ln.parts[t])
	ln.parts[t] = nil
}

func (ln *lane) rollAll() {
	for t, w := range ln.parts {
		if w != nil {
			ln.roll(typeName(t))
		}
	}
}

// open returns the parts that are open, the rolled ones first.
func (ln *lane) open() []*partWriter {
	open := ln.rolled[:len(ln.rolled):len(ln.rolled)]
	for _, w := range ln.parts {
		if w != nil {
			open = append(open, w)
		}
	}
	return open
}

// sync makes contents and names of the files durable that were written to.
func (ln *lane) sync() error {
	folders := map[string]bool{}
	for _, w := range ln.open() {
		if err := w.sync(); err != nil {
			return err
		}
		if w.fresh {
			folders[filepath.Dir(w.path)], folders[ln.l.dir] = true, true
		}
	}
	for folder := range folders {
		if err := ln.l.fs.SyncDir(folder); err != nil {
			return fmt.Errorf("sync folder: %w", err)
		}
	}
	for _, w := range ln.open() {
		w.fresh = false
	}
	return nil
}

// commit appends the record that commits what was synced. A lane that is done needs no open files.
func (ln *lane) commit(cp pipeline.Checkpoint) error {
	if cp.Done {
		ln.rollAll()
	}
	r, err := ln.state()
	if err != nil {
		return err
	}
	r.Checkpoint = cp
	if err := ln.appendJournal(&r); err != nil {
		return err
	}
	ln.committedAs(r)
	if cp.Done {
		ln.closeFiles()
	}
	return nil
}

// state is the record that commits the files as they are.
func (ln *lane) state() (r record, err error) {
	for _, w := range ln.rolled {
		r.Closed = append(r.Closed, w.closed())
	}
	for _, w := range ln.parts {
		if w == nil {
			continue
		}
		s, err := w.open()
		if err != nil {
			return r, err
		}
		r.Open = append(r.Open, s)
	}
	return r, nil
}

// committedAs takes over a record that is durable.
func (ln *lane) committedAs(r record) {
	ln.unnamed = append(ln.unnamed, r.Closed...)
	r.Closed = append(ln.committed.Closed, r.Closed...)
	ln.committed = r
	for _, w := range ln.rolled {
		w.file.Close() // its contents are durable
	}
	ln.rolled = ln.rolled[:0]
}

func (ln *lane) appendJournal(r *record) error {
	if ln.journal == nil {
		if err := ln.openJournal(); err != nil {
			return err
		}
	}
	var err error
	if ln.line, err = appendRecord(ln.line[:0], r); err != nil {
		return err
	}
	if _, err := ln.journal.WriteAt(ln.line, ln.journalBytes); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if err := ln.journal.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", ln.l.journalPath(ln.name), err)
	}
	ln.journalBytes += int64(len(ln.line))
	return nil
}

// openJournal makes a journal that holds only committed, and opens it. What a failed Load or a
// crash left after the last record goes with the old file.
func (ln *lane) openJournal() error {
	if ln.journal != nil {
		ln.journal.Close()
		ln.journal = nil
	}
	var err error
	if ln.line, err = appendRecord(ln.line[:0], &ln.committed); err != nil {
		return err
	}
	path := ln.l.journalPath(ln.name)
	if err := writeFile(ln.l.fs, path, ln.line); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if ln.journal, err = ln.l.fs.Open(path); err != nil {
		return fmt.Errorf("open journal: %w", err)
	}
	ln.journalBytes = int64(len(ln.line))
	return nil
}

// nameParts tidies a lane between two Loads: complete parts get their final names, and a long
// journal is compacted.
func (ln *lane) nameParts() error {
	folders := map[string]bool{}
	for _, s := range ln.unnamed {
		path := ln.l.partPath(s.Type, ln.name, s.Seq)
		if ln.temps[tempPath(path)] {
			// A rename that reported an error may have succeeded.
			err := ln.l.fs.Rename(tempPath(path), path)
			if errors.Is(err, fs.ErrNotExist) {
				err = checkSize(ln.l.fs, path, s.Bytes)
			}
			if err != nil {
				return fmt.Errorf("name part: %w", err)
			}
			delete(ln.temps, tempPath(path))
		}
		folders[filepath.Dir(path)] = true
	}
	for folder := range folders {
		if err := ln.l.fs.SyncDir(folder); err != nil {
			return fmt.Errorf("sync folder: %w", err)
		}
	}
	ln.unnamed = ln.unnamed[:0]
	if ln.journalBytes > compactBytes {
		return ln.openJournal()
	}
	return nil
}

// drop closes the files of a lane and forgets what is not committed.
func (ln *lane) drop() {
	ln.live = false
	ln.closeFiles()
}

// closeFiles closes what is open. Everything that matters is synced, so errors of Close do not
// matter.
func (ln *lane) closeFiles() {
	for _, w := range ln.open() {
		w.file.Close()
	}
	ln.parts = [numTypes]*partWriter{}
	ln.rolled = ln.rolled[:0]
	if ln.journal != nil {
		ln.journal.Close()
		ln.journal = nil
	}
}

// finish completes the open parts of a lane and gives all parts their final names.
func (ln *lane) finish() error {
	if len(ln.committed.Open) > 0 {
		ln.live = false
		ln.rollAll()
		if err := ln.commit(ln.committed.Checkpoint); err != nil {
			return err
		}
		ln.live = true
	}
	return ln.nameParts()
}
