package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"

	"cpcds2fhir/pipeline/spill"
	"cpcds2fhir/schemas/cpcds"
)

// The shuffle gathers the rows of claims that do not stand together: rows are
// spread over partitions by claim key, in files, and each partition is then
// assembled on its own. How many partitions there are depends on the number of
// rows alone, so that an interrupted run finds the same ones again.
const (
	partitionRows = 16 << 10 // rows of one partition, about: they are in memory together
	maxPartitions = 4 << 10  // an extract with more rows than both allow has larger ones
	spillBytes    = 64 << 20 // packed rows that wait in memory before they are written
	fewSpans      = 64       // up to so many places in a lane are read one by one
)

// shuffler spreads the rows of scattered keys over partitions, in one set of them for
// each group of inputs with the same columns, and loads the partitions one by one.
// Lanes give it what they meet; what lanes of an earlier, interrupted call met it reads
// again.
type shuffler struct {
	run        *Run
	partitions int
	groupOf    []int        // by input: of those with the same columns
	sets       []*spill.Set // by group

	mu   sync.Mutex
	free []*spill.Writer // that no lane has now
}

// newShuffler groups the inputs and makes their partitions. How many rows there are to
// spread is reckoned from what all runs of the extract agree on.
func (r *Run) newShuffler() *shuffler {
	rows := r.keys.rows
	if !r.keys.all {
		rows = int64(len(r.keys.repeated)) * rows / max(r.keys.distinct, 1)
	}
	s := &shuffler{run: r, partitions: int(min(rows/partitionRows+1, maxPartitions))}
	groups := map[string]int{} // by the columns
	for i, in := range r.Inputs {
		s.groupOf = append(s.groupOf, -1)
		if in.Table != cpcds.Claims {
			continue
		}
		var names []string
		for _, c := range in.columns() {
			names = append(names, rawName(in.File.Fields()[c]))
		}
		id := strings.Join(names, "\x00")
		g, ok := groups[id]
		if !ok {
			g = len(groups)
			groups[id] = g
			s.sets = append(s.sets, spill.NewSet(r.spillDir(), fmt.Sprintf("rows-%02d", g), len(names), s.partitions))
		}
		s.groupOf[i] = g
	}
	return s
}

// writer returns a writer for a lane, which gives it back with release.
func (s *shuffler) writer() (*spill.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		w := s.free[n-1]
		s.free = s.free[:n-1]
		return w, nil
	}
	return spill.NewWriter(spillBytes / max(s.run.Workers, 1))
}

func (s *shuffler) release(w *spill.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = append(s.free, w)
}

// spread gives the rows [from, to) of a key to its partition.
func (s *shuffler) spread(w *spill.Writer, input int, key string, rows *cpcds.Rows, from, to int) error {
	return w.Append(s.sets[s.groupOf[input]], s.partition(key), rows, from, to, int32(input))
}

func (s *shuffler) remove() {
	for _, set := range s.sets {
		set.Remove()
	}
}

// partition of a key. It must be the same in every run.
func (s *shuffler) partition(key string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum64() % uint64(s.partitions))
}

// gather spreads the scattered rows among the first rows of a lane: those that no lane
// of this call gives.
func (s *shuffler) gather(ctx context.Context, lane claimLane, rows int64) error {
	lane.span.Rows = rows
	spans := []Span{lane.span}
	if !s.run.keys.all {
		var err error
		if spans, err = s.run.scatteredSpans(ctx, lane); err != nil {
			return err
		}
	}
	w, err := s.writer()
	if err != nil {
		return err
	}
	defer s.release(w)
	in := s.run.Inputs[lane.input]
	keys := s.run.newKeyReader(in)
	var slab cpcds.Rows
	for _, span := range spans {
		src, err := in.File.Open(ctx, span.First, span.First+span.Rows, in.columns())
		if err != nil {
			return err
		}
		for {
			if err = src.Next(ctx, &slab); err != nil {
				break
			}
			keys.readWide(&slab)
			err = keys.runs(func(key string, i, j int) error {
				// Rows without a key are rejected by the lane; if there are no
				// lanes, here.
				if !s.run.keys.scattered(key) {
					return nil
				}
				return s.spread(w, lane.input, key, &slab, i, j)
			})
			if err != nil {
				break
			}
		}
		src.Close()
		if !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

// scatteredSpans finds where the rows of scattered keys are in a lane: a few runs of
// input rows, else the whole lane.
func (r *Run) scatteredSpans(ctx context.Context, lane claimLane) ([]Span, error) {
	var spans []Span
	_, err := r.eachKey(ctx, lane, func(key string, from, to int64) error {
		if r.keys.scattered(key) {
			spans = append(spans, Span{from, to - from})
		}
		return nil
	})
	if len(spans) > fewSpans {
		spans = []Span{lane.span}
	}
	return spans, err
}

// gatherAll spreads all rows of the lanes.
func (s *shuffler) gatherAll(ctx context.Context, lanes []claimLane) error {
	return s.run.parallel(ctx, len(lanes), func(ctx context.Context, i int) error {
		return s.gather(ctx, lanes[i], lanes[i].span.Rows)
	})
}

// loadAll loads the partitions, when all rows have been spread.
func (s *shuffler) loadAll(ctx context.Context, total *Account) error {
	for _, w := range s.free {
		if err := w.Close(); err != nil {
			return err
		}
	}
	s.free = nil
	return s.run.accounted(ctx, s.partitions, total, s.load)
}

// load assembles and loads the claims of a partition, in the order of their keys;
// the rows of a claim come in the order of inputs, lines and rows.
func (s *shuffler) load(ctx context.Context, p int, account *Account) error {
	w, err := s.run.newWorker(ctx, fmt.Sprintf("shuffle-%04d", p), -1)
	if err != nil {
		return err
	}
	defer func() {
		w.close()
		account.Add(&w.base)
	}()
	if w.done {
		return nil
	}
	slabs := make([]*bound, len(s.run.Inputs))
	for g := range s.sets {
		if err := s.read(g, p, slabs); err != nil {
			return err
		}
	}
	type keyed struct {
		key   string
		input int
		line  int
		row   int
	}
	var rows []keyed
	for input, b := range slabs {
		if b == nil {
			continue
		}
		for i := range b.batch.N {
			rows = append(rows, keyed{b.key(i), input, b.lineNumber(i), i})
		}
	}
	slices.SortFunc(rows, func(a, b keyed) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		if a.input != b.input {
			return a.input - b.input
		}
		if a.line != b.line {
			return a.line - b.line
		}
		n, m := slabs[a.input].rows.Numbers[a.row], slabs[b.input].rows.Numbers[b.row]
		if n != m {
			return int(n - m)
		}
		return a.row - b.row
	})
	var claims int64
	skip := w.row
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && rows[j].key == rows[i].key {
			j++
		}
		if claims++; claims > skip {
			var segments []segment
			for _, k := range rows[i:j] {
				b := slabs[k.input]
				if n := len(segments); n > 0 && segments[n-1].b == b && segments[n-1].to == k.row {
					segments[n-1].to = k.row + 1
				} else {
					segments = append(segments, segment{b, k.row, k.row + 1})
				}
			}
			if rows[i].key == "" {
				for _, seg := range segments {
					w.keyless(seg)
				}
			} else {
				w.claim(rows[i].key, segments)
			}
			w.row++
			w.fresh += int64(j - i)
			if err := w.flushIfFull(ctx); err != nil {
				return err
			}
		}
		i = j
	}
	return w.finish(ctx)
}

// read reads the spilled rows of a group and partition into slabs by input. It
// gathers the raw rows of an input first and converts them once: those of several
// inputs lie mixed.
func (s *shuffler) read(group, p int, slabs []*bound) error {
	rd, err := s.sets[group].Open(p)
	if err != nil {
		return err
	}
	defer rd.Close()
	for err == nil {
		err = rd.Next(func(tag int32, number int64, whole bool, values []string) {
			b := slabs[tag]
			if b == nil {
				b = &bound{input: s.run.Inputs[tag]}
				b.rows.Columns = make([]cpcds.Column, len(values))
				slabs[tag] = b
			}
			for c, v := range values {
				b.rows.Columns[c].AppendPlain(v)
			}
			b.rows.Numbers = append(b.rows.Numbers, number)
			b.rows.Whole = append(b.rows.Whole, whole)
			b.rows.N++
		})
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	for input, b := range slabs {
		if b == nil || s.groupOf[input] != group {
			continue
		}
		binding := b.input.Binding.Clone()
		binding.Convert(&b.batch, &b.rows)
		b.plan = newPlan(&b.batch, binding)
		b.sift()
	}
	return nil
}
