package batchrun_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/internal/synth"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/schemas/fhir"
)

// pieceLog remembers where the pieces of batches end.
type pieceLog struct {
	*faulty
	mu   sync.Mutex
	ends map[string][]string // by lane: the last resource of each piece
}

func (l *pieceLog) Load(ctx context.Context, lane string, b *fhir.Batch, seal pipeline.Seal) error {
	l.mu.Lock()
	for i, r := range b.All() {
		if b.IsCut(i + 1) {
			l.ends[lane] = append(l.ends[lane], strings.Clone(r.ID))
		}
	}
	l.mu.Unlock()
	return l.faulty.Load(ctx, lane, b, seal)
}

// Batches of more pieces are fewer, and their pieces end with the same resources, also
// where a run is stopped and goes on with batches of another size.
func TestPieces(t *testing.T) {
	dir := makeExtract(t, synth.Options{Seed: 9, Claims: 300})
	small := batchrun.Seams{Piece: 100_000}
	run := func(pieces, then, failCall int) (ends map[string][]string, calls int) {
		state := t.TempDir()
		l := &pieceLog{faulty: &faulty{memory: newMemory(), failCall: failCall}, ends: map[string][]string{}}
		open := func(pieces int) *batchrun.Config {
			r := openRun(t, dir, "cpcds", state, false, l)
			r.BatchPieces = pieces
			return r
		}
		_, err := loadWith(t.Context(), open(pieces), small)
		if (err != nil) != (failCall > 0) {
			t.Fatal(err)
		}
		if err != nil {
			l.failCall, l.ends = 0, map[string][]string{}
			if _, err := loadWith(t.Context(), open(then), small); err != nil {
				t.Fatal(err)
			}
		}
		return l.ends, l.calls
	}
	want, most := run(0, 0, 0)
	if one, calls := run(1, 0, 0); calls != most || cmp.Diff(want, one) != "" {
		t.Errorf("one piece is not what a batch has by default: %d loads, want %d", calls, most)
	}
	for _, pieces := range []int{2, 4} {
		ends, calls := run(pieces, 0, 0)
		if diff := cmp.Diff(want, ends); diff != "" {
			t.Errorf("batches of %d pieces: where pieces end -want +got:\n%s", pieces, diff)
		}
		if calls >= most*2/3 {
			t.Errorf("batches of %d pieces: %d loads, those of one piece need %d", pieces, calls, most)
		}
	}
	ends, _ := run(4, 1, most/4)
	if len(ends) == 0 {
		t.Error("the stopped run had nothing left to do")
	}
	for lane, got := range ends {
		if all := want[lane]; len(got) > len(all) || cmp.Diff(all[len(all)-len(got):], got) != "" {
			t.Errorf("lane %s goes on with other pieces", lane)
		}
	}
}
