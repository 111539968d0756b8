package streamrun

import (
	"context"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// constants makes the directory of the layout's own rows.
func (e *Engine) constants(dir *directory.Directory) (*directory.Directory, error) {
	for _, t := range tables.Order {
		rows := e.Layout.Constants[t]
		if len(rows) == 0 {
			continue
		}
		x, err := dir.Index(t)
		if err != nil {
			return nil, err
		}
		b, batch := tables.NewBuilder(&e.tables, dir, t), rowbatch.Constants(t, rows)
		for i := range batch.Len() {
			if err := b.Index(x, batch, i, -1, int64(i)); err != nil {
				return nil, err
			}
		}
		next, winners, err := x.Done()
		if err != nil {
			return nil, err
		}
		winners.Close()
		dir = next
	}
	return dir, nil
}

// LoadConstants loads the layout's own rows, except organizations, which are written when a claim
// refers to them.
func (e *Engine) LoadConstants(ctx context.Context) error {
	var out fhir.Batch
	for _, t := range tables.Order {
		if t == cpcds.Organizations || len(e.Layout.Constants[t]) == 0 {
			continue
		}
		b, batch := tables.NewBuilder(&e.tables, e.base, t), rowbatch.Constants(t, e.Layout.Constants[t])
		for i := range batch.Len() {
			b.Build(&out, new(pipeline.Account), batch, i, -1, int64(i), always{})
		}
	}
	if out.Len() == 0 {
		return nil
	}
	lane, at, err := e.Target.Take(ctx, e.Group+"/layout")
	if err != nil {
		return err
	}
	return lane.Load(ctx, &out, func([]pipeline.Outcome, pipeline.Refusals) (pipeline.StreamCommit, error) {
		return pipeline.StreamCommit{Position: at}, nil
	})
}

// always selects every row.
type always struct{}

func (always) Has(fhir.Raw, int, int64) bool { return true }
