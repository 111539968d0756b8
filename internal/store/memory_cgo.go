//go:build cgo

package store

// glibc has arenas for threads unless it is told not to before the first thread comes, so
// before Go starts. The blocks of the cache are taken by one thread and freed by another: after
// 4 million claims the arenas held 320 MB where the cache has 112. One is as fast on two CPUs.
// Whoever sets MALLOC_ARENA_MAX decides himself.

// #ifdef __linux__
// #include <malloc.h>
// #include <stdlib.h>
// #endif
// __attribute__((constructor)) static void one_arena(void) {
// #ifdef M_ARENA_MAX
// 	if (!getenv("MALLOC_ARENA_MAX")) mallopt(M_ARENA_MAX, 1);
// #endif
// }
import "C"

// OutsideHeap says whether memtables and cache lie outside of Go's heap: Pebble takes
// them from C where it can.
const OutsideHeap = true
