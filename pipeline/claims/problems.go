package claims

import (
	"cmp"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// note adds to the reject why a part of the claim is rejected, and where the faulty values are.
func (b *Builder) note(part string, problems []cpcds.Problem, rows []rowbatch.Segment) {
	c, r := &b.asm.claim, &b.reject
	if c.Refs.Claim != "" {
		r.Resources = append(r.Resources, fhir.Reference(fhir.ExplanationOfBenefit, c.Refs.Claim))
	}
	r.Version = strings.Clone(c.Version())
	b.describe(r)
	for _, p := range problems {
		x := pipeline.RejectProblem{Rule: p.Rule, Part: strings.Clone(part)}
		if p.Element == cpcds.NoElement {
			r.Problems = append(r.Problems, x)
			continue
		}
		x.Element = p.Element.Column()
		if p.Rule == pipeline.RuleHeaderDisagrees {
			for _, at := range disagreeing(p.Element, rows) {
				r.Problems = append(r.Problems, placed(x, p.Element, at, true))
			}
			continue
		}
		at, row := b.asm.origin(p, rows)
		if at.Batch == nil {
			at.Batch = rows[0].Batch
		}
		x = placed(x, p.Element, at, row)
		if p.Rule == carin.RuleRequiredLine {
			x.Columns = rows[0].Batch.LineColumns()
		}
		r.Problems = append(r.Problems, x)
	}
}

// describe says what kind of claim the last part is, and of which month.
func (b *Builder) describe(r *pipeline.Reject) {
	c := &b.asm.claim
	if p, ok := carin.ProfileOf(c); ok {
		r.Kind = p.String()
	}
	if day := cmp.Or(c.Get(cpcds.StatementFromDate), c.FirstService()); len(day) == len("2006-01-02") {
		r.Month = strings.Clone(day[:len("2006-01")])
	}
}

// Describe begins the reject of a claim that was accepted, in case that the target refuses it. Its memory
// is its own. It must be called before the next claim.
func (b *Builder) Describe(key string) *pipeline.Reject {
	r := &pipeline.Reject{Table: cpcds.Claims.String(), Claim: strings.Clone(key), Version: strings.Clone(b.asm.claim.Version())}
	b.describe(r)
	return r
}

// placed is a problem with its place: a row, or only an input.
func placed(x pipeline.RejectProblem, e cpcds.Element, at rowbatch.Row, row bool) pipeline.RejectProblem {
	if row {
		x.Input, x.Row = at.Batch.Input.Path, at.InputRow()+1
	}
	x.Columns = at.Batch.Input.ColumnsOf(e)
	return x
}
