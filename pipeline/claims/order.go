package claims

import (
	"cmp"
	"slices"

	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
)

// The order of rows means nothing: a query without ORDER BY may give a different one every night.
// So the records of a claim are sorted by content. Lines are sorted by number, those without one by
// text. Diagnoses, procedures and care team members are sorted by repetition, then principal ones
// first, then by text; if no diagnosis has a type, those on the line with the lowest number come
// first, because the first one is the principal one. A layout may say instead that the source's own
// order matters.

// arranger puts records of one level in order. It keeps its memory.
type arranger[T any] struct {
	order []int32
	list  []T
	refs  []rowbatch.Row
}

// arrange sorts a list and the rows that its records came from by compare, which gets two indices,
// and returns the former index of each record; nil if nothing has moved.
func (s *arranger[T]) arrange(list []T, refs []rowbatch.Row, compare func(i, j int32) int) []int32 {
	sorted := true
	for i := 1; i < len(list) && sorted; i++ {
		sorted = compare(int32(i-1), int32(i)) <= 0
	}
	if sorted {
		return nil
	}
	s.order = s.order[:0]
	for i := range list {
		s.order = append(s.order, int32(i))
	}
	slices.SortStableFunc(s.order, compare)
	s.list, s.refs = append(s.list[:0], list...), append(s.refs[:0], refs...)
	for to, from := range s.order {
		list[to], refs[to] = s.list[from], s.refs[from]
	}
	return s.order
}

// arrange puts the records of the claim in order; problems follow theirs.
func (a *assembled) arrange() {
	c := &a.claim
	a.moved(cpcds.LineLevel, a.lineOrder.arrange(c.Lines, a.lines, func(i, j int32) int {
		x, y := &c.Lines[i], &c.Lines[j]
		if o := cpcds.CompareLineNumbers(x.Get(cpcds.LineNumber), y.Get(cpcds.LineNumber)); o != 0 {
			return o
		}
		if a.bySource {
			return a.lines[i].Compare(a.lines[j])
		}
		return cmp.Or(slices.Compare(x[:], y[:]), a.unreadable(i)-a.unreadable(j), a.lines[i].Compare(a.lines[j]))
	}))
	untyped := !slices.ContainsFunc(c.Diagnoses, func(d cpcds.Diagnosis) bool { return d.Get(cpcds.DiagnosisType) != "" })
	a.moved(cpcds.DiagnosisLevel, a.dxOrder.arrange(c.Diagnoses, a.dx, func(i, j int32) int {
		x, y := &c.Diagnoses[i], &c.Diagnoses[j]
		if o := a.before(a.dx[i], a.dx[j], x.Get(cpcds.DiagnosisType), y.Get(cpcds.DiagnosisType)); o != 0 {
			return o
		}
		if untyped {
			if o := cpcds.CompareLineNumbers(a.dx[i].LineNumber(), a.dx[j].LineNumber()); o != 0 {
				return o
			}
		}
		return slices.Compare(x[:], y[:])
	}))
	if untyped && !a.bySource && len(a.dx) > 1 && a.dx[0].Repetition == a.dx[1].Repetition && cpcds.CompareLineNumbers(a.dx[0].LineNumber(), a.dx[1].LineNumber()) == 0 {
		c.Diagnoses[0].Set(cpcds.DiagnosisType, "other") // nothing puts it first, so it is not the principal one
	}
	a.moved(cpcds.ProcedureLevel, a.pxOrder.arrange(c.Procedures, a.px, func(i, j int32) int {
		x, y := &c.Procedures[i], &c.Procedures[j]
		if o := a.before(a.px[i], a.px[j], x.Get(cpcds.InpatientProcedureType), y.Get(cpcds.InpatientProcedureType)); o != 0 {
			return o
		}
		return slices.Compare(x[:], y[:])
	}))
	a.moved(cpcds.CareTeamLevel, a.teamOrder.arrange(c.CareTeam, a.team, func(i, j int32) int {
		if o := a.before(a.team[i], a.team[j], "", ""); o != 0 {
			return o
		}
		return slices.Compare(c.CareTeam[i][:], c.CareTeam[j][:])
	}))
}

// unreadable is 1 for a line with a value that could not be read, else 0: its text is the same as
// without the value.
func (a *assembled) unreadable(line int32) int {
	if a.unread(int(line)) {
		return 1
	}
	return 0
}

// before orders two records of one level by everything but their content.
func (a *assembled) before(x, y rowbatch.Row, xType, yType string) int {
	if a.bySource {
		return x.Compare(y)
	}
	return cmp.Or(cmp.Compare(x.Repetition, y.Repetition), notPrincipal(xType)-notPrincipal(yType))
}

func notPrincipal(typ string) int {
	if typ == "principal" {
		return 0
	}
	return 1
}

// moved updates the problems of a level after its records have moved; order has the former index of
// each, nil if none has moved.
func (a *assembled) moved(l cpcds.Level, order []int32) {
	if order == nil {
		return
	}
	for i := range a.claim.Problems {
		p := &a.claim.Problems[i]
		if p.Row >= 0 && p.Element != cpcds.NoElement && p.Element.Info().Level == l {
			if p.Row = slices.Index(order, int32(p.Row)); p.Row < 0 {
				p.Row = gone
			}
		}
	}
}

// gone is the Row of a problem whose record was removed.
const gone = -2
