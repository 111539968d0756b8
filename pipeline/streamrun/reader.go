package streamrun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/claims"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/messages"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// reader reads the messages of one table as rows through the layout. Messages with the same fields
// are read together. It is used by one lane at a time.
type reader struct {
	*Engine
	table     cpcds.Table
	collector *messages.Collector
	shapes    map[uint64]*shape
	batches   []*rowbatch.Batch // by group, since reset

	// alone reads messages that do not fit the layout together with the fields of others: a claim
	// with a column of the header among its lines, because the lines disagree.
	alone        *messages.Collector
	aloneBatches []*rowbatch.Batch

	known int // how many fields the collector expects
}

// learned are all fields that messages of a table had so far, in whatever lane, as long as the layout
// can read them together. It is safe for concurrent use.
type learned struct {
	mu     sync.Mutex
	fields []cpcds.Field
}

// shape is how messages with the same fields are read.
type shape struct {
	input     *rowbatch.Input
	converter *rowbatch.Converter
	err       *layoutError
}

// layoutError says that the fields of a message do not fit the layout.
type layoutError struct {
	columns []string
	err     error
}

func (e *layoutError) Error() string {
	return fmt.Sprintf("the fields do not fit the layout: %v", e.err)
}

// kit is what makes messages: the readers and builders of all tables. Its memory is large, so there are
// only a few kits for all lanes: a lane takes one while it makes messages. More lanes at a time than
// CPUs would not be faster, and what all of them use stays in the caches.
type kit struct {
	readers [cpcds.NumTables]*reader
	claims  *claims.Builder
	tables  [cpcds.NumTables]*tables.Builder
	scratch fhir.Batch // the resources of one record
}

func (e *Engine) newKit() *kit {
	k := new(kit)
	for t := range k.readers {
		k.readers[t] = &reader{Engine: e, table: cpcds.Table(t), shapes: map[uint64]*shape{}}
		k.readers[t].collector = k.readers[t].newCollector()
	}
	return k
}

// use lets the builders look into the directory of a lane.
func (k *kit) use(e *Engine, dir *directory.Live) {
	if k.claims == nil {
		k.claims = claims.NewBuilder(&e.claims, dir, nil)
		for _, t := range tables.Order {
			k.tables[t] = tables.NewBuilder(&e.tables, dir, t)
		}
		return
	}
	k.claims.Use(dir)
	for _, t := range tables.Order {
		k.tables[t].Use(dir)
	}
}

// forget forgets what was found in the directory.
func (k *kit) forget() {
	k.claims.Forget()
	for _, t := range tables.Order {
		k.tables[t].Forget()
	}
}

// reset forgets all messages.
func (k *kit) reset() {
	for _, r := range k.readers {
		r.reset()
	}
}

// convert reads all rows through the layout.
func (k *kit) convert() {
	for _, r := range k.readers {
		r.convert()
	}
}

func (r *reader) newCollector() *messages.Collector {
	l := &r.learned[r.table]
	l.mu.Lock()
	expect := slices.Clone(l.fields)
	l.mu.Unlock()
	r.known = len(expect)
	return r.collecting(expect)
}

// collecting makes a collector of messages that are considered to have some fields.
func (r *reader) collecting(expect []cpcds.Field) *messages.Collector {
	c := &messages.Collector{Expect: expect}
	c.Select = func(id uint64, fields []cpcds.Field) pipeline.Columns {
		s := r.shape(id, fields)
		if s.err != nil {
			return pipeline.Columns{}
		}
		return s.input.Columns()
	}
	return c
}

// fieldsOnly is a file of which only the columns are known.
type fieldsOnly []cpcds.Field

func (f fieldsOnly) Fields() []cpcds.Field                          { return f }
func (f fieldsOnly) Spans(context.Context) ([]pipeline.Span, error) { return nil, nil }
func (f fieldsOnly) Close() error                                   { return nil }
func (f fieldsOnly) Open(context.Context, int64, int64, pipeline.Columns) (pipeline.Source, error) {
	return nil, errors.New("a message is no file")
}

// shape returns how messages with these fields are read.
func (r *reader) shape(id uint64, fields []cpcds.Field) *shape {
	if s, ok := r.shapes[id]; ok {
		return s
	}
	s := &shape{}
	fields = cloneFields(fields)
	binding, err := r.bind(fields)
	if err != nil {
		s.err = &layoutError{err: err}
		var bind *layouts.BindError
		if errors.As(err, &bind) {
			for _, f := range fields {
				s.err.columns = append(s.err.columns, f.Name)
			}
		}
	} else {
		s.input = &rowbatch.Input{Path: "message", Table: r.table, File: fieldsOnly(fields), Binding: binding}
		s.input.Place(0, nil)
		s.converter = s.input.Converter()
		r.learn(fields)
	}
	if len(r.shapes) >= maxShapes {
		clear(r.shapes)
	}
	r.shapes[id] = s
	return s
}

// maxShapes is how many combinations of fields are remembered.
const maxShapes = 1024

func (r *reader) bind(fields []cpcds.Field) (*layouts.Binding, error) {
	return r.Layout.Bind(r.table, fields, layouts.Options{Lenient: r.Repairs.Lenient, NoRepair: r.Repairs.Off})
}

func cloneFields(fields []cpcds.Field) []cpcds.Field {
	out := slices.Clone(fields)
	for i := range out {
		out[i].Name, out[i].Group = strings.Clone(out[i].Name), strings.Clone(out[i].Group)
	}
	return out
}

// learn lets collectors expect these fields too: messages leave out what they have no value for, and
// each combination would be a shape of its own.
func (r *reader) learn(fields []cpcds.Field) {
	l := &r.learned[r.table]
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.fields)
	for _, f := range fields {
		if f.Fault == "" && !slices.ContainsFunc(all, func(x cpcds.Field) bool { return x.Name == f.Name && x.Group == f.Group }) {
			all = append(all, f)
		}
	}
	if len(all) == len(l.fields) {
		return
	}
	if _, err := r.bind(all); err != nil {
		return // these fields are read alone
	}
	l.fields = all
}

// grown reports whether more fields were learned than the collector expects.
func (r *reader) grown() bool {
	l := &r.learned[r.table]
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.fields) > r.known
}

// add reads a message. A *layoutError says that its fields do not fit.
func (r *reader) add(ctx context.Context, f messages.Format, value []byte, number int64) (messages.Place, error) {
	p, err := r.collector.Add(ctx, f, value, number)
	if err != nil {
		return p, err
	}
	g := r.collector.Group(p.Group)
	if s := r.shape(g.ID, g.Fields); s.err == nil {
		return p, nil
	}
	if r.alone == nil {
		r.alone = r.collecting(nil)
	}
	if p, err = r.alone.Add(ctx, f, value, number); err != nil {
		return p, err
	}
	g = r.alone.Group(p.Group)
	if s := r.shape(g.ID, g.Fields); s.err != nil {
		return p, s.err
	}
	p.Group += aloneGroups
	return p, nil
}

// aloneGroups is the number of the first group of messages that are read alone.
const aloneGroups = 1 << 20

// convert reads all rows through the layout.
func (r *reader) convert() {
	r.batches = r.converted(r.batches, r.collector)
	if r.alone != nil {
		r.aloneBatches = r.converted(r.aloneBatches, r.alone)
	}
}

func (r *reader) converted(to []*rowbatch.Batch, c *messages.Collector) []*rowbatch.Batch {
	for i := range c.Groups() {
		g := c.Group(i)
		s := r.shape(g.ID, g.Fields)
		if s.err != nil || g.Rows.N == 0 {
			to = append(to, nil)
			continue
		}
		to = append(to, s.converter.Read(g.Rows))
	}
	return to
}

// batch returns the rows of a group.
func (r *reader) batch(group int) *rowbatch.Batch {
	if group >= aloneGroups {
		return r.aloneBatches[group-aloneGroups]
	}
	return r.batches[group]
}

// reset forgets the messages.
func (r *reader) reset() {
	r.batches, r.aloneBatches = r.batches[:0], r.aloneBatches[:0]
	if r.alone != nil {
		r.alone.Reset()
	}
	if r.grown() {
		clear(r.shapes)
		r.collector = r.newCollector()
		return
	}
	r.collector.Reset()
}
