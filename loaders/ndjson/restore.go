package ndjson

import (
	"errors"
	"fmt"
	"io/fs"
)

// ready brings a lane and its files to the committed state, unless they are there.
func (ln *lane) ready() error {
	if ln.live {
		return nil
	}
	ln.drop()
	if !ln.read {
		r, err := ln.l.readJournal(ln.name)
		if err != nil {
			return err
		}
		ln.committed = r
		if err := ln.findClosed(); err != nil {
			return err
		}
		ln.read = true
	}
	if ln.l.finished == nil {
		if err := ln.restore(); err != nil {
			ln.drop()
			return fmt.Errorf("restore lane %s: %w", ln.name, err)
		}
	}
	ln.live = true
	return nil
}

// findClosed checks that the complete parts are there, and finds those that
// still need their final names. Parts of a stream may have been taken away.
func (ln *lane) findClosed() error {
	ln.unnamed = ln.unnamed[:0]
	for _, s := range ln.committed.Closed {
		path := ln.l.partPath(s.Type, ln.name, s.Seq)
		if ln.temps[tempPath(path)] {
			ln.unnamed = append(ln.unnamed, s)
			path = tempPath(path)
		}
		err := checkSize(ln.l.fs, path, s.Bytes)
		if altered, ok := errors.AsType[*AlteredError](err); ok && ln.external && altered.Size < 0 {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// restore undoes what was done after the last commit. The journal comes first: it may hold a record
// whose commit failed, and that record must not outlive the bytes it describes.
func (ln *lane) restore() error {
	if !ln.external {
		if err := ln.openJournal(); err != nil {
			return err
		}
	}
	keep := map[string]bool{}
	ln.lastSeq = [numTypes]int{}
	for _, s := range ln.committed.Closed {
		ln.lastSeq[s.Type] = max(ln.lastSeq[s.Type], s.Seq)
		keep[tempPath(ln.l.partPath(s.Type, ln.name, s.Seq))] = true
	}
	for _, s := range ln.committed.Open {
		ln.lastSeq[s.Type] = max(ln.lastSeq[s.Type], s.Seq)
		w, err := ln.l.reopenPart(ln.name, s)
		if err != nil {
			return err
		}
		ln.parts[s.Type] = w
		keep[tempPath(w.path)] = true
	}
	for temp := range ln.temps {
		if keep[temp] {
			continue
		}
		if err := ln.l.fs.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove part: %w", err)
		}
		delete(ln.temps, temp)
	}
	return nil
}

// sizeOf returns the size of a file, -1 if there is none.
func sizeOf(fsys filesystem, path string) (int64, error) {
	size, err := fsys.Size(path)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at part: %w", err)
	}
	return size, nil
}

func checkSize(fsys filesystem, path string, want int64) error {
	size, err := sizeOf(fsys, path)
	if err != nil {
		return err
	}
	if size != want {
		return &AlteredError{File: path, Size: size, WantBytes: want}
	}
	return nil
}
