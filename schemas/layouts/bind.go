package layouts

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Options say how a layout is applied.
type Options struct {
	Lenient  bool            // apply the repairs
	NoRepair map[string]bool // except those named here
}

func (o Options) repairs(name string) bool { return o.Lenient && name != "" && !o.NoRepair[name] }

// Binding is a table of a layout joined to the columns of one file. It converts
// the rows of that file. It keeps memory between calls and is used by one
// goroutine at a time; Clone makes another one.
type Binding struct {
	table    *Table
	source   []int
	elements []cpcds.Element
	reps     []int
	names    map[cpcds.Element][]string
	plans    []*columnPlan
}

// BindError says why the columns of a file cannot be bound to a table.
type BindError struct {
	Layout string
	Table  cpcds.Table
	Faults []string // at least one
}

func (e *BindError) Error() string {
	return fmt.Sprintf("bind table %s of layout %s: %s", e.Table, e.Layout, strings.Join(e.Faults, "; "))
}

// Bind joins a table of the layout, in the form that fits best, to the columns of a
// file.
func (l *Layout) Bind(t cpcds.Table, fields []cpcds.Field, o Options) (*Binding, error) {
	tab, _ := l.best(t, "", fields)
	if tab == nil {
		return nil, &BindError{l.Name, t, []string{"the layout has no such table"}}
	}
	return tab.Bind(fields, o)
}

// Bind joins the table to the columns of a file. A *BindError names required elements without a
// column, duplicate columns, columns that mean the same element, and a column that makes the layout
// refuse the file.
func (t *Table) Bind(fields []cpcds.Field, o Options) (*Binding, error) {
	b := &Binding{table: t, names: map[cpcds.Element][]string{}}
	h := newHeaders(fields)
	faults := t.without(h)
	for _, f := range fields {
		if reason := t.refused[cpcds.FoldHeader(f.Name)]; reason != "" {
			faults = append(faults, fmt.Sprintf("refused because of the column %q: %s", f.Name, reason))
		}
	}
	keyed := len(t.Key) == 0
	has := map[cpcds.Element]bool{}
	for _, c := range t.columns {
		found := h.columns(c, &faults)
		keyed = keyed || len(found) > 0 && slices.Contains(t.Key, c.element)
		if c.origin == fromConst {
			found = []bound{{-1, nil}}
		}
		has[c.element] = has[c.element] || len(found) > 0
		b.add(c, found, h, o, &faults)
	}
	for _, el := range t.Required {
		if !has[el] {
			faults = append(faults, t.missing(el, fields))
		}
	}
	if !keyed && faults == nil {
		faults = append(faults, fmt.Sprintf("no column for the key %s", names(t.Key)))
	}
	if faults != nil {
		slices.Sort(faults)
		return nil, &BindError{t.layout, t.Table, slices.Compact(faults)}
	}
	b.number()
	return b, nil
}

// Absent returns headers that the table needs, one for each missing column: of required elements,
// and of values made from several columns. Rejects keep only filled columns.
func (t *Table) Absent(fields []cpcds.Field) (out []string) {
	h := newHeaders(fields)
	for _, x := range t.Headers {
		if h.names[cpcds.FoldHeader(x)] == nil {
			out = append(out, x)
		}
	}
	var faults []string
	for _, c := range t.columns {
		if c.origin != fromAll && !slices.Contains(t.Required, c.element) {
			continue
		}
		for _, group := range c.headers {
			if _, ok := h.find(c.element, group, &faults); !ok && !slices.Contains(out, group[0]) {
				out = append(out, group[0])
			}
		}
	}
	return out
}

// missing describes a required element that found no column.
func (t *Table) missing(el cpcds.Element, fields []cpcds.Field) string {
	c := t.column(el)
	s := fmt.Sprintf("no column for %s, which is %s", c.element.Describe(), c.describe())
	if t.headerless(fields) {
		return s + "; the first line of the file does not look like a header"
	}
	present := make([]string, len(fields))
	for i, f := range fields {
		present[i] = f.Name
	}
	for _, group := range c.headers {
		for _, alias := range group {
			if n := Nearest(alias, present); n != "" {
				return s + fmt.Sprintf("; the closest is %q", n)
			}
		}
	}
	return s
}

func names(els []cpcds.Element) string {
	out := make([]string, len(els))
	for i, e := range els {
		out[i] = e.Column()
	}
	return strings.Join(out, ", ")
}

// add adds the plans of one column.
func (b *Binding) add(c *column, found []bound, h *headers, o Options, faults *[]string) {
	base := conversion{
		nulls: c.nulls, plain: &c.plain, form: &c.form, standby: c.standby,
		repairInvalid: c.invalid, list: c.origin == fromAll,
	}
	if !o.repairs(c.invalid) {
		base.repairInvalid = ""
	}
	if c.lenient != nil && o.repairs(c.lenient.repair) {
		if c.lenient.headers == nil {
			base.lenient = c.lenient
		} else if i, ok := h.find(c.element, c.lenient.headers, faults); ok {
			base.lenient, base.replaces = c.lenient, true
			found = []bound{{-1, []int{i}}}
		}
	}
	rep := c.rep
	if len(found) == 0 && c.standby != "" {
		c, found = &column{element: c.element, origin: fromConst, constant: c.standby}, []bound{{-1, nil}}
	}
	for _, f := range found {
		conv := base
		conv.simple = conv.lenient == nil && c.plain.expression == nil && c.plain.codes == nil
		b.plans = append(b.plans, newPlan(&conv, c.constant, f.fields))
		b.elements = append(b.elements, c.element)
		b.reps = append(b.reps, max(f.rep, rep))
		for _, i := range f.fields {
			b.names[c.element] = append(b.names[c.element], h.fields[i].Name)
		}
	}
}

// number replaces the field numbers of the plans by indices into Source.
func (b *Binding) number() {
	place := map[int]int{}
	for _, p := range b.plans {
		for _, i := range p.source {
			place[i] = 0
		}
	}
	b.source = slices.Sorted(maps.Keys(place))
	for i, f := range b.source {
		place[f] = i
	}
	for _, p := range b.plans {
		for i, f := range p.source {
			p.source[i] = place[f]
		}
	}
}

// Table returns the table, and the form of it, that the file is read as.
func (b *Binding) Table() *Table { return b.table }

// Source returns the columns that Convert needs, as indices into the fields of the
// file, in the order in which it expects them in Rows.Columns. It must not be
// changed.
func (b *Binding) Source() []int { return b.source }

// Elements returns the element of each column that Convert makes, in order. An element that repeats
// in a row occurs several times. It must not be changed.
func (b *Binding) Elements() []cpcds.Element { return b.elements }

// Reps returns, for each column that Convert makes, the repetition of its level it
// belongs to, from 0: columns of one level with the same number are one diagnosis,
// procedure or provider. -1 means that the layout does not repeat the element; its
// value belongs to every repetition. It must not be changed.
func (b *Binding) Reps() []int { return b.reps }

// Columns returns the names of the source columns that an element is read from,
// for messages.
func (b *Binding) Columns(e cpcds.Element) []string { return b.names[e] }

// Only returns a binding with its own memory that makes only the columns of these elements.
func (b *Binding) Only(elements []cpcds.Element) *Binding {
	c := &Binding{table: b.table, names: b.names}
	for i, p := range b.plans {
		if !slices.Contains(elements, b.elements[i]) {
			continue
		}
		narrow := newPlan(p.conv, p.constant, p.source)
		for k, place := range narrow.source {
			narrow.source[k] = b.source[place]
		}
		c.plans = append(c.plans, narrow)
		c.elements = append(c.elements, b.elements[i])
		c.reps = append(c.reps, b.reps[i])
	}
	c.number()
	return c
}

// Clone returns a binding with its own memory for another goroutine.
func (b *Binding) Clone() *Binding {
	c := *b
	c.plans = make([]*columnPlan, len(b.plans))
	for i, p := range b.plans {
		c.plans[i] = newPlan(p.conv, p.constant, p.source)
	}
	return &c
}
