package claims

import (
	"maps"
	"slices"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
)

// origin finds where a problem of an assembled claim is: the row of the record at fault; for a
// header element the row that has the value, or should have it. row is false if no single row is at
// fault; the batch is then one of the input that has the element, if any.
func (a *assembled) origin(p cpcds.Problem, segments []rowbatch.Segment) (ref rowbatch.Row, row bool) {
	switch p.Rule {
	case pipeline.RuleNoOrder, pipeline.RuleOlderLine:
		return a.decidedBy, a.decidedBy.Batch != nil
	case pipeline.RuleVoid, pipeline.RuleVoidOfOther:
		if a.decidedBy.Batch != nil {
			return a.decidedBy, true
		}
	}
	var records []rowbatch.Row
	switch p.Element.Info().Level {
	case cpcds.HeaderLevel:
		return a.headerOrigin(p, segments)
	case cpcds.LineLevel:
		records = a.lines
	case cpcds.DiagnosisLevel:
		records = a.dx
	case cpcds.ProcedureLevel:
		records = a.px
	case cpcds.CareTeamLevel:
		records = a.team
	}
	if p.Row < 0 || p.Row >= len(records) {
		return rowbatch.Row{Batch: binds(p.Element, segments)}, false
	}
	at := records[p.Row]
	if unreadable(at.Batch, int(at.Index), p) {
		return at, true
	}
	// One record stands for all equal ones; the unreadable value may be on another row.
	if bad := firstUnreadable(p, segments); bad.Batch != nil {
		return bad, true
	}
	return at, true
}

// binds returns a batch of an input that has a column for the element, nil if none has.
func binds(e cpcds.Element, segments []rowbatch.Segment) *rowbatch.Batch {
	for _, s := range segments {
		if s.Batch.ColumnOf(e) != nil {
			return s.Batch
		}
	}
	return nil
}

// headerOrigin finds the row of a problem of a header element: for an unreadable value, the row
// with the least text; otherwise the first row with the claim's value, or with any. Without a value
// it is the first row that could have one.
func (a *assembled) headerOrigin(p cpcds.Problem, segments []rowbatch.Segment) (at rowbatch.Row, row bool) {
	if at = firstUnreadable(p, segments); at.Batch != nil {
		return at, true
	}
	var could, some, same rowbatch.Row
	value := a.claim.Get(p.Element)
	eachHeader(p.Element, segments, func(r rowbatch.Row, col *cpcds.Column) {
		could = rowbatch.Earlier(could, r)
		switch v := col.Value(int(r.Index)); v {
		case "":
		case value:
			same = rowbatch.Earlier(same, r)
		default:
			some = rowbatch.Earlier(some, r)
		}
	})
	for _, at := range [3]rowbatch.Row{same, some, could} {
		if at.Batch != nil {
			return at, true
		}
	}
	return at, false
}

// disagreeing finds the rows of a header element with several values: the first row of each value
// except the most frequent one, sorted by value.
func disagreeing(e cpcds.Element, segments []rowbatch.Segment) (rows []rowbatch.Row) {
	count, first := map[string]int{}, map[string]rowbatch.Row{}
	eachHeader(e, segments, func(r rowbatch.Row, col *cpcds.Column) {
		if v := col.Value(int(r.Index)); v != "" {
			count[v]++
			first[v] = rowbatch.Earlier(first[v], r)
		}
	})
	most := 0
	for _, n := range count {
		most = max(most, n)
	}
	leaders := 0
	for _, n := range count {
		if n == most {
			leaders++
		}
	}
	for _, v := range slices.Sorted(maps.Keys(count)) {
		if count[v] < most || leaders > 1 {
			rows = append(rows, first[v])
		}
	}
	return rows
}

// eachHeader calls f for the rows that have a column of a header element.
func eachHeader(e cpcds.Element, segments []rowbatch.Segment, f func(r rowbatch.Row, col *cpcds.Column)) {
	for _, s := range segments {
		col := s.Batch.ColumnOf(e)
		if col == nil || s.Older {
			continue
		}
		for i := s.From; i < s.To; i++ {
			f(rowbatch.Row{Batch: s.Batch, Index: int32(i)}, col)
		}
	}
}

// unreadable reports whether the value of a row broke the rule when it was read.
func unreadable(b *rowbatch.Batch, i int, p cpcds.Problem) bool {
	for c, e := range b.Elements() {
		if e != p.Element {
			continue
		}
		col := b.Column(c)
		if k := col.Index[i]; k >= 0 && col.Bad != nil && col.Bad[k] == p.Rule {
			return true
		}
	}
	return false
}

// firstUnreadable finds the row whose value broke the rule when it was read; of several, the one
// with the least text, so that the order of the rows does not matter.
func firstUnreadable(p cpcds.Problem, segments []rowbatch.Segment) (first rowbatch.Row) {
	least := ""
	for _, s := range segments {
		for i := s.From; i < s.To; i++ {
			if !unreadable(s.Batch, i, p) {
				continue
			}
			row, text := rowbatch.Row{Batch: s.Batch, Index: int32(i)}, s.Batch.RawOf(p.Element, i)
			switch {
			case first.Batch == nil, text < least:
				least, first = text, row
			case text == least:
				first = rowbatch.Earlier(first, row)
			}
		}
	}
	return first
}
