package claims

import (
	"slices"
	"strings"

	"cpcds2fhir/pipeline"
	"cpcds2fhir/pipeline/rowbatch"
	"cpcds2fhir/schemas/cpcds"
	"cpcds2fhir/schemas/fhir"
	"cpcds2fhir/schemas/layouts"
)

// record is the rows of the newest record of a claim.
type record struct {
	rows     []rowbatch.Segment
	old      []rowbatch.Segment // those of older records, which are left out
	void     []rowbatch.Segment // of a record that only cancels the claim; rows are then those of the record that it voids
	problems []cpcds.Problem    // why nothing can be chosen
	at       rowbatch.Row       // where these are
	warnings []cpcds.Problem
}

// newest finds the newest record among the rows of a claim: the rows of one key may have several
// versions. A record supersedes another completely. The layout says what happens to lines that only
// an older one has. Rows without a version belong to every record.
func newest(segments []rowbatch.Segment, older layouts.OlderLines) record {
	versions := versionsOf(segments)
	if len(versions) == 0 {
		return record{rows: segments}
	}
	best, differ := versions[0], false
	for _, v := range versions[1:] {
		order, ok := fhir.CompareVersions(v.text, best.text)
		if !ok {
			problem := cpcds.Problem{Rule: pipeline.RuleNoOrder, Element: min(v.element, best.element), Row: -1}
			return record{rows: segments, problems: []cpcds.Problem{problem}, at: v.first}
		}
		differ = differ || order != 0
		if order > 0 {
			best = v
		}
	}
	if !differ {
		return record{rows: segments}
	}
	var x record
	x.rows, x.old = cut(segments, func(b *rowbatch.Batch, i int) bool { return isOf(b, i, best.text) })
	lost := linesOf(x.old)
	lost.without(linesOf(x.rows))
	if lost.empty() {
		return x
	}
	if x.voids() {
		return x.voided()
	}
	x.at = lost.first(x.old)
	problem := []cpcds.Problem{{Rule: pipeline.RuleOlderLine, Element: cpcds.LineNumber, Row: -1}}
	switch {
	case older == layouts.OlderLinesKept:
		x.rows, x.old = withOlder(x.rows, x.old)
	case older == layouts.OlderLinesDropped, older == layouts.OlderLinesByVersion && best.element == cpcds.ClaimSourceVersion:
		x.warnings = problem
	default:
		x.problems = problem
	}
	return x
}

// version is a version that rows of a claim have.
type version struct {
	text    string
	element cpcds.Element
	first   rowbatch.Row // the first row that has it
}

// versionsOf lists the versions of the rows, sorted by text, so that the order of the rows does not
// matter.
func versionsOf(segments []rowbatch.Segment) (list []version) {
	for _, s := range segments {
		for i := s.From; i < s.To; i++ {
			text, e := s.Batch.Version(i)
			if text == "" {
				continue
			}
			row := rowbatch.Row{Batch: s.Batch, Index: int32(i)}
			at := slices.IndexFunc(list, func(v version) bool { return v.text == text })
			if at < 0 {
				list = append(list, version{text, e, row})
				continue
			}
			list[at].first = rowbatch.Earlier(list[at].first, row)
			list[at].element = min(list[at].element, e)
		}
	}
	slices.SortFunc(list, func(a, b version) int { return strings.Compare(a.text, b.text) })
	return list
}

// isOf reports whether a row belongs to the record of a version.
func isOf(b *rowbatch.Batch, i int, version string) bool {
	v, _ := b.Version(i)
	if v == "" {
		return true
	}
	order, ok := fhir.CompareVersions(v, version)
	return ok && order == 0
}

// voids reports whether the record cancels the claim and has no lines: T-MSIS allows a void to be
// only a header.
func (x *record) voids() bool {
	if !linesOf(x.rows).empty() {
		return false
	}
	for _, s := range x.rows {
		col := s.Batch.ColumnOf(cpcds.ClaimProcessingStatusCode)
		for i := s.From; col != nil && i < s.To; i++ {
			if col.Value(i) == "cancelled" {
				return true
			}
		}
	}
	return false
}

// voided is the record that a void without lines cancels: the newest of the older ones that has
// lines. The void only cancels it, as when the target already has it.
func (x *record) voided() record {
	var of version
	for _, v := range versionsOf(x.old) {
		rows, _ := cut(x.old, func(b *rowbatch.Batch, i int) bool { return isOf(b, i, v.text) })
		if order, _ := fhir.CompareVersions(v.text, of.text); !linesOf(rows).empty() && (of.text == "" || order > 0) {
			of = v
		}
	}
	var y record
	var unversioned []rowbatch.Segment
	y.rows, y.old = cut(x.old, func(b *rowbatch.Batch, i int) bool { return isOf(b, i, of.text) })
	unversioned, y.void = cut(x.rows, func(b *rowbatch.Batch, i int) bool { v, _ := b.Version(i); return v == "" })
	y.rows = append(y.rows, unversioned...)
	for _, s := range y.void {
		y.at = rowbatch.Earlier(y.at, rowbatch.Row{Batch: s.Batch, Index: int32(s.From)})
	}
	return y
}

// withOlder adds to the rows of the newest record the lines that only older ones have,
// each from the newest that has it.
func withOlder(kept, old []rowbatch.Segment) (with, rest []rowbatch.Segment) {
	have := linesOf(kept)
	var rows []rowbatch.Segment
	for _, s := range old {
		for i := s.From; i < s.To; i++ {
			rows = append(rows, rowbatch.Segment{Batch: s.Batch, From: i, To: i + 1, Older: true})
		}
	}
	version := func(s rowbatch.Segment) string { v, _ := s.Batch.Version(s.From); return v }
	slices.SortStableFunc(rows, func(x, y rowbatch.Segment) int {
		order, _ := fhir.CompareVersions(version(y), version(x))
		return order
	})
	for i := 0; i < len(rows); {
		j := i // the rows of one version
		for j < len(rows) {
			if order, _ := fhir.CompareVersions(version(rows[i]), version(rows[j])); order != 0 {
				break
			}
			j++
		}
		added := linesOf(nil)
		for _, s := range rows[i:j] {
			if n, line := s.Batch.LineNumber(s.From); line && n != "" && !have.numbers[n] {
				kept = append(kept, s)
				added.numbers[n] = true
			} else {
				rest = append(rest, s)
			}
		}
		for n := range added.numbers {
			have.numbers[n] = true
		}
		i = j
	}
	return kept, rest
}

// cut divides rows into those for which f is true and the others.
func cut(segments []rowbatch.Segment, f func(b *rowbatch.Batch, i int) bool) (yes, no []rowbatch.Segment) {
	for _, s := range segments {
		for i := s.From; i < s.To; i++ {
			to := &no
			if f(s.Batch, i) {
				to = &yes
			}
			if n := len(*to); n > 0 && (*to)[n-1].Batch == s.Batch && (*to)[n-1].To == i {
				(*to)[n-1].To++
			} else {
				*to = append(*to, rowbatch.Segment{Batch: s.Batch, From: i, To: i + 1})
			}
		}
	}
	return yes, no
}

// lines are those of some rows: by number, and how many have none.
type lines struct {
	numbers map[string]bool
	others  int
}

func linesOf(segments []rowbatch.Segment) *lines {
	l := &lines{numbers: map[string]bool{}}
	for _, s := range segments {
		for i := s.From; i < s.To; i++ {
			switch n, line := s.Batch.LineNumber(i); {
			case !line:
			case n == "":
				l.others++
			default:
				l.numbers[n] = true
			}
		}
	}
	return l
}

func (l *lines) without(o *lines) {
	for n := range o.numbers {
		delete(l.numbers, n)
	}
	l.others -= o.others
}

// first finds the row of the line with the lowest number.
func (l *lines) first(segments []rowbatch.Segment) (first rowbatch.Row) {
	lowest := ""
	for _, s := range segments {
		for i := s.From; i < s.To; i++ {
			n, line := s.Batch.LineNumber(i)
			if !line || !l.numbers[n] && (n != "" || l.others <= 0) {
				continue
			}
			row := rowbatch.Row{Batch: s.Batch, Index: int32(i)}
			switch o := cpcds.CompareLineNumbers(n, lowest); {
			case first.Batch == nil, o < 0:
				lowest, first = n, row
			case o == 0:
				first = rowbatch.Earlier(first, row)
			}
		}
	}
	return first
}

func (l *lines) empty() bool { return len(l.numbers) == 0 && l.others <= 0 }
