package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
)

// BrokenError says where a chain breaks.
type BrokenError struct {
	File string
	Line int // from 1
	What string
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit log is not what was written: %s, line %d: %s", e.File, e.Line, e.What)
}

// All yields the records of the log in dir, the oldest first, and checks the chain as it goes. A Record is
// valid until the next step. An error, such as *BrokenError, ends it. A line that is not complete at the end
// of the log is being written, and is passed over.
func All(dir string) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if err := each(dir, func(r *Record, _ *head) bool { return yield(r, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// Verify checks the whole chain. If hash is not empty, a record must have it: the one that was last when
// somebody noted it. It returns the number and hash of the last record.
func Verify(dir, hash string) (number uint64, last string, err error) {
	found := hash == ""
	var end head
	if err := each(dir, func(_ *Record, h *head) bool {
		found = found || string(h.hash[:]) == hash
		end = *h
		return true
	}); err != nil {
		return 0, "", err
	}
	if !found {
		return 0, "", errors.New("the audit log has no record with this hash: it was cut off, or made anew")
	}
	number, last = end.text()
	return number, last, nil
}

func each(dir string, yield func(r *Record, h *head) bool) error {
	list, err := files(dir)
	if err != nil {
		return fmt.Errorf("read the audit log: %w", err)
	}
	var h head
	for i, n := range list {
		if n != i+1 {
			return &BrokenError{File: filepath.Base(path(dir, i+1)), What: "the file is missing"}
		}
		more, err := eachOf(path(dir, n), &h, i == len(list)-1, yield)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// eachOf goes on with a file.
func eachOf(path string, h *head, newest bool, yield func(r *Record, h *head) bool) (more bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("read the audit log: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in := bufio.NewReaderSize(f, 1<<20)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		broken := func(what string) error { return &BrokenError{File: filepath.Base(path), Line: n, What: what} }
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return true, nil
		case errors.Is(err, io.EOF) && newest:
			return true, nil
		case errors.Is(err, io.EOF):
			return false, broken("the line is not complete")
		case err != nil:
			return false, fmt.Errorf("read the audit log: %w", err)
		}
		line = line[:len(line)-1]
		if len(line) < len(h.hash)+2 || line[len(h.hash)] != ' ' {
			return false, broken("it is no record")
		}
		text := line[len(h.hash)+1:]
		next := h.next(text)
		if !bytes.Equal(next.hash[:], line[:len(h.hash)]) {
			return false, broken("its hash does not follow from the record and the line before")
		}
		r := new(Record)
		if json.Unmarshal(text, r) != nil || r.Number != next.number {
			return false, broken("it is no record, or one is missing")
		}
		*h = next
		if !yield(r, h) {
			return false, nil
		}
	}
}
