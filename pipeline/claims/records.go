package claims

import (
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/carin"
	"cpcds2fhir/schemas/cpcds"
)

// row adds the line, diagnoses, procedures and care team entries of a row.
func (a *assembled) row(b *rowbatch.Batch, i int) {
	c, used := &a.claim, b.Used()
	a.line(b, i)
	a.diagnoses(b, i)
	c.Procedures, a.px = entries(a, b, i, used.Procedures, cpcds.InpatientProcedureCode, c.Procedures, a.px)
	c.CareTeam, a.team = entries(a, b, i, used.CareTeam, cpcds.CareTeamRole, c.CareTeam, a.team)
}

// entries adds the procedures or members of the care team of a row. code is the element without
// which one is not there.
func entries[T comparable, P interface {
	*T
	Set(e cpcds.Element, v string)
}](a *assembled, b *rowbatch.Batch, i int, groups []rowbatch.Group, code cpcds.Element, list []T, refs []rowbatch.Row) ([]T, []rowbatch.Row) {
	for g := range groups {
		switch there := groups[g].Present(b, i); {
		case !there:
			a.uncoded(b, &groups[g], i, code)
		case !a.full(len(list), code):
			var x T
			a.fill(b, i, groups[g].Slots, len(list), P(&x).Set)
			list, refs = once(a, list, refs, x, rowbatch.Row{Batch: b, Index: int32(i), Repetition: int32(g)})
		}
	}
	return list, refs
}

// line adds the line of a row, if it is one.
func (a *assembled) line(b *rowbatch.Batch, i int) {
	c := &a.claim
	line, numbered := b.IsLine(i)
	if !line {
		return
	}
	n := len(c.Lines)
	if a.full(n, cpcds.LineNumber) {
		return
	}
	if !numbered {
		c.Problems = append(c.Problems, cpcds.Problem{Rule: pipeline.RuleNoNumber, Element: cpcds.LineNumber, Row: n})
	}
	c.Lines = append(c.Lines, cpcds.Line{})
	a.lines = append(a.lines, rowbatch.Row{Batch: b, Index: int32(i)})
	l := &c.Lines[n]
	for _, s := range b.Used().Line {
		col := b.Column(s.Column)
		k := col.Index[i]
		if k < 0 {
			continue
		}
		l.Set(s.Element, col.Values[k])
		if col.Bad != nil || col.Repaired != nil {
			a.note(col, k, s.Element, n)
		}
	}
	for _, e := range [2]cpcds.Element{cpcds.LineNumber, cpcds.CompoundParentLineNumber} {
		l.Set(e, cpcds.CanonicalLineNumber(l.Get(e)))
	}
	if cpcds.OpenEnd(l.Get(cpcds.ServiceToDate)) {
		l.Set(cpcds.ServiceToDate, "")
		a.warn(pipeline.RuleOpenEnd, cpcds.ServiceToDate)
	}
	l.Set(cpcds.NationalDrugCode, carin.NDC(l.Get(cpcds.NationalDrugCode)))
}

// maxRecords is the limit of lines, diagnoses, procedures or care team members of a claim. No
// payer's forms hold more than 999; with more, many claims share a key.
const maxRecords = 10_000

// full reports whether a list of n records has reached the limit, and records it.
func (a *assembled) full(n int, e cpcds.Element) bool {
	if n < maxRecords {
		return false
	}
	if !a.overfull[e.Info().Level] {
		a.overfull[e.Info().Level] = true
		a.claim.Problems = append(a.claim.Problems, cpcds.Problem{Rule: pipeline.RuleTooMany, Element: e, Row: -1})
	}
	return true
}

// once appends a record, or finds an equal one, which then has the first of the two places.
func once[T comparable](a *assembled, list []T, refs []rowbatch.Row, x T, ref rowbatch.Row) ([]T, []rowbatch.Row) {
	for i := range list {
		if list[i] == x {
			refs[i] = refs[i].First(ref)
			a.retarget(i)
			return list, refs
		}
	}
	return append(list, x), append(refs, ref)
}

// diagnoses adds the diagnoses of a row.
func (a *assembled) diagnoses(b *rowbatch.Batch, i int) {
	c, used := &a.claim, b.Used()
	for g := range used.Diagnoses {
		ok := used.Diagnoses[g].Present(b, i)
		if ok && !a.full(len(c.Diagnoses), cpcds.DiagnosisCode) {
			var d cpcds.Diagnosis
			a.fill(b, i, used.Diagnoses[g].Slots, len(c.Diagnoses), d.Set)
			ref := rowbatch.Row{Batch: b, Index: int32(i), Repetition: int32(g)}
			if !a.hasDiagnosis(&d, ref) {
				c.Diagnoses = append(c.Diagnoses, d)
				a.dx = append(a.dx, ref)
			}
		} else if !ok {
			a.uncoded(b, &used.Diagnoses[g], i, cpcds.DiagnosisCode)
		}
	}
}

// uncoded warns of a repetition that is filled but lacks its code.
func (a *assembled) uncoded(b *rowbatch.Batch, g *rowbatch.Group, i int, code cpcds.Element) {
	if g.SaysMore(b, i) {
		a.warn(pipeline.RuleNoCode, code)
	}
}

func (a *assembled) fill(b *rowbatch.Batch, i int, slots []rowbatch.Slot, record int, set func(cpcds.Element, string)) {
	a.filled = len(a.claim.Problems)
	for _, s := range slots {
		col := b.Column(s.Column)
		if k := col.Index[i]; k >= 0 {
			set(s.Element, col.Values[k])
			if col.Bad != nil || col.Repaired != nil {
				a.note(col, k, s.Element, record)
			}
		}
	}
}

// retarget moves the problems of the last filled record to an equal one.
func (a *assembled) retarget(record int) {
	added := slices.Clone(a.claim.Problems[a.filled:])
	a.claim.Problems = a.claim.Problems[:a.filled]
	for _, p := range added {
		p.Row = record
		a.problem(p)
	}
}

// hasDiagnosis reports whether the claim already has the diagnosis: the same code of the same type.
// Rows repeat their diagnoses; what they add to an existing one (a missing POA or text) is taken
// over. Of two texts the greater is kept.
func (a *assembled) hasDiagnosis(d *cpcds.Diagnosis, ref rowbatch.Row) bool {
	for i := range a.claim.Diagnoses {
		x := &a.claim.Diagnoses[i]
		if x.Get(cpcds.DiagnosisCode) != d.Get(cpcds.DiagnosisCode) || x.Get(cpcds.DiagnosisType) != d.Get(cpcds.DiagnosisType) ||
			x.Get(cpcds.DiagnosisCodeType) != d.Get(cpcds.DiagnosisCodeType) {
			continue
		}
		a.dx[i] = a.dx[i].First(ref)
		a.retarget(i)
		if text, other := x.Get(cpcds.DiagnosisDescription), d.Get(cpcds.DiagnosisDescription); text != "" && other != "" && text != other {
			a.warn(pipeline.RuleTextsDiffer, cpcds.DiagnosisDescription)
		}
		for _, e := range [2]cpcds.Element{cpcds.DiagnosisDescription, cpcds.IsECode} {
			x.Set(e, max(x.Get(e), d.Get(e)))
		}
		was, poa := x.Get(cpcds.PresentOnAdmission), d.Get(cpcds.PresentOnAdmission)
		if was != "" && poa != "" && was != poa {
			a.problem(cpcds.Problem{Rule: pipeline.RulePOAConflict, Element: cpcds.PresentOnAdmission, Row: i})
		}
		x.Set(cpcds.PresentOnAdmission, max(was, poa))
		return true
	}
	return false
}

// problem adds a problem, unless the claim already has it.
func (a *assembled) problem(p cpcds.Problem) {
	if !slices.Contains(a.claim.Problems, p) {
		a.claim.Problems = append(a.claim.Problems, p)
	}
}

// checkLines finds lines with the number of an earlier one. If copies may be dropped, exact copies
// are. The lines are sorted. An unreadable value differs from none.
func (a *assembled) checkLines() {
	c := &a.claim
	copies := map[int]bool{}
	for i := 1; i < len(c.Lines); i++ {
		n := c.Lines[i].Get(cpcds.LineNumber)
		if n == "" || n != c.Lines[i-1].Get(cpcds.LineNumber) {
			continue
		}
		if a.dropCopies && c.Lines[i] == c.Lines[i-1] && !a.unread(i) && !a.unread(i-1) {
			copies[i] = true
		} else {
			c.Problems = append(c.Problems, cpcds.Problem{Rule: pipeline.RuleDuplicateLine, Element: cpcds.LineNumber, Row: i})
		}
	}
	for range copies {
		a.repair(cpcds.LineNumber, pipeline.RepairDuplicateLine)
	}
	c.Lines, a.lines = without(a, cpcds.LineLevel, c.Lines, a.lines, copies)
}

// unread reports whether a line has a value that could not be read.
func (a *assembled) unread(line int) bool {
	return slices.ContainsFunc(a.claim.Problems, func(p cpcds.Problem) bool {
		return p.Row == line && p.Element != cpcds.NoElement && p.Element.Info().Level == cpcds.LineLevel && p.Rule != pipeline.RuleDuplicateLine
	})
}

// keep keeps the records of a list for which f is true, with their rows and problems.
func keep[T any](a *assembled, level cpcds.Level, list []T, refs []rowbatch.Row, f func(*T) bool) ([]T, []rowbatch.Row) {
	kept := 0
	var order []int32 // the former indices of those that are kept
	for i := range list {
		if !f(&list[i]) {
			continue
		}
		list[kept], refs[kept] = list[i], refs[i]
		order = append(order, int32(i))
		kept++
	}
	if kept < len(list) {
		a.moved(level, order)
		a.claim.Problems = slices.DeleteFunc(a.claim.Problems, func(p cpcds.Problem) bool { return p.Row == gone })
	}
	return list[:kept], refs[:kept]
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

// repair records a repair of an element. It counts if the claim is accepted and its profile has the
// element.
func (a *assembled) repair(e cpcds.Element, name string) {
	if a.fixes == nil {
		a.fixes = map[fix]int64{}
	}
	a.fixes[fix{e, name}]++
}
