package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"cpcds2fhir/pipeline/spill"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// The shuffle gathers the rows of claims that do not stand together: rows are
// spread over partitions by claim key, in files, and each partition is then
// assembled on its own. How many partitions there are depends on the number of
// rows alone, so that an interrupted run finds the same ones again.
const (
	partitionRows = 4 << 10  // rows of one partition, about: they are in memory together
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
	s := &shuffler{run: r, partitions: int(min(rows/partitionRows+1, maxPartitions)), groups: map[string]int{}}
	defer s.remove()
	for i, in := range r.Inputs {
		if in.Table == cpcds.Claims {
			s.group(i)
		}
	}
	s.open(r.spillDir())
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(r.Workers, 1))
	for i, lane := range lanes {
		g.Go(func() error { return s.gather(gctx, lane, ranges[i]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := s.close(); err != nil {
		return err
	}
	accounts := make([]Account, s.partitions)
	g, gctx = errgroup.WithContext(ctx)
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
	columns    [][]string     // by group
	sets       []*spill.Set   // by group
}

func (s *shuffler) group(input int) {
	for len(s.groupOf) <= input {
		s.groupOf = append(s.groupOf, -1)
	}
	var names []string
	in := s.run.Inputs[input]
	for _, i := range in.columns() {
		names = append(names, rawName(in.File.Fields()[i]))
	}
	id := strings.Join(names, "\x00")
	g, ok := s.groups[id]
	if !ok {
		g = len(s.groups)
		s.groups[id] = g
		s.columns = append(s.columns, names)
	}
	s.groupOf[input] = g
}

func (s *shuffler) open(dir string) {
	for g, columns := range s.columns {
		s.sets = append(s.sets, spill.NewSet(dir, fmt.Sprintf("rows-%02d", g), columns, s.partitions, spillBytes/len(s.columns)))
	}
}

func (s *shuffler) close() error {
	for _, set := range s.sets {
		if err := set.Close(); err != nil {
			return err
		}
	}
	return nil
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

// gather reads the scattered rows of a lane into the partitions.
func (s *shuffler) gather(ctx context.Context, lane claimLane, ranges []Span) error {
	if ranges == nil {
		ranges = []Span{lane.span}
	}
	in := s.run.Inputs[lane.input]
	binding := in.Binding.Clone()
	b := &bound{input: in}
	picks := make([][]int32, s.partitions)
	for _, span := range ranges {
		src, err := in.File.Open(ctx, span.First, span.First+span.Rows, in.columns())
		if err != nil {
			return err
		}
		for {
			if err = src.Next(ctx, &b.rows); err != nil {
				break
			}
			b.rows.Enumerate()
			binding.Convert(&b.batch, &b.rows)
			if b.plan == nil {
				b.plan = newPlan(&b.batch, binding.Reps(), s.run.Layout.Table(cpcds.Claims))
			}
			for p := range picks {
				picks[p] = picks[p][:0]
			}
			for i := 0; i < b.batch.N; {
				j := i + 1
				for j < b.batch.N && b.sameKey(i, j) {
					j++
				}
				// Rows without a key are rejected by the lane; if there are no
				// lanes, here.
				if key := b.key(i); s.run.keys.all || s.run.keys.scattered(key) {
					p := s.partition(key)
					for ; i < j; i++ {
						picks[p] = append(picks[p], int32(i))
					}
				}
				i = j
			}
			if err = s.sets[s.groupOf[lane.input]].Append(&b.rows, picks, int32(lane.input)); err != nil {
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
	defer w.close()
	defer func() { account.Add(&w.base) }()
	if w.done {
		return nil
	}
	slabs := make([]*bound, len(s.run.Inputs))
	for g := range s.columns {
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

// read reads the spilled rows of a group and partition into slabs by input.
func (s *shuffler) read(group, p int, slabs []*bound) error {
	rd, err := s.sets[group].Open(p)
	if err != nil {
		return err
	}
	defer rd.Close()
	table := s.run.Layout.Table(cpcds.Claims)
	type chunk struct {
		bound
		binding *layouts.Binding
	}
	var inputs []int32
	chunks := map[int32]*chunk{}
	var rows cpcds.Rows
	for {
		if err := rd.Next(&rows, &inputs); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for i := 0; i < rows.N; {
			j := i + 1
			for j < rows.N && inputs[j] == inputs[i] {
				j++
			}
			input := int(inputs[i])
			c := chunks[inputs[i]]
			if c == nil {
				c = &chunk{bound: bound{input: s.run.Inputs[input]}, binding: s.run.Inputs[input].Binding.Clone()}
				chunks[inputs[i]] = c
			}
			c.rows = rows
			c.binding.Convert(&c.batch, &c.rows)
			if c.plan == nil {
				c.plan = newPlan(&c.batch, c.binding.Reps(), table)
			}
			if slabs[input] == nil {
				slabs[input] = &bound{}
			}
			slabs[input].hold(&c.bound, i, j)
			i = j
		}
	}
}
