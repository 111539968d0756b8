//go:build cgo

package store

// glibc has an arena per thread unless it is told otherwise before the first thread starts, so
// before Go does. One thread allocates the blocks of the cache and another frees them: after 4
// million claims the arenas held 320 MB for a cache of 112. One arena is as fast on two CPUs.
// MALLOC_ARENA_MAX overrides this.

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

// OutsideHeap says whether memtables and cache are outside Go's heap: Pebble allocates them in C if
// it can.
const OutsideHeap = true
