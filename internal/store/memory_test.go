//go:build linux && cgo && (amd64 || arm64)

package store

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// Threads of their own load and compare: all of them take the cache's memory from one arena
// of C. (See memory_cgo.go.)
func TestOneArena(t *testing.T) {
	all := batches(16)
	s := open(t, t.TempDir(), Options{})
	for range 2 { // the second time reads what the first has written
		var wait sync.WaitGroup
		for i := range all {
			wait.Go(func() {
				runtime.LockOSThread() // not unlocked, so that the thread ends
				if err := s.Apply(context.Background(), all[i], nil); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if n := arenas(t); n > 0 {
		t.Errorf("C has %d arenas besides the first one", n)
	}
}

// arenas counts what glibc maps for the arena of a thread: 64 MB that begin at a multiple of
// that, of which the first part can be written and the rest is reserved.
func arenas(t *testing.T) (n int) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	goHeap := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(maps)))) >> 32 // which is mapped in the same way
	var begin, end uint64                                                   // of the part that can be written
	for line := range strings.Lines(string(maps)) {
		fields := strings.Fields(line)
		from, to, _ := strings.Cut(fields[0], "-")
		a, err1 := strconv.ParseUint(from, 16, 64)
		b, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("/proc/self/maps has a line %q", line)
		}
		switch {
		case len(fields) > 5 || a>>32 == goHeap: // of a file, or Go's
		case fields[1] == "rw-p" && a%size == 0:
			begin, end = a, b
			continue
		case fields[1] == "---p" && a == end && b == begin+size:
			n++
		}
		end = 0
	}
	return n
}
