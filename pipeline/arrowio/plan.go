package arrowio

import (
	"errors"
	"math"

	"cpcds2fhir/pipeline/arrowio/fault"
)

// errFewer means that the row batch must have fewer rows.
var errFewer = errors.New("too many rows")

// plan chooses the rows of the next row batch, as many as fit into memory, and determines the
// elements of its lists.
func (s *source) plan() (rows int64, err error) {
	b := s.file.Batches[s.batch]
	rows = min(s.to-s.row, b.First+b.Rows-s.row, int64(s.want))
	for {
		s.rows = s.rows[:0]
		for i := range int32(rows) {
			s.rows = append(s.rows, i)
		}
		var most *column
		cost, err := s.measure()
		if err == nil {
			cost, most, err = s.cost(cost)
		}
		if err != nil && err != errFewer {
			return 0, err
		}
		if err == nil && cost <= s.memory/4 {
			if len(s.lists) == 0 {
				s.want = min(2*int(rows), s.most())
			}
			return rows, nil
		}
		if rows == 1 {
			if most == nil {
				most = &s.columns[0]
			}
			return 0, s.file.describe(s.row+1, most.leaf.field.Name,
				&fault.SizeError{What: "has a value or a list that is too large for the memory limit", Need: 4 * cost})
		}
		rows /= 2
		s.want = int(rows)
	}
}

// measure determines the elements of the lists of the row batch, and returns the memory that the
// row batch needs for their values.
func (s *source) measure() (cost int64, err error) {
	elements := int64(0)
	for k := range s.lists {
		l := &s.lists[k]
		err := fault.Guard(func() error { return s.measureList(l, k) })
		var size *fault.SizeError
		if len(s.rows) > 1 && errors.As(err, &size) {
			return 0, errFewer
		}
		if err != nil {
			return 0, s.file.describe(s.row+1, l.typ.Name, err)
		}
		elements += int64(len(l.at))
	}
	return elements * perCell * int64(len(s.columns)), nil
}

// cost adds the memory that the columns of the row batch need to cost, and returns the column that
// needs the most.
func (s *source) cost(cost int64) (_ int64, most *column, _ error) {
	largest := int64(-1)
	for i := range s.columns {
		c := &s.columns[i]
		c.skip = false
		if c.list == notUnfolded || c.err != nil || c.leaf.field.Fault != "" {
			continue
		}
		var own int64
		err := fault.Guard(func() (err error) {
			own, err = s.costOf(c)
			return err
		})
		if err != nil {
			if s.stops(c, err) {
				return 0, nil, s.file.describe(s.row+1, c.leaf.field.Name, err)
			}
			c.err = err
			continue
		}
		if c.kept && len(s.rows) == 1 && own > s.memory/4-cost {
			c.skip = true // the column is only kept, so it must not stop the load
			continue
		}
		if cost += own; own > largest {
			largest, most = own, c
		}
	}
	return cost, most, nil
}

func (s *source) costOf(c *column) (int64, error) {
	first, n, _ := s.span(c)
	x := c.leaf.typ
	a, err := s.body.Array(x)
	if err != nil {
		return 0, err
	}
	if x.HasRuns() {
		from, to, err := a.Runs(first, n)
		if err != nil {
			return 0, err
		}
		if a, err = s.body.Array(x.Children[1]); err != nil {
			return 0, err
		}
		first, n = int64(from), to-from
	}
	return c.vector.values.Cost(a, first, n)
}

// measureList determines the elements of a list column. A null list may still have a range of
// elements, which is ignored.
func (s *source) measureList(l *list, k int) error {
	l.at, s.lengths[k] = l.at[:0], s.lengths[k][:0]
	l.first, l.n = 0, 0
	a, err := s.body.Array(l.typ)
	if err != nil {
		return err
	}
	elements, err := s.body.Length(l.typ.Children[0])
	if err != nil {
		return err
	}
	first, n := s.row-s.file.Batches[s.batch].First, len(s.rows)
	for i, x := range l.outer {
		around, err := s.body.Array(x)
		if err != nil {
			return err
		}
		if err := l.window.Around[i].OpenValidity(around, first, n); err != nil {
			return err
		}
	}
	if err := l.window.Open(a, first, n, elements); err != nil {
		return err
	}
	end := int64(0)
	l.first = math.MaxInt64
	for i := range int32(n) {
		from, to := l.window.Element(i)
		if from < to && !l.window.Null(i) {
			l.first, end = min(l.first, from), max(end, to)
		}
	}
	if l.first > end {
		l.first = 0
	}
	if end-l.first > math.MaxInt32 {
		return &fault.SizeError{What: "has more elements than can be read at once", Need: perCell * (end - l.first)}
	}
	l.n = int(end - l.first)
	return s.collect(l, k)
}

// collect records which elements the row batch has.
func (s *source) collect(l *list, k int) error {
	// Do not even record more elements than fit into memory: an array of nulls can claim any
	// number in a few bytes.
	each := perCell * int64(len(s.columns))
	limit := min(s.memory/4/each+1, maxElements)
	for i := range int32(len(s.rows)) {
		from, to := l.window.Element(i)
		if l.window.Null(i) {
			to = from
		}
		if to-from > limit-int64(len(l.at)) {
			return &fault.SizeError{What: "has more elements than can be read at once", Need: 4 * each * (to - from)}
		}
		for e := from - l.first; e < to-l.first; e++ {
			l.at = append(l.at, int32(e))
		}
		s.lengths[k] = append(s.lengths[k], int32(to-from))
	}
	return nil
}
