package streamrun_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/internal/synth"
	storeloader "cpcds2fhir/loaders/store"
	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/batchrun"
	"cpcds2fhir/pipeline/messages"
	"cpcds2fhir/pipeline/parquetio"
	"cpcds2fhir/pipeline/publish"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/streamrun"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

var identity = fhir.NewIdentity([]byte("0123456789abcdef"))

// log is a partition in memory.
type log struct {
	topic  string
	number int

	mu        sync.Mutex
	id        string
	first     int64
	messages  []streamrun.Message
	committed int64
}

func (p *log) Topic() string   { return p.topic }
func (p *log) Number() int     { return p.number }
func (p *log) TopicID() string { return p.id }
func (p *log) Committed() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.committed
}

func (p *log) Bounds(context.Context) (first, end int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.first, int64(len(p.messages)), nil
}

func (p *log) Commit(_ context.Context, next int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if next < p.committed {
		return errors.New("the offset went back")
	}
	p.committed = next
	return nil
}

func (p *log) Open(offset int64) streamrun.Feed { return &feed{p, offset} }

func (p *log) add(m streamrun.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.Offset = int64(len(p.messages))
	p.messages = append(p.messages, m)
}

type feed struct {
	*log
	at int64
}

func (f *feed) Fetch(ctx context.Context) ([]streamrun.Message, int64, int64, error) {
	for {
		f.mu.Lock()
		end := int64(len(f.messages))
		to := min(f.at+100, end)
		list := slices.Clone(f.messages[f.at:to])
		f.mu.Unlock()
		if len(list) > 0 {
			f.at = to
			return list, to, end, nil
		}
		select {
		case <-ctx.Done():
			return nil, f.at, end, ctx.Err()
		case <-time.After(time.Millisecond):
			return nil, f.at, end, nil
		}
	}
}

func (f *feed) Close() error { return nil }

// letters collects dead letters.
type letters struct {
	mu   sync.Mutex
	list []streamrun.DeadLetter
}

func (l *letters) Write(_ context.Context, list []streamrun.DeadLetter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, list...)
	return nil
}

// bench is an extract that is loaded as a batch, and as a stream.
type bench struct {
	t      testing.TB
	layout *layouts.Layout
	dir    string
	topic  []streamrun.Message
}

// clock is the clock of a producer that cannot be relied on.
func clock(i int) time.Time {
	return [...]time.Time{time.Now(), {}, time.UnixMilli(1), time.Now().AddDate(500, 0, 0), time.Date(9999, 12, 30, 0, 0, 0, 0, time.UTC)}[i%5]
}

func newBench(t testing.TB, o synth.Options) *bench { return newLineBench(t, o, false) }

func newLineBench(t testing.TB, o synth.Options, lines bool) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	var err error
	if b.layout, err = layouts.Open("cpcds"); err != nil {
		t.Fatal(err)
	}
	o.Dir = filepath.Join(b.dir, "extract")
	if _, err := synth.Write(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	x := &publish.Extract{Inputs: b.inputs(), Layout: b.layout, Scratch: filepath.Join(b.dir, "scratch"), Workers: 2, Lines: lines}
	encoder := messages.NewJSON()
	err = x.Each(t.Context(), func(m *publish.Message) error {
		value, err := encoder.Append(nil, &messages.Record{Fields: m.Fields, Values: m.Values, Lines: m.Lines, Rows: m.Rows})
		headers := []streamrun.Header{{Key: streamrun.TableHeader, Value: []byte(m.Table.String())}}
		if m.Count > 0 {
			headers = append(headers, streamrun.Header{Key: streamrun.LinesHeader, Value: []byte(strconv.Itoa(m.Count))})
		}
		b.topic = append(b.topic, streamrun.Message{Key: []byte(m.Key), Value: value, Time: clock(len(b.topic)), Headers: headers})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) inputs() (list []*rowbatch.Input) {
	b.t.Helper()
	paths, err := filepath.Glob(filepath.Join(b.dir, "extract", "*.parquet"))
	if err != nil || len(paths) == 0 {
		b.t.Fatal("no files", err)
	}
	for _, path := range paths {
		f, err := parquetio.Open(path, parquetio.Options{})
		if err != nil {
			b.t.Fatal(err)
		}
		b.t.Cleanup(func() { f.Close() })
		name := filepath.Base(path)
		table := cpcds.Claims
		for t := range cpcds.NumTables {
			if len(name) > len(t.String()) && name[:len(t.String())] == t.String() {
				table = t
			}
		}
		binding, err := b.layout.Bind(table, f.Fields(), layouts.Options{})
		if err != nil {
			b.t.Fatal(err)
		}
		list = append(list, &rowbatch.Input{Path: path, Table: table, File: f, Binding: binding})
	}
	return list
}

// batch loads the extract as a batch and returns what the store exports.
func (b *bench) batch() map[string]string {
	b.t.Helper()
	dir := filepath.Join(b.dir, "batch")
	l := openStore(b.t, dir)
	e, err := batchrun.New(&batchrun.Config{ID: "run", Inputs: b.inputs(), Layout: b.layout, Version: carin.V220, Identity: identity,
		Loader: l, Voider: l, State: dir + ".state", Workers: 2})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := e.Load(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	return exported(b.t, l, dir)
}

func openStore(t testing.TB, dir string) *storeloader.Loader {
	t.Helper()
	l, err := storeloader.Open(dir, storeloader.Options{Run: "run", KeyFingerprint: identity.Fingerprint()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// exported closes a store and returns what it exports.
func exported(t testing.TB, l *storeloader.Loader, dir string) map[string]string {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(dir, store.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := map[string]string{}
	for e, err := range s.Export(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all[fhir.Reference(e.Type, e.ID)] = string(e.JSON)
	}
	return all
}

// partitions distributes messages by their keys.
func (b *bench) partitions(n int) []*log {
	parts := make([]*log, n)
	for i := range parts {
		parts[i] = &log{topic: "cpcds", number: i, id: "topic"}
	}
	for _, m := range b.topic {
		h := uint32(0)
		for _, c := range m.Key {
			h = h*31 + uint32(c)
		}
		parts[h%uint32(n)].add(m)
	}
	return parts
}

func (b *bench) engine(l *storeloader.Loader, dead *letters, change func(*streamrun.Config)) *streamrun.Engine {
	b.t.Helper()
	c := &streamrun.Config{Group: "group", Layout: b.layout, Version: carin.V220, Identity: identity, Target: l, Voider: l, DeadLetters: dead,
		Scratch: filepath.Join(b.dir, "stream"), BatchBytes: 1 << 16}
	if change != nil {
		change(c)
	}
	e, err := streamrun.New(c)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { e.Close() })
	return e
}

// stream runs all partitions until everything is durable.
func stream(t testing.TB, e *streamrun.Engine, parts []*log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	for _, p := range parts {
		wait.Go(func() {
			if err := e.Lane(ctx, p); err != nil {
				t.Error(err)
				cancel()
			}
		})
	}
	for ctx.Err() == nil {
		done := true
		for _, p := range parts {
			_, end, _ := p.Bounds(ctx)
			done = done && p.Committed() == end
		}
		if done {
			waiting, err := e.Sweep(ctx)
			if err != nil {
				t.Error(err)
			}
			if waiting == 0 {
				break
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := ctx.Err(); err != nil {
		t.Error("the stream did not come to its end:", err)
	}
	cancel()
	wait.Wait()
}

func compare(t *testing.T, got, want map[string]string) {
	t.Helper()
	wrong := 0
	for ref, text := range want {
		if got[ref] != text {
			if wrong++; wrong < 4 {
				at := 0
				for at < min(len(text), len(got[ref])) && text[at] == got[ref][at] {
					at++
				}
				cut := func(s string) string { return s[min(len(s), max(0, at-60)):min(len(s), at+60)] }
				t.Errorf("%s: got …%s…, want …%s…", ref, cut(got[ref]), cut(text))
			}
		}
	}
	for ref := range got {
		if _, ok := want[ref]; !ok {
			if wrong++; wrong < 4 {
				t.Errorf("%s should not exist", ref)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d resources differ", wrong, len(want))
	}
}

// TestStream proves that a stream makes the same resources as a batch load: in the order of the
// extract, and in any other.
func TestStream(t *testing.T) {
	claims := 600
	if testing.Short() {
		claims = 150
	}
	b := newBench(t, synth.Options{Claims: claims, Seed: 5})
	want := b.batch()
	for _, partitions := range []int{1, 4} {
		for _, order := range []string{"extract", "backwards", "shuffled"} {
			t.Run(fmt.Sprint(order, " in ", partitions), func(t *testing.T) {
				x := *b
				x.topic = slices.Clone(b.topic)
				switch order {
				case "backwards":
					slices.Reverse(x.topic)
				case "shuffled":
					r := rand.New(rand.NewPCG(1, 2))
					r.Shuffle(len(x.topic), func(i, j int) { x.topic[i], x.topic[j] = x.topic[j], x.topic[i] })
				}
				dir := filepath.Join(t.TempDir(), "store")
				l := openStore(t, dir)
				dead := &letters{}
				var count streamrun.MessageCount
				var again atomic.Int64
				var mu sync.Mutex
				e := x.engine(l, dead, func(c *streamrun.Config) {
					c.Events.Again = func(string, int) { again.Add(1) }
					c.Events.Loaded = func(_ string, _ int, b streamrun.Batch) {
						mu.Lock()
						defer mu.Unlock()
						count.Add(&b.Messages)
					}
				})
				stream(t, e, x.partitions(partitions))
				t.Logf("%+v, %d batches made again, %d dead letters", count, again.Load(), len(dead.list))
				for i, d := range dead.list {
					if i < 3 {
						t.Logf("dead letter: %s %s %+v", d.Table, d.Stage, d.Problems)
					}
				}
				compare(t, exported(t, l, dir), want)
			})
		}
	}
}

// flaky is a target that fails now and then: before anything happened, or after everything did.
type flaky struct {
	*storeloader.Loader
	loads, recalls, failures atomic.Int64
}

var errFlaky = errors.New("the target is down")

// fails reports whether this call fails: one of every so many.
func (f *flaky) fails(calls *atomic.Int64, every int64) bool {
	if calls.Add(1)%every != 0 {
		return false
	}
	f.failures.Add(1)
	return true
}

func (f *flaky) Take(ctx context.Context, lane string) (pipeline.StreamLane, pipeline.Position, error) {
	l, at, err := f.Loader.Take(ctx, lane)
	return &flakyLane{f, l}, at, err
}

func (f *flaky) Recall(ctx context.Context, names []string) ([][]byte, error) {
	if f.fails(&f.recalls, 2003) {
		return nil, errFlaky
	}
	return f.Loader.Recall(ctx, names)
}

type flakyLane struct {
	*flaky
	lane pipeline.StreamLane
}

func (l *flakyLane) Load(ctx context.Context, b *fhir.Batch, seal pipeline.StreamSeal) error {
	if l.fails(&l.loads, 7) {
		return errFlaky
	}
	err := l.lane.Load(ctx, b, seal)
	if l.fails(&l.loads, 7) {
		return errors.Join(err, errFlaky)
	}
	return err
}

func (l *letters) Resolve(_ context.Context, sources []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = slices.DeleteFunc(l.list, func(d streamrun.DeadLetter) bool {
		return slices.Contains(sources, fmt.Sprintf("%s/%d/%d", d.Topic, d.Partition, d.Message.Offset))
	})
	return nil
}

func (l *letters) positions() map[string]bool {
	all := map[string]bool{}
	for _, d := range l.list {
		all[fmt.Sprintf("%s/%d/%d", d.Topic, d.Partition, d.Message.Offset)] = true
	}
	return all
}

// TestFaults runs a stream whose target fails, and whose lanes change their owners all the time. The
// result is that of a batch load, everything is accounted for once, and no offset goes back.
func TestFaults(t *testing.T) {
	claims := 400
	if testing.Short() {
		claims = 120
	}
	b := newBench(t, synth.Options{Claims: claims, Seed: 6, Faults: 0.2})
	want := b.batch()
	r := rand.New(rand.NewPCG(7, 7))
	r.Shuffle(len(b.topic), func(i, j int) { b.topic[i], b.topic[j] = b.topic[j], b.topic[i] })
	parts := b.partitions(3)
	dir := filepath.Join(t.TempDir(), "store")
	l := openStore(t, dir)
	dead := &letters{}
	target := &flaky{Loader: l}
	var again, ended, fenced, late atomic.Int64
	e := b.engine(l, dead, func(c *streamrun.Config) {
		c.Target = target
		c.BatchBytes = 1 << 15
		c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
		c.Events.Again = func(string, int) { again.Add(1) }
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	for range 2 { // two owners of each partition, of whom one is always stale
		for _, p := range parts {
			wait.Go(func() {
				r := rand.New(rand.NewPCG(uint64(p.number), 3))
				for ctx.Err() == nil {
					own, stop := context.WithTimeout(ctx, time.Duration(100+r.IntN(500))*time.Millisecond)
					err := e.Lane(own, p)
					stop()
					switch {
					case errors.Is(err, pipeline.ErrFenced): // the broker has another owner; it will be asked again
						fenced.Add(1)
						time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
					case err != nil:
						t.Error(err)
						cancel()
					}
					ended.Add(1)
				}
			})
		}
	}
	same, last := 0, int64(-1)
	for ctx.Err() == nil {
		waiting, err := e.Sweep(ctx)
		if slices.ContainsFunc(parts, func(p *log) bool { _, end, _ := p.Bounds(ctx); return p.Committed() < end }) {
			waiting = -1
		}
		if err == nil && waiting == 0 {
			break
		}
		if same++; waiting != last || waiting < 0 {
			same, last = 0, waiting
		}
		if same == 10 { // what still waits refers to what does not exist
			late.Store(int64(25 * time.Hour))
		}
		time.Sleep(100 * time.Millisecond)
	}
	if ctx.Err() != nil {
		waiting, err := e.Sweep(t.Context())
		l.Each(t.Context(), "wait/", func(r pipeline.Record) error {
			place := r.Name[len("wait/")+18:]
			v, _ := l.Recall(t.Context(), []string{"held/" + place})
			t.Logf("%c %x %q %.300q", r.Name[5], r.Name[6:22], r.Value, v[0])
			return nil
		})
		for _, p := range parts {
			_, end, _ := p.Bounds(ctx)
			t.Log(p.number, p.Committed(), end)
		}
		t.Fatal("the stream did not come to its end", again.Load(), ended.Load(), fenced.Load(), waiting, err, late.Load(), same)
	}
	cancel()
	wait.Wait()
	settling := context.WithoutCancel(ctx)
	for err := errFlaky; err != nil; {
		if err = e.Settle(settling); err != nil && !errors.Is(err, errFlaky) {
			t.Fatal(err)
		}
	}
	var count streamrun.MessageCount
	var account pipeline.Account
	err := streamrun.Accounts(t.Context(), l, "group", time.Time{}, func(a *streamrun.LaneAccount) error {
		count.Add(&a.Messages)
		account.Add(&a.Account)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d failures of the target, %d owners, %d batches made again: %+v, claims %+v", target.failures.Load(), ended.Load(), again.Load(), count, account.Claims)
	if !count.Balanced() || !account.Balanced() || count.Read != int64(len(b.topic)) {
		t.Errorf("the account does not balance: %d messages were published; %+v, %+v", len(b.topic), count, account)
	}
	if count.Waiting != count.Released+count.ReleasedDead+count.Expired {
		t.Errorf("%d records have waited, %d went on", count.Waiting, count.Released+count.ReleasedDead+count.Expired)
	}
	if n := int64(len(dead.positions())); n != count.DeadLetters+count.Expired+count.ReleasedDead {
		t.Errorf("%d messages are dead letters, the account says %+v", n, count)
	}
	compare(t, exported(t, l, dir), want)
}

// TestLines proves that a claim comes together from messages of single lines: by their number, or when
// no more come; and that lanes may change their owners meanwhile. What comes late, or twice, makes no
// other claim than what comes in time.
func TestLines(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for lines that do not come")
	}
	b := newLineBench(t, synth.Options{Claims: 300, Seed: 8}, true)
	want := b.batch()
	for _, counted := range []bool{true, false} {
		x := *b
		x.topic = nil
		for i, m := range b.topic {
			if !counted {
				m.Headers = m.Headers[:1]
			}
			if i%7 == 0 {
				x.topic = append(x.topic, m) // twice
			}
			x.topic = append(x.topic, m)
		}
		r := rand.New(rand.NewPCG(3, 3))
		r.Shuffle(len(x.topic), func(i, j int) { x.topic[i], x.topic[j] = x.topic[j], x.topic[i] })
		parts := x.partitions(2)
		late := parts[0].messages[len(parts[0].messages)*9/10:]
		parts[0].messages = parts[0].messages[:len(parts[0].messages)*9/10]
		dir := filepath.Join(t.TempDir(), "store")
		l := openStore(t, dir)
		dead := &letters{}
		var loaded atomic.Int64
		e := x.engine(l, dead, func(c *streamrun.Config) {
			c.Topics = map[string]streamrun.Topic{"cpcds": {Lines: &streamrun.Lines{Quiet: 300 * time.Millisecond}}}
			if counted {
				c.Topics = nil
			}
			c.Events.Loaded = func(_ string, _ int, b streamrun.Batch) { loaded.Add(b.Account.Claims.Loaded) }
		})
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		var wait sync.WaitGroup
		for _, p := range parts {
			wait.Go(func() {
				for ctx.Err() == nil { // a new owner now and then
					own, stop := context.WithTimeout(ctx, 1500*time.Millisecond)
					if err := e.Lane(own, p); err != nil {
						t.Error(err)
					}
					stop()
				}
			})
		}
		time.Sleep(time.Second)
		for _, m := range late {
			parts[0].add(m)
		}
		behind := func(p *log) bool { _, end, _ := p.Bounds(ctx); return p.Committed() < end }
		for ctx.Err() == nil && (loaded.Load() < 300 || slices.ContainsFunc(parts, behind)) {
			if _, err := e.Sweep(ctx); err != nil {
				t.Error(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(9 * time.Second) // late lines, and claims that look for their member and providers again
		if ctx.Err() != nil {
			t.Errorf("the stream did not come to its end: %d claims", loaded.Load())
		}
		cancel()
		wait.Wait()
		if len(dead.list) > 0 {
			t.Errorf("%d dead letters, the first %+v", len(dead.list), dead.list[0].Problems)
		}
		compare(t, exported(t, l, dir), want)
	}
}
