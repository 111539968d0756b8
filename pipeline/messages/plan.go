package messages

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/columnar"
	"cpcds2fhir/schemas/cpcds"
)

const maxPlans = 4096 // plans, and shapes, that a collector remembers

// name is the name of a field with its list.
type name struct{ group, name string }

// shape is a set of fields: what the messages of a group have in common.
type shape struct {
	id     uint64
	fields []cpcds.Field
	at     []int32         // by field: its column in the rows, -1 if it is not read
	width  int             // columns in the rows
	unfold map[string]bool // the names of lists that unfold rows

	epoch uint64 // the last collection that had the shape
	group int    // in that collection
}

// plan says where the values of messages with certain leaves go.
type plan struct {
	shape   *shape
	leaves  []int32
	columns []int32 // parallel to leaves: the column in the rows, -1 if it is not read
	expect  []int32 // by expected field: its column; nil if leaves has all leaves of the message

	lists []int32 // that unfold rows, in order
	known int     // lists of the tree that lists takes into account
}

func (p *plan) findLists(t *tree) {
	p.known, p.lists = len(t.lists), p.lists[:0]
	for i := range t.lists {
		if p.shape.unfold[t.lists[i].name] {
			p.lists = append(p.lists, int32(i))
		}
	}
	slices.SortFunc(p.lists, func(a, b int32) int {
		x, y := &t.lists[a], &t.lists[b]
		return compareStrings(x.name, y.name, x.path, y.path)
	})
}

// plans remembers plans and shapes.
type plans struct {
	shapes map[string]*shape
	static map[*tree]*plan     // for messages with a schema
	json   map[planKey][]*plan // for messages without one
	size   int                 // plans in json
	last   *plan
	lastBy planKey
}

// planKey is what is compared first to find the plan of a JSON message.
type planKey struct {
	sum  uint64
	n    int
	full bool // whether it is about all leaves, not only about those that are not expected
}

func (p *plans) reset() {
	*p = plans{shapes: map[string]*shape{}, static: map[*tree]*plan{}}
	p.forgetJSON()
}

// forgetJSON forgets the plans for the leaves of the collector's tree.
func (p *plans) forgetJSON() {
	p.json, p.size, p.last = map[planKey][]*plan{}, 0, nil
}

// plan returns the plan of the message in the sink.
func (c *Collector) plan() *plan {
	s := &c.sink
	if s.tree != &s.json.tree {
		p := c.plans.static[s.tree]
		if p == nil {
			if len(c.plans.static) >= maxPlans {
				clear(c.plans.static)
			}
			all := make([]int32, len(s.tree.leaves))
			for i := range all {
				all[i] = int32(i)
			}
			p = c.newPlan(all, true)
			c.plans.static[s.tree] = p
		}
		return p
	}
	key := planKey{s.open, s.opens, false}
	if len(c.Expect) == 0 || s.bound {
		key = planKey{s.sum, len(s.touched), true}
	}
	if p := c.plans.last; p != nil && c.plans.lastBy == key && s.has(p.leaves) {
		return p
	}
	for _, p := range c.plans.json[key] {
		if s.has(p.leaves) {
			c.plans.last, c.plans.lastBy = p, key
			return p
		}
	}
	if c.plans.size >= maxPlans {
		c.plans.forgetJSON()
	}
	var leaves []int32
	for _, l := range s.touched {
		if key.full || s.tree.leaves[l].expected < 0 {
			leaves = append(leaves, l)
		}
	}
	p := c.newPlan(leaves, key.full)
	c.plans.json[key] = append(c.plans.json[key], p)
	c.plans.size++
	c.plans.last, c.plans.lastBy = p, key
	return p
}

// has reports whether the message has all these leaves.
func (s *sink) has(leaves []int32) bool {
	for _, l := range leaves {
		if s.seen[l] != s.message {
			return false
		}
	}
	return true
}

// newPlan makes a plan for messages with these leaves, and any of the expected ones if full is
// false.
func (c *Collector) newPlan(leaves []int32, full bool) *plan {
	t := c.sink.tree
	leaves = slices.Clone(leaves)
	slices.SortFunc(leaves, func(a, b int32) int {
		x, y := &t.leaves[a], &t.leaves[b]
		return cmp.Or(compareStrings(x.path, y.path, x.fault, y.fault), cmp.Compare(len(x.structs), len(y.structs)))
	})
	fields := c.fieldsOf(t, leaves)
	taken := map[name]bool{}
	for i := range fields {
		taken[name{fields[i].Group, fields[i].Name}] = true
	}
	n := len(fields)
	for _, f := range c.Expect {
		if k := (name{f.Group, f.Name}); !taken[k] {
			taken[k] = true
			fields = append(fields, expectedField(f))
		}
	}
	order := make([]int, len(fields))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return compareStrings(fields[a].Group, fields[b].Group, fields[a].Name, fields[b].Name)
	})
	sorted := make([]cpcds.Field, len(fields))
	place := make([]int, len(fields)) // by field: its place in sorted
	for to, from := range order {
		sorted[to], place[from] = fields[from], to
	}
	p := &plan{shape: c.shape(sorted), leaves: leaves}
	p.columns = make([]int32, n)
	for i := range n {
		p.columns[i] = p.shape.at[place[i]]
	}
	if !full {
		p.expect = make([]int32, len(c.Expect))
		for i, f := range c.Expect {
			at := slices.IndexFunc(sorted, func(x cpcds.Field) bool { return x.Group == f.Group && x.Name == f.Name })
			p.expect[i] = p.shape.at[at]
		}
	}
	return p
}

func expectedField(f cpcds.Field) cpcds.Field {
	if f.Type == "" {
		f.Type = jsonType
	}
	return cpcds.Field{Name: f.Name, Group: f.Group, Type: f.Type}
}

// fieldsOf names the leaves as the columns of a nested file are named. A leaf that is expected by
// its full name has that.
func (c *Collector) fieldsOf(t *tree, leaves []int32) []cpcds.Field {
	fields := make([]cpcds.Field, len(leaves))
	var free []int // fields that are not expected by their full name
	var freeFields []cpcds.Field
	var structs [][]string
	for i, k := range leaves {
		l := &t.leaves[k]
		fields[i] = cpcds.Field{Name: l.name, Group: l.group, Type: l.typ, Fault: l.fault, Bulk: l.bulk}
		full := l.fullName()
		if _, ok := c.expected[name{l.group, full}]; ok && len(l.structs) > 0 {
			fields[i].Name = full
			continue
		}
		free, freeFields, structs = append(free, i), append(freeFields, fields[i]), append(structs, l.structs)
	}
	columnar.SetNames(freeFields, structs)
	for k, i := range free {
		fields[i].Name = freeFields[k].Name
	}
	for i := range fields {
		e, ok := c.expected[name{fields[i].Group, fields[i].Name}]
		if ok && fields[i].Type == jsonType && fields[i].Fault == "" {
			fields[i].Type = expectedField(c.Expect[e]).Type
		}
	}
	return fields
}

// shape returns the shape with these fields.
func (c *Collector) shape(fields []cpcds.Field) *shape {
	var b strings.Builder
	for _, f := range fields {
		for _, s := range []string{f.Group, f.Name, f.Type, f.Fault} {
			b.WriteString(strconv.Itoa(len(s)))
			b.WriteByte(':')
			b.WriteString(s)
		}
		b.WriteString(strconv.FormatBool(f.Bulk))
	}
	key := b.String()
	if s := c.plans.shapes[key]; s != nil {
		return s
	}
	if len(c.plans.shapes) >= maxPlans {
		c.forgetShapes()
	}
	digest := sha256.Sum256([]byte(key))
	s := &shape{id: binary.BigEndian.Uint64(digest[:8]), fields: fields, unfold: map[string]bool{}}
	s.at = make([]int32, len(fields))
	var bound []int
	if c.Select == nil {
		s.width = len(fields)
		for i, f := range fields {
			s.at[i] = -1
			if f.Fault == "" {
				s.at[i] = int32(i)
				bound = append(bound, i)
			}
		}
	} else {
		bound = s.choose(c.Select(s.id, fields))
	}
	for _, i := range bound {
		s.unfold[fields[i].Group] = true
	}
	delete(s.unfold, "")
	c.plans.shapes[key] = s
	return s
}

// choose sets the columns of the rows and returns the bound fields.
func (s *shape) choose(columns pipeline.Columns) []int {
	for i := range s.at {
		s.at[i] = -1
	}
	all := columns.All()
	for to, i := range all {
		s.at[i] = int32(to)
	}
	s.width = len(all)
	return columns.Bound
}

// forgetShapes forgets the shapes that no current group has, and all plans.
func (c *Collector) forgetShapes() {
	for k, s := range c.plans.shapes {
		if s.epoch != c.epoch {
			delete(c.plans.shapes, k)
		}
	}
	clear(c.plans.static)
	c.plans.forgetJSON()
}

// compareStrings compares pairs of strings.
func compareStrings(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		if r := strings.Compare(pairs[i], pairs[i+1]); r != 0 {
			return r
		}
	}
	return 0
}
