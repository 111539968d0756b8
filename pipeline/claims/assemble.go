package claims

import (
	"cmp"
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
)

// assembled is a claim with what is needed to report on it: the rows that its records came from.
type assembled struct {
	claim cpcds.Claim
	lines []rowbatch.Row // parallel to claim.Lines
	dx    []rowbatch.Row
	px    []rowbatch.Row
	team  []rowbatch.Row
	fixes map[fix]int64 // repairs, of this claim

	warnings []cpcds.Problem // values left out of this claim
	overfull [cpcds.NumLevels]bool

	filled int // number of problems before the last record was filled

	decidedBy rowbatch.Row // the row that prevents finding the newest record, or that voids it; may be none

	dropCopies bool // the repair of duplicate lines is on
	bySource   bool // the order of the source matters

	lineOrder arranger[cpcds.Line]
	dxOrder   arranger[cpcds.Diagnosis]
	pxOrder   arranger[cpcds.Procedure]
	teamOrder arranger[cpcds.CareTeam]
}

// fix is a repair of one element.
type fix struct {
	element cpcds.Element
	name    string
}

// assemble builds a claim from the rows, and adds the diagnoses of others. The claim's strings are
// views into the row batches. It is the only place where rows become a claim, whatever their source
// and order.
func (a *assembled) assemble(segments []rowbatch.Segment, diagnosesOf ...rowbatch.Segment) {
	c := &a.claim
	c.Reset()
	a.lines, a.dx, a.px, a.team = a.lines[:0], a.dx[:0], a.px[:0], a.team[:0]
	clear(a.fixes)
	a.warnings, a.overfull = a.warnings[:0], [cpcds.NumLevels]bool{}
	for _, s := range segments {
		if !s.Older {
			a.header(s)
		}
	}
	for _, e := range [2]cpcds.Element{cpcds.StatementThruDate, cpcds.MemberDischargeDate} {
		if cpcds.OpenEnd(c.Get(e)) {
			c.Set(e, "")
			a.warn(pipeline.RuleOpenEnd, e)
		}
	}
	slices.SortFunc(c.Problems, func(x, y cpcds.Problem) int {
		return cmp.Or(cmp.Compare(x.Element, y.Element), strings.Compare(x.Rule, y.Rule))
	})
	for _, s := range segments {
		for i := s.From; i < s.To; i++ {
			a.row(s.Batch, i)
		}
	}
	for _, s := range diagnosesOf {
		for i := s.From; i < s.To; i++ {
			a.diagnoses(s.Batch, i)
		}
	}
	a.arrange()
	a.checkLines()
}

// header fills in the header from a segment. Line-grain rows repeat the header; an empty value is
// ignored, two different ones are a problem. The lesser of them is kept, so that the order of rows
// does not matter.
func (a *assembled) header(s rowbatch.Segment) {
	c, b := &a.claim, s.Batch
	for _, h := range b.Used().Header {
		col := b.Column(h.Column)
		last := int32(-1)
		for _, k := range col.Index[s.From:s.To] {
			if k == last || k < 0 {
				continue
			}
			last = k
			if col.Bad != nil && col.Bad[k] != "" {
				a.headerProblem(col.Bad[k], h.Element)
				continue
			}
			if col.Repaired != nil && col.Repaired[k] != "" {
				a.repair(h.Element, col.Repaired[k])
				a.fixes[fix{h.Element, col.Repaired[k]}] = 1 // however many rows repeat it
			}
			v := col.Values[k]
			if v == "" {
				continue
			}
			old := c.Header.Get(h.Element)
			if h.Element == cpcds.ClaimLastUpdatedDate && old != "" && old != v {
				// Rows of one version may have their own dates; the record is as new as the latest.
				if order, ok := fhir.CompareVersions(v, old); ok && order != 0 {
					if order > 0 {
						c.Header.Set(h.Element, v)
					}
					a.warn(pipeline.RuleDatesDiffer, h.Element)
					continue
				}
			}
			if old != "" && old != v && !sameInstant(h.Element, old, v) {
				a.headerProblem(pipeline.RuleHeaderDisagrees, h.Element)
			}
			if old == "" || v < old {
				c.Header.Set(h.Element, v)
			}
		}
	}
}

// sameInstant reports whether two values of an element are different spellings of one point in time
// or version.
func sameInstant(e cpcds.Element, a, b string) bool {
	if e != cpcds.ClaimSourceVersion && e.Info().Kind != cpcds.InstantKind {
		return false
	}
	order, ok := fhir.CompareVersions(a, b)
	return ok && order == 0
}

// headerProblem records a problem of a header element once, however many rows repeat it.
func (a *assembled) headerProblem(rule string, e cpcds.Element) {
	a.problem(cpcds.Problem{Rule: rule, Element: e, Row: -1})
}

// warn records what is left out of the claim, once for each element, however many rows have it.
func (a *assembled) warn(rule string, e cpcds.Element) {
	if p := (cpcds.Problem{Rule: rule, Element: e, Row: -1}); !slices.Contains(a.warnings, p) {
		a.warnings = append(a.warnings, p)
	}
}
