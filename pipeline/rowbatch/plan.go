package rowbatch

import (
	"slices"

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// claimColumns says where the columns of a binding go in a claim. It is made once per reader.
type claimColumns struct {
	key      []int // columns of the claim key
	version  []int // columns that order two records of the claim, the source version first
	split    int   // column that splits the claim, -1 if none
	number   int   // column of the line number, -1 if none
	lineWhen []int // a row is a service line if one of these is filled
	numbered bool  // these are only the line number

	columns Columns
}

// Columns are the columns of a claim by level, with a group for each repetition.
type Columns struct {
	Header, Line                    []Slot
	Diagnoses, Procedures, CareTeam []Group

	services []int // columns of lines that a row without a line number should not fill
}

// Slot is a column and the element it fills.
type Slot struct {
	Column  int
	Element cpcds.Element
}

// Group is the columns of one repetition of a diagnosis, procedure or care team entry; a row has it
// if the column of its code is filled, or that of the code's type: a masked diagnosis has no code.
type Group struct {
	Slots []Slot

	code  int   // column of the code, -1 if none
	typ   int   // column of the code's type, -1 if none
	facts []int // columns that are filled only if the repetition exists
}

// Present reports whether row i has the repetition.
func (g *Group) Present(b *Batch, i int) bool {
	if g.typ >= 0 && b.Column(g.typ).Value(i) == "masked" {
		return true
	}
	if g.code < 0 {
		return false
	}
	col := b.Column(g.code)
	k := col.Index[i]
	return k >= 0 && (col.Values[k] != "" || col.Bad != nil && col.Bad[k] != "")
}

// SaysMore reports whether row i has anything of the repetition other than its code.
func (g *Group) SaysMore(b *Batch, i int) bool { return b.Written(g.facts, i) }

// groupCode is the element that a repetition must have.
var groupCode = map[cpcds.Level]cpcds.Element{cpcds.DiagnosisLevel: cpcds.DiagnosisCode,
	cpcds.ProcedureLevel: cpcds.InpatientProcedureCode, cpcds.CareTeamLevel: cpcds.CareTeamRole}

// newPlan makes the plan of a binding of the claims table.
func newPlan(binding *layouts.Binding) *claimColumns {
	t := binding.Table()
	p := &claimColumns{split: -1, number: -1, numbered: slices.Equal(t.LineWhen, []cpcds.Element{cpcds.LineNumber})}
	for i, e := range binding.Elements() {
		s := Slot{i, e}
		switch e.Info().Level {
		case cpcds.HeaderLevel:
			p.columns.Header = append(p.columns.Header, s)
			switch e {
			case cpcds.ClaimSourceVersion:
				p.version = append([]int{i}, p.version...)
			case cpcds.ClaimLastUpdatedDate:
				p.version = append(p.version, i)
			}
		case cpcds.LineLevel:
			p.columns.Line = append(p.columns.Line, s)
			if t.Split != nil && e == t.Split.Element {
				p.split = i
			}
			if e == cpcds.LineNumber {
				p.number = i
			}
			if says(binding, i) {
				p.columns.services = append(p.columns.services, i)
			}
		}
		if slices.Contains(t.Key, e) {
			p.key = append(p.key, i)
		}
		if slices.Contains(t.LineWhen, e) {
			p.lineWhen = append(p.lineWhen, i)
		}
	}
	p.columns.Diagnoses = groups(binding, cpcds.DiagnosisLevel)
	p.columns.Procedures = groups(binding, cpcds.ProcedureLevel)
	p.columns.CareTeam = groups(binding, cpcds.CareTeamLevel)
	return p
}

// says reports whether a column carries information: a layout's constant is on every row, whether
// it has a record or not.
func says(binding *layouts.Binding, place int) bool {
	e := binding.Elements()[place]
	return len(binding.Columns(e)) > 0 && !(binding.Reps()[place] >= 0 && e == cpcds.DiagnosisType)
}

// groups returns the repetitions of a level. A column belongs to one of them, or to all.
func groups(binding *layouts.Binding, level cpcds.Level) (list []Group) {
	reps := binding.Reps()
	for i, e := range binding.Elements() {
		if e.Info().Level == level {
			for n := max(reps[i], 0); len(list) <= n; {
				list = append(list, Group{code: -1, typ: -1})
			}
		}
	}
	for i, e := range binding.Elements() {
		if e.Info().Level != level {
			continue
		}
		for n := range list {
			if reps[i] >= 0 && reps[i] != n {
				continue
			}
			g := &list[n]
			g.Slots = append(g.Slots, Slot{i, e})
			switch e {
			case groupCode[level]:
				g.code = i
			case cpcds.DiagnosisCodeType:
				g.typ = i
			case cpcds.InpatientProcedureCodeType: // means nothing alone
			default:
				if says(binding, i) {
					g.facts = append(g.facts, i)
				}
			}
		}
	}
	return list
}

// prune finds which columns of the plan have values in these rows. Most columns of an extract are
// empty in most batches, and skipping them for every row took a fifth of the time of assembling.
// Code that changes the rows must prune before handing out the batch.
func (b *Batch) prune() {
	if b.plan == nil {
		return
	}
	u, all := &b.used, &b.plan.columns
	u.Header, u.Line = b.pruned(u.Header, all.Header), b.pruned(u.Line, all.Line)
	u.services = u.services[:0]
	for _, c := range all.services {
		if b.anyValue(c) {
			u.services = append(u.services, c)
		}
	}
	u.Diagnoses = b.prunedGroups(u.Diagnoses, all.Diagnoses)
	u.Procedures = b.prunedGroups(u.Procedures, all.Procedures)
	u.CareTeam = b.prunedGroups(u.CareTeam, all.CareTeam)
}

func (b *Batch) pruned(to, from []Slot) []Slot {
	to = to[:0]
	for _, s := range from {
		if b.anyValue(s.Column) {
			to = append(to, s)
		}
	}
	return to
}

func (b *Batch) prunedGroups(to, from []Group) []Group {
	to = to[:0]
	for _, g := range from {
		if b.anyValue(g.code, g.typ) || b.anyValue(g.facts...) {
			to = append(to, g)
		}
	}
	return to
}

// anyValue reports whether one of the columns has a value in some row; -1 is none.
func (b *Batch) anyValue(places ...int) bool {
	for _, c := range places {
		if c >= 0 && len(b.Column(c).Values) > 0 {
			return true
		}
	}
	return false
}
