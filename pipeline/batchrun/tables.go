package batchrun

import (
	"context"
	"errors"
	"fmt"
	"io"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/cpcds"
)

// tableSource is an input of a small table, or the layout's own rows.
type tableSource struct {
	index int             // of the input; -1 for the layout's rows
	input *rowbatch.Input // nil for the layout's rows
}

func (l *load) tableSources(t cpcds.Table) []tableSource {
	var list []tableSource
	for i, in := range l.Inputs {
		if in.Table == t {
			list = append(list, tableSource{i, in})
		}
	}
	if len(l.Layout.Constants[t]) > 0 {
		list = append(list, tableSource{index: -1})
	}
	return list
}

// indexed is a small table that is in a snapshot of the directory, ready to be loaded.
type indexed struct {
	table   cpcds.Table
	sources []tableSource
	dir     *directory.Directory
	winners *directory.Winners
}

// indexTables reads the small tables in order, and sends each to out, with the snapshot of the
// directory that has it. It closes out and returns the last snapshot.
func (l *load) indexTables(ctx context.Context, dir *directory.Directory, out chan<- indexed) (*directory.Directory, error) {
	defer close(out)
	for _, t := range tables.Order {
		if l.Layout.Table(t) == nil {
			continue
		}
		sources := l.tableSources(t)
		if len(sources) == 0 {
			continue
		}
		next, winners, err := l.index(ctx, dir, t, sources)
		if err != nil {
			return nil, err
		}
		dir = next
		select {
		case out <- indexed{t, sources, dir, winners}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return dir, nil
}

// index makes a snapshot that also has the rows of a small table.
func (l *load) index(ctx context.Context, dir *directory.Directory, t cpcds.Table, sources []tableSource) (*directory.Directory, *directory.Winners, error) {
	x, err := dir.Index(t)
	if err != nil {
		return nil, nil, err
	}
	b := tables.NewBuilder(&l.tables, l.lookup(dir), t)
	for _, s := range sources {
		err := l.each(ctx, t, s, 0, func(rows *rowbatch.Batch, i int, n int64) error { return b.Index(x, rows, i, s.index, n) })
		if err != nil {
			return nil, nil, err
		}
	}
	return x.Done()
}

// loadTables loads the small tables, which are read twice: first to index which rows there are,
// which of several rows of one key is the newest and what claims can refer to; then to load them.
// The directory is complete afterwards even if the tables were loaded by an earlier, interrupted
// call. One goroutine loads, in the order of the tables, what another has indexed: a table refers
// only to those before it.
func (l *load) loadTables(ctx context.Context, in <-chan indexed, total *pipeline.Account) error {
	for x := range in {
		if err := l.loadSources(ctx, x, total); err != nil {
			return err
		}
		x.winners.Close()
	}
	return nil
}

// loadSources loads the sources of a small table.
func (l *load) loadSources(ctx context.Context, x indexed, total *pipeline.Account) error {
	for _, s := range x.sources {
		// Of a layout's own organizations, only those that are referred to are written. A
		// replay finds the layout's other rows in the target.
		if s.input == nil && (x.table == cpcds.Organizations || l.Replay != nil) {
			continue
		}
		account, err := l.loadTable(ctx, x, s)
		if err != nil {
			return err
		}
		total.Add(account)
	}
	return nil
}

// loadTable loads a source of a small table.
func (l *load) loadTable(ctx context.Context, x indexed, s tableSource) (*pipeline.Account, error) {
	name := x.table.String() + "-layout"
	if s.input != nil {
		name = fmt.Sprintf("%s-%03d", x.table, s.index)
	}
	a, err := l.open(ctx, name, s.index)
	if err != nil {
		return nil, err
	}
	defer a.close()
	if a.done {
		return &a.durable, nil
	}
	dir := l.lookup(x.dir)
	b := tables.NewBuilder(&l.tables, dir, x.table)
	err = l.each(ctx, x.table, s, a.row, func(rows *rowbatch.Batch, i int, n int64) error {
		row, from := rowbatch.Segment{Batch: rows, From: i, To: i + 1}, a.next.out.Len()
		referenced, reject := b.Build(&a.next.out, a.counting(), rows, i, s.index, n, x.winners)
		a.referenced.Add(referenced)
		switch {
		case reject != nil:
			a.reject(reject, row)
		case a.refusals != nil && rows.Input != nil && a.next.out.Len() > from:
			a.refusable(x.table, from, &pipeline.Reject{Table: x.table.String()}, row)
		}
		a.counted()
		return a.advance(ctx, 1, 1, dir.Err)
	})
	if err != nil {
		return nil, err
	}
	return &a.durable, a.finish(ctx, dir.Err)
}

// each calls f for the rows of a source from a row on: the batch, the row in it, and its
// number in the source, counted from 0.
func (l *load) each(ctx context.Context, t cpcds.Table, s tableSource, from int64, f func(b *rowbatch.Batch, i int, n int64) error) error {
	if s.input == nil {
		b := rowbatch.Constants(t, l.Layout.Constants[t])
		for i := int(from); i < b.Len(); i++ {
			if err := f(b, i, int64(i)); err != nil {
				return err
			}
		}
		return nil
	}
	var end int64
	for _, lane := range s.input.Lanes() {
		end = lane.Span.First + lane.Span.Rows
	}
	rows, err := s.input.Read(ctx, from, end, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	for {
		b, err := rows.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range b.Len() {
			if err := f(b, i, b.RawRows().First+int64(i)); err != nil {
				return err
			}
		}
	}
}
