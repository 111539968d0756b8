package store

import (
	"errors"
	"runtime"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Memory is how much memtables and cache of an open store take, in bytes, unless Options.Memory
// says less. More does not make a load faster. What Pebble needs beyond it (open tables, compaction
// buffers) is small for a store of any size.
const Memory = 112 << 20

// memTables is the maximum number of memtables. They are part of the cache and take four sevenths
// of it.
const memTables = 4

// Ids are effectively random, so every flush overlaps every table. Compactions that take more
// flushes at once and rewrite no bodies save a quarter of the CPU time of a load of 400,000 claims
// (and a tenth of the disk) compared with 4 and 10; 24 and 400 gain nothing more. Reads look at
// more tables, but reads of one resource check the filters first.
const (
	l0Compaction = 16  // sublevels
	blobDepth    = 200 // files of bodies that one table refers to

	// garbageRatio is the share of a file of bodies that may be of versions that were erased, before it is
	// written again.
	garbageRatio = 0.2
)

// tuned returns options for a store that is loaded in bulk and then read by patient.
func tuned(disk vfs.FS, f *fault, memory int64, scrubbing *atomic.Bool) *pebble.Options {
	o := &pebble.Options{
		FS:                          disk,
		FormatMajorVersion:          pebble.FormatValueSeparation,
		Logger:                      quietLogger{f},
		CacheSize:                   memory,
		MemTableSize:                uint64(memory / 7),
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       l0Compaction,
		L0StopWritesThreshold:       4 * l0Compaction,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                500,
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange: func() (lower, upper int) {
			return 1, max(1, min(4, runtime.GOMAXPROCS(0)/2))
		},
		EventListener: &pebble.EventListener{
			// Pebble retries forever while writers wait: a full disk would look like a hang.
			BackgroundError: func(err error) {
				if !errors.Is(err, pebble.ErrCancelledCompaction) {
					f.set("flush or compact", err)
				}
			},
			// The read that finds it returns the error.
			DataCorruption: func(pebble.DataCorruptionInfo) {},
		},
	}
	// Bodies are already compressed, so Pebble keeps them outside the levels, in files that a
	// compaction need not rewrite. What is left in the levels, keys, heads and rows, compresses
	// well.
	o.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		garbage := garbageRatio
		if scrubbing.Load() {
			garbage = 0
		}
		return pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           512,
			MaxBlobReferenceDepth: blobDepth,
			RewriteMinimumAge:     0,
			TargetGarbageRatio:    garbage,
		}
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 16 << 10
		o.Levels[i].IndexBlockSize = 256 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
	}
	return o
}
