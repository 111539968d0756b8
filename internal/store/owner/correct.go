package owner

import (
	"context"
	"iter"

	"cpcds2fhir/internal/store"
	"cpcds2fhir/schemas/fhir"
)

var _ store.Corrector = (*Shared)(nil)

// Correct implements store.Corrector. If the owner is lost it corrects again, so an outcome may be
// Unchanged although this call has made it; the account of the corrections counts each once.
func (s *Shared) Correct(ctx context.Context, name string, list []store.Correction) (outcomes []store.Outcome, err error) {
	if s.readOnly {
		return nil, store.ErrReadOnly
	}
	err = s.run(ctx, func(st *store.Store) (err error) {
		outcomes, err = st.Correct(ctx, name, list)
		return err
	}, func(c *conn) error {
		c.enc.begin(askCorrect)
		c.enc.text(name)
		c.enc.uint(uint64(len(list)))
		for i := range list {
			c.enc.correction(list[i])
		}
		return c.ask(func(d *decoder) { outcomes = d.outcomes(make([]store.Outcome, 0, len(list))) })
	})
	return outcomes, err
}

// KeepOut implements store.Corrector.
func (s *Shared) KeepOut(ctx context.Context, references []string, out bool) error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	return s.run(ctx, func(st *store.Store) error { return st.KeepOut(ctx, references, out) }, func(c *conn) error {
		c.enc.begin(askKeepOut)
		c.enc.texts(references)
		c.enc.bool(out)
		return c.ask(func(*decoder) {})
	})
}

// Scrub implements store.Corrector.
func (s *Shared) Scrub(ctx context.Context) error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	return s.run(ctx, func(st *store.Store) error { return st.Scrub(ctx) }, func(c *conn) error {
		c.enc.begin(askScrub)
		return c.ask(func(*decoder) {})
	})
}

// Compartment implements store.Corrector.
func (s *Shared) Compartment(ctx context.Context, patient string) iter.Seq2[store.Correction, error] {
	return stream(ctx, s, func(st *store.Store) iter.Seq2[store.Correction, error] { return st.Compartment(ctx, patient) }, func(e *encoder) {
		e.begin(askCompartment)
		e.text(patient)
	}, (*decoder).correction)
}

// MadeBy implements store.Corrector.
func (s *Shared) MadeBy(ctx context.Context, origin, undone string, gone []string) iter.Seq2[store.Correction, error] {
	return stream(ctx, s, func(st *store.Store) iter.Seq2[store.Correction, error] { return st.MadeBy(ctx, origin, undone, gone) }, func(e *encoder) {
		e.begin(askMadeBy)
		e.text(origin)
		e.text(undone)
		e.texts(gone)
	}, (*decoder).correction)
}

// correct answers the requests of a store.Corrector.
func (c *session) correct(ctx context.Context, kind byte, d *decoder) error {
	switch kind {
	case askCorrect:
		name := d.text()
		list := make([]store.Correction, d.count(1))
		for i := range list {
			list[i] = d.correction()
		}
		return c.answer(d, func() error {
			outcomes, err := c.st.Correct(ctx, name, list)
			c.enc.outcomes(outcomes)
			return err
		})
	case askKeepOut:
		references, out := d.texts(), d.bool()
		return c.answer(d, func() error { return c.st.KeepOut(ctx, references, out) })
	case askCompartment:
		return answerAll(c, d, c.st.Compartment(ctx, d.text()), c.enc.correction)
	case askMadeBy:
		origin, undone, gone := d.text(), d.text(), d.texts()
		return answerAll(c, d, c.st.MadeBy(ctx, origin, undone, gone), c.enc.correction)
	}
	return c.answer(d, func() error { return c.st.Scrub(ctx) })
}

func (e *encoder) correction(c store.Correction) {
	e.resource(c.Type, c.ID)
	e.uint(uint64(c.Do))
	e.uint(uint64(c.Version))
	e.uint(uint64(c.To))
}

func (d *decoder) correction() (c store.Correction) {
	c.Type, c.ID = d.resource()
	c.Do = store.Remedy(min(d.uint(), 255))
	c.Version, c.To = uint32(d.uint()), uint32(d.uint())
	if d.bad {
		c.Type = fhir.NumTypes
	}
	return c
}
