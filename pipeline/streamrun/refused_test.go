package streamrun_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cpcds2fhir/internal/synth"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/schemas/fhir"
)

// refusing is a store that answers for each resource, as a server does. It refuses what refers to something
// that it does not have, and what a test says. It seals twice: first as if it refused everything.
type refusing struct {
	*storeloader.Loader
	refuse   func(ref string, deletes bool) *pipeline.Refusal
	dangling atomic.Int64

	loads, every int64 // every so many loads fail: before anything happened, or after everything did
}

func (f *refusing) Refuses() bool { return true }

func (f *refusing) Take(ctx context.Context, lane string) (pipeline.StreamLane, pipeline.Position, error) {
	l, at, err := f.Loader.Take(ctx, lane)
	return &refusingLane{f, l}, at, err
}

func (f *refusing) fails() bool {
	return f.every > 0 && atomic.AddInt64(&f.loads, 1)%f.every == 0
}

type refusingLane struct {
	*refusing
	lane pipeline.StreamLane
}

func (l *refusingLane) Load(ctx context.Context, b *fhir.Batch, seal pipeline.StreamSeal) error {
	if l.fails() {
		return errFlaky
	}
	refusals := pipeline.Refusals{}
	has := map[string]bool{}
	var taken fhir.Batch
	var at []int // of those that are taken
	for i, r := range b.All() {
		ref := fhir.Reference(r.Type, strings.Clone(r.ID))
		why := l.refuse(ref, r.Deleted)
		for _, to := range literals(r.JSON) {
			if _, ok, err := l.SourceVersion(ctx, to); why == nil && err == nil && !ok && !has[to] {
				l.dangling.Add(1)
				why = &pipeline.Refusal{Rule: pipeline.RuleReferenceGone, Status: 400}
			}
		}
		if why != nil {
			refusals[i] = why
			continue
		}
		has[ref] = !r.Deleted
		at = append(at, i)
		taken.Add(r)
	}
	err := l.lane.Load(ctx, &taken, func(outcomes []pipeline.Outcome, _ pipeline.Refusals) (pipeline.StreamCommit, error) {
		all, none, why := make([]pipeline.Outcome, b.Len()), make([]pipeline.Outcome, b.Len()), pipeline.Refusals{}
		for i := range all {
			all[i], none[i], why[i] = pipeline.Refused, pipeline.Refused, &pipeline.Refusal{Rule: pipeline.RuleTooLarge}
		}
		for n, i := range at {
			all[i] = outcomes[n]
		}
		if c, err := seal(none, why); err != nil {
			return c, err
		}
		return seal(all, refusals)
	})
	if l.fails() {
		return errors.Join(err, errFlaky)
	}
	return err
}

// literals lists the literal references of a resource.
func literals(data []byte) (refs []string) {
	for {
		_, rest, found := bytes.Cut(data, []byte(`"reference":"`))
		if !found {
			return refs
		}
		ref, rest, _ := bytes.Cut(rest, []byte{'"'})
		refs, data = append(refs, string(ref)), rest
	}
}

// graves are letters that cannot always be written.
type graves struct {
	letters
	writes atomic.Int64
	wrong  []string // what is wrong with letters
}

func (g *graves) Write(ctx context.Context, list []streamrun.DeadLetter) error {
	if g.writes.Add(1)%3 == 0 {
		return errFlaky
	}
	for i := range list {
		for _, p := range list[i].Problems {
			if p.Rule == pipeline.RuleServerRefused && (p.Status != 422 || len(p.Codes) != 1 || len(p.Locations) != 1 || p.Resource == "") {
				g.note("it lacks what the target said")
			}
			if p.Text != "" || p.Rule == pipeline.RuleTooLarge {
				g.note("it says what it must not: " + p.Rule)
			}
			if p.Resource != "" && list[i].Stage != streamrun.StageTarget {
				g.note("its stage is " + string(list[i].Stage))
			}
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range list { // as a compacted topic
		g.list = slices.DeleteFunc(g.list, func(o streamrun.DeadLetter) bool { return o.Source() == d.Source() })
		g.list = append(g.list, d)
	}
	return nil
}

func (g *graves) Resolve(_ context.Context, sources []string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = slices.DeleteFunc(g.list, func(d streamrun.DeadLetter) bool { return slices.Contains(sources, d.Source()) })
	return nil
}

func (g *graves) note(what string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wrong = append(g.wrong, what)
}

// sources lists the dead letters.
func (g *graves) sources() map[string]bool {
	all := map[string]bool{}
	for i := range g.list {
		all[g.list[i].Source()] = true
	}
	return all
}

// accounted sums up the accounts of a group.
func accounted(t *testing.T, l *storeloader.Loader) (count streamrun.MessageCount, account pipeline.Account) {
	t.Helper()
	err := streamrun.Accounts(t.Context(), l, "group", time.Time{}, func(a *streamrun.LaneAccount) error {
		count.Add(&a.Messages)
		account.Add(&a.Account)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !count.Balanced() || !account.Balanced() {
		t.Errorf("the account does not balance: %+v, %+v", count, account)
	}
	return count, account
}

func shuffled(list []streamrun.Message) []streamrun.Message {
	list = slices.Clone(list)
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// TestStreamReferencesComeFirst streams into a target that refuses what refers to something that it does
// not have: in the order of the extract it refuses nothing, and in any order nothing in the end.
func TestStreamReferencesComeFirst(t *testing.T) {
	b := newBench(t, synth.Options{Claims: 150, Seed: 5})
	want := b.batch()
	for _, order := range []string{"extract", "shuffled"} {
		t.Run(order, func(t *testing.T) {
			x := *b
			if order == "shuffled" {
				x.topic = shuffled(b.topic)
			}
			dir := filepath.Join(t.TempDir(), "store")
			l := openStore(t, dir)
			target := &refusing{Loader: l, refuse: func(string, bool) *pipeline.Refusal { return nil }}
			dead := &graves{}
			e := x.engine(l, &dead.letters, func(c *streamrun.Config) { c.Target, c.DeadLetters = target, dead })
			partitions := 1
			if order == "shuffled" {
				partitions = 3
			}
			stream(t, e, x.partitions(partitions))
			settle(t, e)
			if n := target.dangling.Load(); n > 0 && order == "extract" {
				t.Errorf("%d resources were refused", n)
			}
			if len(dead.list) > 0 {
				t.Errorf("%d dead letters, the first: %+v", len(dead.list), dead.list[0].Problems)
			}
			compare(t, exported(t, l, dir), want)
		})
	}
}

// settle lets everything go that can, whatever fails in between.
func settle(t *testing.T, e *streamrun.Engine) {
	t.Helper()
	for err := errFlaky; err != nil; {
		if err = e.Settle(t.Context()); err != nil && !errors.Is(err, errFlaky) {
			t.Fatal(err)
		}
	}
}

// TestStreamRefusals refuses some resources of each type, in a stream whose target fails and whose dead
// letters cannot always be written. They are dead letters in the end, each once and with what the target
// said; everything else is there; and when the target takes them, a replay loads them.
func TestStreamRefusals(t *testing.T) {
	b := newBench(t, synth.Options{Claims: 120, Seed: 6, Faults: 0.1})
	want := b.batch()
	orders := []string{"shuffled", "extract"}
	if testing.Short() {
		orders = orders[:1]
	}
	for _, order := range orders {
		t.Run(order, func(t *testing.T) {
			x := *b
			if order == "shuffled" {
				x.topic = shuffled(b.topic)
			}
			dir := filepath.Join(t.TempDir(), "store")
			l := openStore(t, dir)
			var taking atomic.Bool
			refused := map[string]bool{}
			var mu sync.Mutex
			target := &refusing{Loader: l, every: 5}
			target.refuse = func(ref string, deletes bool) *pipeline.Refusal {
				if taking.Load() || deletes || !strings.ContainsAny(ref[len(ref)-1:], "ae") {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				refused[ref] = true
				return &pipeline.Refusal{Rule: pipeline.RuleServerRefused, Status: 422, Codes: []string{"invariant"}, Locations: []string{"Patient.name"}, Text: "words of the target"}
			}
			dead := &graves{}
			late := atomic.Int64{}
			e := x.engine(l, &dead.letters, func(c *streamrun.Config) {
				c.Target, c.DeadLetters, c.BatchBytes = target, dead, 1<<15
				c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
			})
			parts := x.partitions(2)
			run := func() {
				ctx, stop := context.WithCancel(t.Context())
				var wait sync.WaitGroup
				wait.Go(func() { // what still waits when everything was read refers to what does not exist
					behind := func(p *log) bool { _, end, _ := p.Bounds(ctx); return p.Committed() < end }
					for read := 0; ctx.Err() == nil && read < 30; time.Sleep(100 * time.Millisecond) {
						if read++; slices.ContainsFunc(parts, behind) {
							read = 0
						}
					}
					late.Add(int64(25 * time.Hour))
				})
				stream(t, e, parts)
				stop()
				wait.Wait()
				settle(t, e)
			}
			run()
			count, account := accounted(t, l)
			if len(dead.wrong) > 0 {
				t.Errorf("letters: %s", slices.Compact(dead.wrong))
			}
			if n := int64(len(dead.sources())); n < count.DeadLetters+count.ReleasedDead+count.Expired || n == 0 {
				t.Errorf("%d messages are dead letters, the account says %+v", n, count)
			}
			said := map[string]int{}
			for _, d := range dead.list {
				for _, p := range d.Problems {
					if p.Resource != "" {
						said[p.Resource]++
					}
				}
			}
			left := 0
			err := l.Each(t.Context(), "refused/", func(pipeline.Record) error { left++; return nil })
			if err != nil || left > 0 {
				t.Errorf("%d dead letters still stand in the target (%v)", left, err)
			}
			kinds := map[string]int{}
			for ref := range want {
				kind, _, _ := strings.Cut(ref, "/")
				_, there, err := l.SourceVersion(t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				if refused[ref] {
					kinds[kind]++
				}
				switch {
				case refused[ref] && there:
					t.Errorf("%s is there although it was refused", ref)
				case said[ref] > 1:
					t.Errorf("%s is %d dead letters", ref, said[ref])
				case kind == "ExplanationOfBenefit" && !there && said[ref] == 0:
					t.Errorf("%s is neither there nor a dead letter", ref)
				}
			}
			if len(kinds) < 4 || account.Rejects[pipeline.RuleServerRefused] == 0 || account.Rejects[pipeline.RuleReferenceGone] == 0 {
				t.Errorf("it is too tame: %v, %v", kinds, account.Rejects)
			}
			taking.Store(true)
			for round := 0; len(dead.sources()) > 0 && round < 3; round++ {
				dead.replay(parts[0])
				run()
			}
			accounted(t, l)
			got := exported(t, l, dir)
			for ref, text := range want {
				if !strings.HasPrefix(ref, "ExplanationOfBenefit/") && got[ref] == "" && !strings.HasPrefix(ref, "Patient/") && !strings.HasPrefix(ref, "Coverage/") {
					continue
				}
				if got[ref] != text {
					t.Errorf("%s is another one after the replay (there: %v)", ref, got[ref] != "")
				}
			}
			for ref := range maps.Keys(got) {
				if want[ref] == "" {
					t.Errorf("%s should not be there", ref)
				}
			}
		})
	}
}

// replay publishes the dead letters again.
func (g *graves) replay(to *log) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.list {
		m := d.Message
		m.Headers = append(slices.DeleteFunc(slices.Clone(m.Headers), func(h streamrun.Header) bool {
			return h.Key == streamrun.ReplayHeader || h.Key == streamrun.SourceHeader
		}), streamrun.Header{Key: streamrun.ReplayHeader, Value: []byte("1")}, streamrun.Header{Key: streamrun.SourceHeader, Value: []byte(d.Source())})
		to.add(m)
	}
}

// TestRefusedDeletion refuses to delete a member to whom a coverage refers: the message is a dead letter,
// and claims may still refer to the member.
func TestRefusedDeletion(t *testing.T) {
	b := newBench(t, synth.Options{Claims: 20, Seed: 5})
	dir := filepath.Join(t.TempDir(), "store")
	l := openStore(t, dir)
	target := &refusing{Loader: l, refuse: func(_ string, deletes bool) *pipeline.Refusal {
		if deletes {
			return &pipeline.Refusal{Rule: pipeline.RuleServerRefused, Status: 409, Codes: []string{"conflict"}, Locations: []string{"Patient"}}
		}
		return nil
	}}
	dead := &graves{}
	e := b.engine(l, &dead.letters, func(c *streamrun.Config) { c.Target, c.DeadLetters = target, dead })
	var claims []streamrun.Message
	var member streamrun.Message
	part := &log{topic: "cpcds", id: "topic"}
	for _, m := range b.topic {
		switch string(m.Headers[0].Value) {
		case "claims":
			claims = append(claims, m)
			continue
		case "members":
			member = m
		}
		part.add(m)
	}
	part.add(streamrun.Message{Key: member.Key, Headers: member.Headers})
	stream(t, e, []*log{part})
	if len(dead.list) != 1 || dead.list[0].Message.Value != nil || dead.list[0].Problems[0].Status != 409 && dead.list[0].Problems[0].Status != 422 {
		t.Fatalf("dead letters: %+v", dead.list)
	}
	for _, m := range claims {
		part.add(m)
	}
	stream(t, e, []*log{part})
	count, _ := accounted(t, l)
	if count.Deletions != 0 || count.DeadLetters != 1 || count.Waiting != 0 {
		t.Errorf("%+v", count)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
