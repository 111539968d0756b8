package pipeline

import (
	"sync/atomic"
	"time"
)

// Stage is a part of the work that lanes do.
type Stage uint8

// The stages, in the order a claim passes them. The loader measures what the target does.
const (
	StageDecode   Stage = iota // pages, records or lines of a file to columns of text
	StageLayout                // columns to canonical values
	StageAssemble              // rows to claims
	StageRules                 // repairs, references and rules
	StageMap                   // mapping and encoding, which are one step
	StageCompare               // with what the target has
	StageCompress              // of what is written
	StageWrite                 // to files or into the store's batch
	StageSync                  // until it is durable
	NumStages
)

var stageNames = [NumStages]string{"decode", "layout", "assemble", "rules", "map and encode", "compare", "compress", "write", "sync"}

func (s Stage) String() string { return stageNames[s] }

// Stages adds up the time of all lanes by stage. A nil *Stages measures nothing and
// costs nothing. It is safe for concurrent use.
type Stages struct {
	spent [NumStages]atomic.Int64 // nanoseconds
	bytes atomic.Int64
}

// Add adds to a stage.
func (s *Stages) Add(stage Stage, d time.Duration) {
	if s != nil {
		s.spent[stage].Add(int64(d))
	}
}

// Since adds the time since a moment to a stage and returns what is now.
func (s *Stages) Since(stage Stage, from time.Time) time.Time {
	if s == nil {
		return from
	}
	now := time.Now()
	s.Add(stage, now.Sub(from))
	return now
}

// Now is the time, if it is measured.
func (s *Stages) Now() (t time.Time) {
	if s != nil {
		t = time.Now()
	}
	return t
}

// Spent returns the time of a stage.
func (s *Stages) Spent(stage Stage) time.Duration { return time.Duration(s.spent[stage].Load()) }

// Bytes returns the bytes of JSON that were handed to the target.
func (s *Stages) Bytes() int64 { return s.bytes.Load() }

// Encoded adds bytes of JSON that are handed to the target.
func (s *Stages) Encoded(n int) {
	if s != nil {
		s.bytes.Add(int64(n))
	}
}
