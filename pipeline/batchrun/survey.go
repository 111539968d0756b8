package batchrun

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/directory"
	"cpcds2fhir/pipeline/referenced"
	"cpcds2fhir/pipeline/tables"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// A target that refuses resources may refuse one that refers to something that is not there yet. So what
// only claims and coverages refer to must be known before they are loaded: the survey reads the whole
// extract for it, and loads nothing. It is repeated when a run is resumed; beside a server it costs little.

// personsLane is the lane of referenced-only persons, who refer to members. In such a run referencedLane
// has the others.
const personsLane = referencedLane + "-persons"

// everythingSurveyed loads the small tables and the referenced-only resources, each after what it refers to, and
// then the claims. While tables are loaded that have no references, the survey is made, and then the first batches
// of claims.
func (l *load) everythingSurveyed(ctx context.Context, known *directory.Directory, total *pipeline.Account) error {
	l.Events.EnterPhase("survey")
	list, err := l.indexAll(ctx, known)
	defer func() {
		for i := range list {
			list[i].winners.Close()
		}
	}()
	if err != nil {
		return err
	}
	r := &referencedFirst{load: l, surveyed: make(chan struct{})}
	defer r.close()
	if err := r.open(ctx); err != nil {
		return err
	}
	l.claimsGate.shut()
	var claims pipeline.Account
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := r.find(ctx, list); err != nil {
			return err
		}
		return l.loadClaims(ctx, &claims)
	})
	g.Go(func() error {
		if err := r.loadInOrder(ctx, list, total); err != nil {
			return err
		}
		if err := l.save(); err != nil {
			return err
		}
		l.claimsGate.open(&l.Events)
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	total.Add(&claims)
	return nil
}

// indexAll indexes the small tables, and finds which claims are contiguous. The caller closes the winners.
func (l *load) indexAll(ctx context.Context, known *directory.Directory) (list []indexed, err error) {
	out := make(chan indexed, len(tables.Order))
	l.dir, err = l.indexTables(ctx, known, out)
	for x := range out {
		list = append(list, x)
	}
	if err == nil {
		err = l.scan(ctx)
	}
	return list, err
}

// referencedFirst loads referenced-only resources before what refers to them.
type referencedFirst struct {
	*load
	others, persons *lane
	surveyed        chan struct{}     // closed when found is known
	found           *referenced.Merge // by the survey; nil if everything is durable
}

// open opens the lanes.
func (r *referencedFirst) open(ctx context.Context) (err error) {
	if r.others, err = r.load.open(ctx, referencedLane, -1); err != nil {
		return err
	}
	r.persons, err = r.load.open(ctx, personsLane, -1)
	return err
}

// find makes the survey, unless both lanes are durable to their ends.
func (r *referencedFirst) find(ctx context.Context, list []indexed) (err error) {
	if !r.others.done || !r.persons.done {
		if r.found, err = r.survey(ctx, list); err != nil {
			return err
		}
	}
	close(r.surveyed)
	return nil
}

// loadInOrder loads the small tables, and the referenced-only resources as soon as the survey has found them.
func (r *referencedFirst) loadInOrder(ctx context.Context, list []indexed, total *pipeline.Account) (err error) {
	r.Events.EnterPhase("tables")
	for _, t := range tables.Order {
		switch t {
		case cpcds.Members:
			err = r.loadInto(ctx, r.others, func(x *referenced.Resource) bool { return x.Kind != referenced.RelatedPerson })
		case cpcds.Coverages:
			err = r.loadInto(ctx, r.persons, func(x *referenced.Resource) bool { return x.Kind == referenced.RelatedPerson })
		}
		for i := range list {
			if err == nil && list[i].table == t {
				err = r.loadSources(ctx, list[i], total)
			}
		}
		if err != nil {
			return err
		}
	}
	total.Add(&r.others.durable)
	total.Add(&r.persons.durable)
	return nil
}

func (r *referencedFirst) close() {
	for _, a := range []*lane{r.others, r.persons} {
		if a != nil {
			a.close()
		}
	}
	_ = os.RemoveAll(r.surveyDir()) // the next start removes what is left
}

// loadInto loads those of the resources for which of is true.
func (r *referencedFirst) loadInto(ctx context.Context, a *lane, of func(*referenced.Resource) bool) error {
	if a.done {
		return nil
	}
	select {
	case <-r.surveyed:
	case <-ctx.Done():
		return ctx.Err()
	}
	var n int64
	err := r.found.Each(func(x *referenced.Resource) error {
		if !of(x) {
			return nil
		}
		n++
		return a.mention(ctx, x, n)
	})
	if err != nil {
		return err
	}
	return a.finish(ctx, r.dir.Err)
}

// surveyDir is the state folder of the survey. It is among the temporary files.
func (e *Engine) surveyDir() string { return filepath.Join(e.spillDir(), "survey") }

// survey reads the extract and finds the referenced-only resources. It leaves nothing but their files.
func (l *load) survey(ctx context.Context, list []indexed) (*referenced.Merge, error) {
	e := *l.Engine
	e.Config.State, e.Loader, e.refuses, e.surveying = l.surveyDir(), nowhere{}, false, true
	e.Events = pipeline.Events{Progress: func(_ int, rows, _, _ int64) { l.Events.Surveyed(rows) }}
	e.Stages, e.Budget = nil, Budget{}
	e.BatchPieces = 1     // batches that are not loaded only take memory
	e.claims.Voider = nil // what it cancels refers to nothing new
	e.merge.Root = referencedDir(e.State)
	if err := os.MkdirAll(e.spillDir(), 0o700); err != nil {
		return nil, fmt.Errorf("make folder of the survey: %w", err)
	}
	s := &load{Engine: &e, keys: l.keys, dir: l.dir}
	var account pipeline.Account
	for _, x := range list {
		if err := s.loadSources(ctx, x, &account); err != nil {
			return nil, err
		}
	}
	if err := s.loadClaims(ctx, &account); err != nil {
		return nil, err
	}
	return &e.merge, nil
}

// nowhere is a loader into nothing.
type nowhere struct{}

func (nowhere) Resume(context.Context, string) (c pipeline.Checkpoint, err error) { return c, nil }

func (nowhere) Load(_ context.Context, _ string, b *fhir.Batch, seal pipeline.Seal) error {
	_, err := seal(make([]pipeline.Outcome, b.Len()), nil)
	return err
}

func (nowhere) Finish(context.Context, *pipeline.Account) error { return nil }
func (nowhere) Close() error                                    { return nil }
