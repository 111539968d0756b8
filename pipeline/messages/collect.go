package messages

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"cpcds2fhir/schemas/cpcds"
)

const (
	keptRows   = 64      // row batches that a collector keeps for reuse
	keptValues = 1 << 16 // likewise, values of a message
	maxLeaves  = 1 << 14 // JSON fields that a collector remembers
	maxCells   = 1 << 24 // rows of a message times columns of its group
)

// collection is the state of a Collector.
type collection struct {
	sink     sink
	begun    bool
	expected map[name]int32

	plans  plans
	groups []*Group
	free   []*cpcds.Rows
	epoch  uint64 // number of the current collection, from 1

	messages int
	column   []int32 // scratch of commit, by leaf
	base     []int32 // scratch of commit, by list: its first row, -1 if it does not unfold
}

// Add reads a message and adds its rows. number is the number that its rows get, usually its
// offset. The error is an *Error, or the error of ctx; then nothing of the message is added. Add
// copies value.
func (c *Collector) Add(ctx context.Context, f Format, value []byte, number int64) (p Place, err error) {
	c.begin()
	if len(value) == 0 {
		return p, &Error{Stage: StageFrame, Rule: RuleEmpty, Offset: -1}
	}
	if len(value) > c.sink.limits.Bytes {
		return p, &Error{Stage: StageFrame, Rule: RuleTooLarge, Offset: -1}
	}
	at := c.sink.text.mark()
	if err = c.decode(ctx, f, c.sink.text.copy(value)); err == nil {
		p, err = c.commit(number)
	}
	if err != nil {
		c.sink.text.release(at)
	}
	return p, err
}

// decode reads a message into the sink.
func (c *Collector) decode(ctx context.Context, f Format, value []byte) (err error) {
	defer func() {
		// No message may stop the daemon, whatever it makes the decoder do. The text of a panic may
		// contain a value.
		if recover() != nil {
			err = broken(RuleDecoderFailed, -1)
		}
	}()
	c.sink.begin()
	return named(f.decode(ctx, value, &c.sink))
}

// named makes the name of a field in an error safe to show.
func named(err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		e.Field = cut(e.Field)
	}
	return err
}

func (c *Collector) begin() {
	if !c.begun {
		c.begun, c.epoch = true, 1
		l := &c.sink.limits
		l.Bytes = cmp.Or(c.Limits.Bytes, 16<<20)
		l.Text = cmp.Or(c.Limits.Text, 1<<20)
		l.Depth = cmp.Or(c.Limits.Depth, 32)
		l.Fields = cmp.Or(c.Limits.Fields, 2048)
		l.Rows = cmp.Or(c.Limits.Rows, 1<<16)
		c.expected = map[name]int32{}
		for i, f := range c.Expect {
			c.expected[name{f.Group, f.Name}] = int32(i)
		}
		c.sink.nulls = len(c.Expect) == 0
		c.sink.json.expected = c.expected
		c.plans.reset()
	}
	if j := &c.sink.json; j.nodes > maxLeaves {
		j.reset()
		c.plans.forgetJSON()
		c.sink.counts, c.sink.seen = nil, nil
	}
}

// Groups returns the number of groups since Reset.
func (c *Collector) Groups() int { return len(c.groups) }

// Group returns group i. Groups are numbered in the order of their first messages.
func (c *Collector) Group(i int) *Group { return c.groups[i] }

// Messages returns the number of messages since Reset.
func (c *Collector) Messages() int { return c.messages }

// Reset forgets all messages and keeps the memory. All groups, and the text in their rows, become
// invalid.
func (c *Collector) Reset() {
	for _, g := range c.groups {
		if len(c.free) < keptRows && g.Rows.N*len(g.Rows.Columns) <= maxCells/4 {
			g.Rows.Reset()
			c.free = append(c.free, g.Rows)
		}
	}
	clear(c.groups)
	c.groups = c.groups[:0]
	c.epoch++
	c.messages = 0
	c.sink.text.reset()
	if cap(c.sink.values) > keptValues {
		c.sink.values = nil
	}
}

// group returns the group of a shape in this collection.
func (c *Collector) group(s *shape) int {
	if s.epoch == c.epoch {
		return s.group
	}
	var rows *cpcds.Rows
	if n := len(c.free); n > 0 {
		rows, c.free = c.free[n-1], c.free[:n-1]
	} else {
		rows = new(cpcds.Rows)
	}
	rows.Columns = slices.Grow(rows.Columns[:0], s.width)[:s.width]
	rows.Reset()
	s.epoch, s.group = c.epoch, len(c.groups)
	c.groups = append(c.groups, &Group{ID: s.id, Fields: s.fields, Rows: rows})
	return s.group
}

// commit lays out the message in the sink as rows: those of the elements of the first list, then
// those of the second, and so on, as pipeline.Unfold does.
func (c *Collector) commit(number int64) (Place, error) {
	p := c.plan()
	n := c.layOut(p)
	if n*p.shape.width > maxCells {
		return Place{}, broken(RuleTooManyRows, -1)
	}
	g := c.group(p.shape)
	rows := c.groups[g].Rows
	from := rows.N
	for i := range rows.Columns {
		index := slices.Grow(rows.Columns[i].Index, n)
		for range n {
			index = append(index, -1)
		}
		rows.Columns[i].Index = index
	}
	for _, v := range c.sink.values {
		to := c.column[v.leaf]
		if to < 0 {
			continue
		}
		column := &rows.Columns[to]
		k := int32(len(column.Values))
		if v.text == "" {
			k = -1
		}
		index := column.Index[from:]
		switch l := c.sink.tree.leaves[v.leaf].list; {
		case l < 0:
			for i := range index {
				index[i] = k
			}
		case c.base[l] < 0:
			continue
		default:
			index[c.base[l]+v.element] = k
		}
		if k >= 0 {
			column.Values = append(column.Values, v.text)
		}
	}
	for i := range n {
		rows.Whole = append(rows.Whole, i == 0)
		rows.Numbers = append(rows.Numbers, number)
	}
	rows.N += n
	c.messages++
	return Place{Group: g, From: from, To: from + n}, nil
}

// layOut sets column and base for the message in the sink, and returns the number of its rows.
func (c *Collector) layOut(p *plan) int {
	s := &c.sink
	for len(c.column) < len(s.tree.leaves) {
		c.column = append(c.column, -1)
	}
	for len(c.base) < len(s.tree.lists) {
		c.base = append(c.base, -1)
	}
	if p.expect != nil {
		for _, l := range s.touched {
			if e := s.tree.leaves[l].expected; e >= 0 {
				c.column[l] = p.expect[e]
			}
		}
	}
	for i, l := range p.leaves {
		c.column[l] = p.columns[i]
	}
	if p.known < len(s.tree.lists) {
		p.findLists(s.tree)
	}
	for i := range s.tree.lists {
		c.base[i] = -1
	}
	n := int32(0)
	for _, l := range p.lists {
		c.base[l] = n
		n += s.counts[l]
	}
	return int(max(n, 1))
}
