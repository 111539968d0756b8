// Package statefile writes the files of a state folder: those of a lane, whose length is part of
// the lane's checkpoint, and small ones that are replaced as a whole. They hold members' data, so
// only their owner can read them. It handles files, not their content.
package statefile

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// Log is an append-only file of a lane in the state folder. Its length is
// part of the lane's checkpoint: what was written after the checkpoint is cut off
// when the lane resumes. The file is made when something is first written to it.
type Log struct {
	path string
	f    *os.File
	buf  []byte
	size int64 // length without buf
	err  error // of writing ahead of flush

	compressed bool // each write is a zstd frame
	frame      []byte

	dirty atomic.Bool // written to since the last sync
}

// frames has zstd encoders, which lanes share because each has tables of a megabyte.
var frames = sync.Pool{New: func() any {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // the options are valid
	}
	return z
}}

// buffer is how much a log holds back. What exceeds it is written before its checkpoint, and cut
// off if the lane resumes.
const buffer = 1 << 20

// Open opens the file of a lane and cuts it to the length that the checkpoint says. It
// returns a *LostError if the file is shorter.
func Open(path string, size int64) (*Log, error) {
	s := &Log{path: path, size: size}
	info, err := os.Stat(path)
	switch {
	case size == 0 && errors.Is(err, fs.ErrNotExist):
		return s, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, &LostError{path, 0, size}
	case err != nil:
		return nil, fmt.Errorf("resume %s: %w", path, err)
	case info.Size() < size: // extending it would add zero bytes
		return nil, &LostError{path, info.Size(), size}
	}
	if err := os.Truncate(path, size); err != nil {
		return nil, fmt.Errorf("resume %s: %w", path, err)
	}
	return s, s.open()
}

// LostError says that a file of the state folder lacks data that the target's checkpoints count on.
type LostError struct {
	Path       string
	Size, Want int64 // in bytes
}

func (e *LostError) Error() string {
	if e.Size == 0 {
		return fmt.Sprintf("the state folder has lost %s, which had %d bytes", e.Path, e.Want)
	}
	return fmt.Sprintf("the state folder has lost the end of %s: it has %d bytes but had %d", e.Path, e.Size, e.Want)
}

// OpenCompressed opens a file in which each write is a zstd frame, so that it can be cut off after
// any of them.
func OpenCompressed(path string, size int64) (*Log, error) {
	s, err := Open(path, size)
	if err == nil {
		s.compressed = true
	}
	return s, err
}

func (s *Log) open() error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	s.f = f
	return err
}

// Write appends to the file through a buffer; Flush reports errors.
func (s *Log) Write(b []byte) {
	s.buf = append(s.buf, b...)
	if len(s.buf) >= buffer && s.err == nil {
		s.err = s.empty()
	}
}

// Flush writes the buffer to the file and returns the length.
func (s *Log) Flush() (int64, error) {
	if s.err == nil && len(s.buf) > 0 {
		s.err = s.empty()
	}
	if s.err != nil {
		return 0, fmt.Errorf("write %s: %w", s.path, s.err)
	}
	return s.size, nil
}

func (s *Log) empty() error {
	if s.f == nil {
		if err := s.open(); err != nil {
			return err
		}
	}
	b := s.buf
	if s.compressed {
		z := frames.Get().(*zstd.Encoder)
		s.frame = z.EncodeAll(s.buf, s.frame[:0])
		frames.Put(z)
		b = s.frame
	}
	if _, err := s.f.Write(b); err != nil {
		return err
	}
	s.size += int64(len(b))
	s.buf = s.buf[:0]
	s.dirty.Store(true)
	return nil
}

// Sync makes durable what was flushed. It may run concurrently with Write, not with Flush.
func (s *Log) Sync() error {
	if !s.dirty.Swap(false) {
		return nil
	}
	if err := s.f.Sync(); err != nil {
		s.dirty.Store(true)
		return fmt.Errorf("sync %s: %w", s.path, err)
	}
	return nil
}

// Close closes the file. What was not flushed is lost.
func (s *Log) Close() {
	if s.f != nil {
		s.f.Close()
	}
}

// Replace writes a file that only its owner can read. A crash leaves the old file or the new one,
// never a part; after an error of write the old one stays.
func Replace(path string, write func(w *bufio.Writer) error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	err = errors.Join(write(w), w.Flush())
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		os.Remove(path + ".tmp")
		return err
	}
	return os.Rename(path+".tmp", path)
}

// Write makes a small file of a state folder durable.
func Write(path string, text []byte) error {
	if err := Replace(path, func(w *bufio.Writer) error { _, err := w.Write(text); return err }); err != nil {
		return fmt.Errorf("write state folder: %w", err)
	}
	return nil
}
