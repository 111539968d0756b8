package ndjson

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// diskFile is a file of the machine. What is large is written past the page cache, where
// the file system can: 7.3 GB of plain files then take 2.3 seconds of the kernel's CPU time
// instead of 14, and a load of them 15 instead of 23; what other programs have in the cache
// stays there. Blocks that a write fills in part go through the cache, so that no block is
// ever written both ways at once. One goroutine writes at a time.
type diskFile struct {
	*os.File
	noDirect bool        // the file system cannot write past the cache
	blocks   io.WriterAt // of tests: what takes whole blocks instead of File
}

const (
	block       = 4096    // what place, length and memory of a direct write are multiples of
	directBytes = 1 << 20 // shorter writes, such as those of compressed frames, gain nothing
)

func (f *diskFile) WriteAt(p []byte, at int64) (int, error) {
	if len(p) < directBytes || f.noDirect {
		return f.File.WriteAt(p, at)
	}
	head := int(-at & (block - 1))
	done, err := f.File.WriteAt(p[:head], at)
	if err != nil {
		return done, err
	}
	whole := (len(p) - head) &^ (block - 1)
	n, err := f.writeBlocks(p[head:head+whole], at+int64(head))
	if done += n; err != nil {
		return done, err
	}
	n, err = f.File.WriteAt(p[done:], at+int64(done))
	return done + n, err
}

// writeBlocks writes whole blocks, by way of memory that begins where a block could. It stops,
// with no error, where the file system will have no more of them.
func (f *diskFile) writeBlocks(p []byte, at int64) (done int, err error) {
	if err := setDirect(f.File, true); err != nil {
		f.noDirect = true
		return 0, nil
	}
	defer func() { err = errors.Join(err, setDirect(f.File, false)) }()
	to := f.blocks
	if to == nil {
		to = f.File
	}
	memory := aligned.Get().(*[]byte)
	defer aligned.Put(memory)
	for done < len(p) {
		n, err := to.WriteAt((*memory)[:copy(*memory, p[done:])], at+int64(done))
		done += n &^ (block - 1)
		// Blocks are larger here, or the file system has promised too much.
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
			f.noDirect = true
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (f *diskFile) Sync() error { return syncData(f.File) }

// aligned has memory of directBytes that begins where a block could.
var aligned = sync.Pool{New: func() any {
	b := make([]byte, directBytes+block)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (block - 1)
	b = b[skip : skip+directBytes]
	return &b
}}
