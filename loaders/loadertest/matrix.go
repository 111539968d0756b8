package loadertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"cpcds2fhir/internal/fhirtest"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/fhir"
)

// script is a small load with everything in it: what refers to what in any order, new versions, older records,
// the same again, the same resource twice, deletions, and a resource that the server refuses.
func script() [][]*fhir.Resource {
	eob := func(n, mark, version string) *fhir.Resource {
		return marked(fhir.ExplanationOfBenefit, "e"+n, mark, version, "Patient/p"+n, "Coverage/c"+n, "Organization/o1")
	}
	cover := func(n string) *fhir.Resource {
		return marked(fhir.Coverage, "c"+n, "1", "1", "Patient/p"+n, "Organization/o1")
	}
	pat := func(n, mark, version string) *fhir.Resource { return marked(fhir.Patient, "p"+n, mark, version) }
	return [][]*fhir.Resource{
		{eob("1", "1", "1"), cover("1"), pat("1", "1", "1"), marked(fhir.Organization, "o1", "1", "1")},
		{pat("2", "1", "1"), eob("2", "1", "1"), pat("bad", "1", "1"), cover("2"), pat("1", "1", "1")},
		{eob("1", "2", "2"), pat("2", "2", "2"), marked(fhir.Organization, "o1", "1", "1")},
		{pat("3", "1", "1"), cover("3"), eob("3", "1", "1"), eob("3", "2", "2"), deletion(fhir.ExplanationOfBenefit, "e2", "2")},
		{},
		{eob("1", "old", "1"), deletion(fhir.ExplanationOfBenefit, "never", "1"), eob("2", "3", "3"), pat("4", "1", "1"), deletion(fhir.Patient, "p4", "2")},
		{pat("3", "2", "2"), marked(fhir.Practitioner, "d1", "1", "1")},
	}
}

// stories are the versions that the script makes of each resource; those of one batch may be skipped.
var stories = map[string][]string{
	"Organization/o1": {"1"}, "Practitioner/d1": {"1"},
	"Patient/p1": {"1"}, "Patient/p2": {"1", "2"}, "Patient/p3": {"1", "2"}, "Patient/p4": {"1", ""}, "Patient/pbad": {""},
	"Coverage/c1": {"1"}, "Coverage/c2": {"1"}, "Coverage/c3": {"1"},
	"ExplanationOfBenefit/e1": {"1", "2"}, "ExplanationOfBenefit/e2": {"1", "", "3"}, "ExplanationOfBenefit/e3": {"1", "2"}, "ExplanationOfBenefit/never": {""},
}

// scriptLeft is what the script leaves.
func scriptLeft() []*fhir.Resource {
	last := map[string]*fhir.Resource{}
	for _, b := range script() {
		for _, r := range b {
			ref := fhir.Reference(r.Type, r.ID)
			if before := last[ref]; before == nil || r.SourceVersion >= before.SourceVersion {
				last[ref] = r
			}
		}
	}
	delete(last, "Patient/pbad")
	maps.DeleteFunc(last, func(_ string, r *fhir.Resource) bool { return r.Deleted })
	return slices.Collect(maps.Values(last))
}

// wantTold fails the test unless the versions of a resource are those of a story, some of them skipped, but
// neither the last one nor any of them again.
func wantTold(t *testing.T, s Server, typ fhir.Type, id string, want []string) {
	t.Helper()
	got := story(s, typ, id)
	at := 0
	for i, mark := range got {
		for at < len(want) && want[at] != mark {
			at++
		}
		if at == len(want) || i > 0 && got[i-1] == mark {
			t.Errorf("versions of %s: %q, want %q", fhir.Reference(typ, id), got, want)
			return
		}
		at++
	}
	last := ""
	if len(got) > 0 {
		last = got[len(got)-1]
	}
	if last != want[len(want)-1] {
		t.Errorf("versions of %s: %q, want %q", fhir.Reference(typ, id), got, want)
	}
}

// playing is one run of the script, over as many loaders as it takes.
type playing struct {
	t      *testing.T
	s      Server
	stream bool
	sealed []told // by batch: what the last call of seal was told
	errs   []error
}

// play runs the script, with a new loader after each error, until all of it is loaded.
func (p *playing) play() {
	p.t.Helper()
	steps := script()
	p.sealed = make([]told, len(steps))
	for range 60 {
		l, err := p.s.Try(context.Background())
		if err != nil {
			p.errs = append(p.errs, fmt.Errorf("open: %w", err))
			continue
		}
		err = p.lane(l, steps)
		if errClose := l.Close(); err == nil {
			err = errClose
		}
		if err == nil {
			return
		}
		p.errs = append(p.errs, err)
	}
	p.t.Fatalf("the script does not end: %v", errors.Join(p.errs[max(0, len(p.errs)-3):]...))
}

// lane loads what is left of the script.
func (p *playing) lane(l pipeline.Loader, steps [][]*fhir.Resource) error {
	load, at, err := p.from(l)
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	for i := at; i < len(steps); i++ {
		got, err := load(batch(steps[i]...), int64(i+1))
		if got.outcomes != nil {
			p.sealed[i] = got
		}
		if err != nil {
			return fmt.Errorf("batch %d: %w", i, err)
		}
		p.reported(i, steps[i])
	}
	total := checkpoint(1000).Account
	return l.Finish(context.Background(), &total)
}

// from is where the lane goes on, and how it is loaded.
func (p *playing) from(l pipeline.Loader) (load func(b *fhir.Batch, next int64) (told, error), at int, err error) {
	ctx := context.Background()
	if !p.stream {
		cp, err := l.Resume(ctx, "lane")
		return func(b *fhir.Batch, next int64) (told, error) { return tryTold(l, "lane", b, checkpoint(next)) }, int(cp.Row), err
	}
	lane, position, err := l.(pipeline.StreamTarget).Take(ctx, "topic/0")
	return func(b *fhir.Batch, next int64) (got told, err error) {
		err = lane.Load(ctx, b, func(outcomes []pipeline.Outcome, refusals pipeline.Refusals) (pipeline.StreamCommit, error) {
			got = newTold(outcomes, refusals)
			return pipeline.StreamCommit{Position: pipeline.Position{Next: next}}, nil
		})
		return got, err
	}, int(position.Next), err
}

// reported fails the test unless what a batch has been reported to be is what the server has at that moment.
func (p *playing) reported(step int, list []*fhir.Resource) {
	p.t.Helper()
	for i, o := range p.sealed[step].outcomes {
		r := list[i]
		ref := fhir.Reference(r.Type, r.ID)
		marks := there(p.s, r.Type, r.ID)
		switch o {
		case pipeline.Created, pipeline.Updated:
			if r.Deleted || len(marks) != 1 && !deletedLater(list[i+1:], r) {
				p.t.Errorf("batch %d: %s is reported as written, the server has %q", step, ref, marks)
			}
		case pipeline.Deleted:
			if !r.Deleted || len(marks) != 0 {
				p.t.Errorf("batch %d: %s is reported as deleted, the server has %q", step, ref, marks)
			}
		case pipeline.Refused:
			if r.ID != "pbad" {
				p.t.Errorf("batch %d: %s is refused: %+v", step, ref, p.sealed[step].refusals[i])
			}
		}
		if r.ID == "pbad" && o != pipeline.Refused {
			p.t.Errorf("batch %d: %s has the outcome %d", step, ref, o)
		}
		if (o == pipeline.Stale) != (markOf(string(r.JSON)) == "old") {
			p.t.Errorf("batch %d: %s has the outcome %d", step, ref, o)
		}
	}
}

func deletedLater(list []*fhir.Resource, r *fhir.Resource) bool {
	return slices.ContainsFunc(list, func(x *fhir.Resource) bool { return x.Deleted && x.Type == r.Type && x.ID == r.ID })
}

// check compares what is there at the end with what the script leaves.
func (p *playing) check() {
	p.t.Helper()
	for ref, want := range stories {
		typ, id, err := fhir.SplitReference(ref)
		if err != nil {
			p.t.Fatal(err)
		}
		wantTold(p.t, p.s, typ, id, want)
	}
	for i, g := range p.sealed {
		if len(g.outcomes) != len(script()[i]) {
			p.t.Errorf("batch %d is durable, but seal was never told its outcomes", i)
		}
	}
	wantResources(p.t, p.s, scriptLeft()...)
	if p.t.Failed() {
		p.log()
	}
}

// log shows what went over the wire.
func (p *playing) log() {
	for _, err := range p.errs {
		p.t.Logf("error: %v", err)
	}
	for _, r := range p.s.Fhirtest().Requests() {
		p.t.Logf("%d %s %s %s %v %v: %d told %v done %v", r.N, r.Method, r.Path, r.Bundle, r.Entries, r.Faults, r.Status, r.Told, r.Done)
	}
}

// played runs the script against a server with these faults, and checks everything.
func played(t *testing.T, s Server, stream bool, inject func(*fhirtest.Server)) {
	t.Helper()
	refuseID(s, "pbad")
	inject(s.Fhirtest())
	p := &playing{t: t, s: s, stream: stream}
	p.play()
	p.check()
}

// slots is how many runs of the script are under way at once: most of their time is waiting.
const slots = 6

// inParallel runs tests at the same time.
func inParallel(t *testing.T, tests map[string]func(*testing.T)) {
	t.Helper()
	var wait sync.WaitGroup
	free := make(chan struct{}, slots)
	for _, name := range slices.Sorted(maps.Keys(tests)) {
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			t.Run(name, tests[name])
		})
	}
	wait.Wait()
}

// EveryEnv says into every how many requests faults are injected; 1 takes some minutes. Without it, it is few: another
// kind of fault hits other requests.
const EveryEnv = "LOADERTEST_EVERY"

func sample(t *testing.T) int {
	every := 6
	if testing.Short() {
		every = 31
	}
	if text := os.Getenv(EveryEnv); text != "" { //nolint:forbidigo // it tells tests how long they may take
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("%s is no number from 1", EveryEnv)
		}
		every = n
	}
	return every
}

// testFaults injects each kind of fault into each request of the script, or a sample of them. The target is then as without it.
func testFaults(t *testing.T, newServer func(t *testing.T) Server, stream bool) {
	s := newServer(t)
	s.Fhirtest().Set(func(o *fhirtest.Options) { o.Integrity = true })
	s.Fhirtest().Forget()
	played(t, s, stream, func(*fhirtest.Server) {})
	if t.Failed() {
		t.Fatal("the script fails without faults")
	}
	requests := len(s.Fhirtest().Requests())
	every := sample(t)
	if stream {
		every *= 3 // most of it is the same code
	}
	tests := map[string]func(*testing.T){}
	for k, f := range fhirtest.Faults() {
		for i := 1 + k%every; i <= requests; i += every {
			tests[fmt.Sprintf("%s/%02d", f.Name, i)] = func(t *testing.T) {
				s := newServer(t)
				s.Fhirtest().Set(func(o *fhirtest.Options) { o.Integrity = true })
				played(t, s, stream, func(f0 *fhirtest.Server) { f0.Inject(fhirtest.Nth(i, fhirtest.Always), f) })
			}
		}
	}
	start := time.Now()
	inParallel(t, tests)
	t.Logf("%d requests, %d runs, %s", requests, len(tests), time.Since(start).Round(time.Millisecond))
}

// testStorm lets every kind of fault happen at random, so that they meet each other.
func testStorm(t *testing.T, newServer func(t *testing.T) Server) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	tests := map[string]func(*testing.T){}
	for seed := range seeds {
		tests[fmt.Sprint("seed ", seed)] = func(t *testing.T) {
			s := newServer(t)
			s.Fhirtest().Set(func(o *fhirtest.Options) { o.Integrity = true })
			played(t, s, false, func(f0 *fhirtest.Server) {
				for i, f := range fhirtest.Faults() {
					f0.Inject(fhirtest.Chance(0.03, seed<<8|uint64(i), fhirtest.Always), f)
				}
			})
		}
	}
	inParallel(t, tests)
}
