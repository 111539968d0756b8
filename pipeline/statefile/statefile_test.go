package statefile

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestLogWritesAhead writes more than a log holds back: it is in the file before
// its checkpoint, and whoever resumes at the checkpoint cuts it off.
func TestLogWritesAhead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rejects", "lane.ndjson")
	s, err := Open(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("first\n"))
	checkpoint, err := s.Flush()
	if err != nil || s.Sync() != nil || checkpoint != 6 {
		t.Fatalf("got length %d, %v", checkpoint, err)
	}
	line := append(bytes.Repeat([]byte("x"), buffer/4), '\n')
	for range 6 {
		s.Write(line)
	}
	if len(s.buf) >= buffer {
		t.Errorf("%d bytes are held back", len(s.buf))
	}
	if info, err := os.Stat(path); err != nil || info.Size() <= checkpoint || info.Mode().Perm() != 0o600 {
		t.Fatalf("nothing was written ahead, or for others to read: %v, %v", info, err)
	}
	s.Close() // as a process that is killed

	s, err = Open(path, checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	s.Write([]byte("second\n"))
	if _, err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if got, err := os.ReadFile(path); err != nil || string(got) != "first\nsecond\n" {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// TestLogKeepsItsError writes where nothing can be written: flush says so, however long
// ago it was.
func TestLogKeepsItsError(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Log{path: filepath.Join(blocked, "lane.ndjson")}
	s.Write(make([]byte, buffer+1))
	s.Write([]byte("more"))
	if _, err := s.Flush(); err == nil {
		t.Error("nothing was written, and nothing is said")
	}
	if _, err := s.Flush(); err == nil {
		t.Error("the error is forgotten")
	}
}
