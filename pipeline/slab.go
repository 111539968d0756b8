package pipeline

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/layouts"
)

// bound is one slab of rows read through a layout: the source's own text beside
// the canonical columns that were made of it, row by row the same.
type bound struct {
	input *Input
	rows  cpcds.Rows
	batch cpcds.Batch
	plan  *plan
	used  slots // those of the plan that have values in these rows
	known bool  // used is made

	columns map[cpcds.Element]int // of the batch of a small table; nil until it is asked
}

// segment is a run of rows of a slab.
type segment struct {
	b        *bound
	from, to int
}

// plan says where the columns of a binding go in a claim. It is made once per
// lane from the elements of the first batch.
type plan struct {
	key      []int // columns of the claim key
	version  []int // columns that order two records of the claim, the source version first
	split    int   // column that splits the claim, -1 if none
	number   int   // column of the line number, -1 if none
	lineWhen []int // a row is a service line if one of these is filled
	numbered bool  // these are the line number alone

	slots
}

// slots are the columns of a claim by level; of what repeats, a group for each
// repetition.
type slots struct {
	header, line                    []slot
	services                        []int // columns of lines that a row without a line number should not fill
	diagnoses, procedures, careTeam []group
}

// sift finds what of the plan has values in these rows, once they are complete. Most
// columns of an extract are empty in most slabs, and passing over them for every row
// took a fifth of the time of assembling.
func (b *bound) sift() {
	u := &b.used
	u.header, u.line = b.sifted(u.header, b.plan.header), b.sifted(u.line, b.plan.line)
	u.services = u.services[:0]
	for _, c := range b.plan.services {
		if b.anyValue(c) {
			u.services = append(u.services, c)
		}
	}
	u.diagnoses, u.procedures, u.careTeam = b.siftedGroups(u.diagnoses, b.plan.diagnoses), b.siftedGroups(u.procedures, b.plan.procedures), b.siftedGroups(u.careTeam, b.plan.careTeam)
	b.known = true
}

func (b *bound) sifted(to, from []slot) []slot {
	to = to[:0]
	for _, s := range from {
		if b.anyValue(s.column) {
			to = append(to, s)
		}
	}
	return to
}

func (b *bound) siftedGroups(to, from []group) []group {
	to = to[:0]
	for _, g := range from {
		if b.anyValue(g.present, g.typ) || b.anyValue(g.facts...) {
			to = append(to, g)
		}
	}
	return to
}

// anyValue reports whether one of the columns has a value in some row; -1 is none.
func (b *bound) anyValue(columns ...int) bool {
	for _, c := range columns {
		if c >= 0 && len(b.batch.Columns[c].Values) > 0 {
			return true
		}
	}
	return false
}

// slots returns what can have values in these rows: what sift found, else all of the
// plan.
func (b *bound) slots() *slots {
	if b.known {
		return &b.used
	}
	return &b.plan.slots
}

// slot is a column and the element it fills.
type slot struct {
	column  int
	element cpcds.Element
}

// group is the columns of one repetition of a diagnosis, procedure or care team
// entry; it is there in a row if the column of its code is filled, or that of the
// code's type: a masked diagnosis has no code.
type group struct {
	present int
	typ     int
	facts   []int // what nobody would say of one that is not there
	slots   []slot
}

// newPlan makes the plan of a binding.
func newPlan(b *cpcds.Batch, binding *layouts.Binding) *plan {
	// reps says of each column which repetition of a diagnosis, procedure or care team
	// entry it belongs to; -1 is all of them.
	reps, t := binding.Reps(), binding.Table()
	// A layout's constant stands on every row, whether it has a record or not.
	said := func(i int, e cpcds.Element) bool {
		return len(binding.Columns(e)) > 0 && !(reps[i] >= 0 && e == cpcds.DiagnosisType)
	}
	p := &plan{split: -1, number: -1, numbered: slices.Equal(t.LineWhen, []cpcds.Element{cpcds.LineNumber})}
	groups := map[cpcds.Level]*[]group{cpcds.DiagnosisLevel: &p.diagnoses, cpcds.ProcedureLevel: &p.procedures, cpcds.CareTeamLevel: &p.careTeam}
	for i, e := range b.Elements {
		level := e.Info().Level
		if gs := groups[level]; gs != nil {
			for n := max(reps[i], 0); len(*gs) <= n; {
				*gs = append(*gs, group{present: -1, typ: -1})
			}
		}
		s := slot{i, e}
		switch level {
		case cpcds.HeaderLevel:
			p.header = append(p.header, s)
			switch e {
			case cpcds.ClaimSourceVersion:
				p.version = append([]int{i}, p.version...)
			case cpcds.ClaimLastUpdatedDate:
				p.version = append(p.version, i)
			}
		case cpcds.LineLevel:
			p.line = append(p.line, s)
			if t.Split != nil && e == t.Split.Element {
				p.split = i
			}
			if e == cpcds.LineNumber {
				p.number = i
			}
			if said(i, e) {
				p.services = append(p.services, i)
			}
		}
		if slices.Contains(t.Key, e) {
			p.key = append(p.key, i)
		}
		if slices.Contains(t.LineWhen, e) {
			p.lineWhen = append(p.lineWhen, i)
		}
	}
	for i, e := range b.Elements {
		gs := groups[e.Info().Level]
		if gs == nil {
			continue
		}
		for n := range *gs {
			if reps[i] >= 0 && reps[i] != n {
				continue
			}
			g := &(*gs)[n]
			g.slots = append(g.slots, slot{i, e})
			switch e {
			case groupCode[e.Info().Level]:
				g.present = i
			case cpcds.DiagnosisCodeType:
				g.typ = i
			case cpcds.InpatientProcedureCodeType: // says nothing alone
			default:
				if said(i, e) {
					g.facts = append(g.facts, i)
				}
			}
		}
	}
	return p
}

// groupCode is the element without which a repetition is not there.
var groupCode = map[cpcds.Level]cpcds.Element{cpcds.DiagnosisLevel: cpcds.DiagnosisCode,
	cpcds.ProcedureLevel: cpcds.InpatientProcedureCode, cpcds.CareTeamLevel: cpcds.CareTeamRole}

// keySeparator joins the parts of a key; canonical text has no control characters.
const keySeparator = "\x1f"

// key returns the claim key of row i. A key of one column is a view.
func (b *bound) key(i int) string {
	if len(b.plan.key) == 1 {
		return b.batch.Columns[b.plan.key[0]].Value(i)
	}
	var s strings.Builder
	for n, c := range b.plan.key {
		if n > 0 {
			s.WriteString(keySeparator)
		}
		s.WriteString(b.batch.Columns[c].Value(i))
	}
	return s.String()
}

// sameKey reports whether rows i and j have the same claim key.
func (b *bound) sameKey(i, j int) bool {
	for _, c := range b.plan.key {
		col := &b.batch.Columns[c]
		if col.Index[i] != col.Index[j] && col.Value(i) != col.Value(j) {
			return false
		}
	}
	return true
}

// lineNumber is the number of the line in row i; rows without one come last.
func (b *bound) lineNumber(i int) int {
	if b.plan.number >= 0 {
		if n, err := strconv.Atoi(b.batch.Columns[b.plan.number].Value(i)); err == nil {
			return n
		}
	}
	return math.MaxInt
}

// filled reports whether one of the columns has a value in row i.
func (b *bound) filled(columns []int, i int) bool {
	for _, c := range columns {
		if b.batch.Columns[c].Value(i) != "" {
			return true
		}
	}
	return false
}

// written is filled, and true of a value that cannot be read too.
func (b *bound) written(columns []int, i int) bool {
	for _, c := range columns {
		col := &b.batch.Columns[c]
		if k := col.Index[i]; k >= 0 && (col.Values[k] != "" || col.Bad != nil && col.Bad[k] != "") {
			return true
		}
	}
	return false
}

// inputRows counts the input rows that begin in [from, to).
func (b *bound) inputRows(from, to int) int64 {
	if len(b.rows.Whole) == 0 {
		return int64(to - from)
	}
	var n int64
	for _, w := range b.rows.Whole[from:to] {
		if w {
			n++
		}
	}
	return n
}

// begins reports whether row i begins an input row.
func (b *bound) begins(i int) bool { return len(b.rows.Whole) == 0 || b.rows.Whole[i] }

// hold appends a copy of the rows [from, to) of src, which may be overwritten
// afterwards.
func (b *bound) hold(src *bound, from, to int) {
	if b.rows.N == 0 {
		b.rows.First = src.rows.InputRow(from)
		b.batch.Table = src.batch.Table
		b.batch.Elements = src.batch.Elements
		b.plan, b.input = src.plan, src.input
		for len(b.rows.Columns) < len(src.rows.Columns) {
			b.rows.Columns = append(b.rows.Columns, cpcds.Column{})
		}
		for len(b.batch.Columns) < len(src.batch.Columns) {
			b.batch.Columns = append(b.batch.Columns, cpcds.Column{})
		}
	}
	for c := range src.rows.Columns {
		holdColumn(&b.rows.Columns[c], &src.rows.Columns[c], from, to)
	}
	for c := range src.batch.Columns {
		holdColumn(&b.batch.Columns[c], &src.batch.Columns[c], from, to)
	}
	if len(src.rows.Whole) > 0 {
		b.rows.Whole = append(b.rows.Whole, src.rows.Whole[from:to]...)
	}
	if len(src.rows.Numbers) > 0 {
		b.rows.Numbers = append(b.rows.Numbers, src.rows.Numbers[from:to]...)
	}
	b.rows.N += to - from
	b.batch.N = b.rows.N
	b.known = false
}

func holdColumn(dst, src *cpcds.Column, from, to int) {
	for i := from; i < to; i++ {
		if i >= len(src.Index) || src.Index[i] < 0 {
			dst.Index = append(dst.Index, -1)
			continue
		}
		k := src.Index[i]
		dst.Index = append(dst.Index, int32(len(dst.Values)))
		dst.Values = append(dst.Values, strings.Clone(src.Values[k]))
		dst.Bad = holdNote(dst.Bad, src.Bad, k, len(dst.Values))
		dst.Repaired = holdNote(dst.Repaired, src.Repaired, k, len(dst.Values))
	}
}

// holdNote carries a value's note along; notes stay nil while there are none.
func holdNote(dst, src []string, k int32, n int) []string {
	note := ""
	if src != nil {
		note = src[k]
	}
	if note == "" && dst == nil {
		return nil
	}
	for len(dst) < n {
		dst = append(dst, "")
	}
	dst[n-1] = note
	return dst
}

// reset empties the slab and keeps its memory.
func (b *bound) reset() {
	b.rows.Reset()
	b.batch.N, b.known = 0, false
	for c := range b.batch.Columns {
		b.batch.Columns[c].Reset()
	}
}
