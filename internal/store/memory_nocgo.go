//go:build !cgo

package store

// OutsideHeap says whether memtables and cache are outside Go's heap: Pebble allocates them in C if
// it can.
const OutsideHeap = false
