package ndjson

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// laneScript is what a lane loads: one row is one batch.
type laneScript struct {
	name    string
	batches []*fhir.Batch
	done    bool // the last checkpoint says so
}

func add(b *fhir.Batch, t fhir.Type, id string, size int) {
	text := fmt.Sprintf(`{"resourceType":%q,"id":%q,"text":"%s"}`, t, id, strings.Repeat("ä", size))
	b.Add(&fhir.Resource{Type: t, ID: id, JSON: []byte(text)})
}

// script has rolls within and between batches, empty batches, and a type that
// several lanes write.
func script() []laneScript {
	providers := laneScript{name: "providers-00", done: true}
	for i := range 2 {
		b := &fhir.Batch{}
		add(b, fhir.Organization, fmt.Sprintf("own-%d", i), 20)
		providers.batches = append(providers.batches, b)
	}
	lanes := []laneScript{providers}
	for lane := range 2 {
		s := laneScript{name: fmt.Sprintf("claims-00-%04d", lane), done: lane == 0}
		for i := range 4 {
			b := &fhir.Batch{}
			if i != 2 {
				for j := range 3 + 4*(i%2) {
					add(b, fhir.ExplanationOfBenefit, fmt.Sprintf("e%d-%d-%d", lane, i, j), 40+j)
				}
				add(b, fhir.Coverage, fmt.Sprintf("c%d-%d", lane, i), 30)
				add(b, fhir.Organization, fmt.Sprintf("o%d-%d", lane, i), 10)
				add(b, fhir.Practitioner, fmt.Sprintf("p%d-%d", lane, i), 10)
			}
			s.batches = append(s.batches, b)
		}
		lanes = append(lanes, s)
	}
	return lanes
}

// checkpoint is that of a row, with what the outcomes add to an account.
func (s *laneScript) checkpoint(row int, before pipeline.Account, outcomes []pipeline.Outcome) pipeline.Checkpoint {
	cp := pipeline.Checkpoint{Row: int64(row), Rejects: int64(10 * row), Done: s.done && row == len(s.batches), Account: before}
	if row == 0 {
		return cp
	}
	for i, r := range s.batches[row-1].All() {
		if outcomes[i] == pipeline.Created {
			cp.Account.Resources[r.Type].Created++
		}
	}
	return cp
}

// fault is what happens to a run.
type fault struct {
	from, to int     // operations that fail; the process tries again
	killAt   int     // the process ends at this operation; 0: it does not
	effect   bool    // these operations are done all the same
	lose     bool    // the machine goes down with the process
	left     float64 // see memory.crash
}

func options(compress string) Options {
	return Options{Compress: compress, Run: "run-1", KeyFingerprint: "key-1", State: "/t/state", RollBytes: 900, TransactionTime: "2024-01-02T03:04:05Z"}
}

// play runs the script to its end, through the fault.
func play(t *testing.T, m *memory, opts Options, lanes []laneScript, f fault) (total pipeline.Account) {
	t.Helper()
	ctx := context.Background()
	m.failFrom, m.failTo, m.killAt, m.effect = f.from, f.to, f.killAt, f.effect
	sealed := make([][]pipeline.Checkpoint, len(lanes))
	for i := range sealed {
		sealed[i] = []pipeline.Checkpoint{{}}
	}
	acked := make([]int, len(lanes))
	for attempt := range 100 {
		if attempt == 99 {
			t.Fatal("the run does not end")
		}
		l, err := open(m, "/t/out", opts)
		if err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("open: %v", err)
			}
			if m.killed() {
				m.crash(f.lose, f.left)
			}
			continue
		}
		if playOpen(t, ctx, l, lanes, sealed, acked, &total) {
			if err := l.Close(); err != nil {
				t.Fatalf("close: %v", err)
			}
			return total
		}
		m.crash(f.lose, f.left)
	}
	return total
}

// playOpen reports whether the run has come to its end; it has not if it must crash.
// sealed has the last checkpoint that was given for each row of each lane, acked
// the row up to which Load returned nil.
func playOpen(t *testing.T, ctx context.Context, l *Loader, lanes []laneScript, sealed [][]pipeline.Checkpoint, acked []int, total *pipeline.Account) bool {
	t.Helper()
	// again tries until an operation succeeds, or gives up because of a crash.
	again := func(try func() error) bool {
		for range 50 {
			err := try()
			if err == nil {
				return true
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("unexpected error: %v", err)
			}
			if l.fs.(*memory).killed() {
				return false
			}
		}
		t.Fatal("no success after many attempts")
		return false
	}
	next := make([]int, len(lanes))
	for i, s := range lanes {
		ok := again(func() error {
			cp, err := l.Resume(ctx, s.name)
			if err != nil {
				return err
			}
			next[i] = int(cp.Row)
			if next[i] < acked[i] || next[i] > acked[i]+1 {
				t.Fatalf("lane %s resumes at %d, Load returned nil up to %d", s.name, next[i], acked[i])
			}
			if diff := cmp.Diff(sealed[i][next[i]], cp); diff != "" {
				t.Fatalf("checkpoint of lane %s (-want +got):\n%s", s.name, diff)
			}
			return nil
		})
		if !ok {
			return false
		}
		acked[i] = next[i]
	}
	for round := range 4 {
		for i, s := range lanes {
			if round < next[i] || round >= len(s.batches) {
				continue
			}
			ok := again(func() error {
				return l.Load(ctx, s.name, s.batches[round], func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.Checkpoint, error) {
					cp := s.checkpoint(round+1, sealed[i][round].Account, outcomes)
					sealed[i] = append(sealed[i][:round+1], cp)
					return cp, nil
				})
			})
			if !ok {
				return false
			}
			acked[i] = round + 1
		}
	}
	*total = pipeline.Account{}
	for i := range lanes {
		total.Add(&sealed[i][acked[i]].Account)
	}
	return again(func() error { return l.Finish(ctx, total) })
}

func TestFailEveryOperation(t *testing.T) {
	for _, compress := range []string{"", "zstd", "gzip"} {
		t.Run("compress="+compress, func(t *testing.T) {
			t.Parallel()
			opts, lanes := options(compress), script()
			undisturbed := newMemory()
			play(t, undisturbed, opts, lanes, fault{})
			want := undisturbed.dump("/t/out")
			if len(want) < 12 {
				t.Fatalf("script leaves only %d files", len(want))
			}
			operations := undisturbed.ops
			step := 1
			if testing.Short() {
				step = 21
			}
			for i := 1; i <= operations; i += step {
				faults := map[string]fault{
					"try again":               {from: i, to: i + 1},
					"try again after success": {from: i, to: i + 1, effect: true},
					"disk full for a while":   {from: i, to: i + 8},
					"kill":                    {killAt: i, left: 1},
					"kill after success":      {killAt: i, left: 1, effect: true},
					"power loss":              {killAt: i, lose: true},
					"torn data":               {killAt: i, left: 0.5},
					"power loss, torn, after": {killAt: i, lose: true, left: 0.5, effect: true},
				}
				for k := 1; k <= 10 && compress == ""; k++ {
					faults[fmt.Sprintf("try again, killed %d later", k)] = fault{from: i, to: i + 1, effect: true, killAt: i + k, left: 1}
				}
				for name, f := range faults {
					m := newMemory()
					ok := t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
						total := play(t, m, opts, lanes, f)
						m.failTo, m.killAt = 0, 0
						if diff := cmp.Diff(want, m.dump("/t/out")); diff != "" {
							t.Fatalf("target differs from an undisturbed run (-want +got):\n%s", diff)
						}
						checkFinished(t, m, opts, total)
					})
					if !ok {
						return
					}
				}
			}
			t.Logf("%d operations", operations)
		})
	}
}

// checkFinished opens the target again and compares what it says with the
// account of the run, and that with the files.
func checkFinished(t *testing.T, m *memory, opts Options, total pipeline.Account) {
	t.Helper()
	l, err := open(m, "/t/out", opts)
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	defer l.Close()
	sum, ok := l.Finished()
	if !ok {
		t.Fatal("the finished load is not known as such")
	}
	if diff := cmp.Diff(total, sum.Account); diff != "" {
		t.Fatalf("account (-want +got):\n%s", diff)
	}
	var lines [fhir.NumTypes]int64
	for _, p := range sum.Parts {
		lines[p.Type] += p.Lines
	}
	for typ, n := range lines {
		if got := total.Resources[typ].Created; got != n {
			t.Fatalf("the lanes were told that they created %d of type %s, there are %d", got, fhir.Type(typ), n)
		}
	}
}
