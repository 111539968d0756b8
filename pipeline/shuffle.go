package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

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
	spillBytes    = 32 << 20 // packed rows that wait in memory before they are written
	fewRanges     = 64       // up to so many places in a lane are read one by one
)

// shuffle loads the claims whose rows do not stand together.
func (r *Run) shuffle(ctx context.Context, lanes []claimLane, total *Account) error {
	r.Events.phase("shuffle")
	ranges, rows, err := r.scatteredRanges(ctx, lanes)
	if err != nil {
		return err
	}
	s := r.newShuffler(rows)
	defer s.remove()
	if err := s.gather(ctx, lanes, ranges); err != nil {
		return err
	}
	accounts := make([]Account, s.partitions)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(r.Workers, 1))
	for p := range s.partitions {
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			return s.load(gctx, p, &accounts[p])
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range accounts {
		total.Add(&accounts[i])
	}
	return nil
}

// scatteredRanges finds where the rows of scattered keys are: for each lane its
// runs of input rows, nil for the whole lane. It returns their number too.
func (r *Run) scatteredRanges(ctx context.Context, lanes []claimLane) ([][]Span, int64, error) {
	ranges := make([][]Span, len(lanes))
	counts := make([]int64, len(lanes))
	if r.keys.all {
		return ranges, r.keys.rows, nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(r.Workers, 1))
	for i, lane := range lanes {
		g.Go(func() error {
			found := []Span{}
			_, err := r.eachKey(gctx, lane, func(key string, from, to int64) error {
				if r.keys.scattered(key) {
					found = append(found, Span{from, to - from})
					counts[i] += to - from
				}
				return nil
			})
			ranges[i] = found
			if len(found) > fewRanges {
				ranges[i] = nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	var rows int64
	for _, n := range counts {
		rows += n
	}
	return ranges, rows, nil
}

// shuffler spreads rows and reads them back, in one set of partitions for each
// group of inputs with the same columns.
type shuffler struct {
	run        *Run
	partitions int
	groups     map[string]int // by the columns
	groupOf    []int          // by input
	sets       []*spill.Set   // by group
}

// newShuffler groups the inputs and makes their partitions.
func (r *Run) newShuffler(rows int64) *shuffler {
	s := &shuffler{run: r, partitions: int(min(rows/partitionRows+1, maxPartitions)), groups: map[string]int{}}
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
		g, ok := s.groups[id]
		if !ok {
			g = len(s.groups)
			s.groups[id] = g
			s.sets = append(s.sets, spill.NewSet(r.spillDir(), fmt.Sprintf("rows-%02d", g), len(names), s.partitions))
		}
		s.groupOf[i] = g
	}
	return s
}

// gather spreads the scattered rows of all lanes.
func (s *shuffler) gather(ctx context.Context, lanes []claimLane, ranges [][]Span) error {
	workers := max(s.run.Workers, 1)
	writers := make([]map[int]*spill.Writer, workers) // by worker and group
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for i := range writers {
		writers[i] = map[int]*spill.Writer{}
		g.Go(func() error {
			for {
				n := int(next.Add(1)) - 1
				if n >= len(lanes) || gctx.Err() != nil {
					return gctx.Err()
				}
				group := s.groupOf[lanes[n].input]
				w := writers[i][group]
				if w == nil {
					var err error
					if w, err = s.sets[group].Writer(spillBytes / workers / len(s.sets)); err != nil {
						return err
					}
					writers[i][group] = w
				}
				if err := s.gatherLane(gctx, lanes[n], ranges[n], w); err != nil {
					return err
				}
			}
		})
	}
	err := g.Wait()
	for _, ws := range writers {
		for _, w := range ws {
			err = errors.Join(err, w.Close())
		}
	}
	return err
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

// gatherLane reads the scattered rows of a lane into the partitions.
func (s *shuffler) gatherLane(ctx context.Context, lane claimLane, ranges []Span, w *spill.Writer) error {
	if ranges == nil {
		ranges = []Span{lane.span}
	}
	in := s.run.Inputs[lane.input]
	keys := s.run.newKeyReader(in)
	picks := make([][]int32, s.partitions)
	var rows cpcds.Rows
	for _, span := range ranges {
		src, err := in.File.Open(ctx, span.First, span.First+span.Rows, in.columns())
		if err != nil {
			return err
		}
		for {
			if err = src.Next(ctx, &rows); err != nil {
				break
			}
			rows.Enumerate()
			keys.readWide(&rows)
			for p := range picks {
				picks[p] = picks[p][:0]
			}
			err = keys.runs(func(key string, i, j int) error {
				// Rows without a key are rejected by the lane; if there are no
				// lanes, here.
				if s.run.keys.all || s.run.keys.scattered(key) {
					p := s.partition(key)
					for ; i < j; i++ {
						picks[p] = append(picks[p], int32(i))
					}
				}
				return nil
			})
			if err = errors.Join(err, w.Append(&rows, picks, int32(lane.input))); err != nil {
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
