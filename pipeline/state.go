package pipeline

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cpcds2fhir/schemas/layouts"
)

// stateFile is an append-only file of a lane in the state folder. Its length is
// part of the lane's checkpoint: what was written after the checkpoint is cut off
// when the lane resumes. The file is made when something is first written to it.
type stateFile struct {
	path string
	f    *os.File
	buf  []byte
	size int64 // length with buf

	dirty bool // written to since the last sync
}

// openStateFile opens the file of a lane and cuts it to the length that the
// checkpoint says.
func openStateFile(path string, size int64) (*stateFile, error) {
	s := &stateFile{path: path, size: size}
	err := os.Truncate(path, size)
	if size == 0 && errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("resume %s: %w", path, err)
	}
	return s, s.open()
}

func (s *stateFile) open() error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	s.f = f
	return err
}

// write appends to the buffer; flush reports what goes wrong.
func (s *stateFile) write(b []byte) {
	s.buf = append(s.buf, b...)
	s.size += int64(len(b))
}

// flush writes the buffer to the file and returns the length.
func (s *stateFile) flush() (int64, error) {
	if len(s.buf) == 0 {
		return s.size, nil
	}
	if s.f == nil {
		if err := s.open(); err != nil {
			return 0, fmt.Errorf("write %s: %w", s.path, err)
		}
	}
	if _, err := s.f.Write(s.buf); err != nil {
		return 0, fmt.Errorf("write %s: %w", s.path, err)
	}
	s.buf, s.dirty = s.buf[:0], true
	return s.size, nil
}

// sync makes durable what was flushed. It may run beside write, not beside flush.
func (s *stateFile) sync() error {
	if !s.dirty {
		return nil
	}
	if err := s.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", s.path, err)
	}
	s.dirty = false
	return nil
}

func (s *stateFile) close() {
	if s.f != nil {
		s.f.Close()
	}
}

// replaceFile writes a file that its owner alone can read. A crash leaves the old
// file or the new one, never a part. What w meets is reported at the end.
func replaceFile(path string, write func(w *bufio.Writer)) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	write(w)
	err = w.Flush()
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

func layoutFile(state, hash string) string { return filepath.Join(state, "layouts", hash+".json") }

// KeepLayout keeps the layout of a load in the state folder, so that its rejects
// can be replayed when the layout's own files have changed or are gone.
func KeepLayout(state string, l *layouts.Layout) error {
	path := layoutFile(state, l.Hash)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	archive, err := l.Archive()
	if err == nil {
		err = replaceFile(path, func(w *bufio.Writer) { w.Write(archive) })
	}
	if err != nil {
		return fmt.Errorf("keep layout: %w", err)
	}
	return nil
}

// KeptLayout is the layout with a hash that a load kept, nil if none did.
func KeptLayout(state, hash string) (*layouts.Layout, error) {
	archive, err := os.ReadFile(layoutFile(state, hash))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read kept layout: %w", err)
	}
	return layouts.OpenArchive(archive)
}
