package ndjson

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func createFile(t *testing.T) *diskFile {
	t.Helper()
	f, err := disk{}.Create(filepath.Join(t.TempDir(), "part"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f.(*diskFile)
}

// counting counts the bytes that are written in whole blocks, from aligned memory.
type counting struct {
	io.WriterAt
	n int
}

func (c *counting) WriteAt(p []byte, at int64) (int, error) {
	c.n += len(p)
	return c.WriterAt.WriteAt(p, at)
}

// Whatever the sizes and places of writes, the file has what was written, also after a
// truncation and reopening; and what can be written past the cache is.
func TestWritesPastTheCache(t *testing.T) {
	if testing.Short() {
		t.Skip("writes much, with nothing at the same time")
	}
	rnd := rand.New(rand.NewPCG(3, 5))
	noise := make([]byte, 3*directBytes+block/2)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	for _, past := range []bool{true, false} {
		f := createFile(t)
		if past && setDirect(f.File, true) != nil {
			t.Log("the file system of the tests cannot write past the cache")
			continue
		}
		blocks := &counting{}
		prepare := func() {
			f.noDirect, blocks.WriterAt, f.blocks = !past, f.File, blocks
			_ = setDirect(f.File, false)
		}
		prepare()
		var want []byte
		for i := range 30 {
			size := []int{1, block - 1, block, directBytes - 1, directBytes, directBytes + 1, directBytes + block, len(noise) - 1}[rnd.IntN(8)]
			from := rnd.IntN(len(noise) - size)
			n, err := f.WriteAt(noise[from:from+size], int64(len(want)))
			if n != size || err != nil || f.noDirect == past {
				t.Fatalf("%d bytes at %d: %d, %v, past the cache %v", size, len(want), n, err, !f.noDirect)
			}
			want = append(want, noise[from:from+size]...)
			if i%10 == 7 { // what a resumed lane does
				want = want[:len(want)-rnd.IntN(min(len(want), 2*block))]
				if err := f.Truncate(int64(len(want))); err != nil {
					t.Fatal(err)
				}
			}
			if i%10 == 9 {
				if err := errors.Join(f.Sync(), f.Close()); err != nil {
					t.Fatal(err)
				}
				again, err := disk{}.Open(f.Name())
				if err != nil {
					t.Fatal(err)
				}
				defer again.Close()
				f = again.(*diskFile)
				prepare()
			}
			if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("after %d writes the file differs (past the cache: %v): %v", i+1, past, err)
			}
		}
		if (blocks.n > directBytes) != past {
			t.Errorf("%d bytes were written past the cache, asked for: %v", blocks.n, past)
		}
	}
}

// failing writes the first blocks and then fails, as a file system could.
type failing struct {
	to    io.WriterAt
	after int // bytes that are still written
	err   error
}

func (f *failing) WriteAt(p []byte, at int64) (int, error) {
	if len(p) <= f.after {
		f.after -= len(p)
		return f.to.WriteAt(p, at)
	}
	n, err := f.to.WriteAt(p[:f.after], at)
	return n, errors.Join(err, f.err)
}

// refusing is a file whose blocks fail with an error after so many bytes.
func refusing(t *testing.T, after int, err error) *diskFile {
	t.Helper()
	f := createFile(t)
	if setDirect(f.File, true) != nil {
		t.Skip("the file system of the tests cannot write past the cache")
	}
	through, openErr := os.OpenFile(f.Name(), os.O_WRONLY, 0) // which may be written to at any place
	if err := errors.Join(openErr, setDirect(f.File, false)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { through.Close() })
	f.blocks = &failing{through, after, err}
	return f
}

// Blocks that the file system refuses go through the cache; other errors are told.
func TestRefusedBlocks(t *testing.T) {
	large := bytes.Repeat([]byte("a line\n"), directBytes/2)
	for _, refused := range []error{syscall.EINVAL, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		for _, after := range []int{0, block, block + 512, directBytes + 3*block + 1} {
			f := refusing(t, after, refused)
			if n, err := f.WriteAt(large, 3); n != len(large) || err != nil || !f.noDirect {
				t.Fatalf("%v after %d bytes: %d, %v, and more is tried: %v", refused, after, n, err, !f.noDirect)
			}
			if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got[3:], large) {
				t.Fatalf("%v after %d bytes: the file differs: %v", refused, after, err)
			}
		}
	}
	f := refusing(t, 2*block, syscall.ENOSPC)
	if n, err := f.WriteAt(large, 0); !errors.Is(err, syscall.ENOSPC) || n != 2*block || f.noDirect {
		t.Errorf("a full disk: %d, %v", n, err)
	}
	if n, err := f.WriteAt(large[:5], 1); n != 5 || err != nil {
		t.Errorf("after a failed write the file takes no bytes at any place: %d, %v", n, err)
	}
}
