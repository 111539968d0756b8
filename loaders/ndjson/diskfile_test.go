package ndjson

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Whatever the sizes and places of writes, the file has what was written, also after
// another process's reading, a truncation and reopening.
func TestWritesPastTheCache(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 5)) //nolint:gosec // of a test
	noise := make([]byte, 3*len(*aligned.New().(*[]byte))/2)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	for _, past := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "part")
		opened, err := disk{}.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		f := opened.(*diskFile)
		f.indirect = !past
		var want []byte
		tried := false
		for i := range 30 {
			size := []int{1, block - 1, block, directBytes - 1, directBytes, directBytes + 1, directBytes + block, len(noise) - 1}[rnd.IntN(8)]
			from := rnd.IntN(len(noise) - size)
			n, err := f.WriteAt(noise[from:from+size], int64(len(want)))
			if n != size || err != nil {
				t.Fatalf("%d bytes at %d: %d, %v", size, len(want), n, err)
			}
			want = append(want, noise[from:from+size]...)
			tried = tried || f.direct != nil
			if i%10 == 7 { // what a resumed lane does
				want = want[:len(want)-rnd.IntN(min(len(want), 2*block))]
				if err := f.Truncate(int64(len(want))); err != nil {
					t.Fatal(err)
				}
			}
			if i%10 == 9 {
				if err := f.Sync(); err != nil {
					t.Fatal(err)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				if opened, err = (disk{}).Open(path); err != nil {
					t.Fatal(err)
				}
				f = opened.(*diskFile)
				f.indirect = !past
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("after %d writes the file differs (past the cache: %v): %v", i+1, past, err)
			}
		}
		t.Logf("past the cache: %v, tried: %v", past, tried)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// What the file system refuses goes through the cache, and other errors are told.
func TestRefusedDirectWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "part")
	opened, err := disk{}.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	f := opened.(*diskFile)
	defer f.Close()
	large := bytes.Repeat([]byte("a line\n"), directBytes)
	if err := os.Rename(path, path+"2"); err != nil { // so it cannot be opened again
		t.Fatal(err)
	}
	if n, err := f.WriteAt(large, 3); n != len(large) || err != nil || !f.indirect {
		t.Fatalf("%d, %v, %v", n, err, f.indirect)
	}
	if got, err := os.ReadFile(path + "2"); err != nil || !bytes.Equal(got[3:], large) {
		t.Fatalf("the file differs: %v", err)
	}
	readOnly, err := os.Open(path + "2")
	if err != nil {
		t.Fatal(err)
	}
	g := &diskFile{File: f.File, direct: readOnly}
	if n, err := g.WriteAt(large, 0); err == nil || n != 0 {
		t.Fatalf("a direct write to a file that is open for reading: %d, %v", n, err)
	}
	readOnly.Close()
}
