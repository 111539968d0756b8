package scattered

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"sync"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/spill"
	"cpcds2fhir/schemas/cpcds"
)

// Rows are distributed by claim key over partitions, which are files, and each partition is then
// read separately. The number of partitions depends only on the number of rows, so that a resumed
// run uses the same partitions.
const (
	partitionRows = 16 << 10 // approximate rows per partition; a partition is held in memory
	maxPartitions = 4 << 10  // in larger extracts the partitions are larger
	spillBytes    = 64 << 20 // compressed rows buffered in memory before they are written
	fewSpans      = 64       // up to this many spans of a lane are read individually
)

// Shuffle distributes the rows of scattered keys over partitions. There is one set of partitions
// for each group of inputs with the same columns. Lanes pass it the rows that they read. Rows that
// were read before an interruption are read again by Gather. Shuffle is safe for concurrent use
// until Seal.
type Shuffle struct {
	keys       *Keys
	inputs     []*rowbatch.Input
	workers    int
	partitions int
	groupOf    []int        // by input: index of its group of inputs with the same columns
	sets       []*spill.Set // by group

	mu   sync.Mutex
	free []*spill.Writer // not in use by any lane
}

// NewShuffle groups the inputs of a run and creates their partitions, with files in folder. The
// number of rows is estimated only from data that is the same in all runs of the extract.
func NewShuffle(keys *Keys, inputs []*rowbatch.Input, folder string, workers int) *Shuffle {
	rows := keys.rows
	if !keys.all {
		rows = int64(len(keys.repeated)) * rows / max(keys.distinct, 1)
	}
	s := &Shuffle{keys: keys, inputs: inputs, workers: workers, partitions: int(min(rows/partitionRows+1, maxPartitions))}
	groups := map[string]int{} // by the columns
	for _, in := range inputs {
		s.groupOf = append(s.groupOf, -1)
		if in.Table != cpcds.Claims {
			continue
		}
		names := in.RawNames()
		id := strings.Join(names, "\x00")
		g, ok := groups[id]
		if !ok {
			g = len(groups)
			groups[id] = g
			s.sets = append(s.sets, spill.NewSet(folder, fmt.Sprintf("rows-%02d", g), len(names), s.partitions))
		}
		s.groupOf[len(s.groupOf)-1] = g
	}
	return s
}

// Partitions returns the number of partitions.
func (s *Shuffle) Partitions() int { return s.partitions }

// Remove deletes the files.
func (s *Shuffle) Remove() {
	for _, set := range s.sets {
		set.Remove()
	}
}

// Writer distributes the rows of one lane. It belongs to one goroutine.
type Writer struct {
	shuffle *Shuffle
	spill   *spill.Writer
}

// Writer returns a Writer for a lane, which must release it.
func (s *Shuffle) Writer() (*Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free); n > 0 {
		w := s.free[n-1]
		s.free = s.free[:n-1]
		return &Writer{s, w}, nil
	}
	w, err := spill.NewWriter(spillBytes / max(s.workers, 1))
	return &Writer{s, w}, err
}

// Release returns the Writer to the Shuffle.
func (w *Writer) Release() {
	w.shuffle.mu.Lock()
	defer w.shuffle.mu.Unlock()
	w.shuffle.free = append(w.shuffle.free, w.spill)
}

// Add adds rows of a key to its partition.
func (w *Writer) Add(key string, rows rowbatch.Segment) error {
	return w.add(key, rows.Batch.Input, rows.Batch.RawRows(), rows.From, rows.To)
}

func (w *Writer) add(key string, in *rowbatch.Input, rows *cpcds.Rows, from, to int) error {
	s := w.shuffle
	return w.spill.Append(s.sets[s.groupOf[in.Index()]], s.partition(key), rows, from, to, int32(in.Index()))
}

// partition returns the partition of a key. It must be the same in every run.
func (s *Shuffle) partition(key string) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // never fails
	return int(h.Sum64() % uint64(s.partitions))
}

// Gather distributes the scattered rows among the first rows of a lane. These were read before an
// interruption, so no lane of this run passes them to the Shuffle.
func (s *Shuffle) Gather(ctx context.Context, lane rowbatch.Lane, rows int64) error {
	lane.Span.Rows = rows
	spans := []pipeline.Span{lane.Span}
	if !s.keys.all {
		var err error
		if spans, err = s.spans(ctx, lane); err != nil {
			return err
		}
	}
	w, err := s.Writer()
	if err != nil {
		return err
	}
	defer w.Release()
	keys := rowbatch.NewKeyReader(lane.Input)
	for _, span := range spans {
		if err := w.gather(ctx, lane.Input, span, keys); err != nil {
			return err
		}
	}
	return nil
}

// gather distributes the scattered rows of a span.
func (w *Writer) gather(ctx context.Context, in *rowbatch.Input, span pipeline.Span, keys *rowbatch.KeyReader) error {
	src, err := in.File.Open(ctx, span.First, span.First+span.Rows, in.Columns())
	if err != nil {
		return err
	}
	defer src.Close()
	var rows cpcds.Rows
	for {
		if err := src.Next(ctx, &rows); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		err := keys.ReadWhole(&rows, func(key string, from, to int, _ int64) error {
			// Rows without a key are rejected by the lane or, if there are no lanes, when the
			// partitions are read.
			if !w.shuffle.keys.Has(key) {
				return nil
			}
			return w.add(key, in, &rows, from, to)
		})
		if err != nil {
			return err
		}
	}
}

// spans locates the rows of scattered keys in a lane. It returns a few spans of input rows, or the
// whole lane if there would be too many.
func (s *Shuffle) spans(ctx context.Context, lane rowbatch.Lane) ([]pipeline.Span, error) {
	var spans []pipeline.Span
	_, err := eachKey(ctx, lane, func(key string, from, to int64) error {
		if s.keys.Has(key) {
			spans = append(spans, pipeline.Span{First: from, Rows: to - from})
		}
		return nil
	})
	if len(spans) > fewSpans {
		spans = []pipeline.Span{lane.Span}
	}
	return spans, err
}

// GatherAll distributes all rows of the lanes.
func (s *Shuffle) GatherAll(ctx context.Context, lanes []rowbatch.Lane) error {
	return pipeline.Parallel(ctx, s.workers, len(lanes), func(ctx context.Context, i int) error {
		return s.Gather(ctx, lanes[i], lanes[i].Span.Rows)
	})
}

// Seal completes the partitions. It must be called after all rows have been distributed and all
// Writers released.
func (s *Shuffle) Seal() error {
	for _, w := range s.free {
		if err := w.Close(); err != nil {
			return err
		}
	}
	s.free = nil
	return nil
}

// Claims calls f for each claim of a partition, in key order. It passes the key and the rows of
// the claim in extract order, with the raw values that rejects show. The rows are valid until
// Claims returns.
func (s *Shuffle) Claims(p int, f func(key string, rows []rowbatch.Segment) error) error {
	batches := make([]*rowbatch.Batch, len(s.inputs))
	for g := range s.sets {
		if err := s.read(g, p, batches); err != nil {
			return err
		}
	}
	rows := sortedRows(batches)
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && rows[j].key == rows[i].key {
			j++
		}
		var segments []rowbatch.Segment
		for _, k := range rows[i:j] {
			b := batches[k.input]
			if n := len(segments); n > 0 && segments[n-1].Batch == b && segments[n-1].To == k.row {
				segments[n-1].To = k.row + 1
			} else {
				segments = append(segments, rowbatch.Segment{Batch: b, From: k.row, To: k.row + 1})
			}
		}
		if err := f(rows[i].key, segments); err != nil {
			return err
		}
		i = j
	}
	return nil
}

// keyed is a row of a partition with its key.
type keyed struct {
	key   string
	input int
	row   int
}

// sortedRows sorts the rows of batches by key, then by their order in the extract.
func sortedRows(batches []*rowbatch.Batch) (rows []keyed) {
	for input, b := range batches {
		if b == nil {
			continue
		}
		for i := range b.Len() {
			rows = append(rows, keyed{b.Key(i), input, i})
		}
	}
	slices.SortFunc(rows, func(a, b keyed) int {
		if c := cmp.Or(strings.Compare(a.key, b.key), a.input-b.input); c != 0 {
			return c
		}
		batch := batches[a.input]
		return cmp.Or(cmp.Compare(batch.InputRow(a.row), batch.InputRow(b.row)), a.row-b.row)
	})
	return rows
}

// read reads the spilled rows of a group and partition into batches, by input. Rows of several
// inputs are mixed in a partition, so it first gathers the raw rows of each input and then
// converts them all at once.
func (s *Shuffle) read(group, p int, batches []*rowbatch.Batch) error {
	rd, err := s.sets[group].Open(p)
	if err != nil {
		return err
	}
	defer rd.Close()
	gathered := map[int32]*rowbatch.Gathered{}
	for err == nil {
		err = rd.Next(func(tag int32, number int64, whole bool, values []string) {
			g := gathered[tag]
			if g == nil {
				g = s.inputs[tag].Gather()
				gathered[tag] = g
			}
			g.Add(number, whole, values)
		})
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	for tag, g := range gathered {
		batches[tag] = g.Batch()
	}
	return nil
}
