package pipeline

import (
	"slices"
	"strings"

	"cpcds2fhir/schemas/cpcds"
)

// Rules of assembling.
const (
	ruleHeaderDisagrees = "header-disagrees"    // the rows of a claim repeat a header element with different values
	ruleDuplicateLine   = "duplicate-line"      // two lines of a claim have the same number
	ruleNoKey           = "required-claim-key"  // a row has no claim key
	ruleNoNumber        = "line-without-number" // a row has a service and no line number
	ruleNoCode          = "entry-without-code"  // a diagnosis, procedure or member of the care team says all but what it is

	ruleCoverageMember = "coverage-of-other-member" // the coverage of a claim is another member's
)

// assembled is a claim with what is needed to report on it: the rows its records
// came from.
type assembled struct {
	claim cpcds.Claim
	lines []rowRef // parallel to claim.Lines
	dx    []rowRef
	px    []rowRef
	team  []rowRef
	fixes map[fix]int64 // repairs, of this claim

	warnings []cpcds.Problem // what is left out, of this claim

	dropCopies bool // the repair of duplicate lines is on
}

// fix is a repair of one element.
type fix struct {
	element cpcds.Element
	name    string
}

// rowRef is a row of a slab.
type rowRef struct {
	b   *bound
	row int
}

// assemble builds the claim of the rows. The claim's strings are views into the
// slabs. It is the only place where rows become a claim, whatever their source.
func (a *assembled) assemble(segments []segment) {
	c := &a.claim
	c.Reset()
	a.lines, a.dx, a.px, a.team = a.lines[:0], a.dx[:0], a.px[:0], a.team[:0]
	clear(a.fixes)
	a.warnings = a.warnings[:0]
	for _, s := range segments {
		a.header(s)
	}
	for _, s := range segments {
		for i := s.from; i < s.to; i++ {
			a.row(s.b, i)
		}
	}
	a.checkLines()
}

// header fills in the header from a segment. Line-grain rows repeat the header;
// an empty value says nothing, two different ones are a problem.
func (a *assembled) header(s segment) {
	c, b := &a.claim, s.b
	for _, h := range b.slots().header {
		col := &b.batch.Columns[h.column]
		last := int32(-1)
		for _, k := range col.Index[s.from:s.to] {
			if k == last || k < 0 {
				continue
			}
			last = k
			if col.Bad != nil && col.Bad[k] != "" {
				a.headerProblem(col.Bad[k], h.element)
				continue
			}
			v := col.Values[k]
			if v == "" {
				continue
			}
			old := c.Header.Get(h.element)
			switch {
			case old == "":
				c.Header.Set(h.element, v)
				a.repaired(h.element, col, k)
			case old != v:
				a.headerProblem(ruleHeaderDisagrees, h.element)
			}
		}
	}
}

// headerProblem notes a problem of a header element once, however many rows
// repeat it.
func (a *assembled) headerProblem(rule string, e cpcds.Element) {
	p := cpcds.Problem{Rule: rule, Element: e, Row: -1}
	if !slices.Contains(a.claim.Problems, p) {
		a.claim.Problems = append(a.claim.Problems, p)
	}
}

// row adds the line, diagnoses, procedures and care team entries of a row.
func (a *assembled) row(b *bound, i int) {
	c, p := &a.claim, b.slots()
	service := b.filled(b.plan.lineWhen, i)
	if service || b.plan.numbered && b.written(p.services, i) {
		n := len(c.Lines)
		if !service {
			c.Problems = append(c.Problems, cpcds.Problem{Rule: ruleNoNumber, Element: cpcds.LineNumber, Row: n})
		}
		c.Lines = append(c.Lines, cpcds.Line{})
		a.lines = append(a.lines, rowRef{b, i})
		l := &c.Lines[n]
		for _, s := range p.line {
			col := &b.batch.Columns[s.column]
			k := col.Index[i]
			if k < 0 {
				continue
			}
			l.Set(s.element, col.Values[k])
			if col.Bad != nil || col.Repaired != nil {
				a.note(col, k, s.element, n)
			}
		}
	}
	a.diagnoses(b, i)
	for g := range p.procedures {
		if _, ok := present(b, &p.procedures[g], i); ok {
			var x cpcds.Procedure
			a.fill(b, i, p.procedures[g].slots, len(c.Procedures), x.Set)
			if !has(c.Procedures, x) {
				c.Procedures = append(c.Procedures, x)
				a.px = append(a.px, rowRef{b, i})
			}
		} else {
			a.uncoded(b, &p.procedures[g], i, cpcds.InpatientProcedureCode)
		}
	}
	for g := range p.careTeam {
		if _, ok := present(b, &p.careTeam[g], i); ok {
			var t cpcds.CareTeam
			a.fill(b, i, p.careTeam[g].slots, len(c.CareTeam), t.Set)
			if !has(c.CareTeam, t) {
				c.CareTeam = append(c.CareTeam, t)
				a.team = append(a.team, rowRef{b, i})
			}
		} else {
			a.uncoded(b, &p.careTeam[g], i, cpcds.CareTeamRole)
		}
	}
}

// diagnoses adds the diagnoses of a row.
func (a *assembled) diagnoses(b *bound, i int) {
	c, p := &a.claim, b.slots()
	for g := range p.diagnoses {
		if v, ok := present(b, &p.diagnoses[g], i); ok {
			var d cpcds.Diagnosis
			a.fill(b, i, p.diagnoses[g].slots, len(c.Diagnoses), d.Set)
			if !a.hasDiagnosis(&d, v) {
				c.Diagnoses = append(c.Diagnoses, d)
				a.dx = append(a.dx, rowRef{b, i})
			}
		} else {
			a.uncoded(b, &p.diagnoses[g], i, cpcds.DiagnosisCode)
		}
	}
}

// uncoded warns of a repetition that is filled and lacks the element without which
// it is not there.
func (a *assembled) uncoded(b *bound, g *group, i int, code cpcds.Element) {
	if b.written(g.facts, i) {
		a.warnings = append(a.warnings, cpcds.Problem{Rule: ruleNoCode, Element: code, Row: -1})
	}
}

// present returns the code of a repetition in row i, and whether it is there.
func present(b *bound, g *group, i int) (code string, there bool) {
	if g.typ >= 0 && b.batch.Columns[g.typ].Value(i) == "masked" {
		there = true
	}
	if g.present < 0 {
		return "", there
	}
	col := &b.batch.Columns[g.present]
	k := col.Index[i]
	if k < 0 {
		return "", there
	}
	return col.Values[k], there || col.Values[k] != "" || col.Bad != nil && col.Bad[k] != ""
}

func (a *assembled) fill(b *bound, i int, slots []slot, record int, set func(cpcds.Element, string)) {
	for _, s := range slots {
		col := &b.batch.Columns[s.column]
		if k := col.Index[i]; k >= 0 {
			set(s.element, col.Values[k])
			if col.Bad != nil || col.Repaired != nil {
				a.note(col, k, s.element, record)
			}
		}
	}
}

// hasDiagnosis reports whether the claim has the diagnosis already: the same code
// of the same type. Rows repeat their diagnoses; what they add to one that is
// there (a missing POA or text) is taken over.
func (a *assembled) hasDiagnosis(d *cpcds.Diagnosis, code string) bool {
	for i := range a.claim.Diagnoses {
		x := &a.claim.Diagnoses[i]
		if x.Get(cpcds.DiagnosisCode) == code && x.Get(cpcds.DiagnosisType) == d.Get(cpcds.DiagnosisType) &&
			x.Get(cpcds.DiagnosisCodeType) == d.Get(cpcds.DiagnosisCodeType) {
			for _, e := range [2]cpcds.Element{cpcds.DiagnosisDescription, cpcds.IsECode} {
				if x.Get(e) == "" {
					x.Set(e, d.Get(e))
				}
			}
			if poa := d.Get(cpcds.PresentOnAdmission); poa != x.Get(cpcds.PresentOnAdmission) {
				switch {
				case x.Get(cpcds.PresentOnAdmission) == "":
					x.Set(cpcds.PresentOnAdmission, poa)
				case poa != "":
					a.claim.Problems = append(a.claim.Problems, cpcds.Problem{Rule: rulePOAConflict, Element: cpcds.PresentOnAdmission, Row: i})
				}
			}
			return true
		}
	}
	return false
}

func has[T comparable](list []T, x T) bool {
	for i := range list {
		if list[i] == x {
			return true
		}
	}
	return false
}

// checkLines notes lines that have the number of an earlier one. If copies may be
// dropped, those that are the same throughout are.
func (a *assembled) checkLines() {
	c, kept := &a.claim, 0
	for i := range c.Lines {
		if n := c.Lines[i].Get(cpcds.LineNumber); n != "" {
			j := slices.IndexFunc(c.Lines[:kept], func(l cpcds.Line) bool { return l.Get(cpcds.LineNumber) == n })
			if j >= 0 && a.dropCopies && c.Lines[j] == c.Lines[i] {
				a.repair(cpcds.LineNumber, repairDuplicateLine)
				continue
			}
			if j >= 0 {
				c.Problems = append(c.Problems, cpcds.Problem{Rule: ruleDuplicateLine, Element: cpcds.LineNumber, Row: kept})
			}
		}
		if kept != i {
			c.Lines[kept], a.lines[kept] = c.Lines[i], a.lines[i]
		}
		kept++
	}
	c.Lines, a.lines = c.Lines[:kept], a.lines[:kept]
}

func (a *assembled) note(col *cpcds.Column, k int32, e cpcds.Element, record int) {
	if col.Bad != nil && col.Bad[k] != "" {
		a.claim.Problems = append(a.claim.Problems, cpcds.Problem{Rule: col.Bad[k], Element: e, Row: record})
	}
	a.repaired(e, col, k)
}

func (a *assembled) repaired(e cpcds.Element, col *cpcds.Column, k int32) {
	if col.Repaired != nil && col.Repaired[k] != "" {
		a.repair(e, col.Repaired[k])
	}
}

// repair notes a repair of an element. It counts if the claim is accepted and its
// profile has the element.
func (a *assembled) repair(e cpcds.Element, name string) {
	if a.fixes == nil {
		a.fixes = map[fix]int64{}
	}
	a.fixes[fix{e, name}]++
}

// newest keeps the rows of the newest record of a claim: rows of one key may
// carry several versions. It returns how many input rows it left out.
func newest(segments []segment) ([]segment, int64) {
	version := func(b *bound, i int) string {
		v := ""
		for _, c := range b.plan.version {
			if v = b.batch.Columns[c].Value(i); v != "" {
				break
			}
		}
		return v
	}
	best, differ, some := "", false, false
	for _, s := range segments {
		if len(s.b.plan.version) == 0 {
			continue
		}
		for i := s.from; i < s.to; i++ {
			v := version(s.b, i)
			if v == "" {
				continue
			}
			if some && v != best {
				differ = true
			}
			if v > best {
				best = strings.Clone(v)
			}
			some = true
		}
	}
	if !differ {
		return segments, 0
	}
	var kept []segment
	var dropped int64
	for _, s := range segments {
		for i := s.from; i < s.to; i++ {
			v := best
			if len(s.b.plan.version) > 0 {
				v = version(s.b, i)
			}
			if v != "" && v != best {
				dropped += s.b.inputRows(i, i+1)
				continue
			}
			if n := len(kept); n > 0 && kept[n-1].b == s.b && kept[n-1].to == i {
				kept[n-1].to = i + 1
			} else {
				kept = append(kept, segment{s.b, i, i + 1})
			}
		}
	}
	return kept, dropped
}
