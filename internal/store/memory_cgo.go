//go:build cgo

package store

// OutsideHeap says whether memtables and cache lie outside of Go's heap: Pebble takes
// them from C where it can.
const OutsideHeap = true
