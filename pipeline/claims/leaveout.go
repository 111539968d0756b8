package claims

import (
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
)

// leftOut is a value of a claim that lenient mode leaves out, with what is wrong and where it is.
type leftOut = cpcds.Problem

// leaveOut removes values from the claim: the value itself, or the whole entry if it means nothing
// without the value.
func (a *assembled) leaveOut(list []leftOut) {
	c := &a.claim
	entries := map[cpcds.Level]map[int]bool{cpcds.ProcedureLevel: {}, cpcds.CareTeamLevel: {}}
	for _, x := range list {
		switch e := x.Element; {
		case x.Row < 0 && e.Info().Level == cpcds.HeaderLevel:
			c.Set(e, "")
		case x.Row < 0:
		case e.Info().Level == cpcds.LineLevel && x.Row < len(c.Lines):
			l := &c.Lines[x.Row]
			if e == cpcds.ProcedureCode && l.Get(cpcds.ProcedureDescription) == "" {
				l.Set(cpcds.ProcedureDescription, l.Get(e)) // a local code may help a reader
			}
			l.Set(e, "")
		case e.Info().Level == cpcds.DiagnosisLevel && x.Row < len(c.Diagnoses):
			c.Diagnoses[x.Row].Set(e, "")
		case (e == cpcds.InpatientProcedureType || e == cpcds.InpatientProcedureDate) && x.Row < len(c.Procedures):
			c.Procedures[x.Row].Set(e, "")
		case entries[e.Info().Level] != nil:
			entries[e.Info().Level][x.Row] = true
		}
		c.Problems = slices.DeleteFunc(c.Problems, func(p cpcds.Problem) bool { return p == x })
		a.repair(x.Element, pipeline.RepairOptional)
	}
	c.Procedures, a.px = without(a, cpcds.ProcedureLevel, c.Procedures, a.px, entries[cpcds.ProcedureLevel])
	c.CareTeam, a.team = without(a, cpcds.CareTeamLevel, c.CareTeam, a.team, entries[cpcds.CareTeamLevel])
}

// without removes the records at some places.
func without[T any](a *assembled, level cpcds.Level, list []T, refs []rowbatch.Row, gone map[int]bool) ([]T, []rowbatch.Row) {
	if len(gone) == 0 {
		return list, refs
	}
	i := -1
	return keep(a, level, list, refs, func(*T) bool { i++; return !gone[i] })
}
