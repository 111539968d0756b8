package rowbatch

import (
	"context"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// Reader reads rows of an input through its layout, batch by batch. It belongs to one
// goroutine.
type Reader struct {
	source  pipeline.Source
	binding *layouts.Binding
	lap     func(pipeline.Stage)
	batch   Batch
}

// Read opens the input rows [from, to), which must be in one span unless the input is a small
// table. lap, if not nil, is called at the end of each stage of the work.
func (in *Input) Read(ctx context.Context, from, to int64, lap func(pipeline.Stage)) (*Reader, error) {
	source, err := in.File.Open(ctx, from, to, in.reads)
	if err != nil {
		return nil, err
	}
	if lap == nil {
		lap = func(pipeline.Stage) {}
	}
	r := &Reader{source: source, binding: in.Binding.Clone(), lap: lap, batch: Batch{Input: in}}
	if in.Table == cpcds.Claims {
		r.batch.plan = newPlan(r.binding)
	}
	return r, nil
}

// Next returns the next rows, valid until the next call, or io.EOF at the end.
func (r *Reader) Next(ctx context.Context) (*Batch, error) {
	b := &r.batch
	if err := r.source.Next(ctx, &b.raw); err != nil {
		return nil, err
	}
	r.lap(pipeline.StageDecode)
	r.binding.Convert(&b.canonical, &b.raw)
	b.prune()
	r.lap(pipeline.StageLayout)
	return b, nil
}

// Close closes the source.
func (r *Reader) Close() { r.source.Close() }

// Constants makes a batch of the layout's own rows of a small table.
func Constants(t cpcds.Table, rows []map[cpcds.Element]string) *Batch {
	b := &Batch{}
	b.raw.N = len(rows)
	b.canonical.Table, b.canonical.N = t, len(rows)
	b.canonical.Elements = cpcds.Columns(t)
	b.canonical.Columns = make([]cpcds.Column, len(b.canonical.Elements))
	for _, row := range rows {
		for i, e := range b.canonical.Elements {
			b.canonical.Columns[i].AppendPlain(row[e])
		}
	}
	return b
}

// Converter reads rows that do not come from a file through a layout: those of messages. It belongs
// to one goroutine.
type Converter struct {
	batch   Batch
	binding *layouts.Binding
}

// Converter returns a Converter of an input that has been placed.
func (in *Input) Converter() *Converter {
	c := &Converter{batch: Batch{Input: in}, binding: in.Binding.Clone()}
	if in.Table == cpcds.Claims {
		c.batch.plan = newPlan(c.binding)
	}
	return c
}

// Read reads rows with the columns of the input, as Columns lists them. The batch refers to the
// rows, and is valid until the next call.
func (c *Converter) Read(rows *cpcds.Rows) *Batch {
	b := &c.batch
	b.raw = *rows
	b.byElement = nil
	c.binding.Convert(&b.canonical, &b.raw)
	b.prune()
	return b
}
